//! Cumulative limits: `[[limit]]`.

mod amount;
mod table;

use alloc::string::{String, ToString};

use ak_json::{Digest, Number, Object, Text, Value};

pub use amount::Amount;
use amount::MILLION;
pub use table::{LimitReservation, LimitTable};

use crate::canonical;
use crate::condition::Found;
use crate::condition::Selector;
use crate::rate::Period;
use crate::rule::{Rule, targets_to_value};

/// A limit's identity: the digest of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(Digest);

/// What a request adds to a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// One.
    Count,
    /// The sum of the numbers that a pointer selects.
    Sum(Selector),
}

/// A compiled `[[limit]]`.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    id: LimitId,
    /// Which requests count.
    pub(crate) scope: Rule,
    measure: Measure,
    max: Amount,
    per_us: u64,
    pub(crate) table: Value,
}

/// What one request adds to one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    limit: LimitId,
    name: Text,
    amount: Amount,
    max: Amount,
    per_us: u64,
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
    /// What the limit sums up is missing, no number, negative or too large to count.
    #[error("limit '{id}': '{pointer}' is not an amount")]
    NotAnAmount {
        /// The limit's id.
        id: Text,
        /// Where the amount should stand.
        pointer: String,
    },
}

impl Limit {
    pub(crate) fn new(scope: Rule, measure: Measure, max: Amount, per_us: u64) -> Self {
        let table = to_table(&scope, &measure, max, per_us);
        Self { id: LimitId(table.digest()), scope, measure, max, per_us, table }
    }

    pub(crate) fn id_text(&self) -> &Text {
        &self.scope.id
    }

    /// What a request with these arguments adds.
    pub(crate) fn charge(&self, args: Option<&Value>) -> Result<Charge, LimitError> {
        let amount = match &self.measure {
            Measure::Count => Some(Amount::ONE),
            Measure::Sum(selector) => sum(selector, args),
        };
        let amount = amount.ok_or_else(|| LimitError::NotAnAmount {
            id: self.scope.id.clone(),
            pointer: match &self.measure {
                Measure::Count => String::new(),
                Measure::Sum(selector) => selector.to_text(),
            },
        })?;
        Ok(Charge { limit: self.id, name: self.scope.id.clone(), amount, max: self.max, per_us: self.per_us })
    }
}

/// The sum of all selected numbers; `None` when nothing is selected, or something that is no amount.
fn sum(selector: &Selector, args: Option<&Value>) -> Option<Amount> {
    let mut sum = None;
    let mut sound = true;
    selector.select(args, &mut |found| {
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

fn to_table(scope: &Rule, measure: &Measure, max: Amount, per_us: u64) -> Value {
    let mut table = Object::new();
    if !scope.agents.is_empty() {
        table.insert("agent", canonical::set(&scope.agents));
    }
    if *measure == Measure::Count {
        table.insert("count", true);
    }
    table.insert("id", scope.id.clone());
    let whole = max.0.is_multiple_of(MILLION);
    let max = if whole {
        Some(Number::from(max.0 / MILLION))
    } else {
        Number::from_f64(max.0 as f64 / MILLION as f64)
    };
    table.insert("max", max.map_or(Value::Null, Value::Number));
    table.insert("operation", canonical::set(scope.actions.all_names()));
    table.insert("per", Period(per_us).to_string());
    if let Measure::Sum(selector) = measure {
        table.insert("sum", selector.to_text());
    }
    table.insert("target", targets_to_value(&scope.targets));
    Value::Object(table)
}
