//! The table behind handles: which object stands at which index, and which stood there before.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::{Absence, HeapError};
use crate::handle::Handle;
use crate::object::Object;

/// One index of the table.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The generation of who stands here, or of who will be the next.
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// Whether it is on the list of touched slots.
    touched: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// No object is here.
    Free,
    /// No object is here, and none will be: the generations are used up.
    Retired,
    Live(Box<Object>),
    Dead(Box<Tombstone>),
}

/// A deleted object: its versions can be read until it is forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) object: Object,
    /// How many objects of this heap were deleted before it.
    pub(crate) order: u64,
}

impl Tombstone {
    /// The version that the deletion made.
    pub(crate) fn version(&self) -> u64 {
        self.object.version().saturating_add(1)
    }
}

/// Slots that are shared with a copy of the table until one of them changes.
pub(crate) const CHUNK_SLOTS: usize = 32;

/// Chunks of a table that are freed at once, before the allocator is asked to put their pieces together.
const FREED_CHUNKS: usize = 128;
/// Freeing so much has glibc put the small pieces together that were freed before.
const MERGING_BYTES: usize = 96 << 10;

/// A copy of the table costs a pointer for each [`CHUNK_SLOTS`] slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    table: Table,
    /// Indexes of the free slots. The lowest is taken first, so that the next handle depends on what the table
    /// holds and not on how it came to be.
    free: BTreeSet<u32>,
    /// Which slots may have changed since they were last digested, none twice.
    touched: Vec<u32>,
}

impl Slot {
    pub(crate) fn new(generation: u32, state: State) -> Slot {
        Slot { generation, state, touched: false }
    }
}

/// The slots in the order of their indexes. Every chunk but the last is full.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    chunks: Vec<Arc<Vec<Slot>>>,
    len: usize,
}

impl Drop for Table {
    /// Frees a large table bit by bit. glibc puts small pieces that were freed together when a large one is, and holds a lock
    /// meanwhile for which other threads wait: 200 ms where the pieces are those of 1,000,000 objects, and only the list of the
    /// chunks is large.
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

    /// The slot, to be changed: those beside it are copied where a copy of the table shares them.
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

    /// The handle that the next object gets, after those at indexes up to `taken`.
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

    /// The live object at an index.
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

    /// The slot that the handle names, whatever stands there.
    fn slot(&self, handle: Handle) -> Option<&Slot> {
        self.table.get(handle.index()).filter(|slot| slot.generation == handle.generation())
    }

    /// The live object.
    pub(crate) fn live(&self, handle: Handle) -> Result<&Object, HeapError> {
        match self.slot(handle).map(|slot| &slot.state) {
            Some(State::Live(object)) => Ok(object),
            _ => Err(HeapError::NotFound { handle, absence: self.absence(handle) }),
        }
    }

    /// The object, live or dead.
    pub(crate) fn any(&self, handle: Handle) -> Result<&Object, HeapError> {
        match self.slot(handle).map(|slot| &slot.state) {
            Some(State::Live(object)) => Ok(object),
            Some(State::Dead(tombstone)) => Ok(&tombstone.object),
            Some(State::Free | State::Retired) | None => {
                Err(HeapError::NotFound { handle, absence: self.absence(handle) })
            }
        }
    }

    /// Why there is no live object behind the handle.
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

    /// The slot, to be changed.
    fn touch(&mut self, index: u32) -> Option<&mut Slot> {
        let slot = self.table.get_mut(index)?;
        if !slot.touched {
            slot.touched = true;
            self.touched.push(index);
        }
        Some(slot)
    }

    /// The slots that may have changed since the last call, in no order.
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

    /// Puts an object where [`vacancy`](Self::vacancy) said there is room.
    pub(crate) fn occupy(&mut self, handle: Handle, object: Box<Object>) {
        self.free.remove(&handle.index());
        let state = State::Live(object);
        match self.touch(handle.index()) {
            Some(slot) => slot.state = state,
            None => self.append(Slot::new(handle.generation(), state)),
        }
    }

    /// The live object, to be changed.
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

    /// Forgets who stands at the index; the place is free for the next generation, if there is one.
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
