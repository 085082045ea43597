//! Cumulative limits: `[[limit]]`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Digest, Number, Object, Text, Value};

use super::amount::{Amount, MILLION};
use super::rule::{Rule, targets_to_value};
use crate::budget::Dimension;
use crate::canonical;
use crate::condition::Found;
use crate::condition::Selector;
use crate::counters::rate::Period;
use crate::pattern::{DECISION_STEPS_MAX, Meter};

/// A limit's identity: the digest of its id and of what it counts. Usage belongs to it, whatever the numbers are;
/// where a limit counts by agent, to it and the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub(crate) Digest);

/// What a request adds to a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// One.
    Count,
    /// The sum of the numbers that a pointer selects.
    Sum(Selector),
    /// What is used of a budget: set aside before the work, settled at what it really was.
    Usage(Dimension),
}

impl Measure {
    /// How a `sum` names it.
    fn to_text(&self) -> String {
        match self {
            Self::Count => String::new(),
            Self::Sum(selector) => selector.to_text(),
            Self::Usage(dimension) => alloc::format!("{USAGE_PREFIX}{dimension}"),
        }
    }
}

/// What a `sum` over usage begins with.
pub(crate) const USAGE_PREFIX: &str = "usage:";
/// What a `sum` over usage can be about.
pub(crate) const USAGE_DIMENSIONS: [Dimension; 2] = [Dimension::Tokens, Dimension::CostMicroUsd];

/// A compiled `[[limit]]`.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) id: LimitId,
    /// Which requests count.
    pub(crate) scope: Rule,
    measure: Measure,
    /// Whether each agent has a count of its own.
    by_agent: bool,
    max: Amount,
    pub(crate) per_us: u64,
    pub(crate) table: Value,
}

/// What one request adds to one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    pub(crate) limit: LimitId,
    pub(crate) name: Text,
    pub(crate) amount: Amount,
    pub(crate) max: Amount,
    pub(crate) per_us: u64,
    /// The dimension of usage that the amount is settled by.
    pub(crate) usage: Option<Dimension>,
}

/// Why a request does not pass a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The limit would be exceeded.
    #[error("limit '{id}': {requested} requested, {used} used of {max}")]
    Exceeded {
        /// The limit's id.
        id: Text,
        /// The most that may be used in its period.
        max: Amount,
        /// What is used or reserved.
        used: Amount,
        /// What was asked.
        requested: Amount,
    },
    /// What the limit sums up is missing, no number, negative or too large to count. Of a limit on usage: it is
    /// not among what is set aside.
    #[error("limit '{id}': '{pointer}' is not an amount")]
    NotAnAmount {
        /// The limit's id.
        id: Text,
        /// Where the amount should stand; `usage:tokens` and the like for usage.
        pointer: String,
    },
    /// To tell what the request adds takes more steps than a decision has.
    #[error("to tell which limits a request falls under takes more than {DECISION_STEPS_MAX} steps")]
    TooManySteps,
}

impl Limit {
    /// Whether it counts what is used of a budget.
    pub(crate) fn is_of_usage(&self) -> bool {
        matches!(self.measure, Measure::Usage(_))
    }

    pub(crate) fn new(scope: Rule, measure: Measure, by_agent: bool, max: Amount, per_us: u64) -> Self {
        let counted = counted(&scope, &measure, by_agent);
        let table = to_table(&counted, max, per_us);
        let id = LimitId(canonical::sorted(&Value::Object(counted)).digest());
        Self { id, scope, measure, by_agent, max, per_us, table }
    }

    pub(crate) fn id_text(&self) -> &Text {
        &self.scope.id
    }

    /// The identity that earlier versions gave it, which held its numbers too.
    pub(crate) fn former(&self) -> LimitId {
        LimitId(self.table.digest())
    }

    /// What a request with these arguments adds, for which so much is set aside: of several agents one charge
    /// each where the limit counts by agent, else one.
    ///
    /// `agents` are those of the asking agent's lineage that the limit is about.
    pub(crate) fn charges(
        &self,
        args: Option<&Value>,
        amounts: &[(Dimension, u64)],
        agents: &[&str],
        meter: &Meter,
    ) -> Result<Vec<Charge>, LimitError> {
        let (amount, usage) = match &self.measure {
            Measure::Count => (Some(Amount::ONE), None),
            Measure::Sum(selector) => (sum(selector, args, meter), None),
            Measure::Usage(dimension) => (Amount::used(amounts, *dimension), Some(*dimension)),
        };
        let amount = amount.ok_or_else(|| LimitError::NotAnAmount {
            id: self.scope.id.clone(),
            pointer: self.measure.to_text(),
        })?;
        let charge = |limit| Charge {
            limit,
            name: self.scope.id.clone(),
            amount,
            max: self.max,
            per_us: self.per_us,
            usage,
        };
        Ok(match self.by_agent {
            false => Vec::from([charge(self.id)]),
            true => agents.iter().map(|agent| charge(self.id.of_agent(agent))).collect(),
        })
    }
}

impl LimitId {
    /// The identity of one agent's count.
    fn of_agent(self, agent: &str) -> Self {
        Self(Digest::of_parts([self.0.as_ref(), agent.as_bytes()]))
    }
}

/// The sum of all selected numbers; `None` when nothing is selected, or something that is no amount.
fn sum(selector: &Selector, args: Option<&Value>, meter: &Meter) -> Option<Amount> {
    let mut sum = None;
    let mut sound = true;
    selector.select(args, meter, &mut |found| {
        let amount = match found {
            Found::Value(Value::Number(number), _) => Amount::at_least(number),
            Found::Value(_, _) | Found::Missing(_) | Found::Blocked(_) => None,
        };
        let total = amount.and_then(|amount| sum.unwrap_or(Amount(0)).0.checked_add(amount.0));
        sound = total.is_some();
        sum = total.map(Amount);
        sound
    });
    sum.filter(|_| sound)
}

/// The table without its numbers: what usage belongs to.
fn counted(scope: &Rule, measure: &Measure, by_agent: bool) -> Object {
    let mut table = Object::new();
    if !scope.agents.is_empty() {
        table.insert("agent", canonical::set(&scope.agents));
    }
    if by_agent {
        table.insert("by", "agent");
    }
    match measure {
        Measure::Count => table.insert("count", true),
        Measure::Sum(_) | Measure::Usage(_) => table.insert("sum", measure.to_text()),
    };
    table.insert("id", scope.id.clone());
    table.insert("operation", canonical::set(scope.actions.all_names()));
    table.insert("target", targets_to_value(&scope.targets));
    table
}

/// The whole table in canonical form.
fn to_table(counted: &Object, max: Amount, per_us: u64) -> Value {
    let mut table = counted.clone();
    let whole = max.0.is_multiple_of(MILLION);
    let max = if whole {
        Some(Number::from(max.0 / MILLION))
    } else {
        Number::from_f64(max.0 as f64 / MILLION as f64)
    };
    table.insert("max", max.map_or(Value::Null, Value::Number));
    table.insert("per", Period(per_us).to_string());
    canonical::sorted(&Value::Object(table))
}
