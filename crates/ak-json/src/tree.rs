//! The persistent sequence behind arrays and objects.
//!
//! Items stand in chunks of 32 by position, the chunks in a radix tree of the same width: the very shape
//! that the canonical encoding hashes (`docs/decisions/0002`), so each node keeps the hash of what is below
//! it. Nodes are shared between versions and copied when written through.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroUsize;

use once_cell::race::{OnceBox, OnceNonZeroUsize};

use crate::digest::Digest;
use crate::index::Index;
use crate::value::Value;

/// Items of a chunk, and chunks or nodes of a node.
pub(crate) const WIDTH: usize = 32;
const WIDTH_BITS: u32 = WIDTH.trailing_zeros();

/// Values nested no deeper than this are walked by recursion, deeper ones by a worklist.
pub(crate) const SHALLOW_DEPTH_MAX: u32 = 64;

/// What a tree holds: the items of an array or the members of an object.
pub(crate) trait Item: Clone {
    /// The value that may nest further.
    fn value(&self) -> &Value;
    /// Takes that value out, leaving null.
    fn take(&mut self) -> Value;
    /// Bytes of the compact JSON text.
    fn json_len(&self) -> usize;
    /// Appends the canonical encoding.
    fn encode(&self, out: &mut Vec<u8>);
}

/// A sequence of items; empty ones own no memory.
#[derive(Clone)]
pub(crate) struct Tree<T: Item> {
    root: Option<Arc<Node<T>>>,
}

/// A subtree, never empty.
pub(crate) struct Node<T: Item> {
    kids: Kids<T>,
    /// Items below.
    len: u32,
    /// Levels of nested values below, 1 when all are scalars.
    depth: u32,
    /// At the root of a large object.
    index: Option<Arc<Index>>,
    json_len: OnceNonZeroUsize,
    hash: OnceBox<Digest>,
}

pub(crate) enum Kids<T: Item> {
    Leaf(Vec<T>),
    /// The level counts from the leaves, which are 0.
    Branch(u32, Vec<Arc<Node<T>>>),
}

impl<T: Item> Default for Tree<T> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<T: Item> Tree<T> {
    pub(crate) const fn new() -> Self {
        Self { root: None }
    }

    /// Builds a tree in one pass.
    pub(crate) fn build(mut items: Vec<T>) -> Self {
        if items.len() <= WIDTH {
            items.shrink_to_fit();
            let root = if items.is_empty() { None } else { Some(Arc::new(Node::leaf(items))) };
            return Self { root };
        }
        // The chunks are cut off the end, which moves each item once.
        let mut nodes = Vec::with_capacity(items.len().div_ceil(WIDTH));
        while !items.is_empty() {
            let start = (items.len() - 1) / WIDTH * WIDTH;
            nodes.push(Arc::new(Node::leaf(items.split_off(start))));
        }
        nodes.reverse();
        let mut level = 0;
        while nodes.len() > 1 {
            level += 1;
            nodes = nodes.chunks(WIDTH).map(|kids| Arc::new(Node::branch(level, kids.to_vec()))).collect();
        }
        Self { root: nodes.pop() }
    }

    pub(crate) fn root(&self) -> Option<&Node<T>> {
        self.root.as_deref()
    }

