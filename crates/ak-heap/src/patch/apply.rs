//! Applying a patch: every operation comes down to putting a value in, taking one out, or replacing one.
//!
//! A change rebuilds the containers on the way to it and shares all others. Containers know their length and
//! depth, so checking the limits costs no walk through the document.

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Labels, Limits, Pointer, Text, Value, array_index};

use super::{Patch, PatchError, PatchOp, PatchReason};
use crate::labels::LabelMap;

/// Patches may move so many items for each that a container may have. Moving them is what makes an operation slow:
/// an insertion moves the rest of an array, a removal the rest of an array or object.
const MOVES_PER_MEMBER: usize = 64;
/// Adding a member to an object moves only what orders the names, which is as quick as moving one in so many.
const NAMES_PER_MOVE: usize = 64;

/// What patches may do. The patches of a batch share one allowance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    limits: Limits,
    /// How many subtrees may have labels of their own.
    labelled_max: usize,
    moves_left: usize,
}

impl Allowance {
    pub(crate) fn new(limits: Limits, labelled_max: usize) -> Allowance {
        Allowance { limits, labelled_max, moves_left: limits.members_max.saturating_mul(MOVES_PER_MEMBER) }
    }
}

/// The document after the patch, and its labels where they may have changed.
pub(crate) fn apply(
    patch: &Patch,
    document: &Value,
    labels: &LabelMap,
    allowance: &mut Allowance,
) -> Result<(Value, Option<LabelMap>), PatchError> {
    let written = patch.labels();
    // Where there are no labels, none come to be.
    let labels = if labels.is_bottom() && written.is_bottom() { None } else { Some(labels.clone()) };
    let mut draft = Draft { document: document.clone(), labels, written, allowance };
    for (index, op) in patch.ops().iter().enumerate() {
        let error = |(at, reason): At<'_>| PatchError { index: Some(index), path: at.to_string(), reason };
        draft.apply(op).map_err(error)?;
        if let Some(labels) = &mut draft.labels {
            labels.bound(draft.allowance.labelled_max);
        }
    }
    // All but copies add no more than the patch itself holds: for them, once at the end is enough.
    draft.check_bytes().map_err(PatchError::whole)?;
    Ok((draft.document, draft.labels))
}

struct Draft<'a> {
    document: Value,
    labels: Option<LabelMap>,
    written: &'a Labels,
    allowance: &'a mut Allowance,
}

/// A failure and the pointer it is about.
type At<'op> = (&'op Pointer, PatchReason);

impl Draft<'_> {
    fn apply<'op>(&mut self, op: &'op PatchOp) -> Result<(), At<'op>> {
        match op {
            PatchOp::Add { path, value } => self.put(path, value.clone(), None),
            PatchOp::Remove { path } => self.take(path).map(|_| ()),
            PatchOp::Replace { path, value } => self.replace(path, value.clone()),
            PatchOp::Move { from, path } => {
                if path == from {
                    return find(&self.document, from).map(|_| ());
                }
                if path.starts_with(from) {
                    return Err((path, PatchReason::MoveIntoItself));
                }
                let carried = self.labels.as_ref().map(|labels| labels.subtree(from));
                let value = self.take(from)?;
                self.put(path, value, carried)
            }
            PatchOp::Copy { from, path } => {
                let value = find(&self.document, from)?.clone();
                let carried = self.labels.as_ref().map(|labels| labels.subtree(from));
                self.put(path, value, carried)?;
                // Copies of copies double the document each time.
                self.check_bytes().map_err(|reason| (path, reason))
            }
            PatchOp::Test { path, value } => match find(&self.document, path) {
                Ok(found) if found == value => Ok(()),
                Ok(_) | Err(_) => Err((path, PatchReason::TestFailed)),
            },
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
        let (mut inserted, mut moves) = (None, 0);
        self.document = match Site::find(&self.document, path)? {
            None => value,
            Some(site) => {
                let members_max = self.allowance.limits.members_max;
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
                        moves = len - index;
                        let mut items = items.clone();
                        items.insert(index, value);
                        Value::Array(items)
                    }
                    Value::Object(members) => {
                        if !members.contains_key(site.token) {
                            if members.len() >= members_max {
                                return Err(full());
                            }
                            moves = members.len() / NAMES_PER_MOVE;
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
        self.check_depth().and_then(|()| self.spend(moves)).map_err(at)
    }

    /// Takes a value out of its container.
    fn take<'op>(&mut self, path: &'op Pointer) -> Result<Value, At<'op>> {
        let at = |reason| (path, reason);
        let (removed, moves);
        let site = Site::find(&self.document, path)?.ok_or_else(|| at(PatchReason::RemoveRoot))?;
        let found = child(site.container, site.token).map_err(at)?.clone();
        let container = match site.container {
            Value::Array(items) => {
                removed = array_index(site.token);
                moves = items.len().saturating_sub(removed.unwrap_or(0));
                let mut items = items.clone();
                removed.and_then(|index| items.remove(index));
                Value::Array(items)
            }
            Value::Object(members) => {
                removed = None;
                moves = members.len();
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
        self.spend(moves).map_err(at)?;
        Ok(found)
    }

    fn replace<'op>(&mut self, path: &'op Pointer, value: Value) -> Result<(), At<'op>> {
        let at = |reason| (path, reason);
        self.document = match Site::find(&self.document, path)? {
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

    fn spend(&mut self, moves: usize) -> Result<(), PatchReason> {
        let left = self.allowance.moves_left.checked_sub(moves);
        self.allowance.moves_left = left.ok_or(PatchReason::Moves { per_member: MOVES_PER_MEMBER })?;
        Ok(())
    }

    fn check_depth(&self) -> Result<(), PatchReason> {
        let max = self.allowance.limits.depth_max;
        if self.document.depth() as usize > max { Err(PatchReason::Depth { max }) } else { Ok(()) }
    }

    fn check_bytes(&self) -> Result<(), PatchReason> {
        let max = self.allowance.limits.bytes_max;
        if self.document.json_len() > max { Err(PatchReason::Bytes { max }) } else { Ok(()) }
    }
}

/// A place below the root: where it is, whether or not there is a value.
struct Site<'d, 'op> {
    /// The containers around `container`, outermost first, each with the token that leads on.
    way: Vec<(&'d Value, &'op Text)>,
    container: &'d Value,
    token: &'op Text,
}

impl<'d, 'op> Site<'d, 'op> {
    /// The place a pointer names; none when that is the root.
    fn find(document: &'d Value, path: &'op Pointer) -> Result<Option<Site<'d, 'op>>, At<'op>> {
        let Some((token, outer)) = path.tokens().split_last() else { return Ok(None) };
        let mut way = Vec::new();
        let mut container = document;
        for token in outer {
            way.push((container, token));
            container = child(container, token).map_err(|_| (path, PatchReason::NoContainer))?;
        }
        Ok(Some(Site { way, container, token }))
    }

    /// The document with another container here.
    fn rebuild(self, container: Value) -> Value {
        self.way.iter().rev().fold(container, |inner, (outer, token)| {
            // The way leads through values that are there.
            replaced(outer, token, inner).unwrap_or_default()
        })
    }
}

fn find<'d, 'op>(document: &'d Value, path: &'op Pointer) -> Result<&'d Value, At<'op>> {
    path.tokens().iter().try_fold(document, child).map_err(|reason| (path, reason))
}

/// The value that a token names within a container.
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

/// The container with another value for the one that a token names.
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
