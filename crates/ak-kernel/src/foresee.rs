//! AUTHORIZE: the whole gate, budget included, for a request that is not made.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use ak_heap::Handle;
use ak_json::{Text, Value, object};
use ak_policy::{Action, GrantClock, Target, budget::Dimension};

use crate::{
    agents::Costs,
    capability::Cover,
    code::Code,
    gate::{Gate, Passed},
    kernel::{Caller, Kernel},
    presented::Presented,
    question::Question,
    reply::{Failure, Reply},
    session::Session,
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
    pub(crate) fn foresee(
        &mut self,
        session: Session,
        presented: Option<&Presented>,
        operation: &Text,
        target: &Text,
        args: Option<Value>,
    ) -> Reply {
        let foreseen = match Target::resolve(operation, target) {
            Ok((action, resolved)) => {
                let question =
                    Question { action, owned: self.is_ones_own(session, &resolved), target: resolved, args };
                match self.would_pass(session, presented, &question) {
                    Ok(foreseen) => foreseen,
                    Err(failure) => Foreseen {
                        target: question.target.to_string(),
                        ..Foreseen::denied(&self.shown(&Caller::session(session), failure))
                    },
                }
            }
            Err(error) => {
                let reason = format!("{:?} has no canonical form: {error}", &**target);
                let denied = Foreseen::denied(&Failure::new(Code::InvalidArgument, reason));
                Foreseen { target: target.to_string(), ..denied }
            }
        };
        Reply::Value(object! {
            "operation": operation.clone(), "target": foreseen.target, "authorized": foreseen.authorized,
            "capability_name": foreseen.capability_name, "ttl_ms": foreseen.ttl_us.map(|us| us / 1000),
            "reason": foreseen.reason, "rule_id": foreseen.rule_id, "suggestion": foreseen.suggestion,
        })
    }

    fn would_pass(
        &mut self,
        session: Session,
        presented: Option<&Presented>,
        question: &Question,
    ) -> Result<Foreseen, Failure> {
        let amounts = match question.action {
            Action::Execute => Vec::from([(Dimension::ToolCalls, 1)]),
            Action::Infer => Vec::from([(Dimension::Tokens, 1)]),
            Action::HeapAlloc => Vec::from([(Dimension::HeapObjects, 1)]),
            _ => Vec::new(),
        };
        let agent = self.agents.name(session);
        let gate = Gate { presented: presented.cloned(), ..self.gate(session, agent) };
        let (ruling, passed) = gate.ask(question, &amounts);
        let Passed { grant, cover, .. } = passed?;
        let charges = gate.charges(question)?;
        self.agents.check(session, &Costs { amounts, charges }, self.clock)?;
        let now_us = self.clock.as_micros();
        let grant = grant.and_then(|id| self.policy.grant(id));
        let Cover { name, expires_us, .. } = cover;
        let left = [
            grant.and_then(|grant| self.grants.remaining_us(grant, now_us)),
            expires_us.map(|until_us| until_us.saturating_sub(now_us)),
        ];
        let name = name.or_else(|| grant.map(|grant| grant.name().into()));
        Ok(Foreseen {
            target: question.target.to_string(),
            authorized: true,
            capability_name: name.map(|name| name.to_string()).unwrap_or_default(),
            ttl_us: left.into_iter().flatten().min(),
            reason: "permitted".into(),
            rule_id: ruling.rule.to_string(),
            suggestion: String::new(),
        })
    }

    /// An agent is told the same of an object that is not there as of another's.
    fn is_ones_own(&self, session: Session, target: &Target) -> bool {
        let agent = self.agents.name(session);
        match target {
            Target::Heap(handle) => {
                let object = self.heap.read(Handle::from_raw(*handle));
                session.is_owner() || object.is_ok_and(|object| *object.owner() == agent)
            }
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
