//! Recovers a kernel from a state directory: restores the newest valid snapshot, and replays all later entries.

use std::{collections::BTreeMap, path::Path};

use ak_audit::DiskError;
use ak_audit::journal::{self, Genesis, Journal, JournalError, RecoveryReport};
use ak_json::object;
use ak_kernel::{
    Code, Config, Failure, Kernel, Operation, Record, Replay, SEMANTICS_VERSION, ToolReplay, export,
};

use crate::{
    clock,
    descriptors::raise_descriptor_limit,
    storage::disk::{BoxedDisk, FileDisk},
    storage::durable_log::Durable,
    storage::log::Log,
    storage::vault::Vault,
    storage::write_lock::lock_holder,
};

/// Name of the journal's directory in the state directory.
pub const JOURNAL_DIRECTORY: &str = "journal";
/// Name of the vault's directory in the state directory.
pub const VAULT_DIRECTORY: &str = "vault";

/// A callback that reports the progress of a recovery: the number of entries replayed so far, and the number to replay
/// in all.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Advice for when a disk could not be read.
const OPEN_AGAIN: &str = "once the disk can be read again, open the kernel again";

/// Number of entries between two progress reports.
const PROGRESS_ENTRIES: u64 = 4096;

/// A kernel recovered from its journal.
pub(crate) struct Recovered {
    pub(crate) kernel: Kernel,
    pub(crate) log: Log,
    /// Number of entries that were replayed.
    pub(crate) replayed: u64,
}

/// Opens the journal in the state directory `directory`, and recovers its kernel. An empty journal begins a new kernel.
///
/// # Errors
/// When the directory cannot be used, or another kernel uses it.
pub(crate) fn open(directory: &Path, progress: Progress<'_>) -> Result<Recovered, Failure> {
    // Segments, the vault and effects need more descriptors than the usual soft limit.
    raise_descriptor_limit();
    let within = |failure: Failure| Failure {
        message: format!("state directory {}: {}", directory.display(), failure.message),
        ..failure
    };
    let unusable = |error: std::io::Error| within(unusable(error.to_string()));
    let existing = |name: &str| FileDisk::open_existing(&directory.join(name)).map_err(unusable);
    let found = existing(JOURNAL_DIRECTORY)?;
    if found.is_there() && !found.is_writable() {
        let vault = existing(VAULT_DIRECTORY)?;
        return open_to_verify(Box::new(found), Box::new(vault), progress).map_err(within);
    }
    let disk = |name: &str| FileDisk::new(&directory.join(name)).map_err(unusable);
    let (journal, vault) = (disk(JOURNAL_DIRECTORY)?, disk(VAULT_DIRECTORY)?);
    open_on(Box::new(journal), Box::new(vault), journal_options(), progress).map_err(|failure| {
        let is_locked = failure.context.get(LOCKED).is_some();
        within(if is_locked { tell_holder(failure, directory) } else { failure })
    })
}

/// Opens a journal that is not writable, such as one on a file system mounted read-only: it can only be verified, and
/// no file is created.
fn open_to_verify(disk: BoxedDisk, vault: BoxedDisk, progress: Progress<'_>) -> Result<Recovered, Failure> {
    let opened = Journal::open_read_only(disk, &[]).map_err(|error| unusable(error.to_string()))?;
    let Some((journal, report)) = opened else {
        return Err(unusable(String::from("is read-only, and holds no journal")));
    };
    let vault = Vault::read_only(vault).map_err(|error| unusable(error.to_string()))?;
    let mut durable = Box::new(Durable::new(journal, vault));
    let (kernel, wrong, followed, first) = execute(&mut durable, &report, progress)?;
    let log = match wrong {
        None => Log::ReadOnly(durable),
        Some((first_bad, reason)) => Log::Damaged { followed, first_bad, reason },
    };
    Ok(Recovered { kernel, log, replayed: followed.saturating_sub(first) })
}

