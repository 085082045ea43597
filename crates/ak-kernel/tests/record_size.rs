//! The record size reserved for a request bounds what is recorded of it, whatever its host reports.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;

use ak_heap::{Content, Handle, Target};
use ak_json::{Object, Pointer, Text, Value, object};
use ak_kernel::{
    ADDRESSES_MAX, AdminRequest, AgentRequest, AuditFilter, AuditRequest, AuthenticatedRequest, BatchPart,
    CapabilitySpec, Code, Completion, Config, Effect, FILE_STEPS_BYTES_MAX, FileRequest,
    HTTP_STEPS_BYTES_MAX, HeapRequest, HttpRequest, HttpResponse, InferRequest, Kernel, LISTING_BYTES_MAX,
    OUTCOME_BYTES_MAX, PolicyFile, PolicyFiles, RESPONSE_HEAD_BYTES_MAX, Record, Request, SessionId, Spent,
    Step, StepAnswer, Ticket, ToolRequest, ToolRun, ToolStep, ToolsRequest,
};
use ak_policy::{budget::Dimension, capability::CapId};
use proptest::{prelude::*, test_runner::Config as Cases};

use support::{Machine, alloc, failure, handle, json, relay};

const POLICY: &str = r#"
[[rule]]
effect = "permit"
operation = ["fs.read", "fs.write", "fs.list", "fs.stat", "fs.delete"]
target = "/data/**"
follow = "beneath"

[[rule]]
effect = "permit"
operation = ["http.get", "http.post"]
target = "https://a.example/**"

[[rule]]
effect = "permit"
operation = "infer"
target = "*"

[[rule]]
effect = "permit"
operation = "execute"
target = "*"
"#;

/// Small limits, so that data over them is generated fast.
fn config() -> Config {
    Config {
        input_bytes_max: 512 << 10,
        response_bytes_max: 128 << 10,
        tool_output_bytes_max: 64 << 10,
        ..Config::default()
    }
}

/// The bytes that a record takes in a journal as a batch of its own: docs/audit-format.md.
fn journal_bytes(record: &Record) -> u64 {
    const FRAME: usize = 9;
    let seal = if record.subjects.is_empty() { 1 } else { 3 + 8 * record.subjects.len() + 16 };
    let payload = 4 + record.leaf.len() + seal + record.body.len();
    let closing = (FRAME + 8) + (FRAME + 56) + (FRAME + 8);
    (FRAME + payload + closing) as u64
}

/// The number of each kind of request. A new kind does not compile until it is listed here, and is not covered
/// until `request` makes it.
fn number(request: &Request) -> usize {
    match request {
        Request::Heap(HeapRequest::Alloc { .. }) => 0,
        Request::Heap(HeapRequest::Read { .. }) => 1,
        Request::Heap(HeapRequest::Stat { .. }) => 2,
        Request::Heap(HeapRequest::Write { .. }) => 3,
        Request::Heap(HeapRequest::Delete { .. }) => 4,
        Request::Heap(HeapRequest::Query { .. }) => 5,
        Request::Heap(HeapRequest::Batch { .. }) => 6,
        Request::Heap(HeapRequest::TypeRegister { .. }) => 7,
        Request::Heap(HeapRequest::TypeUnregister { .. }) => 8,
        Request::Tools(ToolsRequest::Call { .. }) => 9,
        Request::Infer(InferRequest { .. }) => 10,
        Request::Admin(AdminRequest::LastError) => 11,
        Request::Admin(AdminRequest::Authorize { .. }) => 12,
        Request::File(FileRequest::Read { .. }) => 13,
        Request::File(FileRequest::Write { .. }) => 14,
        Request::File(FileRequest::List { .. }) => 15,
        Request::File(FileRequest::Stat { .. }) => 16,
        Request::File(FileRequest::Delete { .. }) => 17,
        Request::Http(_) => 18,
        Request::Admin(AdminRequest::PolicyLoad { .. }) => 19,
        Request::Agent(AgentRequest::BudgetSet { .. }) => 20,
        Request::Agent(AgentRequest::BudgetStatus { .. }) => 21,
        Request::Agent(AgentRequest::CapGrant { .. }) => 22,
        Request::Agent(AgentRequest::CapAttenuate { .. }) => 23,
        Request::Agent(AgentRequest::CapRevoke { .. }) => 24,
        Request::Agent(AgentRequest::CapToken { .. }) => 25,
        Request::Audit(AuditRequest::Log { .. }) => 26,
        Request::Audit(AuditRequest::Query(_)) => 27,
        Request::Audit(AuditRequest::Verify { .. }) => 28,
        Request::Audit(AuditRequest::Checkpoint) => 29,
        Request::Audit(AuditRequest::Prove { .. }) => 30,
        Request::Audit(AuditRequest::Erase { .. }) => 31,
        Request::Tools(ToolsRequest::Register { .. }) => 32,
        Request::Tools(ToolsRequest::List) => 33,
        Request::Agent(AgentRequest::SessionOpen { .. }) => 34,
        Request::Agent(AgentRequest::SessionClose) => 35,
        Request::File(FileRequest::MakeDirectory { .. }) => 36,
        Request::File(FileRequest::Append { .. }) => 37,
        Request::File(FileRequest::Rename { .. }) => 38,
        Request::File(FileRequest::Glob { .. }) => 39,
    }
}

