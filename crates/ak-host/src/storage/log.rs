//! Stores records: in memory, or in a journal on disk with their bodies sealed.

use std::{collections::BTreeSet, sync::Arc};

use ak_audit::{
    Hash, JournalError, MissingRecord, ProofError,
    journal::{Scrub, ScrubResult},
};
use ak_json::Value;
use ak_kernel::{Code, Failure, Record, SubjectId};

use crate::storage::{
    disk::BoxedDisk,
    durable_log::Durable,
    log_reader::{LogReader, Source, StoredSnapshot},
    memory_log::Memory,
    snapshot_file::SnapshotFile,
    verify::{Anchor, VerificationSummary},
};

/// The log of one kernel: its records in order.
pub(crate) enum Log {
    /// In memory, until the process ends.
    Memory(Box<Memory>),
    /// In a journal on disk; records are synced before anything depends on them.
    Durable(Box<Durable>),
    /// A journal on disk that is not writable: it can only be read and verified.
    ReadOnly(Box<Durable>),
    /// A journal on disk that is damaged or does not replay: nothing is appended.
    Damaged { followed: u64, first_bad: u64, reason: String },
    /// The log of a closed kernel.
    Closed,
}

/// The allocated space of a log, in bytes of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogSpace {
    /// Space for any request; `u64::MAX` unless the log is a journal on disk.
    pub(crate) ordinary: u64,
    /// Further space, for the requests of the owner that must work on a full disk.
    pub(crate) reserve: u64,
}

impl Log {
    pub(crate) fn in_memory() -> Log {
        Log::Memory(Box::new(Memory::new()))
    }

