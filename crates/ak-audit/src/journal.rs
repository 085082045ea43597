//! The durable form of the log: records in batches, acknowledged once they are synced.
//!
//! A journal is a directory of *segments*. A segment is a header and then batches; a batch is record frames and one
//! commit frame that states the log's size and root. After each sync a small mark says what was acknowledged, so that
//! damage to acknowledged data can be told from a write that a crash cut short. `docs/audit-format.md` has every byte.
//!
//! The life of a journal, as its owner drives it:
//! 1. [`Journal::open`] recovers whatever the disk holds; look at the [`RecoveryReport`].
//! 2. [`Journal::records`] from 0 on replays it.
//! 3. [`Journal::append`] buffers; [`Journal::sync`] makes everything buffered durable, however many waited for it.
//! 4. After any error but [`JournalError::Full`] from `sync`, the journal is poisoned: drop it and open it again.

mod cursor;
mod disk;
mod frame;
mod index;
mod read;
mod recover;
mod segment;

use alloc::vec::Vec;

pub use disk::{Disk, DiskError};
pub(crate) use index::Block;
pub use read::Records;
pub use recover::{JournalFault, RecoveryReport};
pub use segment::{Genesis, HEADER_BYTES, META_BYTES_MAX};

use self::{
    frame::{COMMIT_BYTES, Commit, FRAME_HEAD_BYTES, MARK_BYTES, PAYLOAD_BYTES_MAX},
    index::Index,
    recover::{Recovery, Segment},
    segment::Header,
};
use crate::{
    chain::{Chain, ChainError},
    checkpoint::Checkpoint,
    hash::Hash,
    log::Record,
    tiled::TiledTree,
    tree::Tree,
};

/// What unused space holds.
const ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// How a journal uses its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A segment takes no further batch once it has this many bytes.
    pub segment_bytes_max: u64,
    /// Space is allocated in steps of this many bytes, ahead of need.
    pub allocation_bytes: u64,
    /// Allocated space that [`Journal::append`] leaves free for [`Journal::append_reserved`].
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes_max: 64 << 20, allocation_bytes: 4 << 20, reserve_bytes: 256 << 10 }
    }
}

/// Why the journal did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// There is no space. Nothing changed; the same call succeeds once there is.
    #[error("no space left for the journal")]
    Full,
    /// A record does not follow its predecessor. Nothing changed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A record, or the genesis, is larger than the format allows. Nothing changed.
    #[error("record or genesis is too large")]
    TooLarge,
    /// The journal takes no records: it is damaged, or was opened for reading.
    #[error("journal is read-only")]
    ReadOnly,
    /// A write or sync failed before: what was not acknowledged may or may not be there. Open the journal again.
    #[error("journal failed to sync and must be opened again")]
    Poisoned,
    /// What should be read has changed on disk since it was checked.
    #[error("entry {seq} changed on disk since it was checked")]
    Changed {
        /// The entry.
        seq: u64,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(DiskError),
}

