//! AUTHORIZE: the whole gate, budget included, for a request that is not made.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use ak_heap::Handle;
use ak_json::{Text, Value, object};
use ak_policy::{Action, GrantClock, Target, budget::Dimension};

use ak_audit::Decision as Ruled;

use crate::{
    capability::Cover,
    code::Code,
    gate::{Gate, Passed, Ruling},
    inference,
    kernel::{Caller, Kernel},
    presented::Presented,
    question::Question,
    reply::{Failure, Reply},
};

/// What is told of a request that is not made.
#[derive(Default)]
struct Foreseen {
    target: String,
    authorized: bool,
    /// What it would rest on; of a denial, what it lacks.
    capability_name: String,
    ttl_us: Option<u64>,
    reason: String,
    rule_id: String,
    suggestion: String,
}

impl Kernel {
    /// What would be decided, for the record, and what is told of it.
    pub(crate) fn foresee(
        &mut self,
        caller: &Caller,
        presented: Option<&Presented>,
        operation: &Text,
        target: &Text,
        args: Option<Value>,
    ) -> (Ruling, Reply) {
        let (ruling, foreseen) = match Target::resolve(operation, target) {
            Ok((action, resolved)) => {
                let owned = self.is_ones_own(caller, &resolved);
                // Of a request to a model what would go out is judged, its limit clamped.
                let agent = self.agents.name(caller.account);
                let args = match (action, args) {
                    (Action::Infer, Some(args)) => {
                        Some(inference::judged(&self.policy, &agent, &args).unwrap_or(args))
                    }
                    (_, args) => args,
                };
                let question = Question { action, owned, target: resolved, args };
                let (ruling, passes) = self.would_pass(caller, presented, &question);
                let foreseen = passes.unwrap_or_else(|failure| Foreseen {
                    target: question.target.to_string(),
                    ..Foreseen::denied(&self.shown(caller, failure))
                });
                (ruling, foreseen)
            }
            Err(error) => {
                let reason = format!("{:?} has no canonical form: {error}", &**target);
                let denied = Foreseen::denied(&Failure::new(Code::InvalidArgument, reason));
                let ruling = Ruling::new(Ruled::Refused, "canonical", Some(target.to_string()));
                (ruling, Foreseen { target: target.to_string(), ..denied })
            }
        };
        let reply = Reply::Value(object! {
            "operation": operation.clone(), "target": foreseen.target, "authorized": foreseen.authorized,
            "capability_name": foreseen.capability_name, "ttl_ms": foreseen.ttl_us.map(|us| us / 1000),
            "reason": foreseen.reason, "rule_id": foreseen.rule_id, "suggestion": foreseen.suggestion,
        });
        (ruling, reply)
    }

    fn would_pass(
        &mut self,
        caller: &Caller,
        presented: Option<&Presented>,
        question: &Question,
    ) -> (Ruling, Result<Foreseen, Failure>) {
        let amounts = match question.action {
            Action::Execute => Vec::from([(Dimension::ToolCalls, 1)]),
            Action::Infer => Vec::from([(Dimension::Tokens, 1), (Dimension::CostMicroUsd, 0)]),
            Action::HeapAlloc => Vec::from([(Dimension::HeapObjects, 1)]),
            _ => Vec::new(),
        };
        let agent = self.agents.name(caller.account);
        let gate = Gate { presented: presented.cloned(), ..self.gate_of(caller, agent) };
        let (ruling, passed) = gate.foresee(question, &amounts);
        let foreseen = passed.map(|Passed { grants, cover, .. }| {
            let elapsed = self.clock.elapsed;
            let mut grants = grants.into_iter().filter_map(|id| self.policy.grant(id));
            let left = grants.clone().filter_map(|grant| self.grants.remaining_us(grant, elapsed));
            let Cover { name, expires_us, .. } = cover;
            let expires = expires_us.map(|until_us| until_us.saturating_sub(elapsed.high_us));
            let name = name.or_else(|| grants.next_back().map(|grant| grant.name().into()));
            Foreseen {
                target: question.target.to_string(),
                authorized: true,
                capability_name: name.map(|name| name.to_string()).unwrap_or_default(),
                ttl_us: left.chain(expires).min(),
                reason: "permitted".into(),
                rule_id: ruling.rule.to_string(),
                suggestion: String::new(),
            }
        });
        (ruling, foreseen)
    }

    /// An agent is told the same of an object that is not there as of another's.
    fn is_ones_own(&mut self, caller: &Caller, target: &Target) -> bool {
        let agent = self.agents.name(caller.account);
        match target {
            Target::Heap(handle) => self.gate_of(caller, agent).owns(Handle::from_raw(*handle)),
            Target::Audit(name) => name.as_str() == &*agent,
            Target::Path(_)
            | Target::Url(_)
            | Target::Host(_)
            | Target::HostPort(..)
            | Target::Addr(..)
            | Target::Tool(_)
            | Target::Model(_)
            | Target::Agent(_)
            | Target::Type(_) => true,
        }
    }
}

impl Foreseen {
    fn denied(failure: &Failure) -> Foreseen {
        match failure.denial.as_deref() {
            None => Foreseen { reason: failure.message.clone(), ..Foreseen::default() },
            Some(denial) => Foreseen {
                capability_name: denial.missing_cap.clone(),
                reason: denial.reason.clone(),
                rule_id: denial.rule_id.clone(),
                suggestion: denial.suggested_snippet.clone(),
                ..Foreseen::default()
            },
        }
    }
}
