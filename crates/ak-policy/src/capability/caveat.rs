//! Caveats: what narrows a capability.

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

/// The most caveats that one capability adds to its parent's.
pub const CAVEATS_MAX: usize = 32;
/// The most bytes of a caveat in [its encoding](Authority::to_bytes).
pub const CAVEAT_BYTES_MAX: usize = u16::MAX as usize;

/// One condition on the use of a capability. A closed list: what is not known is refused, never skipped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caveat {
    /// Only these operations.
    Operations(Actions),
    /// Only targets that match one of these patterns. Made by [`Caveat::targets`], in one order and each
    /// once.
    Targets(TargetPatterns),
    /// Only for the agents that match.
    Agent(AgentPattern),
    /// Not before this time, in µs. In a [`CapTable`](super::CapTable) of what has passed: not before
    /// [`Elapsed::low_us`] is so much. In what a token says by itself, since the Unix epoch.
    NotBefore(u64),
    /// Not at or after this time, in µs. In a [`CapTable`](super::CapTable) of what has passed: until
    /// [`Elapsed::high_us`] is so much. In what a token says by itself, since the Unix epoch.
    ExpiresAt(u64),
    /// Only in the run of this id.
    Run([u8; 16]),
    /// At most so often in a period.
    Rate(Rate),
    /// At most this many uses.
    Uses(u64),
    /// At most this amount of a budget.
    Budget(Dimension, u64),
}

/// A pattern over targets of one kind, as a policy's rule writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPattern {
    pub(super) kind: TargetKind,
    pub(super) pattern: Pattern,
}

/// Patterns of which one must match, in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPatterns(pub(super) Vec<TargetPattern>);

/// A pattern over agents, as a policy's rule writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentPattern(PathGlob);

/// Texts that make no caveat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct CaveatError(#[from] ScopeError);

impl TargetPattern {
    /// Parses a pattern over targets of a kind: `/data/**`, `https://example.com/**`, `tool:file_*`.
    ///
    /// # Errors
    /// [`CaveatError`] when the text is no such pattern.
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
    /// Parses a pattern over agents: `main`, `crew/*`.
    ///
    /// # Errors
    /// [`CaveatError`] when the text is no such pattern.
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

/// Whether a caveat holds for a request, apart from its rates and budgets.
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

    /// The caveats of a grant by name, as a `[[capability]]` table has them: a tool, or `fs`, `http`, `net`,
    /// `infer`, `spawn` with a resource and methods. `*` is every resource, every method; a single method may
    /// be left out.
    ///
    /// # Errors
    /// [`CaveatError`] when name, resource and methods make no capability.
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

    /// Checks everything but what the kernel must keep count of, at a time on the clock that the caveat's own
    /// times are on.
    pub(super) fn outcome(&self, query: &Query<'_>, run: &[u8; 16], now: Elapsed) -> CaveatOutcome {
        let within = |holds| if holds { CaveatOutcome::Holds } else { CaveatOutcome::OutOfScope };
        match self {
            Self::Operations(actions) => within(actions.contains(query.action)),
            Self::Targets(TargetPatterns(patterns)) => {
                let fits = query.action.kind() == query.target.kind();
                // However many patterns there are, they are paid for together.
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

/// What a capability allows: everything that satisfies all of its caveats, which stand in ascending order,
/// each once. Without caveats it is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority(Vec<Caveat>);

impl Authority {
    /// Authority without any caveat.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The authority that both allow; never more than either.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).cloned().collect()
    }

    /// Of caveats that stand in strictly ascending order.
    pub(super) fn ascending(caveats: Vec<Caveat>) -> Self {
        Self(caveats)
    }

    /// Adds the caveats of another.
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

    /// Whether a request is within the authority, uses, rates and budgets aside, its times read as wall clock
    /// times and compared with [`Query::now_us`]: for what a token says by itself, wherever it was narrowed.
    pub fn covers(&self, query: &Query<'_>, run: &[u8; 16]) -> bool {
        self.covers_at(query, run, Elapsed::exactly(query.now_us))
    }

    /// The same with its times read as of a [`CapTable`](super::CapTable), on [`Query::elapsed`]: for what
    /// [`CapTable::authority`](super::CapTable::authority) gave.
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