impl From<DiskError> for JournalError {
    fn from(error: DiskError) -> JournalError {
        match error {
            DiskError::Full => JournalError::Full,
            DiskError::Absent | DiskError::Locked | DiskError::Failed(_) => JournalError::Disk(error),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Writable,
    ReadOnly,
    Poisoned,
}

/// A durable log on a [`Disk`].
#[derive(Debug)]
pub struct Journal<D> {
    disk: D,
    options: Options,
    state: State,
    genesis: Genesis,
    /// The tree's edge before the oldest segment.
    base: Tree,
    segments: Vec<Segment>,
    index: Index,
    /// Bytes allocated to the last segment.
    allocated: u64,
    /// Chain and tree with what is buffered.
    chain: Chain,
    tree: TiledTree,
    /// Frames of the batch being gathered, its commit not yet among them.
    buffer: Vec<u8>,
    durable: u64,
    durable_root: Hash,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal on `disk` for writing, or begins one with `genesis` where there is none.
    ///
    /// `anchors` are checkpoints the caller kept, whose signatures it has verified: without one, nobody can tell a
    /// journal from an older or a rewritten copy of it. Damage does not make this fail: the journal is then read-only,
    /// holds what precedes the damage, and the report names the first bad entry.
    ///
    /// # Errors
    /// When another writer holds the disk, or the disk fails.
    pub fn open(
        mut disk: D,
        genesis: &Genesis,
        options: Options,
        anchors: &[Checkpoint],
    ) -> Result<(Journal<D>, RecoveryReport), JournalError> {
        if genesis.meta.len() > META_BYTES_MAX {
            return Err(JournalError::TooLarge);
        }
        disk.lock()?;
        if let Some(recovery) = recover::recover(&disk, anchors)? {
            return Journal::recovered(disk, options, recovery, anchors, State::Writable);
        }
        let recovery =
            Recovery::start(Header { genesis: genesis.clone(), chain: Chain::EMPTY, tree: Tree::new() });
        let (mut journal, report) = Journal::recovered(disk, options, recovery, anchors, State::Writable)?;
        if journal.state == State::Writable {
            journal.start_segment()?;
        }
        Ok((journal, report))
    }

    /// Opens the journal on `disk` for reading, which needs no lock and changes nothing. A batch that another process
    /// is writing shows as a torn tail. None if there is no journal.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open_read_only(
        disk: D,
        anchors: &[Checkpoint],
    ) -> Result<Option<(Journal<D>, RecoveryReport)>, JournalError> {
        let Some(recovery) = recover::recover(&disk, anchors)? else { return Ok(None) };
        Journal::recovered(disk, Options::default(), recovery, anchors, State::ReadOnly).map(Some)
    }

    fn recovered(
        disk: D,
        options: Options,
        recovery: Recovery,
        anchors: &[Checkpoint],
        wanted: State,
    ) -> Result<(Journal<D>, RecoveryReport), JournalError> {
        let (anchored_at, contradiction) = recovery.compare(anchors);
        let fault = recovery.fault.or(contradiction);
        let state = if fault.is_some() { State::ReadOnly } else { wanted };
        let report = RecoveryReport {
            size: recovery.chain.next,
            root: recovery.tree.root(),
            pruned_below: recovery.base.size(),
            torn_tail_bytes: recovery.stillborn.as_ref().map_or(recovery.torn_bytes, |(_, bytes)| *bytes),
            read_only: state == State::ReadOnly,
            first_bad: fault.map(|(seq, _)| seq),
            reason: fault.map(|(_, fault)| fault),
            anchored_at,
        };
        let allocated = match recovery.segments.last() {
            Some(segment) => disk.length(&segment::name(segment.first))?,
            None => 0,
        };
        let mut journal = Journal {
            disk,
            options,
            state,
            genesis: recovery.genesis,
            base: recovery.base,
            segments: recovery.segments,
            index: recovery.index,
            allocated,
            chain: recovery.chain,
            durable: recovery.chain.next,
            durable_root: report.root,
            tree: recovery.tree,
            buffer: Vec::new(),
        };
        if state == State::Writable {
            if let Some((name, _)) = recovery.stillborn {
                journal.disk.remove(&name)?;
                journal.disk.sync_dir()?;
            }
            journal.repair(recovery.torn_bytes)?;
        }
        Ok((journal, report))
    }

    /// Makes the space after the last whole batch zero again, so that nothing of a torn write is ever taken for a frame.
    fn repair(&mut self, torn_bytes: u64) -> Result<(), JournalError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        let name = segment::name(last.first);
        let mut left = torn_bytes;
        while left > 0 {
            let zeros = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            left = left.saturating_sub(zeros as u64);
            // From the back, so that what is left of it never ends in a commit.
            self.disk.write(&name, last.end.saturating_add(left), ZEROS.get(..zeros).unwrap_or_default())?;
        }
        if torn_bytes > 0 {
            self.disk.sync(&name)?;
        }
        Ok(())
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
            leaves.push(chain.push_decoded(&record.entry)?);
        }
        self.make_room(bytes, reserve)?;
        let Some(segment) = self.segments.last() else { return Err(JournalError::ReadOnly) };
        for (record, (leaf, entry)) in records.iter().zip(leaves) {
            let offset = segment.end.saturating_add(self.buffer.len() as u64);
            frame::push_record(&mut self.buffer, segment.salt, offset, &record.entry, &record.body);
            self.index.push(&entry, segment.first, offset);
            self.tree.push(leaf);
        }
        self.chain = chain;
        Ok(self.chain.next)
    }

    /// Sees to it that `bytes` more can be written, with the frames that close a batch, and `reserve` stays free.
    fn make_room(&mut self, bytes: u64, reserve: u64) -> Result<(), JournalError> {
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
        match self.disk.write(&name, segment.end, &self.buffer).and_then(|()| self.disk.sync(&name)) {
            Ok(()) => {}
            Err(error) => {
                self.buffer.truncate(records_bytes);
                if error != DiskError::Full {
                    self.state = State::Poisoned;
                }
                return Err(error.into());
            }
        }
        segment.end = segment.end.saturating_add(self.buffer.len() as u64);
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
        self.disk.sync(&segment::name(last.first))?;
        match self.start_segment() {
            Err(JournalError::Full) => Ok(()),
            done => done,
        }
    }

    fn start_segment(&mut self) -> Result<(), JournalError> {
        let header = Header { genesis: self.genesis.clone(), chain: self.chain, tree: self.tree.edge() };
        let first = self.chain.next;
        let name = segment::name(first);
        let length = HEADER_BYTES.saturating_add(self.options.allocation_bytes);
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
        self.disk.sync(&name)?;
        self.disk.sync_dir()?;
        self.segments.push(Segment { first, salt: header.salt(), end: HEADER_BYTES });
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

    /// What the journal was born with.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Number of durable entries, those pruned included.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.durable
    }

    /// Whether nothing was ever synced.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.durable == 0
    }

    /// The first entry that is kept.
    #[must_use]
    pub const fn pruned_below(&self) -> u64 {
        self.base.size()
    }

    /// The end of the chain, with what is buffered: what the next entry must follow.
    #[must_use]
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// The root over all durable entries.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.durable_root
    }

    /// A checkpoint of the durable log, to be signed.
    #[must_use]
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint::new(origin, self.durable, self.durable_root)
    }

    /// The disk it stands on.
    #[must_use]
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Gives the disk back; what was not synced is gone.
    #[must_use]
    pub fn into_disk(self) -> D {
        self.disk
    }
}
