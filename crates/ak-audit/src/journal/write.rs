//! Appending to a journal, and allocating space for it.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Disk, DiskError, Journal, JournalError,
    frame::{self, COMMIT_BYTES, FRAME_HEAD_BYTES, MARK_BYTES, PAYLOAD_BYTES_MAX},
    segment,
};
use crate::{
    chain::{Chain, ChainError},
    entry::leaf::Leaf,
    hash::Hash,
    log::Record,
};

/// Bytes of a batch besides its records: the mark of the batch before, its commit, its own mark.
const CLOSING_BYTES: u64 = (MARK_BYTES + COMMIT_BYTES + MARK_BYTES) as u64;

/// A record that can be appended: a [`Record`], which is checked and hashed, or a [`Leaf`], which already was, with
/// its body.
pub trait Appendable: private::Parts {}

impl Appendable for Record {}

impl Appendable for (Leaf, Arc<[u8]>) {}

mod private {
    use super::{Arc, Chain, ChainError, Hash, Leaf, Record};

    pub trait Parts {
        fn entry(&self) -> &[u8];
        fn body(&self) -> &[u8];
        /// Appends the entry to `chain` and returns its leaf hash.
        fn follow(&self, chain: &mut Chain) -> Result<Hash, ChainError>;
    }

    impl Parts for Record {
        fn entry(&self) -> &[u8] {
            &self.entry
        }

        fn body(&self) -> &[u8] {
            &self.body
        }

        fn follow(&self, chain: &mut Chain) -> Result<Hash, ChainError> {
            chain.push(&self.entry)
        }
    }

    impl Parts for (Leaf, Arc<[u8]>) {
        fn entry(&self) -> &[u8] {
            &self.0
        }

        fn body(&self) -> &[u8] {
            &self.1
        }

        fn follow(&self, chain: &mut Chain) -> Result<Hash, ChainError> {
            chain.push_leaf(&self.0)?;
            Ok(self.0.hash())
        }
    }
}

impl<D: Disk> Journal<D> {
    /// Buffers records, in order, either all or none of them, and returns the size of the log with them. They become
    /// durable with [`Journal::sync`].
    ///
    /// # Errors
    /// [`JournalError::Full`] when there is no space besides the reserve, [`JournalError::Chain`] when a record does
    /// not follow its predecessor, [`JournalError::TooLarge`], [`JournalError::ReadOnly`],
    /// [`JournalError::Poisoned`]. Nothing has changed then.
    pub fn append<R: Appendable>(&mut self, records: &[R]) -> Result<u64, JournalError> {
        self.buffer_records(records, self.options.reserve_bytes)
    }

    /// [`Journal::append`] that may use the reserve: for records that must be written even when the disk is full.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_reserved<R: Appendable>(&mut self, records: &[R]) -> Result<u64, JournalError> {
        self.buffer_records(records, 0)
    }

    fn buffer_records<R: Appendable>(&mut self, records: &[R], reserve: u64) -> Result<u64, JournalError> {
        self.check_writable()?;
        let mut chain = self.chain;
        let mut leaves = Vec::with_capacity(records.len());
        let mut bytes = 0u64;
        for record in records {
            let payload = record.entry().len().saturating_add(record.body().len()).saturating_add(4);
            if payload > PAYLOAD_BYTES_MAX {
                return Err(JournalError::TooLarge);
            }
            bytes = bytes.saturating_add((payload + FRAME_HEAD_BYTES) as u64);
            leaves.push(record.follow(&mut chain)?);
        }
        self.allocate(bytes, reserve)?;
        if self.buffer.is_empty() && !records.is_empty() {
            // Space for the mark of the previous batch, in case this batch has to carry it.
            self.buffer.extend_from_slice(&[0; MARK_BYTES]);
        }
        for record in records {
            frame::push_record(&mut self.buffer, record.entry(), record.body());
        }
        self.tree.extend(&leaves, &self.engine);
        self.chain = chain;
        Ok(self.chain.next)
    }

    /// Allocates space for `bytes` bytes of records in addition to the reserve. A record takes 13 bytes more than
    /// [`Record::len`], for its frame.
    ///
    /// # Errors
    /// [`JournalError::Full`] when the disk has less space; [`Journal::free_bytes`] then tells how much is left.
    pub fn ensure_free_bytes(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.check_writable()?;
        self.allocate(bytes, self.options.reserve_bytes)
    }

    /// Sets how many bytes of records the caller still expects: the next segment is allocated with at least this much
    /// space.
    pub const fn expect_bytes(&mut self, bytes: u64) {
        self.expected = bytes;
    }

    /// Bytes of records that fit into the allocated space outside the reserve.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes_with_reserve().saturating_sub(self.options.reserve_bytes)
    }

    /// Bytes of records that fit into the allocated space, reserve included: the limit of
    /// [`Journal::append_reserved`].
    #[must_use]
    pub fn free_bytes_with_reserve(&self) -> u64 {
        let taken = self.tail.saturating_add(self.buffer.len() as u64).saturating_add(CLOSING_BYTES);
        self.allocated.saturating_sub(taken)
    }

    /// Allocates space for `bytes` more bytes, the frames that close a batch, and `reserve`.
    fn allocate(&mut self, bytes: u64, reserve: u64) -> Result<(), JournalError> {
        let Some(segment) = self.segments.last() else { return Err(JournalError::ReadOnly) };
        let needed = [self.buffer.len() as u64, bytes, CLOSING_BYTES, reserve]
            .iter()
            .fold(self.tail, |sum, part| sum.saturating_add(*part));
        if needed > self.allocated {
            let (name, ahead) =
                (segment::name(segment.first), needed.saturating_add(self.options.allocation_bytes));
            self.allocated = match self.disk.allocate(&name, ahead) {
                Ok(()) => ahead,
                // There may be space for what is needed but not for the allocation ahead.
                Err(DiskError::Full) => self.disk.allocate(&name, needed).map(|()| needed)?,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(())
    }
}
