//! Reading records from a journal, and proving them.

use alloc::{collections::VecDeque, sync::Arc, vec, vec::Vec};
use core::{iter::FusedIterator, ops::Range};

use super::{
    Disk, HEADER_BYTES, Journal, JournalError,
    cursor::{Cursor, read_fully},
    frame::Frame,
    index::Block,
    segment::{self, Header},
};
use crate::{
    hash::{Hash, leaf_hash},
    log::{MissingRecord, Record},
    merkle::full_tree::FullTree,
    merkle::prover::{self, ProofError},
    merkle::tiled_tree::TileReader,
    merkle::tree::{TILE_HEIGHT, TILE_WIDTH},
};

impl<D: Disk> Journal<D> {
    /// Iterates over the durable records whose `seq` lies in `range`, except pruned ones, oldest first; `rev` gives
    /// the newest first.
    pub fn records(&self, range: Range<u64>) -> Records<'_, D> {
        let range = range.start.max(self.base.size())..range.end.min(self.durable);
        Records { journal: self, range, front: VecDeque::new(), back: VecDeque::new() }
    }

    /// The record of entry `seq`, read from disk.
    ///
    /// # Errors
    /// When the entry was pruned or does not exist, its bytes changed on disk, or the disk fails.
    pub fn record(&self, seq: u64) -> Result<Record, JournalError> {
        if seq < self.base.size() {
            return Err(MissingRecord::Pruned.into());
        }
        let found = self.records(seq..seq.saturating_add(1)).next();
        Ok(found.ok_or(MissingRecord::Absent)??.1)
    }

    /// Makes the proof that entry `seq` is in the log of the first `size` entries (RFC 6962 §2.1.1). Reads at most
    /// two tiles of 256 entries.
    ///
    /// # Errors
    /// When `seq` is not below `size`, the log is smaller than `size`, the entry was pruned, or the disk fails.
    pub fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.check_size(size)?;
        if seq < self.base.size() {
            return Err(ProofError::Pruned);
        }
        let mut reader = self.tree_reader();
        prover::inclusion(seq, size, |level, index| reader.subtree(level, index, size))
    }

    /// Makes the proof that the log of `new` entries begins with the log of `old` entries (RFC 6962 §2.1.2).
    ///
    /// # Errors
    /// When `old` is 0 or above `new`, the log is smaller than `new`, the hashes needed were pruned, or the disk
    /// fails.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        self.check_size(new)?;
        let mut reader = self.tree_reader();
        prover::consistency(old, new, |level, index| reader.subtree(level, index, new))
    }

    /// The root over the first `size` entries.
    ///
    /// # Errors
    /// When the log is smaller, the hashes needed were pruned, or the disk fails.
    pub fn root_at(&self, size: u64) -> Result<Hash, ProofError> {
        self.check_size(size)?;
        self.tree_reader().root(size)
    }

    /// A reader of the tree's nodes, which reads from disk those that are not in memory.
    pub(crate) fn tree_reader(&self) -> TileReader<'_, impl FnMut(u64) -> Result<FullTree, ProofError>> {
        self.tree.reader(|tile| self.tile(tile))
    }

    fn check_size(&self, size: u64) -> Result<(), ProofError> {
        if size > self.durable { Err(ProofError::Range) } else { Ok(()) }
    }

    /// The leaves of one tile as a tree, hashed from its entries. If pruning removed some of its entries, the tree
    /// starts from the edge over these.
    fn tile(&self, tile: u64) -> Result<FullTree, ProofError> {
        let start = tile << TILE_HEIGHT;
        let mut tree = match self.base.size().checked_sub(start) {
            Some(gone) if gone >= TILE_WIDTH => return Err(ProofError::Pruned),
            Some(gone) if gone > 0 => FullTree::from_edge(&self.base.below(TILE_HEIGHT)),
            Some(_) | None => FullTree::new(),
        };
        for record in self.records(start..start.saturating_add(TILE_WIDTH)) {
            let (_, record) = record.map_err(|_| ProofError::Unreadable)?;
            tree.push(leaf_hash(&record.entry));
        }
        Ok(tree)
    }

    pub(super) fn header_of(&self, first: u64) -> Result<Header, JournalError> {
        let mut bytes = vec![0; usize::try_from(HEADER_BYTES).unwrap_or_default()];
        let got = read_fully(&self.disk, &segment::name(first), 0, &mut bytes)?;
        bytes.get(..got).and_then(Header::decode).ok_or(JournalError::Changed { seq: first })
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        self.index.blocks()
    }

    /// Reads the durable records of one block.
    pub(crate) fn block(&self, block: &Block) -> Result<Vec<(u64, Record)>, JournalError> {
        let segment = self.segments.binary_search_by_key(&block.segment, |segment| segment.first).ok();
        let segment = segment.and_then(|index| self.segments.get(index));
        let Some(segment) = segment else { return Err(JournalError::Changed { seq: block.first }) };
        let position = self.blocks().partition_point(|other| other.first <= block.first);
        let next = self.blocks().get(position).filter(|next| next.segment == block.segment);
        let last = next.map_or(u64::MAX, |next| next.first).min(self.durable);
        let mut cursor = Cursor::new(&self.disk, segment::name(segment.first), block.offset, segment.end);
        let mut records = Vec::new();
        let mut seq = block.first;
        while seq < last && cursor.offset() < segment.end {
            let Some((frame, length)) = cursor.frame(segment.salt)? else {
                return Err(JournalError::Changed { seq });
            };
            match frame {
                Frame::Record { entry, body } => {
                    records.push((seq, Record { entry: Arc::from(entry), body: Arc::from(body) }));
                    seq = seq.saturating_add(1);
                }
                Frame::Commit(_) | Frame::Mark { .. } => {}
            }
            cursor.seek(cursor.offset().saturating_add(length));
        }
        Ok(records)
    }
}

