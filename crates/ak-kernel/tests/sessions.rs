//! Sessions and agents: an agent may have several sessions, and guests share one account.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ak_json::Value;
use ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, Code, Config, HeapRequest, Reply, Request, SessionId,
    ToolsRequest,
};
use ak_policy::budget::Dimension;

use support::{Machine, alloc, failure, handle, value};

fn open(machine: &mut Machine, by: SessionId, name: &str) -> Result<SessionId, Code> {
    match machine.call_as(by, Request::Agent(AgentRequest::SessionOpen { agent: name.into() })) {
        Ok(Reply::Session(session)) => Ok(session),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure.code),
    }
}

#[test]
fn an_agent_has_several_sessions_and_each_is_journalled() {
    let mut machine = Machine::new();
    let (one, other) = (machine.agent("worker"), machine.agent("worker"));
    assert_ne!(one, other);
    let object = handle(machine.call_as(one, alloc("note", "1")));
    machine
        .call_as(other, Request::Heap(HeapRequest::Read { handle: object, version: None }))
        .expect("the object is the agent's");
    let limit = Request::Agent(AgentRequest::BudgetSet {
        dimension: Dimension::ToolCalls,
        limit: Some(1),
        agent: None,
    });
    machine.call_as(one, limit).unwrap();
    let filter = AuditFilter { actor: Some("worker".into()), ..AuditFilter::default() };
    let found = value(machine.call(Request::Audit(AuditRequest::Query(filter))));
    let sessions: Vec<u64> = found
        .get("entries")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter_map(|entry| entry.get("session")?.as_u64())
        .collect();
    assert_eq!(sessions, [one, other, one].map(|session| u64::from(session.number())));
    // One session ends, the other remains.
    machine.call_as(one, Request::Agent(AgentRequest::SessionClose)).unwrap();
    assert_eq!(
        machine.try_dispatch(one, Request::Tools(ToolsRequest::List)).unwrap_err().code,
        Code::InvalidArgument
    );
    machine.call_as(other, Request::Heap(HeapRequest::Read { handle: object, version: None })).unwrap();
    assert_ne!(machine.agent("worker"), one, "a number is given out once");
    machine.replayed();
}

#[test]
fn names_of_the_owner_and_of_guests_are_reserved() {
    let mut machine = Machine::new();
    for name in ["main", "main/helper", "guest", "guest/1"] {
        assert_eq!(open(&mut machine, SessionId::OWNER, name), Err(Code::InvalidArgument), "{name}");
    }
    for name in ["mainly", "guests", "a/main", "a/guest"] {
        assert!(open(&mut machine, SessionId::OWNER, name).is_ok(), "{name}");
    }
    let worker = machine.agent("worker");
    assert_eq!(open(&mut machine, worker, "other"), Err(Code::PolicyDeny), "an agent opens none");
    machine.call(Request::Agent(AgentRequest::SessionClose)).expect("it is asked for");
    machine
        .call(Request::Tools(ToolsRequest::List))
        .expect("and the owner's first session goes on all the same");
    machine.replayed();
}

#[test]
fn guests_do_not_see_each_other_and_share_one_account() {
    let mut machine = Machine::new();
    let (one, other) = (
        open(&mut machine, SessionId::GUESTS, "guest").unwrap(),
        open(&mut machine, SessionId::GUESTS, "guest").unwrap(),
    );
    // A guest has no baseline permissions.
    assert_eq!(failure(machine.call_as(one, alloc("note", "1"))).code, Code::PolicyDeny);
    machine.policy(
        "[[rule]]\nid = \"g\"\neffect = \"permit\"\noperation = \"heap.alloc\"\ntarget = \"*\"\nagent = \"guest/**\"\n\
         [[rule]]\nid = \"own\"\neffect = \"permit\"\noperation = \"heap.alloc\"\ntarget = \"*\"\nagent = \"guest\"\n\
         [agent.guest.budgets]\nheap_objects = 2\n",
    );
    machine.call_as(one, alloc("note", "1")).unwrap();
    machine.call_as(other, alloc("note", "2")).unwrap();
    for guest in [one, other] {
        assert_eq!(failure(machine.call_as(guest, alloc("note", "3"))).code, Code::BudgetExceeded);
    }
    // A guest is removed completely, and its share of the common account is free again.
    machine.call_as(one, Request::Agent(AgentRequest::SessionClose)).unwrap();
    let third = open(&mut machine, SessionId::GUESTS, "guest").unwrap();
    machine.call_as(third, alloc("note", "3")).unwrap();
    let filter = AuditFilter { event_type: Some("session_open".into()), ..AuditFilter::default() };
    let found = value(machine.call(Request::Audit(AuditRequest::Query(filter))));
    let actors: Vec<&str> = found
        .get("entries")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter_map(|entry| entry.get("actor")?.as_str())
        .map(|actor| if actor == "guest" { "guest" } else { "another" })
        .collect();
    assert_eq!(actors, ["guest"; 3], "their records are their own");
    machine.replayed();
}

#[test]
fn a_flood_of_guests_leaves_few_records() {
    let config = Config { guest_requests_per_second: 1, guest_requests_burst: 5, ..Config::default() };
    let mut machine = Machine::with(config);
    let opened = (0..50).filter(|_| open(&mut machine, SessionId::GUESTS, "guest").is_ok()).count();
    assert_eq!(opened, 5);
    assert!(machine.records.len() < 10, "{}", machine.records.len());
    machine.call(Request::Tools(ToolsRequest::List)).expect("the owner is heard");
    let worker = machine.agent("worker");
    machine.call_as(worker, Request::Tools(ToolsRequest::List)).expect("and so are agents");
}
