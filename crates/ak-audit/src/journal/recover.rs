//! Recovers a journal: reads the whole batches, and tells writes torn by a crash from damage.

use alloc::{string::String, vec, vec::Vec};

use super::{
    cursor::{Cursor, read_fully},
    disk::{Disk, DiskError},
    frame::Salt,
    index::Index,
    segment::{self, Genesis, HEADER_BYTES, Header},
    segment_reader::SegmentReader,
};
use crate::{
    chain::{Chain, ChainError},
    checkpoint::Checkpoint,
    hash::Hash,
    merkle::tiled_tree::TiledTree,
    merkle::tree::Tree,
};

/// What is wrong with a journal, from some entry on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalFault {
    /// Acknowledged bytes do not match their checksum, or unused space is not zero.
    #[error("acknowledged bytes are damaged")]
    Damaged,
    /// The header of a segment is damaged, or contradicts the segment before it.
    #[error("header of a segment is damaged or belongs to another log")]
    Header,
    /// A segment is missing.
    #[error("a segment is missing")]
    Gap,
    /// An entry does not follow its predecessor.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The entries of a batch lead to another root than its commit states.
    #[error("the root of the batch's entries differs from its commit")]
    Root,
    /// The log is shorter than one of the caller's checkpoints states.
    #[error("log has fewer entries than the checkpoint states: {size}")]
    RolledBack {
        /// Size stated by the checkpoint.
        size: u64,
    },
    /// The log has another root than one of the caller's checkpoints states for that size.
    #[error("log differs from the checkpoint at {size}")]
    Rewritten {
        /// Size stated by the checkpoint.
        size: u64,
    },
}

/// What opening a journal found and repaired.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Number of entries recovered, pruned ones included; the `seq` of the next entry.
    pub size: u64,
    /// Root over all these entries.
    pub root: Hash,
    /// `seq` of the first entry that the journal keeps; earlier ones were pruned.
    pub pruned_below: u64,
    /// Bytes after the last whole batch, left by a write that was never acknowledged.
    pub torn_tail_bytes: u64,
    /// Whether nothing can be appended: acknowledged data is damaged, a checkpoint contradicts the log, or the
    /// journal was opened for reading.
    pub read_only: bool,
    /// `seq` of the first entry that is damaged, missing or contradicted by a checkpoint. `None` if there is none.
    pub first_bad: Option<u64>,
    /// What is wrong with that entry.
    pub reason: Option<JournalFault>,
    /// The largest size among the caller's checkpoints that this journal agrees with. `None` if it agrees with none:
    /// anybody with access to the directory could then have rewritten the journal unnoticed.
    pub anchored_at: Option<u64>,
}

/// A segment that was read, or whose size and header were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// `seq` of the segment's first entry, from which the file name is made.
    pub(crate) first: u64,
    pub(crate) salt: Salt,
    /// Offset where the last batch but one ends; `None` if there is no batch. Later bytes may not have reached the
    /// disk.
    pub(crate) doubtful_from: Option<u64>,
    /// Offset where the last whole batch ends.
    pub(crate) batch_end: u64,
    /// Offset where the mark after that batch ends; equal to `batch_end` if there is no mark.
    pub(crate) end: u64,
}

impl Segment {
    /// Records that a batch was written up to offset `end`.
    pub(crate) const fn take_batch(&mut self, end: u64) {
        self.doubtful_from = Some(self.batch_end);
        (self.batch_end, self.end) = (end, end);
    }

    /// A segment with its header only.
    pub(crate) const fn new(first: u64, salt: Salt) -> Segment {
        Segment { first, salt, doubtful_from: None, batch_end: HEADER_BYTES, end: HEADER_BYTES }
    }
}

/// A journal as read from disk.
pub(crate) struct Recovery {
    pub(crate) genesis: Genesis,
    pub(crate) base: Tree,
    /// The header of the first segment that was read, if the segments before it were not.
    pub(crate) read_from: Option<Header>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) index: Index,
    pub(crate) chain: Chain,
    pub(crate) tree: TiledTree,
    /// Unacknowledged bytes at the end of the last segment.
    pub(crate) torn_bytes: u64,
    /// The name of a newest segment whose creation a crash cut short, and the bytes of its header that were written.
    pub(crate) incomplete_segment: Option<(String, u64)>,
    pub(crate) fault: Option<(u64, JournalFault)>,
    /// Root at the size of each anchor that the log reaches.
    pub(crate) roots: Vec<(u64, Hash)>,
}

