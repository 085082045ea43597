//! The kernel's guarantees: each test states one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use ak_heap::{Content, Handle, Target};
use ak_json::{Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditFilter, AuditRequest, BatchPart, Code, Completion, Config, Effect,
    ErrorClass, FileAction, FileRequest, HeapRequest, HttpRequest, HttpResponse, InferRequest, Kernel,
    Output, Reply, Request, SessionId, Step, StepAnswer, ToolsRequest,
};
use ak_policy::budget::Dimension;

use support::{Machine, alloc, failure, file_read, handle, json, load, new, tool, value, write};

fn http(url: &str) -> Request {
    Request::Http(HttpRequest {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: None,
        response_bytes_max: 1000,
        timeout_ms: 1000,
    })
}

fn infer(model: &str, max_tokens: u64) -> Request {
    let request = object! {
        "model": model, "max_tokens": max_tokens, "messages": json(r#"[{"role":"user","content":"hello"}]"#),
    };
    Request::Infer(InferRequest { request, stream: true, price: None })
}

fn budget(dimension: Dimension, limit: u64) -> Request {
    Request::Agent(AgentRequest::BudgetSet { dimension, limit: Some(limit), agent: None })
}

fn used(machine: &mut Machine, dimension: Dimension) -> u64 {
    let status = value(
        machine.call(Request::Agent(AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None })),
    );
    status.get(dimension.as_str()).and_then(|row| row.get("used")).and_then(Value::as_u64).unwrap()
}

/// Each row: a request, and the code that it fails with while nothing changes.
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
fn the_budget_is_never_exceeded() {
    let mut machine = Machine::new();
    machine.call(budget(Dimension::Memory, 100)).unwrap();
    let first = handle(machine.call(alloc("text", &format!("\"{}\"", "x".repeat(60)))));
    let denied = failure(machine.call(alloc("text", &format!("\"{}\"", "x".repeat(60)))));
    assert_eq!((denied.code, denied.code.class()), (Code::BudgetExceeded, ErrorClass::BudgetExceeded));
    assert_eq!(used(&mut machine, Dimension::Memory), 62);
    assert_eq!(used(&mut machine, Dimension::HeapObjects), 1);
    machine.call(Request::Heap(HeapRequest::Delete { handle: first, expected_version: None })).unwrap();
    assert_eq!(used(&mut machine, Dimension::HeapObjects), 0);
    machine.call(alloc("text", &format!("\"{}\"", "x".repeat(60)))).expect("what was deleted is free again");
}

#[test]
fn denied_operations_cost_compute_too() {
    let mut machine = Machine::new();
    machine.call(budget(Dimension::Compute, 2)).unwrap();
    failure(machine.call(file_read("/etc/passwd")));
    machine.call(alloc("x", "1")).unwrap();
    assert_eq!(failure(machine.call(alloc("x", "1"))).code, Code::BudgetExceeded);
    machine.call(budget(Dimension::Compute, 100)).expect("the owner can always raise a budget");
    machine.call(alloc("x", "1")).unwrap();
}

