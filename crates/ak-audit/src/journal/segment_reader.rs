//! Reads one segment frame by frame: a batch counts once its commit is read, and the first damaged entry is reported.

use alloc::vec::Vec;

use super::{
    cursor::Cursor,
    disk::{Disk, DiskError},
    frame::{COMMIT_BYTES, Commit, Frame, Salt},
    recover::{JournalFault, Recovery, Segment},
    segment::{self, HEADER_BYTES, Header},
};
use crate::{
    chain::{Chain, ChainError},
    checkpoint::Checkpoint,
    entry::{Entry, view::View},
    hash::{Hash, leaf_hash},
    merkle::tree::Tree,
};

/// Bytes between two reports of progress.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Reads one segment into a [`Recovery`].
pub(super) struct SegmentReader<'r, 'd, D> {
    cursor: Cursor<'d, D>,
    salt: Salt,
    segment: u64,
    recovery: &'r mut Recovery,
    anchors: &'r [Checkpoint],
    batch: PendingBatch,
}

/// The batch being read. Nothing in it counts before its commit.
struct PendingBatch {
    /// Offset of its first frame.
    start: u64,
    chain: Chain,
    leaves: Vec<Hash>,
    /// Edge of the tree's last tile before the batch.
    last_tile: Tree,
}

/// Whether a frame fits the frames before it.
enum FrameCheck {
    Fits,
    Fault(u64, JournalFault),
}

impl<'r, 'd, D: Disk> SegmentReader<'r, 'd, D> {
    pub(super) fn new(
        disk: &'d D,
        header: &Header,
        recovery: &'r mut Recovery,
        anchors: &'r [Checkpoint],
    ) -> Result<SegmentReader<'r, 'd, D>, DiskError> {
        let segment = header.chain.next;
        let name = segment::name(segment);
        let length = disk.length(&name)?;
        let salt = header.salt();
        recovery.segments.push(Segment::new(segment, salt));
        let batch = PendingBatch {
            start: HEADER_BYTES,
            chain: recovery.chain,
            leaves: Vec::new(),
            last_tile: recovery.tree.last_tile(),
        };
        let cursor = Cursor::new(disk, name, HEADER_BYTES, length);
        Ok(SegmentReader { cursor, salt, segment, recovery, anchors, batch })
    }

    pub(super) fn read(self, last: bool) -> Result<(), DiskError> {
        self.read_with_progress(last, &mut |_| true).map(|_| ())
    }