/// An iterator over the records of a range, which reads them block by block as it advances.
#[derive(Debug)]
pub struct Records<'j, D> {
    journal: &'j Journal<D>,
    /// The part of the range that is not loaded yet.
    range: Range<u64>,
    front: VecDeque<(u64, Record)>,
    back: VecDeque<(u64, Record)>,
}

impl<D: Disk> Records<'_, D> {
    /// Loads the part of the range that lies in the block of `seq`.
    fn load(&self, seq: u64) -> Result<Vec<(u64, Record)>, JournalError> {
        let journal = self.journal;
        let block = journal.blocks().get(journal.index.position(seq));
        let mut records = journal.block(block.ok_or(JournalError::Changed { seq })?)?;
        records.retain(|(seq, _)| self.range.contains(seq));
        if records.is_empty() { Err(JournalError::Changed { seq }) } else { Ok(records) }
    }

    /// Ends the iteration with `error`.
    fn fail<T>(&mut self, error: JournalError) -> Option<Result<T, JournalError>> {
        self.range = 0..0;
        Some(Err(error))
    }
}

impl<D: Disk> Iterator for Records<'_, D> {
    type Item = Result<(u64, Record), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.front.pop_front() {
                return Some(Ok(record));
            }
            if self.range.is_empty() {
                return self.back.pop_front().map(Ok);
            }
            match self.load(self.range.start) {
                Ok(records) => {
                    self.range.start =
                        records.last().map_or(self.range.end, |(seq, _)| seq.saturating_add(1));
                    self.front = records.into();
                }
                Err(error) => return self.fail(error),
            }
        }
    }
}

impl<D: Disk> DoubleEndedIterator for Records<'_, D> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.back.pop_back() {
                return Some(Ok(record));
            }
            if self.range.is_empty() {
                return self.front.pop_back().map(Ok);
            }
            match self.load(self.range.end.saturating_sub(1)) {
                Ok(records) => {
                    self.range.end = records.first().map_or(self.range.start, |(seq, _)| *seq);
                    self.back = records.into();
                }
                Err(error) => return self.fail(error),
            }
        }
    }
}

impl<D: Disk> FusedIterator for Records<'_, D> {}
