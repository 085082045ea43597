//! The limits of a budget dimension.

use core::fmt;

use crate::counters::rate::Period;

/// The most limits in one list of a policy, and the most periods, shortest first, for which usage is kept precisely.
pub const PERIODS_MAX: usize = 16;

/// A limit of a policy on one dimension of an account, in total or over any span of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BudgetLimit {
    /// Whether the limit is on what the agent itself uses; otherwise on what it and all its descendants use
    /// together.
    pub each: bool,
    /// The length of the span in µs; `None` means for ever.
    pub per_us: Option<u64>,
    /// The most that may be used; 0 allows nothing.
    pub max: u64,
}

impl BudgetLimit {
    /// A limit on the total that an agent and all its descendants use.
    pub const fn ever(max: u64) -> Self {
        Self { each: false, per_us: None, max }
    }

    /// A limit on what an agent and all its descendants use over any span of `per_us` microseconds.
    pub const fn per(max: u64, per_us: u64) -> Self {
        Self { per_us: Some(per_us), ..Self::ever(max) }
    }

    /// The same limit, but on what the agent itself uses.
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

/// Whether an account is charged by its agent or by a descendant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spender {
    /// The agent that the account belongs to.
    Itself,
    /// A descendant of that agent.
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

/// What sets the effective limit of an account: the policy, or a limit set by a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// A limit of the policy.
    Policy {
        /// The length of the limit's span in µs; `None` means for ever.
        per_us: Option<u64>,
        /// Whether the limit is on what the agent itself uses.
        each: bool,
    },
    /// A limit set by a request; see [`Ledger::set_limit`](super::Ledger::set_limit).
    Set,
}
