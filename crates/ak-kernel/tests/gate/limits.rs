//! Limits of the kernel: lengths, pending effects, the rate of the journal.

use ak_heap::Handle;
use ak_json::{Value, array, object};
use ak_kernel::{
    AdminRequest, AuditFilter, AuditRequest, Code, Effect, FileAction, FileRequest, HeapRequest, HttpRequest,
    Operation, Request, SessionId, ToolsRequest,
};
use ak_policy::budget::Dimension;

use crate::support::{Machine, alloc, new};
use crate::{answered, http, redirect, used};

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
