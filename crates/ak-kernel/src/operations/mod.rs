//! The operations, in a module for each family.
//!
//! A family implements its operations behind one signature, [`Family`]. A new operation needs a row in the table
//! ([`Operation`]), its type in `api/request/`, and the match arms that the compiler demands in its family's file.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod details;
pub(crate) mod file;
pub(crate) mod heap;
pub(crate) mod http;
pub(crate) mod infer;
pub(crate) mod prepared;
pub(crate) mod tools;

use alloc::{borrow::Cow, boxed::Box, format, string::ToString, vec::Vec};

use ak_heap::{BATCH_OPS_MAX, Handle};
use ak_json::{Object, Text, Value};
use ak_policy::{Action, Target, TargetError, budget::Dimension};

use crate::{
    accounts::tool_permissions::CallStack,
    api::{
        code::Code,
        config::Config,
        effect::{Completion, Effect, Spent, Step, StepAnswer},
        fields::{FieldError, Fields},
        operation::{Operation, OperationFamily},
        prepared::Prepared,
        presented::PresentedCapability,
        reply::{Failure, Outcome, Reply},
        request::Request,
    },
    authz::{
        gate::{DecisionRecord, Root},
        query::{InvalidTarget, JudgedPart, PolicyQuery, QueryContext},
    },
    effects::pending::{EffectState, PendingEffect},
    record::subjects::SUBJECT_BYTES_MAX,
    state::{Caller, Kernel},
};

/// Most JSON values in a request; an array or object counts as three.
pub(crate) const VALUES_MAX: usize = 250_000;
/// Most bytes of a JSON value in a request: content, patch, arguments, details.
const VALUE_BYTES_MAX: u64 = 4 << 20;
/// Most bytes that a request writes to a file or sends by HTTP.
const DATA_BYTES_MAX: u64 = 10 << 20;
/// Most bytes of a heap query, a log query, or the specification of a capability.
const FORM_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of a path, a URL or a name. Their own types may have lower limits.
const NAME_BYTES_MAX: usize = 64 << 10;

/// What a family defines for its operations.
pub(crate) trait Family: Sized {
    /// The family's rows in the table of operations.
    type Row: Into<Operation>;

    /// The row of this request.
    fn row(&self) -> Self::Row;

