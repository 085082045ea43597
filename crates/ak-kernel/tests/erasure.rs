//! Erasure: what it removes, what remains proven, and that the removed data cannot be guessed from the rest.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;

use ak_heap::Content;
use ak_json::{Object, Value, object};
use ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, Code, Effect, EntryStatus, HeapRequest, Operation, Reply,
    Request, SessionId,
};
use ak_policy::budget::Dimension;
use proptest::prelude::*;

use support::{Machine, alloc, failure, file_read, handle, json, value, write};

/// The text that must not be found after the erasure.
const SECRET: &str = "born in Ulm";

fn about_alice(content: &str) -> Request {
    Request::Heap(HeapRequest::Alloc {
        type_name: "person".into(),
        content: Content::Json(json(content)),
        subject: Some("alice".into()),
    })
}

fn erase(subject: &str) -> Request {
    Request::Audit(AuditRequest::Erase { subject: subject.into() })
}

/// Whether a text occurs in anything that a host stores.
fn found(machine: &Machine, snapshot: &[u8], text: &str) -> bool {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    holds(snapshot) || machine.records.iter().any(|record| holds(&record.leaf) || holds(&record.body))
}

#[test]
fn an_erasure_leaves_nothing_of_its_subject() {
    let mut machine = Machine::new();
    let worker = machine.agent("worker");
    let kept = handle(machine.call_as(worker, alloc("note", "{\"of\":\"worker\"}")));
    let object = handle(machine.call_as(worker, about_alice(&format!("{{\"was\":\"{SECRET}\"}}"))));
    let patch = format!("[{{\"op\":\"add\",\"path\":\"/again\",\"value\":\"{SECRET}\"}}]");
    machine.call_as(worker, write(object, &patch, None)).unwrap();
    let dead = handle(machine.call(about_alice(&format!("[\"{SECRET}\"]"))));
    machine.call(Request::Heap(HeapRequest::Delete { handle: dead, expected_version: None })).unwrap();
    let log = Request::Audit(AuditRequest::Log {
        event: "met".into(),
        details: object! { "at": SECRET },
        subject: Some("alice".into()),
    });
    machine.call(log).unwrap();
    // The error of a failed patch contains it too.
    let patch = format!("[{{\"op\":\"test\",\"path\":\"/was\",\"value\":\"not {SECRET}\"}}]");
    failure(machine.call(write(object, &patch, None)));
    let memory = |machine: &mut Machine| {
        let status = value(machine.call(Request::Agent(AgentRequest::BudgetStatus {
            dimension: Some(Dimension::Memory),
            agent: None,
        })));
        status.get("memory").and_then(|memory| memory.get("used")).and_then(Value::as_u64).unwrap()
    };
    let before = memory(&mut machine);
    let whole = machine.snapshot();
    assert!(found(&machine, &whole, SECRET) && found(&machine, &[], "alice"));

    let (_, snapshot) = machine.erase("alice").unwrap();

    assert!(!found(&machine, &snapshot, SECRET) && !found(&machine, &snapshot, "alice"));
    assert!(memory(&mut machine) < before, "its bytes are given back");
    for gone in [object, dead] {
        let read = Request::Heap(HeapRequest::Read { handle: gone, version: Some(0) });
        assert_eq!(failure(machine.call(read)).code, Code::NotFound);
    }
    assert!(
        machine.call_as(worker, Request::Heap(HeapRequest::Read { handle: kept, version: None })).is_ok()
    );
    let entries = value(machine.call(Request::Audit(AuditRequest::Query(AuditFilter::default()))));
    assert!(!entries.to_json().contains(SECRET) && !entries.to_json().contains("alice"));
    // The name can be used again, for a new subject.
    machine.call(about_alice("{}")).unwrap();
    assert_ne!(machine.records.last().unwrap().subjects, machine.records[2].subjects);
    assert!(machine.erase("alice").is_ok());
}

/// Content of nearly the largest size of an object.
fn large(fill: u8) -> Request {
    let bytes = vec![fill; 4_000_000];
    Request::Heap(HeapRequest::Alloc {
        type_name: "blob".into(),
        content: Content::Raw(bytes.into()),
        subject: None,
    })
}

#[test]
fn the_subject_of_a_dropped_object_is_not_part_of_the_state() {
    let mut machine = Machine::new();
    let notes: Vec<_> = (0..20).map(|_| handle(machine.call(about_alice("{}")))).collect();
    for note in &notes[1..] {
        machine.call(Request::Heap(HeapRequest::Delete { handle: *note, expected_version: None })).unwrap();
    }
    let about = |machine: &mut Machine| {
        let snapshot = machine.snapshot();
        let text = String::from_utf8_lossy(&snapshot).into_owned();
        notes.iter().filter(|note| text.contains(&format!("\"{note}\":\"alice\""))).count()
    };
    assert_eq!(about(&mut machine), notes.len());
    // Tombstones of up to 64 MiB are kept: these replace the first ones.
    let large: Vec<_> = (0..20).map(|fill| handle(machine.call(large(fill)))).collect();
    for large in large {
        machine.call(Request::Heap(HeapRequest::Delete { handle: large, expected_version: None })).unwrap();
    }
    assert_eq!(about(&mut machine), 1, "one is alive");
    machine.replayed();
}

