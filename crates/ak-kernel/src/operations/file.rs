//! Files beneath the granted roots: read, write, append, list, describe, delete, rename, create directories, and
//! find paths by a pattern.

use alloc::{borrow::Cow, format, string::ToString, vec::Vec};

use ak_audit::Decision;
use ak_json::{Object, Text, Value, object};
use ak_policy::{Action, CanonicalPath, Target, budget::Dimension};
use ak_sandbox::HostOperation;

use super::{
    Amounts, Begun, Completed, DATA_BYTES_MAX, EffectSize, Family, Permitted, Started, VALUE_BYTES_MAX,
    members, query_for,
};
use crate::{
    api::{
        code::Code,
        config::Config,
        effect::{Completion, Effect, FileAction, Spent, Step, StepAnswer},
        fields::{FieldError, Fields, base64url, encoded_bytes},
        kernel_rule::KernelRule,
        operation::FileOperation,
        reply::{Failure, Reply},
        request::{FILE_BYTES_MAX, FileRequest, GLOB_LIMIT, GLOB_LIMIT_MAX, Request},
        tool_request::stands_for,
    },
    authz::{
        gate::{DecisionRecord, Gate, Root, over_steps},
        query::{InvalidTarget, JudgedPart, PolicyQuery, QueryContext},
    },
    effects::pending::{EffectState, PendingEffect},
    state::{Caller, Kernel},
};

/// Most bytes of records of the steps of a file effect other than a glob: links, and created directories.
pub const FILE_STEPS_BYTES_MAX: u64 = 512 << 10;
/// Most bytes of a directory's listing, as JSON writes it.
pub const LISTING_BYTES_MAX: u64 = 10 << 20;

/// Most bytes of records of the steps of a glob: the directories that it enters.
const GLOB_STEPS_BYTES_MAX: u64 = 4 << 20;

impl FileRequest {
    /// The path that the policy decides on first.
    fn path(&self) -> &Text {
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::List { path }
            | Self::Stat { path }
            | Self::Delete { path }
            | Self::MakeDirectory { path, .. }
            | Self::Append { path, .. }
            | Self::Rename { old: path, .. }
            | Self::Glob { pattern: path, .. } => path,
        }
    }

    fn path_mut(&mut self) -> &mut Text {
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::List { path }
            | Self::Stat { path }
            | Self::Delete { path }
            | Self::MakeDirectory { path, .. }
            | Self::Append { path, .. }
            | Self::Rename { old: path, .. }
            | Self::Glob { pattern: path, .. } => path,
        }
    }

    /// The new path of a rename.
    fn new_path(&self) -> Option<&Text> {
        match self {
            Self::Rename { new, .. } => Some(new),
            Self::Read { .. }
            | Self::Write { .. }
            | Self::List { .. }
            | Self::Stat { .. }
            | Self::Delete { .. }
            | Self::MakeDirectory { .. }
            | Self::Append { .. }
            | Self::Glob { .. } => None,
        }
    }

    /// The bytes that the request writes.
    fn data(&self) -> Option<&[u8]> {
        match self {
            Self::Write { data, .. } | Self::Append { data, .. } => Some(data),
            Self::Read { .. }
            | Self::List { .. }
            | Self::Stat { .. }
            | Self::Delete { .. }
            | Self::MakeDirectory { .. }
            | Self::Rename { .. }
            | Self::Glob { .. } => None,
        }
    }

    /// Number of bytes that the request writes.
    fn written(&self) -> u64 {
        self.data().map_or(0, |data| data.len() as u64)
    }

    /// Whether symbolic links may be followed if the root permits it. Requests that create, rename or find names
    /// follow none.
    fn may_follow_links(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Write { .. }
            | Self::List { .. }
            | Self::Stat { .. }
            | Self::Delete { .. }
            | Self::Append { .. } => true,
            Self::MakeDirectory { .. } | Self::Rename { .. } | Self::Glob { .. } => false,
        }
    }

    /// The action of the host. `renamed` is the new path of a rename, with its root.
    fn action(&self, config: &Config, renamed: Option<(CanonicalPath, Root)>) -> Option<FileAction> {
        Some(match self {
            Self::Read { bytes_max, .. } => {
                FileAction::Read { bytes_max: (*bytes_max).min(config.input_bytes_max) }
            }
            Self::Write { data, .. } => FileAction::Write { data: data.clone() },
            Self::List { .. } => FileAction::List,
            Self::Stat { .. } => FileAction::Stat,
            Self::Delete { .. } => FileAction::Delete,
            Self::MakeDirectory { parents, .. } => FileAction::MakeDirectory { parents: *parents },
            Self::Append { data, .. } => FileAction::Append { data: data.clone() },
            Self::Rename { .. } => {
                let (path, root) = renamed?;
                FileAction::Rename { root: root.path, path }
            }
            Self::Glob { pattern, .. } => {
                let (_, rest) = glob_base(pattern)?;
                FileAction::Glob { pattern: rest.into(), matches_max: GLOB_LIMIT_MAX }
            }
        })
    }
}

