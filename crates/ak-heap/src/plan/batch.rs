//! Batches: several operations, of which either all are committed or none.

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Pointer, Text, Value, Work};

use super::draft::Draft;
use crate::change::Change;
use crate::error::HeapError;
use crate::handle::Handle;
use crate::heap::Heap;
use crate::labels::LabelMap;
use crate::object::Content;
use crate::patch::{Patch, PatchOp};
use crate::plan::Plan;

/// One operation of a batch: create, patch or delete an object.
///
/// `links` write handles of objects that the same batch creates into a document: each handle is put, as a string, at
/// its pointer, as with a patch's `add`, after all other changes of the operation.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchOp {
    /// Creates an object.
    Alloc {
        /// Name of the object's owner.
        owner: Text,
        /// Name of the object's type.
        type_name: Text,
        /// The object's content.
        content: Content,
        /// The labels of the content.
        labels: LabelMap,
        /// Handles to write into the content.
        links: Vec<(Pointer, Created)>,
    },
    /// Patches an object.
    Write {
        /// The object.
        target: Target,
        /// The patch to its content.
        patch: Patch,
        /// Fail unless the object then has this version.
        expected_version: Option<u64>,
        /// Handles to write into the document.
        links: Vec<(Pointer, Created)>,
    },
    /// Deletes an object.
    Delete {
        /// The object.
        target: Target,
        /// Fail unless the object then has this version.
        expected_version: Option<u64>,
    },
}

/// The object that an earlier operation of the same batch creates, by the position of that operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created(pub usize);

/// The object of a batch operation: an existing one, or one that the batch creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An object that already exists.
    Handle(Handle),
    /// An object that an earlier operation of the same batch creates.
    Created(Created),
}

impl From<Handle> for Target {
    fn from(handle: Handle) -> Target {
        Target::Handle(handle)
    }
}

impl From<Created> for Target {
    fn from(created: Created) -> Target {
        Target::Created(created)
    }
}

/// The first operation of a batch that failed; none was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch operation {index}: {error}")]
pub struct BatchError {
    /// Position of the operation in the batch, from 0.
    pub index: usize,
    /// Why the operation failed.
    pub error: HeapError,
}

impl Heap {
    /// Plans several operations as one. Each operation sees the heap as the operations before it leave it.
    ///
    /// ```
    /// use ak_heap::{BatchOp, Content, Created, Heap, HeapConfig, LabelMap, REQUEST_WORK, Work};
    /// use ak_json::{Pointer, object};
    ///
    /// let mut heap = Heap::new(HeapConfig::default());
    /// let alloc = |content, links| BatchOp::Alloc {
    ///     owner: "main".into(),
    ///     type_name: "node".into(),
    ///     content: Content::Json(content),
    ///     labels: LabelMap::default(),
    ///     links,
    /// };
    /// let root = alloc(object! {}, vec![]);
    /// let leaf = alloc(object! {}, vec![(Pointer::parse("/parent").unwrap(), Created(0))]);
    /// let created = heap.plan_batch(&[root, leaf], &mut Work::new(REQUEST_WORK))?.commit();
    /// assert_eq!(
    ///     heap.read(created[1].handle).unwrap().content(),
    ///     &Content::Json(object! { "parent": created[0].handle.to_string() }),
    /// );
    /// # Ok::<(), ak_heap::BatchError>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchError`] with the first operation that failed.
    pub fn plan_batch(
        &mut self,
        ops: &[BatchOp],
        work: &mut Work,
    ) -> Result<Plan<'_, Vec<Change>>, BatchError> {
        let ops_max = self.config().batch_ops_max;
        if ops.len() > ops_max {
            let error = HeapError::Limit { limit: "operations in a batch", max: ops_max as u64 };
            return Err(BatchError { index: ops_max, error });
        }
        Draft::new(self, work).plan(|draft| {
            let mut changes = Vec::with_capacity(ops.len());
            for (index, op) in ops.iter().enumerate() {
                let change =
                    apply_op(draft, op, ops, &changes).map_err(|error| BatchError { index, error })?;
                changes.push(change);
            }
            Ok(changes)
        })
    }
}

fn apply_op(
    draft: &mut Draft<'_, '_>,
    op: &BatchOp,
    ops: &[BatchOp],
    done: &[Change],
) -> Result<Change, HeapError> {
    let created = |created: &Created| match (ops.get(created.0), done.get(created.0)) {
        (Some(BatchOp::Alloc { .. }), Some(change)) => Ok(change.handle),
        _ => Err(HeapError::NotCreated { operation: created.0 }),
    };
    let target = |target: &Target| match target {
        Target::Handle(handle) => Ok(*handle),
        Target::Created(operation) => created(operation),
    };
    let links = |links: &[(Pointer, Created)]| -> Result<Vec<PatchOp>, HeapError> {
        let link = |(path, operation): &(Pointer, Created)| {
            Ok(PatchOp::Add { path: path.clone(), value: Value::from(created(operation)?.to_string()) })
        };
        links.iter().map(link).collect()
    };
    match op {
        BatchOp::Alloc { owner, type_name, content, labels, links: wanted } => {
            let (content, labels) = match content {
                Content::Json(document) if !wanted.is_empty() => {
                    let patch = Patch::new(links(wanted)?);
                    let (document, changed) = draft.patched(&patch, document, labels)?;
                    (Content::Json(document), changed.unwrap_or_else(|| labels.clone()))
                }
                Content::Json(_) | Content::Raw(_) => (content.clone(), labels.clone()),
            };
            draft.alloc(owner, type_name, content, labels)
        }
        BatchOp::Write { target: which, patch, expected_version, links: wanted } => {
            let handle = target(which)?;
            if wanted.is_empty() {
                return draft.write(handle, patch, *expected_version);
            }
            let ops = patch.ops().iter().cloned().chain(links(wanted)?).collect();
            let patch = Patch::new(ops).with_labels(patch.labels().clone());
            draft.write(handle, &patch, *expected_version)
        }
        BatchOp::Delete { target: which, expected_version } => {
            draft.delete(target(which)?, *expected_version)
        }
    }
}
