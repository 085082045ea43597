//! From a request to what the policy is asked: action, canonical target, arguments.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
};

use ak_heap::{Content, Handle};
use ak_json::{Limits, Object, Text, Value, object};
use ak_policy::{Action, Policy, Target, TargetError};

use crate::{
    inference,
    prepared::Prepared,
    request::{HttpRequest, Request},
    search::ANY_TYPE,
};

/// The most of a body that is read as JSON for the policy to decide on.
const PARSED_BODY_BYTES_MAX: usize = 1 << 20;

/// What the policy decides on.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) args: Option<Value>,
    /// Whether what it is done to belongs to whoever asks. An object that is not there counts as somebody else's.
    pub(crate) owned: bool,
}

/// Why a request has nothing the policy could decide on: it is refused.
#[derive(Clone, Debug)]
pub(crate) struct Unaskable {
    pub(crate) op: Cow<'static, str>,
    pub(crate) target: Text,
    pub(crate) reason: String,
}

impl Question {
    /// The question that a request puts, or `None` for operations that only tell a session about itself. `owns` says whether
    /// an object belongs to whoever asks; `prepared` is what was worked out of this request beforehand.
    pub(crate) fn of(
        request: &Request,
        agent: &Text,
        policy: &Policy,
        prepared: &Prepared,
        owns: impl Fn(Handle) -> bool,
    ) -> Result<Option<Question>, Unaskable> {
        let unaskable = |action: &str, target: &Text, error: TargetError| Unaskable {
            op: Cow::Owned(action.into()),
            target: target.clone(),
            reason: error.to_string(),
        };
        let path = |action: Action, path: &Text, args: Option<Value>| match Target::path(path) {
            Ok(target) => Ok(Some(Question { action, target, args, owned: true })),
            Err(error) => Err(unaskable(&action.to_string(), path, error)),
        };
        let named = |action: Action, made: Result<Target, TargetError>, name: &Text, args: Option<Value>| {
            match made {
                Ok(target) => Ok(Some(Question { action, target, args, owned: true })),
                Err(error) => Err(unaskable(&action.to_string(), name, error)),
            }
        };
        let heap = |action, handle: &Handle, args| {
            Ok(Some(Question { action, target: Target::heap(handle.raw()), args, owned: owns(*handle) }))
        };
        match request {
            Request::Alloc { type_name, content, .. } => {
                let args = match content {
                    Content::Json(value) => Some(object! { "value": value.clone() }),
                    Content::Raw(bytes) => Some(object! { "size": bytes.len() as u64 }),
                };
                named(Action::HeapAlloc, Target::type_name(type_name), type_name, args)
            }
            Request::Read { handle, .. } | Request::Stat { handle } => heap(Action::HeapRead, handle, None),
            Request::Write { handle, patch, .. } => {
                heap(Action::HeapWrite, handle, Some(object! { "patch": patch.clone() }))
            }
            Request::Delete { handle, .. } => heap(Action::HeapDelete, handle, None),
            Request::Query { form } => {
                let wanted = form.get("type").and_then(Value::as_text).cloned();
                let type_name = wanted.unwrap_or_else(|| Text::from(ANY_TYPE));
                let target = Target::type_name(&type_name);
                named(Action::HeapQuery, target, &type_name, Some(form.clone().into()))
            }
            // Who may create objects of a type may say what they hold, as long as nobody else uses the type.
            Request::TypeRegister { name, schema } => {
                let args = object! { "schema": schema.clone() };
                named(Action::HeapAlloc, Target::type_name(name), name, Some(args))
            }
            Request::TypeUnregister { name } => named(Action::HeapAlloc, Target::type_name(name), name, None),
            Request::Call { tool, args } => {
                named(Action::Execute, Target::tool(tool), tool, Some(args.clone()))
            }
            Request::Inference { request, .. } => {
                let model = model_of(request).unwrap_or_default();
                // What goes out is what is judged; what cannot go out is refused when its costs are worked out.
                let args = inference::judged(policy, agent, request).unwrap_or_else(|_| request.clone());
                named(Action::Infer, Target::model(&model), &model, Some(args))
            }
            Request::FsRead { path: text, .. } => path(Action::FsRead, text, None),
            Request::FsWrite { path: text, data } => {
                path(Action::FsWrite, text, Some(object! { "size": data.len() as u64 }))
            }
            Request::FsList { path: text } => path(Action::FsList, text, None),
            Request::FsStat { path: text } => path(Action::FsStat, text, None),
            Request::FsDelete { path: text } => path(Action::FsDelete, text, None),
            Request::Http(request) => {
                let action = Action::from_method(&request.method).ok_or_else(|| Unaskable {
                    op: Cow::Borrowed("http"),
                    target: request.url.clone(),
                    reason: "the method is none of GET HEAD POST PUT PATCH DELETE OPTIONS".into(),
                })?;
                match Target::url(&request.url) {
                    Ok(target) => match http_args(request, prepared) {
                        Ok(args) => Ok(Some(Question { action, target, args: Some(args), owned: false })),
                        Err(reason) => Err(Unaskable {
                            op: Cow::Owned(action.to_string()),
                            target: request.url.clone(),
                            reason,
                        }),
                    },
                    Err(error) => Err(unaskable(&action.to_string(), &request.url, error)),
                }
            }
            Request::AuditLog { event, details, .. } => {
                named(Action::AuditLog, Target::audit(event), event, Some(details.clone()))
            }
            Request::AuditQuery(_) | Request::Commit | Request::AuditProof { .. } => {
                named(Action::AuditRead, Target::audit(agent), agent, None)
            }
            // Each operation of a batch puts its own question.
            Request::Batch { .. }
            | Request::LastError
            | Request::Authorize { .. }
            | Request::PolicyLoad { .. }
            | Request::BudgetSet { .. }
            | Request::BudgetStatus { .. }
            | Request::CapGrant { .. }
            | Request::CapAttenuate { .. }
            | Request::CapRevoke { .. }
            | Request::CapToken { .. }
            | Request::AuditVerify { .. }
            | Request::Erase { .. }
            | Request::ToolRegister { .. }
            | Request::ToolList
            | Request::SessionOpen { .. }
            | Request::SessionClose => Ok(None),
        }
    }
}

