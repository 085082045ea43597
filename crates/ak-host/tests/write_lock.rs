//! Two writers notice each other, whatever is renamed, removed or copied meanwhile; a directory that is not writable
//! can be verified.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../../ak-audit/tests/common/records.rs"]
mod records;
mod support;

use std::{fs, path::Path};

use ak_audit::{
    Disk, DiskError,
    journal::{Genesis, Journal, JournalError, Options as JournalOptions},
};
use ak_host::ak_kernel::{
    AuditRequest, Code, Failure, HeapRequest, Reply, Request,
    ak_heap::Content,
    ak_json::{Value, object},
};
use ak_host::{Connection, FileDisk, JOURNAL_DIRECTORY, Options, VAULT_DIRECTORY};

use records::record;
use support::{Mount, Scratch};

fn try_open(directory: &Path) -> Result<Connection, Failure> {
    Connection::open(&Options { state_dir: Some(directory.to_owned()), ..Options::default() })
}

fn open(directory: &Path) -> Connection {
    try_open(directory).unwrap_or_else(|failure| panic!("{failure}"))
}

fn alloc(kernel: &Connection, text: &str) -> Result<(), Failure> {
    let content = Content::Json(object! { "text": text });
    kernel
        .call(Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: None }))
        .map(|_| ())
}

/// Returns the number of notes in an unused state directory.
fn notes(directory: &Path) -> usize {
    let stored = ak_host::read_journal(directory).unwrap();
    let alloc =
        |record: &&ak_host::ak_kernel::Record| String::from_utf8_lossy(&record.body).contains("\"note\"");
    stored.records.iter().filter(alloc).count()
}

/// Appends another entry, durably.
fn append(journal: &mut Journal<FileDisk>) -> Result<(), JournalError> {
    let chain = journal.chain();
    journal.append(&[record(chain.next, chain.head)])?;
    journal.sync().map(|_| ())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(fs::copy(entry.path(), place).unwrap()),
        }
    }
}

#[test]
fn only_the_holder_of_the_lock_can_lock_again() {
    let scratch = Scratch::new("lock-twice");
    let mut disk = FileDisk::new(scratch.path()).unwrap();
    disk.lock().unwrap();
    disk.lock().unwrap();
    disk.clone().lock().unwrap();
    assert!(FileDisk::new(scratch.path()).unwrap().lock().is_err());
    drop(disk);
    FileDisk::new(scratch.path()).unwrap().lock().unwrap();
}

#[test]
fn a_writer_whose_lock_file_is_removed_stops_and_no_other_can_lock() {
    let scratch = Scratch::new("lock-removed");
    let first = open(scratch.path());
    alloc(&first, "kept").unwrap();
    fs::remove_file(scratch.join(JOURNAL_DIRECTORY).join("lock")).unwrap();
    // The directory is locked too; removing the lock file does not release that lock.
    let second = try_open(scratch.path()).err().expect("it is used");
    assert!(second.message.contains("this process has it open; one kernel"), "{second}");
    assert_eq!(second.context.get("pid").and_then(Value::as_u64), Some(std::process::id().into()));
    let refused = alloc(&first, "not recorded").unwrap_err();
    assert_eq!(refused.code, Code::UnknownOutcome);
    assert!(refused.message.contains("lock file was removed or replaced"), "{refused}");
    first.close();
    drop(first);
    assert_eq!(notes(scratch.path()), 1);
    alloc(&open(scratch.path()), "goes on").unwrap();
}

#[test]
fn a_writer_whose_directory_was_replaced_stops() {
    let scratch = Scratch::new("replaced");
    let (state, away) = (scratch.join("state"), scratch.join("away"));
    let first = open(&state);
    alloc(&first, "kept").unwrap();
    copy(&state, &away);
    fs::rename(&state, scratch.join("first")).unwrap();
    fs::rename(&away, &state).unwrap();
    let second = open(&state);
    alloc(&second, "the copy goes on").unwrap();
    let refused = alloc(&first, "not recorded").unwrap_err();
    assert!(refused.message.contains("another stands in its place"), "{refused}");
    alloc(&second, "and on").unwrap();
    second.close();
    first.close();
    assert_eq!((notes(&state), notes(&scratch.join("first"))), (3, 1));
}

#[test]
fn a_renamed_directory_stays_the_writers() {
    let scratch = Scratch::new("renamed");
    let (state, moved) = (scratch.join("state"), scratch.join("moved"));
    let kernel = open(&state);
    fs::rename(&state, &moved).unwrap();
    alloc(&kernel, "after").unwrap();
    assert!(try_open(&moved).is_err(), "it is used");
    assert!(!state.exists(), "nothing is made where it was");
    kernel.close();
    assert_eq!(notes(&moved), 1);
    // The path now leads to another journal.
    let kernel = open(&moved);
    let strange = open(&state);
    alloc(&strange, "elsewhere").unwrap();
    alloc(&kernel, "here").unwrap();
    assert_eq!((notes(&moved), notes(&state)), (2, 1));
}

