//! Host calls of running tools: permitted only where both the agent and the tool's manifest permit them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use ak_json::{Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditFilter, AuditRequest, CallId, Code, Completion, Config, ENV_BYTES_MAX,
    Effect, HOST_CALLS_MAX, HttpResponse, Outcome, RANDOM_BYTES_MAX, Reply, Request, SessionId, Step,
    StepAnswer, TOOLS_NESTED_MAX, Ticket, ToolReplay, ToolRequest, ToolsRequest,
};
use ak_sandbox::{HostCall, HostOperation};
use support::{Machine, alloc, failure, handle, json, relay, tool, value};

/// A kernel with the policy, these tools, and an agent.
fn machine(policy: &str, tools: impl IntoIterator<Item = Request>) -> (Machine, SessionId) {
    let mut machine = Machine::new();
    machine.policy(policy);
    for tool in tools {
        machine.call(tool).unwrap();
    }
    let agent = machine.agent("worker");
    (machine, agent)
}

/// Calls a tool as an agent; `world` completes the effects of its host calls.
fn call(
    machine: &mut Machine,
    agent: SessionId,
    request: Request,
    world: &mut dyn FnMut(&mut Machine, Ticket, &Effect) -> Completion,
) -> Outcome {
    let (call, ticket, effect) = machine.effect(agent, request);
    machine.run_tool(ticket, effect, world);
    machine.replies[&call].clone()
}

/// Performs the effects on one file.
fn file(_: &mut Machine, _: Ticket, effect: &Effect) -> Completion {
    match effect {
        Effect::File { path, .. } => Completion::File(path.to_string().into_bytes().into()),
        other => panic!("{other:?}"),
    }
}

/// The error that the tool received.
fn denied(outcome: Outcome) -> (String, String) {
    let output = value(outcome);
    let error = output.get("output").unwrap().get("error").unwrap_or_else(|| panic!("{}", output.to_json()));
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("name"), text("message"))
}

const FILES: &str = "[fs]\nread = [\"/data/**\", \"/both/**\"]\n[tools]\nallow = [\"*\"]";

