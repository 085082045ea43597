//! JSON Patch (RFC 6902), and patches made from other descriptions of a change.

mod apply;
mod diff;
mod error;
mod merge;

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Labels, Limits, Object, Pointer, Value, Work, object};

pub(crate) use self::apply::{Bounds, apply};
pub use self::error::{PatchError, PatchErrorKind, PatchReason};
use crate::labels::LabelMap;

/// Units of work for each reference token of a pointer that is parsed.
const TOKEN_WORK: u64 = 5;

/// A JSON Patch (RFC 6902): operations applied one after another, either all of them or none.
///
/// ```
/// use ak_heap::Patch;
/// use ak_json::{Limits, Work, object, array};
///
/// let patch = Patch::parse(&array![object! { "op": "replace", "path": "/value", "value": 42 }])?;
/// let document = object! { "value": 0, "name": "counter" };
/// let patched = patch.apply(&document, &Limits::default(), &mut Work::new(10_000))?;
/// assert_eq!(patched, object! { "value": 42, "name": "counter" });
/// # Ok::<(), ak_heap::PatchError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    ops: Vec<PatchOp>,
    labels: Labels,
}

/// One operation of RFC 6902 §4.
#[derive(Clone, Debug, PartialEq)]
pub enum PatchOp {
    /// Inserts a value before an array's item, sets an object's member, or replaces the document.
    Add {
        /// Position of the new value; `-` as the last token appends to an array.
        path: Pointer,
        /// The value to add.
        value: Value,
    },
    /// Removes a value.
    Remove {
        /// The value to remove; never the whole document.
        path: Pointer,
    },
    /// Replaces an existing value.
    Replace {
        /// The value to replace.
        path: Pointer,
        /// The new value.
        value: Value,
    },
    /// Removes a value and adds it at another position.
    Move {
        /// The value to move.
        from: Pointer,
        /// Its new position, after it was removed.
        path: Pointer,
    },
    /// Adds a copy of a value.
    Copy {
        /// The value to copy.
        from: Pointer,
        /// Position of the copy.
        path: Pointer,
    },
    /// Fails the patch unless there is a value that equals this one.
    Test {
        /// The value to test.
        path: Pointer,
        /// The expected value.
        value: Value,
    },
}

impl Patch {
    /// A patch with these operations.
    pub fn new(ops: Vec<PatchOp>) -> Patch {
        Patch { ops, labels: Labels::default() }
    }

    /// Parses a patch document. Ignores members that RFC 6902 does not define, as it requires.
    ///
    /// # Errors
    /// [`PatchError`] with the first operation that is malformed.
    pub fn parse(document: &Value) -> Result<Patch, PatchError> {
        Patch::parse_within(document, &mut Work::unlimited())
    }

    /// [`parse`](Self::parse) that spends `work` for each reference token of each pointer.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when the work is not enough.
    pub fn parse_within(document: &Value, work: &mut Work) -> Result<Patch, PatchError> {
        let items = document.as_array().ok_or(PatchError::whole(PatchReason::NotArray))?;
        let mut ops = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            ops.push(PatchOp::parse(item, work).map_err(|reason| {
                let path = item.get("path").and_then(Value::as_str).unwrap_or_default();
                PatchError { index: Some(index), path: path.into(), reason }
            })?);
        }
        Ok(Patch::new(ops))
    }

    /// The same patch with labels on everything that it writes.
    ///
    /// A value that the patch adds or replaces gets these labels, in addition to those of a moved or copied value.
    /// Where the patch removes a value, its container gets them.
    #[must_use]
    pub fn with_labels(self, labels: Labels) -> Patch {
        Patch { labels, ..self }
    }

    /// The operations in order.
    pub fn ops(&self) -> &[PatchOp] {
        &self.ops
    }

    /// The labels on everything that the patch writes.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The patch as a JSON document.
    pub fn to_value(&self) -> Value {
        self.ops.iter().map(PatchOp::to_value).collect::<ak_json::Array>().into()
    }

    /// Applies the patch to a document. The result shares with `document` everything that the patch does not touch.
    ///
    /// # Errors
    /// [`PatchError`] with the first operation that does not apply, whose result exceeds a limit, or for which the
    /// work is not enough.
    pub fn apply(&self, document: &Value, limits: &Limits, work: &mut Work) -> Result<Value, PatchError> {
        let bounds = Bounds { limits: *limits, labelled_max: usize::MAX };
        apply(self, document, &LabelMap::default(), bounds, work).map(|(value, _)| value)
    }
}

impl PatchOp {
    fn parse(item: &Value, work: &mut Work) -> Result<PatchOp, PatchReason> {
        let members = item.as_object().ok_or(PatchReason::NotObject)?;
        let mut pointer = |name| {
            let text = text(members, name)?;
            let tokens = text.bytes().filter(|byte| *byte == b'/').count() as u64;
            work.spend(tokens.saturating_mul(TOKEN_WORK))?;
            Ok::<_, PatchReason>(Pointer::parse(text)?)
        };
        let value = || members.get("value").cloned().ok_or(PatchReason::MemberMissing("value"));
        match text(members, "op")? {
            "add" => Ok(PatchOp::Add { path: pointer("path")?, value: value()? }),
            "remove" => Ok(PatchOp::Remove { path: pointer("path")? }),
            "replace" => Ok(PatchOp::Replace { path: pointer("path")?, value: value()? }),
            "move" => Ok(PatchOp::Move { from: pointer("from")?, path: pointer("path")? }),
            "copy" => Ok(PatchOp::Copy { from: pointer("from")?, path: pointer("path")? }),
            "test" => Ok(PatchOp::Test { path: pointer("path")?, value: value()? }),
            _ => Err(PatchReason::OpUnknown),
        }
    }

    /// Pointer to the position on which the operation acts.
    pub fn path(&self) -> &Pointer {
        match self {
            PatchOp::Add { path, .. }
            | PatchOp::Remove { path }
            | PatchOp::Replace { path, .. }
            | PatchOp::Move { path, .. }
            | PatchOp::Copy { path, .. }
            | PatchOp::Test { path, .. } => path,
        }
    }

    fn to_value(&self) -> Value {
        let path = self.path().to_string();
        match self {
            PatchOp::Add { value, .. } => object! { "op": "add", "path": path, "value": value },
            PatchOp::Remove { .. } => object! { "op": "remove", "path": path },
            PatchOp::Replace { value, .. } => object! { "op": "replace", "path": path, "value": value },
            PatchOp::Move { from, .. } => object! { "op": "move", "from": from.to_string(), "path": path },
            PatchOp::Copy { from, .. } => object! { "op": "copy", "from": from.to_string(), "path": path },
            PatchOp::Test { value, .. } => object! { "op": "test", "path": path, "value": value },
        }
    }
}

fn text<'a>(members: &'a Object, name: &'static str) -> Result<&'a str, PatchReason> {
    let value = members.get(name).ok_or(PatchReason::MemberMissing(name))?;
    value.as_str().ok_or(PatchReason::MemberNotText(name))
}
