//! The state that earlier versions wrote down comes back, and goes on counting.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_json::{Limits, Value, object};
use ak_policy::budget::{BudgetLimit, Dimension, Ledger, Spender};
use ak_policy::capability::{CapDenial, CapId, CapTable};
use ak_policy::{
    Action, Charge, Elapsed, GrantClock, GrantState, GrantTable, LimitTable, Policy, Query, Target,
};

/// Written by the version before the one that tells usage from numbers: a policy with grants, limits and budgets,
/// loaded at [`WALL_US`]; seven of ten uses an hour a minute later; 300 of 500 spent at once, 50 two hours later,
/// where 100 more are reserved.
const STATE: &str = include_str!("golden/former-state.json");
const WALL_US: u64 = 1_790_000_000_000_000;
const MINUTE_US: u64 = 60_000_000;

fn part(name: &str) -> Value {
    Value::parse(STATE.as_bytes(), &Limits::default()).unwrap().get(name).unwrap().clone()
}

fn policy() -> Policy {
    Policy::from_value(&part("policy")).unwrap()
}

/// So many minutes after the policy was loaded, on a clock that goes on where the wall clock was.
fn at(minutes: u64) -> Elapsed {
    Elapsed::exactly(WALL_US + minutes * MINUTE_US)
}

fn pay(policy: &Policy, amount: u64) -> Vec<Charge> {
    let (target, args) = (Target::tool("send_money").unwrap(), object! { "amount": amount });
    policy.charges(&Query { args: Some(&args), ..Query::new("main", Action::Execute, &target) }, &[]).unwrap()
}

fn state(table: &GrantTable, policy: &Policy, name: &str, minutes: u64) -> GrantState {
    let grant = policy.grants().iter().find(|grant| grant.name() == name).unwrap();
    table.state(grant, at(minutes))
}

/// What a policy says is what it said, so that its digest is the same; but that tables of one grant are one.
#[test]
fn a_policy_of_before_says_the_same() {
    let (former, policy) = (part("policy"), policy());
    for key in ["agent", "budgets", "limit", "rule", "profiles", "version"] {
        assert_eq!(policy.to_value().get(key), former.get(key), "{key}");
    }
    let names = |value: &Value| -> Vec<Value> {
        value.get("capability").unwrap().as_array().unwrap().iter().cloned().collect()
    };
    let (now, before) = (names(policy.to_value()), names(&former));
    assert_eq!((now.len(), before.len()), (4, 5));
    let is_twice = |table: &&Value| table.get("name") == Some(&"twice".into());
    assert!(now.iter().filter(|table| !is_twice(table)).all(|table| before.contains(table)));
    // What is refused today was taken then, and comes back.
    assert!(Policy::parse(&former.to_json(), None).unwrap_err().to_string().contains("usage:tokens"));
}

#[test]
fn clocks_and_rates_of_grants_go_on() {
    let policy = policy();
    let former = GrantTable::from_value(&part("grants")).unwrap();
    for migrate in [GrantTable::migrate, |table: &mut GrantTable, policy: &Policy| table.load(policy, at(50))]
    {
        let mut table = former.clone();
        migrate(&mut table, &policy);
        assert_eq!(GrantTable::from_value(&table.to_value()), Ok(table.clone()));
        assert_eq!(state(&table, &policy, "timed", 59), GrantState::Alive);
        assert_eq!(state(&table, &policy, "timed", 60), GrantState::Expired);
        assert_eq!(state(&table, &policy, "plain", 10_000), GrantState::Alive);
        // Two tables of one grant are one by now: the shorter lifetime counts.
        assert_eq!(state(&table, &policy, "twice", 29), GrantState::Alive);
        assert_eq!(state(&table, &policy, "twice", 30), GrantState::Expired);
        let rated = policy.grants().iter().find(|grant| grant.name() == "rated").unwrap();
        for _ in 0..3 {
            assert!(table.spend(rated.id(), at(1)));
        }
        assert!(!table.spend(rated.id(), at(1)));
        // Another lifetime and another rate are the same grants still.
        let other = Policy::parse(
            "[[capability]]\nname = \"timed\"\nexpires_minutes = 61\n[[capability]]\nname = \"rated\"\nrate = \"11/h\"",
            None,
        );
        let other = other.unwrap();
        table.load(&other, at(51));
        assert_eq!(state(&table, &other, "timed", 60), GrantState::Alive);
        assert_eq!(state(&table, &other, "timed", 61), GrantState::Expired);
        assert!(table.spend(rated.id(), at(1)));
        assert!(!table.spend(rated.id(), at(1)));
    }
}

