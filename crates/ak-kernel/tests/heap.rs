//! Queries, batches and types, through the gate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use ak_heap::{Content, Created, Handle, Target};
use ak_json::{Value, object};
use ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, BatchPart, Code, Config, HeapRequest, PAGE_BYTES_MAX, Reply,
    Request, SessionId,
};
use ak_policy::budget::Dimension;

use support::{Machine, alloc, failure, handle, json, new, value, write};

const ALL: &str =
    "[[rule]]\nid = \"shared\"\neffect = \"permit\"\noperation = \"heap.read\"\ntarget = \"*\"\n";

fn query(form: &str) -> Request {
    let Value::Object(form) = json(form) else { panic!("{form}") };
    Request::Heap(HeapRequest::Query { form })
}

fn batch(parts: Vec<BatchPart>) -> Request {
    Request::Heap(HeapRequest::Batch { parts })
}

fn change(target: impl Into<Target>, patch: &str) -> BatchPart {
    BatchPart::Write { target: target.into(), patch: json(patch), expected_version: None, links: Vec::new() }
}

fn gone(target: impl Into<Target>) -> BatchPart {
    BatchPart::Delete { target: target.into(), expected_version: None }
}

/// The objects' values on one page, and the cursor.
fn page(machine: &mut Machine, session: SessionId, form: &str) -> (Vec<String>, Option<String>) {
    let found = value(machine.call_as(session, query(form)));
    let objects = found.get("objects").and_then(Value::as_array).unwrap();
    let texts =
        objects.iter().map(|object| object.get("value").map_or("raw".into(), Value::to_json)).collect();
    (texts, found.get("cursor").and_then(Value::as_str).map(String::from))
}

fn used(machine: &mut Machine, session: SessionId, dimension: Dimension) -> u64 {
    let status = value(machine.call_as(
        session,
        Request::Agent(AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None }),
    ));
    status.get(dimension.as_str()).and_then(|row| row.get("used")).and_then(Value::as_u64).unwrap()
}

fn budget(dimension: Dimension, limit: u64) -> Request {
    Request::Agent(AgentRequest::BudgetSet { dimension, limit: Some(limit), agent: None })
}

