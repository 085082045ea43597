//! Batches: several operations on the heap in one request, of which all are performed or none.

use alloc::{format, string::ToString, vec::Vec};

use ak_heap::{BatchOp, Content, Created, Handle, LabelMap, Patch, PatchReason, Target, Work};
use ak_json::{Limits, Object, Pointer, Text, Value, object};

use crate::{
    api::{
        fields::{FieldError, Fields, content_field, content_members, handle_field, insert_some},
        operation::Operation,
        reply::{Failure, Reply},
        request::{BatchPart, HeapRequest, Request},
    },
    operations::heap::objects::heap_failure,
    state::{Caller, Kernel},
};

impl BatchPart {
    /// The operation as a request of its own, on which the gate decides. The request contains the links that the
    /// operation writes.
    ///
    /// An object that the batch itself creates has no handle yet: target and links to it have `0x0` in its place.
    ///
    /// # Errors
    /// LIMIT if `work` does not suffice to write the links.
    pub(crate) fn as_request(&self, work: &mut Work) -> Result<Request, Failure> {
        let handle = |target: &Target| match target {
            Target::Handle(handle) => *handle,
            Target::Created(_) => Handle::from_raw(0),
        };
        Ok(match self {
            Self::Alloc { type_name, content, links } => Request::Heap(HeapRequest::Alloc {
                type_name: type_name.clone(),
                content: linked(content, links, work)?,
                subject: None,
            }),
            Self::Write { target, patch, expected_version, links } => {
                let added = links.iter().map(|(pointer, _)| {
                    object! { "op": "add", "path": pointer.to_string(), "value": UNKNOWN_HANDLE }
                });
                let patch = match patch {
                    Value::Array(operations) => {
                        operations.iter().cloned().chain(added).collect::<Vec<_>>().into()
                    }
                    // A value that is not a patch is refused when it is parsed.
                    other => other.clone(),
                };
                Request::Heap(HeapRequest::Write {
                    handle: handle(target),
                    patch,
                    expected_version: *expected_version,
                })
            }
            Self::Delete { target, expected_version } => Request::Heap(HeapRequest::Delete {
                handle: handle(target),
                expected_version: *expected_version,
            }),
        })
    }

    pub(crate) const fn operation(&self) -> Operation {
        match self {
            Self::Alloc { .. } => Operation::Alloc,
            Self::Write { .. } => Operation::Write,
            Self::Delete { .. } => Operation::Delete,
        }
    }

    /// Bytes of the members that the caller chose.
    pub(crate) fn size(&self) -> u64 {
        let links = |links: &[(Pointer, Created)]| {
            links.iter().map(|(pointer, _)| pointer.to_string().len() as u64).fold(0, u64::saturating_add)
        };
        match self {
            Self::Alloc { type_name, content, links: own } => {
                content.size().saturating_add(type_name.len() as u64).saturating_add(links(own))
            }
            Self::Write { patch, links: own, .. } => (patch.json_len() as u64).saturating_add(links(own)),
            Self::Delete { .. } => 0,
        }
    }

    /// The handle of its object, if the object existed before the batch.
    pub(crate) fn handle(&self) -> Option<Handle> {
        match self {
            Self::Write { target: Target::Handle(handle), .. }
            | Self::Delete { target: Target::Handle(handle), .. } => Some(*handle),
            Self::Alloc { .. }
            | Self::Write { target: Target::Created(_), .. }
            | Self::Delete { target: Target::Created(_), .. } => None,
        }
    }

    /// Whether its object is created by the batch itself.
    pub(crate) fn creates_target(&self) -> bool {
        match self {
            Self::Write { target, .. } | Self::Delete { target, .. } => matches!(target, Target::Created(_)),
            Self::Alloc { .. } => false,
        }
    }

