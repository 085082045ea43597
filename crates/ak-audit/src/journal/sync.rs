//! Making appended records durable, one batch at a time.
//!
//! [`Journal::sync`] does all of it. A caller that wants to append while a batch is written takes the batch out of
//! the journal:
//!
//! 1. [`Journal::begin_sync`] gives the batch, with everything appended so far.
//! 2. [`Batch::write`] writes and syncs it through another handle on the disk, while more records are appended.
//!    [`Journal::close_batch`] prepares the next batch, so that it can follow at once.
//! 3. [`Journal::finish_sync`] takes the batch and its result. Only then are its records durable.

use alloc::{string::String, vec::Vec};

use super::{
    Disk, DiskError, Journal, JournalError, State,
    frame::{self, Commit, FRAME_HEAD_BYTES, MARK_BYTES},
    segment,
};
use crate::{chain::Chain, entry::view::View, merkle::tree::Tree};

/// A batch of records in their frames, ready to be written.
#[derive(Debug)]
#[must_use = "the journal waits for it"]
pub struct Batch {
    name: String,
    /// Offset in the file of the first byte to write.
    offset: u64,
    bytes: Vec<u8>,
    /// The number of leading bytes not to write: those reserved for a mark, if the batch carries none.
    skipped: usize,
    commit: Commit,
    /// The chain, with the batch's records.
    chain: Chain,
    /// The tree's edge with the batch's records, if the batch fills its segment.
    full: Option<Tree>,
}

impl Batch {
    /// Writes the batch and syncs the file. `disk` is a handle on the journal's disk.
    ///
    /// # Errors
    /// The disk's error. Pass it to [`Journal::finish_sync`]; do not write the batch again before that.
    pub fn write<D: Disk>(&self, disk: &mut D) -> Result<(), BatchError> {
        disk.write(&self.name, self.offset, self.bytes.get(self.skipped..).unwrap_or_default())
            .map_err(BatchError::Write)?;
        disk.sync(&self.name).map_err(BatchError::Sync)
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len().saturating_sub(self.skipped) as u64)
    }
}

/// Why writing a batch failed: the write, or the sync after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Some of the batch may not have been written.
    #[error(transparent)]
    Write(DiskError),
    /// The batch was written, but may not be durable.
    #[error(transparent)]
    Sync(DiskError),
}

