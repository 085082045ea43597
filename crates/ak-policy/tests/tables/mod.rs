//! Tables, and something to do to each of them.

mod sound;

use std::fmt::Debug;
use std::sync::LazyLock;

use ak_json::{Value, object};
use ak_policy::budget::{BudgetLimit, Dimension, Ledger, Reservation, Spender};
use ak_policy::capability::{CapId, CapReservation, CapTable, Caveat};
use ak_policy::{
    Action, Elapsed, GrantClock, GrantTable, LimitReservation, LimitTable, Policy, Query, TableError, Target,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::caveats::caveat;

/// One call; which one, and of what it is made, is the table's to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) what: u8,
    pub(crate) at: Option<Index>,
    pub(crate) number: u64,
    pub(crate) now_us: u64,
    pub(crate) amounts: Vec<(Dimension, u64)>,
    pub(crate) caveats: Vec<Caveat>,
}

impl Step {
    fn now(&self) -> Elapsed {
        Elapsed { low_us: self.now_us, high_us: self.now_us.saturating_add(self.number % 7) }
    }

    fn spender(&self) -> Spender {
        if self.number.is_multiple_of(3) { Spender::Below } else { Spender::Itself }
    }

    fn pick(&self, length: usize) -> usize {
        self.at.map_or(0, |at| at.index(length))
    }
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    // The clock goes to and fro.
    let now_us =
        prop_oneof![6 => 0u64..4_000, 1 => 0u64..10_000_000_000, 1 => select(vec![u64::MAX - 1, u64::MAX])];
    let number = prop_oneof![4 => 0u64..60, 1 => select(vec![1 << 40, u64::MAX])];
    let amounts = vec((select(vec![Dimension::Tokens, Dimension::Memory, Dimension::Cpu]), 0u64..20), 0..4);
    (0u8..12, any::<Index>(), number, now_us, amounts, vec(caveat(), 0..3)).prop_map(
        |(what, at, number, now_us, amounts, caveats)| Step {
            what,
            at: Some(at),
            number,
            now_us,
            amounts,
            caveats,
        },
    )
}

pub(crate) trait Table: Debug + Default + PartialEq {
    type Claim: Debug + PartialEq;
    fn to_value(&self) -> Value;
    fn from_value(value: &Value) -> Result<Self, TableError>;
    /// Whether what must be true of such a table is true of this one's value.
    fn is_sound(value: &Value) -> bool;
    fn write(claim: &Self::Claim) -> Value;
    fn take_up(&self, claim: &Value) -> Option<Self::Claim>;
    /// Does something. Gives what the table answered.
    fn step(&mut self, open: &mut Vec<Self::Claim>, made: &mut Vec<CapId>, step: &Step) -> String;
}

/// A table, the claims on it, and the capabilities that it ever made.
#[derive(Debug)]
pub(crate) struct World<T: Table> {
    pub(crate) table: T,
    pub(crate) open: Vec<T::Claim>,
    pub(crate) made: Vec<CapId>,
}

impl<T: Table> Default for World<T> {
    fn default() -> Self {
        Self { table: T::default(), open: Vec::new(), made: Vec::new() }
    }
}

impl<T: Table> World<T> {
    pub(crate) fn step(&mut self, step: &Step) -> String {
        self.table.step(&mut self.open, &mut self.made, step)
    }

    /// The world as it comes back from what was written down.
    pub(crate) fn restored(&self) -> Self {
        let table = T::from_value(&super::reread(&self.table.to_value())).unwrap();
        let open = self.open.iter().map(|claim| table.take_up(&super::reread(&T::write(claim))).unwrap());
        Self { open: open.collect(), table, made: self.made.clone() }
    }
}

static POLICIES: LazyLock<[Policy; 2]> = LazyLock::new(|| [policy(0), policy(1)]);

fn policy(which: usize) -> Policy {
    let grants = [
        "[[capability]]\nname = \"a\"\nrate = \"3/min\"\nexpires_minutes = 1\n[[capability]]\nname = \"b\"\n",
        "[[capability]]\nname = \"a\"\nrate = \"2/1ms\"\n[[capability]]\nname = \"c\"\nrate = \"0/s\"\n",
    ];
    let limits = r#"
        [[limit]]
        id = "sum"
        operation = "execute"
        target = "*"
        sum = "/n"
        max = 100
        per = "1ms"
        [[limit]]
        id = "count"
        operation = "execute"
        target = "*"
        count = true
        max = 20
        per = "24h"
        [[limit]]
        id = "tokens"
        operation = "infer"
        target = "*"
        sum = "usage:tokens"
        by = "agent"
        max = 100
        per = "1ms"
    "#;
    Policy::parse(&format!("{limits}{}", grants[which]), None).unwrap()
}

impl Table for GrantTable {
    type Claim = ();

    fn to_value(&self) -> Value {
        self.to_value()
    }

    fn from_value(value: &Value) -> Result<Self, TableError> {
        Self::from_value(value)
    }

    fn is_sound(value: &Value) -> bool {
        sound::grants(value)
    }

    fn write((): &()) -> Value {
        Value::Null
    }

    fn take_up(&self, _claim: &Value) -> Option<()> {
        Some(())
    }

    fn step(&mut self, _open: &mut Vec<()>, _made: &mut Vec<CapId>, step: &Step) -> String {
        let policy = &POLICIES[step.number as usize % POLICIES.len()];
        let grant = &policy.grants()[step.pick(policy.grants().len())];
        match step.what {
            0 => self.load(policy, step.now()),
            _ => {
                let spent = self.spend(grant.id(), step.now());
                return format!("{spent} {:?}", self.state(grant, step.now()));
            }
        }
        String::new()
    }
}

