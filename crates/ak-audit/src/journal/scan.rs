//! Reading all durable records of a journal in order, while it is being written, in little memory.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use super::{
    Disk, HEADER_BYTES, Journal, JournalError,
    cursor::Cursor,
    frame::{Frame, Salt},
    segment,
};
use crate::{
    hash::{Hash, leaf_hash},
    log::Record,
    merkle::tree::Tree,
};

/// A read of all durable records, in order, through its own disk handle, so that the journal can go on.
///
/// It checks each frame against its checksum, and at the end all entries together against the root.
#[derive(Debug)]
pub struct Scan<D> {
    disk: D,
    /// The segments not read to their end yet: `seq` of the first entry, salt, end as an offset in bytes.
    segments: VecDeque<(u64, Salt, u64)>,
    /// Offset in the first of these segments where the next frame starts.
    offset: u64,
    tree: Tree,
    end: u64,
    root: Hash,
}

impl<D: Disk> Journal<D> {
    /// Starts a read of the records that are durable now. `disk` is another handle on the journal's disk.
    pub fn scan<H: Disk>(&self, disk: H) -> Scan<H> {
        let segments = self.segments.iter().map(|segment| (segment.first, segment.salt, segment.end));
        Scan {
            disk,
            segments: segments.collect(),
            offset: HEADER_BYTES,
            tree: self.base.clone(),
            end: self.durable,
            root: self.durable_root,
        }
    }
}

impl<D: Disk> Scan<D> {
    /// `seq` of the next entry to read.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.tree.size()
    }

    /// Number of entries in the log when the scan started; the scan ends before this `seq`.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Reads the next records: at least one, at most `entries_max`, and not many more than `bytes_max` bytes. Empty
    /// at the end of the log.
    ///
    /// # Errors
    /// [`JournalError::Changed`] with the first entry that differs from what was written, or [`JournalError::Disk`].
    pub fn page(&mut self, entries_max: usize, bytes_max: usize) -> Result<Vec<(u64, Record)>, JournalError> {
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        while self.next() < self.end && records.len() < entries_max && bytes < bytes_max {
            let read = self.read_segment(entries_max.saturating_sub(records.len()), bytes_max - bytes)?;
            bytes = read.iter().fold(bytes, |bytes, (_, record)| bytes.saturating_add(record.len()));
            records.extend(read);
        }
        if self.next() == self.end && !records.is_empty() && self.tree.root() != self.root {
            return Err(JournalError::Changed { seq: self.end.saturating_sub(1) });
        }
        Ok(records)
    }

    /// Reads records of the first segment in the queue, which is removed once it was read to its end.
    fn read_segment(
        &mut self,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Record)>, JournalError> {
        let changed = |seq| JournalError::Changed { seq };
        let Some((_, salt, end)) = self.segments.front().copied() else { return Err(changed(self.next())) };
        let last = self.segments.get(1).map_or(self.end, |(next, ..)| *next).min(self.end);
        let name = segment::name(self.segments.front().map_or(0, |(first, ..)| *first));
        let mut cursor = Cursor::new(&self.disk, name, self.offset, end);
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        while self.tree.size() < last && records.len() < entries_max && bytes < bytes_max {
            let seq = self.tree.size();
            let Some((frame, length)) = cursor.frame(salt)? else { return Err(changed(seq)) };
            match frame {
                Frame::Record { entry, body } => {
                    self.tree.push(leaf_hash(entry));
                    bytes = bytes.saturating_add(entry.len()).saturating_add(body.len());
                    records.push((seq, Record { entry: Arc::from(entry), body: Arc::from(body) }));
                }
                Frame::Commit(commit) if commit.size != seq || commit.root != self.tree.root() => {
                    return Err(changed(seq.saturating_sub(1)));
                }
                Frame::Commit(_) | Frame::Mark { .. } => {}
            }
            cursor.seek(cursor.offset().saturating_add(length));
        }
        self.offset = cursor.offset();
        if self.tree.size() >= last {
            self.segments.pop_front();
            self.offset = HEADER_BYTES;
        }
        Ok(records)
    }
}
