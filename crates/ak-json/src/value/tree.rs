//! The persistent sequence that arrays and objects are built on.
//!
//! Items are in chunks of 32 by position, and the chunks in a radix tree of the same width. This is the shape that
//! the canonical encoding hashes (`docs/decisions/0002`), so each node caches the hash of everything below it.
//! Versions share nodes; a shared node is copied before it is changed.

use alloc::vec::Vec;
use core::mem;

use triomphe::{Arc, HeaderWithLength, ThinArc};

use crate::value::memo::{Memo, exact, len32};

/// The most items of a chunk, and the most chunks or nodes of a node.
pub(crate) const WIDTH: usize = 32;
const WIDTH_BITS: u32 = WIDTH.trailing_zeros();

/// Values nested at most this deep are walked by recursion, deeper ones with a worklist.
pub(crate) const SHALLOW_DEPTH_MAX: u32 = 64;

/// The items of a tree: values, or the names of members.
pub(crate) trait Item: Clone + Default {
    /// Appends a clone, built in place.
    fn clone_onto(&self, slots: &mut Vec<Slot<Self>>);
    /// Levels of nesting: 0 for an item that is not a container.
    fn depth(&self) -> u32;
    /// Whether [`json_len`](Self::json_len) takes no walk.
    fn is_measured(&self) -> bool;
    /// The length in bytes in compact JSON text.
    fn json_len(&self) -> usize;
    /// Moves a value that nests too deep for recursion out, to be dropped by the caller.
    fn take_deep(&mut self) -> Option<Self>;
    /// The tree of a container of such items.
    fn tree_mut(&mut self) -> Option<&mut Tree<Self>>;
}

/// A sequence of items; an empty one takes no memory on the heap.
#[derive(Clone)]
pub(crate) struct Tree<T: Item> {
    root: Option<Node<T>>,
}

/// A subtree, not empty while it is in a tree. One allocation holds its head and its slots.
#[derive(Clone)]
pub(crate) struct Node<T: Item>(ThinArc<Head, Slot<T>>);

/// Properties of a node, and its memo.
#[derive(Clone)]
pub(crate) struct Head {
    /// The number of items below.
    len: u32,
    /// Levels of nesting: 1 when all items below are scalars.
    depth: u32,
    /// Counted from 0, the chunks of items.
    level: u8,
    pub(crate) memo: Memo,
}

/// A slot of a node: an item in a chunk, a node above the chunks.
#[derive(Clone)]
pub(crate) enum Slot<T: Item> {
    Item(T),
    Kid(Node<T>),
}

impl<T: Item> Default for Slot<T> {
    fn default() -> Self {
        Self::Item(T::default())
    }
}

impl<T: Item> Slot<T> {
    fn item(&self) -> Option<&T> {
        if let Self::Item(item) = self { Some(item) } else { None }
    }

    fn kid(&self) -> Option<&Node<T>> {
        if let Self::Kid(kid) = self { Some(kid) } else { None }
    }

    fn into_item(self) -> Option<T> {
        if let Self::Item(item) = self { Some(item) } else { None }
    }

    /// The levels of nesting that the slot contributes to its node.
    fn depth(&self) -> u32 {
        match self {
            Self::Item(item) => item.depth().saturating_add(1),
            Self::Kid(kid) => kid.head().depth,
        }
    }

    /// The length in bytes of JSON text, if it is exact and takes no walk.
    fn exact_len(&self) -> Option<u32> {
        match self {
            Self::Item(item) => item.is_measured().then(|| exact(len32(item.json_len())))?,
            Self::Kid(kid) => kid.head().memo.exact_len(),
        }
    }
}

impl<T: Item> Default for Tree<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Item> From<Vec<T>> for Tree<T> {
    fn from(mut items: Vec<T>) -> Self {
        Self::split_off(&mut items, 0)
    }
}

impl<T: Item> Tree<T> {
    pub(crate) const fn new() -> Self {
        Self { root: None }
    }

    /// Removes the items from `start` on from a list and builds a tree of them.
    pub(crate) fn split_off(items: &mut Vec<T>, start: usize) -> Self {
        let count = items.len().saturating_sub(start);
        if count == 0 {
            return Self::new();
        }
        if count <= WIDTH {
            return Self { root: Some(Node::chunk_off(items, start)) };
        }
        // Chunks are cut off the end, so that each item moves only once.
        let mut nodes = Vec::with_capacity(count.div_ceil(WIDTH));
        while items.len() > start {
            let chunk = start + (items.len() - 1 - start) / WIDTH * WIDTH;
            nodes.push(Node::chunk_off(items, chunk));
        }
        nodes.reverse();
        let mut level = 0;
        while nodes.len() > 1 {
            level += 1;
            let branch = |kids: &[Node<T>]| Node::of(level, kids.iter().cloned().map(Slot::Kid).collect());
            nodes = nodes.chunks(WIDTH).map(branch).collect();
        }
        Self { root: nodes.pop() }
    }

