//! What an entry's readable form says beside the fields that every entry has.

use alloc::{string::ToString, vec::Vec};

use ak_heap::Content;
use ak_json::{Object, Text, Value, object};
use ak_sandbox::HostOperation;

use crate::{
    batch::Part,
    effect::Step,
    form::insert_some,
    gate::Ruling,
    kernel::Caller,
    needs::ToolLine,
    operation::Operation,
    reply::{Outcome, Reply},
    request::Request,
    terms::capability_text,
    tool_run::LOG,
    view::decision_name,
};

/// Of a decision: the operation's own keys. Contents stay out: they are in the journal.
pub(crate) fn decision(
    request: &Request,
    caller: &Caller,
    ruling: &Ruling,
    outcome: Option<&Outcome>,
) -> Value {
    let mut keys = match request {
        Request::Alloc { type_name, content, .. } => {
            let size = content.size();
            let kind = if matches!(content, Content::Json(_)) { "json" } else { "raw" };
            members(object! { "type": type_name.clone(), "size": size, "content": kind })
        }
        Request::Read { handle, .. } | Request::Stat { handle } | Request::Delete { handle, .. } => {
            members(object! { "handle_id": handle.to_string() })
        }
        Request::Write { handle, patch, .. } => members(object! {
            "handle_id": handle.to_string(), "operations": patch.as_array().map_or(0, |list| list.len() as u64),
        }),
        Request::Query { form } => {
            let mut keys = Object::new();
            insert_some(&mut keys, "type", form.get("type").cloned());
            keys
        }
        Request::Batch { parts } => members(
            object! { "operations": parts.iter().zip(&ruling.each).map(part).collect::<Vec<Value>>() },
        ),
        Request::TypeRegister { name, .. } | Request::TypeUnregister { name } => {
            members(object! { "type": name.clone() })
        }
        Request::Call { tool, .. } => members(object! { "tool": tool.clone() }),
        Request::Inference { request, stream, .. } => members(object! {
            "model": request.get("model").cloned().unwrap_or_default(), "stream": *stream,
        }),
        Request::Authorize { operation, target, args } => {
            let mut keys =
                members(object! { "asked_operation": operation.clone(), "asked_target": target.clone() });
            insert_some(&mut keys, "asked_args", args.clone());
            keys
        }
        Request::FsRead { path, .. }
        | Request::FsList { path }
        | Request::FsStat { path }
        | Request::FsDelete { path } => members(object! { "path": path.clone() }),
        Request::FsWrite { path, data } => {
            members(object! { "path": path.clone(), "size": data.len() as u64 })
        }
        Request::Http(http) => members(object! { "method": http.method.clone(), "url": http.url.clone() }),
        Request::BudgetSet { dimension, limit, .. } => members(object! {
            "budget": dimension.as_str(), "limit": limit.map_or(Value::Null, Value::from),
        }),
        Request::CapGrant { agent, terms } => {
            members(object! { "granted_to": agent.clone(), "name": terms.name.clone() })
        }
        Request::CapAttenuate { capability, .. } => {
            members(object! { "parent": capability_text(*capability) })
        }
        Request::CapRevoke { capability } | Request::CapToken { capability } => {
            members(object! { "capability": capability_text(*capability) })
        }
        Request::AuditLog { details, .. } => members(object! { "details": details.clone() }),
        Request::SessionOpen { agent } => members(object! { "opened": agent.clone() }),
        Request::AuditProof { seq } => members(object! { "entry": *seq }),
        Request::LastError
        | Request::PolicyLoad { .. }
        | Request::BudgetStatus { .. }
        | Request::AuditQuery(_)
        | Request::AuditVerify { .. }
        | Request::Commit
        | Request::Erase { .. }
        | Request::ToolRegister { .. }
        | Request::ToolList
        | Request::SessionClose => Object::new(),
    };
    keys.insert("session", u64::from(caller.session.number()));
    if let Some(needs) = caller.tools.last() {
        keys.insert("by_tool", needs.tool.as_str());
    }
    if !ruling.by.is_empty() {
        keys.insert("covered_by", ruling.by.iter().copied().map(capability_text).collect::<Vec<Value>>());
    }
    if let Some(outcome) = outcome {
        add_outcome(&mut keys, outcome);
    }
    keys.into()
}

/// Of the time and random bytes that a tool gets, or does not.
pub(crate) fn ambient(operation: HostOperation, tools: &ToolLine, outcome: &Outcome) -> Value {
    let mut keys = members(object! { "host_call": operation.name() });
    insert_some(&mut keys, "by_tool", tools.last().map(|needs| needs.tool.as_str()));
    // The reply itself is content.
    if outcome.is_err() {
        add_outcome(&mut keys, outcome);
    }
    keys.into()
}

/// Of a batch's operation: what was decided.
fn part((part, ruling): (&Part, &Ruling)) -> Value {
    object! {
        "operation": part.operation().name(), "target": ruling.target.clone(),
        "decision": decision_name(ruling.ruled), "rule_id": ruling.rule.clone(),
    }
}

/// Of a step: what the effect met.
pub(crate) fn step(step: &Step) -> Value {
    let mut keys = members(step.to_value());
    // A chunk's text is content.
    keys.remove("data");
    keys.into()
}

/// Of an outcome: how it ended, the measures in the reply that are not content, and what a tool wrote to the log.
pub(crate) fn outcome(operation: Operation, outcome: &Outcome, log: Option<Text>) -> Value {
    let mut keys = Object::new();
    insert_some(&mut keys, LOG, log);
    add_outcome(&mut keys, outcome);
    match (operation, outcome) {
        (Operation::Http, Ok(Reply::Http(response))) => {
            keys.insert("status", u64::from(response.status));
        }
        (Operation::Inference, Ok(Reply::Value(result))) => {
            insert_some(&mut keys, "usage", result.get("usage").cloned());
        }
        _ => {}
    }
    keys.into()
}

/// The small facts of an outcome: the handle or version made, or the error. What it says for people is kept apart.
fn add_outcome(keys: &mut Object, outcome: &Outcome) {
    match outcome {
        Ok(Reply::Handle(handle)) => {
            keys.insert("handle_id", handle.to_string());
        }
        Ok(Reply::Version(version)) => {
            keys.insert("version", *version);
        }
        Ok(Reply::Session(session)) => {
            keys.insert("opened_session", u64::from(session.number()));
        }
        Ok(Reply::Value(result)) => {
            insert_some(keys, "handle_id", result.get("handle").cloned());
            let version = result.get("version").filter(|version| version.as_u64().is_some());
            insert_some(keys, "version", version.cloned());
            for name in ["authorized", "capability", "revoked"] {
                insert_some(keys, name, result.get(name).cloned());
            }
        }
        Ok(Reply::Done | Reply::Content(_) | Reply::Bytes(_) | Reply::Http(_)) => {}
        Err(failure) => {
            keys.insert("error", failure.code.name());
            let denial = failure.denial.as_deref();
            insert_some(keys, "trace_id", denial.map(|denial| denial.trace_id.as_str()));
            let args_path = denial.map(|denial| denial.args_path.as_str()).filter(|path| !path.is_empty());
            insert_some(keys, "args_path", args_path);
        }
    }
}

fn members(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}