    fn to_heap(&self, owner: &Text, work: &mut Work) -> Result<BatchOp, Failure> {
        Ok(match self.clone() {
            Self::Alloc { type_name, content, links } => BatchOp::Alloc {
                owner: owner.clone(),
                type_name,
                content,
                labels: LabelMap::default(),
                links,
            },
            Self::Write { target, patch, expected_version, links } => {
                let patch = Patch::parse_within(&patch, work).map_err(|error| heap_failure(error.into()))?;
                BatchOp::Write { target, patch, expected_version, links }
            }
            Self::Delete { target, expected_version } => BatchOp::Delete { target, expected_version },
        })
    }
}

impl Kernel {
    /// Performs all operations, or none. The failure names the first operation that fails.
    pub(crate) fn batch(&mut self, caller: &Caller, parts: &[BatchPart]) -> Result<Reply, Failure> {
        let account = caller.account;
        let owner = self.agents.name(account);
        let mut ops = Vec::with_capacity(parts.len());
        let mut rejected = None;
        let mut work = self.meter();
        for part in parts {
            match part.to_heap(&owner, &mut work) {
                Ok(op) => ops.push(op),
                Err(failure) => {
                    // An earlier operation may fail first, as it would outside a batch.
                    rejected = Some(failure);
                    break;
                }
            }
        }
        let planned = self.heap.plan_batch(&ops, &mut work);
        self.work = self.work.saturating_add(work.used());
        let plan = planned.map_err(|error| heap_failure(error.error).at_index(error.index))?;
        if let Some(failure) = rejected {
            return Err(failure.at_index(ops.len()));
        }
        for (index, change) in plan.outcome().iter().enumerate() {
            if let Err(failure) = self.agents.pay(account, change, self.clock.elapsed) {
                plan.outcome()
                    .iter()
                    .take(index)
                    .for_each(|paid| self.agents.repay(account, paid, self.clock.elapsed));
                return Err(failure.at_index(index));
            }
        }
        let results = plan.commit().into_iter().map(|change| match change.action {
            ak_heap::Action::Alloc => Reply::Handle(change.handle).to_value(),
            ak_heap::Action::Write => Reply::Version(change.version).to_value(),
            ak_heap::Action::Delete | ak_heap::Action::Erase => Reply::Done.to_value(),
        });
        let results: Vec<Value> = results.collect();
        self.forget_subjects_of_forgotten();
        Ok(Reply::Value(object! { "results": results }))
    }
}

/// The text that stands for a handle that is not known yet.
const UNKNOWN_HANDLE: &str = "0x0";

/// The content of an object with its links written in.
fn linked(content: &Content, links: &[(Pointer, Created)], work: &mut Work) -> Result<Content, Failure> {
    let Content::Json(value) = content else { return Ok(content.clone()) };
    let added = links
        .iter()
        .map(|(pointer, _)| object! { "op": "add", "path": pointer.to_string(), "value": UNKNOWN_HANDLE });
    let added = Value::from(added.collect::<Vec<Value>>());
    let patched =
        Patch::parse_within(&added, work).and_then(|patch| patch.apply(value, &Limits::default(), work));
    match patched {
        Ok(value) => Ok(Content::Json(value)),
        Err(error) if matches!(error.reason, PatchReason::Work(_)) => Err(heap_failure(error.into())),
        // An invalid link is refused when the batch is performed.
        Err(_) => Ok(content.clone()),
    }
}

/// The wire form: `op` and its own members; the target under `handle` or `created`, the links as `[pointer,
/// index]`.
impl BatchPart {
    pub(crate) fn to_value(&self) -> Value {
        let mut members = Object::new();
        match self {
            Self::Alloc { type_name, content, links } => {
                members.insert("op", Operation::Alloc.event());
                members.insert("type", type_name.clone());
                for (name, value) in &content_members(content) {
                    members.insert(name.clone(), value.clone());
                }
                insert_links(&mut members, links);
            }
            Self::Write { target, patch, expected_version, links } => {
                members.insert("op", Operation::Write.event());
                insert_target(&mut members, *target);
                members.insert("patch", patch.clone());
                insert_some(&mut members, "expected_version", *expected_version);
                insert_links(&mut members, links);
            }
            Self::Delete { target, expected_version } => {
                members.insert("op", Operation::Delete.event());
                insert_target(&mut members, *target);
                insert_some(&mut members, "expected_version", *expected_version);
            }
        }
        members.into()
    }

