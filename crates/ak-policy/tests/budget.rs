//! Budgets against the obvious bookkeeping.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use ak_json::{Limits, Value, array, object};
use ak_policy::budget::{BudgetLimit, Dimension, Flow, Ledger, LimitedBy, Reservation, Spender, Status};
use ak_policy::{Elapsed, Policy};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use Dimension::{Memory, Tokens, ToolCalls};
use Spender::{Below, Itself};

const MINUTE_US: u64 = 60_000_000;
const DAY_US: u64 = 24 * 60 * MINUTE_US;

fn at(us: u64) -> Elapsed {
    Elapsed::exactly(us)
}

#[derive(Clone, Debug)]
enum Step {
    /// A policy is loaded.
    Policy(Vec<(Dimension, BudgetLimit)>),
    Set(Dimension, Option<u64>),
    Reserve(Spender, Vec<(Dimension, u64)>),
    Settle(Index, Vec<(Dimension, u64)>),
    Release(Index),
    Spend(Spender, Vec<(Dimension, u64)>),
    Credit(Spender, Dimension, u64),
    /// The ledger is written down and read.
    Restore,
}

fn dimension() -> impl Strategy<Value = Dimension> {
    select(vec![Memory, Tokens, ToolCalls])
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..20, 1 => Just(u64::MAX), 1 => Just(u64::MAX / 2)]
}

fn spender() -> impl Strategy<Value = Spender> {
    select(vec![Itself, Itself, Below])
}

fn amounts() -> impl Strategy<Value = Vec<(Dimension, u64)>> {
    vec((dimension(), amount()), 0..4)
}

fn limit() -> impl Strategy<Value = (Dimension, BudgetLimit)> {
    let per_us = option::of(select(vec![MINUTE_US, 90_000_001, 10 * MINUTE_US, 60 * MINUTE_US]));
    (dimension(), any::<bool>(), per_us, 0u64..80).prop_map(|(dimension, each, per_us, max)| {
        let per_us = per_us.filter(|_| dimension.takes_period());
        (dimension, BudgetLimit { each, per_us, max })
    })
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let step = prop_oneof![
        1 => vec(limit(), 0..4).prop_map(Step::Policy),
        1 => (dimension(), option::of(0u64..200)).prop_map(|(dimension, limit)| Step::Set(dimension, limit)),
        5 => (spender(), amounts()).prop_map(|(spender, amounts)| Step::Reserve(spender, amounts)),
        3 => (any::<Index>(), vec((dimension(), 0u64..20), 0..3)).prop_map(|(at, actual)| Step::Settle(at, actual)),
        1 => any::<Index>().prop_map(Step::Release),
        2 => (spender(), amounts()).prop_map(|(spender, amounts)| Step::Spend(spender, amounts)),
        1 => (spender(), dimension(), 0u64..20).prop_map(|(spender, dimension, amount)| Step::Credit(spender, dimension, amount)),
        1 => Just(Step::Restore),
    ];
    (prop_oneof![3 => 0u64..MINUTE_US, 1 => 0u64..20 * MINUTE_US], step)
}

/// The obvious ledger: everything that ever happened, added up anew each time, in numbers that cannot overflow.
#[derive(Default)]
struct Naive {
    policy: Vec<(Dimension, BudgetLimit)>,
    set: BTreeMap<Dimension, u64>,
    charges: Vec<(u64, Spender, Dimension, u64)>,
    held: BTreeMap<(Spender, Dimension), u128>,
    open: Vec<(Spender, Vec<(Dimension, u64)>)>,
    /// Whether anything was beyond counting; then only what may not be is compared.
    beyond: bool,
}

fn sum(amounts: &[(Dimension, u64)], dimension: Dimension) -> u128 {
    amounts.iter().filter(|(own, _)| *own == dimension).map(|(_, amount)| u128::from(*amount)).sum()
}

impl Naive {
    fn reserved(&self, by: &[Spender], dimension: Dimension) -> u128 {
        let open = self.open.iter().filter(|(spender, _)| by.contains(spender));
        open.map(|(_, amounts)| sum(amounts, dimension)).sum()
    }