#[test]
fn a_body_about_several_subjects_is_erased_with_any_of_them() {
    let mut machine = Machine::new();
    let object = handle(machine.call(about_alice(&format!("{{\"was\":\"{SECRET}\"}}"))));
    let batch = object! { "ops": vec![
        object! { "op": "write", "handle": object.to_string(),
            "patch": json(&format!("[{{\"op\":\"add\",\"path\":\"/n\",\"value\":\"{SECRET}\"}}]")) },
        object! { "op": "alloc", "type": "note", "value": 1 },
    ] };
    machine.call(Request::decode(Operation::Batch, &batch).unwrap()).unwrap();
    assert_eq!(machine.records.last().unwrap().subjects.len(), 2);
    machine.call(Request::Heap(HeapRequest::Query { form: Object::new() })).unwrap();
    let (_, snapshot) = machine.erase("alice").unwrap();
    assert!(!found(&machine, &snapshot, SECRET));
    // The reply to the query cannot be guessed: the same reply with the remaining salts has another commitment.
    let query = machine.records[3].leaf.clone();
    let entry = ak_audit::Entry::decode(&query).unwrap();
    assert_ne!(entry.reply, [0; 32]);
}

#[test]
fn the_log_verifies_up_to_an_erased_body_and_from_the_next_snapshot_on() {
    let mut machine = Machine::new();
    machine.call(alloc("note", "1")).unwrap();
    machine.call(about_alice("{}")).unwrap();
    machine.call(alloc("note", "2")).unwrap();
    let (seq, snapshot) = machine.erase("alice").unwrap();
    machine.call(alloc("note", "3")).unwrap();
    let kept = BTreeMap::from([(seq, snapshot.clone())]);
    let (standings, examination) = machine.examined(&kept);
    let letters: String = standings
        .iter()
        .map(|standing| match standing {
            EntryStatus::Verified(_) => 'f',
            EntryStatus::Opaque => 'o',
            EntryStatus::Invalid(_) => 'w',
            EntryStatus::NotReplayed => 'n',
        })
        .collect();
    // Genesis, note, alice, note, erase, snapshot begins, snapshot is kept, outcome, note.
    assert_eq!(letters, "ffoooffff");
    assert_eq!((examination.follows(), examination.opaque(), examination.first_wrong()), (6, 3, None));
    // A changed snapshot has another state than the one that the entry commits to.
    let mut bent = snapshot;
    let at = bent.windows(7).position(|window| window == b"\"clock\"").unwrap();
    let digit = at + bent[at..].iter().position(u8::is_ascii_digit).unwrap() + 1;
    bent[digit] ^= 1;
    let (_, examination) = machine.examined(&BTreeMap::from([(seq, bent)]));
    assert_eq!(examination.follows(), 3);
    assert_eq!(examination.first_wrong().expect("the snapshot is wrong").0, seq + 1);
    // Nor is a snapshot accepted to which no entry commits.
    let end = machine.records.iter().position(|record| record.seq == seq + 1).unwrap();
    machine.records.truncate(end);
    let (_, examination) = machine.examined(&kept);
    assert_eq!(examination.first_wrong().expect("nothing vouches for it").0, seq);
}

#[test]
fn the_record_of_an_erasure_outlives_every_other_erasure() {
    let mut machine = Machine::new();
    machine.call(about_alice("{}")).unwrap();
    machine.call(alloc("note", "1")).unwrap();
    machine.erase("alice").unwrap();
    let note = machine.records.iter().position(|record| record.subjects.len() == 1).unwrap();
    // The owner's own entries are erased too, including that of the earlier erasure.
    let kept = BTreeMap::from([machine.erase("main").unwrap()]);
    assert_eq!(machine.examined(&kept).1.first_wrong(), None);
    let outcomes = machine.records.iter().filter(|record| {
        let entry = ak_audit::Entry::decode(&record.leaf).unwrap();
        entry.operation == Operation::AuditErase.number() && entry.kind == ak_audit::Kind::Outcome
    });
    assert!(outcomes.map(|record| record.body.len()).all(|bytes| bytes > 0));
    // So verification finds one more body that is removed under an erased subject.
    let alice = machine.records[note].subjects.clone();
    let policy =
        machine.records.iter().position(|record| record.subjects.is_empty() && record.seq > 0).unwrap();
    machine.records[policy].body = [].into();
    machine.records[policy].subjects = alice;
    assert!(machine.examined(&kept).1.first_wrong().is_some());
}

