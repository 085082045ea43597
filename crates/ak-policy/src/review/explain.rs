//! Explains a decision in words, and suggests the rule that would permit the request.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use ak_json::Pointer;

use crate::action::Action;
use crate::agent::lineage;
use crate::decide::{Evaluation, PolicyDecision};
use crate::model::rule::{Effect, Mismatch, Rule};
use crate::pattern::{DECISION_STEPS_MAX, PathGlob};
use crate::policy::Policy;
use crate::query::Query;
use crate::target::Target;
use crate::toml_text::Quoted;

/// The most other rules that an explanation lists.
const OTHERS_MAX: usize = 32;

/// Why a request is decided as it is, with the rules that came close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision of the policy.
    pub decision: PolicyDecision,
    /// The id of the rule that decided; `None` when no rule did.
    pub rule_id: Option<String>,
    /// The place in the arguments that caused the decision, if there is one.
    pub args_path: Option<Pointer>,
    /// The reason in one sentence, in lower case without a full stop.
    pub reason: String,
    /// For a default denial, the action that no rule permits, without the actions it covers
    /// ([`Action::exact_name`]).
    pub missing: Option<Action>,
    /// For a default denial, a `[[rule]]` that would permit the request; see [`Policy::suggest`].
    pub snippet: Option<String>,
    /// The other rules whose patterns match the target, with why they did not decide; at most 32.
    pub others: Vec<OtherRule>,
}

/// A rule that matches the target and did not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRule {
    /// The rule's id.
    pub rule_id: String,
    /// What the rule would have done.
    pub effect: Effect,
    /// Why the rule did not decide.
    pub why: &'static str,
}

impl Policy {
    /// Decides on a request and explains the decision.
    pub fn explain(&self, query: &Query<'_>) -> Explanation {
        let evaluation = self.decide(query);
        Explanation {
            others: self.others(query, evaluation.rule()),
            ..self.explain_decision(query, &evaluation)
        }
    }

    /// Explains a decision that was already made, without listing other rules.
    pub fn explain_decision(&self, query: &Query<'_>, evaluation: &Evaluation<'_>) -> Explanation {
        Explanation {
            decision: evaluation.decision,
            rule_id: evaluation.rule_id().map(String::from),
            args_path: evaluation.args_path.clone(),
            reason: reason(evaluation, query),
            missing: (evaluation.decision == PolicyDecision::DefaultDeny).then_some(query.action),
            snippet: if evaluation.decision == PolicyDecision::DefaultDeny {
                self.suggest(query)
            } else {
                None
            },
            others: Vec::new(),
        }
    }

    /// A `[[rule]]` that permits exactly this operation on this target by this agent. On lines of its own behind the TOML text of
    /// this policy, or of any other that denies the request by default, it makes the request pass, whatever
    /// characters the target contains.
    ///
    /// `None` when the request is already permitted, or when it is denied for another reason than the lack of a
    /// permit, so that another permit would not help.
    pub fn suggest(&self, query: &Query<'_>) -> Option<String> {
        if query.action.kind() != query.target.kind() {
            return None;
        }
        let mut lacking = Vec::new();
        let meter = query.meter();
        let may_help =
            lineage(query.agent).all(|agent| match self.decide_for(agent, query, &meter).decision {
                PolicyDecision::Permit => true,
                PolicyDecision::DefaultDeny => {
                    lacking.push(agent);
                    true
                }
                PolicyDecision::Ask
                | PolicyDecision::Forbid
                | PolicyDecision::Expired
                | PolicyDecision::RateLimited { .. } => false,
            });
        meter.settle(query.steps);
        if !may_help {
            return None;
        }
        if lacking.is_empty() { None } else { Some(literal_rule(&lacking, query.action, query.target)) }
    }

    fn others(&self, query: &Query<'_>, deciding: Option<&Rule>) -> Vec<OtherRule> {
        let agent = lineage(query.agent).last().unwrap_or(query.agent);
        let meter = query.meter();
        let about = |rule: &&Rule| {
            deciding.is_none_or(|deciding| deciding.id != rule.id)
                && rule.matches_within(query.action, query.target, &meter)
        };
        let other = |rule: &Rule| OtherRule {
            rule_id: rule.id.as_str().into(),
            effect: rule.effect,
            why: match rule.applies(query.rule_context(agent, &meter)) {
                Ok(()) => "a stronger or earlier rule decided",
                Err(Mismatch::Agent) => "it is about other agents",
                Err(Mismatch::Owner) => "the target belongs to another agent",
                Err(Mismatch::Time) => "it is about another time",
                Err(Mismatch::When) => "its 'when' does not hold",
                Err(Mismatch::Unless) => "its 'unless' holds",
                Err(Mismatch::Only) if rule.effect == Effect::Permit => {
                    "there are arguments besides its 'only'"
                }
                Err(Mismatch::Only) => "there are no arguments besides its 'only'",
            },
        };
        self.rules().iter().filter(about).take(OTHERS_MAX).map(other).collect()
    }
}

fn reason(evaluation: &Evaluation<'_>, query: &Query<'_>) -> String {
    let Query { action, target, .. } = query;
    let agent = evaluation.agent(query);
    let mut reason = match (evaluation.decision, evaluation.rule_id()) {
        (PolicyDecision::Permit, Some(rule)) => alloc::format!("rule '{rule}' permits {action} on {target}"),
        (PolicyDecision::Ask, Some(rule)) => {
            alloc::format!("rule '{rule}' asks for approval of {action} on {target}")
        }
        (PolicyDecision::Forbid, Some(rule)) => alloc::format!("rule '{rule}' forbids {action} on {target}"),
        (PolicyDecision::Forbid, None) => alloc::format!(
            "to match {target} with the patterns of the policy takes more than {DECISION_STEPS_MAX} steps"
        ),
        (PolicyDecision::Expired, Some(rule)) => {
            alloc::format!("the grant '{rule}' of {action} on {target} has expired")
        }
        (PolicyDecision::RateLimited { .. }, Some(rule)) => {
            alloc::format!("the rate of the grant '{rule}' of {action} on {target} is reached")
        }
        (_, _) => alloc::format!("no rule permits {action} on {target}"),
    };
    if agent != query.agent {
        reason.push_str(&alloc::format!(" for its ancestor '{agent}'"));
    }
    if let Some(path) = &evaluation.args_path {
        reason.push_str(&alloc::format!(", because of the argument at '{path}'"));
    }
    reason
}

fn literal_rule(agents: &[&str], action: Action, target: &Target) -> String {
    let agents: Vec<_> = agents.iter().map(|agent| PathGlob::literal(agent).to_string()).collect();
    let agents: Vec<_> = agents.iter().map(|agent| Quoted(agent).to_string()).collect();
    let agent = match agents.as_slice() {
        [agent] => agent.clone(),
        several => alloc::format!("[{}]", several.join(", ")),
    };
    let (operation, target) = (action.exact_name(), target.to_string());
    alloc::format!(
        "[[rule]]\neffect = \"permit\"\noperation = \"{operation}\"\ntarget = {{ literal = {} }}\nagent = {agent}\n",
        Quoted(&target)
    )
}

impl fmt::Display for Explanation {
    /// Writes the reason, then the other rules, then the suggestion.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        for other in &self.others {
            write!(f, "\n  {} '{}' did not decide: {}", other.effect, other.rule_id, other.why)?;
        }
        match &self.snippet {
            Some(snippet) => write!(f, "\nto permit exactly this, append:\n{snippet}"),
            None => Ok(()),
        }
    }
}