/// The number of kinds of requests.
const KINDS: usize = 40;

/// The material of a request: texts that grow when JSON escapes them, and a size.
#[derive(Clone, Debug)]
struct Seed {
    text: String,
    size: usize,
    object: Handle,
    wild: bool,
}

impl Seed {
    /// A text of at least `size` bytes.
    fn long(&self) -> Text {
        Text::from(self.text.repeat(1 + self.size / self.text.len().max(1)))
    }

    /// A valid name, or a long text in its place.
    fn name(&self, tame: &str) -> Text {
        if self.wild { self.long() } else { Text::from(tame) }
    }

    fn value(&self) -> Value {
        object! { "text": self.long(), "list": vec![json("1e20"); self.size / 1000] }
    }
}

fn request(number: usize, seed: &Seed) -> Request {
    let capability = CapId::from_u64(7);
    let path = seed.name("/data/file");
    let terms =
        CapabilitySpec { name: Some("fs".into()), resource: Some(seed.long()), ..CapabilitySpec::default() };
    match number {
        0 => Request::Heap(HeapRequest::Alloc {
            type_name: seed.name("doc"),
            content: Content::Json(seed.value()),
            subject: Some(seed.name("person")),
        }),
        1 => Request::Heap(HeapRequest::Read { handle: seed.object, version: Some(u64::MAX) }),
        2 => Request::Heap(HeapRequest::Stat { handle: seed.object }),
        3 => Request::Heap(HeapRequest::Write {
            handle: seed.object,
            patch: seed.value(),
            expected_version: Some(u64::MAX),
        }),
        4 => Request::Heap(HeapRequest::Delete {
            handle: Handle::from_raw(u64::MAX),
            expected_version: Some(u64::MAX),
        }),
        5 => {
            let form = object! { "type": seed.name("doc"), "where": seed.value() };
            Request::Heap(HeapRequest::Query { form: form.as_object().unwrap().clone() })
        }
        6 => {
            let link = (Pointer::parse("/text").unwrap(), ak_heap::Created(0));
            let links = if seed.wild { vec![link] } else { Vec::new() };
            let new =
                BatchPart::Alloc { type_name: "doc".into(), content: Content::Json(seed.value()), links };
            let delete =
                BatchPart::Delete { target: Target::Handle(seed.object), expected_version: Some(u64::MAX) };
            Request::Heap(HeapRequest::Batch {
                parts: [vec![new], vec![delete; 1 + seed.size % 900]].concat(),
            })
        }
        7 => Request::Heap(HeapRequest::TypeRegister { name: seed.name("doc"), schema: seed.value() }),
        8 => Request::Heap(HeapRequest::TypeUnregister { name: seed.name("doc") }),
        9 => Request::Tools(ToolsRequest::Call {
            tool: seed.name("add"),
            args: object! { "a": 1u64, "b": 2u64 },
        }),
        10 => {
            let request = object! {
                "model": seed.name("gpt"), "messages": vec![object! { "role": "user", "content": seed.long() }],
            };
            Request::Infer(InferRequest { request, stream: seed.size.is_multiple_of(2), price: None })
        }
        11 => Request::Admin(AdminRequest::LastError),
        12 => Request::Admin(AdminRequest::Authorize {
            operation: seed.name("fs.read"),
            target: seed.name("/data/x"),
            args: Some(seed.value()),
        }),
        13 => Request::File(FileRequest::Read { path, bytes_max: seed.size as u64 }),
        14 => Request::File(FileRequest::Write { path, data: seed.long().as_bytes().into() }),
        15 => Request::File(FileRequest::List { path }),
        16 => Request::File(FileRequest::Stat { path }),
        17 => Request::File(FileRequest::Delete { path }),
        18 => Request::Http(HttpRequest {
            method: "POST".into(),
            url: seed.name("https://a.example/"),
            headers: vec![("x-text".into(), seed.long())],
            body: Some(seed.long().as_bytes().into()),
            response_bytes_max: seed.size as u64,
            timeout_ms: u64::MAX,
        }),
        19 => {
            let included = vec![PolicyFile { path: seed.long(), text: seed.long() }];
            let files = PolicyFiles { source: Some(seed.long()), included, here: vec![seed.long()] };
            Request::Admin(AdminRequest::PolicyLoad { text: seed.long(), base_dir: Some(seed.long()), files })
        }
        20 => Request::Agent(AgentRequest::BudgetSet {
            dimension: Dimension::Tokens,
            limit: Some(u64::MAX),
            agent: Some(seed.name("worker")),
        }),
        21 => {
            Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: Some(seed.name("worker")) })
        }
        22 => Request::Agent(AgentRequest::CapGrant { agent: seed.name("worker"), terms }),
        23 => Request::Agent(AgentRequest::CapAttenuate { capability, terms }),
        24 => Request::Agent(AgentRequest::CapRevoke { capability }),
        25 => Request::Agent(AgentRequest::CapToken { capability }),
        26 => Request::Audit(AuditRequest::Log {
            event: seed.name("event"),
            details: seed.value(),
            subject: Some(seed.name("person")),
        }),
        27 => Request::Audit(AuditRequest::Query(AuditFilter {
            actor: Some(seed.long()),
            target: Some(seed.long()),
            limit: Some(u64::MAX),
            ..AuditFilter::default()
        })),
        28 => Request::Audit(AuditRequest::Verify { key: Some(seed.long()), anchor: Some(seed.long()) }),
        29 => Request::Audit(AuditRequest::Checkpoint),
        30 => Request::Audit(AuditRequest::Prove { seq: u64::MAX }),
        31 => Request::Audit(AuditRequest::Erase { subject: "person".into() }),
        32 => Request::Tools(ToolsRequest::Register {
            manifest: seed.value(),
            module: seed.long().as_bytes().into(),
            env: vec![(seed.long(), seed.long())],
        }),
        33 => Request::Tools(ToolsRequest::List),
        34 => Request::Agent(AgentRequest::SessionOpen { agent: seed.name("worker") }),
        35 => Request::Agent(AgentRequest::SessionClose),
        36 => Request::File(FileRequest::MakeDirectory { path, parents: seed.size.is_multiple_of(2) }),
        37 => Request::File(FileRequest::Append { path, data: seed.long().as_bytes().into() }),
        38 => Request::File(FileRequest::Rename { old: path, new: seed.name("/data/other") }),
        39 => Request::File(FileRequest::Glob { pattern: seed.name("/data/**/*.txt"), limit: 10_000 }),
        other => panic!("there is no request {other}"),
    }
}

