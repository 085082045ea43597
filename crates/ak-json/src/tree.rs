//! The persistent sequence behind arrays and objects.
//!
//! Items stand in chunks of 32 by position, the chunks in a radix tree of the same width: the very shape
//! that the canonical encoding hashes (`docs/decisions/0002`), so each node keeps the hash of what is below
//! it. Nodes are shared between versions and copied when written through.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use crate::memo::Memo;
use crate::value::Value;

/// Items of a chunk, and chunks or nodes of a node.
pub(crate) const WIDTH: usize = 32;
const WIDTH_BITS: u32 = WIDTH.trailing_zeros();

/// Values nested no deeper than this are walked by recursion, deeper ones by a worklist.
pub(crate) const SHALLOW_DEPTH_MAX: u32 = 64;

/// What a tree holds: values, or the names of members.
pub(crate) trait Item: Clone {
    /// Levels of nesting: 0 for what holds nothing.
    fn depth(&self) -> u32;
    /// Bytes it has in compact JSON text.
    fn json_len(&self) -> usize;
    /// Moves what nests too deep for recursion out, to be dropped elsewhere.
    fn take_deep(&mut self) -> Option<Value>;
}

/// A sequence of items; empty ones own no memory.
#[derive(Clone)]
pub(crate) struct Tree<T: Item> {
    root: Option<Arc<Node<T>>>,
}

/// A subtree, never empty.
#[derive(Clone)]
pub(crate) struct Node<T: Item> {
    kids: Kids<T>,
    /// Items below.
    len: u32,
    /// Levels of nesting, 1 when all items below are scalars.
    depth: u32,
    pub(crate) memo: Memo,
}

#[derive(Clone)]
pub(crate) enum Kids<T: Item> {
    Leaf(Box<[T]>),
    /// The level counts from the leaves, which are 0.
    Branch(u32, Box<[Arc<Node<T>>]>),
}

impl<T: Item> Default for Tree<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Item> Tree<T> {
    pub(crate) const fn new() -> Self {
        Self { root: None }
    }

