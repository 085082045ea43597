//! Applying a patch: every operation inserts, removes or replaces a value.
//!
//! A change rebuilds the containers on the path to it and shares all others. Containers know their length and depth,
//! so checking the limits needs no walk through the document.

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Labels, Limits, OutOfWork, Pointer, Text, Value, Work, array_index};

use super::{Patch, PatchError, PatchOp, PatchReason};
use crate::labels::LabelMap;

/// Limits on the patched document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    /// The most subtrees that may have labels of their own.
    pub(crate) labelled_max: usize,
}

/// Units of work for each operation.
const OP_WORK: u64 = 20;
/// Units for each labelled subtree, and part of the units for each token of a pointer, when labels are updated.
const LABEL_WORK: u64 = 50;
/// Bytes of strings that are measured for one unit.
const MEASURED_BYTES: u64 = 128;

/// The document after the patch, and its labels; `None` if neither document nor patch has labels.
pub(crate) fn apply(
    patch: &Patch,
    document: &Value,
    labels: &LabelMap,
    bounds: Bounds,
    work: &mut Work,
) -> Result<(Value, Option<LabelMap>), PatchError> {
    let written = patch.labels();
    let whole = |error: OutOfWork| PatchError::whole(error.into());
    // Without labels on document and patch, the result has none.
    let labels = if labels.is_bottom() && written.is_bottom() {
        None
    } else {
        work.spend(LABEL_WORK * (labels.subtrees().len() as u64 + 1)).map_err(whole)?;
        Some(labels.clone())
    };
    let bytes_most = document.json_len();
    let mut draft = Draft { document: document.clone(), bytes_most, labels, written, bounds, work };
    for (index, op) in patch.ops().iter().enumerate() {
        let error = |(at, reason): At<'_>| PatchError { index: Some(index), path: at.to_string(), reason };
        draft.apply(op).map_err(error)?;
        if let Some(labels) = &mut draft.labels {
            labels.bound(bounds.labelled_max);
        }
    }
    // Operations other than copies add no more than the patch itself holds, so one check at the end is enough for
    // them.
    draft.check_bytes().map_err(PatchError::whole)?;
    Ok((draft.document, draft.labels))
}

struct Draft<'a> {
    document: Value,
    /// Upper bound of the document's bytes as text.
    bytes_most: usize,
    labels: Option<LabelMap>,
    written: &'a Labels,
    bounds: Bounds,
    work: &'a mut Work,
}

/// The reason of a failure, with the pointer that it concerns.
type At<'op> = (&'op Pointer, PatchReason);

