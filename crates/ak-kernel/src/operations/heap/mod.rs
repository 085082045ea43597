//! The heap: objects, searches, batches and types.

pub(crate) mod batch;
pub(crate) mod objects;
pub(crate) mod search;
pub(crate) mod types;

use alloc::{format, string::ToString, vec::Vec};

use ak_heap::{Content, Handle, REQUEST_WORK, Work};
use ak_json::{Object, Text, Value, object};
use ak_policy::{Action, Target};

use super::{
    Amounts, Completed, EffectSize, FORM_BYTES_MAX, Family, Permitted, Started, VALUE_BYTES_MAX,
    audit::each_once, length, members, query_for,
};
use crate::{
    api::{
        config::Config,
        effect::Completion,
        fields::{FieldError, Fields, content_field, content_members, handle_field, insert_some},
        operation::HeapOperation,
        reply::{Failure, Reply},
        request::{BatchPart, HeapRequest},
    },
    authz::{
        gate::DecisionRecord,
        query::{ANY_TYPE, InvalidTarget, JudgedPart, PolicyQuery, QueryContext},
    },
    effects::pending::PendingEffect,
    record::view::stored_decision,
    state::{Caller, Kernel},
};

impl Family for HeapRequest {
    type Row = HeapOperation;

    fn row(&self) -> HeapOperation {
        match self {
            Self::Alloc { .. } => HeapOperation::Alloc,
            Self::Read { .. } => HeapOperation::Read,
            Self::Stat { .. } => HeapOperation::Stat,
            Self::Write { .. } => HeapOperation::Write,
            Self::Delete { .. } => HeapOperation::Delete,
            Self::Query { .. } => HeapOperation::Query,
            Self::Batch { .. } => HeapOperation::Batch,
            Self::TypeRegister { .. } => HeapOperation::TypeRegister,
            Self::TypeUnregister { .. } => HeapOperation::TypeUnregister,
        }
    }

    fn decode(row: HeapOperation, fields: &mut Fields<'_>) -> Result<HeapRequest, FieldError> {
        Ok(match row {
            HeapOperation::Alloc => Self::Alloc {
                type_name: fields.text("type")?,
                content: content_field(fields)?,
                subject: fields.optional_text("subject")?,
            },
            HeapOperation::Read => {
                Self::Read { handle: handle_field(fields)?, version: fields.optional_u64("version")? }
            }
            HeapOperation::Stat => Self::Stat { handle: handle_field(fields)? },
            HeapOperation::Write => Self::Write {
                handle: handle_field(fields)?,
                patch: fields.value("patch")?,
                expected_version: fields.optional_u64("expected_version")?,
            },
            HeapOperation::Delete => Self::Delete {
                handle: handle_field(fields)?,
                expected_version: fields.optional_u64("expected_version")?,
            },
            HeapOperation::Query => Self::Query { form: fields.rest() },
            HeapOperation::Batch => Self::Batch { parts: BatchPart::list(&fields.value("ops")?)? },
            HeapOperation::TypeRegister => {
                Self::TypeRegister { name: fields.text("name")?, schema: fields.value("schema")? }
            }
            HeapOperation::TypeUnregister => Self::TypeUnregister { name: fields.text("name")? },
        })
    }

    fn args(&self) -> Value {
        match self {
            Self::Alloc { type_name, content, subject } => {
                let mut args = content_members(content);
                args.insert("type", type_name.clone());
                insert_some(&mut args, "subject", subject.clone());
                args.into()
            }
            Self::Read { handle, version } => {
                let mut args = handle_members(*handle, None);
                insert_some(&mut args, "version", *version);
                args.into()
            }
            Self::Stat { handle } => handle_members(*handle, None).into(),
            Self::Write { handle, patch, expected_version } => {
                let mut args = handle_members(*handle, *expected_version);
                args.insert("patch", patch.clone());
                args.into()
            }
            Self::Delete { handle, expected_version } => handle_members(*handle, *expected_version).into(),
            Self::Query { form } => form.clone().into(),
            Self::Batch { parts } => {
                object! { "ops": parts.iter().map(BatchPart::to_value).collect::<Vec<Value>>() }
            }
            Self::TypeRegister { name, schema } => object! { "name": name.clone(), "schema": schema.clone() },
            Self::TypeUnregister { name } => object! { "name": name.clone() },
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Alloc { type_name, content, subject } => {
                content.size().saturating_add(type_name.len() as u64).saturating_add(length(subject))
            }
            Self::Write { patch, .. } => patch.json_len() as u64,
            Self::Batch { parts } => parts.iter().map(BatchPart::size).fold(0, u64::saturating_add),
            Self::Query { form } => Value::from(form.clone()).json_len() as u64,
            Self::TypeRegister { name, schema } => {
                (schema.json_len() as u64).saturating_add(name.len() as u64)
            }
            Self::TypeUnregister { name } => name.len() as u64,
            Self::Read { .. } | Self::Stat { .. } | Self::Delete { .. } => 0,
        }
    }

