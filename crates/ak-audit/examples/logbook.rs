//! A logbook: lines of text in a tamper-evident log, in a directory.
//!
//! ```text
//! dmesg | logbook append DIR        appends each line of standard input, then prints a signed checkpoint
//! logbook verify DIR [CHECKPOINT]   hashes everything anew, against a checkpoint kept elsewhere
//! logbook show DIR                  prints every line with its number and leaf hash
//! logbook export DIR TARGET         writes C2SP tiles, entries and checkpoint
//! ```
//!
//! The key stands in `DIR/key`; whoever should be convinced gets `DIR/key.pub` and each checkpoint.
#![allow(clippy::indexing_slicing, reason = "an example, whose arguments are counted")]

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use ak_audit::{
    Checkpoint, Decision, Disk, DiskError, Entry, Integrity, Journal, Kind, Record, SigningKey, VerifierKey,
    ZERO_HASH, commitment,
    journal::{Genesis, Options, RecoveryReport},
    leaf_hash,
    note::KeyKind,
};
use sha2::{Digest as _, Sha256};

const ORIGIN: &str = "logbook.example";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["append", directory] => append(Path::new(directory)),
        ["verify", directory] => verify(Path::new(directory), None),
        ["verify", directory, checkpoint] => verify(Path::new(directory), Some(Path::new(checkpoint))),
        ["show", directory] => show(Path::new(directory)),
        ["export", directory, target] => export(Path::new(directory), Path::new(target)),
        _ => Err("usage: logbook append|verify|show|export DIR …".into()),
    }
}

fn append(directory: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let key = signing_key(directory)?;
    let genesis = Genesis { id: random()?, meta: Vec::new() };
    let (mut journal, report) = Journal::open(Directory::new(directory), &genesis, Options::default(), &[])?;
    tell(&report);
    let run = journal.genesis().id;
    for line in io::stdin().lines() {
        let (line, salt) = (line?, random::<32>()?);
        // The body is what was said and the salt: without both, the commitment in the entry tells nothing.
        let body = [salt.as_slice(), line.as_bytes()].concat();
        let chain = journal.chain();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let entry = Entry {
            seq: chain.next,
            time_us: u64::try_from(now)?.max(chain.time_us),
            run,
            operation: 1,
            kind: Kind::Notice,
            decision: Decision::Permit,
            code: 0,
            cause: chain.next,
            policy: ZERO_HASH,
            target: ZERO_HASH,
            request: commitment(&salt, &Sha256::digest(line.as_bytes()).into()),
            reply: ZERO_HASH,
            previous: chain.head,
            integrity: Integrity::Untrusted,
            secrecy: Vec::new(),
            agent: "stdin",
            rule: "",
        };
        journal.append(&[Record { entry: entry.encode()?.into(), body: body.into() }])?;
    }
    journal.sync()?;
    let note = journal.checkpoint(ORIGIN).sign(&key)?;
    fs::write(directory.join("checkpoint"), &note)?;
    print!("{}", String::from_utf8(note)?);
    Ok(())
}

fn verify(directory: &Path, checkpoint: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let key = VerifierKey::parse(fs::read_to_string(directory.join("key.pub"))?.trim_end())?;
    let anchors = match checkpoint {
        Some(path) => vec![Checkpoint::open(&fs::read(path)?, &key)?],
        None => Vec::new(),
    };
    let opened = Journal::open_read_only(Directory::new(directory), &anchors)?;
    let (journal, report) = opened.ok_or("there is no logbook")?;
    tell(&report);
    for record in journal.records(0..journal.len()) {
        let (seq, record) = record?;
        let (salt, line) = record.body.split_first_chunk().ok_or(format!("line {seq} has no salt"))?;
        if Entry::decode(&record.entry)?.request != commitment(salt, &Sha256::digest(line).into()) {
            return Err(format!("line {seq} is not what was committed to").into());
        }
    }
    match (report.first_bad, report.reason) {
        (Some(seq), Some(reason)) => Err(format!("bad from line {seq} on: {reason}").into()),
        _ => {
            println!("{} lines are what was written", report.size - report.pruned_below);
            Ok(())
        }
    }
}

