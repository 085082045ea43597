//! Where records are kept: in memory, or in a journal on disk.

use std::path::Path;
use std::sync::Arc;

use ak_audit::{
    Disk, Hash, Journal, JournalError, Missing, ProofError, Sealed,
    journal::{self, Genesis},
};
use ak_json::{Value, object};
use ak_kernel::{Code, Failure, Kernel, Record, Replay, SEMANTICS_VERSION, Tools};

use crate::{
    attest::{Anchor, Followed},
    clock,
    disk::FileDisk,
    engine::engine,
};

/// Bytes of records that the memory log keeps. Older ones are dropped; the chain goes on.
pub const MEMORY_LOG_BYTES_MAX: usize = 256 << 20;
/// The journal's place in the state directory.
pub const JOURNAL_DIRECTORY: &str = "journal";

/// Whatever disk a journal stands on.
pub(crate) type BoxedDisk = Box<dyn Disk + Send>;

/// The records of one kernel, in order.
pub(crate) enum Log {
    /// They end with the process.
    Memory(ak_audit::Log),
    /// They are synced before anything rests on them.
    Durable(Box<Journal<BoxedDisk>>),
    /// What was found on disk is damaged or does not follow: nothing is added to it.
    Damaged { followed: u64, first_bad: u64, reason: String },
    /// The kernel is closed.
    Closed,
}

impl Log {
    pub(crate) fn in_memory() -> Log {
        Log::Memory(ak_audit::Log::with_engine(MEMORY_LOG_BYTES_MAX, engine()))
    }

    /// Opens the journal beneath `directory` and re-executes it; `fresh` makes the kernel of a new journal.
    ///
    /// # Errors
    /// When the directory cannot be used, or another kernel uses it.
    pub(crate) fn open(
        directory: &Path,
        fresh: impl FnOnce() -> Result<Kernel, Failure>,
    ) -> Result<(Kernel, Log), Failure> {
        let within = |error: String| {
            Failure::new(Code::Io, format!("state directory {}: {error}", directory.display()))
        };
        let disk =
            FileDisk::new(&directory.join(JOURNAL_DIRECTORY)).map_err(|error| within(error.to_string()))?;
        Log::open_on(Box::new(disk), fresh).map_err(|failure| within(failure.message))
    }