#[test]
fn a_query_gives_matching_objects_in_pages() {
    let mut machine = Machine::new();
    for age in [30, 10, 20] {
        machine.call(alloc("user", &format!("{{\"age\":{age}}}"))).unwrap();
    }
    machine.call(alloc("note", "\"x\"")).unwrap();
    let raw = Content::Raw(Arc::from(&b"\xff"[..]));
    machine
        .call(Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content: raw, subject: None }))
        .unwrap();
    let all = page(&mut machine, SessionId::OWNER, "{}");
    assert_eq!(all.0, [r#"{"age":30}"#, r#"{"age":10}"#, r#"{"age":20}"#, "\"x\"", "raw"]);
    let adults = r#"{"type":"user","where":{"/age":{">=":15}},"order":{"pointer":"/age"},"limit":1"#;
    let first = page(&mut machine, SessionId::OWNER, &format!("{adults}}}"));
    assert_eq!(first.0, [r#"{"age":20}"#]);
    let cursor = Value::from(first.1.unwrap()).to_json();
    let second = page(&mut machine, SessionId::OWNER, &format!("{adults},\"cursor\":{cursor}}}"));
    assert_eq!(second, (vec![r#"{"age":30}"#.into()], None));
    let found = value(machine.call(query(r#"{"type":"user","limit":1}"#)));
    let row = found.get("objects").and_then(Value::as_array).unwrap().get(0).unwrap().clone();
    assert_eq!(
        row.to_json(),
        r#"{"handle":"0x100000000","type":"user","version":0,"size":10,"owner":"main","labels":{"integrity":"trusted","secrecy":[]},"value":{"age":30}}"#
    );
    for form in
        [r#"{"typ":1}"#, r#"{"type":7}"#, r#"{"limit":0}"#, r#"{"cursor":"x"}"#, r#"{"where":{"a":1}}"#]
    {
        assert_eq!(failure(machine.call(query(form))).code, Code::InvalidArgument, "{form}");
    }
    machine.replayed();
}

#[test]
fn a_query_finds_only_what_the_session_could_read() {
    let mut machine = Machine::new();
    let (a, b) = (machine.agent("a"), machine.agent("b"));
    for (session, number) in [(a, 1), (b, 2), (SessionId::OWNER, 3), (a, 4)] {
        machine.call_as(session, alloc("n", &number.to_string())).unwrap();
    }
    let everything = "{\"order\":{\"pointer\":\"\"}}";
    assert_eq!(page(&mut machine, a, everything), (vec!["1".into(), "4".into()], None));
    let (first, cursor) = page(&mut machine, a, r#"{"order":{"pointer":""},"limit":1}"#);
    assert_eq!(first, ["1"]);
    assert!(cursor.unwrap().ends_with(":1"), "the place and value of its own object");
    assert_eq!(page(&mut machine, a, r#"{"owner":"b"}"#).0, Vec::<String>::new());
    assert_eq!(page(&mut machine, SessionId::OWNER, everything).0, ["1", "2", "3", "4"]);
    let entries = machine.records.len();
    machine.policy(ALL);
    assert_eq!(page(&mut machine, a, everything).0, ["1", "2", "3", "4"], "shared");
    assert_eq!(machine.records.len(), entries + 2, "one entry for the query");
    let secret = handle(machine.call_as(a, alloc("n", "5")));
    let forbid = |target: &str, operation: &str| {
        format!(
            "{ALL}[[rule]]\nid = \"no\"\neffect = \"forbid\"\noperation = \"{operation}\"\ntarget = \"{target}\"\n"
        )
    };
    machine.policy(&forbid(&format!("heap:{secret}"), "heap.read"));
    assert_eq!(page(&mut machine, a, everything).0, ["1", "2", "3", "4"], "not the one it may not read");
    machine.policy(&forbid("type:n", "heap.query"));
    assert_eq!(failure(machine.call_as(a, query(r#"{"type":"n"}"#))).code, Code::PolicyDeny);
    assert_eq!(page(&mut machine, a, everything).0, Vec::<String>::new(), "all types are no way around");
    machine.policy(&format!("{ALL}[[limit]]\nid = \"few\"\noperation = \"heap.read\"\ntarget = \"*\"\ncount = true\nmax = 1\nper = \"1h\"\n"));
    assert_eq!(
        page(&mut machine, a, everything).0,
        Vec::<String>::new(),
        "what is counted is read one by one"
    );
    machine.policy("profiles = []");
    assert_eq!(failure(machine.call(query("{}"))).code, Code::PolicyDeny);
    machine.replayed();
}

#[test]
fn a_page_has_a_bounded_size() {
    let mut machine = Machine::new();
    let half = format!("\"{}\"", "x".repeat(usize::try_from(PAGE_BYTES_MAX / 2).unwrap()));
    for _ in 0..3 {
        machine.call(alloc("big", &half)).unwrap();
    }
    let (objects, cursor) = page(&mut machine, SessionId::OWNER, "{}");
    assert!((objects.len(), cursor.is_some()) == (1, true));
}

#[test]
fn a_batch_is_one_entry_with_a_decision_for_each_operation() {
    let mut machine = Machine::new();
    let old = handle(machine.call(alloc("n", "{}")));
    let before = machine.records.len();
    let links = vec![(ak_json::Pointer::parse("/parent").unwrap(), Created(0))];
    let child = BatchPart::Alloc { type_name: "n".into(), content: Content::Json(object! {}), links };
    let add = r#"[{"op":"add","path":"/a","value":1}]"#;
    let done = value(machine.call(batch(vec![new("n", "{}"), child, change(Created(0), add), gone(old)])));
    assert_eq!(
        done.to_json(),
        r#"{"results":[{"handle":"0x100000001"},{"handle":"0x100000002"},{"version":1},{}]}"#
    );
    assert_eq!(machine.records.len(), before + 1);
    let (objects, _) = page(&mut machine, SessionId::OWNER, "{}");
    assert_eq!(objects, [r#"{"a":1}"#, r#"{"parent":"0x100000001"}"#]);
    let found = value(machine.call(Request::Audit(AuditRequest::Query(AuditFilter {
        event_type: Some("batch".into()),
        ..AuditFilter::default()
    }))));
    let entry = found.get("entries").and_then(Value::as_array).unwrap().get(0).unwrap().clone();
    let verdict = |operation: &str, target: &str, rule: &str| {
        object! { "operation": operation, "target": target, "decision": "permit", "rule_id": rule }
    };
    let expected = [
        verdict("ALLOC", "type:n", "baseline:heap.new"),
        verdict("ALLOC", "type:n", "baseline:heap.new"),
        verdict("WRITE", "heap:0x0", "baseline:heap.own"),
        verdict("DELETE", "heap:0x100000000", "baseline:heap.own"),
    ];
    assert_eq!(entry.get("operations"), Some(&Value::from(expected.to_vec())));
    machine.replayed();
}

#[test]
fn a_batch_applies_whole_or_names_the_first_refusal() {
    let mut machine = Machine::new();
    machine.policy("[[rule]]\nid = \"no\"\neffect = \"forbid\"\noperation = [\"heap.alloc\", \"heap.delete\"]\ntarget = [\"type:bad\", \"heap:0x100000001\"]\n");
    let worker = machine.agent("worker");
    let object = handle(machine.call_as(worker, alloc("n", "{\"a\":1}")));
    let kept = handle(machine.call_as(worker, alloc("n", "{}")));
    let foreign = handle(machine.call(alloc("n", "{}")));
    let stale = BatchPart::Write {
        target: object.into(),
        patch: json("[]"),
        expected_version: Some(7),
        links: Vec::new(),
    };
    let test = change(object, r#"[{"op":"add","path":"/b","value":1},{"op":"test","path":"/a","value":2}]"#);
    let link = BatchPart::Alloc {
        type_name: "n".into(),
        content: Content::Json(object! {}),
        links: vec![(ak_json::Pointer::parse("/x").unwrap(), Created(1))],
    };
    let rows = [
        (vec![new("n", "1"), stale.clone()], 1, Code::Conflict),
        (vec![test.clone(), stale], 0, Code::PatchTestFailed),
        (vec![new("n", "1"), new("bad", "1"), test.clone()], 1, Code::PolicyDeny),
        (vec![new("n", "1"), gone(kept)], 1, Code::PolicyDeny),
        (vec![new("n", "1"), new("", "1")], 1, Code::InvalidArgument),
        (vec![change(object, "[]"), change(foreign, "[]")], 1, Code::NotFound),
        // The gate decides on all operations before any of them is performed.
        (vec![test.clone(), change(foreign, "[]")], 1, Code::NotFound),
        (vec![gone(object), change(object, "[]")], 1, Code::NotFound),
        (vec![new("n", "1"), change(Created(1), "[]")], 1, Code::InvalidArgument),
        (vec![new("n", "1"), link], 1, Code::InvalidArgument),
        (vec![new("n", "1"), change(object, "7")], 1, Code::InvalidArgument),
    ];
    for (parts, index, code) in rows {
        let records = machine.records.len();
        let failed = failure(machine.call_as(worker, batch(parts.clone())));
        assert_eq!(failed.code, code, "{parts:?}");
        assert_eq!(failed.context.get("index"), Some(&Value::from(index)), "{parts:?}");
        assert_eq!(machine.records.len(), records + 1);
        assert_eq!(page(&mut machine, worker, "{}").0, [r#"{"a":1}"#, "{}"], "{parts:?}");
    }
    let failed = failure(machine.call(batch(vec![new("n", "1"), test])));
    assert!(failed.message.starts_with("batch operation 1: "), "{failed}");
    assert_eq!(failed.context.get("patch_index"), Some(&Value::from(1)));
    let many = vec![new("n", "1"); 1001];
    assert_eq!(failure(machine.call(batch(many))).code, Code::Limit);
    assert_eq!(value(machine.call(batch(Vec::new()))).to_json(), r#"{"results":[]}"#);
    machine.replayed();
}

#[test]
fn a_batch_is_charged_as_its_operations_one_by_one() {
    let mut machine = Machine::new();
    let worker = machine.agent("worker");
    let object = handle(machine.call_as(worker, alloc("n", "\"0123456789\"")));
    machine
        .call(Request::Agent(AgentRequest::BudgetSet {
            dimension: Dimension::HeapObjects,
            limit: Some(2),
            agent: Some("worker".into()),
        }))
        .unwrap();
    machine
        .call(Request::Agent(AgentRequest::BudgetSet {
            dimension: Dimension::Memory,
            limit: Some(20),
            agent: Some("worker".into()),
        }))
        .unwrap();
    let full = failure(machine.call_as(worker, batch(vec![new("n", "1"), new("n", "2")])));
    assert_eq!((full.code, full.context.get("index")), (Code::BudgetExceeded, Some(&Value::from(1))));
    let long = failure(machine.call_as(worker, batch(vec![new("n", "\"0123456789\"")])));
    assert_eq!((long.code, long.context.get("index")), (Code::BudgetExceeded, Some(&Value::from(0))));
    assert_eq!(
        (used(&mut machine, worker, Dimension::HeapObjects), used(&mut machine, worker, Dimension::Memory)),
        (1, 12)
    );
    machine
        .call_as(worker, batch(vec![gone(object), new("n", "\"0123456789\""), new("n", "1")]))
        .expect("room is made first");
    assert_eq!(
        (used(&mut machine, worker, Dimension::HeapObjects), used(&mut machine, worker, Dimension::Memory)),
        (2, 13)
    );
    let before = used(&mut machine, worker, Dimension::Compute);
    machine.call_as(worker, batch(vec![new("n", "1"); 3])).unwrap_err();
    assert_eq!(
        used(&mut machine, worker, Dimension::Compute),
        before + 1 + 3,
        "each operation, and the status"
    );
    machine.replayed();
}

#[test]
fn limits_count_heap_operations() {
    let mut machine = Machine::new();
    machine.policy("[[limit]]\nid = \"few\"\noperation = \"heap.alloc\"\ntarget = \"*\"\ncount = true\nmax = 3\nper = \"1h\"\n");
    machine.call(alloc("n", "1")).unwrap();
    failure(machine.call(batch(vec![new("n", "1"), change(Handle::from_raw(7), "[]")])));
    let over = failure(machine.call(batch(vec![new("n", "1"), new("n", "1"), new("n", "1")])));
    assert_eq!((over.code, over.context.get("index")), (Code::BudgetExceeded, Some(&Value::from(2))));
    machine.call(batch(vec![new("n", "1"), new("n", "1")])).expect("what did not happen is not counted");
    assert_eq!(failure(machine.call(alloc("n", "1"))).code, Code::BudgetExceeded);
    machine.replayed();
}

#[test]
fn an_earlier_version_stays_readable_while_the_object_lives() {
    let mut machine = Machine::new();
    let (a, b) = (machine.agent("a"), machine.agent("b"));
    let object = handle(machine.call_as(a, alloc("n", r#"{"v":0}"#)));
    for version in 1..=9 {
        let patch = format!("[{{\"op\":\"replace\",\"path\":\"/v\",\"value\":{version}}}]");
        machine.call_as(a, write(object, &patch, None)).unwrap();
    }
    let at = |version| Request::Heap(HeapRequest::Read { handle: object, version });
    for (version, content) in [(None, 9), (Some(9), 9), (Some(1), 1)] {
        let expected = Reply::Content(Content::Json(object! { "v": content }));
        assert_eq!(machine.call_as(a, at(version)), Ok(expected));
    }
    for version in [0, 10] {
        assert_eq!(failure(machine.call_as(a, at(Some(version)))).code, Code::NotFound);
    }
    assert_eq!(failure(machine.call_as(b, at(Some(1)))).code, Code::NotFound);
    machine
        .call_as(a, Request::Heap(HeapRequest::Delete { handle: object, expected_version: None }))
        .unwrap();
    assert_eq!(failure(machine.call_as(a, at(Some(1)))).code, Code::NotFound);
    machine.replayed();
}

fn register(name: &str, schema: &str) -> Request {
    Request::Heap(HeapRequest::TypeRegister { name: name.into(), schema: json(schema) })
}

#[test]
fn a_schema_is_registered_and_its_unjudged_patterns_are_named() {
    let mut machine = Machine::new();
    assert_eq!(value(machine.call(register("mail", r#"{"format":"email"}"#))), object! {});
    let schema = r#"{"properties":{"a/b":{"pattern":"a(?=b)"},"n":{"pattern":"^n"}}}"#;
    let reply = value(machine.call(register("word", schema)));
    assert_eq!(reply.to_json(), r#"{"unjudged":[{"path":"/properties/a~1b/pattern","pattern":"a(?=b)"}]}"#);
    machine.call(alloc("word", r#"{"n":"no"}"#)).unwrap();
    let refused = failure(machine.call(alloc("word", r#"{"a/b":"ab"}"#)));
    assert_eq!(refused.code, Code::SchemaInvalid);
    assert_eq!(refused.message, r#"content of type word cannot be judged by 'pattern' at "/a~1b""#);
    assert_eq!(refused.context.get("keyword"), Some(&"pattern".into()));
    machine.replayed();
}

#[test]
fn a_type_binds_every_object_of_its_name() {
    let mut machine = Machine::new();
    let age = r#"{"type":"object","properties":{"age":{"type":"integer","minimum":0}},"required":["age"]}"#;
    machine.call(register("user", age)).unwrap();
    let user = handle(machine.call(alloc("user", r#"{"age":1}"#)));
    let bad = r#"[{"op":"replace","path":"/age","value":-1}]"#;
    let raw = Content::Raw(Arc::from(&b"x"[..]));
    let rows = [
        (alloc("user", r#"{"age":-1}"#), "/age", "minimum"),
        (alloc("user", "{}"), "", "required"),
        (write(user, bad, None), "/age", "minimum"),
        (batch(vec![change(user, bad)]), "/age", "minimum"),
        (
            Request::Heap(HeapRequest::Alloc { type_name: "user".into(), content: raw, subject: None }),
            "",
            "type",
        ),
        (register("user", r#"{"required":["name"]}"#), "", "required"),
        (register("other", r#"{"properties":{"a":{"type":"float"}}}"#), "/properties/a", "type"),
    ];
    for (request, path, keyword) in rows {
        let failed = failure(machine.call(request.clone()));
        let fact = |name: &str| failed.context.get(name).and_then(Value::as_str).map(String::from);
        assert_eq!(failed.code, Code::SchemaInvalid, "{request:?}");
        assert_eq!(
            (fact("path").as_deref(), fact("keyword").as_deref()),
            (Some(path), Some(keyword)),
            "{request:?}"
        );
    }
    for (schema, code, keyword) in [
        (r#"{"items":{"$ref":"http://a.example"}}"#, Code::SchemaUnknown, "$ref"),
        (r#"{"$schema":"http://a.example"}"#, Code::SchemaUnknown, "$schema"),
        (r#"{"pattern":"("}"#, Code::SchemaInvalid, "pattern"),
        (r#"{"minLength":-1}"#, Code::SchemaInvalid, "minLength"),
    ] {
        let refused = failure(machine.call(register("other", schema)));
        assert_eq!((refused.code, refused.context.get("keyword")), (code, Some(&keyword.into())), "{schema}");
    }
    machine.call(register("user", r#"{"type":"object"}"#)).expect("another schema in its place");
    machine.call(write(user, bad, None)).unwrap();
    machine.replayed();
}

#[test]
fn an_agents_types_bind_its_delegation_tree_and_the_owners_bind_everyone() {
    let mut machine = Machine::new();
    let (a, below, b) = (machine.agent("a"), machine.agent("a/below"), machine.agent("b"));
    machine.call_as(a, register("mine", "{}")).unwrap();
    machine.call_as(a, register("mine", r#"{"type":"integer"}"#)).unwrap();
    assert_eq!(used(&mut machine, a, Dimension::Memory), 18, "a schema takes memory");
    // A name that another agent uses or has registered is free to use.
    machine.call_as(b, alloc("mine", "\"b's\"")).unwrap();
    machine.call_as(b, register("mine", r#"{"type":"string"}"#)).unwrap();
    machine.call_as(b, register("task", r#"{"not":{}}"#)).unwrap();
    assert_eq!(failure(machine.call_as(b, alloc("task", "1"))).code, Code::SchemaInvalid);
    machine.call_as(a, alloc("task", "1")).expect("what b registers binds b alone");
    machine.call(alloc("task", "1")).expect("and not the owner");
    for session in [a, below] {
        assert_eq!(failure(machine.call_as(session, alloc("mine", "\"x\""))).code, Code::SchemaInvalid);
    }
    machine.call(register("mine", r#"{"minimum":7}"#)).expect("the owner's schema binds everybody");
    assert_eq!(failure(machine.call_as(a, alloc("mine", "6"))).code, Code::SchemaInvalid);
    machine.call_as(a, alloc("mine", "8")).unwrap();
    let unregister = || Request::Heap(HeapRequest::TypeUnregister { name: "mine".into() });
    machine.call_as(a, unregister()).unwrap();
    assert_eq!(failure(machine.call_as(a, unregister())).code, Code::NotFound);
    machine
        .call_as(a, alloc("mine", "\"x\""))
        .expect("only the owner's schema is left, which is about numbers");
    machine.call_as(b, budget(Dimension::Memory, 60)).unwrap();
    assert_eq!(
        failure(machine.call_as(b, register("long", r#"{"type":["integer","string","boolean","null"]}"#)))
            .code,
        Code::BudgetExceeded
    );
    machine.policy("profiles = []");
    assert_eq!(failure(machine.call_as(a, register("new", "{}"))).code, Code::PolicyDeny);
    machine.replayed();
}

#[test]
fn a_request_that_is_too_large_is_refused_and_replays() {
    let mut machine = Machine::with(Config { input_bytes_max: 100, ..Config::default() });
    let long = format!("\"{}\"", "x".repeat(10_000));
    let rows = [
        alloc("n", &long),
        batch(vec![new("n", &long)]),
        batch(vec![new("n", "\"0123456789\""); 10]),
        register("n", &format!("{{\"const\":{long}}}")),
        query(&format!("{{\"where\":{{\"\":{long}}}}}")),
        Request::Audit(AuditRequest::Log { event: "x".into(), details: json(&long), subject: None }),
    ];
    for request in rows {
        assert_eq!(failure(machine.call(request)).code, Code::Limit);
    }
    machine.replayed();
}
