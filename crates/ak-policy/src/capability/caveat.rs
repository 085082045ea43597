//! Caveats: conditions that narrow a capability.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use crate::action::{Action, Actions, TargetKind};
use crate::budget::Dimension;
use crate::counters::elapsed::Elapsed;
use crate::counters::rate::Rate;
use crate::model::scope::{self, MethodTable, ScopeError};
use crate::pattern::{Meter, PATTERN_STEPS_MAX, PathGlob, Pattern, Reading, parse_agent};
use crate::query::Query;

/// The most caveats that a capability adds to its parent's.
pub const CAVEATS_MAX: usize = 32;
/// The most bytes of a caveat's body in [its encoding](Authority::to_bytes).
pub const CAVEAT_BYTES_MAX: usize = u16::MAX as usize;

/// One condition on the use of a capability. The list is closed: an unknown caveat is rejected, never skipped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caveat {
    /// Only these operations.
    Operations(Actions),
    /// Only targets that match one of these patterns, which [`Caveat::targets`] sorts and makes unique.
    Targets(TargetPatterns),
    /// Only for agents that match.
    Agent(AgentPattern),
    /// Not before this time in µs. In a [`CapTable`](super::CapTable) the time is elapsed time, compared with
    /// [`Elapsed::low_us`]; in a token it is since the Unix epoch.
    NotBefore(u64),
    /// Not at or after this time in µs. In a [`CapTable`](super::CapTable) the time is elapsed time, compared with
    /// [`Elapsed::high_us`]; in a token it is since the Unix epoch.
    ExpiresAt(u64),
    /// Only in the run with this id.
    Run([u8; 16]),
    /// At most so many uses in a period.
    Rate(Rate),
    /// At most this many uses.
    Uses(u64),
    /// At most this amount of a budget, in total.
    Budget(Dimension, u64),
}

/// A pattern over targets of one kind, written as in a policy's rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPattern {
    pub(super) kind: TargetKind,
    pub(super) pattern: Pattern,
}

/// Patterns of which one must match, in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPatterns(pub(super) Vec<TargetPattern>);

/// A pattern over names of agents, written as in a policy's rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentPattern(PathGlob);

/// Text that is not a caveat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct CaveatError(#[from] ScopeError);

impl TargetPattern {
    /// Parses a pattern over targets of a kind: `/data/**`, `https://example.com/**`, `tool:file_*`.
    ///
    /// # Errors
    /// [`CaveatError`] when the text is not such a pattern.
    pub fn parse(kind: TargetKind, text: &str) -> Result<Self, CaveatError> {
        let pattern = Pattern::parse(kind, text, None).map_err(ScopeError::from)?;
        Ok(Self { kind, pattern })
    }

    fn matches(&self, query: &Query<'_>, meter: &Meter) -> bool {
        query.target.kind() == self.kind
            && self.pattern.matches_within(query.action, query.target, Reading::Narrow, meter)
    }
}

impl AgentPattern {
    /// Parses a pattern over names of agents: `main`, `crew/*`.
    ///
    /// # Errors
    /// [`CaveatError`] when the text is not such a pattern.
    pub fn parse(text: &str) -> Result<Self, CaveatError> {
        Ok(Self(parse_agent(text).map_err(ScopeError::from)?))
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)
    }
}

impl fmt::Display for AgentPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a caveat holds for a request, apart from uses, rates and budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaveatOutcome {
    Holds,
    OutOfScope,
    TooEarly,
    Expired,
    OtherRun,
}

impl Caveat {
    /// Only targets that match one of the patterns.
    pub fn targets(patterns: impl IntoIterator<Item = TargetPattern>) -> Self {
        let patterns: BTreeSet<_> = patterns.into_iter().collect();
        Self::Targets(TargetPatterns(patterns.into_iter().collect()))
    }