/// A step of any kind.
fn step(kind: usize, seed: &Seed) -> Step {
    match kind % 6 {
        0 => Step::Resolved(vec![[255; 16].into(); seed.size % 1000]),
        1 => {
            let path = "x".repeat(seed.size % 60_000);
            Step::Redirect { method: "POST".into(), url: format!("https://a.example/{path}").into() }
        }
        2 => Step::Link { path: format!("/data/{}", seed.text.repeat(seed.size % 900)).into() },
        3 => Step::Resend,
        4 => Step::Path { path: format!("/data/{}", seed.text.repeat(seed.size % 900)).into() },
        _ => Step::Chunk { data: seed.long(), tokens: 1 },
    }
}

/// A completion of the request's kind, or a failure; larger than any limit if the seed is.
fn completion(kind: usize, request: &Request, seed: &Seed) -> Completion {
    let failed = || {
        let context = object! { "text": seed.long(), (seed.long()): true };
        Completion::Failed {
            code: if seed.wild { Code::ToolFail } else { Code::Io },
            message: String::from(&*seed.long()),
            context: context.as_object().unwrap().clone(),
            spent: Spent { hops_sent: Some(1), log: Some(seed.long()), ..Spent::from(1) },
        }
    };
    match kind % 4 {
        0 => return failed(),
        1 => return Completion::Unknown,
        _ => {}
    }
    match request {
        Request::File(FileRequest::Read { .. }) => Completion::File(seed.long().as_bytes().into()),
        Request::File(
            FileRequest::Write { .. }
            | FileRequest::Delete { .. }
            | FileRequest::MakeDirectory { .. }
            | FileRequest::Append { .. }
            | FileRequest::Rename { .. },
        ) => Completion::Done,
        Request::Http(_) => Completion::Http(HttpResponse {
            status: 200,
            headers: vec![("x-text".into(), seed.long()); 3],
            body: seed.long().as_bytes().into(),
        }),
        Request::Infer(InferRequest { .. }) => Completion::Inferred { response: seed.value(), tokens: 7 },
        Request::Tools(ToolsRequest::Call { .. }) => {
            Completion::Tool { output: seed.value(), fuel: 7, log: seed.long() }
        }
        Request::Audit(AuditRequest::Erase { .. }) => failed(),
        _ => Completion::Value(seed.value()),
    }
}