impl Table for Ledger {
    type Claim = Reservation;

    fn to_value(&self) -> Value {
        self.to_value()
    }

    fn from_value(value: &Value) -> Result<Self, TableError> {
        Self::from_value(value)
    }

    fn is_sound(value: &Value) -> bool {
        sound::ledger(value)
    }

    fn write(claim: &Reservation) -> Value {
        claim.id().into()
    }

    fn take_up(&self, claim: &Value) -> Option<Reservation> {
        self.reservation(claim.as_u64()?)
    }

    fn step(&mut self, open: &mut Vec<Reservation>, _made: &mut Vec<CapId>, step: &Step) -> String {
        let claim = (!open.is_empty() && step.what > 5).then(|| open.swap_remove(step.pick(open.len())));
        let dimension = step.amounts.first().map_or(Dimension::Tokens, |(dimension, _)| *dimension);
        match (step.what, claim) {
            (0, _) => self.set_limit(dimension, Some(step.number).filter(|number| *number > 5)),
            (1, _) => self.record(step.spender(), dimension, step.number, step.now()),
            (2, _) if step.number.is_multiple_of(2) => {
                let limits = [BudgetLimit::per(step.number, 1_000).each(), BudgetLimit::ever(60)];
                self.set_policy_limits(limits.map(|limit| (dimension, limit)));
            }
            (2, _) => self.credit(step.spender(), dimension, step.number),
            (3, _) => return format!("{:?}", self.spend(step.spender(), &step.amounts, step.now())),
            (_, None) => match self.reserve(step.spender(), &step.amounts, step.now()) {
                Ok(claim) => open.push(claim),
                Err(error) => return error.to_string(),
            },
            (6, Some(claim)) => self.settle_in_full(claim, step.now()),
            (7 | 8, Some(claim)) => self.settle(claim, &step.amounts, step.now()),
            (_, Some(claim)) => self.release(claim),
        }
        String::new()
    }
}

impl Table for LimitTable {
    type Claim = LimitReservation;

    fn to_value(&self) -> Value {
        self.to_value()
    }

    fn from_value(value: &Value) -> Result<Self, TableError> {
        Self::from_value(value)
    }

    fn is_sound(value: &Value) -> bool {
        sound::limits(value)
    }

    fn write(claim: &LimitReservation) -> Value {
        claim.id().into()
    }

    fn take_up(&self, claim: &Value) -> Option<LimitReservation> {
        self.reservation(claim.as_u64()?)
    }

    fn step(&mut self, open: &mut Vec<LimitReservation>, _made: &mut Vec<CapId>, step: &Step) -> String {
        let claim = (!open.is_empty() && step.what > 7).then(|| open.swap_remove(step.pick(open.len())));
        match (step.what, claim) {
            (8 | 9, Some(claim)) => self.commit(claim, &step.amounts, step.now()),
            (_, Some(claim)) => self.release(claim),
            (_, None) => {
                let args = object! { "n": step.number % 40 };
                let (action, target) = match step.what {
                    3 => (Action::Infer, Target::model("x").unwrap()),
                    _ => (Action::Execute, Target::tool("x").unwrap()),
                };
                let query = Query { args: Some(&args), ..Query::new("main", action, &target) };
                let tokens = [(Dimension::Tokens, step.number % 40)];
                let mut charges = POLICIES[0].charges(&query, &tokens).unwrap();
                // None, both, or both twice.
                match step.what {
                    0 => {}
                    1 => charges.clear(),
                    2 => charges.extend(charges.clone()),
                    _ => charges.reverse(),
                }
                match self.reserve(&charges, step.now()) {
                    Ok(claim) => open.push(claim),
                    Err(error) => return error.to_string(),
                }
            }
        }
        String::new()
    }
}

/// A table of capabilities, which has a root from the start.
pub(crate) type Caps = CapTable;

impl Table for CapTable {
    type Claim = CapReservation;

    fn to_value(&self) -> Value {
        self.to_value()
    }

    fn from_value(value: &Value) -> Result<Self, TableError> {
        Self::from_value(value)
    }

    fn is_sound(value: &Value) -> bool {
        sound::capabilities(value)
    }

    fn write(claim: &CapReservation) -> Value {
        claim.to_value()
    }

    fn take_up(&self, claim: &Value) -> Option<CapReservation> {
        self.reservation(claim).ok()
    }

    fn step(&mut self, open: &mut Vec<CapReservation>, made: &mut Vec<CapId>, step: &Step) -> String {
        let claim = (!open.is_empty() && step.what > 8).then(|| open.swap_remove(step.pick(open.len())));
        let id = if made.is_empty() { CapId::from_u64(1 << 32) } else { made[step.pick(made.len())] };
        match (step.what, claim) {
            (9, Some(claim)) => self.release(claim),
            (_, Some(claim)) => self.settle(claim, &step.amounts),
            (0, _) => return format!("{}", self.revoke(id)),
            (1..=4, _) => {
                // Not all of them: little would be allowed.
                let caveats = step.caveats.iter().take(step.number as usize % 3).cloned();
                let derived = match step.what {
                    1 => self.root(),
                    2 | 3 if made.is_empty() => self.root(),
                    _ => self.derive(id, caveats, step.now()),
                };
                made.extend(derived.ok());
                return format!("{derived:?}");
            }
            (_, None) => {
                let target = Target::tool("tool_a@1").unwrap();
                let query = Query { elapsed: step.now(), ..Query::new("main", Action::Execute, &target) };
                match self.spend(id, &query, &[1; 16], &step.amounts) {
                    Ok(claim) => open.push(claim),
                    Err(denial) => return denial.to_string(),
                }
            }
        }
        String::new()
    }
}
