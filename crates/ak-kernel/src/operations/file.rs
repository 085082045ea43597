//! Files: read, write, list, describe and delete, beneath the roots that the policy grants.

use alloc::{format, string::ToString, vec::Vec};

use ak_audit::Decision;
use ak_json::{Object, Text, Value, object};
use ak_policy::{Action, Target, budget::Dimension};
use ak_sandbox::HostOperation;

use super::{
    Amounts, Begun, Completed, DATA_BYTES_MAX, EffectSize, Failed, Family, Permitted, Started,
    VALUE_BYTES_MAX, ask, members,
};
use crate::{
    api::{
        code::Code,
        config::Config,
        effect::{Completion, Effect, FileAction, Step, StepAnswer},
        fields::{FieldError, Fields, base64url, encoded_bytes},
        operation::FileOperation,
        reply::{Failure, Reply},
        request::{FILE_BYTES_MAX, FileRequest, Request},
        tool_request::stands_for,
    },
    authz::{
        gate::{DecisionRecord, Gate},
        query::{InvalidTarget, PolicyQuery, QueryContext},
    },
    effects::pending::{EffectState, PendingEffect},
    state::{Caller, Kernel},
};

/// Most bytes of records of the steps of a file effect: the links that are followed.
pub const FILE_STEPS_BYTES_MAX: u64 = 512 << 10;
/// Most bytes of a directory's listing, as JSON writes it.
pub const LISTING_BYTES_MAX: u64 = 10 << 20;

impl FileRequest {
    /// The path that it names.
    fn path(&self) -> &Text {
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::List { path }
            | Self::Stat { path }
            | Self::Delete { path } => path,
        }
    }

    fn path_mut(&mut self) -> &mut Text {
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::List { path }
            | Self::Stat { path }
            | Self::Delete { path } => path,
        }
    }

    /// Bytes of what it writes.
    fn written(&self) -> u64 {
        match self {
            Self::Write { data, .. } => data.len() as u64,
            Self::Read { .. } | Self::List { .. } | Self::Stat { .. } | Self::Delete { .. } => 0,
        }
    }

    fn action(&self, config: &Config) -> FileAction {
        match self {
            Self::Read { bytes_max, .. } => {
                FileAction::Read { bytes_max: (*bytes_max).min(config.input_bytes_max) }
            }
            Self::Write { data, .. } => FileAction::Write { data: data.clone() },
            Self::List { .. } => FileAction::List,
            Self::Stat { .. } => FileAction::Stat,
            Self::Delete { .. } => FileAction::Delete,
        }
    }
}

impl Family for FileRequest {
    type Row = FileOperation;

    fn row(&self) -> FileOperation {
        match self {
            Self::Read { .. } => FileOperation::FsRead,
            Self::Write { .. } => FileOperation::FsWrite,
            Self::List { .. } => FileOperation::FsList,
            Self::Stat { .. } => FileOperation::FsStat,
            Self::Delete { .. } => FileOperation::FsDelete,
        }
    }

    fn decode(row: FileOperation, fields: &mut Fields<'_>) -> Result<FileRequest, FieldError> {
        let path = fields.text("path")?;
        Ok(match row {
            FileOperation::FsRead => {
                Self::Read { path, bytes_max: fields.optional_u64("max")?.unwrap_or(FILE_BYTES_MAX) }
            }
            FileOperation::FsWrite => Self::Write { path, data: fields.bytes("data")? },
            FileOperation::FsList => Self::List { path },
            FileOperation::FsStat => Self::Stat { path },
            FileOperation::FsDelete => Self::Delete { path },
        })
    }

    fn args(&self) -> Value {
        match self {
            Self::Read { path, bytes_max } => object! { "path": path.clone(), "max": *bytes_max },
            Self::Write { path, data } => object! { "path": path.clone(), "data": base64url(data) },
            Self::List { path } | Self::Stat { path } | Self::Delete { path } => {
                object! { "path": path.clone() }
            }
        }
    }

    fn size(&self) -> u64 {
        self.written().saturating_add(self.path().len() as u64)
    }

    fn size_max(&self) -> u64 {
        match self {
            Self::Write { .. } => DATA_BYTES_MAX,
            Self::Read { .. } | Self::List { .. } | Self::Stat { .. } | Self::Delete { .. } => {
                VALUE_BYTES_MAX
            }
        }
    }

    fn longest_name(&self) -> usize {
        self.path().len()
    }

    fn each_value(&self, _look: &mut dyn FnMut(&Value) -> bool) -> bool {
        true
    }

    fn query(&self, _asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        let (action, args) = match self {
            Self::Read { .. } => (Action::FsRead, None),
            Self::Write { data, .. } => (Action::FsWrite, Some(object! { "size": data.len() as u64 })),
            Self::List { .. } => (Action::FsList, None),
            Self::Stat { .. } => (Action::FsStat, None),
            Self::Delete { .. } => (Action::FsDelete, None),
        };
        ask(action, Target::path(self.path()), self.path(), args)
    }

