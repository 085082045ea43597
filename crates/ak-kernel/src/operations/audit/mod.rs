//! The audit log: entries of agents, queries, verification, checkpoints, proofs and erasure.

pub(crate) mod erase;

use alloc::{collections::BTreeSet, format, vec::Vec};

use ak_json::{Object, Text, Value, object};
use ak_policy::{Action, Target};

use super::{
    Amounts, Begun, Completed, EffectSize, FORM_BYTES_MAX, Family, Permitted, Started, VALUE_BYTES_MAX,
    length, members, query_for,
};
use crate::{
    api::{
        audit_filter::AuditFilter,
        code::Code,
        config::Config,
        effect::{Completion, Effect, LogWork},
        fields::{FieldError, Fields, insert_some},
        operation::{AuditOperation, Operation},
        reply::{Failure, Reply},
        request::AuditRequest,
        session::AgentId,
    },
    authz::{
        gate::DecisionRecord,
        query::{InvalidTarget, PolicyQuery, QueryContext},
    },
    effects::pending::{EffectState, PendingEffect},
    state::{Caller, Kernel},
};

impl Family for AuditRequest {
    type Row = AuditOperation;

    fn row(&self) -> AuditOperation {
        match self {
            Self::Log { .. } => AuditOperation::AuditLog,
            Self::Query(_) => AuditOperation::AuditQuery,
            Self::Verify { .. } => AuditOperation::AuditVerify,
            Self::Checkpoint => AuditOperation::Commit,
            Self::Prove { .. } => AuditOperation::AuditProof,
            Self::Erase { .. } => AuditOperation::AuditErase,
        }
    }

    fn decode(row: AuditOperation, fields: &mut Fields<'_>) -> Result<AuditRequest, FieldError> {
        Ok(match row {
            AuditOperation::AuditLog => Self::Log {
                event: fields.text("event")?,
                details: fields.member("details").unwrap_or_else(|| Object::new().into()),
                subject: fields.optional_text("subject")?,
            },
            AuditOperation::AuditQuery => Self::Query(AuditFilter::from_fields(fields)?),
            AuditOperation::AuditVerify => {
                Self::Verify { key: fields.optional_text("key")?, anchor: fields.optional_text("anchor")? }
            }
            AuditOperation::Commit => Self::Checkpoint,
            AuditOperation::AuditProof => Self::Prove { seq: fields.u64("seq")? },
            AuditOperation::AuditErase => Self::Erase { subject: fields.text("subject")? },
        })
    }

    fn args(&self) -> Value {
        let mut args = Object::new();
        match self {
            Self::Log { event, details, subject } => {
                args.insert("event", event.clone());
                args.insert("details", details.clone());
                insert_some(&mut args, "subject", subject.clone());
            }
            Self::Query(filter) => return filter.to_value(),
            Self::Verify { key, anchor } => {
                insert_some(&mut args, "key", key.clone());
                insert_some(&mut args, "anchor", anchor.clone());
            }
            Self::Checkpoint => {}
            Self::Prove { seq } => {
                args.insert("seq", *seq);
            }
            Self::Erase { subject } => {
                args.insert("subject", subject.clone());
            }
        }
        args.into()
    }

    fn size(&self) -> u64 {
        match self {
            Self::Log { event, details, subject } => {
                (details.json_len() as u64).saturating_add(event.len() as u64).saturating_add(length(subject))
            }
            Self::Query(filter) => filter.size(),
            Self::Verify { key, anchor } => length(key).saturating_add(length(anchor)),
            Self::Erase { subject } => subject.len() as u64,
            Self::Checkpoint | Self::Prove { .. } => 0,
        }
    }

    fn size_max(&self) -> u64 {
        match self {
            Self::Query(_) => FORM_BYTES_MAX,
            Self::Log { .. }
            | Self::Verify { .. }
            | Self::Checkpoint
            | Self::Prove { .. }
            | Self::Erase { .. } => VALUE_BYTES_MAX,
        }
    }

    fn longest_name(&self) -> usize {
        match self {
            Self::Log { event, .. } => event.len(),
            Self::Query(_)
            | Self::Verify { .. }
            | Self::Checkpoint
            | Self::Prove { .. }
            | Self::Erase { .. } => 0,
        }
    }

    fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool {
        match self {
            Self::Log { details, .. } => look(details),
            Self::Query(_)
            | Self::Verify { .. }
            | Self::Checkpoint
            | Self::Prove { .. }
            | Self::Erase { .. } => true,
        }
    }

    fn rejection(&self) -> Option<Failure> {
        match self {
            Self::Query(filter) => filter.rejection(),
            Self::Log { .. }
            | Self::Verify { .. }
            | Self::Checkpoint
            | Self::Prove { .. }
            | Self::Erase { .. } => None,
        }
    }

    fn query(&self, asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        match self {
            Self::Log { event, details, .. } => {
                query_for(Action::AuditLog, Target::audit(event), event, Some(details.clone()))
            }
            Self::Query(_) | Self::Checkpoint | Self::Prove { .. } => {
                query_for(Action::AuditRead, Target::audit(asker.agent), asker.agent, None)
            }
            Self::Verify { .. } | Self::Erase { .. } => Ok(None),
        }
    }

