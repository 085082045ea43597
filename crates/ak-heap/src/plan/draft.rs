//! Drafts: operations applied one after another to a draft of the heap, while the heap itself stays unchanged.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ak_json::{Labels, OutOfWork, Pointer, Value, Work};
use smallvec::SmallVec;

use crate::catalog::satisfies;
use crate::change::{Action, Change};
use crate::change::{Edit, Staged};
use crate::config::HeapConfig;
use crate::config::NAME_BYTES_MAX;
use crate::error::{Absence, HeapError, Quota};
use crate::handle::Handle;
use crate::heap::Heap;
use crate::labels::LabelMap;
use crate::object::SealedLabels;
use crate::object::{Content, Object, Revision};
use crate::patch::{Bounds, apply};
use crate::patch::{Patch, PatchError, PatchReason};
use crate::plan::Plan;
use crate::usage::Usage;

/// A draft of the heap after some operations, from which a [`Plan`] is made.
pub(crate) struct Draft<'h, 'w> {
    heap: &'h mut Heap,
    work: &'w mut Work,
    staged: Staged,
    usage: Usage,
    /// The highest index given to a new object.
    taken: Option<u32>,
}

/// Units of work for staging and committing one operation.
const OPERATION_WORK: u64 = 300;
/// Units for each revision of the object of an operation.
const REVISION_WORK: u64 = 2;
/// Units for each labelled subtree that an operation copies.
const LABEL_WORK: u64 = 100;

impl<'h, 'w> Draft<'h, 'w> {
    pub(crate) fn new(heap: &'h mut Heap, work: &'w mut Work) -> Draft<'h, 'w> {
        Draft { staged: Staged::default(), usage: heap.usage(), taken: None, work, heap }
    }

