//! Reads a whole log page by page, without delaying the writer.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use ak_audit::journal::Scan;
use ak_kernel::{Failure, Record};

use crate::{
    fair_mutex::FairGuard,
    storage::{
        disk::BoxedDisk,
        durable_log::{PAGE_BYTES, PAGE_ENTRIES, journal_failure, open_record},
        log::Log,
        snapshot_file::SnapshotFile,
    },
};

/// Reads a log from the first kept entry to its end at the time of creation.
pub(crate) struct LogReader {
    pub(super) source: Source,
    pub(super) erasures: u64,
    /// The first entry that is kept.
    pub(crate) first: u64,
    /// The entries that have snapshots.
    pub(crate) snapshots: BTreeSet<u64>,
}

pub(super) enum Source {
    /// The entries that are still to be read.
    Memory(Range<u64>),
    Disk(Box<Scan<BoxedDisk>>),
}

/// A snapshot that can be read without the log's lock.
pub(crate) enum StoredSnapshot {
    Memory(Arc<Vec<u8>>),
    Disk(SnapshotFile),
}

impl StoredSnapshot {
    /// Returns the snapshot; `None` when its file is missing or damaged.
    pub(crate) fn read(&self) -> Option<Arc<Vec<u8>>> {
        match self {
            StoredSnapshot::Memory(bytes) => Some(bytes.clone()),
            StoredSnapshot::Disk(file) => file.read().map(Arc::new),
        }
    }
}

impl LogReader {
    /// Returns the next page of records, in which erased bodies are empty; an empty page at the end. `log` locks the
    /// log briefly. Returns `None` when an erasure or a pruning intervened, so that reading has to start again.
    pub(crate) fn page<'l>(
        &mut self,
        log: impl Fn() -> Result<FairGuard<'l, Log>, Failure>,
    ) -> Result<Option<Vec<Record>>, Failure> {
        match &mut self.source {
            Source::Memory(entries) => {
                let log = log()?;
                if log.erasures() != self.erasures {
                    return Ok(None);
                }
                let page = match &*log {
                    Log::Memory(memory) => memory.page(entries),
                    _ => Vec::new(),
                };
                if page.is_empty() && !entries.is_empty() {
                    return log.refusal().map_or(Ok(None), Err);
                }
                page.into_iter().collect::<Result<_, _>>().map(Some)
            }
            Source::Disk(scan) => {
                let page = scan.page(PAGE_ENTRIES, PAGE_BYTES).map_err(journal_failure)?;
                let keys = {
                    let log = log()?;
                    match &*log {
                        Log::Durable(durable) | Log::ReadOnly(durable)
                            if durable.erasures == self.erasures =>
                        {
                            durable.vault.keys_of(page.iter().map(|(_, record)| &*record.body))
                        }
                        Log::Durable(_) | Log::ReadOnly(_) => return Ok(None),
                        log => return Err(log.gone()),
                    }
                };
                let opened = page.into_iter().map(|(seq, kept)| open_record(seq, kept, |id| keys.get(&id)));
                opened.collect::<Result<_, _>>().map(Some)
            }
        }
    }
}
