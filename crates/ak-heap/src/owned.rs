//! Sets of objects that can be searched by owner.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::iter::Peekable;
use core::ops::RangeBounds;

use ak_json::Text;

/// Keys of objects in order, for all owners together and by owner, so that a search for one owner skips all others.
#[derive(Clone, Debug)]
pub(crate) struct Owned<K> {
    all: BTreeSet<K>,
    /// Owners without keys have no entry.
    by_owner: BTreeMap<Text, BTreeSet<K>>,
}

impl<K> Default for Owned<K> {
    fn default() -> Owned<K> {
        Owned { all: BTreeSet::new(), by_owner: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Owned<K> {
    pub(crate) fn add(&mut self, owner: &Text, key: K) {
        self.all.insert(key.clone());
        match self.by_owner.get_mut(&**owner) {
            Some(keys) => keys.insert(key),
            None => self.by_owner.entry(owner.clone()).or_default().insert(key),
        };
    }

    pub(crate) fn remove(&mut self, owner: &Text, key: &K) {
        self.all.remove(key);
        if let Some(keys) = self.by_owner.get_mut(&**owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_owner.remove(&**owner);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn all(&self) -> &BTreeSet<K> {
        &self.all
    }

    /// The keys of an agent's objects and of its descendants'; all keys if the scope is empty.
    pub(crate) fn of_delegation_tree<'a>(&'a self, scope: &str) -> Box<dyn Iterator<Item = &'a K> + 'a> {
        if scope.is_empty() {
            return Box::new(self.all.iter());
        }
        // The names of descendants are adjacent in the map: `0` is the character after `/`.
        let bound = |end: char| Text::from(format!("{scope}{end}"));
        let descendants = self.by_owner.range(bound('/')..bound('0')).map(|(_, keys)| keys);
        Box::new(self.by_owner.get(scope).into_iter().chain(descendants).flatten())
    }

    /// The keys in a range, in order: those of the given owners, each named once, or of all.
    pub(crate) fn range<'a>(
        &'a self,
        owners: Option<&[&str]>,
        range: impl RangeBounds<K> + Clone + 'a,
        descending: bool,
    ) -> Box<dyn Iterator<Item = &'a K> + 'a> {
        let directed = move |keys: &'a BTreeSet<K>| -> Box<dyn Iterator<Item = &'a K> + 'a> {
            let keys = keys.range(range.clone());
            if descending { Box::new(keys.rev()) } else { Box::new(keys) }
        };
        let Some(owners) = owners else { return directed(&self.all) };
        let mut lists = owners.iter().filter_map(|owner| self.by_owner.get(*owner)).map(directed);
        match (lists.next(), lists.next()) {
            (None, _) => Box::new(core::iter::empty()),
            (Some(only), None) => only,
            (Some(first), Some(second)) => {
                let lists = [first, second].into_iter().chain(lists).map(Iterator::peekable);
                Box::new(Merge { lists: lists.collect(), descending })
            }
        }
    }
}

/// Merges ordered lists into one.
struct Merge<I: Iterator> {
    lists: Vec<Peekable<I>>,
    descending: bool,
}

impl<'a, K: Ord + 'a, I: Iterator<Item = &'a K>> Iterator for Merge<I> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        let descending = self.descending;
        let heads = self.lists.iter_mut().enumerate();
        let heads = heads.filter_map(|(list, keys)| Some((*keys.peek()?, list)));
        let (_, list) = if descending { heads.max() } else { heads.min() }?;
        self.lists.get_mut(list)?.next()
    }
}