    /// Reads to the end of the segment; false if `progress` returned false before.
    pub(super) fn read_with_progress(
        mut self,
        last: bool,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, DiskError> {
        let mut reported = self.cursor.offset();
        let fault = loop {
            if self.cursor.offset().saturating_sub(reported) >= PROGRESS_BYTES {
                reported = self.cursor.offset();
                if !progress(self.recovery.chain.next) {
                    return Ok(false);
                }
            }
            match self.step()? {
                Some(FrameCheck::Fits) => {}
                Some(FrameCheck::Fault(seq, fault)) => break Some((seq, fault)),
                None => break self.end(last)?,
            }
        };
        self.recovery.fault = fault;
        let size = self.recovery.chain.next;
        self.recovery.tree.rewind(size, self.batch.last_tile);
        self.recovery.index.truncate(size);
        Ok(true)
    }

    /// Processes the next frame; `None` if no whole and undamaged frame follows.
    fn step(&mut self) -> Result<Option<FrameCheck>, DiskError> {
        let offset = self.cursor.offset();
        let Some((frame, length)) = self.cursor.frame(self.salt)? else { return Ok(None) };
        let next = offset.saturating_add(length);
        let read = match frame {
            Frame::Record { entry, .. } => match self.batch.chain.push(entry) {
                Ok(leaf) => {
                    self.recovery.index.push(&View::of_leaf(entry), self.segment, offset);
                    self.batch.leaves.push(leaf);
                    self.recovery.tree.push(leaf);
                    let size = self.batch.chain.next;
                    if self.anchors.iter().any(|anchor| anchor.size == size) {
                        self.recovery.roots.push((size, self.recovery.tree.root()));
                    }
                    FrameCheck::Fits
                }
                Err(ChainError::Previous { seq }) => {
                    let seq = self.first_changed(seq)?;
                    FrameCheck::Fault(seq, ChainError::Previous { seq }.into())
                }
                Err(error) => FrameCheck::Fault(self.batch.chain.next, error.into()),
            },
            Frame::Commit(commit) => self.commit(&commit, next),
            Frame::Mark { size } => {
                if self.batch.leaves.is_empty() && size == self.recovery.chain.next {
                    self.batch.start = next;
                    if let Some(segment) = self.recovery.segments.last_mut() {
                        segment.end = next;
                    }
                    FrameCheck::Fits
                } else {
                    FrameCheck::Fault(self.batch.chain.next, JournalFault::Root)
                }
            }
        };
        self.cursor.seek(next);
        Ok(Some(read))
    }

    fn commit(&mut self, commit: &Commit, next: u64) -> FrameCheck {
        let expected = Commit {
            first: self.recovery.chain.next,
            size: self.batch.chain.next,
            start: self.batch.start,
            root: self.recovery.tree.root(),
        };
        if *commit != expected || self.batch.leaves.is_empty() {
            // Each entry names the hash of its predecessor, so only the last one can be wrong.
            return FrameCheck::Fault(self.batch.chain.next.saturating_sub(1), JournalFault::Root);
        }
        self.recovery.chain = self.batch.chain;
        self.batch.leaves.clear();
        self.batch.last_tile = self.recovery.tree.last_tile();
        self.batch.start = next;
        if let Some(segment) = self.recovery.segments.last_mut() {
            segment.take_batch(next);
        }
        FrameCheck::Fits
    }

    /// Decides, where no whole frame follows, between the end of the segment, a torn write and damage.
    fn end(&mut self, last: bool) -> Result<Option<(u64, JournalFault)>, DiskError> {
        let damaged = Some((self.batch.chain.next, JournalFault::Damaged));
        self.cursor.seek(self.batch.start);
        let trailing = self.cursor.bytes_until_zeros()?;
        if trailing == 0 {
            return Ok(None);
        }
        // The last frame may itself end in zeros.
        self.cursor.shorten(self.batch.start.saturating_add(trailing).saturating_add(COMMIT_BYTES as u64));
        if !last || self.cursor.acknowledged_beyond(self.recovery.chain.next, self.salt)? {
            return Ok(damaged);
        }
        self.recovery.torn_bytes = trailing;
        Ok(None)
    }

    /// Finds which entry was changed when entry `seq` does not name its predecessor's hash. If the batch's root is
    /// right with the hash that `seq` names, then the predecessor was changed, else `seq`.
    fn first_changed(&mut self, seq: u64) -> Result<u64, DiskError> {
        let Some(kept) = self.batch.leaves.len().checked_sub(1) else { return Ok(seq) };
        let mut tree = self.recovery.tree.clone();
        tree.rewind(self.recovery.chain.next, self.batch.last_tile.clone());
        self.batch.leaves.iter().take(kept).for_each(|leaf| tree.push(*leaf));
        let mut named = false;
        loop {
            let Some((frame, length)) = self.cursor.frame(self.salt)? else { return Ok(seq) };
            match frame {
                Frame::Record { entry, .. } => {
                    if !named {
                        let Ok(entry) = Entry::decode(entry) else { return Ok(seq) };
                        tree.push(entry.previous);
                        named = true;
                    }
                    tree.push(leaf_hash(entry));
                }
                Frame::Commit(commit) if commit.root == tree.root() => return Ok(seq.saturating_sub(1)),
                Frame::Commit(_) | Frame::Mark { .. } => return Ok(seq),
            }
            self.cursor.seek(self.cursor.offset().saturating_add(length));
        }
    }
}