#[test]
fn a_childs_spending_is_charged_to_the_root() {
    let mut machine = Machine::new();
    let agent = machine.agent("worker");
    machine.call(budget(Dimension::ToolCalls, 1)).unwrap();
    machine.call_as(agent, tool("add", r#"{"a":1,"b":1}"#)).unwrap();
    assert_eq!(failure(machine.call_as(agent, tool("add", r#"{"a":1,"b":1}"#))).code, Code::BudgetExceeded);
    assert_eq!(failure(machine.call(tool("add", r#"{"a":1,"b":1}"#))).code, Code::BudgetExceeded);
}

#[test]
fn an_agent_session_only_lowers_its_own_budget() {
    let mut machine = Machine::new();
    let agent = machine.agent("worker");
    machine.call_as(agent, budget(Dimension::Tokens, 50)).unwrap();
    assert_eq!(failure(machine.call_as(agent, budget(Dimension::Tokens, 51))).code, Code::PolicyDeny);
    let lift =
        Request::Agent(AgentRequest::BudgetSet { dimension: Dimension::Tokens, limit: None, agent: None });
    assert_eq!(failure(machine.call_as(agent, lift)).code, Code::PolicyDeny);
    let other = Request::Agent(AgentRequest::BudgetSet {
        dimension: Dimension::Tokens,
        limit: Some(1),
        agent: Some("main".into()),
    });
    assert_eq!(failure(machine.call_as(agent, other)).code, Code::NotFound);
    let raise = Request::Agent(AgentRequest::BudgetSet {
        dimension: Dimension::Tokens,
        limit: Some(60),
        agent: Some("worker".into()),
    });
    machine.call(raise).expect("the owner sets any");
}

#[test]
fn tokens_are_reserved_settled_and_refunded() {
    let mut machine = Machine::new();
    machine.policy("[infer]\nmodels = [\"m\"]\nmax_tokens = 40\n[budgets]\ntokens = 200");
    assert_eq!(failure(machine.call(infer("other", 1))).code, Code::PolicyDeny);
    let (call, ticket, effect) = machine.effect(SessionId::OWNER, infer("m", 1_000_000));
    let Effect::Infer { request, .. } = effect else { panic!("{effect:?}") };
    assert_eq!(request.get("max_tokens"), Some(&Value::from(40u64)), "clamped to the policy");
    assert!(request.get("stream").is_none());
    let status = value(machine.call(Request::Agent(AgentRequest::BudgetStatus {
        dimension: Some(Dimension::Tokens),
        agent: None,
    })));
    let reserved = status.get("tokens").and_then(|row| row.get("reserved")).and_then(Value::as_u64).unwrap();
    assert!(reserved > 40, "prompt and completion at the most: {reserved}");
    assert_eq!(machine.progress(ticket, Step::Chunk { data: "{}".into(), tokens: 5 }), StepAnswer::Continue);
    assert!(matches!(
        machine.progress(ticket, Step::Chunk { data: "{}".into(), tokens: 500 }),
        StepAnswer::Abort(_)
    ));
    machine.complete(
        ticket,
        Completion::Failed {
            code: Code::Io,
            message: "stopped".into(),
            context: ak_json::Object::new(),
            spent: 505,
        },
    );
    assert_eq!(
        machine.replies[&call].as_ref().unwrap_err().code,
        Code::BudgetExceeded,
        "the kernel's reason, not the host's"
    );
    assert_eq!(used(&mut machine, Dimension::Tokens), 505, "an overrun is recorded in full");
    assert_eq!(
        failure(machine.call(infer("m", 1))).code,
        Code::BudgetExceeded,
        "and blocks further spending"
    );
}

#[test]
fn wall_time_is_a_deadline() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    machine.call(budget(Dimension::WallTimeMs, 5_000)).unwrap();
    let (call, ticket, _) = machine.effect(SessionId::OWNER, http("https://a.example/"));
    let due = machine.kernel.poll_timeout().expect("a deadline");
    machine.sleep_ms(10_000);
    assert!(due < 5_000_000);
    let now = machine.now();
    machine.kernel.handle_timeout(now);
    machine.settle();
    assert!(matches!(machine.verdicts.pop(), Some((told, StepAnswer::Abort(_))) if told == ticket));
    assert!(machine.kernel.poll_timeout().is_none(), "told once");
    machine.complete(ticket, Completion::failed(Code::Io, "cancelled"));
    assert_eq!(machine.replies[&call].as_ref().unwrap_err().code, Code::BudgetExceeded);
    assert_eq!(failure(machine.call(alloc("x", "1"))).code, Code::BudgetExceeded);
    machine.replayed();
}

#[test]
fn a_file_effect_carries_its_granted_root_and_the_canonical_path() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/in/**\"]");
    let (_, _, effect) = machine.effect(SessionId::OWNER, file_read("/data//in/./x/../y.txt"));
    let Effect::File { root, path, action, .. } = effect else { panic!("{effect:?}") };
    assert_eq!((&*root, path.as_str()), ("/data/in", "/data/in/y.txt"));
    assert_eq!(action, FileAction::Read { bytes_max: 1000 });
}

#[test]
fn a_read_rule_never_allows_a_write() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]");
    let request = Request::File(FileRequest::Write { path: "/data/x".into(), data: Arc::from(&b""[..]) });
    assert_eq!(failure(machine.call(request)).code, Code::PolicyDeny);
    assert_eq!(
        failure(machine.call(Request::File(FileRequest::Delete { path: "/data/x".into() }))).code,
        Code::PolicyDeny
    );
}

#[test]
fn private_addresses_are_closed_unless_granted_by_address() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"GET https://a.example/**\", \"GET http://127.0.0.1:8000/**\"]");
    let (_, ticket, _) = machine.effect(SessionId::OWNER, http("https://a.example/"));
    let found = ["8.8.8.8", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"]
        .map(|address| address.parse().unwrap());
    assert_eq!(machine.progress(ticket, Step::Resolved(found.into())), StepAnswer::Connect(vec![found[0]]));
    let rebound = machine.progress(ticket, Step::Resolved(found[1..].into()));
    assert!(matches!(rebound, StepAnswer::Abort(_)), "a name that resolves to closed addresses only");

    let loopback = Step::Resolved(vec!["127.0.0.1".parse().unwrap()]);
    let (_, ticket, _) = machine.effect(SessionId::OWNER, http("http://127.0.0.1:8000/"));
    assert!(matches!(machine.progress(ticket, loopback.clone()), StepAnswer::Abort(_)));
    machine.policy(
        "[http]\nallow = [\"GET http://127.0.0.1:8000/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:8000\"]",
    );
    let (_, ticket, _) = machine.effect(SessionId::OWNER, http("http://127.0.0.1:8000/"));
    assert!(matches!(machine.progress(ticket, loopback), StepAnswer::Connect(_)));
}

#[test]
fn a_redirect_is_decided_as_a_new_request() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    let (call, ticket, _) = machine.effect(SessionId::OWNER, http("https://a.example/"));
    let to = |url: &str| Step::Redirect { method: "GET".into(), url: url.into() };
    assert!(
        matches!(machine.progress(ticket, to("https://a.example/next")), StepAnswer::Follow(hop) if hop.url.as_str() == "https://a.example/next")
    );
    assert!(matches!(machine.progress(ticket, to("https://evil.example/")), StepAnswer::Abort(_)));
    assert!(
        matches!(machine.progress(ticket, to("https://a.example/")), StepAnswer::Abort(_)),
        "stopped is stopped"
    );
    let response = HttpResponse { status: 200, headers: Vec::new(), body: Arc::from(&b"loot"[..]) };
    machine.complete(ticket, Completion::Http(response));
    assert_eq!(
        machine.replies[&call].as_ref().unwrap_err().code,
        Code::PolicyDeny,
        "what it brings back is dropped"
    );
}

#[test]
fn a_ticket_is_valid_once() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]");
    let (_, ticket, _) = machine.effect(SessionId::OWNER, file_read("/data/x"));
    machine.complete(ticket, Completion::File(Arc::from(&b"1"[..])));
    let (replies, records) = (machine.replies.len(), machine.records.len());
    machine.complete(ticket, Completion::File(Arc::from(&b"2"[..])));
    assert_eq!(
        (machine.replies.len(), machine.records.len()),
        (replies, records + 1),
        "recorded, and nothing else"
    );
    machine.replayed();
}

#[test]
fn a_lost_effect_ends_unknown_and_is_charged_in_full() {
    let mut machine = Machine::new();
    machine.policy("[infer]\nmodels = [\"m\"]\n[budgets]\ntokens = 2000");
    let (call, _, _) = machine.effect(SessionId::OWNER, infer("m", 100));
    let mut again = machine.replayed();
    let tickets = again.tickets();
    assert_eq!(tickets.len(), 1, "the intent survives in the journal");
    let now = machine.now();
    again.complete(now, tickets[0], Completion::Unknown);
    let record = again.poll_record().unwrap();
    again.committed(record.seq);
    let Some(Output::Reply(answered, Err(failure))) = again.poll_output() else { panic!("a failure") };
    assert_eq!((answered, failure.code), (call, Code::UnknownOutcome));
    let reserved = tokens_used(&mut again, &mut machine);
    assert!(reserved > 100, "{reserved}");
}

fn tokens_used(kernel: &mut Kernel, machine: &mut Machine) -> u64 {
    let now = machine.now();
    kernel
        .dispatch(
            now,
            SessionId::OWNER,
            Request::Agent(AgentRequest::BudgetStatus { dimension: Some(Dimension::Tokens), agent: None }),
        )
        .unwrap();
    let record = kernel.poll_record().unwrap();
    kernel.committed(record.seq);
    let Some(Output::Reply(_, Ok(Reply::Value(status)))) = kernel.poll_output() else { panic!("a status") };
    status.get("tokens").and_then(|row| row.get("used")).and_then(Value::as_u64).unwrap()
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
fn a_tool_call_gives_a_result_or_a_reason() {
    let mut machine = Machine::new();
    let sum = value(machine.call(tool("add", r#"{"a":5,"b":3}"#)));
    assert_eq!(sum.to_json(), r#"{"output":{"result":8}}"#);
    let failed = failure(machine.call(tool("add", r#"{"a":"5"}"#)));
    assert_eq!(failed.code, Code::ToolFail);
    machine.policy("[tools]\nallow = [\"*\"]");
    assert_eq!(
        failure(machine.call(tool("nothing", "{}"))).code,
        Code::NotFound,
        "looked up only after the decision"
    );
}

#[test]
fn the_newest_version_of_a_tool_is_the_highest() {
    let mut machine = Machine::new();
    machine.policy("[tools]\nallow = [\"*\"]");
    let (manifest, module) = ak_sandbox::builtin()[0];
    for version in ["1.9.0", "1.10.0", "1.10.0-rc.1"] {
        let text = manifest.replace("name = \"add\"", "name = \"sum\"");
        let line = text.lines().find(|line| line.starts_with("version")).unwrap();
        let text = text.replace(line, &format!("version = \"{version}\""));
        let request = Request::Tools(ToolsRequest::Register {
            manifest: text.as_str().into(),
            module: Arc::from(module),
            env: vec![],
        });
        machine.call(request).unwrap();
    }
    let (_, _, effect) = machine.effect(SessionId::OWNER, tool("sum", r#"{"a":1,"b":2}"#));
    let Effect::RunTool { tool, .. } = effect else { panic!("{effect:?}") };
    assert_eq!(tool.manifest().version, "1.10.0");
}

#[test]
fn a_completion_of_the_wrong_kind_is_rejected() {
    let mut machine = Machine::new();
    machine.policy(
        "[fs]\nread = [\"/data/**\"]\nwrite = [\"/data/**\"]\n[http]\nallow = [\"GET https://a.example/**\"]\n\
         [infer]\nmodels = [\"m\"]\n[tools]\nallow = [\"add\"]",
    );
    let path = || "/data/x".into();
    let requests = [
        file_read("/data/x"),
        Request::File(FileRequest::Write { path: path(), data: Arc::from(&b"x"[..]) }),
        Request::File(FileRequest::List { path: path() }),
        Request::File(FileRequest::Stat { path: path() }),
        Request::File(FileRequest::Delete { path: path() }),
        http("https://a.example/"),
        infer("m", 10),
        tool("add", r#"{"a":1,"b":2}"#),
        Request::Audit(AuditRequest::Verify { key: None, anchor: None }),
    ];
    let response = HttpResponse { status: 200, headers: Vec::new(), body: Arc::from(&b""[..]) };
    let completions = [
        Completion::Done,
        Completion::File(Arc::from(&b""[..])),
        Completion::Value(object! {}),
        Completion::Http(response),
        Completion::Inferred { response: object! {}, tokens: 1 },
        Completion::Tool { output: object! {}, fuel: 1, log: "".into() },
    ];
    for request in requests {
        let mut taken = 0;
        for completion in &completions {
            let (call, ticket, _) = machine.effect(SessionId::OWNER, request.clone());
            machine.complete(ticket, completion.clone());
            match &machine.replies[&call] {
                Ok(_) => taken += 1,
                Err(failure) => assert_eq!(failure.code, Code::UnknownOutcome, "{request:?} {completion:?}"),
            }
        }
        assert_eq!(taken, 1, "{request:?}");
    }
    let refused = AuditFilter { decision: Some("refused".into()), ..AuditFilter::default() };
    let found = value(machine.call(Request::Audit(AuditRequest::Query(refused))));
    let entries = found.get("entries").and_then(Value::as_array).unwrap();
    assert_eq!(entries.len(), 9 * 5, "each is recorded as what it is");
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
    assert!(!ask("fly", "/moon"));
    assert!(!ask("read", "\0"));
    assert!(machine.effects.is_empty());
    let LastDenial(last) = last_denial(&mut machine);
    assert!(last.is_some(), "a false sets the last denial");
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

fn about(subject: &str) -> Request {
    Request::Audit(AuditRequest::Log {
        event: "shipped".into(),
        details: Value::Null,
        subject: Some(subject.into()),
    })
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
fn one_agent_cannot_use_up_another_agents_subjects() {
    let mut machine = Machine::with(Config { subjects_per_agent_max: 3, ..Config::default() });
    let (one, other) = (machine.agent("one"), machine.agent("other"));
    for name in ["a", "b", "c"] {
        machine.call_as(one, about(name)).unwrap();
    }
    let refused = failure(machine.call_as(one, about("d")));
    assert!(refused.code == Code::Quota && refused.message.contains("named 3 subjects"), "{refused}");
    // Whom it named before it may name again. Whom others named tells it nothing: the answer is the same.
    machine.call_as(one, about("a")).unwrap();
    machine.call_as(other, about("d")).unwrap();
    let again = failure(machine.call_as(one, about("d")));
    assert_eq!((again.code, again.message), (refused.code, refused.message));
    // What is erased makes room.
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
