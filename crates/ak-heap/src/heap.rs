//! The heap itself: reading it, and committing plans.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ak_json::{DropQueue, Text};

use crate::catalog::Catalog;
use crate::change::{Action, Change};
use crate::change::{Edit, Staged};
use crate::config::HeapConfig;
use crate::digest_tree::DigestTree;
use crate::error::{Absence, HeapError};
use crate::handle::Handle;
use crate::labels::LabelMap;
use crate::object::SealedLabels;
use crate::object::{Object, Revision};
use crate::slots::{Slots, State};
use crate::usage::Usage;
use crate::usage::{Ledger, Tombstones};

/// A store of typed, versioned, labelled objects.
///
/// Changes go through a [`Plan`](crate::Plan), which tells their effects before they happen; [`alloc`](Self::alloc),
/// [`write`](Self::write) and [`delete`](Self::delete) plan and commit at once. The heap is a function of the changes
/// made to it: the same ones in the same order give the same handles, the same errors and the same digest.
///
/// A clone is a snapshot in memory: it shares all content with the heap.
#[derive(Debug)]
pub struct Heap {
    config: HeapConfig,
    pub(crate) slots: Slots,
    pub(crate) ledger: Ledger,
    pub(crate) tombstones: Tombstones,
    pub(crate) catalog: Catalog,
    /// The label map that all objects without labels share.
    unlabelled: Arc<SealedLabels>,
    pub(crate) digests: DigestTree,
    /// Contents that cannot be read any more, freed step by step by later commits.
    drop_queue: DropQueue,
    /// Handles of the objects whose tombstones the newest commit dropped.
    dropped_tombstones: Vec<Handle>,
}

/// Tombstones that one deletion may drop. If that does not make enough space, the deleted object gets no tombstone.
const EVICTIONS_MAX: usize = 8;
/// Items of removed contents that each commit frees, plus one for each [`BYTES_PER_DROPPED_ITEM`] bytes that it adds.
const DROPPED_ITEMS: usize = 8_192;
const BYTES_PER_DROPPED_ITEM: u64 = 2;

impl Clone for Heap {
    fn clone(&self) -> Heap {
        Heap {
            config: self.config.clone(),
            slots: self.slots.clone(),
            ledger: self.ledger.clone(),
            tombstones: self.tombstones.clone(),
            catalog: self.catalog.clone(),
            unlabelled: Arc::clone(&self.unlabelled),
            digests: self.digests.clone(),
            drop_queue: DropQueue::default(),
            dropped_tombstones: Vec::new(),
        }
    }
}

impl Heap {
    /// An empty heap.
    pub fn new(config: HeapConfig) -> Heap {
        Heap {
            config,
            slots: Slots::default(),
            ledger: Ledger::default(),
            tombstones: Tombstones::default(),
            catalog: Catalog::default(),
            unlabelled: Arc::default(),
            digests: DigestTree::default(),
            drop_queue: DropQueue::default(),
            dropped_tombstones: Vec::new(),
        }
    }

    /// The heap's limits.
    pub fn config(&self) -> &HeapConfig {
        &self.config
    }

    /// The live object with this handle.
    ///
    /// # Errors
    /// [`HeapError::NotFound`], which tells whether the object ever existed.
    pub fn read(&self, handle: Handle) -> Result<&Object, HeapError> {
        self.slots.live(handle)
    }

    /// An object's revision of this version, even after its deletion, as long as the history keeps it.
    ///
    /// # Errors
    /// [`HeapError::NotFound`], which tells the versions that are kept.
    pub fn read_at(&self, handle: Handle, version: u64) -> Result<&Revision, HeapError> {
        let object = self.slots.any(handle)?;
        object.revision(version).ok_or_else(|| {
            let oldest = object.revisions().next().map_or(0, Revision::version);
            let absence = Absence::Version { version, oldest, newest: object.version() };
            HeapError::NotFound { handle, absence }
        })
    }

    /// The usage of live objects.
    pub fn usage(&self) -> Usage {
        self.ledger.total()
    }