/// Records every step and the outcome of a request, and compares their sizes with the reserved one. Returns whether
/// the request became an effect.
fn is_within_its_room(
    machine: &mut Machine,
    request: Request,
    seed: &Seed,
    steps: &[usize],
    end: usize,
) -> Result<bool, TestCaseError> {
    let before = machine.records.len();
    let asked = AuthenticatedRequest::from(request.clone());
    let mut room = machine.kernel.record_bytes_max(&asked);
    // The clock steps before every input: each brings a record of its own.
    machine.step_wall_us(60_000_000);
    let heard = machine.try_dispatch(SessionId::OWNER, asked);
    if heard.is_ok() {
        let read = Request::decode(request.operation(), &request.args());
        prop_assert_eq!(read.as_ref(), Ok(&request), "what is recorded can be read again");
    }
    let effect = machine.effects.pop();
    if let Some((ticket, effect)) = &effect {
        prop_assert!(heard.is_ok(), "{effect:?}");
        for kind in steps {
            machine.step_wall_us(-60_000_000);
            let step = step(*kind, seed);
            room += machine.kernel.step_bytes_max(*ticket, &step);
            let now = machine.now();
            let refused = machine.kernel.progress(now, *ticket, step).is_err();
            machine.settle();
            prop_assert_eq!(machine.verdicts.pop().is_none(), refused, "a verdict, or a refusal");
            machine.step_wall_us(60_000_000);
        }
        let end = completion(end, &request, seed);
        machine.complete(*ticket, end);
    }
    let records = &machine.records[before..];
    let taken: u64 = records.iter().map(journal_bytes).sum();
    prop_assert!(taken <= room, "{} took {taken} of {room} bytes", request.operation().name());
    for record in records {
        prop_assert!(journal_bytes(record) < 64 << 20, "the journal takes it");
    }
    Ok(effect.is_some())
}