    fn size_max(&self) -> u64 {
        match self {
            Self::Query { .. } => FORM_BYTES_MAX,
            Self::Alloc { .. }
            | Self::Read { .. }
            | Self::Stat { .. }
            | Self::Write { .. }
            | Self::Delete { .. }
            | Self::Batch { .. }
            | Self::TypeRegister { .. }
            | Self::TypeUnregister { .. } => VALUE_BYTES_MAX,
        }
    }

    fn longest_name(&self) -> usize {
        match self {
            Self::Alloc { type_name: name, .. }
            | Self::TypeRegister { name, .. }
            | Self::TypeUnregister { name } => name.len(),
            Self::Read { .. }
            | Self::Stat { .. }
            | Self::Write { .. }
            | Self::Delete { .. }
            | Self::Query { .. }
            | Self::Batch { .. } => 0,
        }
    }

    fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool {
        match self {
            Self::Alloc { content, .. } => batch::each_value(content, look),
            Self::Write { patch: value, .. } | Self::TypeRegister { schema: value, .. } => look(value),
            Self::Query { form } => form.values().all(look),
            Self::Batch { parts } => parts.iter().all(|part| part.each_value(look)),
            Self::Read { .. } | Self::Stat { .. } | Self::Delete { .. } | Self::TypeUnregister { .. } => true,
        }
    }

    fn query(&self, asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        let object = |action, handle: &Handle, args| {
            let owned = (asker.owns)(*handle);
            Ok(Some(PolicyQuery { action, target: Target::heap(handle.raw()), args, owned }))
        };
        match self {
            Self::Alloc { type_name, content, .. } => {
                let args = match content {
                    Content::Json(value) => object! { "value": value.clone() },
                    Content::Raw(bytes) => object! { "size": bytes.len() as u64 },
                };
                query_for(Action::HeapAlloc, Target::type_name(type_name), type_name, Some(args))
            }
            Self::Read { handle, .. } | Self::Stat { handle } => object(Action::HeapRead, handle, None),
            Self::Write { handle, patch, .. } => {
                object(Action::HeapWrite, handle, Some(object! { "patch": patch.clone() }))
            }
            Self::Delete { handle, .. } => object(Action::HeapDelete, handle, None),
            Self::Query { form } => {
                let wanted = form.get("type").and_then(Value::as_text).cloned();
                let type_name = wanted.unwrap_or_else(|| Text::from(ANY_TYPE));
                let target = Target::type_name(&type_name);
                query_for(Action::HeapQuery, target, &type_name, Some(form.clone().into()))
            }
            // An agent that may create objects of a type may also set the schema that applies in its own scope.
            Self::TypeRegister { name, schema } => {
                let args = object! { "schema": schema.clone() };
                query_for(Action::HeapAlloc, Target::type_name(name), name, Some(args))
            }
            Self::TypeUnregister { name } => {
                query_for(Action::HeapAlloc, Target::type_name(name), name, None)
            }
            // Each operation of a batch has a policy query of its own.
            Self::Batch { .. } => Ok(None),
        }
    }

    fn operations(&self) -> u64 {
        match self {
            Self::Batch { parts } => (parts.len() as u64).max(1),
            Self::Alloc { .. }
            | Self::Read { .. }
            | Self::Stat { .. }
            | Self::Write { .. }
            | Self::Delete { .. }
            | Self::Query { .. }
            | Self::TypeRegister { .. }
            | Self::TypeUnregister { .. } => 1,
        }
    }

    fn each_part(&self, judge: &mut dyn FnMut(JudgedPart)) -> bool {
        let Self::Batch { parts } = self else { return false };
        let mut work = Work::new(REQUEST_WORK);
        for (index, part) in parts.iter().enumerate() {
            let request = part.as_request(&mut work);
            judge(JudgedPart { index: Some(index), request, creates_target: part.creates_target() });
        }
        true
    }

    /// Objects and bytes of the heap are gauges, which are checked and counted when the heap changes.
    fn charges(&self, _kernel: &Kernel, _caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        Ok(Amounts::new())
    }

    fn effect_size(&self, _config: &Config) -> Option<EffectSize> {
        None
    }

    fn subject(&self) -> Option<&Text> {
        match self {
            Self::Alloc { subject, .. } => subject.as_ref(),
            Self::Read { .. }
            | Self::Stat { .. }
            | Self::Write { .. }
            | Self::Delete { .. }
            | Self::Query { .. }
            | Self::Batch { .. }
            | Self::TypeRegister { .. }
            | Self::TypeUnregister { .. } => None,
        }
    }

