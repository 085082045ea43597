//! The gate: everything that leaves the host or changes state is decided with the arguments that are really used, and charged.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ak_heap::{Created, Handle};
use ak_json::{Pointer, Value, array, object};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditFilter, AuditRequest, BatchPart, Code, Completion, Effect, FileAction,
    FileRequest, HeapRequest, HttpHop, HttpRequest, HttpResponse, InferRequest, LogWork, Operation,
    PresentedCapability, Request, SessionId, Step, StepAnswer, Ticket, ToolsRequest,
};
use ak_policy::{
    budget::Dimension,
    capability::{CapId, VerifiedToken},
};

use support::{Machine, alloc, failure, file_read, handle, json, new, relay, tool, value, write};

fn http(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Request {
    Request::Http(HttpRequest {
        method: method.into(),
        url: url.into(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: body.map(Into::into),
        response_bytes_max: 1_000,
        timeout_ms: 1_000,
    })
}

fn grant(machine: &mut Machine, terms: &str) {
    machine.call(Request::decode(Operation::CapGrant, &json(terms)).unwrap()).unwrap();
}

fn resolved(machine: &mut Machine, ticket: Ticket, address: &str) -> StepAnswer {
    machine.progress(ticket, Step::Resolved(vec![address.parse().unwrap()]))
}

fn redirect(machine: &mut Machine, ticket: Ticket, method: &str, url: &str) -> StepAnswer {
    machine.progress(ticket, Step::Redirect { method: method.into(), url: url.into() })
}

fn answered(bytes: usize) -> Completion {
    Completion::Http(HttpResponse { status: 200, headers: Vec::new(), body: vec![7; bytes].into() })
}

fn used(machine: &mut Machine, session: SessionId, dimension: Dimension) -> u64 {
    let status = value(machine.call_as(
        session,
        Request::Agent(AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None }),
    ));
    status.get(dimension.as_str()).and_then(|row| row.get("used")?.as_u64()).unwrap()
}

fn authorized(machine: &mut Machine, session: SessionId, operation: &str, target: &str, args: Value) -> bool {
    let asked = Request::Admin(AdminRequest::Authorize {
        operation: operation.into(),
        target: target.into(),
        args: Some(args),
    });
    value(machine.call_as(session, asked)).get("authorized").and_then(Value::as_bool).unwrap()
}

const SECRETS_KEPT: &str = r#"
[[rule]]
id = "w"
effect = "permit"
operation = "heap.write"
target = "heap:*"
agent = "worker"
unless.args."/patch/*/path" = { starts = ["/secret"] }
"#;

#[test]
fn object_owner_and_arguments_are_judged_in_one_decision() {
    let mut machine = Machine::new();
    machine.policy(SECRETS_KEPT);
    let worker = machine.agent("worker");
    let object = handle(machine.call(alloc("note", r#"{"secret":1,"open":1}"#)));
    let patch = |path: &str| format!(r#"[{{"op":"replace","path":"{path}","value":2}}]"#);
    for (path, passes) in [("/open", true), ("/secret", false)] {
        let args = object! { "patch": json(&patch(path)) };
        let foreseen = authorized(&mut machine, worker, "heap.write", &format!("heap:{object}"), args);
        let done = machine.call_as(worker, write(object, &patch(path), None));
        assert_eq!((foreseen, done.is_ok()), (passes, passes), "{path}");
    }
    // A plain `when` permits what it says of somebody else's object, and nothing besides.
    machine.policy(&SECRETS_KEPT.replace("unless", "when").replace("/secret", "/open"));
    machine.call_as(worker, write(object, &patch("/open"), None)).unwrap();
    assert_eq!(failure(machine.call_as(worker, write(object, &patch("/secret"), None))).code, Code::NotFound);
    machine.replayed();
}

#[test]
fn another_agents_object_and_an_unknown_one_get_the_same_answer() {
    let mut machine = Machine::new();
    let worker = machine.agent("worker");
    let foreign = handle(machine.call(alloc("note", "{}")));
    let gone = handle(machine.call_as(worker, alloc("note", "{}")));
    machine
        .call_as(worker, Request::Heap(HeapRequest::Delete { handle: gone, expected_version: None }))
        .unwrap();
    let never = Handle::from_raw(foreign.raw() + 1000);
    let answers = |machine: &mut Machine, handle: Handle| {
        let asked = [
            Request::Heap(HeapRequest::Read { handle, version: None }),
            Request::Heap(HeapRequest::Read { handle, version: Some(7) }),
            Request::Heap(HeapRequest::Stat { handle }),
            write(handle, "[]", None),
            write(handle, r#"[{"op":"test","path":"/x","value":1}]"#, Some(3)),
            Request::Heap(HeapRequest::Delete { handle, expected_version: None }),
            Request::Heap(HeapRequest::Batch {
                parts: vec![
                    new("n", "1"),
                    BatchPart::Delete { target: handle.into(), expected_version: None },
                ],
            }),
        ];
        let told = asked.map(|request| {
            let failed = failure(machine.call_as(worker, request));
            (failed.code, failed.message.replace(&handle.to_string(), "H"))
        });
        let foreseen = authorized(machine, worker, "heap.read", &format!("heap:{handle}"), Value::Null);
        (told, foreseen)
    };
    let expected = answers(&mut machine, never);
    for handle in [foreign, gone] {
        assert_eq!(answers(&mut machine, handle), expected);
    }
    machine.replayed();
}

#[test]
fn the_links_of_a_batch_count_as_written() {
    let forbid = r#"
[[rule]]
id = "no-approval"
effect = "forbid"
operation = "heap.write"
target = "heap:*"
when.args."/patch/*/path" = { starts = ["/approved"] }
[[rule]]
id = "no-approved-objects"
effect = "forbid"
operation = "heap.alloc"
target = "*"
when.args."/value/approved" = { type = "string" }
"#;
    let mut machine = Machine::new();
    machine.policy(forbid);
    let worker = machine.agent("worker");
    let object = handle(machine.call_as(worker, alloc("note", r#"{"n":1}"#)));
    let link = |pointer: &str| vec![(Pointer::parse(pointer).unwrap(), Created(0))];
    let written = |pointer: &str| BatchPart::Write {
        target: object.into(),
        patch: json("[]"),
        expected_version: None,
        links: link(pointer),
    };
    let made = |pointer: &str| match new("note", "{}") {
        BatchPart::Alloc { type_name, content, .. } => {
            BatchPart::Alloc { type_name, content, links: link(pointer) }
        }
        other => other,
    };
    for (pointer, passes) in [("/approved", false), ("/approved/by", false), ("/seen", true)] {
        let parts = vec![new("note", "{}"), written(pointer)];
        let done = machine.call_as(worker, Request::Heap(HeapRequest::Batch { parts }));
        assert_eq!(done.is_ok(), passes, "write {pointer}: {done:?}");
    }
    for (pointer, passes) in [("/approved", false), ("/seen", true)] {
        let parts = vec![new("note", "{}"), made(pointer)];
        assert_eq!(
            machine.call_as(worker, Request::Heap(HeapRequest::Batch { parts })).is_ok(),
            passes,
            "alloc {pointer}"
        );
    }
    machine.replayed();
}

/// A policy, an additional grant, and how many requests to `/pay/**` pass, made or reached by a redirect.
const COUNTED: [(&str, Option<&str>, usize); 4] = [
    (
        "[[limit]]\nid = \"once\"\noperation = \"http.get\"\ntarget = \"https://a.example/pay/**\"\ncount = true\nmax = 1\nper = \"24h\"\n",
        None,
        1,
    ),
    (
        "[[capability]]\nname = \"http\"\nresource = \"https://a.example/pay/**\"\nmethods = [\"get\"]\nrate = \"2/d\"\n",
        None,
        2,
    ),
    (
        "[http]\nallow = [\"GET https://a.example/pay/**\"]\n",
        Some(
            r#"{"agent":"worker","name":"http","resource":"https://a.example/**","methods":["get"],"uses":4}"#,
        ),
        2,
    ),
    ("[http]\nallow = [\"GET https://a.example/pay/**\"]\n[agent.worker.budgets]\ncompute = 5\n", None, 2),
];

#[test]
fn a_redirect_is_charged_as_a_request() {
    for (counted, granted, passes) in COUNTED {
        let mut machine = Machine::new();
        // What a limit counts may be permitted by a plain section.
        let rest = if counted.starts_with("[[limit") {
            "[http]\nallow = [\"GET https://a.example/**\"]\n"
        } else {
            ""
        };
        let open = "[[rule]]\nid = \"r\"\neffect = \"permit\"\noperation = \"http.get\"\ntarget = \"https://a.example/r/*\"\n";
        machine.policy(&format!("{rest}{counted}{open}"));
        let worker = machine.agent("worker");
        if let Some(terms) = granted {
            grant(&mut machine, terms);
        }
        let mut followed = 0;
        for n in 0..4 {
            let asked = http("GET", &format!("https://a.example/r/{n}"), &[], None);
            let call = machine.dispatch(worker, asked);
            let Some((ticket, _)) = machine.effects.pop() else {
                assert!(machine.replies[&call].is_err());
                continue;
            };
            resolved(&mut machine, ticket, "93.184.216.34");
            let verdict = redirect(&mut machine, ticket, "GET", "https://a.example/pay/x");
            followed += usize::from(matches!(verdict, StepAnswer::Follow(_)));
            machine.complete(ticket, answered(1));
        }
        assert_eq!(followed, passes, "{counted}");
        machine.replayed();
    }
}

#[test]
fn a_redirect_is_judged_with_the_headers_and_body_that_it_sends() {
    let mut machine = Machine::new();
    machine.policy(
        r#"
[[rule]]
id = "dry"
effect = "permit"
operation = ["http.post", "http.get"]
target = "https://*.example/**"
when.args."/headers/x-dry-run" = { equals = "1" }
[[rule]]
id = "plain-get"
effect = "permit"
operation = "http.get"
target = "https://b.example/**"
unless.args."/body" = { type = "string" }
"#,
    );
    let worker = machine.agent("worker");
    let headers = [("X-Dry-Run", "1"), ("Accept", "x/y"), ("Content-Type", "t/t")];
    let begin = |machine: &mut Machine| {
        let (_, ticket, effect) =
            machine.effect(worker, http("POST", "https://www.a.example/x", &headers, Some(b"pay")));
        let Effect::Http { hop, .. } = effect else { panic!("{effect:?}") };
        assert_eq!(hop.headers.len(), 3);
        resolved(machine, ticket, "93.184.216.34");
        ticket
    };
    // To another origin the header does not go along, and without it the POST is not permitted.
    let ticket = begin(&mut machine);
    let verdict = redirect(&mut machine, ticket, "POST", "https://www.b.example/x");
    assert!(matches!(verdict, StepAnswer::Abort(failure) if failure.code == Code::PolicyDeny));
    machine.complete(ticket, Completion::failed(Code::Io, "stopped"));
    // A 303 makes a GET of it, which has no body.
    let ticket = begin(&mut machine);
    let StepAnswer::Follow(hop) = redirect(&mut machine, ticket, "GET", "https://b.example/x") else {
        panic!()
    };
    let HttpHop { method, headers, body, .. } = *hop;
    assert_eq!((&*method, headers, body), ("GET", vec![("Accept".into(), "x/y".into())], None));
    machine.complete(ticket, answered(1));
    // To the same origin all of it goes along.
    let ticket = begin(&mut machine);
    let StepAnswer::Follow(hop) = redirect(&mut machine, ticket, "POST", "https://www.a.example/y") else {
        panic!()
    };
    assert_eq!((hop.headers.len(), hop.body.as_deref()), (3, Some(&b"pay"[..])));
    machine.complete(ticket, answered(1));
    machine.replayed();
}

#[test]
fn url_headers_and_body_of_every_send_are_charged() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"* https://a.example/**\"]");
    let worker = machine.agent("worker");
    machine.limit("worker", Dimension::Bytes, 4_000);
    let long = "v".repeat(500);
    let asked = http("POST", "https://a.example/x", &[("X-Long", &long)], Some(&[0; 400]));
    let size = ("POST".len() + "https://a.example/x".len() + "X-Long".len() + 500 + 400) as u64;
    let (_, ticket, _) = machine.effect(worker, asked.clone());
    resolved(&mut machine, ticket, "93.184.216.34");
    assert!(matches!(redirect(&mut machine, ticket, "POST", "https://a.example/y"), StepAnswer::Follow(_)));
    assert!(matches!(redirect(&mut machine, ticket, "POST", "https://a.example/z"), StepAnswer::Follow(_)));
    // Three sendings and the longest answer are set aside: there is no room for a fourth.
    let verdict = redirect(&mut machine, ticket, "POST", "https://a.example/w");
    assert!(matches!(verdict, StepAnswer::Abort(failure) if failure.code == Code::BudgetExceeded));
    machine.complete(ticket, Completion::failed(Code::Io, "stopped"));
    assert_eq!(used(&mut machine, worker, Dimension::Bytes), 3 * size);
    // What did not leave the machine is not sent.
    let (_, ticket, _) = machine.effect(worker, http("GET", "https://a.example/x", &[], None));
    let context = match object! { "hops_sent": 0 } {
        Value::Object(context) => context,
        _ => unreachable!(),
    };
    let message = "no address".into();
    machine.complete(ticket, Completion::Failed { code: Code::Io, message, context, spent: 0 });
    assert_eq!(used(&mut machine, worker, Dimension::Bytes), 3 * size);
    // Headers alone can be too much.
    let huge = "v".repeat(5_000);
    let asked = http("GET", "https://a.example/x", &[("X-Long", &huge)], None);
    assert_eq!(failure(machine.call_as(worker, asked)).code, Code::BudgetExceeded);
    machine.replayed();
}

#[test]
fn connections_are_charged() {
    let open = "[http]\nallow = [\"GET http://host.example/**\"]\n";
    let limit = |operation: &str, target: &str| {
        format!(
            "{open}[net]\nconnect = [\"ip:10.0.0.0/8:80\"]\n[[limit]]\nid = \"l\"\noperation = \"{operation}\"\ntarget = \"{target}\"\n\
             count = true\nmax = 1\nper = \"24h\"\n"
        )
    };
    let capability = "[[capability]]\nname = \"net\"\nresource = \"ip:10.0.0.0/8:80\"\nmethods = [\"connect\"]\nrate = \"1/d\"\n";
    for policy in [
        limit("connect", "ip:10.0.0.0/8:80"),
        limit("connect", "dns:host.example:80"),
        limit("dns", "dns:host.example"),
        format!("{open}{capability}"),
    ] {
        let mut machine = Machine::new();
        machine.policy(&policy);
        let worker = machine.agent("worker");
        let mut connected = Vec::new();
        for _ in 0..3 {
            let (_, ticket, _) = machine.effect(worker, http("GET", "http://host.example/", &[], None));
            let verdict = resolved(&mut machine, ticket, "10.0.0.1");
            connected.push(matches!(verdict, StepAnswer::Connect(open) if open.len() == 1));
            machine.complete(ticket, Completion::failed(Code::Io, "closed"));
        }
        assert_eq!(connected, [true, false, false], "{policy}");
        machine.replayed();
    }
}

#[test]
fn a_forbidden_host_is_not_resolved() {
    for (operation, target) in [("dns", "dns:host.example"), ("connect", "dns:host.example:443")] {
        let mut machine = Machine::new();
        machine.policy(&format!(
            "[http]\nallow = [\"GET https://host.example/**\"]\n[[rule]]\nid = \"closed\"\neffect = \"forbid\"\n\
             operation = \"{operation}\"\ntarget = \"{target}\"\n"
        ));
        let worker = machine.agent("worker");
        let asked = http("GET", "https://host.example/", &[], None);
        let call = machine.dispatch(worker, asked);
        assert!(machine.effects.is_empty(), "{operation}");
        assert_eq!(machine.replies[&call].as_ref().unwrap_err().code, Code::PolicyDeny);
        assert!(!authorized(&mut machine, worker, "http.get", "https://host.example/", Value::Null));
        machine.replayed();
    }
}

#[test]
fn a_header_has_one_value_and_one_spelling() {
    let mut machine = Machine::new();
    machine.policy(
        r#"
[[rule]]
id = "mine"
effect = "permit"
operation = "http.get"
target = "https://a.example/**"
when.args."/headers/x-tenant" = { equals = "mine" }
"#,
    );
    let worker = machine.agent("worker");
    type Headers = &'static [(&'static str, &'static str)];
    let rows: [(Headers, Option<Code>); 9] = [
        (&[("X-Tenant", "mine")], None),
        (&[("X_Tenant", "mine")], None),
        (&[("X-Tenant", "victim"), ("x-tenant", "mine")], Some(Code::InvalidArgument)),
        (&[("x-tenant", "mine"), ("X-TENANT", "mine")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "mine"), ("X_Tenant", "victim")], Some(Code::InvalidArgument)),
        (&[("X_Tenant", "victim"), ("X-Tenant", "mine")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "mine"), ("X-Tenant ", "victim")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "mine\r\nX-Tenant: victim")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "victim")], Some(Code::PolicyDeny)),
    ];
    for (headers, refused) in rows {
        let call = machine.dispatch(worker, http("GET", "https://a.example/x", headers, None));
        if let Some((ticket, _)) = machine.effects.pop() {
            machine.complete(ticket, answered(1));
        }
        assert_eq!(machine.replies[&call].as_ref().err().map(|failure| failure.code), refused, "{headers:?}");
    }
    machine.replayed();
}

#[test]
fn rules_judge_the_token_limit_that_is_sent() {
    let mut machine = Machine::new();
    machine.policy(
        r#"
[[rule]]
id = "short"
effect = "permit"
operation = "infer"
target = "m"
when.args."/max_tokens" = { max = 10 }
only = ["/model", "/messages", "/max_tokens", "/n"]
"#,
    );
    let worker = machine.agent("worker");
    for (limits, passes) in [
        (r#""max_tokens":10"#, true),
        (r#""max_tokens":11"#, false),
        (r#""max_tokens":-1,"max_completion_tokens":5000"#, false),
        (r#""max_completion_tokens":10"#, true),
        (r#""max_completion_tokens":11"#, false),
        (r#""num_predict":5000"#, false),
        (r#""num_predict":5000,"max_output_tokens":4"#, true),
        (r#""max_tokens":10,"n":1"#, true),
        (r#""seed":1,"max_tokens":1"#, false),
        (r#""max_tokens":null"#, false),
    ] {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{limits}}}"#);
        let request = Request::Infer(InferRequest { request: json(&body), stream: false, price: None });
        let call = machine.dispatch(worker, request);
        match machine.effects.pop() {
            Some((ticket, Effect::Infer { request, .. })) => {
                assert!(passes, "{limits}");
                let out = ["max_tokens", "max_completion_tokens"].map(|name| request.get(name)?.as_u64());
                assert!(out.into_iter().flatten().max().unwrap() <= 10, "{request}");
                machine.complete(ticket, Completion::failed(Code::Io, "offline"));
            }
            _ => assert!(!passes && machine.replies[&call].is_err(), "{limits}"),
        }
    }
    machine.replayed();
}

#[test]
fn authorize_is_recorded_with_the_decision_that_it_gives() {
    let mut machine = Machine::new();
    machine.policy(
        "[[rule]]\nid = \"yes\"\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"pay\"\nwhen.args.\"/sum\" = { max = 5 }\n\
         [[rule]]\nid = \"never\"\neffect = \"forbid\"\noperation = \"execute\"\ntarget = \"rm\"\n",
    );
    let worker = machine.agent("worker");
    let rows = [
        ("execute", "pay", 5, true, "permit", Some("yes")),
        ("execute", "pay", 6, false, "default_deny", None),
        ("execute", "rm", 1, false, "forbid", Some("never")),
        ("fs.read", "relative", 1, false, "refused", Some("canonical")),
    ];
    for (operation, target, sum, passes, decision, rule) in rows {
        let before = used(&mut machine, worker, Dimension::Compute);
        assert_eq!(authorized(&mut machine, worker, operation, target, object! { "sum": sum }), passes);
        assert_eq!(used(&mut machine, worker, Dimension::Compute), before + 2, "asking costs one");
        let filter = AuditFilter {
            event_type: Some("authorize".into()),
            newest: true,
            limit: Some(1),
            ..AuditFilter::default()
        };
        let found = value(machine.call(Request::Audit(AuditRequest::Query(filter))));
        let entry = found.get("entries").and_then(|entries| entries.as_array()?.get(0).cloned()).unwrap();
        let text = |name| entry.get(name).and_then(Value::as_str);
        assert_eq!((text("decision"), text("rule_id")), (Some(decision), rule), "{operation} {target}");
        assert_eq!(entry.get("asked_args"), Some(&object! { "sum": sum }));
    }
    machine.replayed();
}

#[test]
fn outcomes_and_steps_count_for_the_journal_rate() {
    let config = ak_kernel::Config {
        journal_bytes_per_second: 1,
        journal_bytes_burst: 20_000,
        ..ak_kernel::Config::default()
    };
    let mut machine = Machine::with(config);
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    let worker = machine.agent("worker");
    let (_, ticket, _) = machine.effect(worker, http("GET", "https://a.example/x", &[], None));
    machine.complete(ticket, answered(30_000));
    let refused = machine.try_dispatch(worker, Request::Tools(ToolsRequest::List)).unwrap_err();
    assert_eq!(refused.code, Code::RateLimit, "the outcome was longer than the rate allows at once");
}

#[test]
fn a_request_that_is_too_long_leaves_no_record() {
    let config = ak_kernel::Config { input_bytes_max: 1_000, ..ak_kernel::Config::default() };
    let mut machine = Machine::with(config);
    let worker = machine.agent("worker");
    let long = "x".repeat(2_000);
    let requests = [
        Request::Admin(AdminRequest::Authorize {
            operation: "fs.read".into(),
            target: format!("/{long}").into(),
            args: None,
        }),
        Request::Admin(AdminRequest::Authorize {
            operation: long.clone().into(),
            target: "/x".into(),
            args: None,
        }),
        Request::File(FileRequest::Read { path: format!("/{long}").into(), bytes_max: 1 }),
        Request::Audit(AuditRequest::Log { event: long.clone().into(), details: Value::Null, subject: None }),
        Request::Tools(ToolsRequest::Call { tool: long.clone().into(), args: object! {} }),
        http("GET", &format!("https://a.example/{long}"), &[], None),
        http("GET", "https://a.example/", &[("x", &long)], None),
        alloc(&long, "1"),
        Request::Heap(HeapRequest::Batch { parts: vec![new(&long, "1")] }),
        Request::decode(Operation::AuditQuery, &object! { "target": long.as_str() }).unwrap(),
        Request::decode(Operation::CapAttenuate, &object! { "capability": "0x1", "resource": long.as_str() })
            .unwrap(),
    ];
    for request in requests {
        let records = machine.records.len();
        let refused = machine.try_dispatch(worker, request.clone()).unwrap_err();
        assert_eq!(refused.code, Code::Limit, "{request:?}");
        let new: Vec<_> = machine.records[records..].iter().map(|record| record.body.len()).collect();
        assert!(new.iter().all(|bytes| *bytes < 300), "{request:?}: {new:?}");
    }
    let patch = array![object! { "op": "add", "path": "/x", "value": long.as_str() }];
    let write =
        Request::Heap(HeapRequest::Write { handle: Handle::from_raw(1), patch, expected_version: None });
    assert_eq!(machine.try_dispatch(worker, write).unwrap_err().code, Code::Limit);
    machine.replayed();
}

#[test]
fn pending_effects_are_shared_and_some_are_reserved_for_the_owner() {
    let config =
        ak_kernel::Config { effects_max: 20, effects_per_agent_max: 6, ..ak_kernel::Config::default() };
    let mut machine = Machine::with(config);
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    let asked = || http("GET", "https://a.example/x", &[], None);
    let begun = |machine: &mut Machine, session: SessionId| {
        let before = machine.effects.len();
        let call = machine.dispatch(session, asked());
        let begun = machine.effects.len() > before;
        assert_eq!(
            machine.replies.get(&call).map(|reply| reply.as_ref().unwrap_err().code),
            (!begun).then_some(Code::Quota)
        );
        begun
    };
    let (crew, hand) = (machine.agent("crew"), machine.agent("crew/hand"));
    let of_crew = (0..10).filter(|n| begun(&mut machine, if n % 2 == 0 { crew } else { hand })).count();
    assert_eq!(of_crew, 6, "a family has one share");
    let mut others = 0;
    for name in ["b", "c", "d", "e"] {
        let session = machine.agent(name);
        others += (0..10).filter(|_| begun(&mut machine, session)).count();
    }
    assert_eq!(others, 12, "the last two are the owner's");
    assert!(begun(&mut machine, SessionId::OWNER) && begun(&mut machine, SessionId::OWNER));
    assert!(!begun(&mut machine, SessionId::OWNER));
    machine.call(Request::Audit(AuditRequest::Query(AuditFilter::default()))).unwrap();
}

#[test]
fn no_timeout_is_longer_than_the_kernels() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    let Request::Http(asked) = http("GET", "https://a.example/x", &[], None) else { panic!() };
    let asked = Request::Http(HttpRequest { timeout_ms: u64::MAX, ..asked });
    let (_, _, effect) = machine.effect(SessionId::OWNER, asked);
    let max = machine.kernel.config().http_timeout_ms_max;
    assert!(matches!(effect, Effect::Http { timeout_ms, .. } if timeout_ms == max), "{effect:?}");
}

#[test]
fn a_resend_is_charged() {
    let mut machine = Machine::new();
    machine.policy(
        "[infer]\nmodels = [\"m\"]\n[[limit]]\nid = \"two\"\noperation = \"infer\"\ntarget = \"m\"\ncount = true\nmax = 2\nper = \"24h\"\n",
    );
    let worker = machine.agent("worker");
    let body = json(r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5}"#);
    let request = Request::Infer(InferRequest { request: body, stream: false, price: None });
    let (_, ticket, _) = machine.effect(worker, request);
    assert!(matches!(machine.progress(ticket, Step::Resend), StepAnswer::Continue));
    let verdict = machine.progress(ticket, Step::Resend);
    assert!(matches!(verdict, StepAnswer::Abort(failure) if failure.code == Code::BudgetExceeded));
    let response = json(r#"{"choices":[]}"#);
    machine.complete(ticket, Completion::Inferred { response, tokens: 9 });
    assert_eq!(used(&mut machine, worker, Dimension::Tokens), 9, "its tokens count once");
    machine.replayed();
}

#[test]
fn an_agent_is_not_told_the_owners_limits_and_others_usage() {
    let mut machine = Machine::new();
    machine.policy(
        "[tools]\nallow = [\"add\"]\n[budgets]\ntool_calls = 1\n[[limit]]\nid = \"secret-limit\"\noperation = \"audit.log\"\n\
         target = \"note\"\ncount = true\nmax = 1\nper = \"24h\"\n",
    );
    let (worker, other) = (machine.agent("worker"), machine.agent("other"));
    let add = || Request::Tools(ToolsRequest::Call { tool: "add".into(), args: object! { "a": 1, "b": 1 } });
    let note =
        || Request::Audit(AuditRequest::Log { event: "note".into(), details: Value::Null, subject: None });
    machine.call_as(other, add()).unwrap();
    machine.call_as(other, note()).unwrap();
    for request in [add(), note()] {
        let failed = failure(machine.call_as(worker, request));
        assert_eq!(failed.code, Code::BudgetExceeded);
        let told = failed.to_value().to_json();
        for hidden in ["secret-limit", "main", "used\":", "limit\":", "1 used"] {
            assert!(!told.contains(hidden), "{hidden}: {told}");
        }
    }
    let owner = failure(machine.call(add()));
    assert!(owner.message.contains("main"), "the owner is told: {owner}");
    machine.replayed();
}

#[test]
fn leaves_and_snapshots_hold_nothing_of_an_erased_subject() {
    const NAME: &str = "zebedee";
    let mut machine = Machine::new();
    let session = machine.agent(NAME);
    let requests = [
        Request::Agent(AgentRequest::BudgetSet {
            dimension: Dimension::Tokens,
            limit: Some(5),
            agent: Some(NAME.into()),
        }),
        Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: Some(NAME.into()) }),
        Request::decode(Operation::CapGrant, &object! { "agent": NAME, "name": "add" }).unwrap(),
    ];
    for request in requests {
        machine.call(request).unwrap();
    }
    let own = Request::Heap(HeapRequest::TypeRegister {
        name: "t".into(),
        schema: object! { "title": "zebedee's" },
    });
    machine.call_as(session, own).unwrap();
    failure(machine.call_as(session, Request::Audit(AuditRequest::Erase { subject: NAME.into() })));
    machine.call_as(session, Request::Agent(AgentRequest::SessionClose)).unwrap();
    let (_, snapshot) = machine.erase(NAME).unwrap();
    assert_eq!(
        failure(machine.call(Request::Audit(AuditRequest::Erase { subject: NAME.into() }))).code,
        Code::NotFound
    );
    let holds = |bytes: &[u8]| bytes.windows(NAME.len()).any(|window| window == NAME.as_bytes());
    for record in &machine.records {
        assert!(!holds(&record.body), "entry {}: {}", record.seq, String::from_utf8_lossy(&record.body));
    }
    assert!(!holds(&snapshot), "{}", String::from_utf8_lossy(&snapshot));
    let found = value(machine.call(Request::Audit(AuditRequest::Query(AuditFilter::default()))));
    assert!(!found.to_json().contains(NAME), "{}", found.to_json());
}

#[test]
fn an_ask_rule_permits_no_effect() {
    let mut machine = Machine::new();
    machine.policy(
        "[http]\nallow = [\"GET https://a.example/**\"]\n[[rule]]\nid = \"ask\"\neffect = \"ask\"\noperation = \"http.get\"\n\
         target = \"https://a.example/pay/**\"\n",
    );
    let worker = machine.agent("worker");
    let call = machine.dispatch(worker, http("GET", "https://a.example/pay/x", &[], None));
    assert!(machine.effects.is_empty());
    assert_eq!(machine.replies[&call].as_ref().unwrap_err().code, Code::ApprovalRequired);
}

#[test]
fn a_batch_is_bounded() {
    let mut machine = Machine::new();
    let worker = machine.agent("worker");
    let compute = used(&mut machine, worker, Dimension::Compute);
    let parts = vec![new("note", "1"); 100_001];
    let refused = machine.try_dispatch(worker, Request::Heap(HeapRequest::Batch { parts })).unwrap_err();
    assert_eq!(refused.code, Code::Limit);
    let now = used(&mut machine, worker, Dimension::Compute);
    assert_eq!(now, compute + 1, "it was not even judged");
}

#[test]
fn a_tool_called_by_a_tool_is_charged_as_a_call() {
    let mut machine = Machine::new();
    machine.policy("[tools]\nallow = [\"*\"]");
    machine.call(relay("outer", "call", &["execute:*"])).unwrap();
    let worker = machine.agent("worker");
    machine.call_as(worker, tool("outer", r#"{"tool":"add","args":{"a":1,"b":2}}"#)).unwrap();
    assert_eq!(used(&mut machine, worker, Dimension::ToolCalls), 2);
}

const PRIVATE: &str =
    "[http]\nallow = [\"GET http://host.example/**\"]\n[net]\nconnect = [\"ip:10.0.0.0/8:80\"]\n";

/// Whether a request is permitted to connect to a private address.
fn connects(machine: &mut Machine, session: SessionId) -> bool {
    let (_, ticket, _) = machine.effect(session, http("GET", "http://host.example/", &[], None));
    let verdict = resolved(machine, ticket, "10.0.0.1");
    machine.complete(ticket, Completion::failed(Code::Io, "closed"));
    matches!(verdict, StepAnswer::Connect(open) if open.len() == 1)
}

#[test]
fn a_grant_counts_the_connections_that_it_covers() {
    let mut machine = Machine::new();
    machine.policy(PRIVATE);
    let worker = machine.agent("worker");
    grant(
        &mut machine,
        r#"{"agent":"worker","name":"http","resource":"http://host.example/**","methods":["get"]}"#,
    );
    let net =
        r#"{"agent":"worker","name":"net","resource":"ip:10.0.0.0/8:80","methods":["connect"],"rate":"1/d"}"#;
    grant(&mut machine, net);
    assert!(connects(&mut machine, worker));
    assert!(!connects(&mut machine, worker));
    machine.replayed();
}

#[test]
fn a_request_denied_by_a_used_up_capability_is_charged_to_nobody() {
    let limit = "[[limit]]\nid = \"l\"\noperation = \"connect\"\ntarget = \"ip:10.0.0.0/8:80\"\ncount = true\nmax = 2\nper = \"24h\"\n";
    let mut machine = Machine::new();
    machine.policy(&format!("{PRIVATE}{limit}"));
    let [worker, other] = ["worker", "other"].map(|name| machine.agent(name));
    grant(
        &mut machine,
        r#"{"agent":"worker","name":"http","resource":"http://host.example/**","methods":["get"]}"#,
    );
    let net = r#"{"agent":"worker","name":"net","resource":"ip:10.0.0.0/8:80","methods":["connect"],"budget":{"compute":1}}"#;
    grant(&mut machine, net);
    let connected = [worker, worker, other, other].map(|session| connects(&mut machine, session));
    assert_eq!(connected, [true, false, true, false]);
    machine.replayed();
}

#[test]
fn a_request_charges_compute_to_its_capability() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]");
    let worker = machine.agent("worker");
    grant(
        &mut machine,
        r#"{"agent":"worker","name":"fs","resource":"/data/**","methods":["read"],"budget":{"compute":2}}"#,
    );
    let mut passed = 0;
    for _ in 0..4 {
        machine.dispatch(worker, file_read("/data/x"));
        if let Some((ticket, _)) = machine.effects.pop() {
            passed += 1;
            machine.complete(ticket, Completion::File(b"x"[..].into()));
        }
    }
    assert_eq!(passed, 2);
    machine.replayed();
}

#[test]
fn a_batch_that_fails_is_charged_to_no_limit() {
    let mut machine = Machine::new();
    machine.policy(
        "[[limit]]\nid = \"few\"\noperation = \"heap.alloc\"\ntarget = \"*\"\ncount = true\nmax = 2\nper = \"24h\"\n\
         [[rule]]\nid = \"no\"\neffect = \"forbid\"\noperation = \"heap.alloc\"\ntarget = \"closed\"\n",
    );
    let worker = machine.agent("worker");
    for parts in [["closed", "note"], ["note", "closed"]] {
        let parts = parts.map(|name| new(name, "1")).to_vec();
        assert_eq!(
            failure(machine.call_as(worker, Request::Heap(HeapRequest::Batch { parts }))).code,
            Code::PolicyDeny
        );
    }
    let made = [(); 3].map(|()| machine.call_as(worker, alloc("note", "1")).is_ok());
    assert_eq!(made, [true, true, false]);
    machine.replayed();
}

#[test]
fn bytes_to_write_are_reserved_first() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nwrite = [\"/data/**\"]");
    let worker = machine.agent("worker");
    machine.limit("worker", Dimension::Bytes, 20);
    // The path counts as well.
    let written = |bytes: usize| {
        Request::File(FileRequest::Write { path: "/data/x".into(), data: vec![7; bytes].into() })
    };
    assert_eq!(failure(machine.call_as(worker, written(14))).code, Code::BudgetExceeded);
    let (_, ticket, _) = machine.effect(worker, written(13));
    machine.complete(ticket, Completion::Done);
    assert_eq!(used(&mut machine, worker, Dimension::Bytes), 13);
    machine.replayed();
}

#[test]
fn no_answer_is_longer_than_the_kernels_limit() {
    let mut machine = Machine::new();
    machine.policy("[fs]\nread = [\"/data/**\"]\n[http]\nallow = [\"GET https://a.example/**\"]");
    let config = machine.kernel.config().clone();
    let Request::Http(asked) = http("GET", "https://a.example/x", &[], None) else { panic!() };
    let asked = Request::Http(HttpRequest { response_bytes_max: u64::MAX, ..asked });
    let (_, _, effect) = machine.effect(SessionId::OWNER, asked);
    assert!(
        matches!(effect, Effect::Http { response_bytes_max, .. } if response_bytes_max == config.response_bytes_max)
    );
    let asked = Request::File(FileRequest::Read { path: "/data/x".into(), bytes_max: u64::MAX });
    let (_, _, effect) = machine.effect(SessionId::OWNER, asked);
    let Effect::File { action: FileAction::Read { bytes_max }, .. } = effect else { panic!("{effect:?}") };
    assert_eq!(bytes_max, config.input_bytes_max);
}

#[test]
fn a_proof_shows_an_agent_no_entry() {
    let mut machine = Machine::new();
    machine
        .policy("[[rule]]\nid = \"read\"\neffect = \"permit\"\noperation = \"audit.read\"\ntarget = \"*\"\n");
    let worker = machine.agent("worker");
    for (session, shown) in [(SessionId::OWNER, true), (worker, false)] {
        let (_, _, effect) = machine.effect(session, Request::Audit(AuditRequest::Prove { seq: 0 }));
        assert!(
            matches!(effect, Effect::Log(LogWork::Prove { with_entry, .. }) if with_entry == shown),
            "{effect:?}"
        );
    }
}

#[test]
fn a_module_that_the_policy_does_not_list_does_not_run() {
    let mut machine = Machine::new();
    machine.policy("[tools]\nallow = [\"*\"]\n[wasm]\nmodules = [\"other\"]\n");
    let worker = machine.agent("worker");
    let asked = tool("add", r#"{"a":1,"b":2}"#);
    assert_eq!(failure(machine.call_as(worker, asked)).code, Code::PolicyDeny);
}

#[test]
fn a_connection_counts_until_its_limit_period_ends() {
    let limit = "[[limit]]\nid = \"l\"\noperation = \"connect\"\ntarget = \"ip:10.0.0.0/8:80\"\ncount = true\nmax = 1\nper = \"1m\"\n";
    let mut machine = Machine::new();
    machine.policy(&format!("{PRIVATE}{limit}"));
    let worker = machine.agent("worker");
    assert!(connects(&mut machine, worker));
    assert!(!connects(&mut machine, worker));
    machine.sleep_ms(200_000);
    assert!(connects(&mut machine, worker), "what was set aside for the first was settled");
    machine.replayed();
}

#[test]
fn every_hop_must_be_covered_by_the_presented_capability() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    let terms = r#"{"agent":"worker","name":"http","resource":"https://a.example/r/**","methods":["get"]}"#;
    let granted = value(machine.call(Request::decode(Operation::CapGrant, &json(terms)).unwrap()));
    let text = granted.get("capability").and_then(Value::as_str).unwrap().trim_start_matches("0x");
    let capability = CapId::from_u64(u64::from_str_radix(text, 16).unwrap());
    let presented =
        PresentedCapability::new(VerifiedToken { capability, authority: [].into_iter().collect() }).unwrap();
    // The owner may ask for both; what was presented covers one of them.
    for (to, passes) in [("https://a.example/r/2", true), ("https://a.example/pay", false)] {
        let asked = http("GET", "https://a.example/r/1", &[], None).presenting(presented.clone());
        let (_, ticket, _) = machine.effect(SessionId::OWNER, asked);
        resolved(&mut machine, ticket, "93.184.216.34");
        let verdict = redirect(&mut machine, ticket, "GET", to);
        assert_eq!(matches!(verdict, StepAnswer::Follow(_)), passes, "{to}");
        machine.complete(ticket, answered(1));
    }
    machine.replayed();
}

#[test]
fn a_long_step_counts_for_the_journal_rate() {
    let config = ak_kernel::Config {
        journal_bytes_per_second: 1,
        journal_bytes_burst: 20_000,
        ..ak_kernel::Config::default()
    };
    let mut machine = Machine::with(config);
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    let worker = machine.agent("worker");
    let (_, ticket, _) = machine.effect(worker, http("GET", "https://a.example/x", &[], None));
    redirect(&mut machine, ticket, "GET", &format!("https://a.example/{}", "x".repeat(30_000)));
    let refused = machine.try_dispatch(worker, Request::Tools(ToolsRequest::List)).unwrap_err();
    assert_eq!(refused.code, Code::RateLimit);
}

#[test]
fn an_effect_that_does_not_start_is_charged_to_nobody() {
    let config = ak_kernel::Config { effects_per_agent_max: 1, ..ak_kernel::Config::default() };
    let mut machine = Machine::with(config);
    machine.policy("[fs]\nread = [\"/data/**\"]");
    let [worker, other] = ["worker", "other"].map(|name| machine.agent(name));
    machine.limit("other", Dimension::Bytes, 20);
    grant(
        &mut machine,
        r#"{"agent":"worker","name":"fs","resource":"/data/**","methods":["read"],"budget":{"bytes":20}}"#,
    );
    let asked = || Request::File(FileRequest::Read { path: "/data/x".into(), bytes_max: 10 });
    for session in [worker, other] {
        let (_, ticket, _) = machine.effect(session, asked());
        assert_eq!(failure(machine.call_as(session, asked())).code, Code::Quota);
        machine.complete(ticket, Completion::File(vec![7; 10].into()));
        let (_, ticket, _) = machine.effect(session, asked());
        machine.complete(ticket, Completion::File(vec![7; 10].into()));
        assert_eq!(failure(machine.call_as(session, asked())).code, Code::BudgetExceeded);
    }
    machine.replayed();
}

#[test]
fn a_request_denied_by_an_ancestors_capability_is_charged_to_no_other() {
    let mut machine = Machine::new();
    machine.policy(PRIVATE);
    machine.agent("crew");
    let hand = machine.agent("crew/hand");
    let net = |machine: &mut Machine, agent: &str, compute: u64| {
        grant(
            machine,
            &format!(
                r#"{{"agent":"{agent}","name":"net","resource":"ip:10.0.0.0/8:80","methods":["connect"],"budget":{{"compute":{compute}}}}}"#
            ),
        );
    };
    for (agent, compute) in [("crew", 1), ("crew/hand", 3)] {
        grant(
            &mut machine,
            &format!(
                r#"{{"agent":"{agent}","name":"http","resource":"http://host.example/**","methods":["get"]}}"#
            ),
        );
        net(&mut machine, agent, compute);
    }
    assert!(connects(&mut machine, hand));
    assert!(!connects(&mut machine, hand));
    assert!(!connects(&mut machine, hand));
    machine
        .call(Request::Agent(AgentRequest::CapRevoke { capability: CapId::from_u64(0x1_0000_0002) }))
        .unwrap();
    net(&mut machine, "crew", 5);
    assert!(connects(&mut machine, hand), "of three the hand used one");
    machine.replayed();
}

#[test]
fn random_bytes_for_a_tool_cost_compute() {
    let mut machine = Machine::new();
    machine.policy("[tools]\nallow = [\"*\"]");
    machine.call(relay("draw", "random", &["random:*"])).unwrap();
    let worker = machine.agent("worker");
    let before = used(&mut machine, worker, Dimension::Compute);
    machine.call_as(worker, tool("draw", r#"{"bytes":3}"#)).unwrap();
    let after = used(&mut machine, worker, Dimension::Compute);
    assert_eq!(after - before, 3, "the call, the bytes, and the question");
    machine.replayed();
}

#[test]
fn a_tool_calls_no_tool_that_its_agents_budget_does_not_cover() {
    let mut machine = Machine::new();
    machine.policy("[tools]\nallow = [\"*\"]");
    machine.call(relay("outer", "call", &["execute:*"])).unwrap();
    let worker = machine.agent("worker");
    machine.limit("worker", Dimension::ToolCalls, 1);
    let outer = tool("outer", r#"{"tool":"add","args":{"a":1,"b":2}}"#);
    machine.call_as(worker, outer).unwrap();
    assert_eq!(used(&mut machine, worker, Dimension::ToolCalls), 1);
    machine.replayed();
}

/// What a provider does beside answering needs a permit of its own, in a request and in `authorize`.
#[test]
fn provider_tools_are_denied_in_request_and_preview() {
    let body = json(
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5,"tools":[{"type":"mcp","server_url":"https://a"}]}"#,
    );
    let infer = Request::Infer(InferRequest { request: body.clone(), stream: false, price: None });
    let about = Request::Admin(AdminRequest::Authorize {
        operation: "infer".into(),
        target: "m".into(),
        args: Some(body),
    });
    for (policy, permitted) in [("", false), ("provider_tools = [\"mcp\"]", true), ("stateful = true", false)]
    {
        let mut machine = Machine::new();
        machine.policy(&format!("[infer]\nmodels = [\"*\"]\n{policy}"));
        let told = value(machine.call(about.clone()));
        assert_eq!(told.get("authorized").and_then(Value::as_bool), Some(permitted), "{policy}: {told}");
        let call = machine.dispatch(SessionId::OWNER, infer.clone());
        assert_eq!(machine.effects.pop().is_some(), permitted, "{policy}");
        if !permitted {
            let denial = machine.replies[&call].clone().unwrap_err().denial.unwrap();
            assert_eq!((&*denial.rule_id, &*denial.args_path), ("infer.provider_tools", "/tools/0/type"));
        }
    }
    // An agent's own permit is worth nothing where its ancestor has none.
    let mut machine = Machine::new();
    machine.policy("[infer]\nmodels = [\"*\"]\n[agent.\"crew/w\".infer]\nprovider_tools = [\"mcp\"]\n[agent.solo.infer]\nprovider_tools = [\"m*\"]");
    for (name, permitted) in [("crew/w", false), ("solo", true), ("solo/below", true)] {
        let session = machine.agent(name);
        machine.dispatch(session, infer.clone());
        assert_eq!(machine.effects.pop().is_some(), permitted, "{name}");
    }
}

/// The host reports where a link leads; the kernel trusts it in nothing else.
#[test]
fn a_link_is_followed_only_beneath_its_root_and_judged_by_its_own_path() {
    let policy = "[[fs.allow]]\npath = \"/a/**\"\nread = true\nfollow = \"beneath\"\n[fs]\nread = [\"/b/**\", \"/a-beside/**\"]\ndeny = [\"/a/secret/**\"]";
    let led = |from: &str, to: &str| {
        let mut machine = Machine::new();
        machine.policy(policy);
        let read = Request::File(FileRequest::Read { path: from.into(), bytes_max: 9 });
        let (_, ticket, effect) = machine.effect(SessionId::OWNER, read);
        let Effect::File { follows_links, .. } = effect else { panic!("{effect:?}") };
        let verdict = machine.progress(ticket, Step::Link { path: to.into() });
        machine.complete(ticket, Completion::failed(Code::Io, "it ends here"));
        machine.replayed();
        (follows_links, verdict)
    };
    assert_eq!(led("/a/x", "/a/y"), (true, StepAnswer::Continue));
    for to in ["/b/y", "/a-beside/y", "/a/secret/y", "/a/../b/y", "/a//y", "/a/./y", "a/y", "", "/", "/a/y\0"]
    {
        let (_, verdict) = led("/a/x", to);
        assert!(matches!(verdict, StepAnswer::Abort(_)), "{to:?}: {verdict:?}");
    }
    let (follows, verdict) = led("/b/x", "/b/y");
    assert!(!follows && matches!(verdict, StepAnswer::Abort(_)), "{verdict:?}");
}

/// Rules see a request to a model as it is sent, in a request and in `authorize`.
#[test]
fn the_preview_of_a_model_request_equals_what_is_sent() {
    let body =
        json(r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_completion_tokens":100}"#);
    for (max, permitted) in [(50, true), (200, false)] {
        let mut machine = Machine::new();
        machine.policy(&format!(
            "[infer]\nmax_tokens = {max}\n[[rule]]\neffect = \"permit\"\noperation = \"infer\"\ntarget = \"model:*\"\nwhen.args.\"/max_tokens\" = {{ max = 50 }}\n"
        ));
        let about = Request::Admin(AdminRequest::Authorize {
            operation: "infer".into(),
            target: "m".into(),
            args: Some(body.clone()),
        });
        let told = value(machine.call(about));
        assert_eq!(told.get("authorized").and_then(Value::as_bool), Some(permitted), "{max}: {told}");
        machine.dispatch(
            SessionId::OWNER,
            Request::Infer(InferRequest { request: body.clone(), stream: false, price: None }),
        );
        assert_eq!(machine.effects.pop().is_some(), permitted, "{max}");
    }
}
