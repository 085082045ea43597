//! The durable form of the log: records in batches, acknowledged once they are synced.
//!
//! A journal is a directory of *segments*. A segment is a header followed by batches; a batch is record frames
//! followed by one commit frame with the log's size and root. After each sync a short *mark* frame records how many
//! entries were acknowledged, so that recovery can tell damage to acknowledged data from a write that a crash cut
//! short. `docs/audit-format.md` specifies every byte.
//!
//! How to use a journal:
//! 1. [`Journal::open`] recovers the journal on the disk; check its [`RecoveryReport`].
//! 2. [`Journal::records`] from 0 on gives the records to replay.
//! 3. [`Journal::append`] buffers records; [`Journal::sync`] makes everything buffered durable in one batch, for any
//!    number of waiting callers. To keep appending during the write, take the batch with [`Journal::begin_sync`] and
//!    write it elsewhere.
//! 4. After any error other than [`JournalError::Full`] from `sync` or `finish_sync`, the journal is poisoned: drop
//!    it and open it again.

mod cursor;
mod disk;
mod export;
mod frame;
mod index;
mod read;
mod recover;
mod scan;
mod scrub;
mod segment;
mod segment_reader;
mod segments;
mod sync;
mod write;

use alloc::vec::Vec;

pub use disk::{Disk, DiskError};
pub use export::TileError;
pub(crate) use index::Block;
pub use read::Records;
pub use recover::{JournalFault, RecoveryReport};
pub use scan::Scan;
pub use scrub::{Scrub, ScrubResult};
pub use segment::{Genesis, HEADER_BYTES, META_BYTES_MAX};
pub use sync::{Batch, BatchError};
pub use write::Appendable;

use self::{
    index::Index,
    recover::{Recovery, Segment},
    segment::Header,
};
use crate::{
    chain::{Chain, ChainError},
    checkpoint::Checkpoint,
    hash::Hash,
    hash_engine::HashEngine,
    log::MissingRecord,
    merkle::tiled_tree::TiledTree,
    merkle::tree::Tree,
};

/// How a journal uses its disk: segment size, allocation step and reserve, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The journal starts a new segment once the current one has at least this many bytes; 64 MiB by default.
    pub segment_bytes_max: u64,
    /// Bytes allocated beyond what is needed, each time a segment has to grow; 4 MiB by default.
    pub allocation_bytes: u64,
    /// Allocated bytes that [`Journal::append`] leaves free for [`Journal::append_reserved`]; 256 KiB by default.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes_max: 64 << 20, allocation_bytes: 4 << 20, reserve_bytes: 256 << 10 }
    }
}