/// The model that a chat-completions request names.
pub(crate) fn model_of(request: &Value) -> Option<Text> {
    match request.get("model") {
        Some(Value::String(model)) => Some(model.clone()),
        _ => None,
    }
}

/// What rules can constrain about an HTTP request: its headers, lower-cased, and its body, as JSON where it is JSON.
///
/// Servers that pass headers on as variables (CGI, WSGI) read `_` in a name as `-`, so a header stands under the spelling with
/// `-` too.
///
/// # Errors
/// A name that is no header's, and two headers that some server takes for one: what is judged must be all that is sent.
fn http_args(request: &HttpRequest, prepared: &Prepared) -> Result<Value, String> {
    if let Some(reason) = request.has_too_long_headers() {
        return Err(reason);
    }
    let mut headers = Object::new();
    for (name, value) in &request.headers {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(format!("{:?} is no name of a header", &**name));
        }
        if value.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err(format!("the value of header {} holds a line break or a NUL", &**name));
        }
        let lower = name.to_ascii_lowercase();
        let dashed = lower.replace('_', "-");
        if headers.get(&dashed).is_some() || headers.get(&lower).is_some() {
            return Err(format!("header {} stands there twice: join its values with a comma", &**name));
        }
        if dashed != lower {
            headers.insert(dashed.as_str(), value.clone());
        }
        headers.insert(lower.as_str(), value.clone());
    }
    let mut args = Object::new();
    args.insert("headers", headers);
    if let Some(body) = &request.body {
        args.insert("body", prepared.http_body(body));
    }
    Ok(args.into())
}

/// A body as rules see it: as JSON where it is JSON. They see a long one as a text, of which no condition on members holds
/// beyond doubt.
pub(crate) fn body_value(body: &[u8]) -> Value {
    let parsed = (body.len() <= PARSED_BODY_BYTES_MAX).then(|| Value::parse(body, &Limits::default()).ok());
    parsed.flatten().unwrap_or_else(|| Value::from(String::from_utf8_lossy(body).into_owned()))
}

/// What a header's name is made of (RFC 9110 §5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
