//! Budgets are reserved first and never exceeded.

use ak_json::Value;
use ak_kernel::{
    AgentRequest, Code, Completion, Effect, ErrorClass, HeapRequest, Kernel, Output, Reply, Request,
    SessionId, Spent, Step, StepAnswer,
};
use ak_policy::budget::Dimension;

use crate::support::{Machine, alloc, failure, file_read, handle, tool, value};
use crate::{http, infer};

fn budget(dimension: Dimension, limit: u64) -> Request {
    Request::Agent(AgentRequest::BudgetSet { dimension, limit: Some(limit), agent: None })
}

fn used(machine: &mut Machine, dimension: Dimension) -> u64 {
    let status = value(
        machine.call(Request::Agent(AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None })),
    );
    status.get(dimension.as_str()).and_then(|row| row.get("used")).and_then(Value::as_u64).unwrap()
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
            spent: Spent::from(505),
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
