//! Budgets against the obvious bookkeeping.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use ak_policy::budget::{BudgetError, BudgetTree, Dimension, Flow, Ledger, Reservation};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use Dimension::{Memory, Tokens, ToolCalls};

#[derive(Clone, Debug)]
enum Step {
    Limit(Dimension, Option<u64>),
    Reserve(Vec<(Dimension, u64)>),
    Settle(Index, Vec<(Dimension, u64)>),
    Release(Index),
    Spend(Vec<(Dimension, u64)>),
    Credit(Dimension, u64),
}

fn dimension() -> impl Strategy<Value = Dimension> {
    select(vec![Memory, Tokens, ToolCalls])
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..20, 1 => Just(u64::MAX), 1 => Just(u64::MAX / 2)]
}

fn amounts() -> impl Strategy<Value = Vec<(Dimension, u64)>> {
    vec((dimension(), amount()), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (dimension(), proptest::option::of(0u64..60)).prop_map(|(dimension, limit)| Step::Limit(dimension, limit)),
        4 => amounts().prop_map(Step::Reserve),
        3 => (any::<Index>(), vec((dimension(), 0u64..20), 0..3)).prop_map(|(at, actual)| Step::Settle(at, actual)),
        1 => any::<Index>().prop_map(Step::Release),
        1 => amounts().prop_map(Step::Spend),
        1 => (dimension(), 0u64..20).prop_map(|(dimension, amount)| Step::Credit(dimension, amount)),
    ]
}

/// The obvious ledger: everything that ever happened, added up anew each time, in numbers that cannot overflow.
#[derive(Default)]
struct Naive {
    limits: BTreeMap<Dimension, u64>,
    used: BTreeMap<Dimension, u128>,
    open: Vec<Vec<(Dimension, u64)>>,
}

fn sum(amounts: &[(Dimension, u64)], dimension: Dimension) -> u128 {
    amounts.iter().filter(|(own, _)| *own == dimension).map(|(_, amount)| u128::from(*amount)).sum()
}

impl Naive {
    fn reserved(&self, dimension: Dimension) -> u128 {
        self.open.iter().map(|amounts| sum(amounts, dimension)).sum()
    }

    fn used(&self, dimension: Dimension) -> u128 {
        self.used.get(&dimension).copied().unwrap_or(0)
    }

    fn fits(&self, amounts: &[(Dimension, u64)]) -> bool {
        Dimension::ALL.into_iter().all(|dimension| {
            let requested = sum(amounts, dimension);
            let limit = u128::from(self.limits.get(&dimension).copied().unwrap_or(u64::MAX));
            // Nothing is asked where nothing is requested, even of an overdrawn budget.
            requested == 0 || self.used(dimension) + self.reserved(dimension) + requested <= limit
        })
    }

