//! An entry and its hash in one value, so that neither is computed twice.

use alloc::{sync::Arc, vec};
use core::ops::Deref;

use crate::{
    entry::EntryError,
    entry::view::View,
    hash::{Hash, hash_blocks, leaf_hash, leaf_message},
};

/// The bytes of an entry with their leaf hash.
///
/// There are two ways to one: an [`Entry`](crate::Entry) encoded, and bytes checked. So whoever is given one need neither
/// decode nor hash it. It reads as its bytes, and clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    bytes: Arc<[u8]>,
    hash: Hash,
}

impl Leaf {
    /// Checks bytes and hashes them.
    ///
    /// # Errors
    /// When they are no entry.
    pub fn check(bytes: impl Into<Arc<[u8]>>) -> Result<Leaf, EntryError> {
        let bytes = bytes.into();
        View::of(&bytes)?;
        let hash = leaf_hash(&bytes);
        Ok(Leaf { bytes, hash })
    }

    /// A leaf of `length` bytes that `write` writes to zeros.
    pub(crate) fn write(length: usize, write: impl Fn(&mut [u8])) -> Leaf {
        // An entry of usual length is written where it is hashed.
        let mut blocks = [[0; 64]; 8];
        if let Some(message) = leaf_message(&mut blocks, length, &write) {
            let bytes = message.as_flattened().get(1..=length).unwrap_or_default().into();
            return Leaf { bytes, hash: hash_blocks(message) };
        }
        let mut bytes = vec![0; length];
        write(&mut bytes);
        Leaf { hash: leaf_hash(&bytes), bytes: bytes.into() }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::of_leaf(&self.bytes)
    }

    /// Leaf hash of the entry.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

impl Deref for Leaf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Leaf> for Arc<[u8]> {
    fn from(leaf: Leaf) -> Arc<[u8]> {
        leaf.bytes
    }
}