    /// Makes the plan for the operations that `apply_op` drafts.
    pub(crate) fn plan<T, E>(
        mut self,
        apply_op: impl FnOnce(&mut Draft<'h, 'w>) -> Result<T, E>,
    ) -> Result<Plan<'h, T>, E> {
        let outcome = apply_op(&mut self)?;
        let bytes_delta = difference(self.usage.bytes, self.heap.usage().bytes);
        Ok(Plan::new(self.heap, self.staged, bytes_delta, outcome))
    }

    /// The document after the patch, and its labels; `None` if they cannot have changed.
    pub(crate) fn patched(
        &mut self,
        patch: &Patch,
        document: &Value,
        labels: &LabelMap,
    ) -> Result<(Value, Option<LabelMap>), HeapError> {
        let config = self.heap.config();
        let ops_max = config.patch_ops_max;
        if patch.ops().len() > ops_max {
            return Err(PatchError::whole(PatchReason::Operations { max: ops_max }).into());
        }
        let bounds = Bounds { limits: config.content, labelled_max: config.labelled_max };
        Ok(apply(patch, document, labels, bounds, self.work)?)
    }

    /// Checks that the content satisfies the schemas of the type that hold for the owner.
    fn check_type(&mut self, owner: &str, type_name: &str, content: &Content) -> Result<(), HeapError> {
        for schema in self.heap.catalog.applicable(owner, type_name) {
            satisfies(schema, type_name, content, self.work)?;
        }
        Ok(())
    }

    /// Spends the work of an operation on an object of the type, before it is done.
    fn pay(&mut self, type_name: &str) -> Result<(), OutOfWork> {
        let indexes = self.heap.catalog.index_work(type_name);
        self.work.spend(OPERATION_WORK.saturating_add(indexes))
    }

    pub(crate) fn alloc(
        &mut self,
        owner: &str,
        type_name: &str,
        content: Content,
        mut labels: LabelMap,
    ) -> Result<Change, HeapError> {
        let config = self.heap.config();
        for (what, name) in [("owner", owner), ("type name", type_name)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(HeapError::Name(what));
            }
        }
        check_content(&content, config)?;
        self.pay(type_name)?;
        self.check_type(owner, type_name, &content)?;
        let config = self.heap.config();
        let max = config.objects_max;
        let objects = self.usage.objects.checked_add(1).filter(|objects| *objects <= max);
        let (Some(objects), Some(handle)) = (objects, self.heap.slots.vacancy(self.taken)) else {
            return Err(HeapError::Quota { quota: Quota::Objects, max });
        };
        labels.bound(config.labelled_max);
        let labels = self.heap.sealed(labels);
        let revision = Revision::new(0, content, labels);
        let bytes_before = self.usage.bytes;
        self.usage.bytes = self.room(revision.size(), 0)?;
        self.usage.objects = objects;
        self.taken = Some(handle.index());
        let owner = self.heap.shared_owner(owner);
        let object = Object::new(owner.clone(), self.heap.shared_type_name(type_name), revision);
        self.edit(handle, |edit| edit.born = Some(Box::new(object)));
        let bytes_delta = difference(self.usage.bytes, bytes_before);
        Ok(Change { handle, action: Action::Alloc, version: 0, owner, bytes_delta })
    }

    pub(crate) fn write(
        &mut self,
        handle: Handle,
        patch: &Patch,
        expected_version: Option<u64>,
    ) -> Result<Change, HeapError> {
        let view = self.expect(handle, expected_version)?;
        let before = view.latest().sealed_labels().clone();
        let (owner, type_name) = (view.object.owner().clone(), view.object.type_name().clone());
        let document = view.latest().content().as_json().ok_or(HeapError::NotJson { handle })?.clone();
        let (document, after) = self.patched(patch, &document, before.map())?;
        let changed = after.filter(|after| after != before.map());
        let labels = changed.map_or(before, |changed| self.heap.sealed(changed));
        let content = Content::Json(document);
        self.check_type(&owner, &type_name, &content)?;
        self.push(handle, content, labels)
    }

    pub(crate) fn relabel(
        &mut self,
        handle: Handle,
        subtree: &Pointer,
        labels: &Labels,
        expected_version: Option<u64>,
    ) -> Result<Change, HeapError> {
        let latest = self.expect(handle, expected_version)?.latest();
        let content = latest.content().clone();
        let tokens = subtree.tokens().len() as u64;
        let labelled = latest.label_map().subtrees().len() as u64;
        self.work.spend((labelled + 1) * (LABEL_WORK + tokens))?;
        let latest = self.expect(handle, expected_version)?.latest();
        let mut map = latest.label_map().clone();
        map.relabel(subtree.clone(), labels);
        map.bound(self.heap.config().labelled_max);
        self.push(handle, content, self.heap.sealed(map))
    }

    pub(crate) fn delete(
        &mut self,
        handle: Handle,
        expected_version: Option<u64>,
    ) -> Result<Change, HeapError> {
        let view = self.expect(handle, expected_version)?;
        let (revisions, type_name) = (view.count() as u64, view.object.type_name().clone());
        self.pay(&type_name)?;
        self.work.spend(REVISION_WORK * revisions)?;
        let view = self.view(handle)?;
        let version = next_version(view.latest())?;
        let owner = view.object.owner().clone();
        let bytes = view.bytes(self.heap.config().history_max);
        self.edit(handle, |edit| edit.dies = true);
        self.staged.deaths.push(handle.index());
        self.usage.objects = self.usage.objects.saturating_sub(1);
        self.usage.bytes = self.usage.bytes.saturating_sub(bytes);
        Ok(Change { handle, action: Action::Delete, version, owner, bytes_delta: difference(0, bytes) })
    }

    /// Stages the next revision of an object.
    fn push(
        &mut self,
        handle: Handle,
        content: Content,
        labels: Arc<SealedLabels>,
    ) -> Result<Change, HeapError> {
        let view = self.view(handle)?;
        let (revisions, type_name) = (view.count() as u64, view.object.type_name().clone());
        self.pay(&type_name)?;
        self.work.spend(REVISION_WORK * revisions)?;
        let view = self.view(handle)?;
        let revision = Revision::new(next_version(view.latest())?, content, labels);
        let owner = view.object.owner().clone();
        let dropped = view.dropped_by_push(self.heap.config().history_max).map_or(0, Revision::size);
        let bytes_before = self.usage.bytes;
        self.usage.bytes = self.room(revision.size(), dropped)?;
        let bytes_delta = difference(self.usage.bytes, bytes_before);
        let version = revision.version();
        self.edit(handle, |edit| edit.revisions.push(revision));
        Ok(Change { handle, action: Action::Write, version, owner, bytes_delta })
    }

    /// The bytes in use after adding `more` and removing `fewer`; fails above the quota.
    fn room(&self, more: u64, fewer: u64) -> Result<u64, HeapError> {
        let max = self.heap.config().bytes_max;
        let bytes = self.usage.bytes.saturating_sub(fewer).checked_add(more);
        bytes.filter(|bytes| *bytes <= max).ok_or(HeapError::Quota { quota: Quota::Bytes, max })
    }

    /// The object, if it has the version that the caller expects.
    fn expect(&self, handle: Handle, expected_version: Option<u64>) -> Result<View<'_>, HeapError> {
        let view = self.view(handle)?;
        let actual = view.latest().version();
        match expected_version {
            Some(expected) if expected != actual => Err(HeapError::Conflict { handle, expected, actual }),
            Some(_) | None => Ok(view),
        }
    }

    fn view(&self, handle: Handle) -> Result<View<'_>, HeapError> {
        let edit = self.position(handle).ok().and_then(|position| self.staged.edits.get(position));
        let Some(edit) = edit.filter(|edit| edit.handle == handle) else {
            return Ok(View { object: self.heap.read(handle)?, revisions: &[] });
        };
        let object = match &edit.born {
            Some(object) => object,
            None => self.heap.read(handle)?,
        };
        let view = View { object, revisions: &edit.revisions };
        if edit.dies {
            let version = Some(view.latest().version().saturating_add(1));
            return Err(HeapError::NotFound { handle, absence: Absence::Deleted { version } });
        }
        Ok(view)
    }

    /// The position of the object's edit, or the one to insert it at.
    fn position(&self, handle: Handle) -> Result<usize, usize> {
        self.staged.edits.binary_search_by_key(&handle.index(), |edit| edit.handle.index())
    }

    /// Changes the edit of an object, which is created if it does not exist.
    fn edit(&mut self, handle: Handle, change: impl FnOnce(&mut Edit)) {
        match self.position(handle) {
            Ok(position) => {
                self.staged.edits.get_mut(position).map(change);
            }
            Err(position) => {
                let mut edit = Edit { handle, born: None, revisions: SmallVec::new(), dies: false };
                change(&mut edit);
                self.staged.edits.insert(position, edit);
            }
        }
    }
}