fn machine() -> (Machine, Handle) {
    let mut machine = Machine::with(config());
    machine.policy(POLICY);
    let object = handle(machine.call(alloc("doc", "{}")));
    machine
        .call(Request::Audit(AuditRequest::Log {
            event: "known".into(),
            details: Value::Null,
            subject: Some("person".into()),
        }))
        .unwrap();
    (machine, object)
}

proptest! {
    #![proptest_config(Cases { cases: 24, ..Cases::default() })]

    #[test]
    fn what_is_set_aside_bounds_what_is_recorded(
        text in prop_oneof![Just("\u{1}".to_owned()), Just("x".to_owned()), Just("\u{fffd}\"".to_owned()), ".{1,9}"],
        size in prop_oneof![0usize..2_000, 60_000usize..300_000],
        wild in any::<bool>(),
        steps in proptest::collection::vec(0usize..5, 0..40),
        end in 0usize..4,
    ) {
        for number in 0..KINDS {
            let (mut machine, object) = machine();
            let seed = Seed { text: text.clone(), size, object, wild };
            let request = request(number, &seed);
            is_within_its_room(&mut machine, request, &seed, &steps, end)?;
        }
    }
}

#[test]
fn every_kind_of_request_is_covered_and_every_effect_is_performed() {
    let (_, object) = machine();
    let seed = Seed { text: "x".into(), size: 10, object, wild: false };
    let mut effects = BTreeSet::new();
    for kind in 0..KINDS {
        let (mut machine, object) = machine();
        let request = request(kind, &Seed { object, ..seed.clone() });
        assert_eq!(number(&request), kind);
        let is_effect = request.is_effect();
        if is_within_its_room(&mut machine, request, &seed, &[0, 1, 2, 3, 4], 2).unwrap() {
            effects.insert(kind);
        }
        assert_eq!(effects.contains(&kind), is_effect, "request {kind}");
    }
    assert_eq!(effects.len(), 16);
}

fn http(machine: &mut Machine) -> Ticket {
    let request = Request::Http(HttpRequest {
        method: "GET".into(),
        url: "https://a.example/".into(),
        headers: Vec::new(),
        body: None,
        response_bytes_max: 1000,
        timeout_ms: 1000,
    });
    machine.effect(SessionId::OWNER, request).1
}

#[test]
fn an_effect_with_too_many_steps_fails() {
    let (mut machine, _) = machine();
    let ticket = http(&mut machine);
    let redirect = |path: usize| Step::Redirect {
        method: "GET".into(),
        url: format!("https://a.example/{}", "x".repeat(path)).into(),
    };
    let long = usize::try_from(HTTP_STEPS_BYTES_MAX).unwrap();
    let mut taken = 0;
    let refused = loop {
        let now = machine.now();
        if let Err(refused) = machine.kernel.progress(now, ticket, redirect(long / 150)) {
            break refused;
        }
        machine.settle();
        assert!(matches!(machine.verdicts.pop(), Some((_, StepAnswer::Follow(_)))));
        taken += 1;
        assert!(taken < 1_000, "nothing is refused");
    };
    assert!((50..150).contains(&taken), "{taken}");
    assert_eq!(refused.code, Code::Limit);
    let now = machine.now();
    assert_eq!(machine.kernel.progress(now, ticket, redirect(1)), Err(refused.clone()), "nor any other step");
    let before = machine.records.len();
    // Whatever the host reports, the outcome is the refusal's failure.
    let (context, spent) = (Object::new(), Spent { hops_sent: Some(3), ..Spent::from(9) });
    let ended = Completion::Failed { code: Code::Io, message: "stopped".into(), context, spent };
    machine.complete(ticket, ended);
    assert_eq!(machine.records.len(), before + 1);
    let outcome = machine.replies.values().next_back().cloned().unwrap();
    let outcome = failure(outcome);
    assert_eq!((outcome.code, &outcome.message), (Code::Limit, &refused.message));
    assert_eq!(outcome.context.get("hops_sent").and_then(Value::as_u64), Some(3));
    machine.replayed();
}

