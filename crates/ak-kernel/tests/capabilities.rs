//! Capabilities: a derived one never allows more than its parent.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_json::{Object, Value};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditRequest, AuthenticatedRequest, Code, Completion, Config, ErrorClass,
    Failure, FileRequest, HttpRequest, InferRequest, Operation, PresentedCapability, Reply, Request,
    SessionId, Step, StepAnswer,
};
use ak_policy::{
    Rate,
    budget::Dimension,
    capability::{AgentPattern, Authority, CapId, Caveat, VerifiedToken},
};
use proptest::prelude::*;

use support::{Machine, alloc, failure, file_read, json, load, tool, value};

const POLICY: &str = "[fs]\nread = [\"/data/**\"]\n[tools]\nallow = [\"add\"]\n[http]\nallow = [\"GET https://a.example/**\"]\n";
const MINUTE_MS: u64 = 60_000;

fn machine() -> (Machine, SessionId) {
    let mut machine = Machine::new();
    machine.policy(POLICY);
    let worker = machine.agent("worker");
    (machine, worker)
}

fn request(operation: Operation, args: &str) -> Request {
    Request::decode(operation, &json(args)).unwrap()
}

fn id(capability: &Value) -> CapId {
    let text = capability.get("capability").and_then(Value::as_str).unwrap();
    CapId::from_u64(u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap())
}

fn grant(machine: &mut Machine, args: &str) -> CapId {
    id(&value(machine.call(request(Operation::CapGrant, args))))
}

fn attenuate(machine: &mut Machine, session: SessionId, parent: CapId, terms: &str) -> CapId {
    let mut args = json(terms).as_object().cloned().unwrap();
    args.insert("capability", format!("{:#x}", parent.to_u64()));
    let narrower = Request::decode(Operation::CapAttenuate, &args.into()).unwrap();
    id(&value(machine.call_as(session, narrower)))
}

/// A presented capability, as a host gives it after verifying a token with these caveats in its blocks.
fn present(
    request: Request,
    capability: CapId,
    caveats: impl IntoIterator<Item = Caveat>,
) -> AuthenticatedRequest {
    let authority: Authority = caveats.into_iter().collect();
    request.presenting(PresentedCapability::new(VerifiedToken { capability, authority }).unwrap())
}

fn http(url: &str) -> Request {
    Request::Http(HttpRequest {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: None,
        response_bytes_max: 100,
        timeout_ms: 1000,
    })
}