    fn subjects(&self, kernel: &Kernel, agent: &Text) -> Vec<Text> {
        let of_object =
            |handle: &Handle| kernel.subjects.of_object(&kernel.heap, *handle).unwrap_or(agent).clone();
        match self {
            // In version 8 these records could not be erased.
            Self::TypeRegister { .. } if kernel.recorded.is_some() => Vec::new(),
            Self::Read { handle, .. }
            | Self::Stat { handle }
            | Self::Write { handle, .. }
            | Self::Delete { handle, .. } => Vec::from([of_object(handle)]),
            Self::Batch { parts } => {
                let objects = parts.iter().filter_map(BatchPart::handle).map(|handle| of_object(&handle));
                objects.chain([agent.clone()]).collect()
            }
            Self::Alloc { .. }
            | Self::Query { .. }
            | Self::TypeRegister { .. }
            | Self::TypeUnregister { .. } => Vec::from([self.subject().unwrap_or(agent).clone()]),
        }
    }

    fn others_in(&self, kernel: &Kernel, reply: &Reply) -> Vec<Text> {
        match (self, reply) {
            (Self::Query { .. }, Reply::Value(page)) => {
                let rows = page.get("objects").and_then(Value::as_array).cloned().unwrap_or_default();
                let handles = rows.iter().filter_map(|row| row.get("handle")?.as_str()?.parse().ok());
                let owners = handles.filter_map(|handle| kernel.subjects.of_object(&kernel.heap, handle));
                each_once(owners.map(|name| &**name))
            }
            (
                Self::Query { .. }
                | Self::Alloc { .. }
                | Self::Read { .. }
                | Self::Stat { .. }
                | Self::Write { .. }
                | Self::Delete { .. }
                | Self::Batch { .. }
                | Self::TypeRegister { .. }
                | Self::TypeUnregister { .. },
                _,
            ) => Vec::new(),
        }
    }

    fn names(&self, names: &mut Vec<Text>, objects: &mut Vec<Handle>) {
        match self {
            Self::Read { handle, .. }
            | Self::Stat { handle }
            | Self::Write { handle, .. }
            | Self::Delete { handle, .. } => objects.push(*handle),
            Self::Batch { parts } => objects.extend(parts.iter().filter_map(BatchPart::handle)),
            Self::Alloc { .. }
            | Self::Query { .. }
            | Self::TypeRegister { .. }
            | Self::TypeUnregister { .. } => names.extend(self.subject().cloned()),
        }
    }

    fn decision_details(&self, decided: &DecisionRecord) -> Object {
        match self {
            Self::Alloc { type_name, content, .. } => {
                let kind = if matches!(content, Content::Json(_)) { "json" } else { "raw" };
                members(object! { "type": type_name.clone(), "size": content.size(), "content": kind })
            }
            Self::Read { handle, .. } | Self::Stat { handle } | Self::Delete { handle, .. } => {
                members(object! { "handle_id": handle.to_string() })
            }
            Self::Write { handle, patch, .. } => {
                let operations = patch.as_array().map_or(0, |list| list.len() as u64);
                members(object! { "handle_id": handle.to_string(), "operations": operations })
            }
            Self::Query { form } => {
                let mut keys = Object::new();
                insert_some(&mut keys, "type", form.get("type").cloned());
                keys
            }
            Self::Batch { parts } => {
                let row = |(part, decided): (&BatchPart, &DecisionRecord)| {
                    object! {
                        "operation": part.operation().name(), "target": decided.target.clone(),
                        "decision": stored_decision(decided.decision), "rule_id": decided.rule.clone(),
                    }
                };
                members(
                    object! { "operations": parts.iter().zip(&decided.each).map(row).collect::<Vec<Value>>() },
                )
            }
            Self::TypeRegister { name, .. } | Self::TypeUnregister { name } => {
                members(object! { "type": name.clone() })
            }
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let caller = permitted.caller;
        let account = caller.account;
        let reply = match self {
            Self::Alloc { type_name, content, subject } => {
                kernel.alloc(account, &type_name, content, subject)
            }
            Self::Read { handle, version } => kernel.read(caller, handle, version),
            Self::Stat { handle } => kernel.stat(caller, handle),
            Self::Write { handle, patch, expected_version } => {
                kernel.write(caller, handle, &patch, expected_version)
            }
            Self::Delete { handle, expected_version } => kernel.delete(caller, handle, expected_version),
            Self::Query { form } => kernel.search(caller, &form),
            Self::Batch { parts } => kernel.batch(caller, &parts),
            Self::TypeRegister { name, schema } => kernel.register_type(account, &name, &schema),
            Self::TypeUnregister { name } => kernel.unregister_type(account, &name),
        };
        reply.map(Started::Reply)
    }

    fn complete(
        &self,
        _kernel: &mut Kernel,
        _pending: &PendingEffect,
        _completion: Completion,
    ) -> Option<Completed> {
        None
    }
}

fn handle_members(handle: Handle, expected_version: Option<u64>) -> Object {
    let mut args = Object::new();
    args.insert("handle", format!("{handle}"));
    insert_some(&mut args, "expected_version", expected_version);
    args
}
