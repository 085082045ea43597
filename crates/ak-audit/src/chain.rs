//! The rule by which each entry follows the one before.

use crate::{
    entry::EntryError,
    entry::leaf::Leaf,
    entry::view::View,
    hash::{Hash, ZERO_HASH, leaf_hash},
};

/// The end of a chain of entries: what the next one must build on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    /// `seq` of the next entry, and so the number of entries so far.
    pub next: u64,
    /// Leaf hash of the last entry.
    pub head: Hash,
    /// Time of the last entry in µs since the Unix epoch.
    pub time_us: u64,
}

/// Why bytes cannot be the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// They are no entry at all.
    #[error("entry {seq} cannot be read: {error}")]
    Entry {
        /// The entry expected here.
        seq: u64,
        /// What is wrong with it.
        error: EntryError,
    },
    /// Its number is not the next.
    #[error("entry {found} stands where entry {seq} belongs")]
    Seq {
        /// The entry expected here.
        seq: u64,
        /// The number found.
        found: u64,
    },
    /// It names another predecessor.
    #[error("entry {seq} does not follow the entry before it")]
    Previous {
        /// The entry.
        seq: u64,
    },
}

impl Chain {
    /// The chain without entries.
    pub const EMPTY: Chain = Chain { next: 0, head: ZERO_HASH, time_us: 0 };

    /// Takes the next entry and returns its leaf hash. Nothing changes when it is refused.
    ///
    /// # Errors
    /// When the bytes are no entry, or not the one that follows.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Hash, ChainError> {
        let view = self.check(bytes)?;
        self.follow(&view, || leaf_hash(bytes))?;
        Ok(self.head)
    }

    /// Takes the next entry, which need not be decoded or hashed any more. Nothing changes when it is refused.
    ///
    /// # Errors
    /// When it is not the one that follows.
    pub fn push_leaf(&mut self, entry: &Leaf) -> Result<(), ChainError> {
        self.follow(&entry.view(), || entry.hash())
    }

    /// The next entry in these bytes, wherever it belongs.
    pub(crate) fn check<'b>(&self, bytes: &'b [u8]) -> Result<View<'b>, ChainError> {
        View::of(bytes).map_err(|error| ChainError::Entry { seq: self.next, error })
    }

    /// Takes the next entry, which has this leaf hash, if it is the one that follows.
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
