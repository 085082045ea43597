//! Records kept in memory, until the process ends.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use ak_audit::JournalError;
use ak_kernel::{Failure, Record, SubjectId};

use crate::storage::{
    durable_log::{PAGE_BYTES, PAGE_ENTRIES, record},
    hash_accel::engine,
};

/// Bytes of records that the memory log keeps. Older ones are dropped; the chain goes on.
pub const MEMORY_LOG_BYTES_MAX: usize = 256 << 20;

/// A log in memory. Nobody but this process reads it, so its bodies are open, and an erased one is emptied.
pub(crate) struct Memory {
    pub(super) log: ak_audit::Log,
    /// Whom the records kept are about.
    subjects: VecDeque<Vec<SubjectId>>,
    /// The snapshot of the last erasure, and the entry that it belongs to.
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

    /// The next records of a log in self. None are left where it is empty.
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