/// Opens a journal on `disk`, with its vault on the disk `vault`.
///
/// # Errors
/// When a disk cannot be used, or another kernel uses it.
pub(crate) fn open_on(
    disk: BoxedDisk,
    vault: BoxedDisk,
    options: journal::Options,
    progress: Progress<'_>,
) -> Result<Recovered, Failure> {
    let entropy = clock::now().map_err(|error| unusable(error.to_string()))?.entropy;
    let mut genesis =
        Genesis { id: [0; 16], meta: object! { "semantics": SEMANTICS_VERSION }.to_json().into_bytes() };
    for (to, from) in genesis.id.iter_mut().zip(entropy) {
        *to = from;
    }
    if !holds_segments(&*disk)?
        && Vault::is_populated(&*vault).map_err(|error| unusable(error.to_string()))?
    {
        let message = "the journal is missing: its directory holds no segment, but the vault beside it holds keys or \
                       snapshots of one. Put the journal back; to begin a new one, move the vault away";
        return Err(Failure::new(Code::LogCorrupt, message));
    }
    let vault = Vault::open(vault).map_err(|error| unusable_disk(&error))?;
    // Entries before the newest snapshot are read in the background, once the kernel runs.
    let newest = vault.snapshots().first().copied().unwrap_or_default();
    let opened = Journal::open_from(disk, &genesis, options, newest);
    let (journal, report) = opened.map_err(|error| match &error {
        JournalError::Disk(error) => unusable_disk(error),
        error => unusable(error.to_string()),
    })?;
    let mut durable = Box::new(Durable::new(journal, vault));
    if report.size == 0 && report.first_bad.is_none() {
        return Ok(Recovered { kernel: new_kernel()?, log: Log::Durable(durable), replayed: 0 });
    }
    let (mut kernel, wrong, followed, first) = execute(&mut durable, &report, progress)?;
    let mut log = match wrong {
        None => Log::Durable(durable),
        Some((first_bad, reason)) => Log::Damaged { followed, first_bad, reason },
    };
    let mut replayed = followed.saturating_sub(first);
    if kernel.earlier_version().is_some() && log.refusal().is_none() {
        upgrade(&mut kernel, &mut log)?;
        replayed = 0;
    }
    Ok(Recovered { kernel, log, replayed })
}

/// Whether a journal's disk contains any segment.
fn holds_segments(disk: &dyn ak_audit::Disk) -> Result<bool, Failure> {
    disk.list().map(|names| !names.is_empty()).map_err(|error| unusable(error.to_string()))
}

/// The result of replaying a journal: the kernel; the first wrong entry and why, if any; the number of entries up to
/// the last one that replayed; and how many of these the snapshot replaced.
type Executed = (Kernel, Option<(u64, String)>, u64, u64);

/// Replays a journal from its newest usable snapshot.
fn execute(
    durable: &mut Durable,
    report: &RecoveryReport,
    progress: Progress<'_>,
) -> Result<Executed, Failure> {
    let damage =
        report.first_bad.map(|seq| (seq, report.reason.map(|reason| reason.to_string()).unwrap_or_default()));
    let recovered = recover(durable, progress).map_err(|error| unusable(error.to_string()))?;
    let Execution { replay, first, wrong, unread } = recovered;
    let wrong = wrong.map(|(seq, reason)| match unread {
        Some(error) => (seq, format!("{reason}; a snapshot could not be read: {error}; {OPEN_AGAIN}")),
        None => (seq, reason),
    });
    let followed = replay.entries();
    let kernel = match replay.finish() {
        Ok(kernel) => kernel,
        Err(_) => new_kernel()?,
    };
    Ok((kernel, wrong.or(damage), followed, first))
}