fn add() -> Request {
    tool("add", r#"{"a":1,"b":2}"#)
}

/// Whether a request passes the gate. The effect itself does not matter here.
fn passes(
    machine: &mut Machine,
    session: SessionId,
    request: impl Into<AuthenticatedRequest>,
) -> Result<(), Failure> {
    let call = machine.dispatch(session, request);
    while let Some((ticket, _)) = machine.effects.pop() {
        machine.complete(ticket, Completion::failed(Code::Io, "not in this test"));
    }
    match machine.replies.get(&call) {
        Some(Err(failure)) if failure.code != Code::Io => Err(failure.clone()),
        _ => Ok(()),
    }
}

fn code_and_class(failure: &Failure) -> (Code, ErrorClass) {
    (failure.code, failure.class())
}

#[test]
fn an_agent_with_a_grant_reaches_nothing_else() {
    let (mut machine, worker) = machine();
    passes(&mut machine, worker, file_read("/data/b/x")).unwrap();
    grant(&mut machine, r#"{"agent":"worker","name":"fs","resource":"/data/a/**","methods":["read"]}"#);
    passes(&mut machine, worker, file_read("/data/a/x")).unwrap();
    for request in [file_read("/data/b/x"), add(), http("https://a.example/")] {
        let refused = passes(&mut machine, worker, request).unwrap_err();
        assert_eq!(code_and_class(&refused), (Code::CapMissing, ErrorClass::OperationDenied));
        let denial = refused.denial.unwrap();
        assert_eq!(
            (denial.reason_code.as_str(), denial.reason.as_str()),
            ("CAP_MISSING", "no capability covers the request")
        );
    }
    grant(&mut machine, r#"{"agent":"worker","name":"add"}"#);
    passes(&mut machine, worker, add()).unwrap();
    passes(&mut machine, worker, alloc("note", "1")).unwrap();
    passes(&mut machine, SessionId::OWNER, file_read("/data/b/x")).unwrap();
    machine.replayed();
}

#[test]
fn a_grant_never_permits_what_the_policy_does_not() {
    let (mut machine, worker) = machine();
    let all = grant(&mut machine, r#"{"agent":"worker","name":"fs"}"#);
    for request in [file_read("/etc/passwd").into(), present(file_read("/etc/passwd"), all, [])] {
        assert_eq!(passes(&mut machine, worker, request).unwrap_err().code, Code::PolicyDeny);
    }
}

#[test]
fn every_ancestor_must_be_covered() {
    let (mut machine, _) = machine();
    let (crew, writer) = (machine.agent("crew"), machine.agent("crew/writer"));
    grant(&mut machine, r#"{"agent":"crew","name":"fs","resource":"/data/a/**"}"#);
    passes(&mut machine, writer, file_read("/data/a/x")).unwrap();
    assert_eq!(passes(&mut machine, writer, file_read("/data/b/x")).unwrap_err().code, Code::CapMissing);
    grant(&mut machine, r#"{"agent":"crew/writer","name":"fs","resource":"/data/*/x"}"#);
    assert_eq!(passes(&mut machine, writer, file_read("/data/b/x")).unwrap_err().code, Code::CapMissing);
    assert_eq!(passes(&mut machine, writer, file_read("/data/a/y")).unwrap_err().code, Code::CapMissing);
    passes(&mut machine, crew, file_read("/data/a/y")).unwrap();
}

/// Each row: a capability spec, the caveats of the token's own blocks, the time waited, and the result of
/// presenting it.
#[test]
fn a_request_outside_a_presented_capability_fails_with_its_code() {
    let fs = r#"{"resource":"/data/a/**"}"#;
    let rows: [(&str, Vec<Caveat>, u64, Code); 8] = [
        (r#"{"resource":"/data/b/**"}"#, vec![], 0, Code::CapScope),
        (r#"{"methods":["write"]}"#, vec![], 0, Code::CapScope),
        (r#"{"only_agent":"other"}"#, vec![], 0, Code::CapScope),
        (fs, vec![Caveat::Agent(AgentPattern::parse("main").unwrap())], 0, Code::CapScope),
        (r#"{"expires_minutes":5}"#, vec![], 5 * MINUTE_MS, Code::CapExpired),
        (fs, vec![Caveat::ExpiresAt(1)], 0, Code::CapExpired),
        (fs, vec![Caveat::NotBefore(u64::MAX)], 0, Code::CapExpired),
        (fs, vec![Caveat::Run([9; 16])], 0, Code::CapRunMismatch),
    ];
    for (terms, caveats, wait_ms, expected) in rows {
        let (mut machine, worker) = machine();
        let all = grant(&mut machine, r#"{"agent":"worker","name":"fs"}"#);
        let narrow = attenuate(&mut machine, worker, all, terms);
        machine.sleep_ms(wait_ms);
        let refused = passes(&mut machine, worker, present(file_read("/data/a/x"), narrow, caveats));
        let refused = refused.unwrap_err();
        assert_eq!(code_and_class(&refused), (expected, ErrorClass::Capability), "{terms}");
        passes(&mut machine, worker, present(file_read("/data/a/x"), all, [])).unwrap();
        machine.replayed();
    }
}

#[test]
fn a_request_under_an_expired_grant_is_denied() {
    let (mut machine, worker) = machine();
    grant(&mut machine, r#"{"agent":"worker","name":"fs","expires_minutes":5,"rate":"2/min"}"#);
    passes(&mut machine, worker, file_read("/data/x")).unwrap();
    passes(&mut machine, worker, file_read("/data/x")).unwrap();
    let limited = passes(&mut machine, worker, file_read("/data/x")).unwrap_err();
    assert_eq!(code_and_class(&limited), (Code::CapRate, ErrorClass::RateLimit));
    let wait_ms = limited.context.get("retry_after_ms").and_then(Value::as_u64).unwrap();
    machine.sleep_ms(wait_ms);
    passes(&mut machine, worker, file_read("/data/x")).unwrap();
    machine.sleep_ms(5 * MINUTE_MS);
    let expired = passes(&mut machine, worker, file_read("/data/x")).unwrap_err();
    assert_eq!(code_and_class(&expired), (Code::CapExpired, ErrorClass::OperationDenied));
}

#[test]
fn no_use_after_revoke() {
    let (mut machine, worker) = machine();
    let all = grant(&mut machine, r#"{"agent":"worker","name":"fs"}"#);
    let child = attenuate(&mut machine, worker, all, r#"{"resource":"/data/a/**"}"#);
    let grandchild = attenuate(&mut machine, worker, child, "{}");
    let other = grant(&mut machine, r#"{"agent":"worker","name":"http"}"#);
    let open = present(http("https://a.example/x"), other, []);
    let (_, ticket, _) = machine.effect(worker, open);
    for capability in [all, child, grandchild] {
        passes(&mut machine, worker, present(file_read("/data/a/x"), capability, [])).unwrap();
    }
    let gone = value(machine.call(Request::Agent(AgentRequest::CapRevoke { capability: all })));
    assert_eq!(gone.get("revoked").and_then(Value::as_u64), Some(3));
    machine.call(Request::Agent(AgentRequest::CapRevoke { capability: other })).unwrap();
    let step = Step::Redirect { method: "GET".into(), url: "https://a.example/y".into() };
    assert!(
        matches!(machine.progress(ticket, step), StepAnswer::Abort(failure) if failure.code == Code::CapRevoked)
    );
    machine.complete(ticket, Completion::failed(Code::Io, "stopped"));
    // Neither a reloaded policy nor a reused slot renews a capability.
    machine.policy(POLICY);
    grant(&mut machine, r#"{"agent":"other","name":"fs"}"#);
    for capability in [all, child, grandchild] {
        let refused = passes(&mut machine, worker, present(file_read("/data/a/x"), capability, []));
        assert_eq!(code_and_class(&refused.unwrap_err()), (Code::CapRevoked, ErrorClass::Capability));
        for operation in [
            Request::Agent(AgentRequest::CapToken { capability }),
            Request::Agent(AgentRequest::CapRevoke { capability }),
            Request::Agent(AgentRequest::CapAttenuate { capability, terms: Default::default() }),
        ] {
            assert_eq!(failure(machine.call(operation)).code, Code::CapRevoked);
        }
    }
    let refused = passes(&mut machine, worker, file_read("/data/a/x")).unwrap_err();
    assert_eq!(code_and_class(&refused), (Code::CapRevoked, ErrorClass::OperationDenied));
    // The same holds after a restart.
    machine.kernel = machine.replayed();
    let refused = passes(&mut machine, worker, present(file_read("/data/a/x"), all, [])).unwrap_err();
    assert_eq!(refused.code, Code::CapRevoked);
}

#[test]
fn uses_survive_a_restart_and_a_reload() {
    let (mut machine, worker) = machine();
    let all = grant(&mut machine, r#"{"agent":"worker","name":"fs","uses":3}"#);
    let child = attenuate(&mut machine, worker, all, r#"{"budget":{"bytes":1500}}"#);
    let (_, ticket, _) = machine.effect(worker, present(file_read("/data/x"), child, []));
    let refused = passes(&mut machine, worker, present(file_read("/data/x"), child, [])).unwrap_err();
    assert_eq!(code_and_class(&refused), (Code::BudgetExceeded, ErrorClass::BudgetExceeded));
    machine.complete(ticket, Completion::File(b"ten bytes.".as_slice().into()));
    machine.kernel = machine.replayed();
    machine.policy(POLICY);
    // The unused amount is credited to the budget; the use is spent, for every ancestor.
    passes(&mut machine, worker, present(file_read("/data/x"), child, [])).unwrap();
    passes(&mut machine, worker, file_read("/data/x")).unwrap();
    let refused = passes(&mut machine, worker, present(file_read("/data/x"), child, [])).unwrap_err();
    assert_eq!(refused.code, Code::CapExpired);
    assert_eq!(passes(&mut machine, worker, file_read("/data/x")).unwrap_err().code, Code::CapExpired);
}

#[test]
fn a_denied_request_consumes_no_use() {
    let (mut machine, worker) = machine();
    let once = grant(&mut machine, r#"{"agent":"worker","name":"fs","uses":1}"#);
    for path in ["/etc/passwd", "/data/\0"] {
        passes(&mut machine, worker, present(file_read(path), once, [])).unwrap_err();
    }
    machine
        .call(Request::Agent(AgentRequest::BudgetSet {
            dimension: Dimension::Bytes,
            limit: Some(0),
            agent: Some("worker".into()),
        }))
        .unwrap();
    passes(&mut machine, worker, present(file_read("/data/x"), once, [])).unwrap_err();
    machine
        .call(Request::Agent(AgentRequest::BudgetSet {
            dimension: Dimension::Bytes,
            limit: None,
            agent: Some("worker".into()),
        }))
        .unwrap();
    passes(&mut machine, worker, present(file_read("/data/x"), once, [])).unwrap();
    passes(&mut machine, worker, present(file_read("/data/x"), once, [])).unwrap_err();
}

#[test]
fn only_owner_and_holder_attenuate_and_revoke_a_capability() {
    let (mut machine, worker) = machine();
    let other = machine.agent("other");
    let all = grant(&mut machine, r#"{"agent":"worker","name":"fs"}"#);
    let child = attenuate(&mut machine, worker, all, "{}");
    let by_owner = attenuate(&mut machine, SessionId::OWNER, all, "{}");
    let unknown = CapId::from_u64(u64::MAX);
    for capability in [all, child, by_owner, unknown] {
        let told = failure(machine.call_as(other, Request::Agent(AgentRequest::CapToken { capability })));
        assert_eq!(told.code, Code::CapRevoked, "the same as of one that never was");
        assert_eq!(
            told.message,
            failure(machine.call_as(other, Request::Agent(AgentRequest::CapToken { capability: unknown })))
                .message
        );
        failure(machine.call_as(other, Request::Agent(AgentRequest::CapRevoke { capability })));
        failure(machine.call_as(
            other,
            Request::Agent(AgentRequest::CapAttenuate { capability, terms: Default::default() }),
        ));
    }
    let args = r#"{"agent":"other","name":"fs"}"#;
    assert_eq!(failure(machine.call_as(worker, request(Operation::CapGrant, args))).code, Code::PolicyDeny);
    assert_eq!(
        failure(machine.call_as(worker, Request::Agent(AgentRequest::CapRevoke { capability: all }))).code,
        Code::PolicyDeny
    );
    machine.call_as(worker, Request::Agent(AgentRequest::CapRevoke { capability: child })).unwrap();
    machine.call(Request::Agent(AgentRequest::CapRevoke { capability: all })).unwrap();
}

#[test]
fn a_capability_covers_nothing_beyond_its_caveats() {
    let (mut machine, _) = machine();
    let all = grant(&mut machine, r#"{"agent":"main","name":"fs"}"#);
    for request in [
        load("profiles = []"),
        alloc("note", "1"),
        Request::Agent(AgentRequest::SessionOpen { agent: "x".into() }),
        Request::Agent(AgentRequest::CapToken { capability: all }),
        Request::Audit(AuditRequest::Verify { key: None, anchor: None }),
    ] {
        let refused = passes(&mut machine, SessionId::OWNER, present(request, all, [])).unwrap_err();
        assert_eq!(code_and_class(&refused), (Code::CapScope, ErrorClass::Capability));
    }
    machine.call(present(Request::Admin(AdminRequest::LastError), all, [])).unwrap();
    machine.replayed();
}

#[test]
fn authorize_names_what_a_request_rests_on() {
    let (mut machine, worker) = machine();
    let ask = |target: &str| {
        Request::Admin(AdminRequest::Authorize {
            operation: "fs.read".into(),
            target: target.into(),
            args: None,
        })
    };
    let told = |found: &Value| {
        let name = found.get("capability_name").and_then(Value::as_str).unwrap().to_owned();
        (
            found.get("authorized").and_then(Value::as_bool).unwrap(),
            name,
            found.get("ttl_ms").and_then(Value::as_u64),
        )
    };
    assert_eq!(told(&value(machine.call_as(worker, ask("/data/x")))), (true, String::new(), None));
    assert_eq!(told(&value(machine.call(ask("/etc/x")))), (false, "fs.read:/etc/x".into(), None));
    let all = grant(
        &mut machine,
        r#"{"agent":"worker","name":"fs","resource":"/data/*","uses":1,"expires_minutes":1}"#,
    );
    let found = value(machine.call_as(worker, ask("/data/x")));
    assert_eq!(told(&found), (true, "fs".into(), Some(MINUTE_MS - 1)));
    assert!(!told(&value(machine.call_as(worker, ask("/data/x/y")))).0);
    let soon = Caveat::ExpiresAt(machine.clock_us + 11_000);
    assert_eq!(told(&value(machine.call_as(worker, present(ask("/data/x"), all, [soon])))).2, Some(10));
    passes(&mut machine, worker, file_read("/data/x")).unwrap();
    machine.policy("profiles = []\n[[capability]]\nname = \"add\"\nexpires_minutes = 2");
    let found = value(machine.call(Request::Admin(AdminRequest::Authorize {
        operation: "execute".into(),
        target: "add".into(),
        args: None,
    })));
    assert_eq!(told(&found), (true, "add".into(), Some(2 * MINUTE_MS - 1)));
}

#[test]
fn capability_specs_are_bounded_and_checked() {
    let (mut machine, worker) = machine();
    let long = "x".repeat(5000);
    let rows = [
        r#"{"agent":"worker"}"#.to_owned(),
        r#"{"agent":"worker","name":""}"#.to_owned(),
        r#"{"agent":"bad agent\u0000","name":"fs"}"#.to_owned(),
        r#"{"agent":"worker","name":"add","resource":"/x"}"#.to_owned(),
        r#"{"agent":"worker","name":"fs","methods":["fly"]}"#.to_owned(),
        r#"{"agent":"worker","name":"fs","methods":[]}"#.to_owned(),
        r#"{"agent":"worker","name":"fs","resource":"relative"}"#.to_owned(),
        format!(r#"{{"agent":"worker","name":"fs","resource":"/{long}"}}"#),
        format!(r#"{{"agent":"worker","name":"fs","expires_minutes":{}}}"#, u64::MAX),
        r#"{"agent":"worker","name":"fs","budget":{"cpu":5}}"#.to_owned(),
    ];
    for args in rows {
        assert_eq!(
            failure(machine.call(request(Operation::CapGrant, &args))).code,
            Code::InvalidArgument,
            "{args}"
        );
    }
    for args in [
        r#"{"agent":"worker","name":"fs","rate":"often"}"#,
        r#"{"agent":"worker","name":"fs","budget":{"x":1}}"#,
    ] {
        assert!(Request::decode(Operation::CapGrant, &json(args)).is_err(), "{args}");
    }
    for caveat in
        [Caveat::Uses(1), Caveat::Rate(Rate::parse("1/s").unwrap()), Caveat::Budget(Dimension::Bytes, 1)]
    {
        let token =
            VerifiedToken { capability: CapId::from_u64(1), authority: [caveat].into_iter().collect() };
        assert_eq!(
            code_and_class(&PresentedCapability::new(token).unwrap_err()),
            (Code::CapInvalid, ErrorClass::Capability)
        );
    }
    passes(&mut machine, worker, file_read("/data/x")).unwrap();
    machine.replayed();
}

#[test]
fn the_capabilities_of_an_agent_are_limited() {
    let mut machine = Machine::with(Config { capabilities_per_agent_max: 3, ..Config::default() });
    machine.policy(POLICY);
    let worker = machine.agent("worker");
    let all = grant(&mut machine, r#"{"agent":"worker","name":"fs"}"#);
    let soon = attenuate(&mut machine, worker, all, r#"{"expires_minutes":1}"#);
    let last = attenuate(&mut machine, worker, all, "{}");
    let one_more = Request::Agent(AgentRequest::CapAttenuate { capability: last, terms: Default::default() });
    assert_eq!(failure(machine.call_as(worker, one_more.clone())).code, Code::Quota);
    grant(&mut machine, r#"{"agent":"another","name":"fs"}"#);
    machine.sleep_ms(MINUTE_MS);
    machine.call_as(worker, one_more.clone()).unwrap();
    assert_eq!(
        failure(machine.call_as(worker, Request::Agent(AgentRequest::CapToken { capability: soon }))).code,
        Code::CapRevoked
    );
    assert_eq!(failure(machine.call_as(worker, one_more)).code, Code::Quota);
    machine.replayed();
}

#[test]
fn the_length_of_a_delegation_chain_is_limited() {
    let (mut machine, worker) = machine();
    let mut last = grant(&mut machine, r#"{"agent":"worker","name":"fs"}"#);
    for _ in 1..ak_policy::capability::DEPTH_MAX {
        last = attenuate(&mut machine, worker, last, "{}");
    }
    let one_more = Request::Agent(AgentRequest::CapAttenuate { capability: last, terms: Default::default() });
    assert_eq!(failure(machine.call_as(worker, one_more)).code, Code::Limit);
}

fn terms() -> impl Strategy<Value = Object> {
    let any = prop::sample::select(vec![
        "{}",
        r#"{"resource":"/data/a/**"}"#,
        r#"{"resource":"/data/*/x"}"#,
        r#"{"resource":"/**","methods":["read","write"]}"#,
        r#"{"methods":["list"]}"#,
        r#"{"only_agent":"worker"}"#,
        r#"{"only_agent":"*"}"#,
        r#"{"name":"http"}"#,
        r#"{"expires_minutes":0}"#,
        r#"{"uses":0}"#,
    ]);
    any.prop_map(|text| json(text).as_object().cloned().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every request that a derived capability covers is covered by each of its ancestors and permitted by the
    /// policy.
    #[test]
    fn authority_never_grows(chain in prop::collection::vec(terms(), 1..4)) {
        let (mut machine, worker) = machine();
        let free = machine.agent("free");
        let mut line = vec![grant(&mut machine, r#"{"agent":"worker","name":"fs"}"#)];
        for mut args in chain {
            args.insert("capability", format!("{:#x}", line.last().unwrap().to_u64()));
            let narrower = Request::decode(Operation::CapAttenuate, &args.into()).unwrap();
            // A path is not a valid resource of `http`.
            if let Ok(Reply::Value(made)) = machine.call_as(worker, narrower) {
                line.push(id(&made));
            }
        }
        for path in ["/data/a/x", "/data/b/x", "/data/b/y", "/etc/passwd"] {
            for session in [worker, free] {
                for read in [file_read(path), Request::File(FileRequest::List { path: path.into() })] {
                    let mut passed = passes(&mut machine, free, read.clone()).is_ok();
                    for capability in &line {
                        let now = passes(&mut machine, session, present(read.clone(), *capability, [])).is_ok();
                        prop_assert!(passed || !now, "{path} through {capability:?}");
                        passed = now;
                    }
                }
            }
        }
    }
}

/// The length of a streamed answer is not its number of tokens: an estimate does not stop a stream that its server
/// limits.
#[test]
fn a_stream_is_stopped_only_where_its_server_keeps_no_limit() {
    let chunk = |tokens| Step::Chunk { data: "{}".into(), tokens };
    let chat = json(r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":1000}"#);
    let ask = || Request::Infer(InferRequest { request: chat.clone(), stream: true, price: None });
    let (mut machine, worker) = machine();
    machine.policy(&format!("{POLICY}[infer]\nmodels = [\"m\"]"));
    let bound = grant(&mut machine, r#"{"agent":"worker","name":"infer","budget":{"tokens":5000}}"#);
    let (_, ticket, _) = machine.effect(worker, present(ask(), bound, []));
    assert_eq!(machine.progress(ticket, chunk(8_000)), StepAnswer::Continue);
    assert!(matches!(machine.progress(ticket, chunk(1)), StepAnswer::Abort(_)));
}
