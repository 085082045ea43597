//! What limits a dimension.

use core::fmt;

use crate::rate::Period;

/// The most limits that one list in a policy may have, and the most periods, the shortest first, for which usage is
/// kept apart precisely.
pub const PERIODS_MAX: usize = 16;

/// A limit that a policy sets on one dimension: so much ever, or over any span of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BudgetLimit {
    /// The length of the span in µs; `None` is for ever.
    pub per_us: Option<u64>,
    /// The most that may be used; 0 is nothing.
    pub max: u64,
}

impl BudgetLimit {
    /// A limit on what is ever used.
    pub const fn ever(max: u64) -> Self {
        Self { per_us: None, max }
    }

    /// A limit over any span of so many µs.
    pub const fn per(max: u64, per_us: u64) -> Self {
        Self { per_us: Some(per_us), max }
    }
}

impl fmt::Display for BudgetLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per_us {
            None => write!(f, "{}", self.max),
            Some(per_us) => write!(f, "{} per {}", self.max, Period(per_us)),
        }
    }
}

/// What sets the effective limit of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The policy.
    Policy {
        /// The length of the span that it limits, in µs; `None` is for ever.
        per_us: Option<u64>,
    },
    /// What was set besides; see [`Ledger::set_limit`](super::Ledger::set_limit).
    Set,
}
