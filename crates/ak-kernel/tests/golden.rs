//! The journal of a scripted session, byte for byte. A change of these bytes changes how existing journals read: raise
//! `FORMAT_VERSION` or `SEMANTICS_VERSION` with it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{collections::BTreeMap, path::Path};

use ak_heap::Created;
use ak_json::{Object, object};
use ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, BatchPart, Completion, HeapRequest, Operation,
    PresentedCapability, Replay, Request, SessionId, ToolReplay, export,
};
use ak_policy::capability::{CapId, Caveat, VerifiedToken};

use support::{Machine, alloc, failure, file_read, handle, json, new, relay, tool, write};

/// Set to write the golden files instead of comparing them.
const BLESS: &str = "AK_BLESS";

fn session() -> Machine {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]\n[tools]\nallow = [\"add\"]\n[budgets]\ntool_calls = 5");
    let counter = handle(machine.call(alloc("counter", r#"{"value":0,"name":"counter"}"#)));
    machine.call(write(counter, r#"[{"op":"replace","path":"/value","value":42}]"#, Some(0))).unwrap();
    machine.call(tool("add", r#"{"a":5,"b":3}"#)).unwrap();
    failure(machine.call(file_read("/etc/shadow")));
    let worker = machine.agent("worker");
    failure(machine.call_as(worker, Request::Heap(HeapRequest::Read { handle: counter, version: None })));
    let shipped = Request::Audit(AuditRequest::Log {
        event: "shipped".into(),
        details: object! { "order": 7 },
        subject: Some("alice".into()),
    });
    machine.call_as(worker, shipped).unwrap();
    machine
        .call(Request::Heap(HeapRequest::TypeRegister {
            name: "counter".into(),
            schema: object! { "type": "object" },
        }))
        .unwrap();
    let add = json(r#"[{"op":"add","path":"/of","value":1}]"#);
    let add = BatchPart::Write {
        target: Created(0).into(),
        patch: add,
        expected_version: Some(0),
        links: Vec::new(),
    };
    machine
        .call(Request::Heap(HeapRequest::Batch { parts: vec![new("counter", "{}"), add.clone()] }))
        .unwrap();
    failure(
        machine.call_as(worker, Request::Heap(HeapRequest::Batch { parts: vec![new("counter", "7"), add] })),
    );
    machine
        .call(Request::Heap(HeapRequest::Query { form: Object::from_iter([("type", "counter")]) }))
        .unwrap();
    let terms = r#"{"agent":"worker","name":"fs","resource":"/data/**","methods":["read"],"rate":"10/min"}"#;
    machine.call(Request::decode(Operation::CapGrant, &json(terms)).unwrap()).unwrap();
    let narrower = r#"{"capability":"0x100000001","resource":"/data/a/*","expires_minutes":5,"uses":2}"#;
    machine.call_as(worker, Request::decode(Operation::CapAttenuate, &json(narrower)).unwrap()).unwrap();
    let authority = [Caveat::ExpiresAt(u64::MAX)].into_iter().collect();
    let token = VerifiedToken { capability: CapId::from_u64(0x1_0000_0002), authority };
    let presented = PresentedCapability::new(token).unwrap();
    let (_, ticket, _) = machine.effect(worker, file_read("/data/a/x").presenting(presented.clone()));
    machine.complete(ticket, Completion::File(b"content".as_slice().into()));
    failure(machine.call_as(worker, file_read("/data/b").presenting(presented)));
    machine
        .call(Request::Agent(AgentRequest::CapRevoke { capability: CapId::from_u64(0x1_0000_0001) }))
        .unwrap();
    failure(machine.call_as(worker, file_read("/data/a/x")));
    machine.policy("[fs]\nread = [\"/data/**\"]\n[tools]\nallow = [\"*\"]");
    for (name, call, needs) in [
        ("read", "fs_read", &["fs.read:/data/*"][..]),
        ("outer", "call", &["execute:*", "fs.read:/data/x"]),
        ("draw", "random", &["random:*"]),
    ] {
        machine.call(relay(name, call, needs)).unwrap();
    }
    for (name, args) in [
        ("read", r#"{"path":"/data/x"}"#),
        ("read", r#"{"path":"/data/y/z"}"#),
        ("outer", r#"{"tool":"read","args":{"path":"/data/x"}}"#),
        ("draw", r#"{"bytes":33}"#),
    ] {
        let (_, ticket, effect) = machine.effect(SessionId::OWNER, tool(name, args));
        machine.run_tool(ticket, effect, &mut |_, _, _| Completion::File(b"content".as_slice().into()));
    }
    machine
        .call(Request::Audit(AuditRequest::Query(AuditFilter {
            newest: true,
            limit: Some(2),
            ..AuditFilter::default()
        })))
        .unwrap();
    machine
}

#[test]
fn the_journal_equals_the_golden_file() {
    let machine = session();
    let journal = export::encode(&machine.records, &BTreeMap::new());
    let head = format!("{}\n", machine.kernel.head());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    if std::env::var_os(BLESS).is_some() {
        std::fs::create_dir_all(&golden).unwrap();
        std::fs::write(golden.join("session.journal"), &journal).unwrap();
        std::fs::write(golden.join("session.head"), &head).unwrap();
    }
    assert_eq!(head, std::fs::read_to_string(golden.join("session.head")).unwrap());
    assert!(journal == std::fs::read(golden.join("session.journal")).unwrap(), "the bytes differ");
}

#[test]
fn the_golden_journal_replays() {
    session().replayed();
}

/// A journal with every kind of request, step and completion, by the owner and by an agent, with snapshots in
/// between. An earlier kernel of this version wrote it, before operations were sorted into families.
#[test]
fn a_journal_of_every_kind_of_request_replays() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let journal = std::fs::read(golden.join("every-kind.journal")).unwrap();
    let mut replay = Replay::new(ToolReplay::Recorded);
    let mut head = None;
    for entry in export::decode(&journal).unwrap() {
        let entry = entry.unwrap();
        let replayed = replay.feed(entry.leaf, entry.body.unwrap()).unwrap();
        assert!(replayed.compared);
        head = Some(replayed.record.hash);
    }
    let expected = std::fs::read_to_string(golden.join("every-kind.head")).unwrap();
    assert_eq!(format!("{}\n", head.unwrap()), expected);
}