    fn charges(&self, _kernel: &Kernel, _caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        Ok(Amounts::new())
    }

    fn effect_size(&self, _config: &Config) -> Option<EffectSize> {
        match self {
            Self::Verify { .. } | Self::Checkpoint | Self::Prove { .. } | Self::Erase { .. } => {
                Some(EffectSize::SMALL)
            }
            Self::Log { .. } | Self::Query(_) => None,
        }
    }

    fn subject(&self) -> Option<&Text> {
        match self {
            Self::Log { subject, .. } => subject.as_ref(),
            Self::Erase { subject } => Some(subject),
            Self::Query(_) | Self::Verify { .. } | Self::Checkpoint | Self::Prove { .. } => None,
        }
    }

    fn subjects(&self, _kernel: &Kernel, agent: &Text) -> Vec<Text> {
        Vec::from([self.subject().unwrap_or(agent).clone()])
    }

    fn others_in(&self, kernel: &Kernel, reply: &Reply) -> Vec<Text> {
        match (self, reply) {
            (Self::Query(_), Reply::Value(page)) => {
                let rows = page.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
                let seqs = rows.iter().filter_map(|row| row.get("seq")?.as_u64());
                each_once(seqs.flat_map(|seq| kernel.history.about(seq)))
            }
            (
                Self::Query(_)
                | Self::Log { .. }
                | Self::Verify { .. }
                | Self::Checkpoint
                | Self::Prove { .. }
                | Self::Erase { .. },
                _,
            ) => Vec::new(),
        }
    }

    fn event(&self) -> Option<&Text> {
        match self {
            Self::Log { event, .. } => Some(event),
            Self::Query(_)
            | Self::Verify { .. }
            | Self::Checkpoint
            | Self::Prove { .. }
            | Self::Erase { .. } => None,
        }
    }

    fn decision_details(&self, _ruling: &DecisionRecord) -> Object {
        match self {
            Self::Log { details, .. } => members(object! { "details": details.clone() }),
            Self::Prove { seq } => members(object! { "entry": *seq }),
            Self::Query(_) | Self::Verify { .. } | Self::Checkpoint | Self::Erase { .. } => Object::new(),
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let caller = permitted.caller;
        let work = match &self {
            Self::Log { event, .. } if event.is_empty() || Operation::is_reserved_event(event) => {
                let message = format!("the event type {:?} is empty or reserved for the kernel", &**event);
                return Err(Failure::new(Code::InvalidArgument, message));
            }
            Self::Log { .. } => return Ok(Started::Reply(Reply::Done)),
            Self::Query(filter) => {
                return Ok(Started::Reply(Reply::Value(kernel.entries_for(caller.account, filter))));
            }
            Self::Verify { key, anchor } => LogWork::Verify { key: key.clone(), anchor: anchor.clone() },
            Self::Checkpoint => LogWork::Checkpoint,
            // The entry contains the names of agent and rule. Only the owner may see those of other agents.
            Self::Prove { seq } => LogWork::Prove { seq: *seq, with_entry: caller.account.is_main() },
            Self::Erase { subject } => kernel.erase(caller, subject)?,
        };
        let state = EffectState::Log { erasing: work.erasing().map(|_| work.clone()) };
        let request = match self {
            // The request that is kept must not contain the name of the erased subject.
            Self::Erase { .. } => Self::Erase { subject: Text::default() },
            Self::Log { .. }
            | Self::Query(_)
            | Self::Verify { .. }
            | Self::Checkpoint
            | Self::Prove { .. } => self,
        };
        Ok(Started::Effect(Effect::Log(work), Begun::new(request, state, caller)))
    }

    fn complete(
        &self,
        _kernel: &mut Kernel,
        _pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed> {
        match (self, completion) {
            // The result has facts for the log that are not part of the reply.
            (Self::Erase { .. }, Completion::Value(value)) => {
                let objects = value.get("objects").cloned();
                Some(Completed::moved(Reply::Value(object! { "objects": objects }), 0))
            }
            (Self::Verify { .. } | Self::Checkpoint | Self::Prove { .. }, Completion::Value(value)) => {
                Some(Completed::moved(Reply::Value(value), 0))
            }
            (Self::Log { .. } | Self::Query(_), Completion::Value(_)) => None,
            (
                _,
                Completion::Done
                | Completion::File(_)
                | Completion::Http(_)
                | Completion::Inferred { .. }
                | Completion::Tool { .. }
                | Completion::Failed { .. }
                | Completion::Unknown,
            ) => None,
        }
    }
}

/// The distinct names, in ascending order. Thousands of entries are about few subjects.
pub(crate) fn each_once<'n>(names: impl Iterator<Item = &'n str>) -> Vec<Text> {
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(Text::from).collect()
}

impl Kernel {
    /// The entries that match a filter. An agent session sees its own entries, an owner session all.
    fn entries_for(&self, account: AgentId, filter: &AuditFilter) -> Value {
        let only = self.agents.get(account).filter(|_| !account.is_main()).map(|agent| &*agent.name);
        self.history.query(filter, only)
    }
}