    pub(crate) fn root(&self) -> Option<&Node<T>> {
        self.root.as_ref()
    }

    pub(crate) fn into_root(self) -> Option<Node<T>> {
        self.root
    }

    pub(crate) fn len(&self) -> usize {
        self.root.as_ref().map_or(0, Node::len)
    }

    /// Levels of nesting: 1 for an empty container.
    pub(crate) fn depth(&self) -> u32 {
        self.root.as_ref().map_or(1, |root| root.head().depth)
    }

    /// Whether both are the same tree; `false` does not mean that the items differ.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let place = |tree: &Self| tree.root.as_ref().map(|root| root.0.heap_ptr());
        place(self) == place(other)
    }

    /// The chunk that contains the position, from that position on; empty beyond the end.
    pub(crate) fn chunk_from(&self, position: usize) -> Chunk<'_, T> {
        let Some(mut node) = self.root().filter(|root| position < root.len()) else { return Chunk(&[]) };
        while let Some(kid) = node.slots().get(slot(node.level(), position)).and_then(Slot::kid) {
            node = kid;
        }
        Chunk(node.slots().get(slot(0, position)..).unwrap_or_default())
    }

    pub(crate) fn get(&self, position: usize) -> Option<&T> {
        self.chunk_from(position).get(0)
    }

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter { tree: self, chunk: [].iter(), next: 0 }
    }

    /// Replaces the item at the position and returns the old one; `None` beyond the end.
    pub(crate) fn set(&mut self, position: usize, item: T) -> Option<T> {
        self.root.as_mut().filter(|root| position < root.len())?.set(position, item)
    }

    /// Inserts the item before the position, or at the end when the position is beyond the last item.
    pub(crate) fn insert(&mut self, position: usize, item: T) {
        let Some(root) = &mut self.root else {
            self.root = Some(Node::single(0, item));
            return;
        };
        let position = position.min(root.len());
        if let Some(overflow) = root.insert(position, item) {
            let level = root.level();
            let kids = [root.clone(), Node::single(level, overflow)];
            self.root = Some(Node::of(level + 1, kids.map(Slot::Kid).into()));
        }
    }

    /// Removes the item at the position and returns it; `None` beyond the end.
    pub(crate) fn remove(&mut self, position: usize) -> Option<T> {
        let root = self.root.as_mut().filter(|root| position < root.len())?;
        let removed = root.remove(position, None);
        if root.len() == 0 {
            self.root = None;
        }
        while let Some(only) = self.root.as_ref().and_then(Node::only_kid) {
            // A copy remembers nothing. A chunk may remember a hash, which at a root would mean that its items are
            // too long to be encoded inline.
            self.root = Some(only.copy());
        }
        removed
    }
}

/// The index of the slot that contains the position in a node at `level`.
fn slot(level: u8, position: usize) -> usize {
    (position >> (WIDTH_BITS * u32::from(level))) % WIDTH
}

/// The number of items in a kid of a node at `level`, except the last kid.
pub(crate) fn span(level: u8) -> usize {
    1 << (WIDTH_BITS * u32::from(level))
}

impl Head {
    fn of<T: Item>(level: u8, slots: &[Slot<T>]) -> Self {
        let (mut len, mut depth) = (0_u32, 0);
        for slot in slots {
            len = len.saturating_add(slot.kid().map_or(1, |kid| kid.head().len));
            depth = depth.max(slot.depth());
        }
        Self { len, depth, level, memo: Memo::default() }
    }
}

impl<T: Item> Node<T> {
    fn of(level: u8, slots: Vec<Slot<T>>) -> Self {
        Self::with_head(Head::of(level, &slots), slots)
    }

    fn with_head(head: Head, slots: Vec<Slot<T>>) -> Self {
        let head = HeaderWithLength::new(head, slots.len());
        Self(Arc::into_thin(Arc::from_header_and_vec(head, slots)))
    }

    /// Removes the items from `start` on from a list and makes a chunk of them; there must be at most [`WIDTH`].
    fn chunk_off(items: &mut Vec<T>, start: usize) -> Self {
        let nested = items.iter().skip(start).map(T::depth).max().unwrap_or(0);
        let len = items.len().saturating_sub(start) as u32;
        let head = Head { len, depth: nested.saturating_add(1), level: 0, memo: Memo::default() };
        Self(ThinArc::from_header_and_iter(head, items.drain(start..).map(Slot::Item)))
    }

