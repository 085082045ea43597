//! Replies and failures of requests.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};

use ak_heap::{Content, Handle};
use ak_json::{Object, Text, Value, object};

use crate::api::{
    code::{Code, ErrorClass},
    fields::{
        FieldError, Fields, base64url, content_field, content_members, handle_field, headers_field,
        insert_some,
    },
    operation::{Operation, ReplyForm},
    session::SessionId,
};

/// The outcome of a request: a reply or a failure.
pub type Outcome = Result<Reply, Failure>;

/// The result of a request that succeeded. Each operation always gives the same variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The request succeeded and has no result.
    Done,
    /// The handle of the object that was created.
    Handle(Handle),
    /// The object's new version.
    Version(u64),
    /// The content of an object.
    Content(Content),
    /// The content of a file.
    Bytes(Arc<[u8]>),
    /// An HTTP response.
    Http(HttpResponse),
    /// The session that was opened.
    Session(SessionId),
    /// Anything else, as JSON.
    Value(Value),
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names and values of the headers, in order.
    pub headers: Vec<(Text, Text)>,
    /// The whole body.
    pub body: Arc<[u8]>,
}

impl HttpResponse {
    pub(crate) fn to_value(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| Vec::from([Value::from(name.clone()), value.clone().into()]).into())
            .collect();
        object! { "status": u64::from(self.status), "headers": headers, "body": base64url(&self.body) }
    }

    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<HttpResponse, FieldError> {
        let status = fields.u64("status")?;
        Ok(HttpResponse {
            status: u16::try_from(status).map_err(|_| fields.error("status", "expected a status code"))?,
            headers: headers_field(fields)?,
            body: fields.bytes("body")?,
        })
    }
}

impl Reply {
    /// The `result` of the wire form.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Done => Object::new().into(),
            Self::Handle(handle) => object! { "handle": format!("{handle}") },
            Self::Version(version) => object! { "version": *version },
            Self::Content(content) => content_members(content).into(),
            Self::Bytes(bytes) => object! { "bytes": base64url(bytes) },
            Self::Http(response) => response.to_value(),
            Self::Session(account) => object! { "session": u64::from(account.number()) },
            Self::Value(value) => value.clone(),
        }
    }

    /// Reads the reply to `operation` from its wire form.
    ///
    /// # Errors
    /// [`FieldError`] if the result is not in the form of that operation.
    pub fn decode(operation: Operation, result: &Value) -> Result<Reply, FieldError> {
        let mut fields = Fields::new("result", result)?;
        let reply = match operation.reply() {
            ReplyForm::Done => Self::Done,
            // If the host has results to add, the object is not empty.
            ReplyForm::DoneOrValue if result.as_object().is_some_and(Object::is_empty) => Self::Done,
            ReplyForm::DoneOrValue | ReplyForm::Value => return Ok(Self::Value(result.clone())),
            ReplyForm::Handle => Self::Handle(handle_field(&mut fields)?),
            ReplyForm::Version => Self::Version(fields.u64("version")?),
            ReplyForm::Content => Self::Content(content_field(&mut fields)?),
            ReplyForm::Bytes => Self::Bytes(fields.bytes("bytes")?),
            ReplyForm::Http => Self::Http(HttpResponse::from_fields(&mut fields)?),
            ReplyForm::Session => {
                let number = fields.u64("session")?;
                let number = u32::try_from(number)
                    .map_err(|_| fields.error("session", "expected a session number"))?;
                Self::Session(SessionId::from_number(number))
            }
        };
        fields.finish()?;
        Ok(reply)
    }
}

/// Why a request failed: code, message, context, and the gate's denial.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure.
    pub code: Code,
    /// One sentence: what failed, where, and what to do about it if that is known.
    pub message: String,
    /// Facts for programs: `handle`, `expected`, `line`, `retry_after_ms`, …
    pub context: Object,
    /// The gate's denial, if the gate did not permit the request.
    pub denial: Option<Box<Denial>>,
    /// Whether a capability that the failure is about is held or was presented.
    pub capability: CapabilityUse,
}

/// Whether a capability that a failure is about is held by the agent or was presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapabilityUse {
    /// The agent holds the capability, or the failure is about none.
    #[default]
    Held,
    /// The capability's token came with the request or with the session.
    Presented,
}

/// The member of `context` that marks a presented capability on the wire and in the state.
const PRESENTED: &str = "presented";

