//! Reloading a policy changes what is allowed, never what was used; against lists of everything that happened.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_json::{Limits, Value, object};
use ak_policy::budget::Dimension;
use ak_policy::{
    Action, Charge, Elapsed, GUEST, GrantClock, GrantState, GrantTable, LimitError, LimitTable, Policy,
    PolicyDecision, Query, Target,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const SECOND_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60 * SECOND_US;
const HOUR_US: u64 = 60 * MINUTE_US;

fn policy(text: &str) -> Policy {
    Policy::parse(text, None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn at(us: u64) -> Elapsed {
    Elapsed::exactly(us)
}

fn limit(max: u64, per: &str) -> Policy {
    policy(&format!(
        "[[limit]]\nid = \"l\"\noperation = \"execute\"\ntarget = \"*\"\nsum = \"/n\"\nmax = {max}\nper = {per:?}\n"
    ))
}

fn charge(policy: &Policy, agent: &str, amount: u64) -> Vec<Charge> {
    let (target, args) = (Target::tool("x").unwrap(), object! { "n": amount });
    policy.charges(&Query { args: Some(&args), ..Query::new(agent, Action::Execute, &target) }, &[]).unwrap()
}

fn grant(minutes: Option<u64>, rate: Option<&str>) -> Policy {
    let minutes = minutes.map_or(String::new(), |minutes| format!("expires_minutes = {minutes}\n"));
    let rate = rate.map_or(String::new(), |rate| format!("rate = {rate:?}\n"));
    policy(&format!("[[capability]]\nname = \"x\"\n{minutes}{rate}"))
}

fn reread(value: &Value) -> Value {
    Value::parse(value.to_json().as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn a_lower_max_counts_what_was_used() {
    let mut table = LimitTable::default();
    let mut spent = 0;
    for (hour, max) in (0..).zip([5, 4, 3, 5, 2, 6]) {
        let policy = limit(max, "24h");
        table.migrate(&policy);
        while let Ok(claim) = table.reserve(&charge(&policy, "main", 1), at(hour * HOUR_US)) {
            table.commit(claim, &[], at(hour * HOUR_US));
            spent += 1;
        }
        assert_eq!(spent, if max == 6 { 6 } else { 5 });
    }
}

#[test]
fn another_period_forgets_nothing_early() {
    let mut table = LimitTable::default();
    let spend = |table: &mut LimitTable, per: &str, hour: u64| {
        let policy = limit(5, per);
        let claim = table.reserve(&charge(&policy, "main", 5), at(hour * HOUR_US));
        claim.map(|claim| table.commit(claim, &[], at(hour * HOUR_US)))
    };
    spend(&mut table, "24h", 10).unwrap();
    spend(&mut table, "24h", 33).unwrap_err();
    spend(&mut table, "48h", 33).unwrap_err();
    spend(&mut table, "7d", 33).unwrap_err();
    // An hour's limit has room again; what it takes counts beside what was before.
    spend(&mut table, "1h", 33).unwrap();
    for hour in [34, 36, 38] {
        spend(&mut table, "1h", hour).unwrap();
    }
    spend(&mut table, "24h", 61).unwrap_err();
    let all = limit(24, "30d");
    assert!(table.check(&charge(&all, "main", 0), at(62 * HOUR_US)).is_ok());
    assert!(table.check(&charge(&all, "main", 1), at(62 * HOUR_US)).is_err());
    spend(&mut table, "24h", 64).unwrap();
}

#[test]
fn what_a_limit_counts_is_what_usage_belongs_to() {
    let mut table = LimitTable::default();
    let first = limit(5, "24h");
    table.reserve(&charge(&first, "main", 5), at(0)).map(|claim| table.commit(claim, &[], at(0))).unwrap();
    let other = |from: &str, to: &str| {
        let other = policy(&first.to_value().to_json().replace(from, to));
        table.check(&charge(&other, "main", 1), at(0)).is_ok()
    };
    assert!(!other("\"max\":5", "\"max\":5.5"));
    assert!(!other("\"per\":\"1d\"", "\"per\":\"1d\""));
    assert!(other("\"id\":\"l\"", "\"id\":\"m\""));
    assert!(other("\"sum\":\"/n\"", "\"count\":true"));
    assert!(other("\"*\"", "\"tool:x\""));
    assert!(other("\"id\"", "\"agent\":\"main\",\"id\""));
    assert!(other("\"id\"", "\"by\":\"agent\",\"id\""));
}

#[test]
fn a_limit_by_agent_charges_each_of_the_lineage() {
    let policy = policy(
        "[[limit]]\nid = \"l\"\noperation = \"execute\"\ntarget = \"*\"\ncount = true\nby = \"agent\"\nagent = [\"crew\", \"crew/**\"]\nmax = 2\nper = \"1h\"",
    );
    let mut table = LimitTable::default();
    let mut call = |agent: &str| {
        let claim = table.reserve(&charge(&policy, agent, 0), at(0));
        claim.map(|claim| table.commit(claim, &[], at(0))).is_ok()
    };
    assert!(call("crew/a"));
    assert!(call("crew/b"));
    // Fresh names reset nothing.
    assert!(!call("crew/c"));
    assert!(!call("crew/a"));
    for _ in 0..5 {
        assert!(call("other"));
    }
}

const TOKENS: &str = r#"
    [[limit]]
    id = "tokens"
    operation = "infer"
    target = "*"
    sum = "usage:tokens"
    max = 1_000
    per = "24h"
    [[limit]]
    id = "cost"
    operation = "infer"
    target = "gpt-*"
    sum = "usage:cost_micro_usd"
    max = 50
    per = "24h"
"#;

#[test]
fn a_limit_on_usage_is_settled_at_what_was_used() {
    let policy = policy(TOKENS);
    let infer = |model: &str, amounts: &[(Dimension, u64)]| {
        let target = Target::model(model).unwrap();
        policy.charges(&Query::new("crew/w", Action::Infer, &target), amounts)
    };
    let tokens =
        |amount| infer("llama", &[(Dimension::Tokens, amount), (Dimension::Compute, 9_999)]).unwrap();
    let mut table = LimitTable::default();
    let first = table.reserve(&tokens(800), at(0)).unwrap();
    let error = table.check(&tokens(201), at(0)).unwrap_err();
    assert_eq!(error.to_string(), "limit 'tokens': 201 requested, 800 used of 1000");
    // A claim survives being written down, with what it is settled by.
    let mut table = LimitTable::from_value(&reread(&table.to_value())).unwrap();
    table.commit(first, &[(Dimension::Tokens, 300), (Dimension::Bytes, 7)], at(HOUR_US));
    assert!(table.check(&tokens(700), at(HOUR_US)).is_ok());
    // What is not told is what was reserved; what is told beyond that counts in full, and blocks.
    let second = table.reserve(&tokens(100), at(2 * HOUR_US)).unwrap();
    table.commit(second, &[(Dimension::Bytes, 7)], at(2 * HOUR_US));
    assert!(table.check(&tokens(601), at(2 * HOUR_US)).is_err());
    let third = table.reserve(&tokens(1), at(2 * HOUR_US)).unwrap();
    table.commit(third, &[(Dimension::Tokens, 5_000)], at(2 * HOUR_US));
    let error = table.check(&tokens(1), at(3 * HOUR_US)).unwrap_err();
    assert_eq!(error.to_string(), "limit 'tokens': 1 requested, 5400 used of 1000");
    assert!(table.check(&tokens(0), at(3 * HOUR_US)).is_ok());
    assert!(table.check(&tokens(1_000), at(30 * HOUR_US)).is_ok());
    // An overrun beyond counting.
    let fourth = table.reserve(&tokens(1), at(30 * HOUR_US)).unwrap();
    table.commit(fourth, &[(Dimension::Tokens, u64::MAX), (Dimension::Tokens, u64::MAX)], at(30 * HOUR_US));
    assert!(table.check(&tokens(1), at(31 * HOUR_US)).is_err());
    assert_eq!(LimitTable::from_value(&table.to_value()), Ok(table));
    // What is not set aside cannot be limited.
    assert_eq!(infer("gpt-4", &[(Dimension::Tokens, 1), (Dimension::CostMicroUsd, 5)]).unwrap().len(), 2);
    let error = infer("gpt-4", &[(Dimension::Tokens, 1)]).unwrap_err();
    assert_eq!(error.to_string(), "limit 'cost': 'usage:cost_micro_usd' is not an amount");
    assert!(matches!(infer("llama", &[]), Err(LimitError::NotAnAmount { .. })));
}

#[test]
fn another_rate_fills_no_bucket() {
    let mut table = GrantTable::default();
    let uses = |table: &mut GrantTable, rate: Option<&str>, us: u64| {
        let policy = grant(None, rate);
        table.load(&policy, at(us));
        let id = policy.grants()[0].id();
        (0..100).take_while(|_| table.spend(id, at(us))).count()
    };
    assert_eq!(uses(&mut table, Some("10/h"), 0), 10);
    assert_eq!(uses(&mut table, Some("5/h"), 0), 0);
    assert_eq!(uses(&mut table, Some("10/h"), 0), 0);
    assert_eq!(uses(&mut table, Some("12/h"), 0), 2);
    // A faster rate forgets sooner, a slower one put in its place does not.
    assert_eq!(uses(&mut table, Some("12/min"), MINUTE_US), 12);
    assert_eq!(uses(&mut table, Some("12/h"), MINUTE_US), 0);
    assert_eq!(uses(&mut table, Some("24/d"), 2 * HOUR_US), 2);
    // Without a rate uses are counted too.
    assert_eq!(uses(&mut table, None, 3 * HOUR_US), 100);
    assert_eq!(uses(&mut table, Some("24/d"), 4 * HOUR_US), 0);
}

#[test]
fn a_lifetime_runs_on_the_upper_bound_and_a_rate_on_the_lower() {
    let policy = grant(Some(10), Some("1/min"));
    let grant = &policy.grants()[0];
    let mut table = GrantTable::default();
    // Loaded after a reboot that left three days in doubt.
    let bounds = |low_us, high_us| Elapsed { low_us, high_us };
    let (low_us, high_us) = (HOUR_US, HOUR_US + 72 * HOUR_US);
    table.load(&policy, bounds(low_us, high_us));
    // In that boot both bounds grow alike: it is not dead from the beginning, and dies in time.
    let later = |us| bounds(low_us + us, high_us + us);
    assert_eq!(table.state(grant, later(10 * MINUTE_US - 1)), GrantState::Alive);
    assert_eq!(table.remaining_us(grant, later(MINUTE_US)), Some(9 * MINUTE_US));
    assert_eq!(table.state(grant, later(10 * MINUTE_US)), GrantState::Expired);
    // Another reboot, which took nothing or half an hour.
    assert!(table.spend(grant.id(), later(MINUTE_US)));
    let doubtful = bounds(low_us + MINUTE_US, high_us + 9 * MINUTE_US);
    assert_eq!(table.state(grant, doubtful), GrantState::RateLimited { retry_after_us: MINUTE_US });
    assert_eq!(table.state(grant, bounds(low_us + MINUTE_US, high_us + 31 * MINUTE_US)), GrantState::Expired);
    // What the lower bound makes sure of is not less for the upper.
    assert_eq!(table.state(grant, bounds(low_us + 10 * MINUTE_US, high_us)), GrantState::Expired);
    // The wall clock has no say.
    let target = Target::tool("x").unwrap();
    for now_us in [0, u64::MAX] {
        let query = Query {
            now_us,
            elapsed: later(5 * MINUTE_US),
            grants: &table,
            ..Query::new("main", Action::Execute, &target)
        };
        assert_eq!(policy.decide(&query).decision, PolicyDecision::Permit);
    }
}

/// After a reboot nobody knows how long the machine was off; once that is known, the lower bound catches up. What
/// was used since the reboot is no older for it.
#[test]
fn a_bound_that_catches_up_late_brings_nothing_back() {
    let bounds = |low_us, high_us| Elapsed { low_us, high_us };
    let (before, after) = (at(HOUR_US), bounds(HOUR_US, 100 * HOUR_US));
    let (synced, policy) = (bounds(90 * HOUR_US, 100 * HOUR_US + MINUTE_US), limit(5, "24h"));
    let mut limits = LimitTable::default();
    for now in [before, after] {
        let claim = limits.reserve(&charge(&policy, "main", if now == before { 3 } else { 2 }), now).unwrap();
        limits.commit(claim, &[], now);
    }
    assert!(limits.check(&charge(&policy, "main", 1), after).is_err());
    // What was used before the reboot is over by now; what was used a minute ago is not.
    assert!(limits.check(&charge(&policy, "main", 3), synced).is_ok());
    assert!(limits.check(&charge(&policy, "main", 4), synced).is_err());
    let limits = LimitTable::from_value(&reread(&limits.to_value())).unwrap();
    assert!(limits.check(&charge(&policy, "main", 4), synced).is_err());
    let policy = grant(None, Some("2/h"));
    let id = policy.grants()[0].id();
    let mut grants = GrantTable::default();
    grants.load(&policy, before);
    assert!(grants.spend(id, after) && grants.spend(id, after));
    assert!(!grants.spend(id, synced));
    let policy = grant(None, Some("3/h"));
    grants.load(&policy, synced);
    assert!(grants.spend(id, synced));
    assert!(!grants.spend(id, synced));
}

#[test]
fn tables_of_one_grant_are_one_and_the_lower_numbers_count() {
    let policy = policy(
        "[[capability]]\nname = \"x\"\nrate = \"100/h\"\nexpires_minutes = 5\n[[capability]]\nname = \"x\"\nrate = \"100/min\"\n[[capability]]\nname = \"x\"\nexpires_minutes = 9\n",
    );
    assert_eq!(policy.grants().len(), 1);
    let grant = &policy.grants()[0];
    assert_eq!((grant.ttl_us(), grant.rate().unwrap().to_string()), (Some(5 * MINUTE_US), "100/1h".into()));
    assert_eq!(Policy::from_value(policy.to_value()).unwrap(), policy);
}

#[test]
fn guests_have_nothing_of_the_baseline() {
    let baseline = Policy::baseline();
    let written = policy(
        "[tools]\nallow = [\"add\"]\n[[rule]]\nid = \"own\"\neffect = \"permit\"\noperation = \"heap.read\"\ntarget = \"*\"\nagent = \"guest/**\"",
    );
    let requests = [
        (Action::HeapAlloc, Target::type_name("t").unwrap()),
        (Action::HeapQuery, Target::type_name("t").unwrap()),
        (Action::HeapRead, Target::heap(1)),
        (Action::HeapWrite, Target::heap(1)),
        (Action::HeapDelete, Target::heap(1)),
        (Action::AuditLog, Target::audit("x").unwrap()),
        (Action::AuditRead, Target::audit("guest").unwrap()),
        (Action::Execute, Target::tool("add").unwrap()),
        (Action::Execute, Target::tool("concat").unwrap()),
    ];
    assert_eq!(GUEST, "guest");
    for (action, target) in &requests {
        let verdict = |policy: &Policy, agent| {
            let query = Query { owned: true, ..Query::new(agent, *action, target) };
            assert_eq!(policy.explain(&query).decision, policy.decide(&query).decision);
            policy.decide(&query).decision
        };
        for agent in ["main", "guests", "guest-1", "crew/guest", "Guest"] {
            assert_eq!(verdict(&baseline, agent), PolicyDecision::Permit, "{agent} {action}");
        }
        for agent in ["guest", "guest/1", "guest/1/x"] {
            assert_eq!(verdict(&baseline, agent), PolicyDecision::DefaultDeny, "{agent} {action}");
        }
        let is_written = target.to_string() == "tool:add" || *action == Action::HeapRead;
        let expected = if is_written { PolicyDecision::Permit } else { PolicyDecision::DefaultDeny };
        assert_eq!(verdict(&written, "guest"), expected, "{action}");
        assert_eq!(verdict(&written, "guest/1"), expected, "{action}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Load(u64, &'static str),
    Reserve(u64),
    Commit(Index),
    Release(Index),
    Restore,
}

fn step() -> impl Strategy<Value = (u64, u64, Step)> {
    let step = prop_oneof![
        2 => (0u64..60, select(vec!["1min", "90s", "10min", "1h"])).prop_map(|(max, per)| Step::Load(max, per)),
        6 => (0u64..12).prop_map(Step::Reserve),
        4 => any::<Index>().prop_map(Step::Commit),
        1 => any::<Index>().prop_map(Step::Release),
        1 => Just(Step::Restore),
    ];
    let gap = prop_oneof![3 => 0u64..20 * SECOND_US, 1 => 0u64..20 * MINUTE_US];
    // How much doubt a reboot adds.
    let doubt = prop_oneof![9 => Just(0u64), 1 => 0u64..2 * HOUR_US];
    (gap, doubt, step)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// A table that keeps the list of all charges, whatever is loaded: it never allows less than the table does, and
    /// the table never forgets.
    #[test]
    fn limits_forget_nothing_whatever_is_loaded(steps in vec(step(), 0..80)) {
        let mut table = LimitTable::default();
        let (mut max, mut per_us) = (20, MINUTE_US);
        let mut policy = limit(20, "1min");
        let (mut now, mut charges, mut open) = (Elapsed::default(), Vec::new(), Vec::new());
        for (gap_us, doubt_us, step) in steps {
            now = Elapsed { low_us: now.low_us + gap_us, high_us: now.high_us + gap_us + doubt_us };
            match step {
                Step::Load(new_max, per) => {
                    policy = limit(new_max, per);
                    table.migrate(&policy);
                    max = new_max;
                    per_us = match per { "1min" => MINUTE_US, "90s" => 90 * SECOND_US, "10min" => 10 * MINUTE_US, _ => HOUR_US };
                }
                Step::Reserve(amount) => {
                    let within = |per_us: u64| -> u64 {
                        let recent = charges.iter().filter(|(at, _)| at + per_us > now.low_us);
                        recent.map(|(_, amount)| amount).sum::<u64>() + open.iter().map(|(_, amount)| amount).sum::<u64>()
                    };
                    match table.reserve(&charge(&policy, "main", amount), now) {
                        Ok(claim) => {
                            prop_assert!(amount == 0 || within(per_us) + amount <= max);
                            open.push((claim, amount));
                        }
                        // A period in force is told to a sixtieth, one of before to half of its age.
                        Err(_) => prop_assert!(within(per_us * 2 + SECOND_US) + amount > max),
                    }
                }
                Step::Commit(at) if !open.is_empty() => {
                    let (claim, amount) = open.remove(at.index(open.len()));
                    table.commit(claim, &[(Dimension::Tokens, 1_000)], now);
                    charges.push((now.low_us, amount));
                }
                Step::Release(at) if !open.is_empty() => table.release(open.remove(at.index(open.len())).0),
                Step::Commit(_) | Step::Release(_) => {}
                Step::Restore => {
                    let again = LimitTable::from_value(&reread(&table.to_value())).unwrap();
                    prop_assert_eq!(&again, &table);
                    table = again;
                }
            }
        }
    }

    /// A grant against the list of all its uses: the rate in force allows what it would allow had it always been in
    /// force, or less; the lifetime in force runs from the first load, with the most that can have passed.
    #[test]
    fn grants_forget_nothing_whatever_is_loaded(
        steps in vec((0u64..5 * MINUTE_US, prop_oneof![9 => Just(0u64), 1 => 0u64..HOUR_US], 0u8..8, 0usize..4, 0usize..4), 1..80),
    ) {
        let rates = [(3u64, MINUTE_US, "3/min"), (2, 10 * MINUTE_US, "2/10min"), (7, HOUR_US, "7/h"), (1, SECOND_US, "1/s")];
        let lives = [None, Some(20), Some(60), Some(1_000)];
        let mut table = GrantTable::default();
        let mut now = Elapsed::default();
        let (mut rate, mut life) = (0, 3);
        let mut policy = grant(lives[life], Some(rates[rate].2));
        table.load(&policy, now);
        let (mut uses, mut apart_us) = (Vec::<u64>::new(), 0);
        for (gap_us, doubt_us, what, new_rate, new_life) in steps {
            now = Elapsed { low_us: now.low_us + gap_us, high_us: now.high_us + gap_us + doubt_us };
            apart_us += gap_us + doubt_us;
            match what {
                0 => {
                    (rate, life) = (new_rate, new_life);
                    policy = grant(lives[life], Some(rates[rate].2));
                    table.load(&policy, now);
                }
                1 => table = GrantTable::from_value(&reread(&table.to_value())).unwrap(),
                2 => table.load(&Policy::deny_all(), now),
                _ => {
                    let state = table.state(&policy.grants()[0], now);
                    let expired = lives[life].is_some_and(|minutes| apart_us >= minutes * MINUTE_US);
                    prop_assert_eq!(state == GrantState::Expired, expired);
                    let spent = table.spend(policy.grants()[0].id(), now);
                    prop_assert!(expired || spent == (state == GrantState::Alive));
                    if spent {
                        uses.push(now.low_us);
                        let (count, per_us, _) = rates[rate];
                        let (mut owed, mut last_us) = (0u128, 0);
                        for at_us in &uses {
                            owed = owed.saturating_sub(u128::from(at_us - last_us) * u128::from(count)) + u128::from(per_us);
                            last_us = *at_us;
                        }
                        prop_assert!(owed <= u128::from(count * per_us));
                    }
                }
            }
        }
    }
}