fn show(directory: &Path) -> Result<(), Box<dyn Error>> {
    let opened = Journal::open_read_only(Directory::new(directory), &[])?;
    let (journal, _) = opened.ok_or("there is no logbook")?;
    for record in journal.records(0..journal.len()) {
        let (seq, record) = record?;
        let line = String::from_utf8_lossy(record.body.get(32..).unwrap_or_default()).into_owned();
        println!("{seq} {} {line}", hex::encode(leaf_hash(&record.entry)));
    }
    Ok(())
}

fn export(directory: &Path, target: &Path) -> Result<(), Box<dyn Error>> {
    let opened = Journal::open_read_only(Directory::new(directory), &[])?;
    let (journal, _) = opened.ok_or("there is no logbook")?;
    for tile in journal.tiles(journal.len()) {
        let tile = tile?;
        let path = target.join(&tile.path);
        fs::create_dir_all(path.parent().ok_or("a tile has no directory")?)?;
        fs::write(path, tile.bytes)?;
    }
    fs::copy(directory.join("checkpoint"), target.join("checkpoint"))?;
    Ok(())
}

fn tell(report: &RecoveryReport) {
    if report.torn_tail_bytes > 0 {
        eprintln!("{} bytes of an unfinished write were left out", report.torn_tail_bytes);
    }
    match report.anchored_at {
        Some(size) => eprintln!("agrees with the checkpoint at {size}"),
        None => eprintln!("unanchored: the holder of this directory could have rewritten it"),
    }
}

/// The key in the directory, made on first use.
fn signing_key(directory: &Path) -> Result<SigningKey, Box<dyn Error>> {
    let path = directory.join("key");
    if !path.exists() {
        fs::write(&path, random::<32>()?)?;
    }
    let seed = fs::read(&path)?.try_into().map_err(|_| "the key has not 32 bytes")?;
    let key = SigningKey::from_seed(ORIGIN, KeyKind::Log, &seed)?;
    fs::write(directory.join("key.pub"), format!("{}\n", key.verifier()))?;
    Ok(key)
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A directory as the journal's disk.
struct Directory {
    path: PathBuf,
    lock: Option<File>,
}

impl Directory {
    fn new(path: &Path) -> Directory {
        Directory { path: path.to_owned(), lock: None }
    }

    fn open(&self, name: &str) -> Result<File, DiskError> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name)).map_err(failed)
    }
}

fn failed(error: io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::NotFound => DiskError::Absent,
        io::ErrorKind::StorageFull => DiskError::Full,
        _ => DiskError::Failed(error.to_string()),
    }
}

impl Disk for Directory {
    fn lock(&mut self) -> Result<(), DiskError> {
        if self.lock.is_none() {
            let file = File::create(self.path.join("lock")).map_err(failed)?;
            file.try_lock().map_err(|_| DiskError::Locked)?;
            self.lock = Some(file);
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let entries = fs::read_dir(&self.path).map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn length(&self, name: &str) -> Result<u64, DiskError> {
        Ok(self.open(name)?.metadata().map_err(failed)?.len())
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.open(name)?.read_at(buffer, offset).map_err(failed)
    }

    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let mut at = file.metadata().map_err(failed)?.len();
        // Written zeros, not a hole: a hole has no space of its own.
        while at < length {
            let zeros = [0; 1 << 16];
            let count = usize::try_from(length - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            file.write_all_at(&zeros[..count], at).map_err(failed)?;
            at += count as u64;
        }
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.open(name)?.write_all_at(bytes, offset).map_err(failed)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.open(name)?.sync_data().map_err(failed)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        fs::remove_file(self.path.join(name)).map_err(failed)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}