#[test]
fn what_was_used_of_limits_goes_on_counting() {
    let policy = policy();
    let mut table = LimitTable::from_value(&part("limits")).unwrap();
    assert_eq!(LimitTable::from_value(&table.to_value()), Ok(table.clone()));
    // Another policy knows nothing of these limits.
    table.migrate(&Policy::deny_all());
    assert_eq!(LimitTable::from_value(&table.to_value()), Ok(table.clone()));
    table.migrate(&policy);
    table.migrate(&policy);
    assert_eq!(LimitTable::from_value(&table.to_value()), Ok(table.clone()));
    let fits = |table: &LimitTable, policy: &Policy, amount, minutes| {
        table.check(&pay(policy, amount), at(minutes)).is_ok()
    };
    // 300 + 50 and 100 reserved of 500.
    assert!(fits(&table, &policy, 50, 180));
    assert!(!fits(&table, &policy, 51, 180));
    // Other numbers, the same limit.
    let text = policy.to_value().to_json();
    let lower =
        Policy::parse(&text.replace("/usage/total_tokens", "/n").replace("\"max\":500", "\"max\":451"), None);
    let lower = lower.unwrap();
    assert!(fits(&table, &lower, 1, 180));
    assert!(!fits(&table, &lower, 2, 180));
    // The reservation is there, and can be given back once.
    let claim = table.reservation(3).unwrap();
    table.release(claim);
    assert_eq!(table.reservation(3), None);
    assert!(fits(&table, &policy, 150, 180));
    assert!(!fits(&table, &policy, 151, 180));
    // A day after the 300 they are over, to a slice.
    assert!(!fits(&table, &policy, 151, 24 * 60 - 1));
    assert!(fits(&table, &policy, 450, 24 * 60 + 24));
    assert!(!fits(&table, &policy, 451, 24 * 60 + 24));
}

#[test]
fn a_reservation_of_before_is_settled_before_or_after_the_limits_are_known() {
    let policy = policy();
    for first in [true, false] {
        let mut table = LimitTable::from_value(&part("limits")).unwrap();
        if first {
            table.migrate(&policy);
        }
        let claim = table.reservation(3).unwrap();
        table.commit(claim, &[], at(180));
        table.migrate(&policy);
        assert!(table.check(&pay(&policy, 50), at(181)).is_ok());
        assert!(table.check(&pay(&policy, 51), at(181)).is_err());
        assert!(table.check(&pay(&policy, 401), at(24 * 60 + 179)).is_err());
        assert!(table.check(&pay(&policy, 500), at(27 * 60 + 60)).is_ok());
    }
}

#[test]
fn a_ledger_of_before_tells_what_was_set() {
    let policy = policy();
    let mut ledger = Ledger::from_value(&part("ledger")).unwrap();
    ledger.adopt(policy.budget_limits("crew"));
    assert_eq!(ledger.limit_set(Dimension::Tokens), None);
    assert_eq!(ledger.limit_set(Dimension::ToolCalls), Some(3));
    let status = ledger.status(Spender::Itself, Dimension::Tokens, at(0));
    assert_eq!((status.limit, status.used, status.reserved), (Some(60), 40, 5));
    ledger.set_policy_limits([(Dimension::Tokens, BudgetLimit::ever(50))]);
    assert!(ledger.check(Spender::Itself, &[(Dimension::Tokens, 6)], at(0)).is_err());
    assert_eq!(Ledger::from_value(&ledger.to_value()), Ok(ledger));
}

#[test]
fn capabilities_of_before_keep_what_is_left() {
    let mut table = CapTable::from_value(&part("capabilities")).unwrap();
    let cap = CapId::from_u64(1 << 32 | 1);
    let target = Target::tool("send_money").unwrap();
    let query = |minutes| Query { elapsed: at(minutes), ..Query::new("main", Action::Execute, &target) };
    let check = |table: &CapTable, minutes, amount| {
        table.check(cap, &query(minutes), &[0; 16], &[(Dimension::Tokens, amount)])
    };
    assert!(check(&table, 0, 6).is_ok());
    assert!(matches!(check(&table, 0, 7), Err(CapDenial::Budget(_))));
    assert_eq!(check(&table, 60, 1), Err(CapDenial::Expired));
    for _ in 0..2 {
        drop(table.spend(cap, &query(0), &[0; 16], &[]).unwrap());
    }
    assert!(matches!(check(&table, 0, 1), Err(CapDenial::Rate { .. })));
    assert_eq!(CapTable::from_value(&table.to_value()), Ok(table));
}
