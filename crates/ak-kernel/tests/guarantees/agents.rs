//! What an agent session may do and see.

use std::sync::Arc;

use ak_heap::{Handle, Target};
use ak_json::{Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditFilter, AuditRequest, BatchPart, Code, Config, HeapRequest, Request,
    ToolsRequest,
};

use crate::about;
use crate::support::{Machine, alloc, failure, file_read, handle, json, load, new, value, write};

#[test]
fn an_agent_session_cannot_use_the_owner_s_operations() {
    let mut machine = Machine::new();
    let agent = machine.agent("worker");
    let rows = [
        load(""),
        Request::Audit(AuditRequest::Verify { key: None, anchor: None }),
        Request::Tools(ToolsRequest::Register {
            manifest: Value::Null,
            module: Arc::from(&b""[..]),
            env: vec![],
        }),
        Request::Agent(AgentRequest::SessionOpen { agent: "other".into() }),
    ];
    for request in rows {
        let denied = failure(machine.call_as(agent, request.clone()));
        assert_eq!(denied.code, Code::PolicyDeny, "{request:?}");
    }
}

#[test]
fn an_agent_session_is_told_only_the_class_of_reason() {
    let mut machine = Machine::new();
    let agent = machine.agent("worker");
    let denial = *failure(machine.call_as(agent, file_read("/etc/passwd"))).denial.unwrap();
    assert_eq!(
        (denial.suggested_snippet.as_str(), denial.missing_cap.as_str(), denial.rule_id.as_str()),
        ("", "", "")
    );
    assert!(!denial.trace_id.is_empty());
    machine.policy("denial_detail = \"full\"");
    let denial = *failure(machine.call_as(agent, file_read("/etc/passwd"))).denial.unwrap();
    assert!(!denial.suggested_snippet.is_empty());
}

#[test]
fn an_agent_cannot_tell_another_s_object_from_none() {
    let mut machine = Machine::new();
    let agent = machine.agent("worker");
    let mine = handle(machine.call(alloc("secret", "1")));
    let gone = handle(machine.call(alloc("secret", "1")));
    machine.call(Request::Heap(HeapRequest::Delete { handle: gone, expected_version: None })).unwrap();
    let none = Handle::from_raw(mine.raw() + 1000);
    let told = |machine: &mut Machine, handle: Handle| {
        let write = |patch: &str| BatchPart::Write {
            target: Target::Handle(handle),
            patch: json(patch),
            expected_version: Some(7),
            links: Vec::new(),
        };
        let ask = Request::Admin(AdminRequest::Authorize {
            operation: "read".into(),
            target: handle.to_string().into(),
            args: None,
        });
        let requests = [
            Request::Heap(HeapRequest::Read { handle, version: None }),
            Request::Heap(HeapRequest::Stat { handle }),
            self::write(handle, "[]", None),
            Request::Heap(HeapRequest::Delete { handle, expected_version: Some(7) }),
            Request::Heap(HeapRequest::Batch { parts: vec![new("own", "1"), write("[]")] }),
            Request::Heap(HeapRequest::Batch { parts: vec![new("own", "1"), write("7")] }),
            ask,
        ];
        requests.map(|request| match machine.call_as(agent, request) {
            Ok(reply) => (None, reply.to_value().to_json().replace(&handle.to_string(), "")),
            Err(failed) => (Some(failed.code), failed.message.replace(&handle.to_string(), "")),
        })
    };
    let expected = told(&mut machine, none);
    assert_eq!(expected[0].0, Some(Code::NotFound));
    for handle in [mine, gone] {
        assert_eq!(told(&mut machine, handle), expected);
    }
    let own = handle(machine.call_as(agent, alloc("own", "2")));
    machine.call_as(agent, Request::Heap(HeapRequest::Read { handle: own, version: None })).unwrap();
    machine
        .call(Request::Heap(HeapRequest::Read { handle: own, version: None }))
        .expect("the owner sees everything");
}

#[test]
fn agents_see_only_their_own_entries() {
    let mut machine = Machine::new();
    let agent = machine.agent("worker");
    let event = Request::Audit(AuditRequest::Log {
        event: "shipped".into(),
        details: object! { "n": 1 },
        subject: None,
    });
    machine.call_as(agent, event.clone()).unwrap();
    machine.call(event).unwrap();
    let seen = value(machine.call_as(agent, Request::Audit(AuditRequest::Query(AuditFilter::default()))));
    let actors: Vec<_> = seen
        .get("entries")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter_map(|entry| entry.get("actor")?.as_str().map(String::from))
        .collect();
    assert!(!actors.is_empty() && actors.iter().all(|actor| actor == "worker"), "{actors:?}");
    let all = value(machine.call(Request::Audit(AuditRequest::Query(AuditFilter {
        event_type: Some("shipped".into()),
        ..AuditFilter::default()
    }))));
    assert_eq!(all.get("entries").and_then(Value::as_array).unwrap().len(), 2);
}

#[test]
fn one_agent_cannot_use_up_another_agents_subjects() {
    let mut machine = Machine::with(Config { subjects_per_agent_max: 3, ..Config::default() });
    let (one, other) = (machine.agent("one"), machine.agent("other"));
    for name in ["a", "b", "c"] {
        machine.call_as(one, about(name)).unwrap();
    }
    let refused = failure(machine.call_as(one, about("d")));
    assert!(refused.code == Code::Quota && refused.message.contains("named 3 subjects"), "{refused}");
    // It may name its earlier subjects again. The subjects of others change nothing: the answer is the same.
    machine.call_as(one, about("a")).unwrap();
    machine.call_as(other, about("d")).unwrap();
    let again = failure(machine.call_as(one, about("d")));
    assert_eq!((again.code, again.message), (refused.code, refused.message));
    // An erasure frees the place of a subject.
    for name in ["a", "b"] {
        machine.erase(name).unwrap();
    }
    machine.call_as(one, about("e")).unwrap();
    machine.call_as(one, about("d")).unwrap();
    assert_eq!(failure(machine.call_as(one, about("f"))).code, Code::Quota);
    for name in ["f", "g", "h", "i"] {
        machine.call(about(name)).unwrap();
    }
}
