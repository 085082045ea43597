//! Reading a journal from its beginning to where it stands now, beside the writer and in little memory.

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

/// A reading of all durable records, in order, through a handle of its own: the journal goes on meanwhile.
///
/// Each frame is held against its checksum, and all entries together against the root over them at the end.
#[derive(Debug)]
pub struct Scan<D> {
    disk: D,
    /// The segments that are not read to their end: first entry, salt, end in bytes.
    segments: VecDeque<(u64, Salt, u64)>,
    /// Where the next frame of the first of them starts.
    offset: u64,
    tree: Tree,
    end: u64,
    root: Hash,
}

impl<D: Disk> Journal<D> {
    /// Begins a reading of what is durable now. `disk` is another handle on what the journal stands on.
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
    /// The next entry.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.tree.size()
    }

    /// How many entries there are with those that will be read.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The next records, as many as `entries_max` and of about `bytes_max`, and at least one. None are left where it is empty.
    ///
    /// # Errors
    /// [`JournalError::Changed`] names the first entry that is not as it was written; when the disk fails.
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

    /// Records of the first segment; it is left behind once it is read to its end.
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
