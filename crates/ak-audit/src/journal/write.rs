//! Writing to a journal: buffering, syncing, beginning and dropping segments.

use alloc::vec::Vec;

use super::{
    Disk, DiskError, HEADER_BYTES, Journal, JournalError, State,
    cursor::read_fully,
    frame::{self, COMMIT_BYTES, Commit, FRAME_HEAD_BYTES, MARK_BYTES, PAYLOAD_BYTES_MAX},
    recover::Segment,
    segment::{self, Header},
};
use crate::{log::Record, view::View};

/// How much is copied at a time.
const CHUNK_BYTES: usize = 16 << 10;

impl<D: Disk> Journal<D> {
    /// Writes the last batch again, and zeros behind it. Where a sync failed before, it may stand in a cache only, which
    /// gives it to readers but leaves it out of every later sync; and nothing of a torn write may ever be taken for a frame.
    pub(super) fn repair(&mut self) -> Result<(), JournalError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        let name = segment::name(last.first);
        // With the batch goes the mark before it: both were written since the sync before.
        let (start, end) = (last.doubtful_from.unwrap_or(0), last.end);
        let owes_mark = last.doubtful_from.is_some() && last.batch_end == last.end;
        self.disk.allocate(&name, end)?;
        let mut chunk = [0; CHUNK_BYTES];
        let mut at = start;
        while at < end {
            let length = end.saturating_sub(at).min(CHUNK_BYTES as u64);
            let part =
                usize::try_from(length).ok().and_then(|length| chunk.get_mut(..length)).unwrap_or_default();
            read_fully(&self.disk, &name, at, part)?;
            self.disk.write(&name, at, part)?;
            at = at.saturating_add(length);
        }
        // From the back, so that what is left of a torn write never ends in a commit.
        let zeros = [0; CHUNK_BYTES];
        let mut at = self.allocated;
        while at > end {
            let length = at.saturating_sub(end).min(CHUNK_BYTES as u64);
            at = at.saturating_sub(length);
            let part =
                usize::try_from(length).ok().and_then(|length| zeros.get(..length)).unwrap_or_default();
            self.disk.write(&name, at, part)?;
        }
        self.disk.sync(&name).and_then(|()| self.disk.sync_dir()).map_err(JournalError::Disk)?;
        if owes_mark { self.mark() } else { Ok(()) }
    }

    /// Buffers records, in order, all of them or none, and returns the log's size with them. They count once
    /// [`Journal::sync`] has returned.
    ///
    /// # Errors
    /// [`JournalError::Full`] when there is no space besides the reserve, [`JournalError::Chain`] when a record does not
    /// follow, [`JournalError::TooLarge`], [`JournalError::ReadOnly`], [`JournalError::Poisoned`]. Nothing changed then.
    pub fn append(&mut self, records: &[Record]) -> Result<u64, JournalError> {
        self.buffer_records(records, self.options.reserve_bytes)
    }

    /// [`Journal::append`] into the reserve: for what must still be possible when the disk is full.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_reserved(&mut self, records: &[Record]) -> Result<u64, JournalError> {
        self.buffer_records(records, 0)
    }

    fn buffer_records(&mut self, records: &[Record], reserve: u64) -> Result<u64, JournalError> {
        self.check_writable()?;
        let mut chain = self.chain;
        let mut leaves = Vec::with_capacity(records.len());
        let mut bytes = 0u64;
        for record in records {
            let payload = record.len().saturating_add(4);
            if payload > PAYLOAD_BYTES_MAX {
                return Err(JournalError::TooLarge);
            }
            bytes = bytes.saturating_add((payload + FRAME_HEAD_BYTES) as u64);
            leaves.push(chain.push(&record.entry)?);
        }
        self.allocate(bytes, reserve)?;
        let Some(segment) = self.segments.last() else { return Err(JournalError::ReadOnly) };
        for (record, leaf) in records.iter().zip(leaves) {
            let offset = segment.end.saturating_add(self.buffer.len() as u64);
            frame::push_record(&mut self.buffer, segment.salt, offset, &record.entry, &record.body);
            self.index.push(&View::sealed(&record.entry), segment.first, offset);
            self.tree.push(leaf);
        }
        self.chain = chain;
        Ok(self.chain.next)
    }

    /// Finds room for so many bytes of records (see [`Record::len`]), the reserve besides.
    ///
    /// # Errors
    /// [`JournalError::Full`] when there is not so much space: then [`Journal::room`] tells what there is.
    pub fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.check_writable()?;
        self.allocate(bytes, self.options.reserve_bytes)
    }

    /// Says how many bytes of records are still to find room: a segment that begins from now on begins with so much.
    pub const fn expect(&mut self, bytes: u64) {
        self.expected = bytes;
    }

    /// For how many bytes of records there is room already, the reserve not counted.
    #[must_use]
    pub fn room(&self) -> u64 {
        let end = self.segments.last().map_or(0, |segment| segment.end);
        let closing = (COMMIT_BYTES + MARK_BYTES) as u64;
        let taken = [self.buffer.len() as u64, closing, self.options.reserve_bytes];
        self.allocated.saturating_sub(taken.iter().fold(end, |sum, part| sum.saturating_add(*part)))
    }

    /// Sees to it that `bytes` more can be written, with the frames that close a batch, and `reserve` stays free.
    fn allocate(&mut self, bytes: u64, reserve: u64) -> Result<(), JournalError> {
        let Some(segment) = self.segments.last() else { return Err(JournalError::ReadOnly) };
        let closing = (COMMIT_BYTES + MARK_BYTES) as u64;
        let needed = [self.buffer.len() as u64, bytes, closing, reserve]
            .iter()
            .fold(segment.end, |sum, part| sum.saturating_add(*part));
        if needed > self.allocated {
            let length = needed.saturating_add(self.options.allocation_bytes);
            self.disk.allocate(&segment::name(segment.first), length)?;
            self.allocated = length;
        }
        Ok(())
    }

    /// Makes everything appended durable: one write and one sync for all of it. Returns the size that is durable.
    ///
    /// # Errors
    /// [`JournalError::Full`] leaves everything buffered, to be synced again. Any other error poisons the journal.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        self.check_writable()?;
        if self.buffer.is_empty() {
            return Ok(self.durable);
        }
        let Some(segment) = self.segments.last_mut() else { return Err(JournalError::ReadOnly) };
        let name = segment::name(segment.first);
        let records_bytes = self.buffer.len();
        let root = self.tree.root();
        let commit = Commit { first: self.durable, size: self.chain.next, start: segment.end, root };
        let offset = segment.end.saturating_add(records_bytes as u64);
        frame::push_commit(&mut self.buffer, segment.salt, offset, &commit);
        let written = self.disk.write(&name, segment.end, &self.buffer);
        if let Err(DiskError::Full) = written {
            self.buffer.truncate(records_bytes);
            return Err(JournalError::Full);
        }
        // A sync that failed, for whatever reason, is not tried again: the next one may succeed without the data.
        if let Err(error) = written.and_then(|()| self.disk.sync(&name)) {
            self.state = State::Poisoned;
            return Err(JournalError::Disk(error));
        }
        segment.take_batch(segment.end.saturating_add(self.buffer.len() as u64));
        self.buffer.clear();
        (self.durable, self.durable_root) = (commit.size, root);
        // The batch is safe. Should the mark or the next segment fail, only what comes later is affected.
        if self.mark().and_then(|()| self.rotate()).is_err() {
            self.state = State::Poisoned;
        }
        Ok(self.durable)
    }

    /// Notes that everything up to here was acknowledged. The note becomes durable with the next sync, if not before.
    fn mark(&mut self) -> Result<(), JournalError> {
        let Some(segment) = self.segments.last_mut() else { return Ok(()) };
        let mut mark = Vec::with_capacity(MARK_BYTES);
        frame::push_mark(&mut mark, segment.salt, segment.end, self.durable);
        self.disk.write(&segment::name(segment.first), segment.end, &mark)?;
        segment.end = segment.end.saturating_add(mark.len() as u64);
        Ok(())
    }

    /// Begins the next segment once this one is full; where there is no space for it, this one goes on growing.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        if last.end < self.options.segment_bytes_max || last.first == self.durable {
            return Ok(());
        }
        // A segment that has a successor must be whole, its last mark included.
        self.disk.sync(&segment::name(last.first)).map_err(JournalError::Disk)?;
        let (name, end) = (segment::name(last.first), last.end);
        match self.start_segment() {
            Err(JournalError::Full) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                // What was allocated and not used is worth giving back, and no more than that.
                let _ = self.disk.shrink(&name, end);
                Ok(())
            }
        }
    }

    pub(super) fn start_segment(&mut self) -> Result<(), JournalError> {
        let header = Header { genesis: self.genesis.clone(), chain: self.chain, tree: self.tree.edge() };
        let first = self.chain.next;
        let name = segment::name(first);
        let length = HEADER_BYTES.saturating_add(self.options.allocation_bytes).saturating_add(self.expected);
        let begun =
            self.disk.allocate(&name, length).and_then(|()| self.disk.write(&name, 0, &header.encode()));
        if let Err(error) = begun {
            // A segment without a header must be gone for good before anything is written elsewhere.
            match self.disk.remove(&name) {
                Ok(()) | Err(DiskError::Absent) => self.disk.sync_dir().map_err(JournalError::Disk)?,
                Err(failed) => return Err(JournalError::Disk(failed)),
            }
            return Err(error.into());
        }
        self.disk.sync(&name).and_then(|()| self.disk.sync_dir()).map_err(JournalError::Disk)?;
        self.segments.push(Segment::new(first, header.salt()));
        self.allocated = length;
        Ok(())
    }

    /// Drops whole segments that hold only entries below `seq`, and returns the first entry that is left. What is left
    /// goes on proving itself, and recovery starts at the oldest segment left.
    ///
    /// # Errors
    /// When the journal is not writable, or the disk fails to delete, which poisons it.
    pub fn prune(&mut self, seq: u64) -> Result<u64, JournalError> {
        self.check_writable()?;
        while let [oldest, next, ..] = self.segments.as_slice() {
            if next.first > seq {
                break;
            }
            let (name, first) = (segment::name(oldest.first), next.first);
            // The edge is needed before the entries that lead to it go.
            let edge = self.header_of(first)?.tree;
            // Oldest first and one by one, so that a crash leaves no gap.
            if let Err(error) = self.disk.remove(&name).and_then(|()| self.disk.sync_dir()) {
                self.state = State::Poisoned;
                return Err(error.into());
            }
            self.segments.remove(0);
            self.index.prune(first);
            self.tree.prune(first);
            self.base = edge;
        }
        Ok(self.base.size())
    }

    fn check_writable(&self) -> Result<(), JournalError> {
        match self.state {
            State::Writable => Ok(()),
            State::ReadOnly => Err(JournalError::ReadOnly),
            State::Poisoned => Err(JournalError::Poisoned),
        }
    }
}
