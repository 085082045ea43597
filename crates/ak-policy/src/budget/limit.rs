//! What limits a dimension.

use core::fmt;

use crate::counters::rate::Period;

/// The most limits that one list in a policy may have, and the most periods, the shortest first, for which usage
/// is kept apart precisely.
pub const PERIODS_MAX: usize = 16;

/// A limit that a policy sets on one dimension of an account: in total, or over any span of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BudgetLimit {
    /// Whether it is on what the agent itself uses; else on what it and all below it use together.
    pub each: bool,
    /// The length of the span in µs; `None` is for ever.
    pub per_us: Option<u64>,
    /// The most that may be used; 0 is nothing.
    pub max: u64,
}

impl BudgetLimit {
    /// A limit on the total that an agent and all below it use.
    pub const fn ever(max: u64) -> Self {
        Self { each: false, per_us: None, max }
    }

    /// A limit on what an agent and all below it use over any span of `per_us` microseconds.
    pub const fn per(max: u64, per_us: u64) -> Self {
        Self { per_us: Some(per_us), ..Self::ever(max) }
    }

    /// The same limit on what the agent itself uses.
    #[must_use]
    pub const fn each(self) -> Self {
        Self { each: true, ..self }
    }
}

impl fmt::Display for BudgetLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.max)?;
        if let Some(per_us) = self.per_us {
            write!(f, " per {}", Period(per_us))?;
        }
        if self.each { f.write_str(" each") } else { Ok(()) }
    }
}

/// Who uses what is charged to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spender {
    /// The agent whose account it is.
    Itself,
    /// An agent below it.
    Below,
}

impl Spender {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Below => "below",
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
        /// Whether it is on what the agent itself uses.
        each: bool,
    },
    /// What was set besides; see [`Ledger::set_limit`](super::Ledger::set_limit).
    Set,
}
