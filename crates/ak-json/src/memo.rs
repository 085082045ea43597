//! What a node remembers about what is below it.

use alloc::boxed::Box;
use core::num::NonZeroUsize;

use once_cell::race::{OnceBox, OnceNonZeroUsize};

use crate::digest::Digest;
use crate::tree::{Item, Kids, Node, Tree};

/// Worked out when first asked for. Threads that ask at once may both work it out, and find the same.
#[derive(Default)]
pub(crate) struct Memo {
    json_len: OnceNonZeroUsize,
    hash: OnceBox<Digest>,
}

/// A node is copied to be changed: the copy remembers nothing.
impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Memo {
    /// The hash of this node of the canonical encoding. In an object it covers the names.
    pub(crate) fn hash(&self, compute: impl FnOnce() -> Digest) -> &Digest {
        self.hash.get_or_init(|| Box::new(compute()))
    }
}

impl<T: Item> Tree<T> {
    /// Whether the root's hash is remembered, or there is none.
    pub(crate) fn is_hashed(&self) -> bool {
        self.root().is_none_or(|root| root.memo.hash.get().is_some())
    }

    /// Whether the bytes of JSON text are remembered, or there are none.
    pub(crate) fn is_measured(&self) -> bool {
        self.root().is_none_or(|root| root.memo.json_len.get().is_some())
    }

    /// The sum of the items' bytes of JSON text.
    pub(crate) fn json_len(&self) -> usize {
        self.root().map_or(0, Node::json_len)
    }
}

impl<T: Item> Node<T> {
    fn json_len(&self) -> usize {
        let sum = |lengths: &mut dyn Iterator<Item = usize>| lengths.fold(0, usize::saturating_add);
        let measure = || {
            let bytes = match self.kids() {
                Kids::Leaf(items) => sum(&mut items.iter().map(T::json_len)),
                Kids::Branch(_, kids) => sum(&mut kids.iter().map(|kid| kid.json_len())),
            };
            // No item is written with nothing.
            NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN)
        };
        self.memo.json_len.get_or_init(measure).get()
    }
}