#[test]
fn the_number_of_resolved_addresses_is_limited() {
    let (mut machine, _) = machine();
    let ticket = http(&mut machine);
    let found: Vec<std::net::IpAddr> = (0..200).map(|last| [93, 184, 216, last].into()).collect();
    let StepAnswer::Connect(open) = machine.progress(ticket, Step::Resolved(found.clone())) else { panic!() };
    assert_eq!(open, found[..ADDRESSES_MAX]);
    machine.replayed();
}

/// Each row: a completion, and whether it is over the limit.
#[test]
fn completions_are_bounded_before_they_are_recorded() {
    let text = |bytes: u64| Text::from("\u{1}".repeat(usize::try_from(bytes / 6).unwrap()));
    let header =
        |bytes| HttpResponse { status: 200, headers: vec![("x".into(), text(bytes))], body: [].into() };
    let list = |bytes| Completion::Value(object! { "entries": vec![Value::from(text(bytes))] });
    let rows: [(usize, Completion, bool); 6] = [
        (18, Completion::Http(header(RESPONSE_HEAD_BYTES_MAX - 1000)), true),
        (18, Completion::Http(header(RESPONSE_HEAD_BYTES_MAX + OUTCOME_BYTES_MAX + 4000)), false),
        (15, list(LISTING_BYTES_MAX - 1000), true),
        (15, list(LISTING_BYTES_MAX + OUTCOME_BYTES_MAX), false),
        (16, Completion::Value(object! { "kind": text(OUTCOME_BYTES_MAX + 10) }), false),
        (10, Completion::Inferred { response: object! { "text": text(4 << 20) }, tokens: 5 }, false),
    ];
    for (kind, completion, fits) in rows {
        let (mut machine, object) = machine();
        let seed = Seed { text: "x".into(), size: 0, object, wild: false };
        let (call, ticket, _) = machine.effect(SessionId::OWNER, request(kind, &seed));
        machine.complete(ticket, completion);
        let code = machine.replies[&call].as_ref().err().map(|failure| failure.code);
        assert_eq!(code, (!fits).then_some(Code::BufferOverflow), "request {kind}");
        machine.replayed();
    }
}

#[test]
fn a_failure_that_is_too_long_keeps_its_code_and_its_numbers() {
    let (mut machine, _) = machine();
    let ticket = http(&mut machine);
    let long = "\u{1}".repeat(usize::try_from(OUTCOME_BYTES_MAX).unwrap());
    let context = Object::from_iter([("text", long.as_str())]);
    let spent = Spent { hops_sent: Some(1), ..Spent::from(5) };
    machine.complete(ticket, Completion::Failed { code: Code::Deadline, message: long, context, spent });
    let outcome = failure(machine.replies.values().next_back().cloned().unwrap());
    assert_eq!(outcome.code, Code::Deadline);
    assert!(outcome.message.len() <= 1024 && outcome.context.len() == 1, "{}", outcome.message.len());
    machine.replayed();
}

#[test]
fn a_stale_step_or_completion_leaves_a_short_record() {
    let (mut machine, _) = machine();
    let ticket = http(&mut machine);
    machine.complete(ticket, Completion::Unknown);
    let before = machine.records.len();
    machine.complete(ticket, Completion::File(vec![0; 100_000].into()));
    let now = machine.now();
    machine.kernel.progress(now, ticket, Step::Resend).unwrap();
    let now = machine.now();
    let long = Step::Chunk { data: "x".repeat(100_000).into(), tokens: 1 };
    assert_eq!(machine.kernel.progress(now, ticket, long).map_err(|refused| refused.code), Err(Code::Limit));
    machine.settle();
    let taken: u64 = machine.records[before..].iter().map(journal_bytes).sum();
    assert_eq!(machine.records.len(), before + 2);
    assert!(taken <= 2 * Kernel::own_record_bytes_max(), "{taken}");
    machine.replayed();
}