impl Failure {
    /// Turns the failure of one operation of a batch into a failure of the batch, with the operation's index.
    pub(crate) fn at_index(mut self, index: usize) -> Failure {
        if let Some(patch_index) = self.context.remove("index") {
            self.context.insert("patch_index", patch_index);
        }
        self.message = format!("batch operation {index}: {}", self.message);
        self.with("index", index as u64)
    }

    /// A failure with code and message only.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        let (context, denial, capability) = Default::default();
        Failure { code, message: message.into(), context, denial, capability }
    }

    /// Adds a member to the context.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Failure {
        self.context.insert(name, value);
        self
    }

    /// Marks the failure as one about a presented capability.
    #[must_use]
    pub fn presented(self) -> Failure {
        Failure { capability: CapabilityUse::Presented, ..self }
    }

    /// The context, with a mark if the failure is about a presented capability.
    fn written_context(&self) -> Object {
        let mut context = self.context.clone();
        match self.capability {
            CapabilityUse::Held => {}
            CapabilityUse::Presented => drop(context.insert(PRESENTED, true)),
        }
        context
    }

    fn with_written_context(self, mut context: Object) -> Failure {
        let is_presented = context.remove(PRESENTED).is_some_and(|value| value.as_bool() == Some(true));
        let capability = if is_presented { CapabilityUse::Presented } else { CapabilityUse::Held };
        Failure { context, capability, ..self }
    }

    /// The exception class. It is the code's class, except that a failure of a presented capability is a
    /// `Capability` error.
    pub fn class(&self) -> ErrorClass {
        match (self.code, self.capability) {
            (
                Code::CapMissing
                | Code::CapInvalid
                | Code::CapExpired
                | Code::CapScope
                | Code::CapRevoked
                | Code::CapRunMismatch,
                CapabilityUse::Presented,
            ) => ErrorClass::Capability,
            (code, _) => code.class(),
        }
    }

    /// A failure of a rate, which a repetition after so many µs may pass.
    #[must_use]
    pub(crate) fn retry_after(self, wait_us: u64) -> Failure {
        let mut failure = self.with(RETRY_AFTER_MS, wait_us.div_ceil(1000));
        failure.tell_wait();
        failure
    }

    /// Appends to the message when the request can be repeated, where that is known.
    pub(crate) fn tell_wait(&mut self) {
        if let Some(wait_ms) = self.context.get(RETRY_AFTER_MS).and_then(Value::as_u64) {
            self.message.push_str(&format!("; again in {} s", wait_ms.div_ceil(1000)));
        }
    }

    /// Removes from a failure about a used up budget or limit what an agent session must not learn: whose limit it
    /// is, and what others used. The kind of budget and the time of the next attempt stay.
    #[must_use]
    pub(crate) fn redacted(mut self) -> Failure {
        if self.code != Code::BudgetExceeded {
            return self;
        }
        let kind = self.context.get("kind").and_then(Value::as_str);
        self.message = match kind {
            Some(kind) => format!("the {kind} budget is used up"),
            None => String::from("a limit of the policy is reached"),
        };
        let told = ["kind", "index", RETRY_AFTER_MS];
        let kept = self.context.iter().filter(|(name, _)| told.contains(&&***name));
        self.context = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.capability = CapabilityUse::Held;
        self
    }

    /// The `error` of the wire form.
    pub fn to_value(&self) -> Value {
        let mut error = Object::new();
        error.insert("code", self.code.number());
        error.insert("name", self.code.name());
        error.insert("message", self.message.as_str());
        let context = self.written_context();
        if !context.is_empty() {
            error.insert("context", context);
        }
        insert_some(&mut error, "denial", self.denial.as_deref().map(Denial::to_value));
        error.into()
    }

    /// What a tool is told of a failure: its code and facts, and the code's meaning in place of all texts for people. A tool may
    /// answer with what it was told; so its answer is the same when another version, which words its messages otherwise, executes
    /// the journal again.
    pub(crate) fn to_tool_value(&self) -> Value {
        let reason = plain(self.code.meaning());
        let denial = self.denial.as_deref().map(|denial| {
            Box::new(Denial { reason: reason.clone(), suggested_snippet: String::new(), ..denial.clone() })
        });
        Failure { message: reason, denial, ..self.clone() }.to_value()
    }

    /// Reads a failure from its wire form.
    ///
    /// # Errors
    /// [`FieldError`] if a member is missing or of the wrong type, or if the code is unknown.
    pub fn from_value(value: &Value) -> Result<Failure, FieldError> {
        let mut fields = Fields::new("error", value)?;
        let code = fields.value("code")?.as_i64().and_then(|number| i32::try_from(number).ok());
        let code = code.and_then(Code::from_number).ok_or_else(|| fields.error("code", "is not a code"))?;
        fields.text("name")?;
        let message = String::from(&*fields.text("message")?);
        let context = match fields.optional("context") {
            Some(Value::Object(context)) => context,
            _ => Object::new(),
        };
        let denial = match fields.optional("denial") {
            Some(denial) => Some(Box::new(Denial::from_value(&denial)?)),
            None => None,
        };
        fields.finish()?;
        Ok(Failure { denial, ..Failure::new(code, message).with_written_context(context) })
    }
}

