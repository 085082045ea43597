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

/// Whether an agent may perform an action on a target, with everything that the decision may depend on.
///
/// [`Query::new`] takes the required parts; the other fields have defaults and can be set.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// Who asks: the path of the agent's names, `main` or `crew/writer`.
    pub agent: &'a str,
    /// What is to be done.
    pub action: Action,
    /// What it is to be done to.
    pub target: &'a Target,
    /// The arguments, as they will be used.
    pub args: Option<&'a Value>,
    /// What the request as a whole carries.
    pub labels: &'a Labels,
    /// What is known about parts of the arguments.
    pub origins: &'a [Origin],
    /// Whether the heap object or the audit entries belong to the asking agent.
    pub owned: bool,
    /// The wall clock, in µs since the Unix epoch: for the calendar, and for what tokens say by themselves.
    pub now_us: u64,
    /// The time that has passed: for rates, lifetimes and expiries.
    pub elapsed: Elapsed,
    /// How the policy's grants stand.
    pub grants: &'a dyn GrantClock,
    /// The steps that all decisions for one request may take together; `None` limits each decision by itself.
    pub steps: Option<&'a Steps>,
}

const NO_LABELS: &Labels =
    &Labels { integrity: Integrity::Trusted, secrecy: alloc::collections::BTreeSet::new() };

impl<'a> Query<'a> {
    /// A request without arguments, labels and ownership, at the epoch, when
    /// nothing has passed, with all grants fresh.
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

    /// What the conditions of rules are asked about, for one of the agents that must pass.
    pub(crate) fn rule_context<'f>(&self, agent: &'f str, meter: &'f Meter) -> RuleContext<'f>
    where
        'a: 'f,
    {
        let input = ConditionInput { args: self.args, labels: self.labels, origins: self.origins, meter };
        RuleContext { agent, now_us: self.now_us, owned: self.owned, input }
    }
    /// For one decision.
    pub(crate) fn meter(&self) -> Meter {
        Meter::within(DECISION_STEPS_MAX, self.steps)
    }
}
