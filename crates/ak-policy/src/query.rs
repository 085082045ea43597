//! The question that a policy decides.

use ak_json::{Integrity, Labels, Value};

use crate::action::Action;
use crate::condition::{ConditionInput, Origin};
use crate::counters::elapsed::Elapsed;
use crate::model::grant::{FreshGrants, GrantClock};
use crate::model::rule::RuleContext;
use crate::pattern::{DECISION_STEPS_MAX, Meter};
use crate::steps::Steps;
use crate::target::Target;

/// One question to a policy: whether an agent may perform an action on a target, with everything the decision may
/// depend on.
///
/// [`Query::new`] takes the required parts; the other fields have defaults and can be set.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The agent that asks, by its path of names: `main` or `crew/writer`.
    pub agent: &'a str,
    /// The action that the agent wants to perform.
    pub action: Action,
    /// The target that the action acts on.
    pub target: &'a Target,
    /// The arguments exactly as they will be used; `None` when the request has none.
    pub args: Option<&'a Value>,
    /// The labels of the request as a whole.
    pub labels: &'a Labels,
    /// Labels and sources of parts of the arguments.
    pub origins: &'a [Origin],
    /// Whether the target (a heap object or audit entries) belongs to the asking agent.
    pub owned: bool,
    /// The wall clock in µs since the Unix epoch: for the time windows of rules, and for the times in a token's
    /// caveats.
    pub now_us: u64,
    /// Elapsed time: for rates, lifetimes and expiries.
    pub elapsed: Elapsed,
    /// Gives the state of the policy's grants: expired, rate-limited or alive.
    pub grants: &'a dyn GrantClock,
    /// The steps that all decisions on one request may take together; `None` limits each decision separately.
    pub steps: Option<&'a Steps>,
}

const NO_LABELS: &Labels =
    &Labels { integrity: Integrity::Trusted, secrecy: alloc::collections::BTreeSet::new() };

impl<'a> Query<'a> {
    /// A query without arguments, labels and ownership, at the Unix epoch and elapsed time 0, with all grants
    /// fresh.
    pub fn new(agent: &'a str, action: Action, target: &'a Target) -> Self {
        Self {
            agent,
            action,
            target,
            args: None,
            labels: NO_LABELS,
            origins: &[],
            owned: false,
            now_us: 0,
            elapsed: Elapsed::default(),
            grants: &FreshGrants,
            steps: None,
        }
    }

    /// The parts of the query that rules test, for one agent of the asking agent's lineage.
    pub(crate) fn rule_context<'f>(&self, agent: &'f str, meter: &'f Meter) -> RuleContext<'f>
    where
        'a: 'f,
    {
        let input = ConditionInput { args: self.args, labels: self.labels, origins: self.origins, meter };
        RuleContext { agent, now_us: self.now_us, owned: self.owned, input }
    }
    /// The meter for one decision.
    pub(crate) fn meter(&self) -> Meter {
        Meter::within(DECISION_STEPS_MAX, self.steps)
    }
}