#[test]
fn a_writer_that_finds_another_epoch_stops() {
    let scratch = Scratch::new("epoch");
    let kernel = open(scratch.path());
    alloc(&kernel, "kept").unwrap();
    // As on a file system whose locks have no effect.
    fs::write(scratch.join(JOURNAL_DIRECTORY).join("lock"), "e".repeat(64)).unwrap();
    let refused = alloc(&kernel, "not recorded").unwrap_err();
    assert!(refused.message.contains("another writer has put its epoch"), "{refused}");
    kernel.close();
    assert_eq!(notes(scratch.path()), 1);
}

#[test]
fn a_write_into_a_replaced_file_is_not_acknowledged() {
    let scratch = Scratch::new("segment");
    let kernel = open(scratch.path());
    alloc(&kernel, "kept").unwrap();
    let journal = scratch.join(JOURNAL_DIRECTORY);
    let segment = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some()).unwrap();
    fs::copy(&segment, scratch.join("copy")).unwrap();
    fs::rename(scratch.join("copy"), &segment).unwrap();
    let refused = alloc(&kernel, "not recorded").unwrap_err();
    assert!(refused.message.contains("was removed or replaced"), "{refused}");
    kernel.close();
    assert_eq!(notes(scratch.path()), 1);
}

#[test]
fn the_next_segment_is_created_beside_the_first_after_a_rename() {
    let scratch = Scratch::new("segments");
    let (place, moved) = (scratch.join("journal"), scratch.join("moved"));
    let options = JournalOptions { segment_bytes_max: 8 << 10, allocation_bytes: 4096, reserve_bytes: 512 };
    let genesis = Genesis { id: [7; 16], meta: b"{}".to_vec() };
    let (mut journal, _) = Journal::open(FileDisk::new(&place).unwrap(), &genesis, options, &[]).unwrap();
    fs::rename(&place, &moved).unwrap();
    for _ in 0..100 {
        append(&mut journal).unwrap();
    }
    assert!(!place.exists());
    assert!(fs::read_dir(&moved).unwrap().count() > 3);
    // With another directory at the path, not one more byte is written.
    fs::create_dir(&place).unwrap();
    fs::write(place.join("lock"), "").unwrap();
    assert!(matches!(append(&mut journal), Err(JournalError::Disk(DiskError::Failed(_)))));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    drop(journal);
    let disk = FileDisk::new(&moved).unwrap();
    let (journal, report) = Journal::open_read_only(disk, &[]).unwrap().unwrap();
    assert_eq!((journal.len(), report.first_bad), (100, None));
}

#[test]
fn no_new_journal_is_begun_beside_a_used_vault() {
    let scratch = Scratch::new("missing");
    let kernel = open(scratch.path());
    alloc(&kernel, "kept").unwrap();
    kernel.close();
    drop(kernel);
    let journal = scratch.join(JOURNAL_DIRECTORY);
    fs::rename(&journal, scratch.join("elsewhere")).unwrap();
    let refused = try_open(scratch.path()).err().expect("it is refused");
    assert_eq!(refused.code, Code::LogCorrupt);
    assert!(refused.message.contains("the journal is missing"), "{refused}");
    assert!(refused.message.contains("move the vault away"), "{refused}");
    // Do what the message advises.
    fs::remove_dir_all(&journal).unwrap();
    fs::rename(scratch.join("elsewhere"), &journal).unwrap();
    open(scratch.path()).close();
    fs::rename(&journal, scratch.join("elsewhere")).unwrap();
    fs::rename(scratch.join(VAULT_DIRECTORY), scratch.join("old-vault")).unwrap();
    alloc(&open(scratch.path()), "anew").unwrap();
}

/// Runs only if the test may mount, as root.
#[test]
fn a_state_directory_on_a_read_only_file_system_is_verified_without_writing() {
    let scratch = Scratch::new("read-only-mount");
    let kernel = open(scratch.path());
    alloc(&kernel, "kept").unwrap();
    kernel.close();
    drop(kernel);
    let Some(_mount) = Mount::read_only(scratch.path()) else { return };
    let before = fs::read_dir(scratch.path()).unwrap().count();
    let kernel = open(scratch.path());
    let verify = Request::Audit(AuditRequest::Verify { key: None, anchor: None });
    let Ok(Reply::Value(verified)) = kernel.call(verify) else { panic!("it is not verified") };
    assert_eq!(verified.get("consistent").and_then(|value| value.as_bool()), Some(true), "{verified:?}");
    let refused = alloc(&kernel, "refused").unwrap_err();
    assert_eq!(refused.code, Code::NotConfigured);
    assert!(refused.message.contains("may not be written"), "{refused}");
    kernel.close();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), before);
    assert_eq!(notes(scratch.path()), 1);
}
