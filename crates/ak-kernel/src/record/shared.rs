//! Collections whose clones share unchanged items, since the kernel's state is copied under its lock.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};

/// Items of one chunk. A change copies a chunk that is shared with a clone.
const CHUNK_ITEMS: usize = 64;

/// An ordered map. A clone costs one key and one pointer per 32 to 64 items.
#[derive(Clone, Debug)]
pub(crate) struct SharedMap<K, V> {
    /// Each chunk is stored under a key that is at most its first item's key and above every key of the chunk
    /// before. No chunk is empty.
    chunks: BTreeMap<K, Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap { chunks: BTreeMap::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (_, chunk) = self.chunks.range(..=key).next_back()?;
        let at = position(chunk, key).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = position(chunk, key).ok()?;
        Arc::make_mut(chunk).get_mut(at).map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.chunks.range(..=&key).next_back().is_none() {
            // An item before the first chunk goes into that chunk.
            let chunk = self.chunks.pop_first().map(|(_, chunk)| chunk).unwrap_or_default();
            self.chunks.insert(key.clone(), chunk);
        }
        let Some((_, shared)) = self.chunks.range_mut(..=&key).next_back() else { return };
        let chunk = Arc::make_mut(shared);
        match position(chunk, &key) {
            Ok(at) => {
                if let Some(place) = chunk.get_mut(at) {
                    *place = (key, value);
                }
                return;
            }
            Err(at) => chunk.insert(at, (key, value)),
        }
        self.len += 1;
        if chunk.len() > CHUNK_ITEMS {
            let upper = chunk.split_off(chunk.len() / 2);
            if let Some((first, _)) = upper.first() {
                let first = first.clone();
                self.chunks.insert(first, Arc::new(upper));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (start, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = position(chunk, key).ok()?;
        let (_, value) = Arc::make_mut(chunk).remove(at);
        if chunk.is_empty() {
            let start = start.clone();
            self.chunks.remove(&start);
        }
        self.len -= 1;
        Some(value)
    }

    /// The items, by ascending keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.values().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }
}

fn position<K: Ord, V>(chunk: &[(K, V)], key: &K) -> Result<usize, usize> {
    chunk.binary_search_by(|(other, _)| other.cmp(key))
}

/// A queue of items in ascending order. A clone costs one pointer per 64 items.
#[derive(Clone, Debug)]
pub(crate) struct SharedQueue<T> {
    /// No chunk is empty, and every item of a chunk comes before those of the next.
    chunks: VecDeque<Arc<Vec<T>>>,
    /// The number of items of the first chunk that were removed from the front.
    left: usize,
}

impl<T> Default for SharedQueue<T> {
    fn default() -> SharedQueue<T> {
        SharedQueue { chunks: VecDeque::new(), left: 0 }
    }
}

impl<T: Clone> SharedQueue<T> {
    pub(crate) fn push_back(&mut self, item: T) {
        match self.chunks.back_mut().filter(|chunk| chunk.len() < CHUNK_ITEMS) {
            Some(chunk) => Arc::make_mut(chunk).push(item),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK_ITEMS);
                chunk.push(item);
                self.chunks.push_back(Arc::new(chunk));
            }
        }
    }

    /// Removes the first item, unless it is the only one.
    pub(crate) fn pop_front_but_last(&mut self) -> Option<T> {
        let chunk = self.chunks.front()?;
        if self.chunks.len() == 1 && self.left + 1 >= chunk.len() {
            return None;
        }
        let item = chunk.get(self.left).cloned();
        self.left += 1;
        if self.left >= chunk.len() {
            self.chunks.pop_front();
            self.left = 0;
        }
        item
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.chunks.front()?.get(self.left)
    }

    /// Removes the items with these keys; keys and items both ascend. This takes time for the chunks that contain
    /// them, and one pointer for every other chunk. Afterwards no removed item is kept in memory.
    pub(crate) fn remove<K: Ord>(&mut self, keys: impl Iterator<Item = K>, key: impl Fn(&T) -> K) -> Vec<T> {
        let gone = core::mem::take(&mut self.left);
        if let Some(chunk) = self.chunks.front_mut().filter(|_| gone > 0) {
            *chunk = Arc::new(chunk.get(gone..).unwrap_or_default().to_vec());
        }
        let (mut removed, mut from) = (Vec::new(), 0);
        for wanted in keys {
            // The chunk of the key before may be empty now; later chunks are not.
            if self.chunks.get(from).is_some_and(|chunk| chunk.is_empty()) {
                from += 1;
            }
            let ends_before = |chunk: &Arc<Vec<T>>| chunk.last().is_some_and(|last| key(last) < wanted);
            let (mut low, mut high) = (from, self.chunks.len());
            while low < high {
                let middle = low.midpoint(high);
                let ends_before = self.chunks.get(middle).is_some_and(ends_before);
                (low, high) = if ends_before { (middle + 1, high) } else { (low, middle) };
            }
            from = low;
            let Some(chunk) = self.chunks.get_mut(from) else { break };
            if let Ok(place) = chunk.binary_search_by(|item| key(item).cmp(&wanted)) {
                removed.push(Arc::make_mut(chunk).remove(place));
            }
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        removed
    }

    /// The items in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.between(|_| false, |_| true)
    }

    /// The items after those for which `before` holds, and among the leading items for which `within` holds. Each
    /// condition must hold for the items up to some point and for none after it.
    pub(crate) fn between(
        &self,
        before: impl Fn(&T) -> bool + Clone,
        within: impl Fn(&T) -> bool + Clone,
    ) -> impl DoubleEndedIterator<Item = &T> {
        let first = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&before));
        let end = self.chunks.partition_point(|chunk| chunk.first().is_some_and(&within)).max(first);
        self.chunks.range(first..end).enumerate().flat_map(move |(at, chunk)| {
            let gone = if first + at == 0 { self.left } else { 0 };
            let items = chunk.get(gone..).unwrap_or_default();
            let start = items.partition_point(&before);
            items.get(start..items.partition_point(&within)).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u16, u8),
        Change(u16, u8),
        Remove(u16),
        Copy,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (0..600u16, any::<u8>()).prop_map(|(key, value)| Op::Insert(key, value)),
            2 => (0..600u16, any::<u8>()).prop_map(|(key, value)| Op::Change(key, value)),
            4 => (0..600u16).prop_map(Op::Remove),
            1 => Just(Op::Copy),
        ]
    }

    proptest! {
        #[test]
        fn a_shared_map_is_a_map_and_its_copies_stay_as_they_are(ops in prop::collection::vec(op(), 1..900)) {
            let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(key, value) => {
                        map.insert(key, value);
                        model.insert(key, value);
                    }
                    Op::Change(key, value) => {
                        let (place, expected) = (map.get_mut(&key), model.get_mut(&key));
                        prop_assert_eq!(place.is_some(), expected.is_some());
                        if let (Some(place), Some(expected)) = (place, expected) {
                            (*place, *expected) = (value, value);
                        }
                    }
                    Op::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    Op::Copy => copies.push((map.clone(), model.clone())),
                }
                prop_assert_eq!(map.len(), model.len());
            }
            copies.push((map, model));
            for (map, model) in copies {
                prop_assert!(map.iter().eq(model.iter()));
                prop_assert!((0..600).all(|key| map.get(&key) == model.get(&key)));
            }
        }

        #[test]
        fn a_shared_queue_is_a_queue_and_its_copies_stay_as_they_are(
            ops in prop::collection::vec((0..10u8, 0..900u32), 1..900),
        ) {
            let (mut queue, mut model) = (SharedQueue::default(), VecDeque::new());
            let mut copies = Vec::new();
            for (next, (op, number)) in (0u32..).zip(ops) {
                match op {
                    0..=5 => {
                        queue.push_back(next);
                        model.push_back(next);
                    }
                    6..=7 => {
                        let expected = if model.len() > 1 { model.pop_front() } else { None };
                        prop_assert_eq!(queue.pop_front_but_last(), expected);
                    }
                    8 => {
                        let by = number % 7 + 2;
                        let wanted = (0..next).filter(|item| item % by == 0);
                        let expected: Vec<u32> =
                            model.iter().copied().filter(|item| item % by == 0).collect();
                        prop_assert_eq!(queue.remove(wanted, |item| *item), expected);
                        model.retain(|item| item % by != 0);
                    }
                    _ => copies.push((queue.clone(), model.clone())),
                }
                let (start, end) = (number / 2, number);
                let found = queue.between(|item| *item < start, |item| *item < end);
                prop_assert!(found.eq(model.iter().filter(|item| (start..end).contains(*item))));
                prop_assert_eq!(queue.front(), model.front());
            }
            copies.push((queue, model));
            for (queue, model) in copies {
                prop_assert!(queue.iter().eq(model.iter()));
                prop_assert!(queue.iter().rev().eq(model.iter().rev()));
            }
        }
    }
}