    /// The usage of one owner's live objects.
    pub fn usage_of(&self, owner: &str) -> Usage {
        self.ledger.of(owner)
    }

    /// The usage of tombstones, which [`usage`](Self::usage) does not include.
    pub fn tombstones(&self) -> Usage {
        self.tombstones.usage()
    }

    /// Handles of the objects whose tombstones the newest commit dropped because a limit on tombstones was exceeded.
    /// The heap knows nothing about them any more.
    pub fn dropped_tombstones(&self) -> &[Handle] {
        &self.dropped_tombstones
    }

    /// Number of objects ever deleted.
    pub(crate) fn deaths(&self) -> u64 {
        self.tombstones.deaths()
    }

    /// Iterates over every live object, in the order of their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &Object)> {
        self.slots.iter().filter_map(|(index, _)| self.slots.live_at(index))
    }

    /// The object with this handle, live or as a tombstone; `None` if no version of it can be read.
    pub fn any(&self, handle: Handle) -> Option<&Object> {
        self.slots.any(handle).ok()
    }

    /// Handles of every live object and every tombstone of an owner, in the order of their indexes. The time does not
    /// depend on objects of other owners.
    pub fn owned_by(&self, owner: &str) -> Vec<Handle> {
        let of = [owner];
        let live = self.catalog.objects().range(Some(&of), .., false);
        let mut places: Vec<u32> =
            live.chain(self.tombstones.places().range(Some(&of), .., false)).copied().collect();
        places.sort_unstable();
        let handle = |index: u32| Some(Handle::new(self.slots.at(index)?.generation, index));
        places.into_iter().filter_map(handle).collect()
    }

    /// Iterates over the live objects of a type, in the order of their indexes. The time does not depend on objects
    /// of other types.
    pub fn of_type(&self, type_name: &str) -> impl Iterator<Item = (Handle, &Object)> {
        let members = self.catalog.members(type_name).into_iter().flat_map(|members| members.all());
        members.filter_map(|index| self.slots.live_at(*index))
    }

    /// Removes an object or a tombstone for good, with all versions. Later commits free their contents step by step;
    /// the caller can take and free them at once with [`take_drop_queue`](Self::take_drop_queue).
    ///
    /// # Errors
    /// [`HeapError::NotFound`] when the handle has neither an object nor a tombstone.
    pub fn erase(&mut self, handle: Handle) -> Result<Change, HeapError> {
        let object = self.slots.any(handle)?;
        let (owner, version, before) = (object.owner().clone(), object.version(), self.usage().bytes);
        self.vacate(handle.index());
        let freed = before.saturating_sub(self.usage().bytes);
        let bytes_delta = i64::try_from(freed).map_or(i64::MIN, i64::wrapping_neg);
        Ok(Change { handle, action: Action::Erase, version, owner, bytes_delta })
    }

    /// Takes the removed contents that are not freed yet. Dropping them takes time in proportion to their size.
    pub fn take_drop_queue(&mut self) -> DropQueue {
        core::mem::take(&mut self.drop_queue)
    }

    /// Commits the staged changes of a plan.
    pub(crate) fn commit(&mut self, staged: Staged) {
        let mut brought = 0_u64;
        self.dropped_tombstones.clear();
        for Edit { handle, born, revisions, .. } in staged.edits {
            let index = handle.index();
            if let Some(object) = born {
                brought = brought.saturating_add(object.bytes());
                self.ledger.add(&object);
                self.catalog.add(index, &object);
                self.slots.occupy(handle, object);
            }
            for revision in revisions {
                if let Some(object) = self.slots.live_mut(index) {
                    self.catalog.update(index, object, revision.content());
                    let bytes_before = object.bytes();
                    object.push(revision, self.config.history_max, &mut self.drop_queue);
                    self.ledger.resize(object, bytes_before);
                }
            }
        }
        for index in staged.deaths {
            self.make_tombstone(index);
            self.evict(index);
        }
        let more = usize::try_from(brought / BYTES_PER_DROPPED_ITEM).unwrap_or(usize::MAX);
        self.drop_queue.drop_some(more.saturating_add(DROPPED_ITEMS));
    }

    /// Enforces the limits on tombstones after a deletion: drops the oldest ones, but at most [`EVICTIONS_MAX`].
    fn evict(&mut self, newest: u32) {
        let (max, bytes_max) = (self.config.tombstones_max as u64, self.config.tombstone_bytes_max);
        let is_over = |usage: Usage| usage.objects > max || usage.bytes > bytes_max;
        for _ in 0..EVICTIONS_MAX {
            if !is_over(self.tombstones()) {
                return;
            }
            let Some(oldest) = self.tombstones.oldest() else { return };
            self.forget(oldest);
        }
        if is_over(self.tombstones()) {
            self.forget(newest);
        }
    }

    /// Drops a tombstone.
    fn forget(&mut self, index: u32) {
        self.dropped_tombstones.extend(self.slots.at(index).map(|slot| Handle::new(slot.generation, index)));
        self.vacate(index);
    }

    fn make_tombstone(&mut self, index: u32) {
        let order = self.tombstones.next_order();
        self.slots.make_tombstone(index, order);
        if let Some(State::Dead(tombstone)) = self.slots.at(index).map(|slot| &slot.state) {
            self.ledger.subtract(&tombstone.object);
            self.tombstones.add(order, index, &tombstone.object);
            self.catalog.remove(index, &tombstone.object);
        }
    }

    /// Empties a slot that holds an object or a tombstone.
    fn vacate(&mut self, index: u32) {
        match self.slots.vacate(index) {
            State::Live(object) => {
                self.ledger.subtract(&object);
                self.catalog.remove(index, &object);
                object.drop_into(&mut self.drop_queue);
            }
            State::Dead(tombstone) => {
                self.tombstones.subtract(tombstone.order, &tombstone.object);
                tombstone.object.drop_into(&mut self.drop_queue);
            }
            State::Free | State::Retired => {}
        }
    }

    /// The type's name, sharing memory with the objects of that type.
    pub(crate) fn shared_type_name(&self, name: &str) -> Text {
        self.catalog.shared_name(name)
    }

    /// The owner's name, sharing memory with the objects of that owner.
    pub(crate) fn shared_owner(&self, owner: &str) -> Text {
        self.ledger.shared_owner(owner)
    }

    /// Seals a label map; all objects without labels share one.
    pub(crate) fn sealed(&self, labels: LabelMap) -> Arc<SealedLabels> {
        if labels.is_bottom() { Arc::clone(&self.unlabelled) } else { Arc::new(labels.into()) }
    }
}

