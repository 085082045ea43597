//! A state directory of an earlier version opens, can be written, and restarts; its old entries are reported as such.
//!
//! Version 8 wrote the fixtures: one was closed; one was killed with entries after its newest snapshot and a pending
//! effect; one never kept a snapshot.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ak_host::ak_kernel::{
    Code, LogVerifier, Operation, Outcome, Reply, Request, StoredBody, ToolReplay, export,
};
use ak_host::{
    Connection, Options,
    ak_json::{Value, array, object},
    read_journal,
};
use support::Scratch;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn fixture(scratch: &Scratch, name: &str) -> PathBuf {
    let place = scratch.path().join(name);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), &place);
    place
}

fn open(place: &Path) -> Connection {
    Connection::open(&Options { state_dir: Some(place.to_owned()), ..Options::default() }).unwrap()
}

fn ask(to: &Connection, operation: Operation, args: Value) -> Outcome {
    to.call(Request::decode(operation, &args).unwrap())
}

fn content(to: &Connection, handle: &str) -> String {
    ask(to, Operation::Read, object! { "handle": handle }).unwrap().to_value().get("value").unwrap().to_json()
}

fn verified(owner: &Connection) -> (Option<bool>, Option<u64>) {
    let verdict = ask(owner, Operation::AuditVerify, object! {}).unwrap().to_value();
    let consistent = verdict.get("consistent").and_then(Value::as_bool);
    assert_eq!(consistent, Some(true), "{}", verdict.to_json());
    (consistent, verdict.get("not_replayed").and_then(Value::as_u64))
}

/// `(fixture, entries, content of the task, calls of the tool `add` that the limit leaves)`.
const FIXTURES: [(&str, u64, &str, usize); 3] = [
    ("version-8-closed", 31, r#"{"title":"one","done":"yes","next":"0x100000002"}"#, 5),
    ("version-8-killed", 47, r#"{"title":"one","done":42,"next":"0x100000002"}"#, 4),
    ("version-8-unsnapshotted", 28, r#"{"title":"one","done":"yes","next":"0x100000002"}"#, 5),
];

#[test]
fn a_state_directory_of_version_8_opens_writes_and_restarts() {
    for (name, earlier, task, adds_left) in FIXTURES {
        let scratch = Scratch::new("upgrade");
        let place = fixture(&scratch, name);
        let owner = open(&place);
        let worker = owner.agent("worker").unwrap();
        assert_eq!(content(&worker, "0x100000000"), task, "{name}");
        let stranger = owner.agent("stranger").unwrap();
        let foreign = ask(&stranger, Operation::Read, object! { "handle": "0x100000000" });
        assert_eq!(foreign.unwrap_err().code, Code::NotFound);
        // The policy, its limits and their usage, the schema, and the owner's settings are all in force.
        let denied = ask(&worker, Operation::Call, object! { "tool": "concat", "args": object! {} });
        assert_eq!(denied.unwrap_err().code, Code::PolicyDeny);
        let add = |to: &Connection| {
            ask(to, Operation::Call, object! { "tool": "add", "args": object! { "a": 1, "b": 1 } })
        };
        let passed = (0..10).filter(|_| add(&worker).is_ok()).count();
        assert_eq!(passed, adds_left, "{name}");
        let wrong =
            ask(&worker, Operation::Alloc, object! { "type": "task", "value": object! { "no": "title" } });
        assert_eq!(wrong.unwrap_err().code, Code::SchemaInvalid);
        let budget = ask(&worker, Operation::BudgetStatus, object! { "kind": "compute" }).unwrap().to_value();
        assert_eq!(budget.get("compute").and_then(|row| row.get("limit")?.as_u64()), Some(100_000), "{name}");
        let patch = array![object! { "op": "replace", "path": "/done", "value": "again" }];
        ask(&worker, Operation::Write, object! { "handle": "0x100000000", "patch": patch }).unwrap();
        let (_, not_replayed) = verified(&owner);
        assert_eq!(not_replayed, Some(earlier), "{name}");
        drop((worker, stranger));
        owner.close();

        // The kernel restarts repeatedly, and an erasure removes only the data of its subject.
        for round in 0..3 {
            let owner = open(&place);
            let worker = owner.agent("worker").unwrap();
            assert!(content(&worker, "0x100000000").contains("again"));
            ask(
                &owner,
                Operation::AuditLog,
                object! { "event": "round", "details": object! {}, "subject": format!("s{round}") },
            )
            .unwrap();
            if round == 1 {
                ask(&owner, Operation::AuditErase, object! { "subject": "s0" }).unwrap();
            }
            assert_eq!(verified(&owner).1, Some(earlier), "{name}");
            drop(worker);
            owner.close();
        }

        // The same through the exported journal, as `ak replay` does it.
        let stored = read_journal(&place).unwrap();
        let bytes = stored.to_stream();
        let mut examination = LogVerifier::new(0, ToolReplay::Rerun);
        for entry in export::decode(&bytes).unwrap() {
            let entry = entry.unwrap();
            examination.examine(
                entry.leaf,
                StoredBody { body: entry.body, subjects: &entry.subjects },
                entry.snapshot,
            );
        }
        assert_eq!(examination.first_wrong(), None, "{name}");
        assert_eq!((examination.not_replayed(), examination.is_complete()), (earlier, false), "{name}");
        assert!(examination.into_replay().is_some(), "the state at the end is known");
    }
}

#[test]
fn a_crash_between_snapshot_and_record_restarts_the_upgrade() {
    let scratch = Scratch::new("upgrade");
    let place = fixture(&scratch, "version-8-killed");
    let before: Vec<PathBuf> = ["journal", "vault"].map(|name| place.join(name)).into();
    let saved = scratch.path().join("saved");
    copy(&before[0], &saved);
    drop(open(&place));
    // The record is missing, but the snapshot that was kept for it exists.
    fs::remove_dir_all(&before[0]).unwrap();
    copy(&saved, &before[0]);
    assert!(
        fs::read_dir(&before[1])
            .unwrap()
            .any(|file| { file.unwrap().file_name().to_string_lossy().starts_with("upgrade-") })
    );
    let owner = open(&place);
    assert_eq!(verified(&owner).1, Some(47));
    let Reply::Session(_) = ask(&owner, Operation::SessionOpen, object! { "agent": "w" }).unwrap() else {
        panic!()
    };
}
