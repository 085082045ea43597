//! The durable form of the log: records in batches, acknowledged once they are synced.
//!
//! A journal is a directory of *segments*. A segment is a header and then batches; a batch is record frames and one
//! commit frame that states the log's size and root. After each sync a small mark says what was acknowledged, so that
//! damage to acknowledged data can be told from a write that a crash cut short. `docs/audit-format.md` has every byte.
//!
//! The life of a journal, as its owner drives it:
//! 1. [`Journal::open`] recovers whatever the disk holds; look at the [`RecoveryReport`].
//! 2. [`Journal::records`] from 0 on replays it.
//! 3. [`Journal::append`] buffers; [`Journal::sync`] makes everything buffered durable, however many waited for it. Where
//!    that should hold up nobody, [`Journal::begin_sync`] gives the batch out to be written beside.
//! 4. After any error but [`JournalError::Full`] from `sync` or `finish_sync`, the journal is poisoned: drop it and open it again.

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
    /// A batch was taken out to be written and was not brought back. Nothing changed.
    #[error("a batch is being written")]
    BatchPending,
    /// There is no such entry, or no longer.
    #[error(transparent)]
    Missing(#[from] MissingRecord),
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
    /// The header of the first segment that was read, while those before it were not.
    read_from: Option<Header>,
    segments: Vec<Segment>,
    index: Index,
    /// Bytes allocated to the last segment.
    allocated: u64,
    /// Bytes of records that a new segment must have room for.
    expected: u64,
    /// Chain and tree with what is buffered.
    chain: Chain,
    tree: TiledTree,
    /// Room for a mark, and the records of the batch being gathered: frames that do not know their place yet.
    buffer: Vec<u8>,
    /// Memory for the next buffer.
    spare: Vec<u8>,
    /// The batch that is ready to be taken out, and whether the one before it is out.
    closed: Option<Batch>,
    out: bool,
    /// Size of the log with what is closed, and where in the segment that ends; whether it fills the segment, and whether
    /// the mark before it is still to be written.
    closed_size: u64,
    tail: u64,
    owes_mark: bool,
    last_full: bool,
    engine: HashEngine,
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
            journal.start_segment(Chain::EMPTY, Tree::new())?;
        }
        Ok((journal, report))
    }

    /// [`Journal::open`] that reads the journal from the segment on that holds entry `from`, and of those before it their sizes
    /// and headers only. [`Journal::scrub`] then gives what reads them beside. Where anything is amiss, all is read at once.
    ///
    /// Until it is scrubbed, proofs that need earlier entries fail as if these were pruned, and to read earlier records takes
    /// as long as to read their segments.
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

    /// Whether records can be appended.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.state == State::Writable
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
