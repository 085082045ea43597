//! Cached length and hash of a node of the tree.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use once_cell::race::OnceBox;

use crate::digest::Digest;
use crate::value::tree::{Item, Node, Tree};

/// Worked out when first asked for. Threads that ask at once may both work it out, and find the same.
#[derive(Default)]
pub(crate) struct Memo {
    /// 0 where it is not known yet: no item is written with nothing.
    json_len: AtomicU32,
    hash: OnceBox<Digest>,
}

/// A node is copied to be changed: the copy remembers nothing.
impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Memo {
    /// Nothing but the bytes of JSON text, if they are known.
    pub(crate) fn of_len(json_len: Option<u32>) -> Self {
        let known = json_len.unwrap_or(0);
        Self { json_len: AtomicU32::new(known), hash: OnceBox::new() }
    }

    /// The sum of the items' bytes of JSON text, if it is known.
    pub(crate) fn known_len(&self) -> Option<u32> {
        Some(self.json_len.load(Relaxed)).filter(|len| *len > 0)
    }

    /// The same, if it can be reckoned with.
    pub(crate) fn exact_len(&self) -> Option<u32> {
        self.known_len().and_then(exact)
    }

    /// The hash of this node of the canonical encoding. In an object it covers the names.
    pub(crate) fn hash(&self, compute: impl FnOnce() -> Digest) -> &Digest {
        self.hash.get_or_init(|| Box::new(compute()))
    }
}

/// A number of bytes that can be reckoned with: of one from 2³² − 1 on, nothing is known but that.
pub(crate) fn exact(bytes: u32) -> Option<u32> {
    Some(bytes).filter(|bytes| *bytes != u32::MAX)
}

/// A number of bytes, of which 2³² − 1 stands for all from there on.
pub(crate) fn len32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl<T: Item> Tree<T> {
    /// Whether the root's hash is remembered, or there is none.
    pub(crate) fn is_hashed(&self) -> bool {
        self.root().is_none_or(|root| root.head().memo.hash.get().is_some())
    }

    /// Whether the bytes of JSON text are remembered, or there are none.
    pub(crate) fn is_measured(&self) -> bool {
        self.root().is_none_or(|root| root.head().memo.known_len().is_some())
    }

    /// The sum of the items' bytes of JSON text, `usize::MAX` where that is 2³² − 1 or more.
    pub(crate) fn json_len(&self) -> usize {
        match self.root().map_or(0, Node::json_len) {
            u32::MAX => usize::MAX,
            bytes => bytes as usize,
        }
    }
}

impl<T: Item> Node<T> {
    fn json_len(&self) -> u32 {
        self.head().memo.known_len().unwrap_or_else(|| {
            let items = self.chunk().iter().map(|item| len32(item.json_len()));
            let bytes = items.chain(self.kids().map(Self::json_len)).fold(0, u32::saturating_add);
            self.head().memo.json_len.store(bytes, Relaxed);
            bytes
        })
    }
}
