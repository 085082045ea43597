//! The operations, a module for each family of them.
//!
//! A family says everything about its operations behind one signature, [`Family`]. Adding an operation takes a row in the table
//! ([`Operation`]), its type in `api/request/`, and the arms that the compiler asks for in its family's file.

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

/// Most values that a request brings; a list or an object counts as three.
pub(crate) const VALUES_MAX: usize = 250_000;
/// Most bytes of a value that a request brings: an object, a patch, arguments, details.
const VALUE_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of what is written to a file or sent by HTTP.
const DATA_BYTES_MAX: u64 = 10 << 20;
/// Most bytes of a query, and of what a capability is asked for.
const FORM_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of a path, a URL, a name. Their own forms may be shorter.
const NAME_BYTES_MAX: usize = 64 << 10;

/// What every family says of its operations.
pub(crate) trait Family: Sized {
    /// The rows of the family in the table of operations.
    type Row: Into<Operation>;

    /// The row of this request.
    fn row(&self) -> Self::Row;

    /// Takes a request from the `args` of its wire form.
    fn decode(row: Self::Row, fields: &mut Fields<'_>) -> Result<Self, FieldError>;

    /// The `args` of its wire form.
    fn args(&self) -> Value;

    /// Bytes of everything in it that a caller chooses: names, texts, values and data, before they are put into words.
    fn size(&self) -> u64;

    /// The most bytes that it may have. What is looked at item by item, under the kernel's lock, is shorter than data that is
    /// only passed on.
    fn size_max(&self) -> u64 {
        VALUE_BYTES_MAX
    }

    /// The longest of its names, in bytes: of paths, URLs, types, tools, events.
    fn longest_name(&self) -> usize;

    /// Shows each JSON value that it brings, until `look` says no. Whether it never did.
    fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool;

    /// Why it cannot be admitted, beside its size: it is over a limit of its family, or has a word that nothing can mean.
    fn rejection(&self) -> Option<Failure> {
        None
    }

    /// What the policy is asked about it; none for an operation that only tells a session about itself.
    fn query(&self, asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget>;

    /// How many operations it counts as.
    fn operations(&self) -> u64 {
        1
    }

    /// Hands over each of its parts, where it is decided on part by part. Whether it is.
    fn each_part(&self, _judge: &mut dyn FnMut(JudgedPart)) -> bool {
        false
    }

    /// Whether it only tells a session about itself, and so may come with any capability.
    fn only_tells(&self) -> bool {
        false
    }

    /// What it costs at most, beside that it was asked. It is set aside before the request passes.
    ///
    /// # Errors
    /// A request that is over one of the kernel's own limits.
    fn charges(&self, kernel: &Kernel, caller: &Caller, agent: &str) -> Result<Amounts, Failure>;

    /// How long what is recorded of its effect may become; none where it is answered at once.
    fn effect_size(&self, config: &Config) -> Option<EffectSize>;

    /// The subject that it names itself.
    fn subject(&self) -> Option<&Text> {
        None
    }

    /// Whom it is about: whom it names, whom the objects it names are about, or else the agent.
    fn subjects(&self, kernel: &Kernel, agent: &Text) -> Vec<Text>;

    /// Whom an answer tells of beside those.
    fn others_in(&self, _kernel: &Kernel, _reply: &Reply) -> Vec<Text> {
        Vec::new()
    }

    /// Adds whom it names, and which objects: who verifies a log looks for its subjects among them.
    fn names(&self, names: &mut Vec<Text>, _objects: &mut Vec<Handle>) {
        names.extend(self.subject().cloned());
    }

    /// The event type of the entry that it writes for an agent.
    fn event(&self) -> Option<&Text> {
        None
    }

    /// Works out what can be worked out beforehand.
    fn prepare(&self, _prepared: &mut Prepared) {}

    /// The keys of its own in the readable entry of its decision. Contents stay out: they are in the journal.
    fn decision_details(&self, decided: &DecisionRecord) -> Object;

    /// Adds the measures of its effect's reply to the keys of the readable entry. Contents stay out.
    fn outcome_details(&self, _reply: &Reply, _keys: &mut Object) {}

    /// Answers it, or lets its effect out. The gate has permitted it, and what it costs is set aside.
    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure>;

    /// Decides on a step of its effect.
    fn on_step(
        &self,
        _kernel: &mut Kernel,
        _pending: &mut PendingEffect,
        _step: Step,
    ) -> Option<(DecisionRecord, StepAnswer)> {
        None
    }

    /// What an end of its effect comes to; none where its effect cannot end so.
    fn complete(
        &self,
        kernel: &mut Kernel,
        pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed>;

    /// What is charged for an effect that failed after it used so much.
    fn charge_failure(&self, _kernel: &Kernel, _pending: &PendingEffect, _spent: &Spent) -> Amounts {
        Amounts::from([(Dimension::Bytes, 0)])
    }
}

/// Amounts by budget.
pub(crate) type Amounts = Vec<(Dimension, u64)>;

/// What comes with a permit.
pub(crate) struct Permitted<'c> {
    pub(crate) caller: &'c Caller,
    /// The canonical target: what was checked, and so what is used.
    pub(crate) target: Option<Target>,
    /// For files: the root that was granted.
    pub(crate) root: Option<Root>,
    /// Of a request that was decided on part by part: the files among the targets, each with its root.
    pub(crate) parts: Vec<(Target, Root)>,
    /// How much fuel is set aside.
    pub(crate) fuel: Option<u64>,
    /// The capability that came with the request.
    pub(crate) presented: Option<&'c PresentedCapability>,
}

/// What acting on a permit came to.
pub(crate) enum Started {
    /// It is answered.
    Reply(Reply),
    /// A request was only asked about: what would be decided, and the answer.
    Preview(Box<DecisionRecord>, Reply),
    /// The host is to perform an effect.
    Effect(Effect, Box<Begun>),
}

/// An effect that begins.
pub(crate) struct Begun {
    /// The request as it is kept until the end.
    pub(crate) request: Request,
    pub(crate) state: EffectState,
    /// The tools that it is done for.
    pub(crate) tools: CallStack,
}

impl Begun {
    pub(crate) fn new(request: impl Into<Request>, state: EffectState, caller: &Caller) -> Box<Begun> {
        Box::new(Begun { request: request.into(), state, tools: caller.tools.clone() })
    }
}

/// Upper bounds in bytes of what is recorded of an effect.
pub(crate) struct EffectSize {
    /// Of its end, as JSON writes it, beside the names of members and a message.
    pub(crate) outcome_bytes_max: u64,
    /// Of the records of its steps for which room is found beforehand.
    pub(crate) steps_bytes_max: u64,
}

impl EffectSize {
    /// Of an effect without steps that brings back nothing long.
    pub(crate) const SMALL: EffectSize = EffectSize { outcome_bytes_max: 0, steps_bytes_max: 0 };
}

/// An effect that was performed: what the caller is told, and what it used.
pub(crate) struct Completed {
    pub(crate) outcome: Outcome,
    pub(crate) used: Amounts,
}

impl Completed {
    pub(crate) fn new(reply: Reply, used: impl Into<Amounts>) -> Completed {
        Completed { outcome: Ok(reply), used: used.into() }
    }

    /// Of an effect that moved so many bytes.
    pub(crate) fn moved(reply: Reply, bytes: u64) -> Completed {
        Completed::new(reply, [(Dimension::Bytes, bytes)])
    }
}

/// Does the same for the request's family, whichever it is.
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
    /// Which operation this is.
    pub fn operation(&self) -> Operation {
        each_family!(self, request => request.row().into())
    }

    /// The `args` of the wire form.
    pub fn args(&self) -> Value {
        each_family!(self, request => request.args())
    }

    /// Takes a request from its wire form.
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

    /// Whether performing it needs the host.
    pub fn is_effect(&self) -> bool {
        // The limits of a configuration say how long an effect's end may be, not whether there is one.
        self.effect_size(&Config::default()).is_some()
    }

    pub(crate) fn size(&self) -> u64 {
        each_family!(self, request => request.size())
    }

    /// How many operations it counts as.
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

    /// The subject that it names itself.
    pub(crate) fn subject(&self) -> Option<&Text> {
        each_family!(self, request => request.subject())
    }

    /// Whom it is about. What keeps the kernel itself going is about nobody else, and can never be erased.
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

    /// Whether it can be admitted: its bytes, values, names, headers and operations are bounded before anything is decided. A
    /// request that is not admitted leaves no record; so a journal that is executed again is not checked for this.
    ///
    /// # Errors
    /// LIMIT, which says what of it is too long; INVALID_ARGUMENT where it has a word that nothing can mean.
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

    /// Whether the values that it brings are too many to be looked at one by one while others wait: a list counts as
    /// much as three that hold nothing, since it is digested by itself.
    pub(crate) fn has_too_many_values(&self) -> bool {
        let mut left = VALUES_MAX;
        let mut look = |value: &Value| counts(value, &mut left);
        !each_family!(self, request => request.each_value(&mut look))
    }
}

/// Takes what a value counts; `false` once nothing is left.
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

/// The query for an action on a target, which stands as `name` in the request.
///
/// # Errors
/// Where the target has no canonical form.
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

/// The members of a value that is written as an object.
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

/// A name that an agent gives, where it can be a subject's.
pub(crate) fn subject_named<'n>(named: &'n Text, agent: &'n Text) -> Text {
    let fits = !named.is_empty() && named.len() <= SUBJECT_BYTES_MAX;
    if fits { named.clone() } else { agent.clone() }
}