    /// Reads a request from the `args` of its wire form.
    fn decode(row: Self::Row, fields: &mut Fields<'_>) -> Result<Self, FieldError>;

    /// The `args` of its wire form.
    fn args(&self) -> Value;

    /// Bytes of names, texts, values and data that the caller chose, before encoding.
    fn size(&self) -> u64;

    /// Most bytes that the request may have. Content that the kernel examines item by item under its lock has a
    /// lower limit than data that it only passes on.
    fn size_max(&self) -> u64 {
        VALUE_BYTES_MAX
    }

    /// The longest of its paths, URLs, and names of types, tools or events, in bytes.
    fn longest_name(&self) -> usize;

    /// Calls `look` with each JSON value in the request until one call returns false. Returns whether none did.
    fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool;

    /// The message for a limit of its own that the request exceeds; `None` if it exceeds none.
    fn rejection(&self) -> Option<Failure> {
        None
    }

    /// The policy query of the request; `None` if no policy decides on the operation.
    fn query(&self, asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget>;

    /// The number of operations that it counts as.
    fn operations(&self) -> u64 {
        1
    }

    /// Calls `judge` with each part, if the request is decided on part by part. Returns whether it is.
    fn each_part(&self, _judge: &mut dyn FnMut(JudgedPart)) -> bool {
        false
    }

    /// Whether it only returns information about the session itself, and so may come with any presented capability.
    fn only_tells(&self) -> bool {
        false
    }

    /// The most that it may cost, besides one `compute` per operation. The gate reserves it before it permits the
    /// request.
    ///
    /// # Errors
    /// A request over one of the kernel's own limits.
    fn charges(&self, kernel: &Kernel, caller: &Caller, agent: &str) -> Result<Amounts, Failure>;

    /// Bounds on what is recorded of its effect; `None` if the request is answered without an effect.
    fn effect_size(&self, config: &Config) -> Option<EffectSize>;

    /// The subject that the request names.
    fn subject(&self) -> Option<&Text> {
        None
    }

    /// The subjects of the record: those that the request names, those of the objects that it names, or else the
    /// agent.
    fn subjects(&self, kernel: &Kernel, agent: &Text) -> Vec<Text>;

    /// Further subjects whose data the reply contains.
    fn others_in(&self, _kernel: &Kernel, _reply: &Reply) -> Vec<Text> {
        Vec::new()
    }

    /// Adds the names and objects that the request mentions. A verifier of a log uses them to find a record's
    /// subjects.
    fn names(&self, names: &mut Vec<Text>, _objects: &mut Vec<Handle>) {
        names.extend(self.subject().cloned());
    }

    /// The event type of the entry that it writes for an agent.
    fn event(&self) -> Option<&Text> {
        None
    }

    /// Computes in advance what follows from the request alone.
    fn prepare(&self, _prepared: &mut Prepared) {}

    /// The operation's own keys in the readable entry of its decision. Contents are left out; the journal has them.
    fn decision_details(&self, decided: &DecisionRecord) -> Object;

    /// Adds measures of the effect's reply to the keys of the readable entry. Contents are left out.
    fn outcome_details(&self, _reply: &Reply, _keys: &mut Object) {}

    /// Answers the request, or starts its effect. The gate has permitted it, and its costs are reserved.
    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure>;

    /// Decides on a step of its effect; `None` if the step is not of the effect's kind.
    fn on_step(
        &self,
        _kernel: &mut Kernel,
        _pending: &mut PendingEffect,
        _step: Step,
    ) -> Option<(DecisionRecord, StepAnswer)> {
        None
    }

    /// The outcome of a completion; `None` if the completion is not of the effect's kind.
    fn complete(
        &self,
        kernel: &mut Kernel,
        pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed>;

    /// The amounts that are charged for a failed effect, which used up `spent`.
    fn charge_failure(&self, _kernel: &Kernel, _pending: &PendingEffect, _spent: &Spent) -> Amounts {
        Amounts::from([(Dimension::Bytes, 0)])
    }
}

/// Amounts by dimension.
pub(crate) type Amounts = Vec<(Dimension, u64)>;

/// What the gate gives with a permit.
pub(crate) struct Permitted<'c> {
    pub(crate) caller: &'c Caller,
    /// The canonical target: the gate decided on it, and the effect uses it.
    pub(crate) target: Option<Target>,
    /// The granted root of a file.
    pub(crate) root: Option<Root>,
    /// For a request that was decided on part by part: the file targets of the parts, each with its root.
    pub(crate) parts: Vec<(Target, Root)>,
    /// The fuel that is reserved.
    pub(crate) fuel: Option<u64>,
    /// The capability that was presented with the request.
    pub(crate) presented: Option<&'c PresentedCapability>,
}

/// The result of acting on a permit.
pub(crate) enum Started {
    /// The request is answered.
    Reply(Reply),
    /// The decision that a preview predicts, and the reply.
    Preview(Box<DecisionRecord>, Reply),
    /// The host performs an effect.
    Effect(Effect, Box<Begun>),
}

/// An effect that starts.
pub(crate) struct Begun {
    /// The request as it is kept until the effect ends.
    pub(crate) request: Request,
    pub(crate) state: EffectState,
    /// The tools on whose behalf the effect runs.
    pub(crate) tools: CallStack,
}

impl Begun {
    pub(crate) fn new(request: impl Into<Request>, state: EffectState, caller: &Caller) -> Box<Begun> {
        Box::new(Begun { request: request.into(), state, tools: caller.tools.clone() })
    }
}

/// Upper bounds in bytes of what is recorded of an effect.
pub(crate) struct EffectSize {
    /// JSON of its outcome, without names of members and a message.
    pub(crate) outcome_bytes_max: u64,
    /// Records of those steps for which the host checks for room in advance.
    pub(crate) steps_bytes_max: u64,
}

impl EffectSize {
    /// For an effect without steps whose outcome is short.
    pub(crate) const SMALL: EffectSize = EffectSize { outcome_bytes_max: 0, steps_bytes_max: 0 };
}

/// The result of an effect that was performed: its outcome, and what it used.
pub(crate) struct Completed {
    pub(crate) outcome: Outcome,
    pub(crate) used: Amounts,
}

impl Completed {
    pub(crate) fn new(reply: Reply, used: impl Into<Amounts>) -> Completed {
        Completed { outcome: Ok(reply), used: used.into() }
    }

    /// For an effect that moved this number of bytes.
    pub(crate) fn moved(reply: Reply, bytes: u64) -> Completed {
        Completed::new(reply, [(Dimension::Bytes, bytes)])
    }
}

/// Evaluates the same expression for the request of any family.
macro_rules! each_family {
    ($request:expr, $family:ident => $body:expr) => {
        match $request {
            Request::Heap($family) => $body,
            Request::File($family) => $body,
            Request::Http($family) => $body,
            Request::Infer($family) => $body,
            Request::Tools($family) => $body,
            Request::Agent($family) => $body,
            Request::Audit($family) => $body,
            Request::Admin($family) => $body,
        }
    };
}

impl Request {
    /// The operation of the request.
    pub fn operation(&self) -> Operation {
        each_family!(self, request => request.row().into())
    }

    /// The `args` of the wire form.
    pub fn args(&self) -> Value {
        each_family!(self, request => request.args())
    }

    /// Reads a request from its wire form.
    ///
    /// # Errors
    /// [`FieldError`] names the first member that is missing, unknown or of the wrong type.
    pub fn decode(operation: Operation, args: &Value) -> Result<Request, FieldError> {
        let mut fields = Fields::new("args", args)?;
        let request: Request = match operation.family() {
            OperationFamily::Heap(row) => Family::decode(row, &mut fields).map(Request::Heap)?,
            OperationFamily::File(row) => Family::decode(row, &mut fields).map(Request::File)?,
            OperationFamily::Http(row) => Family::decode(row, &mut fields).map(Request::Http)?,
            OperationFamily::Infer(row) => Family::decode(row, &mut fields).map(Request::Infer)?,
            OperationFamily::Tools(row) => Family::decode(row, &mut fields).map(Request::Tools)?,
            OperationFamily::Agent(row) => Family::decode(row, &mut fields).map(Request::Agent)?,
            OperationFamily::Audit(row) => Family::decode(row, &mut fields).map(Request::Audit)?,
            OperationFamily::Admin(row) => Family::decode(row, &mut fields).map(Request::Admin)?,
            OperationFamily::Kernel(_) => {
                return Err(FieldError::new("op", "only the kernel writes such entries"));
            }
        };
        fields.finish()?;
        Ok(request)
    }

    /// Whether the request needs an effect of the host.
    pub fn is_effect(&self) -> bool {
        // The configuration only limits the length of an outcome; whether there is an effect does not depend on it.
        self.effect_size(&Config::default()).is_some()
    }

    pub(crate) fn size(&self) -> u64 {
        each_family!(self, request => request.size())
    }

    /// The number of operations that it counts as.
    pub(crate) fn operations(&self) -> u64 {
        each_family!(self, request => request.operations())
    }

    pub(crate) fn each_part(&self, judge: &mut dyn FnMut(JudgedPart)) -> bool {
        each_family!(self, request => request.each_part(judge))
    }

    pub(crate) fn query(&self, asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        each_family!(self, request => request.query(asker))
    }

    pub(crate) fn only_tells(&self) -> bool {
        each_family!(self, request => request.only_tells())
    }

    pub(crate) fn charges(&self, kernel: &Kernel, caller: &Caller, agent: &str) -> Result<Amounts, Failure> {
        let operations_max = kernel.heap.config().batch_ops_max as u64;
        if self.operations() > operations_max {
            return Err(Failure::new(
                Code::Limit,
                format!("a batch has at most {operations_max} operations"),
            ));
        }
        each_family!(self, request => request.charges(kernel, caller, agent))
    }

    pub(crate) fn effect_size(&self, config: &Config) -> Option<EffectSize> {
        each_family!(self, request => request.effect_size(config))
    }

    /// The subject that the request names.
    pub(crate) fn subject(&self) -> Option<&Text> {
        each_family!(self, request => request.subject())
    }

    /// The subjects of the record. Requests that the kernel needs to run are about the kernel alone and can never
    /// be erased.
    pub(crate) fn subjects(&self, kernel: &Kernel, agent: &Text) -> Vec<Text> {
        each_family!(self, request => request.subjects(kernel, agent))
    }

    pub(crate) fn others_in(&self, kernel: &Kernel, reply: &Reply) -> Vec<Text> {
        each_family!(self, request => request.others_in(kernel, reply))
    }

    pub(crate) fn names(&self, names: &mut Vec<Text>, objects: &mut Vec<Handle>) {
        each_family!(self, request => request.names(names, objects));
    }

    pub(crate) fn event(&self) -> Option<&Text> {
        each_family!(self, request => request.event())
    }

    pub(crate) fn prepare(&self, prepared: &mut Prepared) {
        each_family!(self, request => request.prepare(prepared));
    }

    pub(crate) fn outcome_details(&self, reply: &Reply, keys: &mut Object) {
        each_family!(self, request => request.outcome_details(reply, keys));
    }

    pub(crate) fn decision_details(&self, decided: &DecisionRecord) -> Object {
        each_family!(self, request => request.decision_details(decided))
    }

    pub(crate) fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        each_family!(self, request => request.start(kernel, permitted))
    }

    pub(crate) fn on_step(
        &self,
        kernel: &mut Kernel,
        pending: &mut PendingEffect,
        step: Step,
    ) -> Option<(DecisionRecord, StepAnswer)> {
        each_family!(self, request => request.on_step(kernel, pending, step))
    }

    pub(crate) fn complete(
        &self,
        kernel: &mut Kernel,
        pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed> {
        each_family!(self, request => request.complete(kernel, pending, completion))
    }

    pub(crate) fn charge_failure(&self, kernel: &Kernel, pending: &PendingEffect, spent: &Spent) -> Amounts {
        each_family!(self, request => request.charge_failure(kernel, pending, spent))
    }

    /// Whether the request is short enough to be admitted: bytes, values, names, headers and operations are bounded
    /// before anything else examines them.
    ///
    /// # Errors
    /// LIMIT; the message names the limit that is exceeded.
    pub(crate) fn check_form(&self) -> Result<(), Failure> {
        let limit = |message| Err(Failure::new(Code::Limit, message));
        let (size, size_max) = (self.size(), self.size_max());
        if size > size_max {
            return Err(self.too_long(size, size_max));
        }
        if self.has_too_many_values() {
            return limit(format!(
                "the request has more than {VALUES_MAX} values; a list or an object counts as three"
            ));
        }
        let named = each_family!(self, request => request.longest_name());
        if named > NAME_BYTES_MAX {
            return limit(format!("a name of {named} bytes is above the limit of {NAME_BYTES_MAX}"));
        }
        if self.operations() > BATCH_OPS_MAX as u64 {
            return limit(format!("a batch has at most {} operations", BATCH_OPS_MAX));
        }
        each_family!(self, request => request.rejection()).map_or(Ok(()), Err)
    }

    pub(crate) fn size_max(&self) -> u64 {
        each_family!(self, request => request.size_max())
    }

    pub(crate) fn too_long(&self, size: u64, size_max: u64) -> Failure {
        let operation = self.operation().name();
        let message = format!("{size} bytes are above the limit of {size_max} for a request of {operation}");
        Failure::new(Code::Limit, message)
    }

    /// Whether the request has more JSON values than can be examined under the lock. An array or object counts as
    /// three, since it is digested by itself.
    pub(crate) fn has_too_many_values(&self) -> bool {
        let mut left = VALUES_MAX;
        let mut look = |value: &Value| counts(value, &mut left);
        !each_family!(self, request => request.each_value(&mut look))
    }
}

/// Subtracts what a value counts from `left`; false if `left` is not enough.
fn counts(value: &Value, left: &mut usize) -> bool {
    let own = if matches!(value, Value::Array(_) | Value::Object(_)) { 3 } else { 1 };
    let Some(rest) = left.checked_sub(own) else { return false };
    *left = rest;
    match value {
        Value::Array(items) => items.iter().all(|item| counts(item, left)),
        Value::Object(members) => members.values().all(|member| counts(member, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The policy query for an action on a target. `name` is the target as the request writes it.
///
/// # Errors
/// The target has no canonical form.
pub(crate) fn query_for(
    action: Action,
    target: Result<Target, TargetError>,
    name: &Text,
    args: Option<Value>,
) -> Result<Option<PolicyQuery>, InvalidTarget> {
    match target {
        Ok(target) => Ok(Some(PolicyQuery { action, target, args, owned: true })),
        Err(error) => Err(InvalidTarget {
            op: Cow::Owned(action.to_string()),
            target: name.clone(),
            reason: format!("{:?}: {error}", &**name),
        }),
    }
}

/// The members of a value that is an object; empty for other values.
pub(crate) fn members(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Object::new(),
    }
}

/// The length of an optional text, in bytes.
pub(crate) fn length(text: &Option<Text>) -> u64 {
    text.as_ref().map_or(0, |text| text.len() as u64)
}

/// The name that a request gives an agent, if it can be the name of a subject; otherwise the caller's own.
pub(crate) fn subject_named<'n>(named: &'n Text, agent: &'n Text) -> Text {
    let fits = !named.is_empty() && named.len() <= SUBJECT_BYTES_MAX;
    if fits { named.clone() } else { agent.clone() }
}
