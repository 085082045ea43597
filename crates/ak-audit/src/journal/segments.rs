//! The files of a journal: repaired on opening, started, pruned.

use super::{
    Disk, DiskError, HEADER_BYTES, Journal, JournalError, Options, State,
    cursor::read_fully,
    recover::Segment,
    segment::{self, Header},
};
use crate::{chain::Chain, merkle::tree::Tree};

/// Why a segment was not started.
pub(super) enum NotBegun {
    /// The attempt left nothing on the disk.
    Gone(DiskError),
    /// The attempt may have left part of a segment on the disk.
    Unknown(DiskError),
}

impl From<NotBegun> for JournalError {
    fn from(error: NotBegun) -> JournalError {
        match error {
            NotBegun::Gone(error) => error.into(),
            NotBegun::Unknown(error) => JournalError::Disk(error),
        }
    }
}

/// Bytes copied or zeroed at a time.
const CHUNK_BYTES: usize = 16 << 10;

impl<D: Disk> Journal<D> {
    /// Writes the last batch again, and zeros after it. After a failed sync the batch may exist only in a cache that
    /// readers see and later syncs skip. The zeros ensure that nothing of a torn write is ever read as a frame.
    pub(super) fn repair(&mut self) -> Result<(), JournalError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        let name = segment::name(last.first);
        // The mark before the last batch is rewritten too: both were written since the same sync.
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
        // From the back, so that the rest of a torn write never ends in a commit.
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
        self.tail = end;
        if owes_mark { self.mark(self.durable) } else { Ok(()) }
    }

    /// Starts the next segment once this one is full. If that fails for lack of space or of a descriptor, nothing is
    /// lost: this segment keeps growing, and the next batch tries again. The space allocated for the buffered records
    /// holds in either.
    pub(super) fn rotate(&mut self, chain: Chain, edge: Tree) -> Result<(), JournalError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        let (name, end) = (segment::name(last.first), last.end);
        // A segment that has a successor must be whole, its last mark included.
        self.disk.sync(&name).map_err(JournalError::Disk)?;
        match self.start_segment(chain, edge) {
            Err(NotBegun::Gone(_)) => Ok(()),
            Err(NotBegun::Unknown(error)) => Err(JournalError::Disk(error)),
            Ok(()) => {
                // Returning unused space is optional, so its failure is ignored.
                let _ = self.disk.shrink(&name, end);
                Ok(())
            }
        }
    }

    /// Starts a segment: allocates its file and writes its header.
    ///
    /// # Errors
    /// [`NotBegun`], which tells whether part of it may be on the disk.
    pub(super) fn start_segment(&mut self, chain: Chain, tree: Tree) -> Result<(), NotBegun> {
        let header = Header { genesis: self.genesis.clone(), chain, tree };
        let first = chain.next;
        let name = segment::name(first);
        let Options { allocation_bytes, reserve_bytes, .. } = self.options;
        let wanted = [allocation_bytes, reserve_bytes, self.expected, self.buffer.len() as u64];
        let length = wanted.iter().fold(HEADER_BYTES, |sum, part| sum.saturating_add(*part));
        let begun =
            self.disk.allocate(&name, length).and_then(|()| self.disk.write(&name, 0, &header.encode()));
        if let Err(error) = begun {
            // Recovery must never find this file, so its removal has to be durable before anything else is written.
            match self.disk.remove(&name) {
                Ok(()) | Err(DiskError::Absent) => self.disk.sync_dir().map_err(NotBegun::Unknown)?,
                Err(failed) => return Err(NotBegun::Unknown(failed)),
            }
            return Err(NotBegun::Gone(error));
        }
        self.disk.sync(&name).and_then(|()| self.disk.sync_dir()).map_err(NotBegun::Unknown)?;
        self.segments.push(Segment::new(first, header.salt()));
        (self.allocated, self.tail) = (length, HEADER_BYTES);
        Ok(())
    }

    /// Deletes the segments that hold only entries below `seq`, and returns the `seq` of the first entry that is
    /// left. The remaining entries can still be proven, and recovery starts at the oldest remaining segment.
    ///
    /// # Errors
    /// When the journal is not writable, the header of the next segment cannot be read, or the disk fails to delete a
    /// file, which poisons the journal.
    pub fn prune(&mut self, seq: u64) -> Result<u64, JournalError> {
        self.check_writable()?;
        while let [oldest, next, ..] = self.segments.as_slice() {
            if next.first > seq {
                break;
            }
            let (name, first) = (segment::name(oldest.first), next.first);
            // Read the edge before deleting the entries that lead to it.
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
}