    /// The order of names, at a large object.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.root()?.index.as_deref()
    }

    pub(crate) fn len(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.len as usize)
    }

    /// Levels of nesting, 1 for an empty container.
    pub(crate) fn depth(&self) -> u32 {
        self.root.as_ref().map_or(1, |root| root.depth)
    }

    /// Whether the root's hash is remembered, or there is none.
    pub(crate) fn is_hashed(&self) -> bool {
        self.root().is_none_or(|root| root.hash.get().is_some())
    }

    /// Whether the bytes of JSON text are remembered, or there are none.
    pub(crate) fn is_measured(&self) -> bool {
        self.root().is_none_or(|root| root.json_len.get().is_some())
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The chunk that holds the position, cut to begin there; empty past the end.
    pub(crate) fn chunk_from(&self, position: usize) -> &[T] {
        let Some(mut node) = self.root() else { return &[] };
        if position >= self.len() {
            return &[];
        }
        loop {
            match &node.kids {
                Kids::Leaf(items) => return items.get(position % WIDTH..).unwrap_or_default(),
                Kids::Branch(level, kids) => match kids.get(slot(*level, position)) {
                    Some(kid) => node = kid,
                    None => return &[],
                },
            }
        }
    }

    pub(crate) fn get(&self, position: usize) -> Option<&T> {
        self.chunk_from(position).first()
    }

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter { tree: self, chunk: [].iter(), next: 0 }
    }

    /// Replaces the item at the position and returns the old one.
    pub(crate) fn set(&mut self, position: usize, item: T) -> Option<T> {
        let root = self.root.as_mut().filter(|root| position < root.len as usize)?;
        Some(Arc::make_mut(root).set(position, item))
    }

    /// Puts the item before the position, or last when the position is the length or beyond. The index must
    /// have been taken off.
    pub(crate) fn insert(&mut self, position: usize, item: T) {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::leaf([item].into())));
            return;
        };
        let node = Arc::make_mut(root);
        let position = position.min(node.len as usize);
        if let Some(overflow) = node.insert(position, item) {
            let level = node.level();
            let kids = [Arc::clone(root), Node::single(level, overflow)];
            self.root = Some(Arc::new(Node::branch(level + 1, kids.into())));
        }
    }

    /// Takes the item at the position out. The index must have been taken off.
    pub(crate) fn remove(&mut self, position: usize) -> Option<T> {
        let root = self.root.as_mut().filter(|root| position < root.len as usize)?;
        let removed = Arc::make_mut(root).remove(position, None);
        if root.len == 0 {
            self.root = None;
        }
        while let Some(only) = self.root.as_deref().and_then(Node::only_kid) {
            // A copy, since it forgets: a chunk may keep the hash of items that a root would show in place.
            self.root = Some(Arc::new(Node::clone(only)));
        }
        removed
    }

    /// Takes the index off the root, to be changed and put back.
    pub(crate) fn take_index(&mut self) -> Option<Arc<Index>> {
        let root = self.root.as_mut().filter(|root| root.index.is_some())?;
        Arc::make_mut(root).index.take()
    }

    /// Puts the index on the root of a tree that is not shared.
    pub(crate) fn put_index(&mut self, index: Option<Arc<Index>>) {
        if let Some(root) = self.root.as_mut().and_then(Arc::get_mut) {
            root.index = index;
        }
    }

    /// Moves the values that nest too deep for recursion to the worklist, if nobody else holds them.
    fn drain_deep(&mut self, out: &mut Vec<Value>) {
        if let Some(root) = self.root.as_mut().and_then(Arc::get_mut) {
            root.drain_deep(out);
        }
    }
}

/// The kid of a node at `level` that holds the position.
fn slot(level: u32, position: usize) -> usize {
    (position >> (WIDTH_BITS * level)) % WIDTH
}

impl<T: Item> Node<T> {
    fn leaf(items: Vec<T>) -> Self {
        Self::of(Kids::Leaf(items))
    }

    fn branch(level: u32, kids: Vec<Arc<Self>>) -> Self {
        Self::of(Kids::Branch(level, kids))
    }

    /// A subtree of the given level with a lone item.
    fn single(level: u32, item: T) -> Arc<Self> {
        let leaf = Arc::new(Self::leaf([item].into()));
        (1..=level).fold(leaf, |kid, level| Arc::new(Self::branch(level, [kid].into())))
    }

    fn of(kids: Kids<T>) -> Self {
        let mut node = Self {
            kids,
            len: 0,
            depth: 0,
            index: None,
            json_len: OnceNonZeroUsize::new(),
            hash: OnceBox::new(),
        };
        node.recount();
        node
    }

    pub(crate) fn kids(&self) -> &Kids<T> {
        &self.kids
    }

    fn level(&self) -> u32 {
        match self.kids {
            Kids::Leaf(_) => 0,
            Kids::Branch(level, _) => level,
        }
    }

    fn only_kid(&self) -> Option<&Arc<Self>> {
        match &self.kids {
            Kids::Branch(_, kids) if kids.len() == 1 => kids.first(),
            Kids::Leaf(_) | Kids::Branch(..) => None,
        }
    }

    /// Brings the sums up to date after a change below and forgets what was remembered.
    fn recount(&mut self) {
        (self.len, self.depth) = match &self.kids {
            Kids::Leaf(items) => {
                let nested = items.iter().map(|item| item.value().depth()).max().unwrap_or(0);
                (items.len() as u32, nested.saturating_add(1))
            }
            Kids::Branch(_, kids) => kids
                .iter()
                .fold((0, 0), |(len, depth), kid| (kid.len.saturating_add(len), kid.depth.max(depth))),
        };
        self.json_len = OnceNonZeroUsize::new();
        self.hash = OnceBox::new();
    }

    /// The position must be in range.
    fn set(&mut self, position: usize, item: T) -> T {
        let old = match &mut self.kids {
            Kids::Leaf(items) => match items.get_mut(position % WIDTH) {
                Some(place) => mem::replace(place, item),
                None => item,
            },
            Kids::Branch(level, kids) => match kids.get_mut(slot(*level, position)) {
                Some(kid) => Arc::make_mut(kid).set(position, item),
                None => item,
            },
        };
        self.recount();
        old
    }

