//! The table behind handles: the object at each index, and the generation of that index.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::{Absence, HeapError};
use crate::handle::Handle;
use crate::object::Object;

/// The slot at one index of the table.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The generation of the object in the slot, or of the next one if it is empty.
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// Whether the slot is on the list of touched slots.
    touched: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// The slot is empty.
    Free,
    /// The slot is empty for good: its generations are used up.
    Retired,
    Live(Box<Object>),
    Dead(Box<Tombstone>),
}

/// A deleted object, whose versions can be read until the tombstone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) object: Object,
    /// Number of objects of this heap that were deleted before it.
    pub(crate) order: u64,
}

impl Tombstone {
    /// The version that the deletion made.
    pub(crate) fn version(&self) -> u64 {
        self.object.version().saturating_add(1)
    }
}

/// Number of slots that a copy of the table shares as one chunk until one of them changes.
pub(crate) const CHUNK_SLOTS: usize = 32;

/// Number of chunks freed at once, before the allocator is made to merge their memory.
const FREED_CHUNKS: usize = 128;
/// Freeing a block of this size makes glibc merge the small blocks that were freed before.
const MERGING_BYTES: usize = 96 << 10;

/// The slots of a heap. A copy of their table costs one pointer for each [`CHUNK_SLOTS`] slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    table: Table,
    /// Indexes of the free slots. The lowest one is used first, so that the next handle depends only on what the
    /// table holds, and not on the operations before.
    free: BTreeSet<u32>,
    /// Indexes of the slots that may have changed since the last digest, each once.
    touched: Vec<u32>,
}

impl Slot {
    pub(crate) fn new(generation: u32, state: State) -> Slot {
        Slot { generation, state, touched: false }
    }
}

/// Slots in the order of their indexes, in chunks; all but the last one are full.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    chunks: Vec<Arc<Vec<Slot>>>,
    len: usize,
}

impl Drop for Table {
    /// Frees a large table step by step. When a large block is freed, glibc merges all small blocks that were freed
    /// before, under a lock that other threads wait for. For the slots of 1,000,000 objects that takes 200 ms if done
    /// at once, as only the list of chunks is a large block.
    fn drop(&mut self) {
        while self.chunks.len() > FREED_CHUNKS {
            self.chunks.truncate(self.chunks.len() - FREED_CHUNKS);
            drop(core::hint::black_box(Vec::<u8>::with_capacity(MERGING_BYTES)));
        }
    }
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..u32::MAX).zip(self.chunks.iter().flat_map(|chunk| chunk.iter()))
    }

    fn get(&self, index: u32) -> Option<&Slot> {
        let index = index as usize;
        self.chunks.get(index / CHUNK_SLOTS)?.get(index % CHUNK_SLOTS)
    }

    /// The slot for a change; if a copy of the table shares its chunk, the chunk is copied first.
    fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        let index = index as usize;
        Arc::make_mut(self.chunks.get_mut(index / CHUNK_SLOTS)?).get_mut(index % CHUNK_SLOTS)
    }

    fn push(&mut self, slot: Slot) {
        match self.chunks.last_mut().filter(|chunk| chunk.len() < CHUNK_SLOTS) {
            Some(chunk) => Arc::make_mut(chunk).push(slot),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK_SLOTS);
                chunk.push(slot);
                self.chunks.push(Arc::new(chunk));
            }
        }
        self.len += 1;
    }
}

impl Slots {
    /// A copy of the table.
    pub(crate) fn table(&self) -> Table {
        self.table.clone()
    }