#[test]
fn a_tool_reaches_only_what_its_manifest_and_its_agent_are_permitted() {
    let (mut machine, agent) =
        machine(FILES, [relay("read", "fs_read", &["fs.read:/tool/**", "fs.read:/both/**"])]);
    let read = |path: &str| tool("read", &format!(r#"{{"path":"{path}"}}"#));
    let done = value(call(&mut machine, agent, read("/both/x"), &mut file));
    assert_eq!(done.to_json(), r#"{"output":{"ok":true,"result":{"bytes":"L2JvdGgveA"}}}"#);

    // The agent is permitted, the tool is not.
    let (name, message) = denied(call(&mut machine, agent, read("/data/x"), &mut file));
    assert_eq!(name, "CAP_SCOPE", "{message}");
    // The tool is permitted, the agent is not: a confused deputy.
    let (name, message) = denied(call(&mut machine, agent, read("/tool/x"), &mut file));
    assert_eq!(name, "POLICY_DENY", "{message}");
    // A path with `..` does not evade the pattern.
    let (name, _) = denied(call(&mut machine, agent, read("/both/../tool/x"), &mut file));
    assert_eq!(name, "POLICY_DENY");
    machine.replayed();
}

#[test]
fn the_record_of_a_host_call_names_the_tool_and_its_call() {
    let (mut machine, agent) = machine(FILES, [relay("read", "fs_read", &["fs.read:/both/**"])]);
    let (id, ticket, effect) = machine.effect(agent, tool("read", r#"{"path":"/data/secret"}"#));
    machine.run_tool(ticket, effect, &mut file);
    let filter = AuditFilter { operation: Some("FS_READ".into()), ..AuditFilter::default() };
    let rows = value(machine.call(Request::Audit(AuditRequest::Query(filter))));
    let row = rows.get("entries").unwrap().as_array().unwrap().get(0).unwrap().clone();
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!(row.get("cause").unwrap().as_u64(), Some(id.seq()), "{}", row.to_json());
    assert_eq!([text("kind"), text("actor"), text("decision")], ["step", "worker", "default_deny"]);
    assert_eq!([text("rule_id"), text("target"), text("by_tool")], ["needs", "/data/secret", "read@1.0.0"]);
    // The agent's last denial states the reason, as for a request of its own.
    let told = value(machine.call_as(agent, Request::Admin(AdminRequest::LastError)));
    assert_eq!(told.get("denial").unwrap().get("reason_code").unwrap().as_str(), Some("CAP_SCOPE"));
}

#[test]
fn a_tool_without_permissions_gets_no_host_call() {
    for (call_name, args) in [
        ("fs_read", r#"{"path":"/data/x"}"#),
        ("fs_write", r#"{"path":"/data/x","data":""}"#),
        ("fs_stat", r#"{"path":"/data/x"}"#),
        ("fs_list", r#"{"path":"/data"}"#),
        ("fs_delete", r#"{"path":"/data/x"}"#),
        ("http", r#"{"method":"GET","url":"https://a.example/"}"#),
        ("infer", r#"{"request":{"model":"m","messages":[{"role":"user","content":"x"}]}}"#),
        ("heap_read", r#"{"handle":"0x100000000"}"#),
        ("heap_write", r#"{"handle":"0x100000000","patch":[]}"#),
        ("call", r#"{"tool":"add","args":{"a":1,"b":2}}"#),
        ("now", "{}"),
        ("random", r#"{"bytes":8}"#),
    ] {
        let everything = "[fs]\nread = [\"/**\"]\nwrite = [\"/**\"]\n[http]\nallow = [\"GET https://**\"]\n\
                          [infer]\nmodels = [\"*\"]\n[tools]\nallow = [\"*\"]";
        let (mut machine, agent) = machine(everything, [relay("t", call_name, &[])]);
        let (name, message) = denied(call(&mut machine, agent, tool("t", args), &mut support::no_world));
        assert_eq!(name, "CAP_SCOPE", "{call_name}: {message}");
        machine.replayed();
    }
}

#[test]
fn a_policy_can_forbid_host_calls_by_name() {
    let policy = format!("{FILES}\n[wasm]\nmodules = [\"*\"]\nhostcalls = [\"now\"]");
    let tools = [relay("read", "fs_read", &["fs.read:/both/**"]), relay("time", "now", &["now:*"])];
    let (mut machine, agent) = machine(&policy, tools);
    let (name, message) = denied(call(&mut machine, agent, tool("read", r#"{"path":"/both/x"}"#), &mut file));
    assert_eq!(name, "POLICY_DENY", "{message}");
    let filter = AuditFilter { rule: Some("wasm.hostcalls".into()), ..AuditFilter::default() };
    let rows = value(machine.call(Request::Audit(AuditRequest::Query(filter)))).to_json();
    assert!(rows.contains("/both/x"), "{rows}");
    let time = value(call(&mut machine, agent, tool("time", "{}"), &mut file));
    assert!(time.get("output").unwrap().get("result").unwrap().as_u64().unwrap() > 1_767_000_000_000_000);
    machine.replayed();
}

#[test]
fn random_bytes_are_the_same_when_the_journal_is_executed_again() {
    let (mut machine, agent) = machine(FILES, [relay("random", "random", &["random:*"])]);
    let draw = |machine: &mut Machine, bytes: u64| {
        let request = tool("random", &format!(r#"{{"bytes":{bytes}}}"#));
        value(call(machine, agent, request, &mut file)).get("output").unwrap().clone()
    };
    let (one, two) = (draw(&mut machine, 40), draw(&mut machine, 40));
    assert_ne!(one, two);
    assert_eq!(one.get("result").unwrap().as_str().unwrap().len(), 54, "40 bytes in base64url");
    let whole = draw(&mut machine, RANDOM_BYTES_MAX);
    assert_eq!(whole.get("ok").unwrap().as_bool(), Some(true));
    let over = draw(&mut machine, RANDOM_BYTES_MAX + 1);
    assert!(over.get("error").unwrap().to_json().contains("args.bytes"), "{}", over.to_json());
    machine.replayed();
}

#[test]
fn a_redirect_is_checked_against_the_tools_permissions_too() {
    let policy = "[http]\nallow = [\"GET https://a.example/**\", \"GET https://b.example/**\"]\n[tools]\nallow = [\"*\"]";
    let (mut machine, agent) = machine(policy, [relay("get", "http", &["http.get:https://a.example/**"])]);
    let mut hops = Vec::new();
    let outcome = call(
        &mut machine,
        agent,
        tool("get", r#"{"method":"GET","url":"https://a.example/"}"#),
        &mut |machine, ticket, _| {
            for url in ["https://a.example/next", "https://b.example/"] {
                let step = Step::Redirect { method: "GET".into(), url: url.into() };
                hops.push(machine.progress(ticket, step));
            }
            Completion::Http(HttpResponse { status: 200, headers: vec![], body: Arc::from(&b""[..]) })
        },
    );
    assert!(matches!(&hops[..], [StepAnswer::Follow(_), StepAnswer::Abort(_)]), "{hops:?}");
    assert_eq!(denied(outcome).0, "CAP_SCOPE");
    machine.replayed();
}

#[test]
fn a_tools_inference_is_within_the_agents_budget() {
    let policy =
        "[infer]\nmodels = [\"*\"]\nmax_tokens = 10\n[tools]\nallow = [\"*\"]\n[budgets]\ntokens = 150";
    let (mut machine, agent) = machine(policy, [relay("ask", "infer", &["infer:gpt-*"])]);
    let ask = |model: &str| {
        let request = format!(
            r#"{{"request":{{"model":"{model}","messages":[{{"role":"user","content":"x"}}],"max_tokens":99}}}}"#
        );
        tool("ask", &request)
    };
    let answer = &mut |_: &mut Machine, _: Ticket, effect: &Effect| {
        let Effect::Infer { request, stream: false, .. } = effect else { panic!("{effect:?}") };
        assert_eq!(request.get("max_tokens").unwrap().as_u64(), Some(10), "clamped");
        Completion::Inferred { response: object! { "choices": Vec::new() }, tokens: 120 }
    };
    let done = value(call(&mut machine, agent, ask("gpt-4"), answer));
    assert_eq!(
        done.to_json(),
        r#"{"output":{"ok":true,"result":{"choices":[],"usage":{"estimated":true}}}}"#
    );
    assert_eq!(denied(call(&mut machine, agent, ask("claude"), answer)).0, "CAP_SCOPE");
    assert_eq!(denied(call(&mut machine, agent, ask("gpt-4"), answer)).0, "BUDGET_EXCEEDED");
    for wrong in [r#"{"request":{},"stream":true}"#, r#"{"request":{},"price":{"input":0,"output":0}}"#] {
        assert_eq!(denied(call(&mut machine, agent, tool("ask", wrong), answer)).0, "INVALID_ARGUMENT");
    }
    machine.replayed();
}

#[test]
fn a_tool_reads_and_writes_its_agents_objects_alone() {
    let tools =
        [relay("read", "heap_read", &["heap.read:*"]), relay("write", "heap_write", &["heap.write:*"])];
    let (mut machine, agent) = machine("[tools]\nallow = [\"*\"]", tools);
    let own = handle(machine.call_as(agent, alloc("counter", r#"{"value":1}"#)));
    let others = handle(machine.call(alloc("counter", r#"{"value":2}"#)));
    let write = tool(
        "write",
        &format!(r#"{{"handle":"{own}","patch":[{{"op":"replace","path":"/value","value":5}}]}}"#),
    );
    let written = value(call(&mut machine, agent, write, &mut support::no_world));
    assert_eq!(written.to_json(), r#"{"output":{"ok":true,"result":{"version":1}}}"#);
    let read = |handle| tool("read", &format!(r#"{{"handle":"{handle}"}}"#));
    let seen = value(call(&mut machine, agent, read(own), &mut support::no_world));
    assert_eq!(seen.to_json(), r#"{"output":{"ok":true,"result":{"value":{"value":5}}}}"#);
    assert_ne!(denied(call(&mut machine, agent, read(others), &mut support::no_world)).0, "");
    machine.replayed();
}

#[test]
fn a_called_tool_has_no_permission_that_its_caller_lacks() {
    let tools = [
        relay("outer", "call", &["execute:inner", "fs.read:/both/a"]),
        relay("inner", "fs_read", &["fs.read:/both/**"]),
    ];
    let (mut machine, agent) = machine(FILES, tools);
    let through = |path: &str| tool("outer", &format!(r#"{{"tool":"inner","args":{{"path":"{path}"}}}}"#));
    let done = value(call(&mut machine, agent, through("/both/a"), &mut file)).to_json();
    assert!(done.contains(r#""ok":true,"result":{"output":{"ok":true"#), "{done}");
    let refused = value(call(&mut machine, agent, through("/both/b"), &mut file)).to_json();
    assert!(refused.contains("CAP_SCOPE"), "{refused}");
    // The needs of `outer` do not include `add`.
    let other = tool("outer", r#"{"tool":"add","args":{"a":1,"b":2}}"#);
    assert_eq!(denied(call(&mut machine, agent, other, &mut file)).0, "CAP_SCOPE");
    machine.replayed();
}

/// Arguments for a tool that calls itself to this depth, and then an unknown tool.
fn nested(depth: usize) -> String {
    (0..depth).fold("{}".to_owned(), |args, _| format!(r#"{{"tool":"again","args":{args}}}"#))
}

#[test]
fn the_depth_of_nested_tool_calls_is_limited() {
    let (mut machine, agent) = machine("[tools]\nallow = [\"*\"]", [relay("again", "call", &["execute:*"])]);
    let deep =
        value(call(&mut machine, agent, tool("again", &nested(TOOLS_NESTED_MAX)), &mut file)).to_json();
    assert!(deep.contains(r#""name":"LIMIT""#), "{deep}");
    let less =
        value(call(&mut machine, agent, tool("again", &nested(TOOLS_NESTED_MAX - 1)), &mut file)).to_json();
    assert!(!less.contains("LIMIT"), "{less}");
    machine.replayed();
}

/// The fuel that a tool in these tests has left when it makes a host call.
const FUEL: u64 = 1_000_000;

fn host_call(operation: HostOperation, args: &str) -> ToolRequest {
    ToolRequest::of(HostCall { operation, args: json(args) }, FUEL).unwrap()
}

fn code(machine: &Machine, call: CallId) -> Option<Code> {
    machine.replies[&call].as_ref().err().map(|failure| failure.code)
}

#[test]
fn the_host_calls_of_one_call_are_limited() {
    let tools = [relay("outer", "call", &["execute:inner", "now:*"]), relay("inner", "now", &["now:*"])];
    let (mut machine, agent) = machine("[tools]\nallow = [\"*\"]", tools);
    let (_, outer, _) = machine.effect(agent, tool("outer", r#"{"tool":"inner","args":{}}"#));
    let first = machine.host_call(outer, host_call(HostOperation::Call, r#"{"tool":"inner","args":{}}"#));
    let (inner, _) = machine.effects.pop().unwrap();
    assert_eq!(inner.cause(), first.seq());
    for _ in 1..HOST_CALLS_MAX {
        let asked = machine.host_call(inner, host_call(HostOperation::Now, "{}"));
        assert_eq!(code(&machine, asked), None);
    }
    for ticket in [inner, outer] {
        let over = machine.host_call(ticket, host_call(HostOperation::Now, "{}"));
        assert_eq!(code(&machine, over), Some(Code::Limit));
    }
    // Another call has its own count.
    let (_, other, _) = machine.effect(agent, tool("inner", "{}"));
    let asked = machine.host_call(other, host_call(HostOperation::Now, "{}"));
    assert_eq!(code(&machine, asked), None);
}

#[test]
fn a_nested_tool_consumes_the_outer_tools_fuel() {
    let tools = [relay("outer", "call", &["execute:add"])];
    let (mut machine, agent) = machine("[tools]\nallow = [\"*\"]", tools);
    let (_, outer, _) = machine.effect(agent, tool("outer", "{}"));
    machine.host_call(outer, host_call(HostOperation::Call, r#"{"tool":"add","args":{"a":1,"b":2}}"#));
    let Some((_, Effect::RunTool { limits, .. })) = machine.effects.pop() else { panic!("a tool runs") };
    assert_eq!(limits.fuel, FUEL, "what the outer one has left");

    let cpu = |machine: &mut Machine| {
        let status = value(
            machine
                .call_as(agent, Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None })),
        );
        status.get("cpu").unwrap().get("used").unwrap().as_u64().unwrap()
    };
    let alone = {
        machine.call_as(agent, tool("add", r#"{"a":1,"b":2}"#)).unwrap();
        cpu(&mut machine)
    };
    let through = tool("outer", r#"{"tool":"add","args":{"a":1,"b":2}}"#);
    let reply = value(call(&mut machine, agent, through, &mut file)).to_json();
    assert!(reply.contains(&format!(r#""fuel":{alone}"#)), "{reply}");
    let both = cpu(&mut machine) - alone;
    assert!(both > alone && both < 2 * alone + 10_000, "{both} and {alone}");
    machine.replayed_with(ToolReplay::Recorded);
}

#[test]
fn a_fuel_budget_is_enforced() {
    let (mut machine, agent) = machine("[tools]\nallow = [\"*\"]", []);
    let add = || tool("add", r#"{"a":1,"b":2}"#);
    let limit = |machine: &mut Machine, limit| {
        let dimension = ak_policy::budget::Dimension::Cpu;
        machine
            .call(Request::Agent(AgentRequest::BudgetSet {
                dimension,
                limit: Some(limit),
                agent: Some("worker".into()),
            }))
            .unwrap();
    };
    limit(&mut machine, 0);
    assert_eq!(support::failure(machine.call_as(agent, add())).code, Code::BudgetExceeded);
    limit(&mut machine, 100);
    let failed = support::failure(machine.call_as(agent, add()));
    assert!(failed.code == Code::ToolFail && failed.message.contains("the limit is 100"), "{failed}");
    assert_eq!(support::failure(machine.call_as(agent, add())).code, Code::BudgetExceeded, "it is used up");
    limit(&mut machine, 10_000_000);
    machine.call_as(agent, add()).unwrap();
    machine.replayed();
}

#[test]
fn only_a_running_tool_makes_host_calls() {
    let (mut machine, agent) = machine(FILES, [relay("read", "fs_read", &["fs.read:/both/**", "now:*"])]);
    let now = || host_call(HostOperation::Now, "{}");
    let (_, ticket, _) = machine.effect(agent, support::file_read("/both/x"));
    let asked = machine.host_call(ticket, now());
    assert_eq!(code(&machine, asked), Some(Code::InvalidArgument), "an effect that is no tool");
    machine.complete(ticket, Completion::File(Arc::from(&b""[..])));
    let asked = machine.host_call(ticket, now());
    assert_eq!(code(&machine, asked), Some(Code::Replay), "a ticket that is used up");

    // The effect of a host call may outlive the tool, which makes no further host calls.
    let (_, outer, _) = machine.effect(agent, tool("read", r#"{"path":"/both/x"}"#));
    let asked = machine.host_call(outer, host_call(HostOperation::FsRead, r#"{"path":"/both/x"}"#));
    let (inner, _) = machine.effects.pop().unwrap();
    machine.complete(outer, Completion::Unknown);
    machine.complete(inner, Completion::File(Arc::from(&b""[..])));
    assert!(matches!(machine.replies[&asked], Ok(Reply::Bytes(_))));
    assert_eq!(machine.kernel.tickets(), []);
    machine.replayed_with(ToolReplay::Recorded);
}

#[test]
fn a_tool_past_its_deadline_gets_no_host_call() {
    let (mut machine, agent) =
        machine(&format!("{FILES}\n[budgets]\nwall_time_ms = 1000"), [relay("time", "now", &["now:*"])]);
    let (_, ticket, _) = machine.effect(agent, tool("time", "{}"));
    assert!(machine.kernel.time_left_of(ticket).is_some());
    machine.sleep_ms(2_000);
    let now = machine.now();
    machine.kernel.handle_timeout(now);
    machine.settle();
    let asked = machine.host_call(ticket, host_call(HostOperation::Now, "{}"));
    assert_eq!(code(&machine, asked), Some(Code::BudgetExceeded));
}

#[test]
fn one_agents_deadline_does_not_bind_another() {
    let (mut machine, agent) = machine(FILES, []);
    let other = machine.agent("other");
    let dimension = ak_policy::budget::Dimension::WallTimeMs;
    machine
        .call(Request::Agent(AgentRequest::BudgetSet {
            dimension,
            limit: Some(100),
            agent: Some("other".into()),
        }))
        .unwrap();
    let (_, ticket, _) = machine.effect(agent, support::file_read("/both/x"));
    let (_, others, _) = machine.effect(other, support::file_read("/both/x"));
    assert!(machine.kernel.time_left_of(others).is_some());
    assert_eq!(machine.kernel.time_left_of(ticket), None);
}

#[test]
fn a_snapshot_holds_running_tools() {
    let tools = [
        relay("outer", "call", &["execute:inner", "fs.read:/both/**"]),
        relay("inner", "fs_read", &["fs.read:/both/**"]),
    ];
    let (mut machine, agent) = machine(FILES, tools);
    let (call, outer, _) = machine.effect(agent, tool("outer", "{}"));
    machine.host_call(outer, host_call(HostOperation::Call, r#"{"tool":"inner","args":{}}"#));
    let (inner, _) = machine.effects.pop().unwrap();
    machine.host_call(inner, host_call(HostOperation::FsRead, r#"{"path":"/both/x"}"#));
    let (read, _) = machine.effects.pop().unwrap();
    let at = machine.kernel.entries();
    let snapshot = machine.snapshot();
    machine.complete(read, Completion::File(Arc::from(&b"x"[..])));
    machine.complete(inner, Completion::Tool { output: object! {}, fuel: 7, log: "".into() });
    let over = machine.host_call(outer, host_call(HostOperation::FsRead, r#"{"path":"/data/x"}"#));
    assert_eq!(code(&machine, over), Some(Code::CapScope));
    machine.complete(outer, Completion::Tool { output: object! {}, fuel: 9, log: "".into() });
    assert!(machine.replies[&call].is_ok());

    let mut replay = ak_kernel::Replay::resume(&snapshot, ToolReplay::Rerun).unwrap();
    for record in &machine.records[at as usize..] {
        replay.feed(&record.leaf, &record.body).unwrap();
    }
    assert_eq!(replay.finish().unwrap().state_digest(), machine.kernel.state_digest());
}

#[test]
fn a_rerun_tool_must_make_the_same_host_calls() {
    let (mut machine, agent) = machine(FILES, [relay("read", "fs_read", &["fs.read:/both/**"])]);
    let (_, ticket, _) = machine.effect(agent, tool("read", r#"{"path":"/both/x"}"#));
    // The host reports another host call than the tool made.
    machine.host_call(ticket, host_call(HostOperation::FsRead, r#"{"path":"/both/y"}"#));
    let (inner, _) = machine.effects.pop().unwrap();
    machine.complete(inner, Completion::File(Arc::from(&b"x"[..])));
    machine.complete(ticket, Completion::Tool { output: json(r#"{"ok":true}"#), fuel: 9, log: "".into() });
    let replayed = |tools| {
        let mut replay = ak_kernel::Replay::new(tools);
        machine.records.iter().try_for_each(|record| replay.feed(&record.leaf, &record.body).map(|_| ()))
    };
    replayed(ToolReplay::Recorded).unwrap();
    let error = replayed(ToolReplay::Rerun).unwrap_err();
    assert!(error.reason.contains("/both/x") && error.reason.contains("/both/y"), "{error}");
}

#[test]
fn host_calls_that_the_policy_forbids_count_too() {
    let policy = "[tools]\nallow = [\"*\"]\n[wasm]\nhostcalls = [\"call\"]";
    let (mut machine, agent) = machine(policy, [relay("time", "now", &["now:*"])]);
    let (_, ticket, _) = machine.effect(agent, tool("time", "{}"));
    for _ in 0..HOST_CALLS_MAX {
        let asked = machine.host_call(ticket, host_call(HostOperation::Now, "{}"));
        assert_eq!(code(&machine, asked), Some(Code::PolicyDeny));
    }
    let more = machine.host_call(ticket, host_call(HostOperation::Now, "{}"));
    assert_eq!(code(&machine, more), Some(Code::Limit));
}

#[test]
fn host_calls_are_within_the_agents_rates() {
    let config = Config { journal_bytes_burst: 20_000, journal_bytes_per_second: 1_000, ..Config::default() };
    for (operation, args) in [
        (HostOperation::Now, "{}".to_owned()),
        (HostOperation::Infer, format!(r#"{{"request":{{"model":"m","x":"{}"}}}}"#, "x".repeat(9_000))),
    ] {
        let mut machine = Machine::with(config.clone());
        machine.policy("[tools]\nallow = [\"*\"]");
        machine.call(relay("ask", "infer", &["now:*"])).unwrap();
        let agent = machine.agent("worker");
        let (_, ticket, _) = machine.effect(agent, tool("ask", "{}"));
        let before: usize = machine.records.iter().map(|record| record.body.len()).sum();
        let refused = (0..HOST_CALLS_MAX)
            .find_map(|_| machine.try_host_call(ticket, host_call(operation, &args)).err())
            .expect("it asks too often");
        assert_eq!(refused.code, Code::RateLimit);
        let after: usize = machine.records.iter().map(|record| record.body.len()).sum();
        assert!(after - before < 40_000, "{} bytes", after - before);
        // It may try again later.
        let wait = refused.context.get("retry_after_ms").unwrap().as_u64().unwrap();
        machine.sleep_ms(wait);
        machine.host_call(ticket, host_call(HostOperation::Now, "{}"));
        machine.complete(ticket, Completion::Unknown);
        machine.replayed_with(ToolReplay::Recorded);
    }
}

#[test]
fn a_tool_run_by_the_owner_gets_no_owner_rights() {
    let policy = "[tools]\nallow = [\"*\"]\n[http]\nallow = [\"POST https://**\"]\n[[rule]]\neffect = \"forbid\"\n\
                  operation = \"http.post\"\ntarget = \"https://**\"\nwhen.label = \"untrusted\"";
    let tools = [
        relay("read", "heap_read", &["heap.read:*"]),
        relay("send", "http", &["http.post:https://**"]),
        relay("open", "fs_read", &["fs.read:/**"]),
    ];
    let (mut machine, agent) = machine(policy, tools);
    // It cannot read an agent's objects.
    let agents = handle(machine.call_as(agent, alloc("note", r#"{"secret":1}"#)));
    let read = |handle| tool("read", &format!(r#"{{"handle":"{handle}"}}"#));
    assert_eq!(denied(call(&mut machine, SessionId::OWNER, read(agents), &mut file)).0, "NOT_FOUND");
    let own = handle(machine.call(alloc("note", r#"{"mine":1}"#)));
    assert!(value(call(&mut machine, SessionId::OWNER, read(own), &mut file)).to_json().contains("mine"));
    // Data that it sends is untrusted.
    let send = tool("send", r#"{"method":"POST","url":"https://a.example/"}"#);
    assert_eq!(denied(call(&mut machine, SessionId::OWNER, send, &mut file)).0, "POLICY_DENY");
    // It learns no more than an agent.
    let open = value(call(&mut machine, SessionId::OWNER, tool("open", r#"{"path":"/x"}"#), &mut file));
    assert!(open.to_json().contains(r#""suggested_snippet":"""#), "{}", open.to_json());
    machine.replayed();
}

#[test]
fn a_tool_reaches_a_private_address_that_its_manifest_names() {
    let policy = "[tools]\nallow = [\"*\"]\n[http]\nallow = [\"GET https://**\"]\n[net]\nconnect = [\"ip:10.0.0.5:443\"]";
    for (url, needs, open) in [
        ("https://evil.example/", &["http.get:https://evil.example/**"][..], false),
        ("https://evil.example/", &["http.get:https://evil.example/**", "connect:ip:10.0.0.5:443"], true),
        ("https://evil.example/", &["http.get:https://evil.example/**", "connect:ip:10.0.0.6:443"], false),
        ("https://10.0.0.5/", &["http.get:https://10.0.0.5/**"], true),
    ] {
        let (mut machine, agent) = machine(policy, [relay("get", "http", needs)]);
        let (_, ticket, _) = machine.effect(agent, tool("get", "{}"));
        let args = format!(r#"{{"method":"GET","url":"{url}"}}"#);
        machine.host_call(ticket, host_call(HostOperation::Http, &args));
        let (inner, _) = machine.effects.pop().unwrap();
        let verdict = machine.progress(inner, Step::Resolved(vec!["10.0.0.5".parse().unwrap()]));
        assert_eq!(matches!(verdict, StepAnswer::Connect(_)), open, "{url} {needs:?}: {verdict:?}");
    }
}

#[test]
fn a_tool_that_the_policy_no_longer_permits_gets_no_host_call() {
    let files = "[fs]\nread = [\"/data/**\"]\n";
    for taken in [
        "[tools]\nallow = [\"*\"]\ndeny = [\"read\"]",
        "[tools]\nallow = [\"*\"]\n[wasm]\nmodules = [\"add\"]",
        "[tools]\nallow = [\"add\"]",
    ] {
        let before = format!("{files}[tools]\nallow = [\"*\"]");
        let (mut machine, agent) = machine(&before, [relay("read", "fs_read", &["fs.read:/data/**"])]);
        let (_, ticket, _) = machine.effect(agent, tool("read", "{}"));
        machine.policy(&format!("{files}{taken}"));
        let asked = machine.host_call(ticket, host_call(HostOperation::FsRead, r#"{"path":"/data/x"}"#));
        assert_eq!(code(&machine, asked), Some(Code::PolicyDeny), "{taken}");
    }
}

#[test]
fn a_running_tool_outlives_a_used_up_rate_and_not_an_expired_grant() {
    let policy = "[fs]\nread = [\"/data/**\"]\n[[capability]]\nname = \"read\"\nresource = \"*\"\nmethods = [\"execute\"]\n\
                  expires_minutes = 1\nrate = \"1/min\"";
    let (mut machine, _) = machine(policy, [relay("read", "fs_read", &["fs.read:/data/**"])]);
    let read = || tool("read", r#"{"path":"/data/x"}"#);
    let (_, ticket, _) = machine.effect(SessionId::OWNER, read());
    assert_eq!(support::failure(machine.call(read())).code, Code::CapRate);
    let ask = || host_call(HostOperation::FsRead, r#"{"path":"/data/x"}"#);
    let asked = machine.host_call(ticket, ask());
    assert_eq!(machine.effects.pop().map(|(inner, _)| inner.cause()), Some(asked.seq()));
    machine.sleep_ms(61_000);
    let asked = machine.host_call(ticket, ask());
    assert_eq!(code(&machine, asked), Some(Code::PolicyDeny));
}

#[test]
fn a_journal_with_deep_tool_arguments_is_read() {
    let mut machine = Machine::with(Config { json_depth_max: 16, ..Config::default() });
    machine.policy("[tools]\nallow = [\"*\"]");
    machine.call(relay("ask", "infer", &[])).unwrap();
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let (_, ticket, _) = machine.effect(SessionId::OWNER, tool("ask", "{}"));
    machine.host_call(ticket, host_call(HostOperation::Infer, &format!(r#"{{"request":{deep}}}"#)));
    machine.complete(ticket, Completion::Unknown);
    machine.replayed_with(ToolReplay::Recorded);
}

#[test]
fn permissions_and_variables_are_bounded() {
    let mut machine = Machine::new();
    let needs: Vec<String> =
        (0..=ak_sandbox::LISTED_MAX).map(|number| format!("fs.read:/{number}/x")).collect();
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    machine.call(relay("t", "now", &needs[1..])).unwrap();
    let failure = support::failure(machine.call(relay("t", "now", &needs)));
    assert!(failure.message.contains("at most 256"), "{failure}");
    let long = format!("fs.read:/{}", "x".repeat(ak_sandbox::LISTED_BYTES_MAX));
    assert_eq!(support::failure(machine.call(relay("t", "now", &[&long]))).code, Code::InvalidArgument);

    let with_env = |bytes: usize| {
        let Request::Tools(ToolsRequest::Register { manifest, module, .. }) = relay("t", "now", &[]) else {
            panic!()
        };
        let mut members = manifest.as_object().cloned().unwrap();
        members.insert("env", vec![Value::from("A")]);
        let env =
            vec![("A".into(), "x".repeat(bytes - 1).as_str().into()), ("B".into(), "not listed".into())];
        Request::Tools(ToolsRequest::Register { manifest: members.into(), module, env })
    };
    machine.call(with_env(ENV_BYTES_MAX)).unwrap();
    assert_eq!(support::failure(machine.call(with_env(ENV_BYTES_MAX + 1))).code, Code::InvalidArgument);
    machine.replayed();
}

/// A command that returns its second argument as text.
fn second_argument(args: &[&str]) -> Request {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $at i32)
          (drop (call $args (i32.const 64) (i32.const 1000)))
          (local.set $at (i32.load (i32.const 72)))
          (i32.store8 (i32.sub (local.get $at) (i32.const 1)) (i32.const 34))
          (i32.store8 (i32.add (local.get $at) (i32.const 3)) (i32.const 34))
          (i32.store (i32.const 0) (i32.sub (local.get $at) (i32.const 1)))
          (i32.store (i32.const 4) (i32.const 5))
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let module = wat::parse_str(wat).unwrap();
    let args: Vec<Value> = args.iter().map(|text| Value::from(*text)).collect();
    let manifest = object! {
        "name": "second", "version": "1.0.0", "abi": "wasi", "args": args,
        "sha256": format!("{}", ak_kernel::ak_json::sha256(&module)),
    };
    Request::Tools(ToolsRequest::Register { manifest, module: module.into(), env: Vec::new() })
}

#[test]
fn arguments_of_a_command_are_those_it_was_registered_with() {
    let mut machine = Machine::new();
    machine.policy("[tools]\nallow = [\"*\"]");
    let tool_digest =
        |outcome: Outcome| value(outcome).get("digest").and_then(Value::as_str).unwrap().to_string();
    let first = tool_digest(machine.call(second_argument(&["--unit", "abc"])));
    let output = |outcome: Outcome| value(outcome).get("output").cloned().unwrap();
    assert_eq!(output(machine.call(tool("second", "{}"))), Value::from("abc"));
    // Other arguments make another tool.
    assert_ne!(tool_digest(machine.call(second_argument(&["--unit", "xyz"]))), first);
    assert_eq!(output(machine.call(tool("second", "{}"))), Value::from("xyz"));
    machine.replayed();
    // A snapshot contains the arguments.
    let at = machine.kernel.entries();
    let snapshot = machine.snapshot();
    assert_eq!(output(machine.call(tool("second", "{}"))), Value::from("xyz"));
    let mut replay = ak_kernel::Replay::resume(&snapshot, ToolReplay::Rerun).unwrap();
    for record in &machine.records[at as usize..] {
        replay.feed(&record.leaf, &record.body).unwrap();
    }
    let list: Vec<String> = vec!["x".repeat(4_000); 17];
    let too_long: Vec<&str> = list.iter().map(String::as_str).collect();
    let failure = support::failure(machine.call(second_argument(&too_long)));
    assert!(
        failure.code == Code::InvalidArgument && failure.message.contains("at /args: must be at most 65536"),
        "{failure}"
    );
}

#[test]
fn unjudged_patterns_of_tool_schemas_are_named() {
    let mut machine = Machine::new();
    let with_input = |input: &str| {
        let Request::Tools(ToolsRequest::Register { manifest, module, env }) = relay("t", "now", &[]) else {
            panic!()
        };
        let mut members = manifest.as_object().cloned().unwrap();
        members.insert("input", json(input));
        Request::Tools(ToolsRequest::Register { manifest: members.into(), module, env })
    };
    let named = |reply: &Value| reply.get("unjudged").map(Value::to_json);
    let draft_7 =
        r#"{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"a":{"format":"uri"}}}"#;
    assert_eq!(named(&support::value(machine.call(with_input(draft_7)))), None);
    let reply = support::value(machine.call(with_input(r#"{"items":{"pattern":"a(?=b)"}}"#)));
    let expected = r#"[{"path":"/input/items/pattern","pattern":"a(?=b)"}]"#;
    assert_eq!(named(&reply).as_deref(), Some(expected));
    machine.replayed();
}

#[test]
fn a_malformed_permission_in_a_manifest_is_named() {
    let mut machine = Machine::new();
    for need in ["fs.raed:/x", "http.get:nowhere", "now:1"] {
        let failure = support::failure(machine.call(relay("t", "now", &[need])));
        assert!(failure.code == Code::InvalidArgument && failure.message.contains(need), "{failure}");
    }
}

/// The bounds on requests of sessions hold for host calls too.
#[test]
fn a_host_call_that_is_too_long_is_refused() {
    let policy = "[infer]\nmodels = [\"*\"]\n[tools]\nallow = [\"*\"]\n";
    let (mut machine, agent) = machine(policy, [relay("ask", "infer", &["infer:*"])]);
    let (_, ticket, _) = machine.effect(agent, tool("ask", "{}"));
    let ask = |values: usize| {
        let list = vec!["1"; values].join(",");
        let args = format!(
            r#"{{"request":{{"model":"m","messages":[{{"role":"user","content":"x"}}],"bad_words":[{list}],"max_tokens":1}}}}"#
        );
        ToolRequest::of(HostCall { operation: HostOperation::Infer, args: json(&args) }, 1_000).unwrap()
    };
    let call = machine.host_call(ticket, ask(300_000));
    assert_eq!(failure(machine.replies[&call].clone()).code, Code::Limit);
    assert!(machine.effects.is_empty());
    machine.host_call(ticket, ask(100));
    assert_eq!(machine.effects.len(), 1);
    machine.replayed_with(ToolReplay::Recorded);
}