    /// Inserts, and returns the last item when it no longer fits. Position is at most the length.
    fn insert(&mut self, position: usize, item: T) -> Option<T> {
        let overflow = match &mut self.kids {
            Kids::Leaf(_) if position == WIDTH => return Some(item),
            Kids::Leaf(items) => {
                let overflow = if items.len() == WIDTH { items.pop() } else { None };
                items.insert(position.min(items.len()), item);
                overflow
            }
            Kids::Branch(level, kids) => {
                let level = *level;
                let span = 1usize << (WIDTH_BITS * level);
                let first = position / span;
                let mut within = position % span;
                let mut carried = Some(item);
                for kid in kids.iter_mut().skip(first) {
                    let Some(item) = carried else { break };
                    carried = Arc::make_mut(kid).insert(mem::take(&mut within), item);
                }
                match carried {
                    Some(item) if kids.len() < WIDTH => {
                        kids.push(Self::single(level - 1, item));
                        None
                    }
                    carried => carried,
                }
            }
        };
        self.recount();
        overflow
    }

    /// Removes the item at the position, which must be in range, and appends `refill`.
    fn remove(&mut self, position: usize, refill: Option<T>) -> Option<T> {
        let removed = match &mut self.kids {
            Kids::Leaf(items) => {
                if position >= items.len() {
                    return None;
                }
                let removed = items.remove(position);
                items.extend(refill);
                removed
            }
            Kids::Branch(level, kids) => {
                let span = 1usize << (WIDTH_BITS * *level);
                let (first, within) = (position / span, position % span);
                let mut carried = refill;
                for (place, kid) in kids.iter_mut().enumerate().skip(first).rev() {
                    let from = if place == first { within } else { 0 };
                    carried = Arc::make_mut(kid).remove(from, carried);
                }
                if kids.last().is_some_and(|kid| kid.len == 0) {
                    kids.pop();
                }
                carried?
            }
        };
        self.recount();
        Some(removed)
    }

    /// Bytes of the items' compact JSON texts with the commas between them, remembered.
    pub(crate) fn json_len(&self) -> usize {
        let measure = || {
            let (count, bytes) = match &self.kids {
                Kids::Leaf(items) => (items.len(), sum(items.iter().map(T::json_len))),
                Kids::Branch(_, kids) => (kids.len(), sum(kids.iter().map(|kid| kid.json_len()))),
            };
            NonZeroUsize::new(bytes.saturating_add(count).saturating_sub(1)).unwrap_or(NonZeroUsize::MIN)
        };
        self.json_len.get_or_init(measure).get()
    }

    /// The hash of this node of the canonical encoding, remembered.
    pub(crate) fn hash(&self, compute: impl FnOnce() -> Digest) -> &Digest {
        self.hash.get_or_init(|| Box::new(compute()))
    }

    fn drain_deep(&mut self, out: &mut Vec<Value>) {
        if self.depth <= SHALLOW_DEPTH_MAX {
            return;
        }
        self.depth = 0;
        match &mut self.kids {
            Kids::Leaf(items) => {
                let deep = items.iter_mut().filter(|item| item.value().depth() > SHALLOW_DEPTH_MAX);
                out.extend(deep.map(T::take));
            }
            Kids::Branch(_, kids) => {
                kids.iter_mut().filter_map(Arc::get_mut).for_each(|kid| kid.drain_deep(out));
            }
        }
    }
}

fn sum(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.fold(0, usize::saturating_add)
}

/// A copy shares everything below and remembers nothing, since it is made to be changed.
impl<T: Item> Clone for Node<T> {
    fn clone(&self) -> Self {
        let kids = match &self.kids {
            Kids::Leaf(items) => Kids::Leaf(items.clone()),
            Kids::Branch(level, kids) => Kids::Branch(*level, kids.clone()),
        };
        Self {
            kids,
            len: self.len,
            depth: self.depth,
            index: self.index.clone(),
            json_len: OnceNonZeroUsize::new(),
            hash: OnceBox::new(),
        }
    }
}

/// Deep values are taken apart by a worklist: recursion would exhaust the stack.
impl<T: Item> Drop for Node<T> {
    fn drop(&mut self) {
        let mut deep = Vec::new();
        self.drain_deep(&mut deep);
        while let Some(value) = deep.pop() {
            match value {
                Value::Array(mut array) => array.tree.drain_deep(&mut deep),
                Value::Object(mut object) => object.tree.drain_deep(&mut deep),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}

/// Items in order, chunk by chunk.
pub(crate) struct Iter<'a, T: Item> {
    tree: &'a Tree<T>,
    chunk: core::slice::Iter<'a, T>,
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
            self.chunk = chunk.iter();
        }
        self.chunk.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.tree.len().saturating_sub(self.next) + self.chunk.len();
        (left, Some(left))
    }
}

impl<T: Item> ExactSizeIterator for Iter<'_, T> {}
