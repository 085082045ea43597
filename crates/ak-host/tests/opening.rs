//! Opening reads only the entries since the newest snapshot. The rest is read in the background, and damage there is
//! still found.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::path::Path;

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{
    AdminRequest, AuditRequest, Code, Failure, FileRequest, HeapRequest, Reply, Request, ak_heap::Content,
};
use ak_host::{Connection, JOURNAL_DIRECTORY, Options, SNAPSHOT_ENTRIES, VAULT_DIRECTORY};

use support::{Scratch, wait_until};

/// More bytes than a segment of the journal.
const LARGE_REQUESTS: usize = 36;
const LARGE_BYTES: usize = 2 << 20;

fn open(state: &Path) -> Connection {
    Connection::open(&Options { state_dir: Some(state.to_owned()), ..Options::default() }).unwrap()
}

fn alloc(text: &str, subject: Option<&str>) -> Request {
    let content = Content::Json(object! { "text": text });
    Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: subject.map(Into::into) })
}

fn verified(kernel: &Connection) -> Result<Value, Failure> {
    match kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))? {
        Reply::Value(report) => Ok(report),
        other => panic!("{other:?}"),
    }
}

/// Fills a segment with records that leave nothing in the state, then erases a subject: the snapshot is in the second
/// segment.
fn two_segments(state: &Path) {
    let kernel = open(state);
    let write =
        Request::File(FileRequest::Write { path: "/nowhere".into(), data: vec![b'x'; LARGE_BYTES].into() });
    for _ in 0..LARGE_REQUESTS {
        assert_eq!(kernel.call(write.clone()).unwrap_err().code, Code::PolicyDeny);
    }
    kernel.call(alloc("of alice", Some("alice"))).unwrap();
    kernel.call(Request::Audit(AuditRequest::Erase { subject: "alice".into() })).unwrap();
    kernel.call(alloc("kept", None)).unwrap();
    kernel.close();
    assert_eq!(segments(state).len(), 2);
}

fn segments(state: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(state.join(JOURNAL_DIRECTORY)).unwrap().map(|file| file.unwrap().path());
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "akj")).collect();
    segments.sort();
    segments
}

#[test]
fn entries_that_opening_left_unread_can_be_proven_and_verified() {
    let scratch = Scratch::new("unread");
    let state = scratch.join("state");
    two_segments(&state);
    let mut replayed = None;
    let options = Options { state_dir: Some(state.clone()), ..Options::default() };
    let kernel = Connection::open_with_progress(&options, &mut |done, _| replayed = Some(done)).unwrap();
    assert!(replayed.unwrap() < 10, "{replayed:?} entries were executed again");
    for seq in [0, 7, LARGE_REQUESTS as u64 + 2] {
        kernel.call(Request::Audit(AuditRequest::Prove { seq })).unwrap();
    }
    let Ok(Reply::Value(before)) = kernel.call(Request::Audit(AuditRequest::Checkpoint)) else {
        panic!("no checkpoint")
    };
    let note = before.get("note").and_then(Value::as_str).unwrap().to_owned();
    kernel.close();
    let kernel = open(&state);
    let report =
        kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: Some(note.as_str().into()) }));
    let Ok(Reply::Value(report)) = report else { panic!("{report:?}") };
    assert_eq!(report.get("consistent"), Some(&Value::Bool(true)), "{report}");
    assert!(report.get("anchored_at").and_then(Value::as_u64).is_some(), "{report}");
}

#[test]
fn damage_in_entries_that_opening_left_unread_stops_the_kernel() {
    let scratch = Scratch::new("unread-damage");
    let state = scratch.join("state");
    two_segments(&state);
    let first = &segments(&state)[0];
    let mut bytes = std::fs::read(first).unwrap();
    // In the middle of the body of a large request.
    bytes[5 * LARGE_BYTES] ^= 1;
    std::fs::write(first, &bytes).unwrap();

    let kernel = open(&state);
    let mut failure = None;
    wait_until("the damage is found", || {
        failure = kernel.call(Request::Admin(AdminRequest::LastError)).err();
        failure.is_some()
    });
    let failure = failure.unwrap();
    assert_eq!(failure.code, Code::LogCorrupt, "{failure}");
    let first_bad = failure.context.get("first_bad").and_then(Value::as_u64).unwrap();
    assert!((1..LARGE_REQUESTS as u64).contains(&first_bad), "{failure}");
    let report = verified(&kernel).unwrap();
    assert_eq!(report.get("consistent"), Some(&Value::Bool(false)));
    assert_eq!(report.get("first_bad").and_then(Value::as_u64), Some(first_bad));
    // Nothing was written since then.
    assert_eq!(kernel.call(alloc("new", None)).unwrap_err().code, Code::LogCorrupt);
}

#[test]
fn snapshots_are_kept_while_the_kernel_runs_and_shorten_the_next_start() {
    let scratch = Scratch::new("running");
    let state = scratch.join("state");
    let kernel = open(&state);
    let kept = || {
        let files = std::fs::read_dir(state.join(VAULT_DIRECTORY)).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("snapshot-"))
            .count()
    };
    let request =
        Request::Admin(AdminRequest::Authorize { operation: "read".into(), target: "/x".into(), args: None });
    let call = |count: u64| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..count / 4).for_each(|_| drop(kernel.call(request.clone()).unwrap())));
            }
        });
    };
    call(SNAPSHOT_ENTRIES - 1000);
    assert_eq!(kept(), 0);
    call(1000);
    wait_until("a snapshot is kept", || kept() == 1);
    call(100);
    // A process that ends without closing the kernel keeps no final snapshot.
    drop(kernel);
    let mut replayed = SNAPSHOT_ENTRIES;
    let options = Options { state_dir: Some(state.clone()), ..Options::default() };
    let kernel = Connection::open_with_progress(&options, &mut |done, _| replayed = done).unwrap();
    assert!((100..SNAPSHOT_ENTRIES / 2).contains(&replayed), "{replayed} entries were executed again");
    let report = verified(&kernel).unwrap();
    assert_eq!(report.get("consistent"), Some(&Value::Bool(true)), "{report}");
}
