//! An effect is exactly what was permitted, happens once, and ends once.

use std::sync::Arc;

use ak_json::{Value, object};
use ak_kernel::{
    AuditFilter, AuditRequest, Code, Completion, Effect, FileAction, FileRequest, HttpResponse, Request,
    SessionId, Step, StepAnswer, ToolsRequest,
};

use crate::support::{Machine, failure, file_read, tool, value};
use crate::{http, infer};

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