impl Draft<'_> {
    fn apply<'op>(&mut self, op: &'op PatchOp) -> Result<(), At<'op>> {
        let at = |error: OutOfWork| (op.path(), error.into());
        self.work.spend(OP_WORK).map_err(at)?;
        if let Some(labels) = &self.labels {
            let tokens = op.path().tokens().len() as u64;
            let labelled = labels.subtrees().len() as u64;
            self.work.spend((labelled + 1).saturating_mul(LABEL_WORK + 2 * tokens)).map_err(at)?;
        }
        match op {
            PatchOp::Add { path, value } => {
                self.measure(value, path).map_err(|reason| (path, reason))?;
                self.put(path, value.clone(), None)
            }
            PatchOp::Remove { path } => self.take(path).map(|_| ()),
            PatchOp::Replace { path, value } => {
                self.measure(value, path).map_err(|reason| (path, reason))?;
                self.replace(path, value.clone())
            }
            PatchOp::Move { from, path } => {
                if path == from {
                    return find(&self.document, from, self.work).map(|_| ());
                }
                if path.starts_with(from) {
                    return Err((path, PatchReason::MoveIntoItself));
                }
                let carried = self.labels.as_ref().map(|labels| labels.subtree(from));
                let value = self.take(from)?;
                // The value's bytes were counted already; only the new name adds some.
                self.measure(&Value::Null, path).map_err(|reason| (path, reason))?;
                self.put(path, value, carried)
            }
            PatchOp::Copy { from, path } => {
                let value = find(&self.document, from, self.work)?.clone();
                let carried = self.labels.as_ref().map(|labels| labels.subtree(from));
                if !value.is_measured() {
                    self.work.spend(self.remeasure_work()).map_err(at)?;
                }
                self.measure(&value, path).map_err(|reason| (path, reason))?;
                self.put(path, value, carried)?;
                // Copies of copies double the document each time.
                if self.bytes_most > self.bounds.limits.bytes_max {
                    self.check_bytes().map_err(|reason| (path, reason))?;
                }
                Ok(())
            }
            PatchOp::Test { path, value } => {
                let found = match find(&self.document, path, self.work) {
                    Err((at, PatchReason::Work(error))) => return Err((at, error.into())),
                    found => found.ok(),
                };
                match found.map(|found| found.equals(value, self.work)).transpose() {
                    Ok(Some(true)) => Ok(()),
                    Ok(Some(false) | None) => Err((path, PatchReason::TestFailed)),
                    Err(error) => Err((path, error.into())),
                }
            }
        }
    }

    /// Inserts into an array, sets a member, or replaces the document.
    fn put<'op>(
        &mut self,
        path: &'op Pointer,
        value: Value,
        carried: Option<LabelMap>,
    ) -> Result<(), At<'op>> {
        let at = |reason| (path, reason);
        let mut inserted = None;
        let members_max = self.bounds.limits.members_max;
        self.document = match Site::find(&self.document, path, self.work)? {
            None => value,
            Some(site) => {
                let full = || at(PatchReason::Members { max: members_max });
                let container = match site.container {
                    Value::Array(items) => {
                        let len = items.len();
                        let index = match &**site.token {
                            "-" => len,
                            token => array_index(token).ok_or_else(|| at(PatchReason::NotIndex))?,
                        };
                        if index > len {
                            return Err(at(PatchReason::BeyondEnd { len }));
                        }
                        if len >= members_max {
                            return Err(full());
                        }
                        inserted = Some(index);
                        self.work.spend(move_work(len - index)).map_err(|error| at(error.into()))?;
                        let mut items = items.clone();
                        items.insert(index, value);
                        Value::Array(items)
                    }
                    Value::Object(members) => {
                        if !members.contains_key(site.token) {
                            if members.len() >= members_max {
                                return Err(full());
                            }
                            self.work.spend(name_work(members.len())).map_err(|error| at(error.into()))?;
                        }
                        let mut members = members.clone();
                        members.insert(site.token, value);
                        Value::Object(members)
                    }
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        return Err(at(PatchReason::NoContainer));
                    }
                };
                site.rebuild(container)
            }
        };
        if let Some(labels) = &mut self.labels {
            labels.put(path, inserted, carried.unwrap_or_default(), self.written);
        }
        self.check_depth().map_err(at)
    }

    /// Removes a value from its container.
    fn take<'op>(&mut self, path: &'op Pointer) -> Result<Value, At<'op>> {
        let at = |reason| (path, reason);
        let removed;
        let site = Site::find(&self.document, path, self.work)?.ok_or_else(|| at(PatchReason::RemoveRoot))?;
        let found = child(site.container, site.token).map_err(at)?.clone();
        let container = match site.container {
            Value::Array(items) => {
                removed = array_index(site.token);
                let moves = items.len().saturating_sub(removed.unwrap_or(0));
                self.work.spend(move_work(moves)).map_err(|error| at(error.into()))?;
                let mut items = items.clone();
                removed.and_then(|index| items.remove(index));
                Value::Array(items)
            }
            Value::Object(members) => {
                removed = None;
                let moves = 2 * move_work(members.len()) + name_work(members.len());
                self.work.spend(moves).map_err(|error| at(error.into()))?;
                let mut members = members.clone();
                members.remove(site.token);
                Value::Object(members)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(at(PatchReason::NoContainer));
            }
        };
        self.document = site.rebuild(container);
        if let Some(labels) = &mut self.labels {
            labels.take(path, removed, self.written);
        }
        Ok(found)
    }

    fn replace<'op>(&mut self, path: &'op Pointer, value: Value) -> Result<(), At<'op>> {
        let at = |reason| (path, reason);
        self.document = match Site::find(&self.document, path, self.work)? {
            None => value,
            Some(site) => {
                let container = replaced(site.container, site.token, value).map_err(at)?;
                site.rebuild(container)
            }
        };
        if let Some(labels) = &mut self.labels {
            labels.put(path, None, LabelMap::default(), self.written);
        }
        self.check_depth().map_err(at)
    }

    /// Adds the bytes that a value may take at a position to the upper bound.
    fn measure(&mut self, value: &Value, path: &Pointer) -> Result<(), PatchReason> {
        self.work.spend(measure_work(value))?;
        // JSON escapes a byte with at most six.
        let name = path.last().map_or(0, |name| name.len().saturating_mul(6));
        let more = value.json_len().saturating_add(name).saturating_add(4);
        self.bytes_most = self.bytes_most.saturating_add(more);
        Ok(())
    }

    fn check_depth(&self) -> Result<(), PatchReason> {
        let max = self.bounds.limits.depth_max;
        if self.document.depth() as usize > max { Err(PatchReason::Depth { max }) } else { Ok(()) }
    }

    /// Units of work for measuring the changed parts again: at most the whole document.
    fn remeasure_work(&self) -> u64 {
        self.bytes_most.min(self.bounds.limits.bytes_max) as u64 / MEASURED_BYTES
    }

    fn check_bytes(&mut self) -> Result<(), PatchReason> {
        let max = self.bounds.limits.bytes_max;
        self.work.spend(self.remeasure_work())?;
        self.bytes_most = self.document.json_len();
        if self.bytes_most > max { Err(PatchReason::Bytes { max }) } else { Ok(()) }
    }
}