#[cfg(test)]
mod tests {
    use ak_json::{Labels, Value, object};

    use super::*;
    use crate::{Content, Patch};

    #[test]
    fn an_object_lives_and_dies() {
        let mut heap = Heap::new(HeapConfig::default());
        let counter = heap
            .alloc(
                "main",
                "counter",
                Content::Json(object! { "value": 0, "name": "counter" }),
                Labels::default(),
            )
            .unwrap();
        assert_eq!(counter.raw(), 1 << 32);
        let patch =
            Value::parse(br#"[{"op":"replace","path":"/value","value":42}]"#, &Default::default()).unwrap();
        assert_eq!(heap.write(counter, &Patch::parse(&patch).unwrap(), Some(0)), Ok(1));
        assert_eq!(
            heap.read(counter).unwrap().content().as_json().unwrap().to_json(),
            r#"{"value":42,"name":"counter"}"#
        );
        assert_eq!(
            heap.read_at(counter, 0).unwrap().content().as_json().unwrap().to_json(),
            r#"{"value":0,"name":"counter"}"#
        );
        heap.delete(counter, None).unwrap();
        assert_eq!(
            heap.read(counter).unwrap_err(),
            HeapError::NotFound { handle: counter, absence: Absence::Deleted { version: Some(2) } }
        );
    }
}