impl<D: Disk> Journal<D> {
    /// Makes everything appended durable, with one write and one sync for each batch. Returns the number of durable
    /// entries.
    ///
    /// # Errors
    /// [`JournalError::Full`] leaves everything buffered, to be synced again. Any other error poisons the journal.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        self.check_writable()?;
        while let Some(batch) = self.begin_sync()? {
            let written = batch.write(&mut self.disk);
            self.finish_sync(batch, written)?;
        }
        Ok(self.durable)
    }

    /// Takes out the next batch to write: the one that [`Journal::close_batch`] closed, or else everything appended.
    /// `None` if there is nothing to write.
    ///
    /// # Errors
    /// When the journal is not writable, or another batch is out.
    pub fn begin_sync(&mut self) -> Result<Option<Batch>, JournalError> {
        self.check_writable()?;
        if self.out {
            return Err(JournalError::BatchPending);
        }
        self.close_batch();
        let batch = self.closed.take();
        self.out = batch.is_some();
        Ok(batch)
    }

    /// Closes the buffered records into the batch that follows the one being written. Does nothing if such a batch is
    /// closed already, or if the batch being written fills its segment; the records then go into a later batch.
    pub fn close_batch(&mut self) {
        if self.buffer.is_empty() || self.closed.is_some() || self.last_full {
            return;
        }
        let Some(segment) = self.segments.last() else { return };
        let mut bytes = core::mem::replace(&mut self.buffer, core::mem::take(&mut self.spare));
        // The previous batch is written without its mark if this one carries the mark.
        let skipped = if self.out || self.owes_mark { 0 } else { MARK_BYTES };
        let offset = self.tail;
        let place = |at: usize| offset.saturating_add(at.saturating_sub(skipped) as u64);
        let (mark, _) = bytes.split_at_mut_checked(MARK_BYTES).unwrap_or_default();
        frame::write_mark(mark, &self.engine, segment.salt, place(skipped), self.closed_size);
        let mut at = MARK_BYTES;
        while let Some(record) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let (entry, length) = frame::finish_record(record, &self.engine, segment.salt, place(at));
            self.index.push(&View::of_leaf(entry), segment.first, place(at));
            at = at.saturating_add(length.max(FRAME_HEAD_BYTES));
        }
        let commit = Commit {
            first: self.closed_size,
            size: self.chain.next,
            start: place(MARK_BYTES),
            root: self.tree.root(),
        };
        frame::push_commit(&mut bytes, &self.engine, segment.salt, place(at), &commit);
        let name = segment::name(segment.first);
        let mut batch = Batch { name, offset, bytes, skipped, commit, chain: self.chain, full: None };
        self.tail = batch.end();
        // A segment ends with the mark of its last batch, so there must be space for that.
        self.last_full = self.tail.saturating_add(MARK_BYTES as u64) >= self.options.segment_bytes_max;
        batch.full = self.last_full.then(|| self.tree.edge());
        (self.closed_size, self.owes_mark) = (commit.size, false);
        self.closed = Some(batch);
    }

    /// Takes back a batch with the result of writing it. Returns the number of durable entries.
    ///
    /// # Errors
    /// [`JournalError::Full`] when there was no space to write it: the next [`Journal::begin_sync`] gives its records
    /// again. Any other error poisons the journal.
    pub fn finish_sync(
        &mut self,
        batch: Batch,
        written: Result<(), BatchError>,
    ) -> Result<u64, JournalError> {
        self.check_writable()?;
        self.out = false;
        match written {
            Ok(()) => {}
            Err(BatchError::Write(DiskError::Full)) => {
                self.put_back(batch);
                return Err(JournalError::Full);
            }
            // A failed sync is never retried, whatever its reason: a second one may succeed although the data is
            // lost.
            Err(BatchError::Write(error) | BatchError::Sync(error)) => {
                self.state = State::Poisoned;
                return Err(JournalError::Disk(error));
            }
        }
        let end = batch.end();
        let Batch { mut bytes, commit, chain, full, .. } = batch;
        if let Some(segment) = self.segments.last_mut() {
            segment.take_batch(end);
        }
        (self.durable, self.durable_root) = (commit.size, commit.root);
        bytes.clear();
        self.spare = bytes;
        // The batch is durable. If the mark or the next segment fails, only later records are affected.
        let marked = if self.closed.is_some() { Ok(()) } else { self.mark(commit.size) };
        let rotated = marked.and_then(|()| match full {
            Some(edge) => {
                self.last_full = false;
                self.rotate(chain, edge)
            }
            None => Ok(()),
        });
        if rotated.is_err() {
            self.state = State::Poisoned;
        }
        Ok(self.durable)
    }

    /// Returns the records of a batch that found no space, and those of the batch closed after it, to the buffer.
    fn put_back(&mut self, batch: Batch) {
        let records = |batch: &Batch| {
            let end = batch.bytes.len().saturating_sub(frame::COMMIT_BYTES);
            batch.bytes.get(MARK_BYTES..end).unwrap_or_default().to_vec()
        };
        let mut bytes = Vec::from([0; MARK_BYTES]);
        bytes.extend(records(&batch));
        bytes.extend(self.closed.take().as_ref().map(records).unwrap_or_default());
        bytes.extend_from_slice(self.buffer.get(MARK_BYTES..).unwrap_or_default());
        self.buffer = bytes;
        self.index.truncate(batch.commit.first);
        (self.closed_size, self.owes_mark) = (batch.commit.first, batch.skipped == 0);
        (self.tail, self.last_full) = (batch.offset, false);
    }

    /// Writes a mark: the first `size` entries were acknowledged. It is durable with the next sync at the latest.
    pub(super) fn mark(&mut self, size: u64) -> Result<(), JournalError> {
        let Some(segment) = self.segments.last_mut() else { return Ok(()) };
        let mut mark = [0; MARK_BYTES];
        frame::write_mark(&mut mark, &self.engine, segment.salt, segment.end, size);
        self.disk.write(&segment::name(segment.first), segment.end, &mark)?;
        segment.end = segment.end.saturating_add(mark.len() as u64);
        self.tail = segment.end;
        Ok(())
    }

    pub(super) fn check_writable(&self) -> Result<(), JournalError> {
        match self.state {
            State::Writable => Ok(()),
            State::ReadOnly => Err(JournalError::ReadOnly),
            State::Poisoned => Err(JournalError::Poisoned),
        }
    }
}
