//! Reads and verifies, in the background, the segments that opening left unread.

use super::{
    Disk, DiskError, Journal, JournalError, JournalFault, State,
    recover::{self, Recovery},
    segment::Header,
};

/// A pending read of all segments before the first one that was read when the journal was opened.
///
/// 1. [`Journal::scrub`] gives it.
/// 2. [`Scrub::read`] reads them, through another handle on the disk, while the journal is used.
/// 3. [`Journal::finish_scrub`] takes note of what was found.
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
    /// How many entries there are to read, those pruned included.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.end.chain.next
    }

    /// Reads them. `progress` takes how many entries were read, those pruned included, about once for each MiB, and says
    /// whether to go on. None when it said no.
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
    /// What is to be read yet; none where everything was read.
    #[must_use]
    pub fn scrub(&self) -> Option<Scrub> {
        self.read_from.clone().map(|end| Scrub { end })
    }

    /// The first entry that was read, or may be read for the first time by a [`Scrub`].
    #[must_use]
    pub fn unread_below(&self) -> u64 {
        self.read_from.as_ref().map_or(0, |header| header.chain.next)
    }

    /// Takes note of what was read. The first entry that is damaged, and why, where there is one: the journal is read-only
    /// then.
    ///
    /// # Errors
    /// When segments were dropped since the scrub began: the rest has to be read again.
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