    /// The caveats of a grant as a `[[capability]]` table describes it: `name` is a tool, or `fs`, `http`, `net`,
    /// `infer`, `spawn` with a resource and methods. `*` is every resource, or every method; methods may be empty
    /// where the name has only one.
    ///
    /// # Errors
    /// [`CaveatError`] when name, resource and methods do not form a capability.
    pub fn grant(name: &str, resource: &str, methods: &[&str]) -> Result<[Caveat; 2], CaveatError> {
        let actions = MethodTable::of(name).actions(methods)?;
        let patterns = scope::patterns(name, resource, None)?;
        let actions = scope::fitting(actions, &patterns)?;
        let mut kinds: Vec<_> = actions.iter().map(Action::kind).collect();
        kinds.dedup();
        let of_kind = |kind: TargetKind| {
            let fitting = patterns.iter().filter(move |pattern| pattern.fits(kind)).cloned();
            fitting.map(move |pattern| TargetPattern { kind, pattern: pattern.of_kind(kind) })
        };
        Ok([Self::Operations(actions), Self::targets(kinds.into_iter().flat_map(of_kind))])
    }

    /// Checks everything except uses, rates and budgets. `now` is on the clock that the caveat's times are on.
    pub(super) fn outcome(&self, query: &Query<'_>, run: &[u8; 16], now: Elapsed) -> CaveatOutcome {
        let within = |holds| if holds { CaveatOutcome::Holds } else { CaveatOutcome::OutOfScope };
        match self {
            Self::Operations(actions) => within(actions.contains(query.action)),
            Self::Targets(TargetPatterns(patterns)) => {
                let fits = query.action.kind() == query.target.kind();
                // All the patterns share one limit of steps.
                let meter = Meter::within(PATTERN_STEPS_MAX, query.steps);
                let mut patterns = patterns.iter();
                let matches = |pattern: &TargetPattern| pattern.matches(query, &meter) && !meter.is_spent();
                let matched = fits && patterns.any(matches);
                meter.settle(query.steps);
                within(matched)
            }
            Self::Agent(agent) => within(agent.0.matches(query.agent)),
            Self::NotBefore(from_us) if now.low_us < *from_us => CaveatOutcome::TooEarly,
            Self::ExpiresAt(until_us) if now.high_us >= *until_us => CaveatOutcome::Expired,
            Self::Run(own) if own != run => CaveatOutcome::OtherRun,
            Self::NotBefore(_)
            | Self::ExpiresAt(_)
            | Self::Run(_)
            | Self::Rate(_)
            | Self::Uses(_)
            | Self::Budget(..) => CaveatOutcome::Holds,
        }
    }
}

/// The set of a capability's caveats, all of which must hold, in ascending order without duplicates. Without
/// caveats everything is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority(Vec<Caveat>);

impl Authority {
    /// Authority without any caveat.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The authority that allows what both allow.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).cloned().collect()
    }

    /// The authority of caveats that are already in strictly ascending order.
    pub(super) fn ascending(caveats: Vec<Caveat>) -> Self {
        Self(caveats)
    }

    /// Adds the caveats of another authority.
    pub(super) fn narrow(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
        } else {
            *self = core::mem::take(&mut self.0).into_iter().chain(other.0).collect();
        }
    }

    /// The caveats, in canonical order.
    pub fn caveats(&self) -> impl ExactSizeIterator<Item = &Caveat> {
        self.0.iter()
    }

    /// Whether a request is within the authority of a token: checks all caveats except uses, rates and budgets,
    /// with their times compared with the wall clock, [`Query::now_us`].
    pub fn covers(&self, query: &Query<'_>, run: &[u8; 16]) -> bool {
        self.covers_at(query, run, Elapsed::exactly(query.now_us))
    }

    /// Like [`covers`](Self::covers), with the caveats' times compared with [`Query::elapsed`]: for an authority
    /// that [`CapTable::authority`](super::CapTable::authority) returned.
    pub fn covers_elapsed(&self, query: &Query<'_>, run: &[u8; 16]) -> bool {
        self.covers_at(query, run, query.elapsed)
    }

    fn covers_at(&self, query: &Query<'_>, run: &[u8; 16], now: Elapsed) -> bool {
        self.0.iter().all(|caveat| caveat.outcome(query, run, now) == CaveatOutcome::Holds)
    }
}

impl FromIterator<Caveat> for Authority {
    fn from_iter<I: IntoIterator<Item = Caveat>>(caveats: I) -> Self {
        let mut caveats: Vec<_> = caveats.into_iter().collect();
        caveats.sort();
        caveats.dedup();
        Self(caveats)
    }
}
