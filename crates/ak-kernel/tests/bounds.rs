//! Bounds on the work of one request under the kernel's lock.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use ak_heap::Content;
use ak_json::{Text, Value, object};
use ak_kernel::{
    AdminRequest, AuditFilter, AuditRequest, AuthenticatedRequest, BatchPart, Code, Completion, FileRequest,
    HeapRequest, HttpRequest, HttpResponse, PreparedCompletion, Request, SessionId, ToolsRequest,
};

use support::{Machine, alloc, failure, json, value};

const OWNER: SessionId = SessionId::OWNER;

fn entries(found: &Value) -> Vec<u64> {
    let rows = found.get("entries").and_then(Value::as_array).unwrap();
    rows.iter().map(|row| row.get("seq").and_then(Value::as_u64).unwrap()).collect()
}

fn log(event: &str, text: &str, subject: Option<String>) -> Request {
    let details = object! { "text": text };
    Request::Audit(AuditRequest::Log { event: Text::from(event), details, subject: subject.map(Text::from) })
}

fn policy(text: &str) -> Request {
    Request::Admin(AdminRequest::PolicyLoad {
        text: Text::from(text),
        base_dir: None,
        files: Default::default(),
    })
}

#[test]
fn an_audit_query_continues_from_its_cursor() {
    let mut machine = Machine::new();
    let text = "x".repeat(50_000);
    for _ in 0..100 {
        machine.call_as(OWNER, log("long", &text, None)).unwrap();
    }
    let filter = AuditFilter { event_type: Some("long".into()), ..AuditFilter::default() };
    let all = |machine: &mut Machine, newest: bool| {
        let (mut seen, mut next, mut pages) = (Vec::new(), None, 0);
        loop {
            let (cursor, before) = if newest { (None, next) } else { (next, None) };
            let filter = AuditFilter { cursor, before, newest, limit: Some(10_000), ..filter.clone() };
            let found = value(machine.call_as(OWNER, Request::Audit(AuditRequest::Query(filter))));
            assert!(found.to_json().len() < 3 << 20, "a page is short");
            seen.extend(entries(&found));
            pages += 1;
            next = found.get("next").and_then(Value::as_u64);
            if next.is_none() {
                return (seen, pages);
            }
        }
    };
    for newest in [false, true] {
        let (mut seen, pages) = all(&mut machine, newest);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((seen.len(), pages > 1), (100, true), "newest first: {newest}");
    }
}

#[test]
fn an_answer_names_each_subject_once() {
    let mut machine = Machine::new();
    for number in 0..200 {
        machine.call_as(OWNER, log("e", "", Some(format!("subject-{}", number % 4)))).unwrap();
    }
    let mut sizes = Vec::new();
    for _ in 0..20 {
        value(machine.call_as(OWNER, Request::Audit(AuditRequest::Query(AuditFilter::default()))));
        let now = machine.now();
        sizes.push(machine.kernel.snapshot(now).len());
        machine.settle();
    }
    let grown: Vec<usize> = sizes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(grown.iter().all(|grown| *grown < 10_000), "{grown:?}");
}

#[test]
fn a_batch_costs_no_more_decisions_than_a_request_has_steps() {
    let mut machine = Machine::new();
    let rule = |place: usize| {
        format!("[[rule]]\neffect = \"forbid\"\noperation = \"heap.alloc\"\ntarget = \"*x{place}*\"\n")
    };
    let rules: String = (0..5_000).map(rule).collect();
    machine.call_as(OWNER, policy(&rules)).unwrap();
    let part =
        BatchPart::Alloc { type_name: "doc".into(), content: Content::Json(json("1")), links: Vec::new() };
    machine.call_as(OWNER, Request::Heap(HeapRequest::Batch { parts: vec![part.clone(); 2] })).unwrap();
    let refused =
        failure(machine.call_as(OWNER, Request::Heap(HeapRequest::Batch { parts: vec![part; 1_000] })));
    assert_eq!(refused.code, Code::Limit, "{refused:?}");
    // The next request has the full amount again.
    machine.call_as(OWNER, alloc("doc", "1")).unwrap();
}

#[test]
fn long_lists_in_conditions_are_searched_and_long_walks_are_bounded() {
    let mut machine = Machine::new();
    let names: Vec<String> = (0..20_000).map(|name| format!("\"n{name}\"")).collect();
    let text = format!(
        "[[rule]]\neffect = \"forbid\"\noperation = \"heap.alloc\"\ntarget = \"doc\"\nunless.args.\"/value/*\" = {{ in = [{}] }}\n",
        names.join(", "),
    );
    machine.call_as(OWNER, policy(&text)).unwrap();
    let doc = |name: &str, count: usize| alloc("doc", &Value::from(vec![Value::from(name); count]).to_json());
    machine.call_as(OWNER, doc("n19999", 5_000)).unwrap();
    assert_eq!(failure(machine.call_as(OWNER, doc("m", 1))).code, Code::PolicyDeny);
    assert_eq!(
        failure(machine.call_as(OWNER, doc("n1", 100_000))).code,
        Code::Limit,
        "doubt permits nothing"
    );
}

