//! What a request, a connection and a tool charge, and to whom.

use ak_kernel::{AgentRequest, Code, Completion, FileRequest, HeapRequest, Request, SessionId, StepAnswer};
use ak_policy::budget::Dimension;
use ak_policy::capability::CapId;

use crate::support::{Machine, alloc, failure, file_read, new, relay, tool};
use crate::{grant, http, resolved, used};

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
    // The path counts too.
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
