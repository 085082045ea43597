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

/// Identifies a limit: the digest of its id and of what it counts, without its numbers. Usage is kept under this
/// identity; a limit that counts by agent has one identity for each agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub(crate) Digest);

/// How the amount that a request adds to a limit is determined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Each request counts 1.
    Count,
    /// The sum of the numbers in the arguments that a pointer selects.
    Sum(Selector),
    /// Usage of a budget dimension: reserved before the work, settled at the actual usage.
    Usage(Dimension),
}

impl Measure {
    /// The text of a limit's `sum`; empty for a count.
    fn to_text(&self) -> String {
        match self {
            Self::Count => String::new(),
            Self::Sum(selector) => selector.to_text(),
            Self::Usage(dimension) => alloc::format!("{USAGE_PREFIX}{dimension}"),
        }
    }
}

/// The prefix of a `sum` over usage.
pub(crate) const USAGE_PREFIX: &str = "usage:";
/// The dimensions that a `sum` over usage accepts.
pub(crate) const USAGE_DIMENSIONS: [Dimension; 2] = [Dimension::Tokens, Dimension::CostMicroUsd];

/// A compiled `[[limit]]`.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) id: LimitId,
    /// Selects the requests that count.
    pub(crate) scope: Rule,
    measure: Measure,
    /// Whether each agent has its own count.
    by_agent: bool,
    max: Amount,
    pub(crate) per_us: u64,
    pub(crate) table: Value,
}

/// The amount that one request adds to one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    pub(crate) limit: LimitId,
    pub(crate) name: Text,
    pub(crate) amount: Amount,
    pub(crate) max: Amount,
    pub(crate) per_us: u64,
    /// The dimension whose usage settles the amount; `None` keeps the amount as it is.
    pub(crate) usage: Option<Dimension>,
}

/// Why a request does not pass a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The request would exceed the limit.
    #[error("limit '{id}': {requested} requested, {used} used of {max}")]
    Exceeded {
        /// The limit's id.
        id: Text,
        /// The most that may be used within the limit's period.
        max: Amount,
        /// What is used within the period or reserved.
        used: Amount,
        /// The amount requested.
        requested: Amount,
    },
    /// The value to sum up is missing, not a number, negative or too large to count; for a limit on usage, the
    /// dimension is not among the reserved amounts.
    #[error("limit '{id}': '{pointer}' is not an amount")]
    NotAnAmount {
        /// The limit's id.
        id: Text,
        /// The pointer to the missing amount, or `usage:tokens` and the like for a limit on usage.
        pointer: String,
    },
    /// Determining the charges takes more steps than a decision may take.
    #[error("finding the limits that apply to the request takes more than {DECISION_STEPS_MAX} steps")]
    TooManySteps,
}

impl Limit {
    /// Whether the limit counts usage of a budget.
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

    /// The identity that earlier versions gave the limit: a digest that included its numbers.
    pub(crate) fn former(&self) -> LimitId {
        LimitId(self.table.digest())
    }

    /// The charges of a request with these arguments, for which `amounts` are reserved in budgets: one for each of
    /// `agents` where the limit counts by agent, else one.
    ///
    /// `agents` are the members of the asking agent's lineage that the limit applies to.
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

/// The sum of all selected numbers; `None` when the selector finds nothing, or finds something that is not an
/// amount.
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

/// The table without its numbers, whose digest identifies the usage.
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
