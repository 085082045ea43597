//! Keeps records in memory, until the process ends.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use ak_audit::JournalError;
use ak_kernel::{Failure, Record, SubjectId};

use crate::storage::{
    durable_log::{PAGE_BYTES, PAGE_ENTRIES, record},
    hash_accel::engine,
};

/// Maximum number of bytes of records that a log in memory keeps. Older records are dropped; the hash chain continues.
pub const MEMORY_LOG_BYTES_MAX: usize = 256 << 20;

/// A log in memory. Only this process can read it, so bodies are not sealed; an erasure empties them.
pub(crate) struct Memory {
    pub(super) log: ak_audit::Log,
    /// The subjects of each kept record.
    subjects: VecDeque<Vec<SubjectId>>,
    /// The entry and snapshot of the last erasure.
    pub(super) snapshot: Option<(u64, Arc<Vec<u8>>)>,
    pub(super) erasures: u64,
}

impl Memory {
    pub(super) fn new() -> Memory {
        let log = ak_audit::Log::with_engine(MEMORY_LOG_BYTES_MAX, engine());
        Memory { log, subjects: VecDeque::new(), snapshot: None, erasures: 0 }
    }

    pub(super) fn append(&mut self, record: Record) -> Result<(), JournalError> {
        self.log.append_leaf(record.leaf, record.body)?;
        self.subjects.push_back(record.subjects);
        let kept = usize::try_from(self.log.len() - self.log.pruned_below()).unwrap_or(usize::MAX);
        while self.subjects.len() > kept {
            self.subjects.pop_front();
        }
        Ok(())
    }

    pub(super) fn erase(&mut self, subject: SubjectId) {
        self.erasures += 1;
        let first = self.log.pruned_below();
        let about = self.subjects.iter().enumerate().filter(|(_, subjects)| subjects.contains(&subject));
        for (index, _) in about {
            self.log.erase_body(first + index as u64);
        }
    }

    /// Returns the next page of `entries`, and removes it from the range; empty when none are left.
    pub(super) fn page(&self, entries: &mut Range<u64>) -> Vec<Result<Record, Failure>> {
        let first = self.log.pruned_below();
        let subjects = |seq: u64| self.subjects.get(usize::try_from(seq.checked_sub(first)?).ok()?);
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        while let Ok(kept) = self.log.get(entries.start)
            && !entries.is_empty()
            && records.len() < PAGE_ENTRIES
            && bytes < PAGE_BYTES
        {
            bytes = bytes.saturating_add(kept.len());
            let seq = entries.start;
            records.push(record(seq, kept.clone(), subjects(seq).cloned().unwrap_or_default()));
            entries.start += 1;
        }
        records
    }
}
