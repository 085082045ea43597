//! Every request is decided on, leaves one entry, and changes nothing if it is refused.

use std::sync::Arc;

use ak_heap::{Content, Handle};
use ak_json::{Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditFilter, AuditRequest, Code, Completion, Config, Effect, ErrorClass,
    HeapRequest, Operation, Output, Reply, Request, SessionId, ToolsRequest,
};

use crate::support::{Machine, alloc, failure, file_read, handle, json, load, tool, value, write};
use crate::{about, http};

/// Each row: a request, and the code with which it fails without changing anything.
#[test]
fn bad_input_is_refused_and_nothing_changes() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]\n[http]\nallow = [\"GET https://a.example/**\"]");
    let object = handle(machine.call(alloc("counter", r#"{"value":0}"#)));
    let gone = handle(machine.call(alloc("counter", "1")));
    machine.call(Request::Heap(HeapRequest::Delete { handle: gone, expected_version: None })).unwrap();
    let raw = handle(machine.call(Request::Heap(HeapRequest::Alloc {
        type_name: "r".into(),
        content: Content::Raw(Arc::from(&b"x"[..])),
        subject: None,
    })));
    let rows = [
        (write(object, "{}", None), Code::InvalidArgument),
        (write(object, r#"[{"op":"fly","path":"/value"}]"#, None), Code::InvalidArgument),
        (write(object, r#"[{"op":"replace","path":"/nothing","value":1}]"#, None), Code::InvalidArgument),
        (
            write(
                object,
                r#"[{"op":"replace","path":"/value","value":1},{"op":"remove","path":"/x"}]"#,
                None,
            ),
            Code::InvalidArgument,
        ),
        (write(object, r#"[{"op":"test","path":"/value","value":7}]"#, None), Code::PatchTestFailed),
        (write(object, "[]", Some(7)), Code::Conflict),
        (write(raw, "[]", None), Code::InvalidArgument),
        (
            Request::Heap(HeapRequest::Read { handle: Handle::from_raw(0xdead), version: None }),
            Code::NotFound,
        ),
        (Request::Heap(HeapRequest::Read { handle: gone, version: None }), Code::NotFound),
        (Request::Heap(HeapRequest::Delete { handle: gone, expected_version: None }), Code::NotFound),
        (alloc("", "1"), Code::InvalidArgument),
        (tool("nothing", "{}"), Code::PolicyDeny),
        (tool("", "{}"), Code::InvalidArgument),
        (file_read("relative"), Code::InvalidArgument),
        (file_read("/data/\0"), Code::InvalidArgument),
        (file_read("/data/../etc/passwd"), Code::PolicyDeny),
        (http("gopher://a.example/"), Code::InvalidArgument),
        (http("https://user:password@a.example/"), Code::InvalidArgument),
        (http("https://evila.example/"), Code::PolicyDeny),
        (load("[fz]\nread = []"), Code::PolicyInvalid),
        (load("[fs]\nread = [1]"), Code::PolicyInvalid),
        (load("[[label]]\nsource = \"tool:add\"\nsecrecy = [\"pii\"]"), Code::PolicyInvalid),
        (
            Request::Audit(AuditRequest::Log { event: "alloc".into(), details: Value::Null, subject: None }),
            Code::InvalidArgument,
        ),
        (
            Request::Tools(ToolsRequest::Register {
                manifest: "name = 1".into(),
                module: Arc::from(&b""[..]),
                env: vec![],
            }),
            Code::InvalidArgument,
        ),
        (Request::Agent(AgentRequest::SessionOpen { agent: "a//b".into() }), Code::InvalidArgument),
    ];
    for (request, code) in rows {
        let call = machine.dispatch(SessionId::OWNER, request.clone());
        assert_eq!(
            machine.replies[&call].as_ref().err().map(|failure| failure.code),
            Some(code),
            "{request:?}"
        );
        assert!(machine.effects.is_empty(), "{request:?}");
    }
    assert_eq!(
        machine.call(Request::Heap(HeapRequest::Read { handle: object, version: None })),
        Ok(Reply::Content(Content::Json(json(r#"{"value":0}"#))))
    );
    machine.replayed();
}

#[test]
fn every_request_leaves_one_entry() {
    let mut machine = Machine::new();
    let before = machine.records.len();
    machine.call(alloc("counter", "1")).unwrap();
    assert_eq!(machine.records.len(), before + 1, "one decision");
    failure(machine.call(file_read("/etc/passwd")));
    assert_eq!(machine.records.len(), before + 2, "a denied one too");
    machine.call(tool("add", r#"{"a":5,"b":3}"#)).unwrap();
    assert_eq!(machine.records.len(), before + 4, "a decision and an outcome");
}

#[test]
fn nothing_leaves_before_its_record_is_committed() {
    let mut machine = Machine::new();
    let now = machine.now();
    machine.kernel.dispatch(now, SessionId::OWNER, Request::Tools(ToolsRequest::List)).unwrap();
    let record = machine.kernel.poll_record().expect("a record");
    assert!(machine.kernel.poll_output().is_none());
    machine.kernel.committed(record.seq - 1);
    assert!(machine.kernel.poll_output().is_none());
    machine.kernel.committed(record.seq);
    assert!(matches!(machine.kernel.poll_output(), Some(Output::Reply(..))));
}

#[test]
fn the_suggestion_of_a_denial_permits_the_request() {
    let mut machine = Machine::new();
    let policy = "[fs]\nread = [\"/data/**\"]";
    machine.policy(policy);
    let denied = failure(machine.call(file_read("/etc/o'd\"d \\ name")));
    let denial = denied.denial.clone().expect("a denial");
    assert_eq!((denied.code, denial.op.as_str()), (Code::PolicyDeny, "fs.read"));
    assert!(denial.missing_cap.contains("fs.read"), "{denial:?}");
    machine.policy(&format!("{policy}\n{}", denial.suggested_snippet));
    let (_, ticket, effect) = machine.effect(SessionId::OWNER, file_read("/etc/o'd\"d \\ name"));
    assert!(matches!(effect, Effect::File { .. }));
    machine.complete(ticket, Completion::File(Arc::from(&b""[..])));
    failure(machine.call(file_read("/etc/shadow")));
}

#[test]
fn a_capability_has_a_rate_and_an_end_that_reloading_does_not_renew() {
    let policy = "profiles = []\n[[capability]]\nname = \"add\"\nresource = \"*\"\nmethods = [\"execute\"]\nexpires_minutes = 60\nrate = \"2/min\"";
    let add = || tool("add", r#"{"a":1,"b":2}"#);
    let mut machine = Machine::new();
    machine.policy(policy);
    assert_eq!(failure(machine.call(tool("concat", r#"{"str1":"","str2":""}"#))).code, Code::PolicyDeny);
    machine.call(add()).unwrap();
    machine.call(add()).unwrap();
    let limited = failure(machine.call(add()));
    assert_eq!((limited.code, limited.code.class()), (Code::CapRate, ErrorClass::RateLimit));
    assert!(limited.context.get("retry_after_ms").and_then(Value::as_u64).is_some());
    machine.policy(policy);
    assert_eq!(failure(machine.call(add())).code, Code::CapRate, "reloading refills nothing");
    machine.sleep_ms(61_000);
    machine.call(add()).unwrap();
    machine.sleep_ms(3_600_000);
    assert_eq!(failure(machine.call(add())).code, Code::CapExpired);
    machine.replayed();
}

#[test]
fn authorize_decides_without_acting() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]\n[budgets]\ntool_calls = 0");
    let mut ask = |operation: &str, target: &str| {
        let request = Request::Admin(AdminRequest::Authorize {
            operation: operation.into(),
            target: target.into(),
            args: None,
        });
        value(machine.call(request)).get("authorized").and_then(Value::as_bool).unwrap()
    };
    assert!(ask("read", "/data/x"));
    assert!(ask("READ", "/data/./x"));
    assert!(ask("fs.read", "/data/x"));
    assert!(!ask("write", "/data/x"));
    assert!(!ask("read", "/etc/passwd"));
    assert!(!ask("execute", "add"), "the budget is part of the gate");
    assert!(!ask("read", "moon"));
    assert!(!ask("read", "\0"));
    assert!(machine.effects.is_empty());
    let LastDenial(last) = last_denial(&mut machine);
    assert!(last.is_some(), "a false sets the last denial");
}

/// What nothing can mean is an error, which is not recorded: a False or an empty answer would hide the slip.
#[test]
fn a_word_that_nothing_can_mean_is_an_error() {
    let mut machine = Machine::new();
    let authorize = |operation: &str| {
        Request::Admin(AdminRequest::Authorize {
            operation: operation.into(),
            target: "/x".into(),
            args: None,
        })
    };
    let query =
        |name: &str, word: &str| Request::decode(Operation::AuditQuery, &object! { (name): word }).unwrap();
    let records = machine.records.len();
    for (request, message) in [
        (authorize("wirte"), r#"args.operation: "wirte" is no operation: did you mean 'write'?"#),
        (
            query("decision", "denied"),
            r#"args.decision: "denied" is no decision: a denial is forbid, default_deny or refused"#,
        ),
        (query("decision", "premit"), r#"args.decision: "premit" is no decision: did you mean 'permit'?"#),
        (
            query("operation", "fs.raed"),
            r#"args.operation: "fs.raed" is no operation: did you mean 'fs_read'?"#,
        ),
    ] {
        let failure = machine.try_dispatch(SessionId::OWNER, request).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (Code::InvalidArgument, message));
    }
    let long = "x".repeat(10_000);
    let failure = machine.try_dispatch(SessionId::OWNER, authorize(&long)).unwrap_err();
    assert!(failure.code == Code::InvalidArgument && failure.message.len() < 1_000, "{}", failure.message);
    let recorded = machine.records.len() - records;
    assert!(recorded <= 1, "what was not admitted is counted once a second, and not recorded one by one");
    machine.call(query("decision", "default_deny")).unwrap();
    machine.call(file_read("/data/x")).unwrap_err();
    for word in ["FS_READ", "fs_read", "fs.read"] {
        let found = value(machine.call(query("operation", word)));
        assert_eq!(
            found.get("entries").and_then(Value::as_array).map(|entries| entries.len()),
            Some(1),
            "{word}"
        );
    }
    machine.call(query("operation", "heap.read")).unwrap();
    machine.call(query("operation", "execute")).unwrap();
}

struct LastDenial(Option<Value>);

fn last_denial(machine: &mut Machine) -> LastDenial {
    let reply = value(machine.call(Request::Admin(AdminRequest::LastError)));
    LastDenial(reply.get("denial").filter(|denial| !denial.is_null()).cloned())
}

#[test]
fn an_invalid_policy_leaves_the_policy_in_force() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]");
    let refused = failure(machine.call(load("[fs]\nread = [\"/**\"]\nwriite = []")));
    assert_eq!(refused.code, Code::PolicyInvalid);
    assert_eq!(refused.context.get("line").and_then(Value::as_u64), Some(3));
    assert_eq!(failure(machine.call(file_read("/etc/passwd"))).code, Code::PolicyDeny);
    machine.effect(SessionId::OWNER, file_read("/data/x"));
}

#[test]
fn limits_of_the_configuration_are_enforced() {
    let mut machine = Machine::with(Config {
        input_bytes_max: 100,
        heap_objects_max: 2,
        agents_max: 2,
        subjects_max: 2,
        ..Config::default()
    });
    assert_eq!(failure(machine.call(alloc("x", &format!("\"{}\"", "y".repeat(200))))).code, Code::Limit);
    machine.call(alloc("x", "1")).unwrap();
    machine.call(alloc("x", "1")).unwrap();
    assert_eq!(failure(machine.call(alloc("x", "1"))).code, Code::Quota);
    machine.agent("one");
    machine.call(about("a")).unwrap();
    machine.call(about("b")).unwrap();
    assert_eq!(failure(machine.call(about("c"))).code, Code::Quota);
    let long = machine.call(about(&"x".repeat(256)));
    assert_eq!(failure(long).code, Code::Limit, "it is above the limit of bytes before anybody looks at it");
    assert_eq!(failure(machine.call(about(""))).code, Code::InvalidArgument);
    assert_eq!(
        failure(machine.call(Request::Agent(AgentRequest::SessionOpen { agent: "two".into() }))).code,
        Code::Quota
    );
    machine.replayed();
}

#[test]
fn the_wall_clock_is_recorded_as_it_steps_and_a_large_step_is_a_record() {
    let mut machine = Machine::new();
    machine.call(alloc("x", "1")).unwrap();
    machine.step_wall_us(-10_000_000);
    machine.call(alloc("x", "1")).unwrap();
    let found = value(machine.call(Request::Audit(AuditRequest::Query(AuditFilter::default()))));
    let entries = found.get("entries").and_then(Value::as_array).unwrap().clone();
    let text = |entry: &Value, name| entry.get(name).and_then(Value::as_str).map(String::from).unwrap();
    let events: Vec<String> = entries.iter().map(|entry| text(entry, "event")).collect();
    assert_eq!(events, ["genesis", "alloc", "clock_step", "alloc"]);
    let times: Vec<u64> = entries.iter().filter_map(|entry| entry.get("timestamp")?.as_u64()).collect();
    assert!(times[2] < times[1] && times[3] >= times[2], "{times:?}");
    machine.replayed();
}
