//! Where records are kept: in memory, or in a journal on disk.

use std::{collections::VecDeque, path::Path};

use ak_audit::{
    Disk, Journal, JournalError,
    journal::{self, Genesis},
};
use ak_json::{Value, object};
use ak_kernel::{Code, Failure, Kernel, Record, Replay, SEMANTICS_VERSION, Tools};

use crate::{clock, disk::FileDisk};

/// Bytes of records that the memory log keeps. Older ones are dropped; the chain goes on.
pub const MEMORY_LOG_BYTES_MAX: usize = 256 << 20;
/// The journal's place in the state directory.
pub const JOURNAL_DIRECTORY: &str = "journal";

/// Whatever disk a journal stands on.
pub(crate) type BoxedDisk = Box<dyn Disk + Send>;

/// The records of one kernel, in order.
pub(crate) enum Log {
    /// They end with the process.
    Memory { records: VecDeque<Record>, bytes: usize },
    /// They are synced before anything rests on them.
    Durable(Box<Journal<BoxedDisk>>),
    /// What was found on disk is damaged or does not follow: nothing is added to it.
    Damaged { followed: u64, first_bad: u64, reason: String },
    /// The kernel is closed.
    Closed,
}

impl Log {
    pub(crate) fn in_memory() -> Log {
        Log::Memory { records: VecDeque::new(), bytes: 0 }
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
            Log::Memory { .. } | Log::Durable(_) => None,
            Log::Damaged { first_bad, reason, .. } => {
                let message = format!(
                    "the journal is damaged from entry {first_bad} on and can only be verified: {reason}"
                );
                Some(Failure::new(Code::LogCorrupt, message).with("first_bad", *first_bad))
            }
            Log::Closed => Some(Failure::new(Code::NotConfigured, "the kernel is closed")),
        }
    }

    pub(crate) fn append(&mut self, new: Vec<Record>) -> Result<(), JournalError> {
        match self {
            Log::Memory { records, bytes } => {
                for record in new {
                    *bytes += record.leaf.len() + record.body.len();
                    records.push_back(record);
                }
                while *bytes > MEMORY_LOG_BYTES_MAX && records.len() > 1 {
                    let dropped = records.pop_front();
                    *bytes -= dropped.map_or(0, |record| record.leaf.len() + record.body.len());
                }
                Ok(())
            }
            Log::Durable(journal) => {
                let entries =
                    new.into_iter().map(|record| ak_audit::Record { entry: record.leaf, body: record.body });
                // Room was promised before anything was dispatched.
                journal.append_reserved(&entries.collect::<Vec<_>>())?;
                journal.sync().map(|_| ())
            }
            Log::Damaged { .. } | Log::Closed => Err(JournalError::ReadOnly),
        }
    }

    /// For how many bytes of records there is room without asking the disk for more.
    pub(crate) fn room(&self) -> u64 {
        match self {
            Log::Durable(journal) => journal.room(),
            Log::Memory { .. } | Log::Damaged { .. } | Log::Closed => u64::MAX,
        }
    }

    /// Asks the disk for room for so many bytes of records.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        match self {
            Log::Durable(journal) => journal.promise(bytes),
            Log::Memory { .. } | Log::Damaged { .. } | Log::Closed => Ok(()),
        }
    }

    /// Every record that is kept.
    pub(crate) fn records(&self) -> Result<Vec<Record>, JournalError> {
        match self {
            Log::Memory { records, .. } => Ok(records.iter().cloned().collect()),
            Log::Durable(journal) => read(journal),
            Log::Damaged { .. } | Log::Closed => Ok(Vec::new()),
        }
    }

    /// What a verification says of a journal that was found damaged.
    pub(crate) fn verdict(&self) -> Value {
        match self {
            Log::Damaged { followed, first_bad, reason } => {
                verdict(*followed, 0, Some((*first_bad, reason.clone())))
            }
            Log::Memory { .. } | Log::Durable(_) | Log::Closed => verdict(0, 0, None),
        }
    }

    /// Lets go of the journal, so that it can be opened again.
    pub(crate) fn close(&mut self) {
        *self = Log::Closed;
    }
}

fn read(journal: &Journal<impl Disk>) -> Result<Vec<Record>, JournalError> {
    let records = journal.records(0..u64::MAX);
    records
        .map(|found| {
            let (seq, record) = found?;
            let hash = ak_audit::leaf_hash(&record.entry).into();
            Ok(Record { seq, leaf: record.entry, hash, body: record.body })
        })
        .collect()
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

/// Re-executes records, tools included, and says what holds.
pub(crate) fn verify(records: &[Record]) -> Value {
    let pruned = records.first().map_or(0, |record| record.seq);
    if pruned > 0 {
        // What precedes is gone, so nothing can be re-executed; the chain still holds or not.
        let broken = records.windows(2).find_map(|pair| match pair {
            [before, after] => {
                let entry = ak_audit::Entry::decode(&after.leaf).ok();
                let follows = entry.is_some_and(|entry| entry.previous == ak_audit::leaf_hash(&before.leaf));
                (!follows).then(|| (after.seq, String::from("the entry does not follow its predecessor")))
            }
            _ => None,
        });
        return verdict(0, pruned + records.len() as u64, broken);
    }
    let mut replay = Replay::new(Tools::Rerun);
    let wrong = records.iter().find_map(|record| replay.feed(&record.leaf, &record.body).err());
    verdict(replay.entries(), 0, wrong.map(|error| (error.seq, error.reason)))
}

/// The result of a verification: `replayed` entries follow, `opaque` ones could not be re-executed.
fn verdict(replayed: u64, opaque: u64, first_bad: Option<(u64, String)>) -> Value {
    let consistent = first_bad.is_none();
    let rests_on = "unanchored: whoever holds this log could have rewritten it";
    let (bad, reason) = match first_bad {
        Some((seq, reason)) => (Value::from(seq), Value::from(reason)),
        None => (Value::Null, Value::Null),
    };
    object! {
        "consistent": consistent, "first_bad": bad, "reason": reason, "replayed": replayed, "opaque": opaque,
        "signed_by": Value::Null, "anchored_at": Value::Null, "rests_on": rests_on,
    }
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
