//! Where records are kept: in memory, or in a journal on disk with their bodies sealed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use ak_audit::{Hash, Journal, JournalError, Leaf, Missing, ProofError, seal::SealError};
use ak_json::Value;
use ak_kernel::{Code, Failure, Record, SubjectId};

use crate::{
    attest::{Anchor, Followed},
    disk::BoxedDisk,
    engine::engine,
    vault::{SnapshotFile, Vault},
};

/// Bytes of records that the memory log keeps. Older ones are dropped; the chain goes on.
pub const MEMORY_LOG_BYTES_MAX: usize = 256 << 20;
/// So many entries are read at once, while nobody else gets at the log.
const PAGE_ENTRIES: u64 = 4_096;
/// Once so many bytes of bodies were read, no more are read at once.
const PAGE_BYTES: usize = 4 << 20;

/// The records of one kernel, in order.
pub(crate) enum Log {
    /// They end with the process.
    Memory(Box<Memory>),
    /// They are synced before anything rests on them.
    Durable(Box<Durable>),
    /// What was found on disk is damaged or does not follow: nothing is added to it.
    Damaged { followed: u64, first_bad: u64, reason: String },
    /// The kernel is closed.
    Closed,
}

/// A log in memory. Nobody but this process reads it, so its bodies are open, and an erased one is emptied.
pub(crate) struct Memory {
    log: ak_audit::Log,
    /// Whom the records kept are about.
    subjects: VecDeque<Vec<SubjectId>>,
    /// The snapshot of the last erasure, and the entry that it belongs to.
    snapshot: Option<(u64, Vec<u8>)>,
    erasures: u64,
}

/// A journal, and the keys of its bodies.
pub(crate) struct Durable {
    pub(crate) journal: Journal<BoxedDisk>,
    pub(crate) vault: Vault,
    erasures: u64,
}

impl Durable {
    pub(crate) const fn new(journal: Journal<BoxedDisk>, vault: Vault) -> Durable {
        Durable { journal, vault, erasures: 0 }
    }
}

impl Log {
    pub(crate) fn in_memory() -> Log {
        let log = ak_audit::Log::with_engine(MEMORY_LOG_BYTES_MAX, engine());
        Log::Memory(Box::new(Memory { log, subjects: VecDeque::new(), snapshot: None, erasures: 0 }))
    }