/// Continues a journal of an earlier version: keeps the state to which it led as a snapshot, and then records that.
/// After a crash between the two, the snapshot has no entry, and the next opening repeats the upgrade.
fn upgrade(kernel: &mut Kernel, log: &mut Log) -> Result<(), Failure> {
    let from = kernel.earlier_version().unwrap_or_default();
    let full = |error: String| {
        let message = format!(
            "the journal is of semantics version {from}, and cannot be continued under this one: {error}"
        );
        Failure::new(Code::LogFull, message)
    };
    let seq = kernel.entries();
    let now = clock::now().map_err(|error| unusable(error.to_string()))?;
    let Some(snapshot) = kernel.upgrade(now) else { return Ok(()) };
    log.keep_upgrade(seq, &snapshot).map_err(|failure| full(failure.message))?;
    let records: Vec<Record> = std::iter::from_fn(|| kernel.poll_record()).collect();
    log.allocate_space(UPGRADE_BYTES).map_err(|error| full(error.to_string()))?;
    log.append(records, 0).map_err(|error| full(error.to_string()))?;
    kernel.committed(seq);
    Ok(())
}

/// Returns the options by which a kernel's journal uses its disk.
pub(crate) fn journal_options() -> journal::Options {
    journal::Options { reserve_bytes: OWNER_RESERVE_BYTES, ..journal::Options::default() }
}

/// Space that a journal reserves on its disk, in bytes, for what the owner must be able to do when the disk is full:
/// revoke capabilities, replace the policy, erase and verify.
pub const OWNER_RESERVE_BYTES: u64 = 1 << 20;
/// Space for the record by which a journal continues under this version, in bytes.
const UPGRADE_BYTES: u64 = 16 << 10;

/// The result of a replay.
struct Execution {
    replay: Replay,
    /// The first entry that was replayed.
    first: u64,
    /// The first entry that does not replay, and why.
    wrong: Option<(u64, String)>,
    /// The disk's error, when a snapshot could not be read.
    unread: Option<String>,
}

/// Replays the journal from the newest snapshot that is readable and whose digest the journal contains, else from the
/// beginning. Removes unreadable snapshots.
fn recover(durable: &mut Durable, progress: Progress<'_>) -> Result<Execution, DiskError> {
    let (mut unreadable, mut unread) = (Vec::new(), None);
    let mut executed = None;
    for seq in durable.vault.snapshots() {
        let snapshot = match durable.vault.read_snapshot(seq) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => {
                unreadable.push(seq);
                continue;
            }
            Err(error) => {
                unread = Some(error.to_string());
                continue;
            }
        };
        let Ok(replay) = Replay::resume(&snapshot, ToolReplay::Recorded) else { continue };
        drop(snapshot);
        let execution = re_execute(replay, durable, progress);
        // The journal must contain the digest of the snapshot, even if all later entries replay from it.
        if execution.replay.vouched_for() >= Some(seq) {
            executed = Some(execution);
            break;
        }
    }
    let mut executed =
        executed.unwrap_or_else(|| re_execute(Replay::new(ToolReplay::Recorded), durable, progress));
    executed.unread = unread;
    if durable.journal.is_writable() {
        durable.vault.drop_unreadable(&unreadable)?;
    }
    Ok(executed)
}

/// Continues a replay to the end of the journal, or to the first wrong entry.
fn re_execute(mut replay: Replay, durable: &Durable, progress: Progress<'_>) -> Execution {
    let (first, end) = (replay.entries(), durable.journal.len());
    let count = end.saturating_sub(first);
    for found in durable.records(first..u64::MAX) {
        let fed = match found {
            Ok(record) if record.body.is_empty() => {
                let reason = "the key of its body is gone from the vault, and no snapshot of the state after it is left";
                Err((record.seq, String::from(reason)))
            }
            Ok(record) => {
                replay.feed(&record.leaf, &record.body).map(|_| ()).map_err(|error| (error.seq, error.reason))
            }
            Err(failure) if failure.code == Code::Io => {
                Err((replay.entries(), format!("{}; {OPEN_AGAIN}", failure.message)))
            }
            Err(failure) => Err((replay.entries(), failure.message)),
        };
        if let Err(wrong) = fed {
            return Execution { replay, first, wrong: Some(wrong), unread: None };
        }
        if replay.entries().is_multiple_of(PROGRESS_ENTRIES) {
            progress(replay.entries() - first, count);
        }
    }
    progress(count, count);
    Execution { replay, first, wrong: None, unread: None }
}