/// Why a journal operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk has no space. Nothing changed; the same call succeeds once there is space.
    #[error("no space left for the journal")]
    Full,
    /// A record does not follow its predecessor. Nothing changed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A record, or the genesis, is larger than the format allows. Nothing changed.
    #[error("record or genesis is too large")]
    TooLarge,
    /// The journal accepts no records: it is damaged, or was opened for reading.
    #[error("journal is read-only")]
    ReadOnly,
    /// An earlier write or sync failed: unacknowledged records may or may not be on the disk. Open the journal again.
    #[error("an earlier write or sync failed: open the journal again")]
    Poisoned,
    /// A batch from [`Journal::begin_sync`] was not returned to [`Journal::finish_sync`] yet. Nothing changed.
    #[error("another batch is being written: finish it first")]
    BatchPending,
    /// The journal has no entry with this number: it was pruned, or not written yet.
    #[error(transparent)]
    Missing(#[from] MissingRecord),
    /// Data on the disk changed after it was checked.
    #[error("entry {seq} changed on disk since it was checked")]
    Changed {
        /// `seq` of the first entry concerned.
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
    /// The tree's edge before the oldest segment kept.
    base: Tree,
    /// The header of the first segment that was read, if the segments before it are still unread.
    read_from: Option<Header>,
    segments: Vec<Segment>,
    index: Index,
    /// Bytes allocated to the newest segment.
    allocated: u64,
    /// Bytes of records to allocate when a new segment is started, set by [`Journal::expect_bytes`].
    expected: u64,
    /// Chain and tree, buffered records included.
    chain: Chain,
    tree: TiledTree,
    /// Space for a mark, then the frames of the buffered records, whose offsets are not known yet.
    buffer: Vec<u8>,
    /// Emptied memory of an earlier batch, to be used for the next buffer.
    spare: Vec<u8>,
    /// The batch that [`Journal::begin_sync`] gives next; `out` is true while the previous one is being written.
    closed: Option<Batch>,
    out: bool,
    /// Size of the log with the closed batches; `tail` is the offset in the newest segment where these end.
    /// `owes_mark`: the next batch must carry the mark of the one before; `last_full`: the closed batches fill the
    /// segment.
    closed_size: u64,
    tail: u64,
    owes_mark: bool,
    last_full: bool,
    engine: HashEngine,
    durable: u64,
    durable_root: Hash,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal on `disk` for writing, or creates one with `genesis` if there is none.
    ///
    /// `anchors` are checkpoints that the caller kept and whose signatures it has verified. Without one, an older or
    /// a rewritten copy of a journal cannot be detected. Damage is not an error: the journal is then read-only and
    /// holds the entries before the damage, and the report names the first bad entry.
    ///
    /// # Errors
    /// When another writer holds the lock, the disk fails, or `genesis.meta` is too long.
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
            journal.start_segment(Chain::EMPTY, Tree::new())?;
        }
        Ok((journal, report))
    }

    /// [`Journal::open`] without anchors that reads only the segment with entry `from` and the later ones; of earlier
    /// segments it reads size and header. [`Journal::scrub`] then gives a task that reads these in the background. If
    /// it finds any fault, it falls back to [`Journal::open`], which reads everything.
    ///
    /// Until the scrub is finished, proofs that need earlier entries fail as if these were pruned, and reading an
    /// earlier record takes as long as reading its segment.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_from(
        mut disk: D,
        genesis: &Genesis,
        options: Options,
        from: u64,
    ) -> Result<(Journal<D>, RecoveryReport), JournalError> {
        disk.lock()?;
        match recover::recover_from(&disk, from)? {
            Some(recovery) => Journal::recovered(disk, options, recovery, &[], State::Writable),
            None => Journal::open(disk, genesis, options, &[]),
        }
    }

    /// Opens the journal on `disk` for reading, which takes no lock and changes nothing. A batch that another process
    /// is writing appears as a torn tail. `None` if there is no journal.
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
            torn_tail_bytes: recovery
                .incomplete_segment
                .as_ref()
                .map_or(recovery.torn_bytes, |(_, bytes)| *bytes),
            read_only: state == State::ReadOnly,
            first_bad: fault.map(|(seq, _)| seq),
            reason: fault.map(|(_, fault)| fault),
            anchored_at,
        };
        let allocated = match recovery.segments.last() {
            Some(segment) => disk.length(&segment::name(segment.first))?,
            None => 0,
        };
        let tail = recovery.segments.last().map_or(0, |segment| segment.end);
        let mut journal = Journal {
            engine: disk.engine(),
            disk,
            options,
            state,
            genesis: recovery.genesis,
            base: recovery.base,
            read_from: recovery.read_from,
            segments: recovery.segments,
            index: recovery.index,
            allocated,
            expected: 0,
            chain: recovery.chain,
            durable: recovery.chain.next,
            durable_root: report.root,
            tree: recovery.tree,
            buffer: Vec::new(),
            spare: Vec::new(),
            closed: None,
            out: false,
            closed_size: recovery.chain.next,
            owes_mark: false,
            tail,
            last_full: false,
        };
        if state == State::Writable {
            if let Some((name, _)) = recovery.incomplete_segment {
                journal.disk.remove(&name)?;
                journal.disk.sync_dir()?;
            }
            journal.repair()?;
        }
        Ok((journal, report))
    }

    /// The identity and metadata that the journal was created with.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Number of durable entries, pruned ones included.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.durable
    }

    /// Whether the journal has no durable entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.durable == 0
    }

    /// Whether records can be appended: the journal is neither read-only nor poisoned.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.state == State::Writable
    }

    /// `seq` of the first entry that the journal keeps.
    #[must_use]
    pub const fn pruned_below(&self) -> u64 {
        self.base.size()
    }

    /// The end of the chain, buffered records included; the next entry must follow it.
    #[must_use]
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// The root over all durable entries.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.durable_root
    }

    /// An unsigned checkpoint of the durable log, for the log named `origin`.
    #[must_use]
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint::new(origin, self.durable, self.durable_root)
    }

    /// The disk that holds the journal.
    #[must_use]
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Closes the journal and returns the disk. Records that were not synced are lost.
    #[must_use]
    pub fn into_disk(self) -> D {
        self.disk
    }
}
