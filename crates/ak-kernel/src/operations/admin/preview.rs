//! AUTHORIZE: passes a request through the whole gate, budgets included, without making it.

use alloc::{
    format,
    string::{String, ToString},
};

use ak_heap::Handle;
use ak_json::{Text, Value, object};
use ak_policy::{Action, GrantClock, Target, budget::Dimension};

use ak_audit::Decision;

use crate::{
    accounts::capabilities::Cover,
    api::{
        code::Code,
        kernel_rule::KernelRule,
        presented::PresentedCapability,
        reply::{Failure, Reply},
    },
    authz::{
        gate::{DecisionRecord, Gate, Passed},
        query::PolicyQuery,
    },
    models::tokens,
    operations::Amounts,
    state::{Caller, Kernel},
};

/// The preview of a decision, as the reply reports it.
#[derive(Default)]
struct AuthorizationPreview {
    target: String,
    authorized: bool,
    /// The name of the capability or grant that would permit the request; after a denial, the missing one.
    capability_name: String,
    ttl_us: Option<u64>,
    reason: String,
    rule_id: String,
    suggestion: String,
}

impl Kernel {
    /// The decision on a request that is not made, for the record, and the reply.
    pub(crate) fn preview(
        &mut self,
        caller: &Caller,
        presented: Option<&PresentedCapability>,
        operation: &Text,
        target: &Text,
        args: Option<Value>,
    ) -> (DecisionRecord, Reply) {
        let (decided, foreseen) = match Target::resolve(operation, target) {
            Ok((action, resolved)) => {
                let owned = self.is_own(caller, &resolved);
                // For a request to a model, the policy decides on the request as it would be sent, with its limit
                // of tokens.
                let agent = self.agents.name(caller.account);
                let args = match (action, args) {
                    (Action::Infer, Some(args)) => {
                        Some(tokens::judged(&self.policy, &agent, &args).unwrap_or(args))
                    }
                    (_, args) => args,
                };
                let question = PolicyQuery { action, owned, target: resolved, args };
                let (decided, passes) = self.would_pass(caller, presented, &question);
                let foreseen = passes.unwrap_or_else(|failure| AuthorizationPreview {
                    target: question.target.to_string(),
                    ..AuthorizationPreview::denied(&self.redact_for_caller(caller, failure))
                });
                (decided, foreseen)
            }
            Err(error) => {
                let reason = format!("{:?}: {error}", &**target);
                let denied = AuthorizationPreview::denied(&Failure::new(Code::InvalidArgument, reason));
                let decided =
                    DecisionRecord::new(Decision::Refused, KernelRule::Canonical, Some(target.to_string()));
                (decided, AuthorizationPreview { target: target.to_string(), ..denied })
            }
        };
        let reply = Reply::Value(object! {
            "operation": operation.clone(), "target": foreseen.target, "authorized": foreseen.authorized,
            "capability_name": foreseen.capability_name, "ttl_ms": foreseen.ttl_us.map(|us| us / 1000),
            "reason": foreseen.reason, "rule_id": foreseen.rule_id, "suggestion": foreseen.suggestion,
        });
        (decided, reply)
    }

    fn would_pass(
        &mut self,
        caller: &Caller,
        presented: Option<&PresentedCapability>,
        question: &PolicyQuery,
    ) -> (DecisionRecord, Result<AuthorizationPreview, Failure>) {
        let amounts = least_amounts(question.action);
        let agent = self.agents.name(caller.account);
        let gate = Gate { presented: presented.cloned(), ..self.gate_of(caller, agent) };
        let (decided, passed) = gate.preview(question, &amounts);
        let foreseen = passed.map(|Passed { grants, cover, .. }| {
            let elapsed = self.clock.elapsed;
            let mut grants = grants.into_iter().filter_map(|id| self.policy.grant(id));
            let left = grants.clone().filter_map(|grant| self.grants.remaining_us(grant, elapsed));
            let Cover { name, expires_us, .. } = cover;
            let expires = expires_us.map(|until_us| until_us.saturating_sub(elapsed.high_us));
            let name = name.or_else(|| grants.next_back().map(|grant| grant.name().into()));
            AuthorizationPreview {
                target: question.target.to_string(),
                authorized: true,
                capability_name: name.map(|name| name.to_string()).unwrap_or_default(),
                ttl_us: left.chain(expires).min(),
                reason: "permitted".into(),
                rule_id: decided.rule.to_string(),
                suggestion: String::new(),
            }
        });
        (decided, foreseen)
    }

    /// Whether the target belongs to the caller. To an agent, an object that does not exist counts as another
    /// agent's.
    fn is_own(&mut self, caller: &Caller, target: &Target) -> bool {
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

impl AuthorizationPreview {
    fn denied(failure: &Failure) -> AuthorizationPreview {
        match failure.denial.as_deref() {
            None => {
                AuthorizationPreview { reason: failure.message.clone(), ..AuthorizationPreview::default() }
            }
            Some(denial) => AuthorizationPreview {
                capability_name: denial.missing_cap.clone(),
                reason: denial.reason.clone(),
                rule_id: denial.rule_id.clone(),
                suggestion: denial.suggested_snippet.clone(),
                ..AuthorizationPreview::default()
            },
        }
    }
}

/// The costs of the smallest request for an action.
fn least_amounts(action: Action) -> Amounts {
    match action {
        Action::Execute => Amounts::from([(Dimension::ToolCalls, 1)]),
        Action::Infer => Amounts::from([(Dimension::Tokens, 1), (Dimension::CostMicroUsd, 0)]),
        Action::HeapAlloc => Amounts::from([(Dimension::HeapObjects, 1)]),
        Action::FsRead
        | Action::FsList
        | Action::FsStat
        | Action::FsWrite
        | Action::FsDelete
        | Action::HeapRead
        | Action::HeapWrite
        | Action::HeapDelete
        | Action::HeapQuery
        | Action::HttpGet
        | Action::HttpHead
        | Action::HttpPost
        | Action::HttpPut
        | Action::HttpPatch
        | Action::HttpDelete
        | Action::HttpOptions
        | Action::Dns
        | Action::Connect
        | Action::Bind
        | Action::Listen
        | Action::Spawn
        | Action::Send
        | Action::AuditLog
        | Action::AuditRead => Amounts::new(),
    }
}