    fn used(&self, by: &[Spender], dimension: Dimension, since: impl Fn(u64) -> bool) -> u128 {
        if dimension.flow() == Flow::Gauge {
            return by.iter().filter_map(|spender| self.held.get(&(*spender, dimension))).sum();
        }
        let charges = self
            .charges
            .iter()
            .filter(|(at, spender, own, _)| *own == dimension && by.contains(spender) && since(*at));
        charges.map(|(.., amount)| u128::from(*amount)).sum()
    }

    /// Whether the amounts fit every limit, of which each period is taken for a longer one: `longer` of it.
    fn fits(
        &self,
        spender: Spender,
        amounts: &[(Dimension, u64)],
        now_us: u64,
        longer: impl Fn(u64) -> u64,
    ) -> bool {
        Dimension::ALL.into_iter().all(|dimension| {
            let requested = sum(amounts, dimension);
            let policy = self.policy.iter().filter(|(own, _)| *own == dimension).map(|(_, limit)| *limit);
            let mut limits: Vec<_> = policy.filter(|limit| !limit.each || spender == Itself).collect();
            limits.extend(self.set.get(&dimension).map(|max| BudgetLimit::ever(*max)));
            if limits.is_empty() {
                // Counters end.
                limits.push(BudgetLimit::ever(u64::MAX));
            }
            // Nothing is asked where nothing is requested, even of an overdrawn budget.
            requested == 0
                || limits.iter().all(|BudgetLimit { each, per_us, max }| {
                    let by: &[Spender] = if *each { &[Itself] } else { &[Itself, Below] };
                    let used = self
                        .used(by, dimension, |at| per_us.is_none_or(|per_us| at + longer(per_us) > now_us));
                    used + self.reserved(by, dimension) + requested <= u128::from(*max)
                })
        })
    }

    fn record(&mut self, spender: Spender, amounts: &[(Dimension, u64)], now_us: u64) {
        for (dimension, amount) in amounts {
            if dimension.flow() == Flow::Gauge {
                *self.held.entry((spender, *dimension)).or_default() += u128::from(*amount);
            }
            self.charges.push((now_us, spender, *dimension, *amount));
            self.beyond |= *amount > u64::MAX / 4;
        }
    }
}

