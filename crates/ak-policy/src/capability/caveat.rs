//! Caveats: what narrows a capability.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};

use crate::action::{Actions, TargetKind};
use crate::budget::Dimension;
use crate::pattern::{PathGlob, Pattern, PatternError, Reading, parse_agent};
use crate::query::Query;
use crate::rate::Rate;

/// A capability carries at most so many caveats of its own.
pub const CAVEATS_MAX: usize = 32;

/// One condition on the use of a capability. A closed list: what is not known is refused, never skipped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caveat {
    /// Only these operations.
    Operations(Actions),
    /// Only targets that match, of the pattern's kind.
    Target(TargetPattern),
    /// Only for the agents that match.
    Agent(AgentPattern),
    /// Not before this time, in µs since the Unix epoch.
    NotBefore(u64),
    /// Not at or after this time, in µs since the Unix epoch.
    ExpiresAt(u64),
    /// Only in the run of this id.
    Run([u8; 16]),
    /// At most so often in a period.
    Rate(Rate),
    /// At most so many times.
    Uses(u64),
    /// At most so much of a budget.
    Budget(Dimension, u64),
}

/// A pattern over targets, as a policy's rule writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPattern {
    pub(crate) kind: TargetKind,
    pub(crate) pattern: Pattern,
}

/// A pattern over agents, as a policy's rule writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentPattern(PathGlob);

/// A text that is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CaveatError(PatternError);

impl TargetPattern {
    /// Parses a pattern over targets of a kind: `/data/**`, `https://example.com/**`, `tool:file_*`.
    ///
    /// # Errors
    /// [`CaveatError`] when the text is no such pattern.
    pub fn parse(kind: TargetKind, text: &str) -> Result<Self, CaveatError> {
        Pattern::parse(kind, text, None).map(|pattern| Self { kind, pattern }).map_err(CaveatError)
    }

    pub(crate) fn text(&self) -> String {
        self.pattern.to_string()
    }
}

impl AgentPattern {
    /// Parses a pattern over agents: `main`, `crew/*`.
    ///
    /// # Errors
    /// [`CaveatError`] when the text is no such pattern.
    pub fn parse(text: &str) -> Result<Self, CaveatError> {
        parse_agent(text).map(Self).map_err(CaveatError)
    }

    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }
}

/// What a caveat says to a request, its state aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Yes,
    OutOfScope,
    TooEarly,
    Expired,
    OtherRun,
}

impl Caveat {
    /// Checks everything but what the kernel must keep count of.
    pub(super) fn says(&self, query: &Query<'_>, run: &[u8; 16]) -> Says {
        let within = |holds| if holds { Says::Yes } else { Says::OutOfScope };
        match self {
            Self::Operations(actions) => within(actions.contains(query.action)),
            Self::Target(target) => {
                let fits = query.action.kind() == target.kind && query.target.kind() == target.kind;
                within(fits && target.pattern.matches(query.action, query.target, Reading::Narrow))
            }
            Self::Agent(agent) => within(agent.0.matches(query.agent)),
            Self::NotBefore(from_us) if query.now_us < *from_us => Says::TooEarly,
            Self::ExpiresAt(until_us) if query.now_us >= *until_us => Says::Expired,
            Self::Run(own) if own != run => Says::OtherRun,
            Self::NotBefore(_)
            | Self::ExpiresAt(_)
            | Self::Run(_)
            | Self::Rate(_)
            | Self::Uses(_)
            | Self::Budget(..) => Says::Yes,
        }
    }
}

/// What a capability allows: everything that satisfies all of its caveats. Without caveats it is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority(BTreeSet<Caveat>);

impl Authority {
    /// Authority without any caveat.
    pub fn everything() -> Self {
        Self::default()
    }

    /// What both allow. There is no way to have more than either.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The caveats, in canonical order.
    pub fn caveats(&self) -> impl ExactSizeIterator<Item = &Caveat> {
        self.0.iter()
    }

    /// Whether a request is within the authority, uses, rates and budgets aside.
    pub fn covers(&self, query: &Query<'_>, run: &[u8; 16]) -> bool {
        self.0.iter().all(|caveat| caveat.says(query, run) == Says::Yes)
    }
}

impl FromIterator<Caveat> for Authority {
    fn from_iter<I: IntoIterator<Item = Caveat>>(caveats: I) -> Self {
        Self(caveats.into_iter().collect())
    }
}