/// An object in the draft: the present one, and the revisions to be added.
#[derive(Clone, Copy)]
struct View<'d> {
    object: &'d Object,
    revisions: &'d [Revision],
}

impl<'d> View<'d> {
    fn latest(self) -> &'d Revision {
        self.revisions.last().unwrap_or(self.object.current())
    }

    /// Every revision, including those that pushing will drop.
    fn all(self) -> impl Iterator<Item = &'d Revision> {
        self.object.revisions().chain(self.revisions)
    }

    fn count(self) -> usize {
        self.object.revision_count().saturating_add(self.revisions.len())
    }

    /// Sum of the sizes of the revisions that stay readable.
    fn bytes(self, history_max: usize) -> u64 {
        let kept = history_max.saturating_add(1);
        let sizes = self.all().skip(self.count().saturating_sub(kept)).map(Revision::size);
        sizes.fold(0, u64::saturating_add)
    }

    /// The revision that the next one drops from the history.
    fn dropped_by_push(self, history_max: usize) -> Option<&'d Revision> {
        self.all().nth(self.count().checked_sub(history_max.saturating_add(1))?)
    }
}

fn next_version(revision: &Revision) -> Result<u64, HeapError> {
    revision.version().checked_add(1).ok_or(HeapError::Limit { limit: "version", max: u64::MAX })
}

fn check_content(content: &Content, config: &HeapConfig) -> Result<(), HeapError> {
    let limits = &config.content;
    if content.size() > limits.bytes_max as u64 {
        return Err(HeapError::Limit { limit: "content in bytes", max: limits.bytes_max as u64 });
    }
    if content.as_json().is_some_and(|value| value.depth() as usize > limits.depth_max) {
        return Err(HeapError::Limit { limit: "depth of content", max: limits.depth_max as u64 });
    }
    Ok(())
}

fn difference(after: u64, before: u64) -> i64 {
    let difference = i128::from(after) - i128::from(before);
    difference.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