    /// The handle of the next object at an index above `taken`; `None` if all handles are used up.
    pub(crate) fn vacancy(&self, taken: Option<u32>) -> Option<Handle> {
        let from = taken.map_or(Some(0), |index| index.checked_add(1))?;
        if let Some(index) = self.free.range(from..).next() {
            return self.table.get(*index).map(|slot| Handle::new(slot.generation, *index));
        }
        let index = u32::try_from(self.table.len()).ok()?.max(from);
        (index < u32::MAX).then_some(Handle::new(1, index))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.table.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The live object at an index, with its handle.
    pub(crate) fn live_at(&self, index: u32) -> Option<(Handle, &Object)> {
        let slot = self.table.get(index)?;
        match &slot.state {
            State::Live(object) => Some((Handle::new(slot.generation, index), object)),
            State::Free | State::Retired | State::Dead(_) => None,
        }
    }

    pub(crate) fn at(&self, index: u32) -> Option<&Slot> {
        self.table.get(index)
    }

    /// The slot with the handle's index, if it has the handle's generation.
    fn slot(&self, handle: Handle) -> Option<&Slot> {
        self.table.get(handle.index()).filter(|slot| slot.generation == handle.generation())
    }

    /// The live object with this handle.
    pub(crate) fn live(&self, handle: Handle) -> Result<&Object, HeapError> {
        match self.slot(handle).map(|slot| &slot.state) {
            Some(State::Live(object)) => Ok(object),
            _ => Err(HeapError::NotFound { handle, absence: self.absence(handle) }),
        }
    }

    /// The object with this handle, live or as a tombstone.
    pub(crate) fn any(&self, handle: Handle) -> Result<&Object, HeapError> {
        match self.slot(handle).map(|slot| &slot.state) {
            Some(State::Live(object)) => Ok(object),
            Some(State::Dead(tombstone)) => Ok(&tombstone.object),
            Some(State::Free | State::Retired) | None => {
                Err(HeapError::NotFound { handle, absence: self.absence(handle) })
            }
        }
    }

    /// Why there is no live object with this handle.
    fn absence(&self, handle: Handle) -> Absence {
        let Some(slot) = self.table.get(handle.index()) else { return Absence::Unknown };
        match &slot.state {
            State::Dead(tombstone) if slot.generation == handle.generation() => {
                Absence::Deleted { version: Some(tombstone.version()) }
            }
            State::Retired if (1..=slot.generation).contains(&handle.generation()) => {
                Absence::Deleted { version: None }
            }
            _ if (1..slot.generation).contains(&handle.generation()) => Absence::Deleted { version: None },
            _ => Absence::Unknown,
        }
    }

    /// The slot for a change; it is put on the list of touched slots.
    fn touch(&mut self, index: u32) -> Option<&mut Slot> {
        let slot = self.table.get_mut(index)?;
        if !slot.touched {
            slot.touched = true;
            self.touched.push(index);
        }
        Some(slot)
    }

    /// Takes the list of slots that may have changed since the last call, in no order.
    pub(crate) fn take_touched(&mut self) -> Vec<u32> {
        for index in &self.touched {
            if let Some(slot) = self.table.get_mut(*index) {
                slot.touched = false;
            }
        }
        core::mem::take(&mut self.touched)
    }

    /// Appends a slot.
    pub(crate) fn append(&mut self, slot: Slot) {
        let Ok(index) = u32::try_from(self.table.len()) else { return };
        if matches!(slot.state, State::Free) {
            self.free.insert(index);
        }
        self.table.push(slot);
        self.touch(index);
    }

    /// Puts an object into the slot of a handle that [`vacancy`](Self::vacancy) gave.
    pub(crate) fn occupy(&mut self, handle: Handle, object: Box<Object>) {
        self.free.remove(&handle.index());
        let state = State::Live(object);
        match self.touch(handle.index()) {
            Some(slot) => slot.state = state,
            None => self.append(Slot::new(handle.generation(), state)),
        }
    }

    /// The live object at an index, for a change.
    pub(crate) fn live_mut(&mut self, index: u32) -> Option<&mut Object> {
        match &mut self.touch(index)?.state {
            State::Live(object) => Some(object),
            State::Free | State::Retired | State::Dead(_) => None,
        }
    }

    /// Turns a live object into a tombstone.
    pub(crate) fn make_tombstone(&mut self, index: u32, order: u64) {
        let Some(slot) = self.touch(index) else { return };
        slot.state = match core::mem::replace(&mut slot.state, State::Free) {
            State::Live(object) => State::Dead(Box::new(Tombstone { object: *object, order })),
            other @ (State::Free | State::Retired | State::Dead(_)) => other,
        };
    }

    /// Empties a slot and returns its former state. The slot is free for the next generation, if there is one.
    pub(crate) fn vacate(&mut self, index: u32) -> State {
        let Some(slot) = self.touch(index) else { return State::Free };
        let next = match slot.generation.checked_add(1) {
            Some(generation) => {
                slot.generation = generation;
                State::Free
            }
            None => State::Retired,
        };
        let is_free = matches!(next, State::Free);
        let state = core::mem::replace(&mut slot.state, next);
        if is_free {
            self.free.insert(index);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use ak_json::Value;

    use super::*;
    use crate::{Content, Revision};

    #[test]
    fn an_exhausted_slot_is_never_used_again() {
        let revision = Revision::new(0, Content::Json(Value::Null), Default::default());
        let object = Box::new(Object::new("main".into(), "t".into(), revision));
        let mut slots = Slots::default();
        slots.append(Slot::new(u32::MAX - 1, State::Free));
        for generation in [u32::MAX - 1, u32::MAX] {
            let handle = Handle::new(generation, 0);
            assert_eq!(slots.vacancy(None), Some(handle));
            slots.occupy(handle, object.clone());
            assert!(slots.live(handle).is_ok());
            slots.vacate(0);
            assert_eq!(slots.absence(handle), Absence::Deleted { version: None });
        }
        assert!(matches!(slots.at(0).map(|slot| &slot.state), Some(State::Retired)));
        assert_eq!(slots.vacancy(None), Some(Handle::new(1, 1)));
        assert_eq!(slots.absence(Handle::new(0, 0)), Absence::Unknown);
    }
}
