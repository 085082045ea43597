//! Keeps records in a journal on disk, with their bodies sealed under keys of the vault.

use std::{ops::Range, sync::Arc};

use ak_audit::{
    Journal, JournalError, Leaf,
    seal::{self, BodyKey, SealError},
};
use ak_kernel::{Code, Failure, Record, SubjectId};

use crate::storage::{disk::BoxedDisk, vault::Vault};

/// Maximum number of entries of a page, which bounds the time of looking up their keys under the log's lock.
pub(super) const PAGE_ENTRIES: usize = 1 << 10;
/// A page ends once it has this many bytes of records.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// A journal, and the vault with the keys of its bodies.
pub(crate) struct Durable {
    pub(crate) journal: Journal<BoxedDisk>,
    pub(crate) vault: Vault,
    pub(super) erasures: u64,
    /// Records that could not be written on a full disk; they are written before all others.
    pub(super) unwritten: Vec<Record>,
}

/// A record as it is written to the disk: its leaf and its sealed body.
type Stored = (Leaf, Arc<[u8]>);

impl Durable {
    pub(crate) const fn new(journal: Journal<BoxedDisk>, vault: Vault) -> Durable {
        Durable { journal, vault, erasures: 0, unwritten: Vec::new() }
    }
}

impl Durable {
    /// Seals the bodies of the unwritten records.
    pub(super) fn sealed(&mut self) -> Result<Vec<Stored>, JournalError> {
        let new = &self.unwritten;
        self.vault.make_keys(new.iter().flat_map(|record| record.subjects.iter().copied()))?;
        let sealed = new.iter().map(|record| {
            let body = self.vault.seal(&record.subjects, record.hash.as_bytes(), &record.body);
            let body = body.map_err(|error| ak_audit::DiskError::Failed(error.to_string()))?;
            Ok((record.leaf.clone(), body.into()))
        });
        sealed.collect()
    }

    /// Returns the records of these entries with their bodies opened; an erased body is empty.
    pub(crate) fn records(&self, entries: Range<u64>) -> impl Iterator<Item = Result<Record, Failure>> {
        self.journal.records(entries).map(|found| {
            let (seq, kept) = found.map_err(journal_failure)?;
            open_record(seq, kept, |id| self.vault.key(id))
        })
    }
}

/// Returns a record with its body opened by the keys that `key` returns; an erased body is empty.
pub(super) fn open_record<'k>(
    seq: u64,
    kept: ak_audit::Record,
    key: impl FnMut(u64) -> Option<&'k BodyKey>,
) -> Result<Record, Failure> {
    let mut subjects = Vec::new();
    let body: Arc<[u8]> = match seal::open(&kept.body, &ak_audit::leaf_hash(&kept.entry), key) {
        Ok(body) => body.into(),
        Err(SealError::Erased { .. }) => {
            subjects = seal::key_ids(&kept.body).unwrap_or_default();
            Arc::default()
        }
        Err(error) => {
            return Err(
                Failure::new(Code::LogCorrupt, format!("entry {seq}: {error}")).with("first_bad", seq)
            );
        }
    };
    record(seq, ak_audit::Record { entry: kept.entry, body }, subjects)
}

/// Converts an error of reading the journal to a failure.
pub(super) fn journal_failure(error: JournalError) -> Failure {
    match error {
        JournalError::Changed { seq } => {
            Failure::new(Code::LogCorrupt, error.to_string()).with("first_bad", seq)
        }
        error => Failure::new(Code::Io, format!("the journal: {error}")),
    }
}

/// Rebuilds a record from its stored form.
pub(super) fn record(seq: u64, kept: ak_audit::Record, subjects: Vec<SubjectId>) -> Result<Record, Failure> {
    let leaf = Leaf::check(kept.entry).map_err(|error| {
        Failure::new(Code::LogCorrupt, format!("entry {seq}: {error}")).with("first_bad", seq)
    })?;
    Ok(Record { seq, hash: leaf.hash().into(), leaf, body: kept.body, subjects })
}
