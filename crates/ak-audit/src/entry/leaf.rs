//! An encoded entry with its hash, so that neither is computed twice.

use alloc::{sync::Arc, vec};
use core::ops::Deref;

use crate::{
    entry::EntryError,
    entry::view::View,
    hash::{Hash, hash_blocks, leaf_hash, leaf_message},
};

/// The bytes of an entry with their leaf hash.
///
/// A leaf is made by encoding an [`Entry`](crate::Entry) or by checking bytes, so its holder need not decode or hash
/// it again. It dereferences to its bytes, and clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    bytes: Arc<[u8]>,
    hash: Hash,
}

impl Leaf {
    /// Checks that the bytes are an entry, and hashes them.
    ///
    /// # Errors
    /// When the bytes are not an entry.
    pub fn check(bytes: impl Into<Arc<[u8]>>) -> Result<Leaf, EntryError> {
        let bytes = bytes.into();
        View::of(&bytes)?;
        let hash = leaf_hash(&bytes);
        Ok(Leaf { bytes, hash })
    }

    /// A leaf of `length` bytes, which `write` fills in; they are zero before.
    pub(crate) fn write(length: usize, write: impl Fn(&mut [u8])) -> Leaf {
        // An entry of usual length is encoded directly in the hash's message, which saves a copy.
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

    /// The entry's bytes.
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
