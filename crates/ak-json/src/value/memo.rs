//! Cached length and hash of a node of the tree.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use once_cell::race::OnceBox;

use crate::digest::Digest;
use crate::value::tree::{Item, Node, Tree};

/// Length and hash of a node, computed on first use. Threads may compute them at the same time, with the same
/// result.
#[derive(Default)]
pub(crate) struct Memo {
    /// 0 means unknown: no item takes 0 bytes.
    json_len: AtomicU32,
    hash: OnceBox<Digest>,
}

/// A node is cloned to be changed, so the clone remembers nothing.
impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Memo {
    /// A memo with only the length in bytes of JSON text, if it is known.
    pub(crate) fn of_len(json_len: Option<u32>) -> Self {
        let known = json_len.unwrap_or(0);
        Self { json_len: AtomicU32::new(known), hash: OnceBox::new() }
    }

    /// The sum of the items' lengths in bytes of JSON text, if it is known.
    pub(crate) fn known_len(&self) -> Option<u32> {
        Some(self.json_len.load(Relaxed)).filter(|len| *len > 0)
    }

    /// The length, if it is known and exact; see [`exact`].
    pub(crate) fn exact_len(&self) -> Option<u32> {
        self.known_len().and_then(exact)
    }

    /// The hash of this node in the canonical encoding; in an object it covers the names.
    pub(crate) fn hash(&self, compute: impl FnOnce() -> Digest) -> &Digest {
        self.hash.get_or_init(|| Box::new(compute()))
    }
}

/// The number of bytes, if it is exact: `u32::MAX` stands for every number from 2³² − 1 on.
pub(crate) fn exact(bytes: u32) -> Option<u32> {
    Some(bytes).filter(|bytes| *bytes != u32::MAX)
}

/// The number of bytes, with `u32::MAX` for every number from 2³² − 1 on.
pub(crate) fn len32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl<T: Item> Tree<T> {
    /// Whether the root's hash is remembered, or the tree is empty.
    pub(crate) fn is_hashed(&self) -> bool {
        self.root().is_none_or(|root| root.head().memo.hash.get().is_some())
    }

    /// Whether the length of the JSON text is remembered, or the tree is empty.
    pub(crate) fn is_measured(&self) -> bool {
        self.root().is_none_or(|root| root.head().memo.known_len().is_some())
    }

    /// The sum of the items' lengths in bytes of JSON text; `usize::MAX` from 2³² − 1 on.
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