    fn charges(&self, kernel: &Kernel, _caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        Ok(match self {
            Self::Read { bytes_max, .. } => {
                Amounts::from([(Dimension::Bytes, (*bytes_max).min(kernel.config.input_bytes_max))])
            }
            Self::Write { .. } => Amounts::from([(Dimension::Bytes, self.size())]),
            Self::List { .. } | Self::Stat { .. } | Self::Delete { .. } => Amounts::new(),
        })
    }

    fn effect_size(&self, config: &Config) -> Option<EffectSize> {
        let outcome_bytes_max = match self {
            Self::Read { bytes_max, .. } => encoded_bytes((*bytes_max).min(config.input_bytes_max)),
            Self::List { .. } => LISTING_BYTES_MAX,
            Self::Write { .. } | Self::Stat { .. } | Self::Delete { .. } => 0,
        };
        Some(EffectSize { outcome_bytes_max, steps_bytes_max: FILE_STEPS_BYTES_MAX })
    }

    fn subjects(&self, _kernel: &Kernel, agent: &Text) -> Vec<Text> {
        Vec::from([agent.clone()])
    }

    fn decision_details(&self, _ruling: &DecisionRecord) -> Object {
        match self {
            Self::Read { path, .. } | Self::List { path } | Self::Stat { path } | Self::Delete { path } => {
                members(object! { "path": path.clone() })
            }
            Self::Write { path, data } => {
                members(object! { "path": path.clone(), "size": data.len() as u64 })
            }
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let Permitted { caller, target: Some(Target::Path(path)), root: Some(root), .. } = permitted else {
            return Err(Failure::new(Code::PolicyDeny, "no root is granted for this file"));
        };
        let action = self.action(&kernel.config);
        let effect = Effect::File { root: root.path.clone(), path, action, follows_links: root.follows };
        let state = EffectState::File { links_beneath: root.follows.then_some(root.path) };
        Ok(Started::Effect(effect, Begun::new(self, state, caller)))
    }

    fn on_step(
        &self,
        kernel: &mut Kernel,
        pending: &mut PendingEffect,
        step: Step,
    ) -> Option<(DecisionRecord, StepAnswer)> {
        match (&pending.state, step) {
            (EffectState::File { links_beneath: Some(root) }, Step::Link { path }) => {
                let root = root.clone();
                Some(kernel.on_link(pending, self, &root, &path))
            }
            (
                _,
                Step::Resolved(_)
                | Step::Redirect { .. }
                | Step::Link { .. }
                | Step::Path { .. }
                | Step::Resend
                | Step::Chunk { .. },
            ) => None,
        }
    }

    fn complete(
        &self,
        _kernel: &mut Kernel,
        _pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed> {
        match (self, completion) {
            (Self::Write { .. } | Self::Delete { .. }, Completion::Done) => {
                Some(Completed::moved(Reply::Done, self.written()))
            }
            (Self::Read { .. }, Completion::File(bytes)) => {
                let read = bytes.len() as u64;
                Some(Completed::moved(Reply::Bytes(bytes), read))
            }
            (Self::List { .. } | Self::Stat { .. }, Completion::Value(value)) => {
                Some(Completed::moved(Reply::Value(value), 0))
            }
            (_, Completion::Done | Completion::File(_) | Completion::Value(_)) => None,
            (
                _,
                Completion::Http(_)
                | Completion::Inferred { .. }
                | Completion::Tool { .. }
                | Completion::Failed { .. }
                | Completion::Unknown,
            ) => None,
        }
    }

    fn charge_failure(&self, _kernel: &Kernel, _pending: &PendingEffect, _failed: &Failed<'_>) -> Amounts {
        Amounts::from([(Dimension::Bytes, self.written())])
    }
}

impl Kernel {
    /// What a link leads to is asked for under its own path, which must not leave the root that was granted. Its bytes are set
    /// aside already.
    fn on_link(
        &mut self,
        pending: &mut PendingEffect,
        asked: &FileRequest,
        root: &Text,
        path: &Text,
    ) -> (DecisionRecord, StepAnswer) {
        let refuse = |reason: &str| {
            let failure = Failure::new(Code::PolicyDeny, format!("the link to {}: {reason}", &**path));
            (
                DecisionRecord::new(Decision::Refused, "link", Some(path.to_string())),
                StepAnswer::Abort(failure),
            )
        };
        let rest = path.strip_prefix(root.trim_end_matches('/'));
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return refuse(&format!("it leads out of {}", &**root));
        }
        if !Target::path(path).is_ok_and(|target| target.to_string() == **path) {
            return refuse("it is not in its canonical form");
        }
        let mut request = asked.clone();
        request.path_mut().clone_from(path);
        let request = Request::File(request);
        let operation = HostOperation::ALL
            .into_iter()
            .find(|operation| stands_for(*operation) == Some(request.operation()));
        let caller = Caller { host_call: pending.within.and(operation), ..pending.caller() };
        let agent = self.agents.name(caller.account);
        let presented = pending.presented.clone();
        let mut gate = Gate { presented, ..self.gate_of(&caller, agent) };
        match gate.authorize_hop(&request, Vec::from([(Dimension::Bytes, 0)])) {
            (decided, Ok(reservation)) => {
                pending.reservation.join(reservation);
                (decided, StepAnswer::Continue)
            }
            (decided, Err(failure)) => (decided, StepAnswer::Abort(failure)),
        }
    }
}