    /// Why nothing can be recorded, if nothing can.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        match self {
            Log::Memory(_) | Log::Durable(_) => None,
            Log::Damaged { first_bad, reason, .. } => {
                let message = format!(
                    "the journal is damaged from entry {first_bad} on and can only be verified: {reason}"
                );
                Some(Failure::new(Code::LogCorrupt, message).with("first_bad", *first_bad))
            }
            Log::Closed => Some(Failure::new(Code::NotConfigured, "the kernel is closed")),
        }
    }

    /// Makes records durable; `expected` more bytes of records have been promised room.
    pub(crate) fn append(&mut self, new: Vec<Record>, expected: u64) -> Result<(), JournalError> {
        match self {
            Log::Memory(memory) => new.into_iter().try_for_each(|record| memory.append(record)),
            Log::Durable(durable) => {
                let entries = durable.sealed(new)?;
                let journal = &mut durable.journal;
                // Room was found before anything was dispatched; that a segment ends here takes none of it away.
                journal.expect(expected);
                journal.append_reserved(&entries)?;
                journal.sync().map(|_| ())
            }
            Log::Damaged { .. } | Log::Closed => Err(JournalError::ReadOnly),
        }
    }

    /// For how many bytes of records there is room without asking the disk for more.
    pub(crate) fn room(&self) -> u64 {
        match self {
            // Without room for keys there is none for anything.
            Log::Durable(durable) if !durable.vault.has_room() => 0,
            Log::Durable(durable) => durable.journal.room(),
            Log::Memory(_) | Log::Damaged { .. } | Log::Closed => u64::MAX,
        }
    }

    /// Asks the disk for room for so many bytes of records.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        match self {
            Log::Durable(durable) => {
                durable.vault.reserve()?;
                durable.journal.make_room(bytes)
            }
            Log::Memory(_) | Log::Damaged { .. } | Log::Closed => Ok(()),
        }
    }

    /// The first entry that is kept, and how many there ever were.
    pub(crate) fn span(&self) -> (u64, u64) {
        match self {
            Log::Memory(memory) => (memory.log.pruned_below(), memory.log.len()),
            Log::Durable(durable) => (durable.journal.pruned_below(), durable.journal.len()),
            Log::Damaged { .. } | Log::Closed => (0, 0),
        }
    }

    /// Records that are kept, of these entries as many as are read at once. A body that was erased is empty.
    pub(crate) fn page(&self, entries: Range<u64>) -> Result<Vec<Record>, Failure> {
        let entries = entries.start..entries.end.min(entries.start.saturating_add(PAGE_ENTRIES));
        let mut bytes = 0usize;
        let mut fits = |record: &Result<Record, Failure>| {
            let fits = bytes < PAGE_BYTES;
            bytes = bytes.saturating_add(record.as_ref().map_or(0, |record| record.body.len()));
            fits
        };
        match self {
            Log::Memory(memory) => {
                let first = memory.log.pruned_below();
                let skipped = usize::try_from(entries.start.saturating_sub(first)).unwrap_or(usize::MAX);
                let kept = memory.log.iter().zip(&memory.subjects).skip(skipped);
                let kept = kept.take_while(|((seq, _), _)| *seq < entries.end);
                let records = kept.map(|((seq, kept), subjects)| record(seq, kept.clone(), subjects.clone()));
                records.take_while(&mut fits).collect()
            }
            Log::Durable(durable) => durable.records(entries).take_while(&mut fits).collect(),
            Log::Damaged { .. } | Log::Closed => Ok(Vec::new()),
        }
    }

    /// How many subjects were erased since it was opened.
    pub(crate) fn erasures(&self) -> u64 {
        match self {
            Log::Memory(memory) => memory.erasures,
            Log::Durable(durable) => durable.erasures,
            Log::Damaged { .. } | Log::Closed => 0,
        }
    }

    /// The snapshots that are kept, by the entries that they belong to.
    pub(crate) fn snapshots(&self) -> BTreeMap<u64, Vec<u8>> {
        match self {
            Log::Memory(memory) => memory.snapshot.iter().cloned().collect(),
            Log::Durable(durable) => durable.vault.all_snapshots(),
            Log::Damaged { .. } | Log::Closed => BTreeMap::new(),
        }
    }

    /// Begins to keep the snapshot that belongs to entry `seq`. None where there is no disk to write it to.
    pub(crate) fn begin_snapshot(&mut self, seq: u64) -> Result<Option<SnapshotFile>, Failure> {
        match self {
            Log::Memory(_) => Ok(None),
            Log::Durable(durable) => durable.vault.begin(seq, false).map(Some).map_err(unkept),
            Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// Keeps a snapshot whose digest was recorded, and which was written to `file` where there is one. Gives the files of older
    /// ones, to be removed.
    pub(crate) fn keep_snapshot(
        &mut self,
        seq: u64,
        snapshot: Vec<u8>,
        file: Option<&SnapshotFile>,
    ) -> Result<Vec<String>, Failure> {
        match (self, file) {
            (Log::Memory(memory), _) => {
                memory.snapshot = Some((seq, snapshot));
                Ok(Vec::new())
            }
            (Log::Durable(durable), Some(file)) => durable.vault.adopt(file).map_err(unkept),
            (log, _) => Err(log.gone()),
        }
    }

    /// Bytes of the newest snapshot that is kept.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        match self {
            Log::Durable(durable) => durable.vault.snapshot_bytes(),
            Log::Memory(_) | Log::Damaged { .. } | Log::Closed => 0,
        }
    }

    /// Keeps the snapshot by which a journal of an earlier version goes on: that of entry `seq`, which comes next.
    pub(crate) fn keep_upgrade(&mut self, seq: u64, snapshot: &[u8]) -> Result<(), Failure> {
        match self {
            Log::Durable(durable) => durable.vault.keep(seq, snapshot, true).map_err(unkept),
            Log::Memory(_) | Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// Makes what is about a subject unreadable for good, once the snapshot of entry `seq` is kept: the bodies, and
    /// every snapshot before that one. Gives the files of those, to be removed.
    pub(crate) fn erase(&mut self, subject: SubjectId, seq: u64) -> Result<Vec<String>, Failure> {
        match self {
            Log::Memory(memory) => {
                memory.erase(subject);
                Ok(Vec::new())
            }
            Log::Durable(durable) => {
                durable.erasures += 1;
                let vault = &mut durable.vault;
                let gone = vault.forget_below(seq).map_err(unkept)?;
                vault.destroy(subject).map_err(unkept)?;
                Ok(gone)
            }
            Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// What a verification says of a journal that was found damaged.
    pub(crate) fn verdict(&self) -> Value {
        match self {
            Log::Damaged { followed, first_bad, reason } => {
                let wrong = Some((*first_bad, reason.clone()));
                Anchor::NONE.verdict(Followed {
                    replayed: *followed,
                    opaque: 0,
                    not_replayed: 0,
                    entries: *followed,
                    wrong,
                })
            }
            Log::Memory(_) | Log::Durable(_) | Log::Closed => Anchor::NONE.verdict(Followed {
                replayed: 0,
                opaque: 0,
                not_replayed: 0,
                entries: 0,
                wrong: None,
            }),
        }
    }

    /// How many entries there are, and the root over them.
    pub(crate) fn tree_head(&self) -> Result<(u64, Hash), Failure> {
        match self {
            Log::Memory(memory) => Ok((memory.log.len(), memory.log.root())),
            Log::Durable(durable) => Ok((durable.journal.len(), durable.journal.root())),
            Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// The root over the first `size` entries.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, Failure> {
        let root = match self {
            Log::Memory(memory) => memory.log.tree().root_at(size),
            Log::Durable(durable) => durable.journal.root_at(size),
            Log::Damaged { .. } | Log::Closed => return Err(self.gone()),
        };
        root.map_err(unprovable)
    }

    /// Proves that an entry stands among the first `size`.
    pub(crate) fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Vec<Hash>, Failure> {
        let path = match self {
            Log::Memory(memory) => memory.log.inclusion_proof(seq, size),
            Log::Durable(durable) => durable.journal.inclusion_proof(seq, size),
            Log::Damaged { .. } | Log::Closed => return Err(self.gone()),
        };
        path.map_err(unprovable)
    }

    /// The bytes of an entry.
    pub(crate) fn entry(&self, seq: u64) -> Result<Arc<[u8]>, Failure> {
        let missing = |missing: Missing| Failure::new(Code::NotFound, format!("entry {seq}: {missing}"));
        match self {
            Log::Memory(memory) => memory.log.get(seq).map(|kept| kept.entry.clone()).map_err(missing),
            Log::Durable(durable) => match durable.journal.record(seq) {
                Ok(kept) => Ok(kept.entry),
                Err(JournalError::Missing(reason)) => Err(missing(reason)),
                Err(error) => Err(Failure::new(Code::Io, error.to_string())),
            },
            Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    fn gone(&self) -> Failure {
        self.refusal().unwrap_or_else(|| Failure::new(Code::NotConfigured, "there is no log"))
    }

    pub(crate) const fn is_memory(&self) -> bool {
        matches!(self, Log::Memory(_))
    }

    pub(crate) const fn is_durable(&self) -> bool {
        matches!(self, Log::Durable(_))
    }

    /// Lets go of the journal, so that it can be opened again.
    pub(crate) fn close(&mut self) {
        *self = Log::Closed;
    }
}

impl Memory {
    fn append(&mut self, record: Record) -> Result<(), JournalError> {
        self.log.append_leaf(record.leaf, record.body)?;
        self.subjects.push_back(record.subjects);
        let kept = usize::try_from(self.log.len() - self.log.pruned_below()).unwrap_or(usize::MAX);
        while self.subjects.len() > kept {
            self.subjects.pop_front();
        }
        Ok(())
    }

    fn erase(&mut self, subject: SubjectId) {
        self.erasures += 1;
        let first = self.log.pruned_below();
        let about = self.subjects.iter().enumerate().filter(|(_, subjects)| subjects.contains(&subject));
        for (index, _) in about {
            self.log.erase_body(first + index as u64);
        }
    }
}

/// A record as it goes to the disk: its entry, and its body sealed.
type Stored = (Leaf, Arc<[u8]>);

impl Durable {
    /// The records as they go to the disk, their bodies sealed.
    fn sealed(&mut self, new: Vec<Record>) -> Result<Vec<Stored>, JournalError> {
        self.vault.make_keys(new.iter().flat_map(|record| record.subjects.iter().copied()))?;
        let sealed = new.into_iter().map(|record| {
            let body = self.vault.seal(&record.subjects, record.hash.as_bytes(), &record.body);
            let body = body.map_err(|error| ak_audit::DiskError::Failed(error.to_string()))?;
            Ok((record.leaf, body.into()))
        });
        sealed.collect()
    }

    /// The records of these entries, their bodies opened; one that was erased is empty.
    pub(crate) fn records(&self, entries: Range<u64>) -> impl Iterator<Item = Result<Record, Failure>> {
        self.journal.records(entries).map(|found| {
            let (seq, kept) =
                found.map_err(|error| Failure::new(Code::Io, format!("the journal: {error}")))?;
            let leaf = ak_audit::leaf_hash(&kept.entry);
            let mut subjects = Vec::new();
            let body: Arc<[u8]> = match self.vault.open_body(&leaf, &kept.body) {
                Ok(body) => body.into(),
                Err(SealError::Erased { .. }) => {
                    subjects = ak_audit::seal::key_ids(&kept.body).unwrap_or_default();
                    Arc::default()
                }
                Err(error) => {
                    return Err(Failure::new(Code::LogCorrupt, format!("entry {seq}: {error}"))
                        .with("first_bad", seq));
                }
            };
            record(seq, ak_audit::Record { entry: kept.entry, body }, subjects)
        })
    }
}

/// A record as it comes back.
fn record(seq: u64, kept: ak_audit::Record, subjects: Vec<SubjectId>) -> Result<Record, Failure> {
    let leaf = Leaf::check(kept.entry).map_err(|error| {
        Failure::new(Code::LogCorrupt, format!("entry {seq}: {error}")).with("first_bad", seq)
    })?;
    Ok(Record { seq, hash: leaf.hash().into(), leaf, body: kept.body, subjects })
}

fn unprovable(error: ProofError) -> Failure {
    Failure::new(Code::NotFound, error.to_string())
}

pub(crate) fn unkept(error: ak_audit::DiskError) -> Failure {
    match error {
        ak_audit::DiskError::Full => Failure::new(
            Code::LogFull,
            "the disk has no room for a snapshot of the state, which an erasure needs. Free some, and open the kernel \
             again: what was begun is then brought to its end",
        ),
        error => Failure::new(Code::Io, format!("the vault, where keys and snapshots are kept: {error}")),
    }
}