    fn record(&mut self, amounts: &[(Dimension, u64)]) {
        for (dimension, amount) in amounts {
            let used = self.used.entry(*dimension).or_default();
            *used = (*used + u128::from(*amount)).min(u128::from(u64::MAX));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_ledger_keeps_the_obvious_books(steps in vec(step(), 0..40)) {
        let mut ledger = Ledger::default();
        let mut naive = Naive::default();
        let mut open: Vec<Reservation> = Vec::new();
        for step in steps {
            match step {
                Step::Limit(dimension, limit) => {
                    ledger.set_limit(dimension, limit);
                    naive.limits.remove(&dimension);
                    naive.limits.extend(limit.map(|limit| (dimension, limit)));
                }
                Step::Reserve(amounts) => {
                    let reserved = ledger.reserve(&amounts);
                    prop_assert_eq!(reserved.is_ok(), naive.fits(&amounts));
                    if let Ok(reservation) = reserved {
                        open.push(reservation);
                        naive.open.push(amounts);
                    }
                }
                Step::Settle(at, actual) if !open.is_empty() => {
                    let at = at.index(open.len());
                    ledger.settle(open.remove(at), &actual);
                    let reserved = naive.open.remove(at);
                    let unsaid = reserved.into_iter().filter(|(own, _)| !actual.iter().any(|(other, _)| own == other));
                    naive.record(&unsaid.collect::<Vec<_>>());
                    naive.record(&actual);
                }
                Step::Release(at) if !open.is_empty() => {
                    let at = at.index(open.len());
                    ledger.release(open.remove(at));
                    naive.open.remove(at);
                }
                Step::Settle(..) | Step::Release(_) => {}
                Step::Spend(amounts) => {
                    prop_assert_eq!(ledger.spend(&amounts).is_ok(), naive.fits(&amounts));
                    if naive.fits(&amounts) {
                        naive.record(&amounts);
                    }
                }
                Step::Credit(dimension, amount) => {
                    ledger.credit(dimension, amount);
                    if dimension.flow() == Flow::Gauge {
                        let used = naive.used.entry(dimension).or_default();
                        *used = used.saturating_sub(amount.into());
                    }
                }
            }
            for dimension in Dimension::ALL {
                let status = ledger.status(dimension);
                prop_assert_eq!(u128::from(status.used), naive.used(dimension));
                prop_assert_eq!(u128::from(status.reserved), naive.reserved(dimension));
            }
        }
    }

    /// As long as nobody settles for more than was reserved, and no limit is lowered.
    #[test]
    fn budget_never_exceeded(limit in 0u64..60, steps in vec((any::<bool>(), amounts(), any::<Index>(), 0u64..20), 0..60)) {
        let mut ledger = Ledger::default();
        ledger.set_limit(Tokens, Some(limit));
        let mut open = Vec::new();
        for (reserve, amounts, at, actual) in steps {
            if reserve {
                if let Ok(reservation) = ledger.reserve(&amounts) {
                    let most = u64::try_from(sum(&amounts, Tokens)).unwrap();
                    open.push((reservation, most));
                }
            } else if !open.is_empty() {
                let (reservation, most) = open.remove(at.index(open.len()));
                ledger.settle(reservation, &[(Tokens, actual.min(most))]);
            }
            let status = ledger.status(Tokens);
            prop_assert!(status.used + status.reserved <= limit, "{:?}", status);
        }
    }

    /// What a subtree uses and holds is within what its root may, whoever spends and in whatever order.
    #[test]
    fn a_tree_conserves(
        limit in 0u64..100,
        shares in vec(proptest::option::weighted(0.6, 0u64..60), 5),
        steps in vec((0usize..6, 0u64..30, any::<bool>(), any::<Index>()), 0..60),
    ) {
        let names = ["main", "a", "b", "a/x", "a/y", "a/x/z"];
        let parents = [None, Some("main"), Some("main"), Some("a"), Some("a"), Some("a/x")];
        let mut tree = BudgetTree::default();
        tree.open("main", None, &[]).unwrap();
        tree.set_limit("main", Tokens, Some(limit));
        for ((name, parent), share) in names.iter().zip(parents).skip(1).zip(&shares) {
            let allotment: Vec<_> = share.iter().map(|share| (Tokens, *share)).collect();
            if tree.open(name, parent, &allotment).is_err() {
                // No room for the share: it may only spend what its parent has.
                let _ = tree.open(name, parent, &[(Tokens, 0)]);
            }
        }
        let mut open = Vec::new();
        let mut spent = 0;
        for (who, amount, reserve, at) in steps {
            if reserve {
                if let Ok(reservation) = tree.reserve(names[who], &[(Tokens, amount)]) {
                    open.push((reservation, amount));
                }
            } else if !open.is_empty() {
                let (reservation, reserved) = open.remove(at.index(open.len()));
                let actual = amount.min(reserved);
                tree.settle(reservation, &[(Tokens, actual)]);
                spent += actual;
            }
            let held: u64 = open.iter().map(|(_, reserved)| reserved).sum();
            prop_assert!(spent + held <= limit);
            for name in names {
                if let Some(status) = tree.status(name, Tokens) {
                    prop_assert!(status.used + status.reserved <= status.limit.unwrap_or(u64::MAX));
                }
            }
        }
        for (reservation, _) in open {
            tree.release(reservation);
        }
        // Everything unused returns.
        for name in names.iter().skip(1).rev() {
            prop_assert!(matches!(tree.close(name), Ok(()) | Err(BudgetError::Unknown)));
        }
        let status = tree.status("main", Tokens).unwrap();
        prop_assert_eq!((status.used, status.reserved), (spent, 0));
    }
}

#[test]
fn zero_means_none() {
    let mut ledger = Ledger::default();
    ledger.set_limit(ToolCalls, Some(0));
    assert!(ledger.reserve(&[(ToolCalls, 1)]).is_err());
    assert!(ledger.spend(&[(ToolCalls, 0)]).is_ok());
    ledger.set_limit(ToolCalls, None);
    assert!(ledger.spend(&[(ToolCalls, u64::MAX)]).is_ok());
    assert!(ledger.spend(&[(ToolCalls, 1)]).is_err());
}

#[test]
fn an_overrun_is_recorded_in_full_and_blocks() {
    let mut ledger = Ledger::default();
    ledger.set_limit(Tokens, Some(100));
    let reservation = ledger.reserve(&[(Tokens, 50)]).unwrap();
    ledger.settle(reservation, &[(Tokens, 130)]);
    assert_eq!(ledger.status(Tokens).used, 130);
    let exceeded = ledger.reserve(&[(Tokens, 1)]).unwrap_err();
    assert_eq!(
        (exceeded.dimension, exceeded.limit, exceeded.used, exceeded.requested),
        (Tokens, 100, 130, 1)
    );
    assert_eq!(exceeded.to_string(), "tokens: 1 requested, 130 used and 0 reserved of 100");
}

#[test]
fn a_reservation_is_settled_once() {
    let mut ledger = Ledger::default();
    let mut other = Ledger::default();
    let reservation = ledger.reserve(&[(Tokens, 5)]).unwrap();
    // Another ledger does not know it.
    other.settle_in_full(reservation);
    assert_eq!(other.status(Tokens).used, 0);
    assert_eq!(ledger.status(Tokens).reserved, 5);
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
    let reservation = ledger.reserve(&[(Tokens, 5)]).unwrap();
    let reserved = ledger.digest();
    ledger.release(reservation);
    assert!(empty != reserved && reserved != ledger.digest() && ledger.digest() != empty);
}