/// Units of work for measuring a string, which happens whenever one is added or removed.
fn measure_work(value: &Value) -> u64 {
    2 * value.as_str().map_or(0, str::len) as u64 / MEASURED_BYTES
}

/// Units of work for moving this many items by one position.
fn move_work(items: usize) -> u64 {
    4 * items as u64 + 40
}

/// Units for adding a new name to an object with this many members.
fn name_work(members: usize) -> u64 {
    200 + members as u64 / 64
}

/// Units for finding the value of a token in a container, and for rebuilding the container with another value there.
fn rebuild_work(container: &Value, token: &Text) -> u64 {
    let len = match container {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    // Chunks of 32 are copied from the leaf up.
    let levels = u64::from(len.checked_ilog2().unwrap_or(0)) / 5 + 1;
    2 * container.step_work(token) + levels * (30 + len.min(32) as u64 * 3 / 2)
}

/// A position below the root, whether there is a value or not.
struct Site<'d, 'op> {
    /// The containers around `container`, outermost first, each with the token that leads to the next one.
    way: Vec<(&'d Value, &'op Text)>,
    container: &'d Value,
    token: &'op Text,
}

impl<'d, 'op> Site<'d, 'op> {
    /// The position that a pointer names; `None` if that is the root.
    fn find(
        document: &'d Value,
        path: &'op Pointer,
        work: &mut Work,
    ) -> Result<Option<Site<'d, 'op>>, At<'op>> {
        let Some((token, outer)) = path.tokens().split_last() else { return Ok(None) };
        let mut way = Vec::new();
        let mut container = document;
        for token in outer {
            work.spend(rebuild_work(container, token)).map_err(|error| (path, error.into()))?;
            way.push((container, token));
            container = child(container, token).map_err(|_| (path, PatchReason::NoContainer))?;
        }
        let replaced = child(container, token).map_or(0, measure_work);
        work.spend(rebuild_work(container, token) + replaced).map_err(|error| (path, error.into()))?;
        Ok(Some(Site { way, container, token }))
    }

    /// The document with another container at this position.
    fn rebuild(self, container: Value) -> Value {
        self.way.iter().rev().fold(container, |inner, (outer, token)| {
            // All values on the way exist.
            replaced(outer, token, inner).unwrap_or_default()
        })
    }
}

fn find<'d, 'op>(document: &'d Value, path: &'op Pointer, work: &mut Work) -> Result<&'d Value, At<'op>> {
    let step = |value: &'d Value, token: &Text| {
        work.spend(value.step_work(token))?;
        child(value, token)
    };
    path.tokens().iter().try_fold(document, step).map_err(|reason| (path, reason))
}

/// The value of a token in a container.
fn child<'a>(container: &'a Value, token: &Text) -> Result<&'a Value, PatchReason> {
    match container {
        Value::Array(items) => {
            let beyond = PatchReason::BeyondEnd { len: items.len() };
            if *token == "-" {
                return Err(beyond);
            }
            items.get(array_index(token).ok_or(PatchReason::NotIndex)?).ok_or(beyond)
        }
        Value::Object(members) => members.get(token).ok_or(PatchReason::NoValue),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(PatchReason::NoContainer),
    }
}

/// The container with the value of a token replaced.
fn replaced(container: &Value, token: &Text, value: Value) -> Result<Value, PatchReason> {
    let (old, replaced) = match container {
        Value::Array(items) => {
            let mut items = items.clone();
            let old = array_index(token).and_then(|index| items.set(index, value));
            (old, Value::Array(items))
        }
        Value::Object(members) => {
            let mut members = members.clone();
            (members.insert(token, value), Value::Object(members))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (None, Value::Null),
    };
    match old {
        Some(_) => Ok(replaced),
        None => Err(child(container, token).err().unwrap_or(PatchReason::NoValue)),
    }
}