    /// A subtree of the given level with only one item.
    fn single(level: u8, item: T) -> Self {
        let leaf = Self::of(0, [Slot::Item(item)].into());
        (1..=level).fold(leaf, |kid, level| Self::of(level, [Slot::Kid(kid)].into()))
    }

    /// A copy of the node that shares its kids, with the same head except that the memo is empty.
    fn copy(&self) -> Self {
        let mut slots = Vec::with_capacity(self.slots().len());
        for slot in self.slots() {
            match slot {
                Slot::Item(item) => item.clone_onto(&mut slots),
                Slot::Kid(kid) => slots.push(Slot::Kid(kid.clone())),
            }
        }
        Self::with_head(self.head().clone(), slots)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn slots(&self) -> &[Slot<T>] {
        &self.0.slice
    }

    fn len(&self) -> usize {
        self.head().len as usize
    }

    /// Counted from 0, the chunks of items.
    pub(crate) fn level(&self) -> u8 {
        self.head().level
    }

    /// The items of a chunk.
    pub(crate) fn chunk(&self) -> Chunk<'_, T> {
        Chunk(self.slots())
    }

    /// The child nodes of a node above the chunks.
    pub(crate) fn kids(&self) -> impl Iterator<Item = &Self> {
        self.slots().iter().filter_map(Slot::kid)
    }

    fn only_kid(&self) -> Option<&Self> {
        if let [Slot::Kid(kid)] = self.slots() { Some(kid) } else { None }
    }

    /// Changes the slots in place, in a copy if others share the node, and computes the head anew.
    fn change<R>(&mut self, change: impl FnOnce(&mut [Slot<T>]) -> Option<R>) -> Option<R> {
        self.own();
        self.0.with_arc_mut(|node| {
            let node = Arc::get_mut(node)?;
            let result = change(node.slice_mut());
            *node.header_mut() = Head::of(node.header().level, node.slice());
            result
        })
    }

    /// Replaces the slots of the node.
    fn rebuild(&mut self, change: impl FnOnce(&mut Vec<Slot<T>>)) {
        let mut slots = Vec::with_capacity(self.slots().len() + 1);
        self.0.with_arc_mut(|node| match Arc::get_mut(node) {
            Some(node) => slots.extend(node.slice_mut().iter_mut().map(mem::take)),
            None => slots.extend(node.slice().iter().cloned()),
        });
        change(&mut slots);
        *self = Self::of(self.level(), slots);
    }

    /// Replaces the item at a position, which must be in range. The head is updated without examining the other
    /// slots where possible.
    fn set(&mut self, position: usize, item: T) -> Option<T> {
        let known = self.head().memo.exact_len();
        self.own();
        self.0.with_arc_mut(|node| {
            let node = Arc::get_mut(node)?;
            let (level, depth) = (node.header().level, node.header().depth);
            let place = node.slice_mut().get_mut(slot(level, position))?;
            let before = (place.depth(), place.exact_len());
            let old = match place {
                Slot::Item(old) => Some(mem::replace(old, item)),
                Slot::Kid(kid) => kid.set(position, item),
            };
            let after = (place.depth(), place.exact_len());
            if after.0 >= depth || before.0 < depth {
                let known = known.zip(before.1).zip(after.1);
                let len =
                    known.map(|((known, before), after)| known.saturating_sub(before).saturating_add(after));
                let head = node.header_mut();
                (head.depth, head.memo) = (depth.max(after.0), Memo::of_len(len));
            } else {
                *node.header_mut() = Head::of(level, node.slice());
            }
            old
        })
    }

    /// Replaces the node by a copy if others share it.
    fn own(&mut self) {
        if ThinArc::strong_count(&self.0) != 1 {
            *self = self.copy();
        }
    }

    /// Inserts at a position up to the length, and returns the last item if there is no room for it.
    fn insert(&mut self, position: usize, item: T) -> Option<T> {
        if self.level() > 0 {
            return self.insert_below(position, item);
        }
        if position >= WIDTH {
            return Some(item);
        }
        if self.slots().len() < WIDTH {
            self.rebuild(|slots| slots.insert(position.min(slots.len()), Slot::Item(item)));
            return None;
        }
        let overflow = self.change(|slots| {
            let moved = slots.get_mut(position..)?;
            moved.rotate_right(1);
            Some(mem::replace(moved.first_mut()?, Slot::Item(item)))
        });
        overflow.and_then(Slot::into_item)
    }