    pub(crate) fn list(ops: &Value) -> Result<Vec<BatchPart>, FieldError> {
        let ops = ops.as_array().ok_or_else(|| FieldError::new("args.ops", "expected an array"))?;
        ops.iter()
            .enumerate()
            .map(|(index, op)| BatchPart::decode(&format!("args.ops.{index}"), op))
            .collect()
    }

    fn decode(path: &str, value: &Value) -> Result<BatchPart, FieldError> {
        let mut fields = Fields::new(path, value)?;
        let op = fields.text("op")?;
        let part = match Operation::ALL.iter().find(|operation| operation.event() == &*op) {
            Some(Operation::Alloc) => Self::Alloc {
                type_name: fields.text("type")?,
                content: content_field(&mut fields)?,
                links: links_field(&mut fields)?,
            },
            Some(Operation::Write) => Self::Write {
                target: target_field(&mut fields)?,
                patch: fields.value("patch")?,
                expected_version: fields.optional_u64("expected_version")?,
                links: links_field(&mut fields)?,
            },
            Some(Operation::Delete) => Self::Delete {
                target: target_field(&mut fields)?,
                expected_version: fields.optional_u64("expected_version")?,
            },
            Some(_) | None => return Err(fields.error("op", "expected alloc, write or delete")),
        };
        fields.finish()?;
        Ok(part)
    }
}

fn insert_target(members: &mut Object, target: Target) {
    match target {
        Target::Handle(handle) => members.insert("handle", handle.to_string()),
        Target::Created(Created(index)) => members.insert("created", index as u64),
    };
}

fn target_field(fields: &mut Fields<'_>) -> Result<Target, FieldError> {
    match fields.optional_u64("created")? {
        None => handle_field(fields).map(Target::Handle),
        Some(index) => {
            created(index).map(Target::Created).ok_or_else(|| fields.error("created", "too large"))
        }
    }
}

fn insert_links(members: &mut Object, links: &[(Pointer, Created)]) {
    let pairs = links.iter().map(|(pointer, Created(index))| {
        Value::from(Vec::from([Value::from(pointer.to_string()), (*index as u64).into()]))
    });
    let pairs: Vec<Value> = pairs.collect();
    insert_some(members, "links", Some(pairs).filter(|pairs| !pairs.is_empty()));
}

/// Reads links: an array of `[pointer, index]`, or an object from pointers to indexes.
fn links_field(fields: &mut Fields<'_>) -> Result<Vec<(Pointer, Created)>, FieldError> {
    let wrong = fields.error("links", "expected JSON Pointers with the indexes of earlier operations");
    let link = |pointer: &str, index: &Value| {
        Some((Pointer::parse(pointer).ok()?, index.as_u64().and_then(created)?))
    };
    let links: Option<Vec<_>> = match fields.optional("links") {
        None => Some(Vec::new()),
        Some(Value::Object(members)) => members.iter().map(|(pointer, index)| link(pointer, index)).collect(),
        Some(Value::Array(pairs)) => pairs
            .iter()
            .map(|pair| match pair.as_array()?.iter().collect::<Vec<_>>().as_slice() {
                [pointer, index] => link(pointer.as_str()?, index),
                _ => None,
            })
            .collect(),
        Some(_) => None,
    };
    links.ok_or(wrong)
}

fn created(index: u64) -> Option<Created> {
    usize::try_from(index).ok().map(Created)
}

/// Calls `look` with the content of an object if it is JSON.
pub(crate) fn each_value(content: &Content, look: &mut dyn FnMut(&Value) -> bool) -> bool {
    match content {
        Content::Json(value) => look(value),
        Content::Raw(_) => true,
    }
}

impl BatchPart {
    pub(crate) fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool {
        match self {
            Self::Alloc { content, .. } => each_value(content, look),
            Self::Write { patch, .. } => look(patch),
            Self::Delete { .. } => true,
        }
    }
}
