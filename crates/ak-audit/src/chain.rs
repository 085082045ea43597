//! The rule by which each entry follows its predecessor.

use crate::{
    entry::EntryError,
    entry::leaf::Leaf,
    entry::view::View,
    hash::{Hash, ZERO_HASH, leaf_hash},
};

/// The end of a chain of entries, which the next entry must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    /// `seq` of the next entry, which is also the number of entries so far.
    pub next: u64,
    /// Leaf hash of the last entry; [`ZERO_HASH`] if there is none.
    pub head: Hash,
    /// Time of the last entry in µs since the Unix epoch; 0 if there is none.
    pub time_us: u64,
}

/// Why bytes are not the next entry of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The bytes are not an entry.
    #[error("entry {seq} cannot be read: {error}")]
    Entry {
        /// `seq` of the entry that was expected.
        seq: u64,
        /// What is wrong with the bytes.
        error: EntryError,
    },
    /// The entry has another `seq` than the next one.
    #[error("expected entry {seq}, found entry {found}")]
    Seq {
        /// `seq` of the entry that was expected.
        seq: u64,
        /// `seq` in the bytes.
        found: u64,
    },
    /// The entry's `previous` is not the leaf hash of the last entry.
    #[error("entry {seq} names another hash than that of the entry before it")]
    Previous {
        /// `seq` of the entry.
        seq: u64,
    },
}

impl Chain {
    /// The chain without entries.
    pub const EMPTY: Chain = Chain { next: 0, head: ZERO_HASH, time_us: 0 };

    /// Appends the next entry and returns its leaf hash.
    ///
    /// # Errors
    /// When the bytes are not an entry, or not the next one; the chain is then unchanged.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Hash, ChainError> {
        let view = self.check(bytes)?;
        self.follow(&view, || leaf_hash(bytes))?;
        Ok(self.head)
    }

    /// Appends the next entry, which was already checked and hashed.
    ///
    /// # Errors
    /// When it is not the next entry; the chain is then unchanged.
    pub fn push_leaf(&mut self, entry: &Leaf) -> Result<(), ChainError> {
        self.follow(&entry.view(), || entry.hash())
    }

    /// Checks that the bytes are an entry, but not that it is the next one.
    pub(crate) fn check<'b>(&self, bytes: &'b [u8]) -> Result<View<'b>, ChainError> {
        View::of(bytes).map_err(|error| ChainError::Entry { seq: self.next, error })
    }

    /// Appends `entry`, whose leaf hash `leaf` computes, if it is the next one.
    pub(crate) fn follow(&mut self, entry: &View<'_>, leaf: impl FnOnce() -> Hash) -> Result<(), ChainError> {
        let seq = self.next;
        if entry.seq() != seq {
            return Err(ChainError::Seq { seq, found: entry.seq() });
        }
        if entry.previous() != self.head {
            return Err(ChainError::Previous { seq });
        }
        *self = Chain { next: seq.saturating_add(1), head: leaf(), time_us: entry.time_us() };
        Ok(())
    }
}