/// Reads every segment of the journal on `disk`, and records the roots at the sizes of `anchors`. `None` if there is
/// no journal.
pub(crate) fn recover<D: Disk>(disk: &D, anchors: &[Checkpoint]) -> Result<Option<Recovery>, DiskError> {
    recover_segments(disk, &segments_on(disk)?, None, anchors)
}

/// Reads the segment that holds entry `from` and the later ones; of earlier segments it reads size and header. `None`
/// if it finds a fault or there is no earlier segment; everything has to be read then.
pub(crate) fn recover_from<D: Disk>(disk: &D, from: u64) -> Result<Option<Recovery>, DiskError> {
    let firsts = segments_on(disk)?;
    let (unread, read) = firsts.split_at(firsts.partition_point(|first| *first <= from).saturating_sub(1));
    let [oldest, ..] = unread else { return Ok(None) };
    let Some(oldest) = read_header(disk, *oldest)? else { return Ok(None) };
    let mut recovery = Recovery::start(oldest);
    for first in unread {
        let length = disk.length(&segment::name(*first))?;
        let Some(header) = read_header(disk, *first)? else { return Ok(None) };
        if header.chain.next != *first || header.genesis != recovery.genesis || length <= HEADER_BYTES {
            return Ok(None);
        }
        recovery.segments.push(Segment {
            batch_end: length,
            end: length,
            ..Segment::new(*first, header.salt())
        });
        recovery.index.push_unread(*first, HEADER_BYTES);
    }
    let recovery = recover_segments(disk, read, Some(recovery), &[])?;
    Ok(recovery.filter(|recovery| recovery.fault.is_none()))
}