/// The records and snapshots of a journal in a state directory, read without opening a kernel.
#[derive(Debug)]
pub struct StoredJournal {
    /// Every kept record, in order. An erased body is empty.
    pub records: Vec<Record>,
    /// Snapshots of the state, by the entry of each.
    pub snapshots: BTreeMap<u64, Vec<u8>>,
}

impl StoredJournal {
    /// Returns the journal as one stream, for export. Snapshots contain the whole state, so they are included only if a
    /// body was erased or the journal was upgraded: entries after that cannot be replayed without them.
    #[must_use]
    pub fn to_stream(&self) -> Vec<u8> {
        let upgrades = |record: &Record| {
            ak_audit::Entry::decode(&record.leaf)
                .is_ok_and(|entry| entry.operation == Operation::Upgrade.number())
        };
        let whole = self.records.iter().all(|record| !record.body.is_empty() && !upgrades(record));
        let none = BTreeMap::new();
        export::encode(&self.records, if whole { &none } else { &self.snapshots })
    }
}

/// Reads the journal in a state directory, even while a kernel uses it.
///
/// # Errors
/// When there is no journal, or it is damaged.
pub fn read_journal(directory: &Path) -> Result<StoredJournal, Failure> {
    let within =
        |code, error: String| Failure::new(code, format!("state directory {}: {error}", directory.display()));
    let journal_directory = directory.join(JOURNAL_DIRECTORY);
    if !journal_directory.is_dir() {
        return Err(within(Code::NotFound, String::from("holds no journal")));
    }
    let disk = |name: &str| {
        let disk = FileDisk::open_existing(&directory.join(name));
        disk.map(|disk| Box::new(disk) as BoxedDisk).map_err(|error| within(Code::Io, error.to_string()))
    };
    let opened = Journal::open_read_only(disk(JOURNAL_DIRECTORY)?, &[]);
    let Some((journal, report)) = opened.map_err(|error| within(Code::Io, error.to_string()))? else {
        return Err(within(Code::NotFound, String::from("holds no journal")));
    };
    if let Some(first_bad) = report.first_bad {
        let reason = format!("the journal is damaged from entry {first_bad} on");
        return Err(within(Code::LogCorrupt, reason));
    }
    let vault = Vault::read_only(disk(VAULT_DIRECTORY)?);
    let vault = vault.map_err(|error| within(Code::Io, error.to_string()))?;
    let snapshots = vault.all_snapshots();
    let durable = Durable::new(journal, vault);
    let records: Result<Vec<Record>, Failure> = durable.records(0..u64::MAX).collect();
    Ok(StoredJournal {
        records: records.map_err(|failure| within(failure.code, failure.message))?,
        snapshots,
    })
}

/// By which name a failure tells that another kernel has the directory open.
const LOCKED: &str = "locked";

/// The failure of a disk, which tells where another has it open.
fn unusable_disk(error: &DiskError) -> Failure {
    let failure = unusable(error.to_string());
    if *error == DiskError::Locked { failure.with(LOCKED, true) } else { failure }
}

/// Who has a directory open, and what to do then.
fn tell_holder(failure: Failure, directory: &Path) -> Failure {
    let holder =
        [JOURNAL_DIRECTORY, VAULT_DIRECTORY].iter().find_map(|name| lock_holder(&directory.join(name)));
    let who = match holder {
        Some(pid) if pid == std::process::id() => String::from("this process has it open"),
        Some(pid) => format!("process {pid} has it open"),
        None => String::from("another kernel has it open"),
    };
    let message =
        format!("{who}; one kernel at a time uses a directory, several programs share one through ak serve");
    let failure = Failure { message, ..failure };
    match holder {
        Some(pid) => failure.with("pid", u64::from(pid)),
        None => failure,
    }
}

fn unusable(error: String) -> Failure {
    Failure::new(Code::Io, error)
}

/// Returns a new kernel without history.
///
/// # Errors
/// IO when the system has no random source.
pub(crate) fn new_kernel() -> Result<Kernel, Failure> {
    let now = clock::now().map_err(|error| Failure::new(Code::Io, format!("no entropy: {error}")))?;
    Ok(Kernel::new(now, Config::default()))
}