/// The facts that the log commits to and the state contains. Messages are derived from the facts and are not part
/// of them, so that a later version may word them better.
impl Failure {
    pub(crate) fn facts(&self) -> Value {
        let mut facts = Object::new();
        facts.insert("code", self.code.number());
        let context = self.written_context();
        if !context.is_empty() {
            facts.insert("context", context);
        }
        insert_some(&mut facts, "denial", self.denial.as_deref().map(Denial::facts));
        facts.into()
    }

    /// Reads a failure from its facts; the message is the code's meaning.
    pub(crate) fn from_facts(value: &Value) -> Result<Failure, FieldError> {
        let mut fields = Fields::new("failure", value)?;
        let code = fields.value("code")?.as_i64().and_then(|number| i32::try_from(number).ok());
        let code = code.and_then(Code::from_number).ok_or_else(|| fields.error("code", "is not a code"))?;
        let context = match fields.optional("context") {
            Some(Value::Object(context)) => context,
            Some(_) | None => Object::new(),
        };
        let denial = fields.optional("denial").as_ref().map(Denial::from_facts).transpose()?;
        fields.finish()?;
        let failure = Failure::new(code, code.meaning()).with_written_context(context);
        Ok(Failure { denial: denial.map(Box::new), ..failure })
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Failure {
        Failure::new(Code::InvalidArgument, format!("{error}")).with("path", error.path)
    }
}

/// The gate's decision on a request that it did not permit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// The operation of the policy language, such as `fs.read`.
    pub op: String,
    /// The canonical target, or the caller's text if the target has no canonical form.
    pub target: String,
    /// Why the request was not permitted, in one sentence; agent sessions see only a general one.
    pub reason: String,
    /// The name of the failure's code.
    pub reason_code: String,
    /// The missing capability, as `operation:target`; empty if none is known.
    pub missing_cap: String,
    /// A `[[rule]]` that, appended to the policy, permits exactly this request; empty if there is none.
    pub suggested_snippet: String,
    /// The id of the rule that decided; empty for a default denial.
    pub rule_id: String,
    /// The JSON Pointer of the argument that decided; empty if no argument did.
    pub args_path: String,
    /// Identifies the entry with the details: the start of the run id and the entry's `seq`.
    pub trace_id: String,
    /// Wall-clock time of the decision, in µs since the Unix epoch.
    pub timestamp: u64,
}

macro_rules! denial_form {
    ($($field:ident),*) => {
        impl Denial {
            /// The wire form.
            pub fn to_value(&self) -> Value {
                let mut members = Object::new();
                $(members.insert(stringify!($field), self.$field.as_str());)*
                members.insert("timestamp", self.timestamp);
                members.into()
            }

            /// Reads a denial from its wire form.
            ///
            /// # Errors
            /// [`FieldError`] if a member is missing or of the wrong type.
            pub fn from_value(value: &Value) -> Result<Denial, FieldError> {
                let mut fields = Fields::new("denial", value)?;
                let denial = Denial {
                    $($field: String::from(&*fields.text(stringify!($field))?),)*
                    timestamp: fields.u64("timestamp")?,
                };
                fields.finish()?;
                Ok(denial)
            }
        }
    };
}

denial_form!(op, target, reason, reason_code, missing_cap, suggested_snippet, rule_id, args_path, trace_id);

impl Denial {
    pub(crate) fn facts(&self) -> Value {
        object! {
            "op": self.op.as_str(), "target": self.target.as_str(), "code": self.reason_code.as_str(),
            "rule": self.rule_id.as_str(), "args_path": self.args_path.as_str(), "trace": self.trace_id.as_str(),
            "time": self.timestamp,
        }
    }

