//! Erasure on a disk: no file contains data of the subject, every proof holds, and the kernel continues after a
//! restart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::path::Path;

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{
    AdminRequest, AuditRequest, Code, EntryStatus, HeapRequest, LogVerifier, Outcome, Reply, Request,
    StoredBody, ToolReplay, ak_heap::Content,
};
use ak_host::{Connection, Options, SNAPSHOT_ENTRIES, VAULT_DIRECTORY, read_journal};

use support::Scratch;

const SECRET: &str = "born in Ulm";

fn open(state: &Path) -> Connection {
    Connection::open(&Options { state_dir: Some(state.to_owned()), ..Options::default() }).unwrap()
}

fn alloc(text: &str, subject: Option<&str>) -> Request {
    let content = Content::Json(object! { "text": text });
    Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: subject.map(Into::into) })
}

fn erase(kernel: &Connection, subject: &str) -> Outcome {
    kernel.call(Request::Audit(AuditRequest::Erase { subject: subject.into() }))
}

fn verified(kernel: &Connection) -> Value {
    match kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None })) {
        Ok(Reply::Value(report)) => report,
        other => panic!("{other:?}"),
    }
}

/// Returns the files beneath a directory that contain a text.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn nothing_of_a_subject_remains_on_disk() {
    let scratch = Scratch::new("erase");
    let state = scratch.join("state");
    let kernel = open(&state);
    kernel.call(alloc("kept", None)).unwrap();
    let Ok(Reply::Handle(handle)) = kernel.call(alloc(SECRET, Some("alice"))) else { panic!("no handle") };
    kernel.call(Request::Heap(HeapRequest::Read { handle, version: None })).unwrap();
    let Ok(Reply::Value(before)) = kernel.call(Request::Audit(AuditRequest::Checkpoint)) else {
        panic!("no checkpoint")
    };
    let note = before.get("note").and_then(Value::as_str).unwrap().to_owned();
    // The data on the disk is sealed even before the erasure.
    assert_eq!(holding(&state, SECRET), Vec::<String>::new());
    assert!(
        read_journal(&state)
            .unwrap()
            .records
            .iter()
            .any(|record| { record.body.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()) })
    );

    erase(&kernel, "alice").unwrap();

    let left = read_journal(&state).unwrap();
    let opened: Vec<u8> = left.records.iter().flat_map(|record| record.body.to_vec()).collect();
    assert!(!opened.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
    assert!(!opened.windows(5).any(|part| part == b"alice"));
    assert_eq!(left.records.iter().filter(|record| record.body.is_empty()).count(), 3);
    assert_eq!(left.snapshots.len(), 1);
    assert_eq!((holding(&state, SECRET), holding(&state, "alice")), (Vec::new(), Vec::new()));
    // The earlier checkpoint still holds, and each entry replays or is opaque.
    let report = match kernel
        .call(Request::Audit(AuditRequest::Verify { key: None, anchor: Some(note.as_str().into()) }))
    {
        Ok(Reply::Value(report)) => report,
        other => panic!("{other:?}"),
    };
    assert_eq!(report.get("consistent"), Some(&Value::Bool(true)), "{report}");
    assert!(report.get("opaque").and_then(Value::as_u64).unwrap() >= 3);
    assert!(report.get("anchored_at").and_then(Value::as_u64).is_some());
    for seq in 0..left.records.len() as u64 {
        kernel.call(Request::Audit(AuditRequest::Prove { seq })).unwrap();
    }
    kernel.close();

    // The kernel continues from the snapshot, with all remaining data.
    let kernel = open(&state);
    assert_eq!(
        kernel.call(Request::Heap(HeapRequest::Read { handle, version: None })).unwrap_err().code,
        Code::NotFound
    );
    let found = kernel.call(Request::Heap(HeapRequest::Query { form: Default::default() }));
    assert!(matches!(found, Ok(Reply::Value(page)) if page.to_json().contains("kept")));
    kernel.call(alloc("after", None)).unwrap();
    assert_eq!(erase(&kernel, "alice").unwrap_err().code, Code::NotFound);
    kernel.close();

    let stored = read_journal(&state).unwrap();
    let stream = stored.to_stream();
    let mut examination = LogVerifier::new(0, ToolReplay::Rerun);
    for entry in ak_host::ak_kernel::export::decode(&stream).unwrap() {
        let entry = entry.unwrap();
        let standing = examination.examine(
            entry.leaf,
            StoredBody { body: entry.body, subjects: &entry.subjects },
            entry.snapshot,
        );
        assert!(!matches!(standing, EntryStatus::Invalid(_)), "{standing:?}");
    }
    assert!(examination.into_replay().is_some(), "the state at the end is known");
}

