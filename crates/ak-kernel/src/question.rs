//! From a request to what the policy is asked: action, canonical target, arguments.

use alloc::{borrow::Cow, string::ToString};

use ak_heap::Content;
use ak_json::{Limits, Object, Text, Value, object};
use ak_policy::{Action, Target, TargetError};

use crate::{
    request::{HttpRequest, Request},
    search::ANY_TYPE,
};

/// What the policy decides on.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) args: Option<Value>,
    /// Whether what it is done to belongs to whoever asks. A handle is looked up only after the decision, so it counts as
    /// one's own until then.
    pub(crate) owned: bool,
}

/// Why a request has nothing the policy could decide on: it is refused.
#[derive(Clone, Debug)]
pub(crate) struct Unaskable {
    pub(crate) op: Cow<'static, str>,
    pub(crate) target: Text,
    pub(crate) reason: alloc::string::String,
}

impl Question {
    /// The question that a request puts, or `None` for operations that only tell a session about itself.
    pub(crate) fn of(request: &Request, agent: &Text) -> Result<Option<Question>, Unaskable> {
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
        let heap = |action, handle: &ak_heap::Handle, args| {
            Ok(Some(Question { action, target: Target::heap(handle.raw()), args, owned: true }))
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
            Request::Call { tool, args } => {
                named(Action::Execute, Target::tool(tool), tool, Some(args.clone()))
            }
            Request::Inference { request, .. } => {
                let model = model_of(request).unwrap_or_default();
                named(Action::Infer, Target::model(&model), &model, Some(request.clone()))
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
                    Ok(target) => {
                        Ok(Some(Question { action, target, args: Some(http_args(request)), owned: false }))
                    }
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
            | Request::SessionOpen { .. } => Ok(None),
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
fn http_args(request: &HttpRequest) -> Value {
    let mut headers = Object::new();
    for (name, value) in &request.headers {
        headers.insert(name.to_ascii_lowercase().as_str(), value.clone());
    }
    let mut args = Object::new();
    args.insert("headers", headers);
    if let Some(body) = &request.body {
        let body = match Value::parse(body, &Limits::default()) {
            Ok(value) => value,
            Err(_) => Value::from(alloc::string::String::from_utf8_lossy(body).into_owned()),
        };
        args.insert("body", body);
    }
    args.into()
}