fn reread(ledger: &Ledger) -> Ledger {
    let text = ledger.to_value().to_json();
    Ledger::from_value(&Value::parse(text.as_bytes(), &Limits::default()).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is loaded, set, reserved and settled: what does not fit is refused, and what fits with some room in
    /// time is allowed. So no change of a number forgets anything that was used.
    #[test]
    fn a_ledger_keeps_the_obvious_books(steps in vec(step(), 0..60)) {
        let mut ledger = Ledger::default();
        let mut naive = Naive::default();
        let mut open: Vec<Reservation> = Vec::new();
        let mut now_us = 0;
        for (gap_us, step) in steps {
            now_us += gap_us;
            let now = Elapsed { low_us: now_us, high_us: now_us + DAY_US };
            match step {
                Step::Policy(limits) => {
                    ledger.set_policy_limits(limits.clone());
                    naive.policy = limits;
                }
                Step::Set(dimension, limit) => {
                    ledger.set_limit(dimension, limit);
                    naive.set.remove(&dimension);
                    naive.set.extend(limit.map(|limit| (dimension, limit)));
                }
                Step::Reserve(spender, ref amounts) | Step::Spend(spender, ref amounts) => {
                    let allowed = match &step {
                        Step::Spend(..) => ledger.spend(spender, amounts, now).is_ok(),
                        _ => {
                            let reserved = ledger.reserve(spender, amounts, now).ok();
                            let allowed = reserved.is_some();
                            open.extend(reserved);
                            allowed
                        }
                    };
                    prop_assert!(!allowed || naive.fits(spender, amounts, now_us, |per_us| per_us));
                    let surely = naive.fits(spender, amounts, now_us, |per_us| per_us * 2 + (1 << 27));
                    prop_assert!(allowed || !surely || naive.beyond);
                    match (&step, allowed) {
                        (_, false) => {}
                        (Step::Spend(..), true) => naive.record(spender, amounts, now_us),
                        (_, true) => naive.open.push((spender, amounts.clone())),
                    }
                }
                Step::Settle(at, actual) if !open.is_empty() => {
                    let at = at.index(open.len());
                    ledger.settle(open.remove(at), &actual, now);
                    let (spender, reserved) = naive.open.remove(at);
                    let unsaid = reserved.into_iter().filter(|(own, _)| !actual.iter().any(|(other, _)| own == other));
                    naive.record(spender, &unsaid.collect::<Vec<_>>(), now_us);
                    naive.record(spender, &actual, now_us);
                }
                Step::Release(at) if !open.is_empty() => {
                    let at = at.index(open.len());
                    ledger.release(open.remove(at));
                    naive.open.remove(at);
                }
                Step::Settle(..) | Step::Release(_) => {}
                Step::Credit(spender, dimension, amount) => {
                    ledger.credit(spender, dimension, amount);
                    if dimension.flow() == Flow::Gauge {
                        let held = naive.held.entry((spender, dimension)).or_default();
                        *held = (*held).min(u64::MAX.into()).saturating_sub(amount.into());
                    }
                }
                Step::Restore => {
                    let again = reread(&ledger);
                    prop_assert_eq!(&again, &ledger);
                    ledger = again;
                }
            }
            for dimension in Dimension::ALL {
                for spender in [Itself, Below] {
                    let used = naive.used(&[spender], dimension, |_| true).min(u64::MAX.into());
                    prop_assert_eq!(u128::from(ledger.used(spender, dimension)), used);
                }
                prop_assert_eq!(ledger.limit_set(dimension), naive.set.get(&dimension).copied());
            }
        }
    }

    /// As long as nobody settles for more than was reserved, and no limit is lowered.
    #[test]
    fn budget_never_exceeded(
        limit in 0u64..60,
        per_us in option::of(select(vec![MINUTE_US, 10 * MINUTE_US])),
        steps in vec((any::<bool>(), amounts(), any::<Index>(), 0u64..20, 0u64..MINUTE_US), 0..60),
    ) {
        let mut ledger = Ledger::default();
        ledger.set_policy_limits([(Tokens, BudgetLimit { per_us, ..BudgetLimit::ever(limit) })]);
        let (mut open, mut now_us, mut charges) = (Vec::new(), 0, Vec::new());
        for (reserve, amounts, at, actual, gap_us) in steps {
            now_us += gap_us;
            let now = Elapsed::exactly(now_us);
            if reserve {
                if let Ok(reservation) = ledger.reserve(Itself, &amounts, now) {
                    let most = u64::try_from(sum(&amounts, Tokens)).unwrap();
                    open.push((reservation, most));
                }
            } else if !open.is_empty() {
                let (reservation, most) = open.remove(at.index(open.len()));
                ledger.settle(reservation, &[(Tokens, actual.min(most))], now);
                charges.push((now_us, actual.min(most)));
            }
            let status = ledger.status(Itself, Tokens, now);
            prop_assert!(status.used + status.reserved <= limit, "{:?}", status);
            let recent = charges.iter().filter(|(at, _)| per_us.is_none_or(|per_us| at + per_us > now_us));
            let held: u64 = open.iter().map(|(_, most)| most).sum();
            prop_assert!(recent.map(|(_, amount)| amount).sum::<u64>() + held <= limit);
        }
    }
}

#[test]
fn zero_means_none() {
    let mut ledger = Ledger::default();
    ledger.set_limit(ToolCalls, Some(0));
    assert!(ledger.reserve(Itself, &[(ToolCalls, 1)], at(0)).is_err());
    assert!(ledger.spend(Itself, &[(ToolCalls, 0)], at(0)).is_ok());
    ledger.set_limit(ToolCalls, None);
    ledger.set_policy_limits([(ToolCalls, BudgetLimit::per(0, DAY_US))]);
    assert!(ledger.reserve(Itself, &[(ToolCalls, 1)], at(0)).is_err());
    ledger.set_policy_limits([]);
    assert!(ledger.spend(Itself, &[(ToolCalls, u64::MAX)], at(0)).is_ok());
    assert!(ledger.spend(Itself, &[(ToolCalls, 1)], at(0)).is_err());
}

#[test]
fn an_overrun_is_recorded_in_full_and_blocks() {
    let mut ledger = Ledger::default();
    ledger.set_limit(Tokens, Some(100));
    let reservation = ledger.reserve(Itself, &[(Tokens, 50)], at(0)).unwrap();
    ledger.settle(reservation, &[(Tokens, 130)], at(0));
    assert_eq!(ledger.status(Itself, Tokens, at(0)).used, 130);
    let exceeded = ledger.reserve(Itself, &[(Tokens, 1)], at(0)).unwrap_err();
    assert_eq!(
        (exceeded.dimension, exceeded.limit, exceeded.used, exceeded.requested),
        (Tokens, 100, 130, 1)
    );
    assert_eq!(exceeded.to_string(), "tokens: 1 requested, 130 used and 0 reserved of 100");
}

#[test]
fn loading_a_policy_never_raises_what_was_set() {
    let mut ledger = Ledger::default();
    ledger.set_limit(Tokens, Some(10));
    ledger.set_policy_limits([(Tokens, BudgetLimit::ever(20))]);
    let status = ledger.status(Itself, Tokens, at(0));
    assert_eq!((status.limit, status.limited_by), (Some(10), Some(LimitedBy::Set)));
    assert!(ledger.check(Itself, &[(Tokens, 11)], at(0)).is_err());
    ledger.set_policy_limits([(Tokens, BudgetLimit::ever(5))]);
    let status = ledger.status(Itself, Tokens, at(0));
    assert_eq!(
        (status.limit, status.limited_by),
        (Some(5), Some(LimitedBy::Policy { per_us: None, each: false }))
    );
    ledger.set_policy_limits([]);
    assert_eq!(ledger.status(Itself, Tokens, at(0)).limit, Some(10));
    ledger.set_limit(Tokens, None);
    assert_eq!(ledger.status(Itself, Tokens, at(0)), Status::default());
}

#[test]
fn a_period_forgets_what_left_it_and_no_reload_does() {
    let mut ledger = Ledger::default();
    let hour_us = 60 * MINUTE_US;
    let policy = |max, per_us| [(Tokens, BudgetLimit::per(max, per_us))];
    ledger.set_policy_limits(policy(100, DAY_US));
    ledger.spend(Itself, &[(Tokens, 100)], at(hour_us)).unwrap();
    for (max, per_us) in [(99, DAY_US), (100, 2 * DAY_US), (100, DAY_US / 2), (100, DAY_US)] {
        ledger.set_policy_limits(policy(max, per_us));
        assert!(ledger.check(Itself, &[(Tokens, 1)], at(2 * hour_us)).is_err(), "{max} per {per_us}");
    }
    // An hour's limit takes no notice of what was three hours ago, a day's still does, a week's later too.
    ledger.set_policy_limits(policy(100, hour_us));
    ledger.spend(Itself, &[(Tokens, 1)], at(4 * hour_us)).unwrap();
    ledger.set_policy_limits(policy(101, DAY_US));
    assert!(ledger.check(Itself, &[(Tokens, 1)], at(24 * hour_us)).is_err());
    assert!(ledger.check(Itself, &[(Tokens, 100)], at(29 * hour_us)).is_ok());
    ledger.set_policy_limits(policy(101, 7 * DAY_US));
    assert!(ledger.check(Itself, &[(Tokens, 1)], at(6 * DAY_US)).is_err());
    // What is reserved counts in every span until it is settled, and then as of that.
    ledger.set_policy_limits(policy(100, hour_us));
    let held = ledger.reserve(Itself, &[(Tokens, 60)], at(10 * DAY_US)).unwrap();
    assert!(ledger.check(Itself, &[(Tokens, 41)], at(12 * DAY_US)).is_err());
    ledger.settle_in_full(held, at(12 * DAY_US));
    assert!(ledger.check(Itself, &[(Tokens, 41)], at(12 * DAY_US + hour_us - 1)).is_err());
    assert!(ledger.check(Itself, &[(Tokens, 100)], at(12 * DAY_US + hour_us)).is_ok());
}

#[test]
fn a_period_runs_on_the_lower_bound() {
    let mut ledger = Ledger::default();
    ledger.set_policy_limits([(Tokens, BudgetLimit::per(1, DAY_US))]);
    ledger.spend(Itself, &[(Tokens, 1)], at(5)).unwrap();
    let doubtful = Elapsed { low_us: DAY_US, high_us: 100 * DAY_US };
    assert!(ledger.check(Itself, &[(Tokens, 1)], doubtful).is_err());
    assert!(ledger.check(Itself, &[(Tokens, 1)], Elapsed { low_us: DAY_US + 5, ..doubtful }).is_ok());
}

#[test]
fn a_period_on_what_takes_none_is_for_ever() {
    let mut ledger = Ledger::default();
    ledger.set_policy_limits([(Memory, BudgetLimit::per(5, 1_000)), (Memory, BudgetLimit::ever(7))]);
    ledger.spend(Itself, &[(Memory, 5)], at(0)).unwrap();
    assert!(ledger.check(Itself, &[(Memory, 1)], at(DAY_US)).is_err());
    ledger.credit(Itself, Memory, 1);
    assert!(ledger.check(Itself, &[(Memory, 1)], at(DAY_US)).is_ok());
}

/// What versions before 9 of the kernel wrote down.
#[test]
fn a_former_ledger_is_read_and_adopted() {
    let account = |limit: Option<u64>, used: u64, reserved: u64| object! { "limit": limit, "used": used, "reserved": reserved };
    let former = object! {
        "accounts": object! {
            "tokens": account(Some(20), 8, 2), "tool_calls": account(Some(3), 0, 0), "memory": account(None, 7, 0),
        },
        "open": array![array![1, array![array!["tokens", 2]]]],
        "last": 1,
    };
    let mut ledger = Ledger::from_value(&former).unwrap();
    assert_eq!(ledger.status(Itself, Tokens, at(0)).limited_by, Some(LimitedBy::Set));
    ledger.adopt([(Tokens, BudgetLimit::ever(20)), (ToolCalls, BudgetLimit::ever(50))]);
    assert_eq!((ledger.limit_set(Tokens), ledger.limit_set(ToolCalls)), (None, Some(3)));
    let status = ledger.status(Itself, Tokens, at(0));
    let expected = Status {
        limit: Some(20),
        used: 8,
        reserved: 2,
        limited_by: Some(LimitedBy::Policy { per_us: None, each: false }),
    };
    assert_eq!(status, expected);
    assert_eq!(ledger.status(Itself, ToolCalls, at(0)).limit, Some(3));
    assert_eq!(ledger.used(Itself, Memory), 7);
    // When it was used nobody wrote down: it counts in every period, as of the next use.
    ledger.set_policy_limits([(Tokens, BudgetLimit::per(20, DAY_US))]);
    assert_eq!(ledger.status(Itself, Tokens, at(100 * DAY_US)).remaining(), 10);
    let ledger_again = reread(&ledger);
    assert_eq!(ledger_again, ledger);
    let claim = ledger.reservation(1).unwrap();
    ledger.settle(claim, &[(Tokens, 1)], at(100 * DAY_US));
    assert_eq!(ledger.status(Itself, Tokens, at(101 * DAY_US - 1)).used, 9);
    assert_eq!(ledger.status(Itself, Tokens, at(101 * DAY_US)).used, 0);
}

#[test]
fn a_reservation_is_settled_once() {
    let mut ledger = Ledger::default();
    let mut other = Ledger::default();
    let reservation = ledger.reserve(Itself, &[(Tokens, 5)], at(0)).unwrap();
    // Another ledger does not know it.
    other.settle_in_full(reservation, at(0));
    assert_eq!(other.used(Itself, Tokens), 0);
    assert_eq!(ledger.status(Itself, Tokens, at(0)).reserved, 5);
    assert!(ledger.has_open());
}

#[test]
fn dimensions_have_the_names_of_the_contract() {
    let names = Dimension::ALL.map(Dimension::as_str);
    let contract = "memory compute tokens tool_calls wall_time_ms cpu bytes heap_objects cost_micro_usd";
    assert_eq!(names.join(" "), contract);
    for dimension in Dimension::ALL {
        assert_eq!(Dimension::from_name(dimension.as_str()), Some(dimension));
    }
}

#[test]
fn a_digest_tells_states_apart() {
    let mut ledger = Ledger::default();
    let empty = ledger.digest();
    let reservation = ledger.reserve(Itself, &[(Tokens, 5)], at(0)).unwrap();
    let reserved = ledger.digest();
    ledger.release(reservation);
    assert!(empty != reserved && reserved != ledger.digest() && ledger.digest() != empty);
}

#[test]
fn each_is_on_what_the_agent_itself_uses() {
    let mut ledger = Ledger::default();
    ledger.set_policy_limits([(ToolCalls, BudgetLimit::ever(2).each()), (ToolCalls, BudgetLimit::ever(4))]);
    let mut call = |spender| ledger.spend(spender, &[(ToolCalls, 1)], at(0)).is_ok();
    assert!(call(Itself) && call(Below) && call(Itself));
    assert!(!call(Itself));
    assert!(call(Below));
    assert!(!call(Below));
    let status = ledger.status(Below, ToolCalls, at(0));
    assert_eq!((status.limit, status.used), (Some(4), 4));
    let status = ledger.status(Itself, ToolCalls, at(0));
    assert_eq!((status.limit, status.used), (Some(2), 2));
    assert_eq!(status.limited_by, Some(LimitedBy::Policy { per_us: None, each: true }));
    assert_eq!((ledger.used(Itself, ToolCalls), ledger.used(Below, ToolCalls)), (2, 2));
    let held = ledger.reserve(Below, &[(Tokens, 3)], at(0)).unwrap();
    let mut ledger = reread(&ledger);
    ledger.settle(held, &[(Tokens, 2)], at(0));
    assert_eq!((ledger.used(Itself, Tokens), ledger.used(Below, Tokens)), (0, 2));
    // What was set is on all of them.
    ledger.set_policy_limits([]);
    ledger.set_limit(ToolCalls, Some(4));
    assert!(ledger.check(Itself, &[(ToolCalls, 1)], at(0)).is_err());
}

/// The limits of an account, as one text.
fn limits_of(policy: &str, agent: &str) -> String {
    let policy = Policy::parse(policy, None).unwrap();
    assert_eq!(Policy::from_value(policy.to_value()).unwrap(), policy);
    let limits = policy.budget_limits(agent);
    let text = |(dimension, limit): (Dimension, BudgetLimit)| format!("{dimension} {limit}");
    limits.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

#[test]
fn accounts_have_the_limits_that_are_written_for_them() {
    let policy = r#"
        [budgets]
        tokens = 1_000
        cost_micro_usd = { max = 50, per = "24h" }
        tool_calls = [90, { max = 9, per = "1h" }, { max = 8, per = "1h" }]
        each.cpu = 77
        [agent.main.budgets]
        tokens = 900
        bytes = 5
        [agent.crew.budgets]
        tokens = 2_000
        tool_calls = 3
        each.tokens = 70
        each.compute = { max = 6, per = "7d" }
        [agent."crew/w".budgets]
        tool_calls = 1
        each.tokens = { max = 60, per = "1h" }
        [agent."temp-*".budgets.each]
        tokens = 4
    "#;
    let rest = "tool_calls 90 each, tool_calls 8 per 1h each, cpu 77 each, cost_micro_usd 50 per 1d each";
    let check = |agent, expected: &str| {
        assert_eq!(limits_of(policy, agent), expected.replace("REST", rest), "{agent}");
    };
    check(
        "main",
        "tokens 900, tool_calls 90, tool_calls 8 per 1h, cpu 77 each, bytes 5, cost_micro_usd 50 per 1d",
    );
    check("other", "tokens 1000 each, REST");
    check("crew", "compute 6 per 7d each, tokens 2000, tokens 70 each, tool_calls 3, REST");
    check("crew/w", "compute 6 per 7d each, tokens 70 each, tokens 60 per 1h each, tool_calls 1, REST");
    check("crew/w/x", "compute 6 per 7d each, tokens 70 each, tokens 60 per 1h each, REST");
    check("crew2", "tokens 1000 each, REST");
    check("temp-1", "tokens 4 each, REST");
    check("temp-1/x", "tokens 4 each, REST");
}

#[test]
fn each_may_name_everybody() {
    for policy in [
        "[agent.\"*\".budgets.each]\ntokens = 4",
        "[agent.\"**\".budgets.each]\ntokens = 4",
        "[agent.main.budgets.each]\ntokens = 4",
        "[budgets.each]\ntokens = 4",
    ] {
        for agent in ["main", "crew", "crew/w"] {
            assert_eq!(limits_of(policy, agent), "tokens 4 each", "{policy} {agent}");
        }
    }
    assert_eq!(limits_of("[agent.main.budgets]\ntokens = 4", "crew/w"), "");
    assert_eq!(limits_of("[agent.main.budgets]\ntokens = 4", "main"), "tokens 4");
}