    /// Returns why nothing can be recorded; `None` when records can be appended.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        match self {
            Log::Memory(_) | Log::Durable(_) => None,
            Log::Damaged { first_bad, reason, .. } => {
                let message = format!(
                    "the journal is damaged from entry {first_bad} on and can only be verified: {reason}"
                );
                Some(Failure::new(Code::LogCorrupt, message).with("first_bad", *first_bad))
            }
            Log::ReadOnly(_) => {
                let message =
                    "the state directory may not be written: its log can be verified, and nothing else";
                Some(Failure::new(Code::NotConfigured, message))
            }
            Log::Closed => Some(Failure::new(Code::NotConfigured, "the kernel is closed")),
        }
    }

    /// Makes records durable; the log has promised space for `expected` more bytes. After [`JournalError::Full`] no
    /// record is lost: the next call writes these records first.
    pub(crate) fn append(&mut self, new: Vec<Record>, expected: u64) -> Result<(), JournalError> {
        match self {
            Log::Memory(memory) => new.into_iter().try_for_each(|record| memory.append(record)),
            Log::Durable(durable) => {
                durable.unwritten.extend(new);
                let entries = durable.sealed()?;
                let journal = &mut durable.journal;
                // Space was allocated before dispatch; starting a new segment must not use it up.
                journal.expect_bytes(expected);
                journal.append_reserved(&entries)?;
                durable.unwritten.clear();
                journal.sync().map(|_| ())
            }
            Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => Err(JournalError::ReadOnly),
        }
    }

    /// Returns the allocated space.
    pub(crate) fn space(&self) -> LogSpace {
        match self {
            Log::Durable(durable) => {
                let journal = &durable.journal;
                // Without space for keys, no record can be sealed.
                let ordinary = if durable.vault.has_room() { journal.free_bytes() } else { 0 };
                LogSpace { ordinary, reserve: journal.free_bytes_with_reserve().saturating_sub(ordinary) }
            }
            Log::Memory(_) | Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => {
                LogSpace { ordinary: u64::MAX, reserve: 0 }
            }
        }
    }

    /// Reserves space for a snapshot of about `bytes` bytes, which an erasure needs.
    ///
    /// # Errors
    /// LOG_FULL when the disk has too little space.
    pub(crate) fn reserve_snapshot(&mut self, bytes: u64) -> Result<(), Failure> {
        match self {
            Log::Durable(durable) => durable.vault.reserve_snapshot(bytes).map_err(|error| match error {
                ak_audit::DiskError::Full => Failure::new(
                    Code::LogFull,
                    "the disk has no room for the snapshot of the state that an erasure needs; nothing was done. Free \
                     some, and ask again",
                ),
                error => vault_failure(error),
            }),
            Log::Memory(_) | Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => Ok(()),
        }
    }

    /// Allocates space for `bytes` bytes of records, and for keys of their bodies.
    pub(crate) fn allocate_space(&mut self, bytes: u64) -> Result<(), JournalError> {
        match self {
            Log::Durable(durable) => {
                durable.vault.reserve()?;
                durable.journal.ensure_free_bytes(bytes)
            }
            Log::Memory(_) | Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => Ok(()),
        }
    }

    /// Returns a reader of all records that are kept now.
    pub(crate) fn reader(&self) -> LogReader {
        let erasures = self.erasures();
        let (source, first) = match self {
            Log::Memory(memory) => {
                let first = memory.log.pruned_below();
                (Source::Memory(first..memory.log.len()), first)
            }
            Log::Durable(durable) | Log::ReadOnly(durable) => {
                let scan = durable.journal.scan(durable.journal.disk().handle());
                let first = scan.next();
                (Source::Disk(Box::new(scan)), first)
            }
            Log::Damaged { .. } | Log::Closed => (Source::Memory(0..0), 0),
        };
        let snapshots = match self {
            Log::Memory(memory) => memory.snapshot.iter().map(|(seq, _)| *seq).collect(),
            Log::Durable(durable) | Log::ReadOnly(durable) => durable.vault.snapshots().into_iter().collect(),
            Log::Damaged { .. } | Log::Closed => BTreeSet::new(),
        };
        LogReader { source, erasures, first, snapshots }
    }

    /// Number of subjects that were erased since the log was opened.
    pub(crate) fn erasures(&self) -> u64 {
        match self {
            Log::Memory(memory) => memory.erasures,
            Log::Durable(durable) | Log::ReadOnly(durable) => durable.erasures,
            Log::Damaged { .. } | Log::Closed => 0,
        }
    }

    /// Returns the snapshot of entry `seq`, which can be read without the log's lock; `None` when it is no longer kept.
    pub(crate) fn stored_snapshot(&self, seq: u64) -> Option<StoredSnapshot> {
        match self {
            Log::Memory(memory) => {
                let kept = memory.snapshot.as_ref().filter(|(kept, _)| *kept == seq);
                kept.map(|(_, snapshot)| StoredSnapshot::Memory(snapshot.clone()))
            }
            Log::Durable(durable) | Log::ReadOnly(durable) => {
                durable.vault.snapshot_file(seq).map(StoredSnapshot::Disk)
            }
            Log::Damaged { .. } | Log::Closed => None,
        }
    }

    /// Begins to write the snapshot of entry `seq`; returns `None` for a log in memory. The snapshot of an erasure may
    /// use the reserve.
    pub(crate) fn begin_snapshot(
        &mut self,
        seq: u64,
        is_erasure: bool,
    ) -> Result<Option<SnapshotFile>, Failure> {
        match self {
            Log::Memory(_) => Ok(None),
            Log::Durable(durable) => {
                if is_erasure {
                    durable.vault.release_reserve();
                }
                durable.vault.begin_snapshot(seq, false).map(Some).map_err(vault_failure)
            }
            Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// Adopts a snapshot whose digest is recorded, and which was written to `file` if there is one. Returns the names
    /// of files of older snapshots, for removal.
    pub(crate) fn keep_snapshot(
        &mut self,
        seq: u64,
        snapshot: Vec<u8>,
        file: Option<&SnapshotFile>,
    ) -> Result<Vec<String>, Failure> {
        match (self, file) {
            (Log::Memory(memory), _) => {
                memory.snapshot = Some((seq, Arc::new(snapshot)));
                Ok(Vec::new())
            }
            (Log::Durable(durable), Some(file)) => durable.vault.adopt_snapshot(file).map_err(vault_failure),
            (log, _) => Err(log.gone()),
        }
    }

    /// Refills the reserve for the snapshot of an erasure.
    pub(crate) fn fill_reserve(&mut self) {
        if let Log::Durable(durable) = self {
            durable.vault.fill_reserve();
        }
    }

    /// Length of the newest snapshot in bytes; 0 when there is none on disk.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        match self {
            Log::Durable(durable) => durable.vault.snapshot_bytes(),
            Log::Memory(_) | Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => 0,
        }
    }

    /// Writes the snapshot from which a journal of an earlier version continues; it belongs to the next entry, `seq`.
    pub(crate) fn keep_upgrade(&mut self, seq: u64, snapshot: &[u8]) -> Result<(), Failure> {
        match self {
            Log::Durable(durable) => durable.vault.write_snapshot(seq, snapshot, true).map_err(vault_failure),
            Log::Memory(_) | Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// Erases a subject after the snapshot of entry `seq` was kept: makes its bodies unreadable, and forgets every
    /// earlier snapshot. Returns the names of their files, for removal.
    pub(crate) fn erase(&mut self, subject: SubjectId, seq: u64) -> Result<Vec<String>, Failure> {
        match self {
            Log::Memory(memory) => {
                memory.erase(subject);
                Ok(Vec::new())
            }
            Log::Durable(durable) => {
                durable.erasures += 1;
                let vault = &mut durable.vault;
                let obsolete = vault.forget_snapshots_below(seq).map_err(vault_failure)?;
                vault.destroy_key(subject).map_err(vault_failure)?;
                Ok(obsolete)
            }
            Log::ReadOnly(_) | Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// Returns the result of verifying a damaged journal.
    pub(crate) fn verification_result(&self) -> Value {
        match self {
            Log::Damaged { followed, first_bad, reason } => {
                let wrong = Some((*first_bad, reason.clone()));
                Anchor::NONE.result(VerificationSummary {
                    replayed: *followed,
                    opaque: 0,
                    not_replayed: 0,
                    entries: *followed,
                    wrong,
                })
            }
            Log::Memory(_) | Log::Durable(_) | Log::ReadOnly(_) | Log::Closed => {
                Anchor::NONE.result(VerificationSummary {
                    replayed: 0,
                    opaque: 0,
                    not_replayed: 0,
                    entries: 0,
                    wrong: None,
                })
            }
        }
    }

    /// Returns the number of entries, and the Merkle root over them.
    pub(crate) fn tree_head(&self) -> Result<(u64, Hash), Failure> {
        match self {
            Log::Memory(memory) => Ok((memory.log.len(), memory.log.root())),
            Log::Durable(durable) | Log::ReadOnly(durable) => {
                Ok((durable.journal.len(), durable.journal.root()))
            }
            Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// Returns the Merkle root over the first `size` entries.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, Failure> {
        let root = match self {
            Log::Memory(memory) => memory.log.tree().root_at(size),
            Log::Durable(durable) | Log::ReadOnly(durable) => durable.journal.root_at(size),
            Log::Damaged { .. } | Log::Closed => return Err(self.gone()),
        };
        root.map_err(proof_failure)
    }

    /// Returns the proof that an entry is among the first `size` entries.
    pub(crate) fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Vec<Hash>, Failure> {
        let path = match self {
            Log::Memory(memory) => memory.log.inclusion_proof(seq, size),
            Log::Durable(durable) | Log::ReadOnly(durable) => durable.journal.inclusion_proof(seq, size),
            Log::Damaged { .. } | Log::Closed => return Err(self.gone()),
        };
        path.map_err(proof_failure)
    }

    /// Returns the bytes of an entry.
    pub(crate) fn entry(&self, seq: u64) -> Result<Arc<[u8]>, Failure> {
        let missing =
            |missing: MissingRecord| Failure::new(Code::NotFound, format!("entry {seq}: {missing}"));
        match self {
            Log::Memory(memory) => memory.log.get(seq).map(|kept| kept.entry.clone()).map_err(missing),
            Log::Durable(durable) | Log::ReadOnly(durable) => match durable.journal.record(seq) {
                Ok(kept) => Ok(kept.entry),
                Err(JournalError::Missing(reason)) => Err(missing(reason)),
                Err(error) => Err(Failure::new(Code::Io, error.to_string())),
            },
            Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// Returns the part of the journal that opening left unread, and a disk handle to read it; `None` when there is
    /// none.
    pub(crate) fn scrub(&self) -> Option<(Scrub, BoxedDisk)> {
        let Log::Durable(durable) = self else { return None };
        Some((durable.journal.scrub()?, durable.journal.disk().handle()))
    }

    /// The first entry that can be proven; earlier entries are not read yet.
    pub(crate) fn unread_below(&self) -> u64 {
        match self {
            Log::Durable(durable) | Log::ReadOnly(durable) => durable.journal.unread_below(),
            Log::Memory(_) | Log::Damaged { .. } | Log::Closed => 0,
        }
    }

    /// Handles the result of a scrub. From then on a damaged journal can only be verified.
    ///
    /// # Errors
    /// When the scrub has to be repeated.
    pub(crate) fn finish_scrub(&mut self, read: ScrubResult) -> Result<(), JournalError> {
        let Log::Durable(durable) = self else { return Ok(()) };
        if let Some((first_bad, fault)) = durable.journal.finish_scrub(read)? {
            *self = Log::Damaged { followed: first_bad, first_bad, reason: fault.to_string() };
        }
        Ok(())
    }

    pub(super) fn gone(&self) -> Failure {
        self.refusal().unwrap_or_else(|| Failure::new(Code::NotConfigured, "there is no log"))
    }

    pub(crate) const fn is_memory(&self) -> bool {
        matches!(self, Log::Memory(_))
    }

    pub(crate) const fn is_durable(&self) -> bool {
        matches!(self, Log::Durable(_))
    }

    /// Closes the journal, so that it can be opened again.
    pub(crate) fn close(&mut self) {
        *self = Log::Closed;
    }
}

fn proof_failure(error: ProofError) -> Failure {
    Failure::new(Code::NotFound, error.to_string())
}

pub(crate) fn vault_failure(error: ak_audit::DiskError) -> Failure {
    match error {
        ak_audit::DiskError::Full => {
            Failure::new(Code::LogFull, "the disk has no room for a snapshot of the state")
        }
        error => Failure::new(Code::Io, format!("the vault, where keys and snapshots are kept: {error}")),
    }
}