#[test]
fn a_wrong_decision_is_found_though_its_bytes_are_consistent() {
    let mut machine = Machine::new();
    for n in 0..4 {
        machine.call(alloc("note", &n.to_string())).unwrap();
    }
    // An editor who can compute hashes rewrites the log from entry 2 on: a denial becomes a permit, and the chain
    // is made anew.
    let mut records = machine.records.clone();
    let mut previous = ak_audit::leaf_hash(&records[1].leaf);
    for record in &mut records[2..] {
        let mut entry = ak_audit::Entry::decode(&record.leaf).unwrap();
        entry.previous = previous;
        if entry.seq == 2 {
            entry.code = Code::PolicyDeny.number();
            entry.decision = ak_audit::Decision::Forbid;
        }
        let bytes = entry.encode().unwrap();
        previous = ak_audit::leaf_hash(&bytes);
        record.leaf = ak_audit::Leaf::check(bytes).unwrap();
    }
    machine.records = records;
    let (_, examination) = machine.examined(&BTreeMap::new());
    assert_eq!(examination.first_wrong().map(|(seq, _)| seq), Some(2));
    assert_eq!(examination.follows(), 2);
}

#[test]
fn only_the_owner_erases_and_only_known_subjects() {
    let mut machine = Machine::new();
    let worker = machine.agent("worker");
    assert_eq!(failure(machine.call_as(worker, erase("worker"))).code, Code::PolicyDeny);
    for nobody in ["nobody", ""] {
        let failure = failure(machine.call(erase(nobody)));
        assert_eq!(failure.code, Code::NotFound);
        assert!(!failure.message.contains("nobody"), "what is said of an erasure keeps no name");
    }
}

#[test]
fn a_subject_with_pending_effects_is_not_erased() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]");
    let worker = machine.agent("worker");
    let (_, ticket, _) = machine.effect(worker, file_read("/data/x"));
    assert_eq!(failure(machine.call(erase("worker"))).code, Code::Conflict);
    machine.complete(ticket, ak_kernel::Completion::Unknown);
    machine.erase("worker").unwrap();
}

#[test]
fn an_interrupted_erasure_is_resumed() {
    let mut machine = Machine::new();
    machine.call(about_alice("{}")).unwrap();
    let call = machine.dispatch(SessionId::OWNER, erase("alice"));
    let (ticket, work) = machine.effects.pop().unwrap();
    let snapshot = machine.snapshot();
    let mut restarted = ak_kernel::Replay::resume(&snapshot, ak_kernel::ToolReplay::Recorded).unwrap();
    for record in &machine.records[machine.records.len() - 2..] {
        restarted.feed(&record.leaf, &record.body).unwrap();
    }
    let kernel = restarted.finish().unwrap();
    let unfinished = kernel.unfinished();
    assert!(
        matches!((&unfinished[..], work), ([(again, Effect::Log(left))], Effect::Log(work)) if *again == ticket && *left == work)
    );
    machine.complete(ticket, ak_kernel::Completion::Value(object! { "objects": 1 }));
    assert!(matches!(machine.replies.get(&call), Some(Ok(Reply::Value(_)))));
    assert!(machine.kernel.unfinished().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Snapshots are not trusted: no bytes restore another state than the recorded one.
    #[test]
    fn a_bent_snapshot_makes_no_other_state(at: prop::sample::Index, bent: u8, cut in any::<bool>()) {
        let mut machine = Machine::new();
        machine.policy("[fs]\nread = [\"/data/**\"]\n[budgets]\ntool_calls = 5\n[[limit]]\nid = \"few\"\noperation = \"heap.alloc\"\ntarget = \"*\"\ncount = true\nmax = 9\nper = \"1m\"\n[[capability]]\nname = \"add\"\nresource = \"*\"\nmethods = [\"execute\"]\nexpires_minutes = 1\nrate = \"2/min\"");
        let worker = machine.agent("worker");
        machine.call_as(worker, alloc("note", "[1.5, {}]")).unwrap();
        machine.call(about_alice("{}")).unwrap();
        let terms = r#"{"agent":"worker","name":"fs","resource":"/data/**","rate":"9/min","budget":{"bytes":5000}}"#;
        machine.call(Request::decode(Operation::CapGrant, &json(terms)).unwrap()).unwrap();
        machine.effect(worker, file_read("/data/x"));
        let mut snapshot = machine.snapshot();
        let [.., begun, kept] = &machine.records[..] else { panic!("two records") };
        let at = at.index(snapshot.len());
        if cut {
            snapshot.truncate(at);
        } else {
            snapshot[at] ^= bent;
        }
        if let Ok(mut replay) = ak_kernel::Replay::resume(&snapshot, ak_kernel::ToolReplay::Recorded)
            && [begun, kept].iter().all(|record| replay.feed(&record.leaf, &record.body).is_ok())
        {
            prop_assert_eq!(replay.vouched_for(), Some(begun.seq));
            prop_assert_eq!(replay.finish().unwrap().state_digest(), machine.kernel.state_digest());
        }
    }
}