#[test]
fn erasing_one_subject_leaves_the_others() {
    let scratch = Scratch::new("erase-two");
    let state = scratch.join("state");
    let kernel = open(&state);
    for (text, subject) in [("of alice", "alice"), ("of bob", "bob"), ("of carol", "carol")] {
        kernel.call(alloc(text, Some(subject))).unwrap();
    }
    erase(&kernel, "alice").unwrap();
    erase(&kernel, "carol").unwrap();
    kernel.close();
    let kernel = open(&state);
    let Ok(Reply::Value(page)) = kernel.call(Request::Heap(HeapRequest::Query { form: Default::default() }))
    else {
        panic!("the query failed")
    };
    let page = page.to_json();
    assert!(page.contains("of bob") && !page.contains("of alice") && !page.contains("of carol"), "{page}");
    assert_eq!(read_journal(&state).unwrap().snapshots.len(), 1, "the snapshot between held carol");
}

#[test]
fn a_log_in_memory_erases_too() {
    let kernel = Connection::open(&Options::default()).unwrap();
    kernel.call(alloc(SECRET, Some("alice"))).unwrap();
    erase(&kernel, "alice").unwrap();
    kernel.call(alloc("after", None)).unwrap();
    let report = verified(&kernel);
    assert_eq!(report.get("consistent"), Some(&Value::Bool(true)), "{report}");
    assert_eq!(report.get("opaque").and_then(Value::as_u64), Some(2));
    let records = kernel.driver().unwrap().records().unwrap();
    assert!(records.iter().all(|record| !String::from_utf8_lossy(&record.body).contains("alice")));
}

#[test]
fn a_lost_vault_is_damage_and_no_new_journal_is_begun() {
    let scratch = Scratch::new("lost-vault");
    let state = scratch.join("state");
    let kernel = open(&state);
    kernel.call(alloc("kept", None)).unwrap();
    kernel.close();
    let (vault, away) = (state.join(VAULT_DIRECTORY), state.join("away"));
    std::fs::rename(&vault, &away).unwrap();
    let kernel = open(&state);
    assert_eq!(kernel.call(alloc("new", None)).unwrap_err().code, Code::LogCorrupt);
    assert_eq!(verified(&kernel).get("consistent"), Some(&Value::Bool(false)));
    kernel.close();
    std::fs::remove_dir_all(&vault).unwrap();
    std::fs::rename(&away, &vault).unwrap();
    assert!(open(&state).call(alloc("again", None)).is_ok());
}

#[test]
fn a_long_journal_starts_from_a_snapshot() {
    let scratch = Scratch::new("snapshot");
    let state = scratch.join("state");
    let kernel = open(&state);
    let agent = kernel.agent("worker").unwrap();
    let request =
        Request::Admin(AdminRequest::Authorize { operation: "read".into(), target: "/x".into(), args: None });
    for chunk in 0..SNAPSHOT_ENTRIES / 100 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..25).for_each(|_| drop(kernel.call(request.clone()).unwrap())));
            }
        });
        agent.call(alloc(&chunk.to_string(), None)).unwrap();
    }
    kernel.close();
    let stored = read_journal(&state).unwrap();
    assert_eq!(stored.snapshots.len(), 1);
    let mut replayed = 0;
    let options = Options { state_dir: Some(state.clone()), ..Options::default() };
    let kernel = Connection::open_with_progress(&options, &mut |done, _| replayed = done).unwrap();
    // A snapshot was made while the kernel ran, so none was needed later.
    assert!(replayed < SNAPSHOT_ENTRIES, "{replayed} entries were executed again");
    let report = verified(&kernel);
    assert_eq!(
        report.get("replayed").and_then(Value::as_u64),
        Some(stored.records.len() as u64 + 2),
        "the session that was left open is closed, and then this is asked: {report}"
    );
    // A changed snapshot is not used: everything is replayed.
    kernel.close();
    for file in std::fs::read_dir(state.join(VAULT_DIRECTORY)).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snapshot-") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    Connection::open_with_progress(&options, &mut |done, _| replayed = done).unwrap();
    assert!(replayed > SNAPSHOT_ENTRIES, "{replayed} entries were executed again");
}
