//! What an agent learns of other agents, of the owner and of erased subjects.

use ak_heap::Handle;
use ak_json::{Value, object};
use ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, BatchPart, Code, Effect, HeapRequest, LogWork, Operation,
    Request, SessionId, ToolsRequest,
};
use ak_policy::budget::Dimension;

use crate::authorized;
use crate::support::{Machine, alloc, failure, handle, new, value, write};

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