#[test]
fn the_bytes_of_links_in_a_file_effect_are_limited() {
    let (mut machine, object) = machine();
    let seed = Seed { text: "x".into(), size: 0, object, wild: false };
    let (_, ticket, _) = machine.effect(SessionId::OWNER, request(16, &seed));
    let long = usize::try_from(FILE_STEPS_BYTES_MAX).unwrap();
    let link = Step::Link { path: format!("/data/{}", "x".repeat(long)).into() };
    let now = machine.now();
    assert!(machine.kernel.progress(now, ticket, link).is_err());
}

/// Requests of the greatest length under the default limits: a frame of a journal holds 64 MiB.
#[test]
fn a_record_is_never_longer_than_a_journal_accepts() {
    const FRAME_BYTES: u64 = 64 << 20;
    let kernel = Machine::new().kernel;
    let escaped = |bytes: usize| Text::from("\u{1}".repeat(bytes));
    let object = Handle::from_raw(1);
    let small = Seed { text: "x".into(), size: 0, object, wild: false };
    let rows = [
        Request::File(FileRequest::Read { path: "/data/x".into(), bytes_max: u64::MAX }),
        request(15, &small),
        request(9, &small),
        request(10, &small),
        Request::Http(HttpRequest {
            method: "POST".into(),
            url: "https://a.example/".into(),
            headers: vec![("x".into(), escaped(250 << 10))],
            body: Some(vec![0; 9 << 20].into()),
            response_bytes_max: u64::MAX,
            timeout_ms: 1,
        }),
        Request::Admin(AdminRequest::PolicyLoad {
            text: escaped(4 << 20),
            base_dir: None,
            files: Default::default(),
        }),
        Request::Audit(AuditRequest::Verify { key: Some(escaped(4 << 20)), anchor: None }),
        Request::File(FileRequest::Write { path: escaped(60 << 10), data: vec![0; 9 << 20].into() }),
    ];
    for request in rows {
        let name = request.operation().name();
        let asked = AuthenticatedRequest::from(request);
        asked.check_form().unwrap_or_else(|failure| panic!("{name}: {failure}"));
        // Even if one record took all of it.
        let room = kernel.record_bytes_max(&asked);
        assert!(room < FRAME_BYTES, "{name}: {room}");
    }
}

/// A host call reserves its record size as a request does.
#[test]
fn host_calls_fit_the_record_size_of_their_tool() {
    let (mut machine, _) = machine();
    machine.call(relay("reader", "fs_read", &["fs.read:/data/**"])).unwrap();
    let args = object! { "path": "/data/x" };
    let (_, ticket, effect) =
        machine.effect(SessionId::OWNER, Request::Tools(ToolsRequest::Call { tool: "reader".into(), args }));
    let Effect::RunTool { tool, env, input, limits } = effect else { panic!("{effect:?}") };
    let mut run = ToolRun::start(&tool, &input, limits, &env);
    let asked: ToolRequest = loop {
        match run.step() {
            ToolStep::Yields => {}
            ToolStep::Asks(request) => break request,
            ToolStep::Ends(completion) => panic!("{completion:?}"),
        }
    };
    let (before, room) = (machine.records.len(), machine.kernel.host_call_bytes_max(&asked));
    machine.step_wall_us(60_000_000);
    machine.host_call(ticket, asked);
    let (inner, _) = machine.effects.pop().expect("the file is read");
    machine.complete(inner, Completion::File(vec![0xff; 100].into()));
    let taken: u64 = machine.records[before..].iter().map(journal_bytes).sum();
    assert!(taken <= room, "{taken} of {room}");
}
