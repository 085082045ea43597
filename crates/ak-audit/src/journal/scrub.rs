//! Reading and verifying, in the background, the segments that opening left unread.

use super::{
    Disk, DiskError, Journal, JournalError, JournalFault, State,
    recover::{self, Recovery},
    segment::Header,
};

/// A pending read of all segments before the first one that opening read.
///
/// 1. [`Journal::scrub`] gives it.
/// 2. [`Scrub::read`] reads the segments, through another handle on the disk, while the journal is used.
/// 3. [`Journal::finish_scrub`] takes the result.
#[derive(Debug, Clone)]
pub struct Scrub {
    end: Header,
}

/// The result of a [`Scrub`], for [`Journal::finish_scrub`].
#[must_use = "the journal waits for it"]
pub struct ScrubResult {
    recovery: Recovery,
}

impl Scrub {
    /// Number of entries before the first segment that opening read, pruned ones included.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.end.chain.next
    }

    /// Reads the segments. Calls `progress` about once per MiB with the number of entries read, pruned ones included,
    /// and stops when it returns false; the result is then `None`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read<D: Disk>(
        &self,
        disk: &D,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<ScrubResult>, DiskError> {
        let read = recover::recover_before(disk, &self.end, progress)?;
        Ok(read.map(|recovery| ScrubResult { recovery }))
    }
}

impl<D: Disk> Journal<D> {
    /// The read that is still pending; `None` if every segment was read.
    #[must_use]
    pub fn scrub(&self) -> Option<Scrub> {
        self.read_from.clone().map(|end| Scrub { end })
    }

    /// `seq` of the first entry that opening read, if a [`Scrub`] is still to read those before it; else 0.
    #[must_use]
    pub fn unread_below(&self) -> u64 {
        self.read_from.as_ref().map_or(0, |header| header.chain.next)
    }

    /// Takes the result of a scrub. Returns the first damaged entry with its fault, if there is one; the journal is
    /// then read-only.
    ///
    /// # Errors
    /// [`JournalError::Changed`] when segments were pruned since the scrub began: scrub again.
    pub fn finish_scrub(&mut self, read: ScrubResult) -> Result<Option<(u64, JournalFault)>, JournalError> {
        let Recovery { base, segments, index, tree, fault, .. } = read.recovery;
        if fault.is_some() {
            self.state = State::ReadOnly;
            return Ok(fault);
        }
        let Some(header) = self.read_from.as_ref().filter(|_| base == self.base) else {
            return Err(JournalError::Changed { seq: self.base.size() });
        };
        let first = header.chain.next;
        if self.tree.put_before(tree, first).is_err() {
            return Err(JournalError::Changed { seq: first });
        }
        self.index.replace_before(first, index);
        let unread = self.segments.partition_point(|segment| segment.first < first);
        self.segments.splice(..unread, segments);
        self.read_from = None;
        Ok(None)
    }
}
