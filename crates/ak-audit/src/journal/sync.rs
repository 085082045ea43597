//! Making what was appended durable, a batch at a time.
//!
//! [`Journal::sync`] does it all. Who wants to go on appending while a batch is written takes it out, and brings it back:
//!
//! 1. [`Journal::begin_sync`] gives the batch, with everything appended so far.
//! 2. [`Batch::write`] writes and syncs it through another handle on the disk; meanwhile records are appended.
//!    [`Journal::close_batch`] readies the next batch, so that it can follow at once.
//! 3. [`Journal::finish_sync`] takes note of it. Only now do its records count.

use alloc::{string::String, vec::Vec};

use super::{
    Disk, DiskError, Journal, JournalError, State,
    frame::{self, Commit, FRAME_HEAD_BYTES, MARK_BYTES},
    segment,
};
use crate::{chain::Chain, entry::view::View, merkle::tree::Tree};

/// Records with the frames around them, ready to be written.
#[derive(Debug)]
#[must_use = "the journal waits for it"]
pub struct Batch {
    name: String,
    /// Where it starts in the file.
    offset: u64,
    bytes: Vec<u8>,
    /// How many of the bytes, the first ones, are not used: there is no mark to write.
    skipped: usize,
    commit: Commit,
    /// The chain with its records.
    chain: Chain,
    /// The tree's edge with its records, if it fills its segment.
    full: Option<Tree>,
}

impl Batch {
    /// Writes the batch and syncs the file. `disk` is a handle on what the journal stands on.
    ///
    /// # Errors
    /// Whatever the disk says. It goes to [`Journal::finish_sync`] as it is, and is not tried again before.
    pub fn write<D: Disk>(&self, disk: &mut D) -> Result<(), BatchError> {
        disk.write(&self.name, self.offset, self.bytes.get(self.skipped..).unwrap_or_default())
            .map_err(BatchError::Write)?;
        disk.sync(&self.name).map_err(BatchError::Sync)
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len().saturating_sub(self.skipped) as u64)
    }
}

/// Where writing a batch failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It may not have been written wholly.
    #[error(transparent)]
    Write(DiskError),
    /// It may not be durable.
    #[error(transparent)]
    Sync(DiskError),
}

impl<D: Disk> Journal<D> {
    /// Makes everything appended durable: one write and one sync for all of it. Returns the size that is durable.
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

    /// Takes out the next batch to be written: everything appended, or what [`Journal::close_batch`] closed. None if there
    /// is nothing to write.
    ///
    /// # Errors
    /// When the journal takes no records, or a batch is out already.
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

    /// Readies what is buffered to follow the batch that is out. Where one is readied already, or the batch that is out
    /// fills its segment, nothing happens: what is buffered goes with a later one.
    pub fn close_batch(&mut self) {
        if self.buffer.is_empty() || self.closed.is_some() || self.last_full {
            return;
        }
        let Some(segment) = self.segments.last() else { return };
        let mut bytes = core::mem::replace(&mut self.buffer, core::mem::take(&mut self.spare));
        // The batch before goes without its mark if this one brings it.
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
        // A segment ends with the mark of its last batch.
        self.last_full = self.tail.saturating_add(MARK_BYTES as u64) >= self.options.segment_bytes_max;
        batch.full = self.last_full.then(|| self.tree.edge());
        (self.closed_size, self.owes_mark) = (commit.size, false);
        self.closed = Some(batch);
    }

    /// Takes note of what became of the batch that was out. Returns the size that is durable.
    ///
    /// # Errors
    /// [`JournalError::Full`] when there was no space to write it: it is the next one to be taken out again. Any other error
    /// poisons the journal.
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
            // A sync that failed, for whatever reason, is not tried again: the next one may succeed without the data.
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
        // The batch is safe. Should the mark or the next segment fail, only what comes later is affected.
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

    /// Makes a batch that found no space, and what was closed behind it, part of the buffer again.
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

    /// Notes that everything up to here was acknowledged. The note becomes durable with the next sync, if not before.
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
