//! The keys that an entry's readable form has besides its standard fields.

use alloc::{string::ToString, vec::Vec};

use ak_json::{Object, Text, Value, object};
use ak_sandbox::HostOperation;

use crate::{
    accounts::tool_permissions::CallStack,
    api::{
        capability_spec::capability_text,
        effect::{LOG, Step},
        fields::insert_some,
        reply::{Outcome, Reply},
        request::Request,
    },
    authz::gate::DecisionRecord,
    state::Caller,
};

/// The keys of a decision: those of the operation, the session, and an immediate outcome. Contents are left out;
/// the journal has them.
pub(crate) fn decision(
    request: &Request,
    caller: &Caller,
    decided: &DecisionRecord,
    outcome: Option<&Outcome>,
) -> Value {
    let mut keys = request.decision_details(decided);
    keys.insert("session", u64::from(caller.session.number()));
    if let Some(needs) = caller.tools.last() {
        keys.insert("by_tool", needs.tool.as_str());
    }
    if !decided.by.is_empty() {
        keys.insert("covered_by", decided.by.iter().copied().map(capability_text).collect::<Vec<Value>>());
    }
    if let Some(outcome) = outcome {
        add_outcome(&mut keys, outcome);
    }
    keys.into()
}

/// The keys of a host call for the time or for random bytes.
pub(crate) fn ambient(operation: HostOperation, tools: &CallStack, outcome: &Outcome) -> Value {
    let mut keys = super::members(object! { "host_call": operation.name() });
    insert_some(&mut keys, "by_tool", tools.last().map(|needs| needs.tool.as_str()));
    // A successful reply is content.
    if outcome.is_err() {
        add_outcome(&mut keys, outcome);
    }
    keys.into()
}

/// The keys of a step.
pub(crate) fn step(step: &Step) -> Value {
    let mut keys = super::members(step.to_value());
    // A chunk's text is content.
    keys.remove("data");
    keys.into()
}

/// The keys of an outcome: result or error, measures of the reply, and the tool's log.
pub(crate) fn outcome(request: &Request, outcome: &Outcome, log: Option<Text>) -> Value {
    let mut keys = Object::new();
    insert_some(&mut keys, LOG, log);
    add_outcome(&mut keys, outcome);
    if let Ok(reply) = outcome {
        request.outcome_details(reply, &mut keys);
    }
    keys.into()
}

/// Adds the short facts of an outcome: the handle or version, or the error. Messages for people are kept elsewhere.
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
