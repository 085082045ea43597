//! Counts the records since the newest snapshot, to decide when the next snapshot is due.

use ak_kernel::Record;

use crate::storage::log::Log;

/// Minimum number of entries since the newest snapshot before another one is made.
pub const SNAPSHOT_ENTRIES: u64 = 10_000;
/// A snapshot is due once the new records take 1/N of the bytes of the newest snapshot, which spreads its cost over
/// them.
const SNAPSHOT_PART: u64 = 2;

/// The entries and bytes recorded since the newest snapshot began.
pub(crate) struct Unsaved {
    entries: u64,
    bytes: u64,
    /// Bytes of records after which the next snapshot is due; `None` for never, when the log is not a journal on disk.
    bytes_due: Option<u64>,
}

impl Unsaved {
    pub(crate) fn new(log: &Log, entries: u64) -> Unsaved {
        let bytes_due = log.is_durable().then(|| log.snapshot_bytes() / SNAPSHOT_PART);
        Unsaved { entries, bytes: 0, bytes_due }
    }

    pub(crate) fn count(&mut self, records: &[Record]) {
        self.entries = self.entries.saturating_add(records.len() as u64);
        let bytes = records.iter().map(|record| (record.leaf.len() + record.body.len()) as u64);
        self.bytes = bytes.fold(self.bytes, u64::saturating_add);
    }

    /// Whether another snapshot is due.
    pub(crate) fn is_due(&self) -> bool {
        self.is_worthwhile() && self.bytes_due.is_some_and(|due| self.bytes >= due)
    }

    pub(super) fn is_worthwhile(&self) -> bool {
        self.bytes_due.is_some() && self.entries >= SNAPSHOT_ENTRIES
    }

    pub(super) fn begin(&mut self) {
        (self.entries, self.bytes) = (0, 0);
    }

    /// Sets when the next snapshot is due, from the length of the newest one in bytes.
    pub(super) fn snapshot_kept(&mut self, bytes: u64) {
        self.bytes_due = self.bytes_due.map(|_| bytes / SNAPSHOT_PART);
    }
}