    /// Builds a tree in one pass.
    pub(crate) fn build(mut items: Vec<T>) -> Self {
        if items.is_empty() {
            return Self::new();
        }
        if items.len() <= WIDTH {
            return Self { root: Some(Arc::new(Node::leaf(items))) };
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

    pub(crate) fn len(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.len as usize)
    }

    /// Levels of nesting, 1 for an empty container.
    pub(crate) fn depth(&self) -> u32 {
        self.root.as_ref().map_or(1, |root| root.depth)
    }

    /// Whether both are one and the same; it tells nothing when they are not.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The chunk that holds the position, cut to begin there; empty past the end.
    pub(crate) fn chunk_from(&self, position: usize) -> &[T] {
        let Some(mut node) = self.root().filter(|root| position < root.len as usize) else { return &[] };
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

    /// Puts the item before the position, or last when the position is the length or beyond.
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

    /// Takes the item at the position out.
    pub(crate) fn remove(&mut self, position: usize) -> Option<T> {
        let root = self.root.as_mut().filter(|root| position < root.len as usize)?;
        let removed = Arc::make_mut(root).remove(position, None);
        if root.len == 0 {
            self.root = None;
        }
        while let Some(only) = self.root.as_deref().and_then(Node::only_kid) {
            // A copy, since it forgets: a chunk may remember the hash of items that a root would show in place.
            self.root = Some(Arc::new(Node::clone(only)));
        }
        removed
    }
}

/// The kid of a node at `level` that holds the position.
fn slot(level: u32, position: usize) -> usize {
    (position >> (WIDTH_BITS * level)) % WIDTH
}

/// How many items a kid of a node at `level` has, unless it is the last.
pub(crate) fn span(level: u32) -> usize {
    1 << (WIDTH_BITS * level)
}

/// Changes the length of a slice, whose memory always fits.
fn resize<T, R>(items: &mut Box<[T]>, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
    let mut list = mem::take(items).into_vec();
    list.reserve_exact(1);
    let result = change(&mut list);
    *items = list.into();
    result
}

impl<T: Item> Node<T> {
    fn leaf(items: Vec<T>) -> Self {
        Self::of(Kids::Leaf(items.into()))
    }

    fn branch(level: u32, kids: Vec<Arc<Self>>) -> Self {
        Self::of(Kids::Branch(level, kids.into()))
    }

    /// A subtree of the given level with a lone item.
    fn single(level: u32, item: T) -> Arc<Self> {
        let leaf = Arc::new(Self::leaf([item].into()));
        (1..=level).fold(leaf, |kid, level| Arc::new(Self::branch(level, [kid].into())))
    }

    fn of(kids: Kids<T>) -> Self {
        let mut node = Self { kids, len: 0, depth: 0, memo: Memo::default() };
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
                let nested = items.iter().map(T::depth).max().unwrap_or(0);
                (items.len() as u32, nested.saturating_add(1))
            }
            Kids::Branch(_, kids) => kids
                .iter()
                .fold((0, 0), |(len, depth), kid| (kid.len.saturating_add(len), kid.depth.max(depth))),
        };
        self.memo = Memo::default();
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

    /// Inserts at a position up to the length, and returns the last item when it no longer fits.
    fn insert(&mut self, position: usize, item: T) -> Option<T> {
        let overflow = match &mut self.kids {
            Kids::Leaf(_) if position == WIDTH => return Some(item),
            Kids::Leaf(items) => resize(items, |items| {
                let overflow = if items.len() == WIDTH { items.pop() } else { None };
                items.insert(position.min(items.len()), item);
                overflow
            }),
            Kids::Branch(level, kids) => {
                let (first, mut within) = (position / span(*level), position % span(*level));
                let mut carried = Some(item);
                for kid in kids.iter_mut().skip(first) {
                    let Some(item) = carried else { break };
                    carried = Arc::make_mut(kid).insert(mem::take(&mut within), item);
                }
                match carried {
                    Some(item) if kids.len() < WIDTH => {
                        resize(kids, |kids| kids.push(Self::single(*level - 1, item)));
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
                resize(items, |items| {
                    let removed = items.remove(position);
                    items.extend(refill);
                    Some(removed)
                })
            }
            Kids::Branch(level, kids) => {
                let (first, within) = (position / span(*level), position % span(*level));
                let mut carried = refill;
                for (place, kid) in kids.iter_mut().enumerate().skip(first).rev() {
                    let from = if place == first { within } else { 0 };
                    carried = Arc::make_mut(kid).remove(from, carried);
                }
                if kids.last().is_some_and(|kid| kid.len == 0) {
                    resize(kids, Vec::pop);
                }
                carried
            }
        };
        self.recount();
        removed
    }

    /// Moves the values that nest too deep for recursion to the worklist, if nobody else holds them.
    fn drain_deep(&mut self, out: &mut Vec<Value>) {
        if self.depth <= SHALLOW_DEPTH_MAX {
            return;
        }
        self.depth = 0;
        match &mut self.kids {
            Kids::Leaf(items) => out.extend(items.iter_mut().filter_map(T::take_deep)),
            Kids::Branch(_, kids) => {
                kids.iter_mut().filter_map(Arc::get_mut).for_each(|kid| kid.drain_deep(out));
            }
        }
    }
}

/// Deep values are taken apart by a worklist: recursion would exhaust the stack.
impl<T: Item> Drop for Node<T> {
    fn drop(&mut self) {
        let mut deep = Vec::new();
        self.drain_deep(&mut deep);
        while let Some(mut value) = deep.pop() {
            let tree = match &mut value {
                Value::Array(array) => &mut array.items,
                Value::Object(object) => &mut object.values,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => continue,
            };
            if let Some(root) = tree.root.as_mut().and_then(Arc::get_mut) {
                root.drain_deep(&mut deep);
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