    /// Reads a denial from its facts; the texts for people are made anew from the facts.
    pub(crate) fn from_facts(value: &Value) -> Result<Denial, FieldError> {
        let mut fields = Fields::new("denial", value)?;
        let mut text = |name| fields.text(name).map(|text| String::from(&*text));
        let mut denial = Denial {
            op: text("op")?,
            target: text("target")?,
            reason_code: text("code")?,
            rule_id: text("rule")?,
            args_path: text("args_path")?,
            trace_id: text("trace")?,
            timestamp: 0,
            ..Denial::default()
        };
        denial.timestamp = fields.u64("time")?;
        fields.finish()?;
        let code = Code::ALL.iter().find(|code| code.name() == denial.reason_code);
        denial.reason = match (code, denial.rule_id.as_str()) {
            (Some(code), "") => String::from(code.meaning()),
            (Some(code), rule) => format!("rule {rule}: {}", code.meaning()),
            (None, _) => denial.reason_code.clone(),
        };
        Ok(denial)
    }

    /// The denial as agent sessions see it: operation, target, code and trace id, without the reason.
    #[must_use]
    pub(crate) fn redacted(&self) -> Denial {
        let code = Code::ALL.iter().find(|code| code.name() == self.reason_code);
        let reason = match code {
            Some(Code::InvalidArgument) => self.reason.clone(),
            Some(
                code @ (Code::CapMissing
                | Code::CapExpired
                | Code::CapScope
                | Code::CapRevoked
                | Code::CapRate
                | Code::CapRunMismatch
                | Code::ApprovalRequired),
            ) => plain(code.meaning()),
            Some(_) | None => String::from("not permitted"),
        };
        Denial {
            op: self.op.clone(),
            target: self.target.clone(),
            reason,
            reason_code: self.reason_code.clone(),
            trace_id: self.trace_id.clone(),
            timestamp: self.timestamp,
            ..Denial::default()
        }
    }
}

/// A sentence as a part of another.
fn plain(sentence: &str) -> String {
    let mut letters = sentence.strip_suffix('.').unwrap_or(sentence).chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// By which name a failure tells after how many ms the request can be repeated.
const RETRY_AFTER_MS: &str = "retry_after_ms";

/// The facts of an outcome that the log commits to: everything except the texts for people. `known` is the wire
/// form of the reply, if it was computed before.
pub(crate) fn outcome_facts(operation: Operation, outcome: &Outcome, known: Option<Value>) -> Value {
    let reply = match outcome {
        Err(failure) => return object! { "ok": false, "error": failure.facts() },
        Ok(reply) => known.unwrap_or_else(|| reply.to_value()),
    };
    let facts = match (operation, &reply) {
        // Only the `seq`s of the entries: their readable form is derived from the log.
        (Operation::AuditQuery, reply) => {
            let entries = reply.get("entries").and_then(Value::as_array);
            let seqs = entries.iter().flat_map(|entries| entries.iter()).filter_map(|entry| entry.get("seq"));
            let seqs: Vec<Value> = seqs.cloned().collect();
            object! { "entries": seqs, "pruned_below": reply.get("pruned_below").cloned() }
        }
        (Operation::Authorize, Value::Object(members)) => {
            let mut members = members.clone();
            for text in ["reason", "suggestion"] {
                members.remove(text);
            }
            members.into()
        }
        (Operation::LastError, reply) => {
            let denial = reply.get("denial").filter(|denial| !denial.is_null());
            let denial = denial.and_then(|denial| Denial::from_value(denial).ok());
            object! { "denial": denial.as_ref().map(Denial::facts) }
        }
        (_, reply) => reply.clone(),
    };
    object! { "ok": true, "result": facts }
}

/// The wire form of an outcome: `{"ok": true, "result"}` or `{"ok": false, "error"}`.
pub fn outcome_to_value(outcome: &Outcome) -> Value {
    match outcome {
        Ok(reply) => object! { "ok": true, "result": reply.to_value() },
        Err(failure) => object! { "ok": false, "error": failure.to_value() },
    }
}

/// Reads the outcome of `operation` from its wire form; other members, such as `usage`, are ignored.
///
/// # Errors
/// [`FieldError`] if the form is wrong.
pub fn outcome_from_value(operation: Operation, value: &Value) -> Result<Outcome, FieldError> {
    match (value.get("ok").and_then(Value::as_bool), value.get("result"), value.get("error")) {
        (Some(true), Some(result), None) => Reply::decode(operation, result).map(Ok),
        (Some(false), None, Some(error)) => Failure::from_value(error).map(Err),
        _ => Err(FieldError::new("ok", "expected true with `result` or false with `error`")),
    }
}