    /// Opens the journal on a disk and re-executes it; `fresh` makes the kernel of a new journal.
    ///
    /// # Errors
    /// When the disk cannot be used, or another kernel uses it.
    pub(crate) fn open_on(
        disk: BoxedDisk,
        fresh: impl FnOnce() -> Result<Kernel, Failure>,
    ) -> Result<(Kernel, Log), Failure> {
        let unusable = |error: String| Failure::new(Code::Io, error);
        let entropy = clock::now().map_err(|error| unusable(error.to_string()))?.entropy;
        let mut genesis =
            Genesis { id: [0; 16], meta: object! { "semantics": SEMANTICS_VERSION }.to_json().into_bytes() };
        for (to, from) in genesis.id.iter_mut().zip(entropy) {
            *to = from;
        }
        let opened = Journal::open(disk, &genesis, journal::Options::default(), &[]);
        let (journal, report) = opened.map_err(|error| unusable(error.to_string()))?;
        if report.size == 0 && report.first_bad.is_none() {
            return Ok((fresh()?, Log::Durable(Box::new(journal))));
        }
        let (replay, wrong) = re_execute(&journal, Tools::Recorded);
        let damage = report
            .first_bad
            .map(|seq| (seq, report.reason.map(|reason| reason.to_string()).unwrap_or_default()));
        let followed = replay.entries();
        let kernel = match replay.finish() {
            Ok(kernel) => kernel,
            Err(_) => fresh()?,
        };
        Ok(match wrong.or(damage) {
            None => (kernel, Log::Durable(Box::new(journal))),
            Some((first_bad, reason)) => (kernel, Log::Damaged { followed, first_bad, reason }),
        })
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
            Log::Memory(log) => {
                new.into_iter().try_for_each(|record| log.append_sealed(record.leaf, record.body))?;
                Ok(())
            }
            Log::Durable(journal) => {
                let records = new.into_iter().map(|record| (record.leaf, record.body));
                // Room was found before anything was dispatched; that a segment ends here takes none of it away.
                journal.expect(expected);
                journal.append_reserved(&records.collect::<Vec<_>>())?;
                journal.sync().map(|_| ())
            }
            Log::Damaged { .. } | Log::Closed => Err(JournalError::ReadOnly),
        }
    }

    /// For how many bytes of records there is room without asking the disk for more.
    pub(crate) fn room(&self) -> u64 {
        match self {
            Log::Durable(journal) => journal.room(),
            Log::Memory(_) | Log::Damaged { .. } | Log::Closed => u64::MAX,
        }
    }

    /// Asks the disk for room for so many bytes of records.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        match self {
            Log::Durable(journal) => journal.make_room(bytes),
            Log::Memory(_) | Log::Damaged { .. } | Log::Closed => Ok(()),
        }
    }

    /// Every record that is kept.
    pub(crate) fn records(&self) -> Result<Vec<Record>, JournalError> {
        match self {
            Log::Memory(log) => log.iter().map(|(seq, kept)| record(seq, kept.clone())).collect(),
            Log::Durable(journal) => read(journal),
            Log::Damaged { .. } | Log::Closed => Ok(Vec::new()),
        }
    }

    /// What a verification says of a journal that was found damaged.
    pub(crate) fn verdict(&self) -> Value {
        match self {
            Log::Damaged { followed, first_bad, reason } => {
                let wrong = Some((*first_bad, reason.clone()));
                Anchor::NONE.verdict(Followed { replayed: *followed, opaque: 0, wrong })
            }
            Log::Memory(_) | Log::Durable(_) | Log::Closed => {
                Anchor::NONE.verdict(Followed { replayed: 0, opaque: 0, wrong: None })
            }
        }
    }

    /// How many entries there are, and the root over them.
    pub(crate) fn tree_head(&self) -> Result<(u64, Hash), Failure> {
        match self {
            Log::Memory(log) => Ok((log.len(), log.root())),
            Log::Durable(journal) => Ok((journal.len(), journal.root())),
            Log::Damaged { .. } | Log::Closed => Err(self.gone()),
        }
    }

    /// The root over the first `size` entries.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, Failure> {
        let root = match self {
            Log::Memory(log) => log.tree().root_at(size),
            Log::Durable(journal) => journal.root_at(size),
            Log::Damaged { .. } | Log::Closed => return Err(self.gone()),
        };
        root.map_err(unprovable)
    }

    /// Proves that an entry stands among the first `size`.
    pub(crate) fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Vec<Hash>, Failure> {
        let path = match self {
            Log::Memory(log) => log.inclusion_proof(seq, size),
            Log::Durable(journal) => journal.inclusion_proof(seq, size),
            Log::Damaged { .. } | Log::Closed => return Err(self.gone()),
        };
        path.map_err(unprovable)
    }

    /// The bytes of an entry.
    pub(crate) fn entry(&self, seq: u64) -> Result<Arc<[u8]>, Failure> {
        let missing = |missing: Missing| Failure::new(Code::NotFound, format!("entry {seq}: {missing}"));
        match self {
            Log::Memory(log) => log.get(seq).map(|kept| kept.entry.clone()).map_err(missing),
            Log::Durable(journal) => match journal.record(seq) {
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

    /// Lets go of the journal, so that it can be opened again.
    pub(crate) fn close(&mut self) {
        *self = Log::Closed;
    }
}

fn read(journal: &Journal<impl Disk>) -> Result<Vec<Record>, JournalError> {
    let records = journal.records(0..u64::MAX);
    records.map(|found| found.and_then(|(seq, kept)| record(seq, kept))).collect()
}

fn record(seq: u64, kept: ak_audit::Record) -> Result<Record, JournalError> {
    let leaf = Sealed::check(kept.entry).map_err(|_| JournalError::Changed { seq })?;
    Ok(Record { seq, hash: leaf.leaf().into(), leaf, body: kept.body })
}

fn unprovable(error: ProofError) -> Failure {
    Failure::new(Code::NotFound, error.to_string())
}

/// Feeds a whole journal to a new kernel. Gives the first entry that does not follow, and why.
fn re_execute(journal: &Journal<impl Disk>, tools: Tools) -> (Replay, Option<(u64, String)>) {
    let mut replay = Replay::new(tools);
    for found in journal.records(0..u64::MAX) {
        let fed = match found {
            Ok((_, record)) => {
                replay.feed(&record.entry, &record.body).map_err(|error| (error.seq, error.reason))
            }
            Err(error) => Err((replay.entries(), error.to_string())),
        };
        if let Err(wrong) = fed {
            return (replay, Some(wrong));
        }
    }
    (replay, None)
}

/// Reads the journal in a state directory, without taking it from a kernel that uses it.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn read_journal(directory: &Path) -> Result<Vec<Record>, Failure> {
    let unusable =
        |code, error: String| Failure::new(code, format!("state directory {}: {error}", directory.display()));
    let journal_directory = directory.join(JOURNAL_DIRECTORY);
    if !journal_directory.is_dir() {
        return Err(unusable(Code::NotFound, String::from("holds no journal")));
    }
    let disk = FileDisk::new(&journal_directory).map_err(|error| unusable(Code::Io, error.to_string()))?;
    let opened = Journal::open_read_only(disk, &[]).map_err(|error| unusable(Code::Io, error.to_string()))?;
    let Some((journal, report)) = opened else {
        return Err(unusable(Code::NotFound, String::from("holds no journal")));
    };
    if let Some(first_bad) = report.first_bad {
        return Err(unusable(Code::LogCorrupt, format!("the journal is damaged from entry {first_bad} on")));
    }
    read(&journal).map_err(|error| unusable(Code::Io, error.to_string()))
}
