//! Plans: operations that are checked in full before anything changes.

mod batch;
mod draft;

use ak_json::{Labels, Pointer, Work};

pub use self::batch::{BatchError, BatchOp, Created, Target};
use self::draft::Draft;
use crate::change::{Change, Staged};
use crate::config::REQUEST_WORK;
use crate::error::HeapError;
use crate::handle::Handle;
use crate::heap::Heap;
use crate::labels::LabelMap;
use crate::object::Content;
use crate::patch::Patch;

/// A change that was checked in full and only has to be committed: one operation, or a batch.
///
/// A plan borrows the heap mutably, so nothing can change between check and commit: [`commit`](Self::commit) cannot
/// fail. Dropping a plan leaves the heap unchanged.
///
/// ```
/// use ak_heap::{Content, Heap, HeapConfig, REQUEST_WORK, Work};
/// use ak_json::{Labels, object};
///
/// let mut heap = Heap::new(HeapConfig::default());
/// let content = Content::Json(object! { "value": 0 });
/// let plan = heap.plan_alloc("main", "counter", content, Labels::default(), &mut Work::new(REQUEST_WORK))?;
/// assert_eq!(plan.bytes_delta(), 11);
/// let created = plan.commit();
/// assert_eq!(heap.read(created.handle)?.version(), 0);
/// # Ok::<(), ak_heap::HeapError>(())
/// ```
#[must_use = "a plan does nothing until it is committed"]
#[derive(Debug)]
pub struct Plan<'h, T = Change> {
    heap: &'h mut Heap,
    staged: Staged,
    bytes_delta: i64,
    outcome: T,
}

impl<'h, T> Plan<'h, T> {
    pub(crate) fn new(heap: &'h mut Heap, staged: Staged, bytes_delta: i64, outcome: T) -> Plan<'h, T> {
        Plan { heap, staged, bytes_delta, outcome }
    }

    /// The changes that committing would make.
    pub fn outcome(&self) -> &T {
        &self.outcome
    }

    /// The change of [`Usage::bytes`](crate::Usage::bytes) that committing would make, in bytes, history included.
    pub fn bytes_delta(&self) -> i64 {
        self.bytes_delta
    }

    /// The heap before the plan is committed.
    pub fn heap(&self) -> &Heap {
        self.heap
    }

    /// Commits the plan and returns the changes.
    pub fn commit(self) -> T {
        self.heap.commit(self.staged);
        self.outcome
    }
}

impl Heap {
    /// Plans a new object of version 0.
    ///
    /// # Errors
    /// When a name is empty or too long, the content exceeds a limit or violates a schema of its type, the heap is
    /// full, or the work is not enough.
    pub fn plan_alloc(
        &mut self,
        owner: &str,
        type_name: &str,
        content: Content,
        labels: impl Into<LabelMap>,
        work: &mut Work,
    ) -> Result<Plan<'_>, HeapError> {
        Draft::new(self, work).plan(|draft| draft.alloc(owner, type_name, content, labels.into()))
    }

    /// Plans a write: the object gets the patched content and the next version.
    ///
    /// # Errors
    /// When there is no such object, it has another version than expected, it holds raw bytes, the patch does not
    /// apply, the result exceeds a limit or violates a schema of its type, or the work is not enough.
    pub fn plan_write(
        &mut self,
        handle: Handle,
        patch: &Patch,
        expected_version: Option<u64>,
        work: &mut Work,
    ) -> Result<Plan<'_>, HeapError> {
        Draft::new(self, work).plan(|draft| draft.write(handle, patch, expected_version))
    }

    /// Plans to set the labels of a subtree to exactly these; the content stays unchanged and the version increases.
    ///
    /// Labels of containers around the subtree still hold for it. This is the only way to lower labels without
    /// replacing the value; the caller decides who may do that.
    ///
    /// # Errors
    /// When there is no such object, it has another version than expected, a limit is exceeded, or the work is not
    /// enough.
    pub fn plan_relabel(
        &mut self,
        handle: Handle,
        subtree: &Pointer,
        labels: &Labels,
        expected_version: Option<u64>,
        work: &mut Work,
    ) -> Result<Plan<'_>, HeapError> {
        Draft::new(self, work).plan(|draft| draft.relabel(handle, subtree, labels, expected_version))
    }

    /// Plans a deletion: the object no longer counts towards quotas and reads as not found, but
    /// [`read_at`](Self::read_at) still gives the versions in its history until the tombstone is dropped.
    ///
    /// # Errors
    /// When there is no such object, it has another version than expected, or the work is not enough.
    pub fn plan_delete(
        &mut self,
        handle: Handle,
        expected_version: Option<u64>,
        work: &mut Work,
    ) -> Result<Plan<'_>, HeapError> {
        Draft::new(self, work).plan(|draft| draft.delete(handle, expected_version))
    }

    /// [Plans](Self::plan_alloc) with [`REQUEST_WORK`] and commits at once; returns the handle.
    ///
    /// # Errors
    /// As for the plan.
    pub fn alloc(
        &mut self,
        owner: &str,
        type_name: &str,
        content: Content,
        labels: impl Into<LabelMap>,
    ) -> Result<Handle, HeapError> {
        Ok(self.plan_alloc(owner, type_name, content, labels, &mut Work::new(REQUEST_WORK))?.commit().handle)
    }

    /// [Plans](Self::plan_write) with [`REQUEST_WORK`] and commits at once; returns the new version.
    ///
    /// # Errors
    /// As for the plan.
    pub fn write(
        &mut self,
        handle: Handle,
        patch: &Patch,
        expected_version: Option<u64>,
    ) -> Result<u64, HeapError> {
        Ok(self.plan_write(handle, patch, expected_version, &mut Work::new(REQUEST_WORK))?.commit().version)
    }

    /// [Plans](Self::plan_delete) with [`REQUEST_WORK`] and commits at once.
    ///
    /// # Errors
    /// As for the plan.
    pub fn delete(&mut self, handle: Handle, expected_version: Option<u64>) -> Result<(), HeapError> {
        self.plan_delete(handle, expected_version, &mut Work::new(REQUEST_WORK))?.commit();
        Ok(())
    }
}