/// The directory in which a glob begins, and the rest of its pattern: the path is split before the first component
/// with a wildcard. `None` if the pattern is not absolute or has no last name.
fn glob_base(pattern: &str) -> Option<(&str, &str)> {
    let is_pattern = |name: &str| name.contains(['*', '?', '[']);
    let mut begin = 1;
    let rest = pattern.strip_prefix('/')?;
    let names: Vec<&str> = rest.split('/').collect();
    for (index, name) in names.iter().enumerate() {
        if is_pattern(name) || index + 1 == names.len() {
            let base = if begin == 1 { "/" } else { pattern.get(..begin - 1)? };
            return pattern.get(begin..).filter(|rest| !rest.is_empty()).map(|rest| (base, rest));
        }
        begin += name.len() + 1;
    }
    None
}

/// Whether a path equals a directory or lies beneath it.
fn is_beneath(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path is in its canonical form.
fn is_canonical(path: &str) -> bool {
    Target::path(path).is_ok_and(|target| target.to_string() == path)
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
            Self::MakeDirectory { .. } => FileOperation::FsMkdir,
            Self::Append { .. } => FileOperation::FsAppend,
            Self::Rename { .. } => FileOperation::FsRename,
            Self::Glob { .. } => FileOperation::FsGlob,
        }
    }

    fn decode(row: FileOperation, fields: &mut Fields<'_>) -> Result<FileRequest, FieldError> {
        Ok(match row {
            FileOperation::FsRead => Self::Read {
                path: fields.text("path")?,
                bytes_max: fields.optional_u64("max")?.unwrap_or(FILE_BYTES_MAX),
            },
            FileOperation::FsWrite => Self::Write { path: fields.text("path")?, data: fields.bytes("data")? },
            FileOperation::FsList => Self::List { path: fields.text("path")? },
            FileOperation::FsStat => Self::Stat { path: fields.text("path")? },
            FileOperation::FsDelete => Self::Delete { path: fields.text("path")? },
            FileOperation::FsMkdir => {
                Self::MakeDirectory { path: fields.text("path")?, parents: fields.flag("parents")? }
            }
            FileOperation::FsAppend => {
                Self::Append { path: fields.text("path")?, data: fields.bytes("data")? }
            }
            FileOperation::FsRename => Self::Rename { old: fields.text("old")?, new: fields.text("new")? },
            FileOperation::FsGlob => {
                let pattern = fields.text("pattern")?;
                let limit = fields.optional_u64("limit")?.unwrap_or(GLOB_LIMIT);
                Self::Glob { pattern, limit }
            }
        })
    }

    fn args(&self) -> Value {
        match self {
            Self::Read { path, bytes_max } => object! { "path": path.clone(), "max": *bytes_max },
            Self::Write { path, data } | Self::Append { path, data } => {
                object! { "path": path.clone(), "data": base64url(data) }
            }
            Self::List { path } | Self::Stat { path } | Self::Delete { path } => {
                object! { "path": path.clone() }
            }
            Self::MakeDirectory { path, parents } => object! { "path": path.clone(), "parents": *parents },
            Self::Rename { old, new } => object! { "old": old.clone(), "new": new.clone() },
            Self::Glob { pattern, limit } => object! { "pattern": pattern.clone(), "limit": *limit },
        }
    }

    fn size(&self) -> u64 {
        let names = self.path().len().saturating_add(self.new_path().map_or(0, |new| new.len()));
        self.written().saturating_add(names as u64)
    }

    fn size_max(&self) -> u64 {
        if self.data().is_some() { DATA_BYTES_MAX } else { VALUE_BYTES_MAX }
    }

    fn longest_name(&self) -> usize {
        self.path().len().max(self.new_path().map_or(0, |new| new.len()))
    }

    fn each_value(&self, _look: &mut dyn FnMut(&Value) -> bool) -> bool {
        true
    }

    fn rejection(&self) -> Option<Failure> {
        match self {
            Self::Glob { limit, .. } if *limit > GLOB_LIMIT_MAX => {
                Some(Failure::new(Code::Limit, format!("args.limit: is above {GLOB_LIMIT_MAX}")))
            }
            Self::Glob { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::List { .. }
            | Self::Stat { .. }
            | Self::Delete { .. }
            | Self::MakeDirectory { .. }
            | Self::Append { .. }
            | Self::Rename { .. } => None,
        }
    }

    fn query(&self, _asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        let sized = |bytes: usize| Some(object! { "size": bytes as u64 });
        let (action, path, args) = match self {
            Self::Read { path, .. } => (Action::FsRead, path, None),
            Self::Write { path, data } | Self::Append { path, data } => {
                (Action::FsWrite, path, sized(data.len()))
            }
            Self::MakeDirectory { path, .. } => (Action::FsWrite, path, sized(0)),
            Self::List { path } => (Action::FsList, path, None),
            Self::Stat { path } => (Action::FsStat, path, None),
            Self::Delete { path } => (Action::FsDelete, path, None),
            // The other two parts of a rename are queries of their own. The size is unknown.
            Self::Rename { new, .. } => (Action::FsWrite, new, None),
            Self::Glob { pattern, .. } => {
                let (base, _) = glob_base(pattern).ok_or_else(|| InvalidTarget {
                    op: Cow::Borrowed(Action::FsList.as_str()),
                    target: pattern.clone(),
                    reason: format!("{:?}: the pattern is not an absolute path with a last name", &**pattern),
                })?;
                let base = Text::from(base);
                let args = object! { "pattern": pattern.clone() };
                return query_for(Action::FsList, Target::path(&base), &base, Some(args));
            }
        };
        query_for(action, Target::path(path), path, args)
    }

    fn operations(&self) -> u64 {
        // The gate decides on a rename as a read, a deletion and a write.
        if self.new_path().is_some() { 3 } else { 1 }
    }

    fn each_part(&self, judge: &mut dyn FnMut(JudgedPart)) -> bool {
        let Self::Rename { old, .. } = self else { return false };
        let read = Self::Read { path: old.clone(), bytes_max: 0 };
        for part in [read, Self::Delete { path: old.clone() }, self.clone()] {
            judge(JudgedPart { index: None, request: Ok(part.into()), creates_target: false });
        }
        true
    }

    fn charges(&self, kernel: &Kernel, _caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        Ok(match self {
            Self::Read { bytes_max, .. } => {
                Amounts::from([(Dimension::Bytes, (*bytes_max).min(kernel.config.input_bytes_max))])
            }
            Self::Write { .. } | Self::Append { .. } => Amounts::from([(Dimension::Bytes, self.size())]),
            Self::List { .. }
            | Self::Stat { .. }
            | Self::Delete { .. }
            | Self::MakeDirectory { .. }
            | Self::Rename { .. }
            | Self::Glob { .. } => Amounts::new(),
        })
    }

    fn effect_size(&self, config: &Config) -> Option<EffectSize> {
        let (outcome_bytes_max, steps_bytes_max) = match self {
            Self::Read { bytes_max, .. } => {
                (encoded_bytes((*bytes_max).min(config.input_bytes_max)), FILE_STEPS_BYTES_MAX)
            }
            Self::List { .. } => (LISTING_BYTES_MAX, FILE_STEPS_BYTES_MAX),
            Self::Glob { .. } => (LISTING_BYTES_MAX, GLOB_STEPS_BYTES_MAX),
            Self::Write { .. }
            | Self::Stat { .. }
            | Self::Delete { .. }
            | Self::MakeDirectory { .. }
            | Self::Append { .. }
            | Self::Rename { .. } => (0, FILE_STEPS_BYTES_MAX),
        };
        Some(EffectSize { outcome_bytes_max, steps_bytes_max })
    }

    fn subjects(&self, _kernel: &Kernel, agent: &Text) -> Vec<Text> {
        Vec::from([agent.clone()])
    }

    fn decision_details(&self, decided: &DecisionRecord) -> Object {
        match self {
            Self::Read { path, .. } | Self::List { path } | Self::Stat { path } | Self::Delete { path } => {
                members(object! { "path": path.clone() })
            }
            Self::Write { path, data } | Self::Append { path, data } => {
                members(object! { "path": path.clone(), "size": data.len() as u64 })
            }
            Self::MakeDirectory { path, parents } => {
                members(object! { "path": path.clone(), "parents": *parents })
            }
            Self::Rename { old, new } => {
                let row = |part: &DecisionRecord| {
                    object! {
                        "target": part.target.clone(), "decision": part.decision.name(),
                        "rule_id": part.rule.clone(),
                    }
                };
                let parts: Vec<Value> = decided.each.iter().map(row).collect();
                members(object! { "path": old.clone(), "new_path": new.clone(), "parts": parts })
            }
            Self::Glob { pattern, .. } => members(object! { "pattern": pattern.clone() }),
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let Permitted { caller, target, root, parts, .. } = permitted;
        let mut ends = parts.into_iter().chain(target.zip(root)).filter_map(|(target, root)| match target {
            Target::Path(path) => Some((path, root)),
            Target::Url(_)
            | Target::Host(_)
            | Target::HostPort(..)
            | Target::Addr(..)
            | Target::Tool(_)
            | Target::Model(_)
            | Target::Agent(_)
            | Target::Heap(_)
            | Target::Type(_)
            | Target::Audit(_) => None,
        });
        let (first, last) = (ends.next(), ends.last());
        let action = self.action(&kernel.config, last);
        let (Some((path, root)), Some(action)) = (first, action) else {
            return Err(Failure::new(Code::PolicyDeny, "no root is granted for this file"));
        };
        let follows_links = root.follows && self.may_follow_links();
        let state = EffectState::File { links_beneath: follows_links.then(|| root.path.clone()) };
        let effect = Effect::File { root: root.path, path, action, follows_links };
        Ok(Started::Effect(effect, Begun::new(self, state, caller)))
    }

    fn on_step(
        &self,
        kernel: &mut Kernel,
        pending: &mut PendingEffect,
        step: Step,
    ) -> Option<(DecisionRecord, StepAnswer)> {
        match (self, &pending.state, step) {
            (_, EffectState::File { links_beneath: Some(root) }, Step::Link { path }) => {
                let root = root.clone();
                Some(kernel.on_link(pending, self, &root, &path))
            }
            (Self::Glob { pattern, .. }, _, Step::Path { path }) => {
                let (base, _) = glob_base(pattern)?;
                let below = is_beneath(&path, base);
                let (decided, answer) = kernel.on_path(pending, Self::List { path }, below);
                // A directory that the agent may not list is skipped.
                let answer = if answer == StepAnswer::Continue { answer } else { StepAnswer::Skip };
                Some((decided, answer))
            }
            (Self::MakeDirectory { path: wanted, parents: true }, _, Step::Path { path }) => {
                let above = is_beneath(wanted, &path);
                Some(kernel.on_path(pending, Self::MakeDirectory { path, parents: false }, above))
            }
            (
                _,
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
        kernel: &mut Kernel,
        pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed> {
        match (self, completion) {
            (
                Self::Write { .. }
                | Self::Delete { .. }
                | Self::MakeDirectory { .. }
                | Self::Append { .. }
                | Self::Rename { .. },
                Completion::Done,
            ) => Some(Completed::moved(Reply::Done, self.written())),
            (Self::Read { .. }, Completion::File(bytes)) => {
                let read = bytes.len() as u64;
                Some(Completed::moved(Reply::Bytes(bytes), read))
            }
            (Self::List { .. } | Self::Stat { .. }, Completion::Value(value)) => {
                Some(Completed::moved(Reply::Value(value), 0))
            }
            (Self::Glob { limit, .. }, Completion::Value(found)) => {
                let outcome = kernel.readable_paths(pending, &found, *limit).map(Reply::Value);
                Some(Completed { outcome, used: Amounts::from([(Dimension::Bytes, 0)]) })
            }
            (
                _,
                Completion::Done
                | Completion::File(_)
                | Completion::Value(_)
                | Completion::Http(_)
                | Completion::Inferred { .. }
                | Completion::Tool { .. }
                | Completion::Failed { .. }
                | Completion::Unknown,
            ) => None,
        }
    }

    fn charge_failure(&self, _kernel: &Kernel, _pending: &PendingEffect, _spent: &Spent) -> Amounts {
        Amounts::from([(Dimension::Bytes, self.written())])
    }
}

impl Kernel {
    /// Decides on another path of an effect as on a request of its own. If the path does not belong to the effect,
    /// it is refused.
    fn on_path(
        &mut self,
        pending: &mut PendingEffect,
        request: FileRequest,
        belongs: bool,
    ) -> (DecisionRecord, StepAnswer) {
        let path = request.path();
        if !belongs || !is_canonical(path) {
            let message = format!("{}: this path does not belong to the effect", &**path);
            let decided = DecisionRecord::new(Decision::Refused, KernelRule::Path, Some(path.to_string()));
            return (decided, StepAnswer::Abort(Failure::new(Code::InvalidArgument, message)));
        }
        self.authorize_path(pending, request, Amounts::new())
    }

    /// Asks the gate about another path of an effect, and reserves `amounts` in addition to the effect's
    /// reservation.
    fn authorize_path(
        &mut self,
        pending: &mut PendingEffect,
        request: FileRequest,
        amounts: Amounts,
    ) -> (DecisionRecord, StepAnswer) {
        let request = Request::File(request);
        let operation = HostOperation::ALL
            .into_iter()
            .find(|operation| stands_for(*operation) == Some(request.operation()));
        let caller = Caller { host_call: pending.within.and(operation), ..pending.caller() };
        let agent = self.agents.name(caller.account);
        let presented = pending.presented.clone();
        let mut gate = Gate { presented, ..self.gate_of(&caller, agent) };
        match gate.authorize_hop(&request, amounts) {
            (decided, Ok(reservation)) => {
                pending.reservation.join(reservation);
                (decided, StepAnswer::Continue)
            }
            (decided, Err(failure)) => (decided, StepAnswer::Abort(failure)),
        }
    }

    /// Those of the paths that the caller may read, at most `limit`.
    ///
    /// # Errors
    /// LIMIT if deciding on them takes more steps than one request has.
    fn readable_paths(
        &mut self,
        pending: &PendingEffect,
        found: &Value,
        limit: u64,
    ) -> Result<Value, Failure> {
        let caller = pending.caller();
        let agent = self.agents.name(caller.account);
        let presented = pending.presented.clone();
        let gate = Gate { presented, ..self.gate_of(&caller, agent) };
        let may_read = |path: &&Text| {
            let Ok(target) = Target::path(path) else { return false };
            let question = PolicyQuery { action: Action::FsRead, target, args: None, owned: true };
            gate.ask(&question, &[]).1.is_ok()
        };
        let paths = found.as_array().into_iter().flat_map(|paths| paths.iter()).filter_map(Value::as_text);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let readable: Vec<Value> = paths.filter(may_read).take(limit).cloned().map(Value::from).collect();
        if gate.is_spent() { Err(over_steps()) } else { Ok(object! { "paths": readable }) }
    }

    /// Decides on the target of a link under the target's own path, which must not leave the granted root. The
    /// bytes of the effect are reserved already.
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
                DecisionRecord::new(Decision::Refused, KernelRule::Link, Some(path.to_string())),
                StepAnswer::Abort(failure),
            )
        };
        if !is_beneath(path, root) {
            return refuse(&format!("it leads out of {}", &**root));
        }
        if !is_canonical(path) {
            return refuse("it is not in its canonical form");
        }
        let mut request = asked.clone();
        request.path_mut().clone_from(path);
        self.authorize_path(pending, request, Amounts::from([(Dimension::Bytes, 0)]))
    }
}