/// Reads the segments before the one with the header `end`, and calls `progress` with the number of entries read.
/// `None` if `progress` returns false.
pub(crate) fn recover_before<D: Disk>(
    disk: &D,
    end: &Header,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Recovery>, DiskError> {
    let mut recovery: Option<Recovery> = None;
    for first in segments_on(disk)?.into_iter().filter(|first| *first < end.chain.next) {
        let header = read_header(disk, first)?.filter(|header| header.chain.next == first);
        let Some(header) = header else {
            let mut broken = recovery.unwrap_or_else(|| Recovery::start(Header::lost(first)));
            broken.fault = Some((first, JournalFault::Header));
            return Ok(Some(broken));
        };
        let recovery = recovery.get_or_insert_with(|| Recovery::start(header.clone()));
        recovery.fault = recovery.check_header(&header);
        if recovery.fault.is_none() {
            let reading = SegmentReader::new(disk, &header, recovery, &[])?;
            if !reading.read_with_progress(false, progress)? {
                return Ok(None);
            }
        }
        if recovery.fault.is_some() {
            break;
        }
    }
    let mut recovery = recovery.unwrap_or_else(|| Recovery::start(end.clone()));
    recovery.fault = recovery.fault.or_else(|| recovery.check_header(end));
    Ok(Some(recovery))
}

/// The `seq` of each segment's first entry, ascending.
fn segments_on<D: Disk>(disk: &D) -> Result<Vec<u64>, DiskError> {
    let mut firsts: Vec<u64> = disk.list()?.iter().filter_map(|name| segment::parse_name(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Reads the segments `firsts`, the last of the journal. `before` describes the earlier ones, which were not read.
fn recover_segments<D: Disk>(
    disk: &D,
    firsts: &[u64],
    before: Option<Recovery>,
    anchors: &[Checkpoint],
) -> Result<Option<Recovery>, DiskError> {
    let mut unread = before.is_some();
    let mut recovery = before;
    for (position, first) in firsts.iter().enumerate() {
        let last = position + 1 == firsts.len();
        let header = read_header(disk, *first)?;
        let Some(header) = header.filter(|header| header.chain.next == *first) else {
            let incomplete_segment =
                if last { incomplete_segment(disk, *first, recovery.as_ref())? } else { None };
            match (&mut recovery, incomplete_segment) {
                (Some(recovery), Some(bytes)) => {
                    recovery.incomplete_segment = Some((segment::name(*first), bytes))
                }
                (Some(recovery), None) => recovery.fault = Some((*first, JournalFault::Header)),
                (None, Some(_)) => return Ok(None),
                (None, None) => {
                    let mut lost = Recovery::start(Header::lost(*first));
                    lost.fault = Some((*first, JournalFault::Header));
                    recovery = Some(lost);
                }
            }
            break;
        };
        match &mut recovery {
            None => recovery = Some(Recovery::start(header.clone())),
            Some(recovery) if unread => {
                unread = false;
                recovery.go_on_with(header.clone());
            }
            Some(recovery) => {
                recovery.fault = recovery.check_header(&header);
                if recovery.fault.is_some() {
                    break;
                }
            }
        }
        let Some(recovery) = &mut recovery else { break };
        recovery.note_roots(anchors);
        SegmentReader::new(disk, &header, recovery, anchors)?.read(last)?;
        if recovery.fault.is_some() {
            break;
        }
    }
    // If not even the first of these segments is whole, the earlier ones have to be read as well.
    Ok(recovery.filter(|_| !unread))
}

fn read_header<D: Disk>(disk: &D, first: u64) -> Result<Option<Header>, DiskError> {
    let mut bytes = vec![0; usize::try_from(HEADER_BYTES).unwrap_or_default()];
    let got = read_fully(disk, &segment::name(first), 0, &mut bytes)?;
    Ok(bytes.get(..got).and_then(Header::decode))
}

/// The number of bytes written to the newest segment, which has no whole header, if it never held a batch: a crash
/// then cut its creation short and nothing is lost. `None` if it may have held one.
fn incomplete_segment<D: Disk>(
    disk: &D,
    first: u64,
    before: Option<&Recovery>,
) -> Result<Option<u64>, DiskError> {
    let name = segment::name(first);
    let length = disk.length(&name)?;
    let written = Cursor::new(disk, name, 0, length).bytes_until_zeros()?;
    let expected = first == before.map_or(0, |recovery| recovery.chain.next);
    Ok((expected && written <= HEADER_BYTES).then_some(written))
}

impl Recovery {
    /// The journal that begins with this header, with nothing read yet.
    pub(crate) fn start(header: Header) -> Recovery {
        Recovery {
            tree: TiledTree::from_edge(&header.tree),
            genesis: header.genesis,
            base: header.tree,
            read_from: None,
            segments: Vec::new(),
            index: Index::default(),
            chain: header.chain,
            torn_bytes: 0,
            incomplete_segment: None,
            fault: None,
            roots: Vec::new(),
        }
    }

    /// Continues with the segment that has this header, although the segment before it was not read.
    fn go_on_with(&mut self, header: Header) {
        (self.chain, self.tree) = (header.chain, TiledTree::from_edge(&header.tree));
        if header.genesis != self.genesis {
            self.fault = Some((header.chain.next, JournalFault::Header));
        }
        self.read_from = Some(header);
    }

    /// What is wrong with `header` as that of the next segment; `None` if it follows.
    fn check_header(&self, header: &Header) -> Option<(u64, JournalFault)> {
        let size = self.chain.next;
        if header.chain.next != size {
            return Some((size.min(header.chain.next), JournalFault::Gap));
        }
        let follows =
            header.chain == self.chain && header.tree == self.tree.edge() && header.genesis == self.genesis;
        (!follows).then_some((size, JournalFault::Header))
    }

    pub(super) fn note_roots(&mut self, anchors: &[Checkpoint]) {
        if anchors.iter().any(|anchor| anchor.size == self.chain.next) {
            self.roots.push((self.chain.next, self.tree.root()));
        }
    }

    /// Compares the log with the checkpoints. Returns the largest size that they agree on and the first
    /// contradiction.
    pub(crate) fn compare(&self, anchors: &[Checkpoint]) -> (Option<u64>, Option<(u64, JournalFault)>) {
        let mut sorted: Vec<&Checkpoint> = anchors.iter().collect();
        sorted.sort_by_key(|anchor| anchor.size);
        let mut agreed = None;
        for anchor in sorted.into_iter().filter(|anchor| anchor.size >= self.base.size()) {
            let Checkpoint { size, root, .. } = anchor;
            if *size > self.chain.next {
                return (agreed, Some((self.chain.next, JournalFault::RolledBack { size: *size })));
            }
            if !self.roots.contains(&(*size, *root)) {
                let first = agreed.unwrap_or(self.base.size());
                return (agreed, Some((first, JournalFault::Rewritten { size: *size })));
            }
            agreed = Some(*size);
        }
        (agreed, None)
    }
}