    fn insert_below(&mut self, position: usize, item: T) -> Option<T> {
        let (level, count) = (self.level(), self.slots().len());
        let (first, mut within) = (position / span(level), position % span(level));
        let overflow = self.change(|slots| {
            let mut carried = Some(item);
            for slot in slots.iter_mut().skip(first) {
                let (Slot::Kid(kid), Some(item)) = (slot, carried.take()) else { break };
                carried = kid.insert(mem::take(&mut within), item);
            }
            carried
        })?;
        if count == WIDTH {
            return Some(overflow);
        }
        self.rebuild(|kids| kids.push(Slot::Kid(Self::single(level - 1, overflow))));
        None
    }

    /// Removes the item at the position, which must be in range, and appends `refill` at the end.
    fn remove(&mut self, position: usize, refill: Option<T>) -> Option<T> {
        if self.level() > 0 {
            return self.remove_below(position, refill);
        }
        if position >= self.slots().len() {
            return None;
        }
        let Some(refill) = refill else {
            let mut removed = None;
            self.rebuild(|slots| removed = slots.remove(position).into_item());
            return removed;
        };
        let removed = self.change(|slots| {
            let moved = slots.get_mut(position..)?;
            moved.rotate_left(1);
            Some(mem::replace(moved.last_mut()?, Slot::Item(refill)))
        });
        removed.and_then(Slot::into_item)
    }

    fn remove_below(&mut self, position: usize, refill: Option<T>) -> Option<T> {
        let level = self.level();
        let (first, within) = (position / span(level), position % span(level));
        let removed = self.change(|slots| {
            let mut carried = refill;
            for (place, slot) in slots.iter_mut().enumerate().skip(first).rev() {
                let Slot::Kid(kid) = slot else { continue };
                let from = if place == first { within } else { 0 };
                carried = kid.remove(from, carried);
            }
            carried
        });
        if self.kids().last().is_some_and(|kid| kid.len() == 0) {
            self.rebuild(|kids| drop(kids.pop()));
        }
        removed
    }

    /// Takes the node apart and hands out its items and kids, unless others share the node. Returns how many parts
    /// that were.
    pub(crate) fn take_apart(mut self, mut item: impl FnMut(T), kids: &mut Vec<Self>) -> usize {
        self.0.with_arc_mut(|node| {
            let Some(node) = Arc::get_mut(node) else { return 1 };
            node.header_mut().depth = 0;
            for slot in node.slice_mut() {
                match mem::take(slot) {
                    Slot::Item(value) => item(value),
                    Slot::Kid(kid) => kids.push(kid),
                }
            }
            1 + node.slice().len()
        })
    }

    /// Moves the values that nest too deep for recursion to the worklist, unless others share the node.
    fn drain_deep(&mut self, out: &mut Vec<T>) {
        if self.head().depth <= SHALLOW_DEPTH_MAX {
            return;
        }
        self.0.with_arc_mut(|node| {
            let Some(node) = Arc::get_mut(node) else { return };
            node.header_mut().depth = 0;
            for slot in node.slice_mut() {
                match slot {
                    Slot::Item(item) => out.extend(item.take_deep()),
                    Slot::Kid(kid) => kid.drain_deep(out),
                }
            }
        });
    }
}

/// Drops deep values with a worklist, because recursion would exhaust the stack. When two threads release a node at
/// the same time, each may find it still shared; then the last one continues with the next level, which only it
/// owns.
impl<T: Item> Drop for Node<T> {
    fn drop(&mut self) {
        if self.head().depth <= SHALLOW_DEPTH_MAX {
            return;
        }
        let mut deep = Vec::new();
        self.drain_deep(&mut deep);
        while let Some(mut value) = deep.pop() {
            if let Some(root) = value.tree_mut().and_then(|tree| tree.root.as_mut()) {
                root.drain_deep(&mut deep);
            }
        }
    }
}

/// Adjacent items.
pub(crate) struct Chunk<'a, T: Item>(&'a [Slot<T>]);

impl<'a, T: Item> Chunk<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, place: usize) -> Option<&'a T> {
        self.0.get(place)?.item()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a T> + use<'a, T> {
        self.0.iter().filter_map(Slot::item)
    }
}

/// Iterates over the items in order, chunk by chunk.
pub(crate) struct Iter<'a, T: Item> {
    tree: &'a Tree<T>,
    chunk: core::slice::Iter<'a, Slot<T>>,
    next: usize,
}

impl<T: Item> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self { tree: self.tree, chunk: self.chunk.clone(), next: self.next }
    }
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if self.chunk.len() == 0 {
            let chunk = self.tree.chunk_from(self.next);
            self.next += chunk.len();
            self.chunk = chunk.0.iter();
        }
        self.chunk.next()?.item()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.tree.len().saturating_sub(self.next) + self.chunk.len();
        (left, Some(left))
    }
}

impl<T: Item> ExactSizeIterator for Iter<'_, T> {}
