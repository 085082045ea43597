//! An entry and its hash in one value, so that neither is computed twice.

use alloc::{sync::Arc, vec};
use core::ops::Deref;

use crate::{
    entry::EntryError,
    hash::{Hash, hash_blocks, leaf_hash, leaf_message},
    view::View,
};

/// The bytes of an entry with their leaf hash.
///
/// There are two ways to one: an [`Entry`](crate::Entry) encoded, and bytes checked. So whoever is given one need neither
/// decode nor hash it. It reads as its bytes, and clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    bytes: Arc<[u8]>,
    leaf: Hash,
}

impl Sealed {
    /// Checks bytes and hashes them.
    ///
    /// # Errors
    /// When they are no entry.
    pub fn check(bytes: impl Into<Arc<[u8]>>) -> Result<Sealed, EntryError> {
        let bytes = bytes.into();
        View::of(&bytes)?;
        let leaf = leaf_hash(&bytes);
        Ok(Sealed { bytes, leaf })
    }

    /// Seals `length` bytes that `write` writes to zeros.
    pub(crate) fn write(length: usize, write: impl Fn(&mut [u8])) -> Sealed {
        // An entry of usual length is written where it is hashed.
        let mut blocks = [[0; 64]; 8];
        if let Some(message) = leaf_message(&mut blocks, length, &write) {
            let bytes = message.as_flattened().get(1..=length).unwrap_or_default().into();
            return Sealed { bytes, leaf: hash_blocks(message) };
        }
        let mut bytes = vec![0; length];
        write(&mut bytes);
        Sealed { leaf: leaf_hash(&bytes), bytes: bytes.into() }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::sealed(&self.bytes)
    }

    /// Leaf hash of the entry.
    #[must_use]
    pub const fn leaf(&self) -> Hash {
        self.leaf
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

impl Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Sealed> for Arc<[u8]> {
    fn from(sealed: Sealed) -> Arc<[u8]> {
        sealed.bytes
    }
}