#[test]
fn a_request_with_too_many_values_or_bytes_is_rejected() {
    let mut machine = Machine::new();
    let check = |machine: &mut Machine, request: Request| {
        assert_eq!(failure(machine.call_as(OWNER, request)).code, Code::Limit);
    };
    check(&mut machine, alloc("doc", &Value::from(vec![Value::from(1); 300_000]).to_json()));
    check(&mut machine, alloc("doc", &Value::from("x".repeat(5 << 20)).to_json()));
    check(
        &mut machine,
        Request::File(FileRequest::Read { path: format!("/{}", "a".repeat(100_000)).into(), bytes_max: 9 }),
    );
    machine.call_as(OWNER, alloc("doc", &Value::from(vec![Value::from(1); 200_000]).to_json())).unwrap();
}

#[test]
fn an_input_over_its_own_limit_is_rejected() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"POST https://h/**\"]\n");
    let post = |headers: Vec<(Text, Text)>| {
        Request::Http(HttpRequest {
            method: "POST".into(),
            url: "https://h/x".into(),
            headers,
            body: None,
            response_bytes_max: 9,
            timeout_ms: 9,
        })
    };
    let headers = |count: usize, bytes: usize| {
        let header = |number| (Text::from(format!("x-{number}")), Text::from("v".repeat(bytes)));
        (0..count).map(header).collect::<Vec<_>>()
    };
    let tool = |bytes: usize| {
        Request::Tools(ToolsRequest::Register {
            manifest: object! { "name": "t" },
            module: vec![0; bytes].into(),
            env: Vec::new(),
        })
    };
    let recorded = machine.records.len();
    for (request, told) in [
        (post(headers(257, 1)), "256 headers"),
        (post(headers(2, 200 << 10)), "262144 bytes"),
        (policy(&"# words\n".repeat(600_000)), "for a request of POLICY_LOAD"),
        (tool(10 << 20), "for a request of TOOL_REGISTER"),
    ] {
        let refused = failure(machine.call_as(OWNER, request));
        assert_eq!(refused.code, Code::Limit);
        assert!(refused.message.contains(told), "{refused}");
    }
    // Only the count of throttled requests is recorded, and nothing of their content.
    let bytes: usize = machine.records[recorded..].iter().map(|record| record.body.len()).sum();
    assert!(bytes < 4_096, "{bytes}");
    machine.effect(OWNER, post(headers(256, 900)));
}

#[test]
fn prepared_forms_equal_those_that_the_kernel_computes() {
    let read = Request::File(FileRequest::Read { path: "/a/f".into(), bytes_max: 1 << 20 });
    let data: Arc<[u8]> = (0..100_000u32).map(|number| number as u8).collect();
    let write = Request::File(FileRequest::Write { path: "/a/f".into(), data: data.clone() });
    let get = Request::Http(HttpRequest {
        method: "POST".into(),
        url: "https://h/x".into(),
        headers: Vec::new(),
        body: Some(data.clone()),
        response_bytes_max: 1 << 20,
        timeout_ms: 9,
    });
    let response = HttpResponse { status: 200, headers: vec![("a".into(), "b".into())], body: data.clone() };
    let permits = "[fs]\nread = [\"/a/**\"]\nwrite = [\"/a/**\"]\n[http]\nallow = [\"POST https://h/**\"]\n";
    let steps = [
        (policy("nonsense"), None),
        (policy(permits), None),
        (read.clone(), Some(Completion::File(data.clone()))),
        // A completion of another kind than the request's.
        (read, Some(Completion::Http(response.clone()))),
        (write, Some(Completion::Done)),
        (get, Some(Completion::Http(response))),
    ];
    let run = |prepare: fn(AuthenticatedRequest) -> AuthenticatedRequest,
               prepare_end: fn(PreparedCompletion) -> PreparedCompletion| {
        let mut machine = Machine::new();
        let mut outcomes = Vec::new();
        for (request, completion) in steps.clone() {
            let call = machine.dispatch(OWNER, prepare(request.into()));
            if let Some(completion) = completion {
                let (ticket, _) = machine.effects.pop().unwrap();
                let now = machine.now();
                machine.kernel.complete(now, ticket, prepare_end(completion.into()));
                machine.settle();
            }
            outcomes.push(machine.replies[&call].clone());
        }
        let records: Vec<_> =
            machine.records.iter().map(|record| (record.leaf.clone(), record.body.clone())).collect();
        (outcomes, records)
    };
    let (outcomes, records) = run(|asked| asked, |ended| ended);
    assert_eq!(
        outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [false, true, true, false, true, true]
    );
    assert_eq!(run(AuthenticatedRequest::prepared, PreparedCompletion::prepared), (outcomes, records));
}
