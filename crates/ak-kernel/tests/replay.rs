//! Replay reproduces every decision, reply, leaf and the state.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use ak_heap::{Content, Created, Handle};
use ak_json::{Pointer, Text, Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditFilter, AuditRequest, AuthenticatedRequest, BatchPart, Code, Completion,
    Effect, EntryStatus, FileRequest, HeapRequest, HttpRequest, HttpResponse, InferRequest, Operation,
    PresentedCapability, Replay, Reply, Request, SessionId, Step, ToolReplay, ToolRun, ToolStep, export,
    outcome_to_value,
};
use ak_policy::{
    budget::Dimension,
    capability::{AgentPattern, Authority, CapId, Caveat, VerifiedToken},
};
use proptest::prelude::*;

use support::{Machine, alloc, json, load, new, relay, tool, write};

/// The next act of a random run. Numbers are taken modulo the number of existing items.
#[derive(Clone, Debug)]
enum Act {
    Alloc { agent: usize, value: i64 },
    Raw { agent: usize, bytes: Vec<u8> },
    Read { agent: usize, object: usize },
    Write { agent: usize, object: usize, value: i64, version: Option<u64> },
    BadPatch { agent: usize, object: usize },
    Delete { agent: usize, object: usize },
    Search { agent: usize, form: usize },
    Batch { agent: usize, object: usize, value: i64, parts: usize },
    Type { agent: usize, schema: usize },
    Add { agent: usize, a: i64, b: i64 },
    BadCall { agent: usize },
    FileRead { agent: usize, inside: bool },
    FileWrite { agent: usize },
    Relay { agent: usize, which: usize },
    Http { agent: usize, host: usize },
    Infer { agent: usize, max_tokens: u64 },
    End { effect: usize, how: usize },
    Grant { agent: usize, terms: usize },
    Attenuate { agent: usize, capability: usize, terms: usize },
    Dispose { agent: usize, capability: usize, revoke: bool },
    Present { agent: usize, capability: usize, caveat: usize, what: usize },
    Stale,
    Authorize { agent: usize, what: usize },
    Policy { which: usize },
    Budget { agent: usize, dimension: usize, limit: u64 },
    Log { agent: usize, reserved: bool },
    Query { agent: usize },
    Snapshot,
    Erase { which: usize },
    Sleep { ms: u64 },
    ClockBack { ms: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let agent = 0..4usize;
    prop_oneof![
        4 => (agent.clone(), any::<i64>()).prop_map(|(agent, value)| Act::Alloc { agent, value }),
        1 => (agent.clone(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(agent, bytes)| Act::Raw { agent, bytes }),
        3 => (agent.clone(), any::<usize>()).prop_map(|(agent, object)| Act::Read { agent, object }),
        3 => (agent.clone(), any::<usize>(), any::<i64>(), proptest::option::of(0..3u64))
            .prop_map(|(agent, object, value, version)| Act::Write { agent, object, value, version }),
        1 => (agent.clone(), any::<usize>()).prop_map(|(agent, object)| Act::BadPatch { agent, object }),
        1 => (agent.clone(), any::<usize>()).prop_map(|(agent, object)| Act::Delete { agent, object }),
        2 => (agent.clone(), 0..SEARCHES.len()).prop_map(|(agent, form)| Act::Search { agent, form }),
        3 => (agent.clone(), any::<usize>(), any::<i64>(), 0..6usize)
            .prop_map(|(agent, object, value, parts)| Act::Batch { agent, object, value, parts }),
        1 => (agent.clone(), 0..SCHEMAS.len()).prop_map(|(agent, schema)| Act::Type { agent, schema }),
        2 => (agent.clone(), any::<i64>(), any::<i64>()).prop_map(|(agent, a, b)| Act::Add { agent, a, b }),
        1 => agent.clone().prop_map(|agent| Act::BadCall { agent }),
        2 => (agent.clone(), any::<bool>()).prop_map(|(agent, inside)| Act::FileRead { agent, inside }),
        1 => agent.clone().prop_map(|agent| Act::FileWrite { agent }),
        4 => (agent.clone(), 0..RELAYED.len()).prop_map(|(agent, which)| Act::Relay { agent, which }),
        2 => (agent.clone(), 0..3usize).prop_map(|(agent, host)| Act::Http { agent, host }),
        2 => (agent.clone(), 0..500u64).prop_map(|(agent, max_tokens)| Act::Infer { agent, max_tokens }),
        6 => (any::<usize>(), 0..6usize).prop_map(|(effect, how)| Act::End { effect, how }),
        1 => (agent.clone(), 0..TERMS.len()).prop_map(|(agent, terms)| Act::Grant { agent, terms }),
        1 => (agent.clone(), any::<usize>(), 0..TERMS.len())
            .prop_map(|(agent, capability, terms)| Act::Attenuate { agent, capability, terms }),
        1 => (agent.clone(), any::<usize>(), any::<bool>())
            .prop_map(|(agent, capability, revoke)| Act::Dispose { agent, capability, revoke }),
        3 => (agent.clone(), any::<usize>(), 0..4usize, 0..4usize)
            .prop_map(|(agent, capability, caveat, what)| Act::Present { agent, capability, caveat, what }),
        1 => Just(Act::Stale),
        2 => (agent.clone(), 0..5usize).prop_map(|(agent, what)| Act::Authorize { agent, what }),
        1 => (0..POLICIES.len()).prop_map(|which| Act::Policy { which }),
        1 => (agent.clone(), 0..9usize, 0..2000u64)
            .prop_map(|(agent, dimension, limit)| Act::Budget { agent, dimension, limit }),
        1 => (agent.clone(), any::<bool>()).prop_map(|(agent, reserved)| Act::Log { agent, reserved }),
        1 => agent.prop_map(|agent| Act::Query { agent }),
        1 => Just(Act::Snapshot),
        1 => (0..3usize).prop_map(|which| Act::Erase { which }),
        1 => (0..100_000u64).prop_map(|ms| Act::Sleep { ms }),
        1 => (0..100_000u64).prop_map(|ms| Act::ClockBack { ms }),
    ]
}

const POLICIES: [&str; 5] = [
    "profiles = []",
    "[[rule]]\nid = \"shared\"\neffect = \"permit\"\noperation = \"heap.*\"\ntarget = \"*\"\n[[limit]]\nid = \"few\"\noperation = \"heap.alloc\"\ntarget = \"*\"\ncount = true\nmax = 9\nper = \"1m\"\n",
    "[fs]\nread = [\"/data/**\"]\nwrite = [\"/data/out/**\"]\n[http]\nallow = [\"GET https://a.example/**\"]\n[infer]\nmodels = [\"m-*\"]\nmax_tokens = 100\n[tools]\nallow = [\"*\"]\n",
    "[tools]\ndeny = [\"add\"]\n[budgets]\ntool_calls = 2\ntokens = 400\n",
    "profiles = []\n[[capability]]\nname = \"add\"\nresource = \"*\"\nmethods = [\"execute\"]\nexpires_minutes = 1\nrate = \"2/min\"\n",
];

const SEARCHES: [&str; 4] = [
    "{}",
    r#"{"type":"counter","where":{"/value":{">":0}},"order":{"pointer":"/value","descending":true},"limit":2}"#,
    r#"{"owner":"a","limit":0}"#,
    r#"{"where":[]}"#,
];

const TERMS: [&str; 4] = [
    r#"{"name":"fs"}"#,
    r#"{"name":"fs","resource":"/data/**","methods":["read"],"rate":"2/min","budget":{"bytes":1500}}"#,
    r#"{"name":"add","uses":3,"expires_minutes":1}"#,
    r#"{"name":"http","only_agent":"a"}"#,
];

/// Tools that make one host call, and their arguments.
const RELAYED: [(&str, &str); 7] = [
    ("read", r#"{"path":"/data/x"}"#),
    ("read", r#"{"path":"/data/y"}"#),
    ("get", r#"{"method":"GET","url":"https://a.example/"}"#),
    ("draw", r#"{"bytes":3}"#),
    ("draw", r#"{"bytes":"3"}"#),
    ("outer", r#"{"tool":"read","args":{"path":"/data/x"}}"#),
    ("outer", r#"{"tool":"add","args":{"a":1,"b":2}}"#),
];

const SCHEMAS: [&str; 4] =
    ["true", r#"{"properties":{"value":{"minimum":0}}}"#, r#"{"type":"number"}"#, r#"{"format":"uri"}"#];

struct Run {
    machine: Machine,
    agents: Vec<SessionId>,
    objects: Vec<Handle>,
    capabilities: Vec<CapId>,
    snapshots: BTreeMap<u64, Vec<u8>>,
    begun: Option<ak_kernel::StateImage>,
    /// The number of first records that cannot be executed any more.
    erased_below: u64,
}

impl Run {
    fn new() -> Run {
        let mut machine = Machine::new();
        let mut agents = vec![SessionId::OWNER];
        for (name, call, needs) in [
            ("read", "fs_read", &["fs.read:/data/x"][..]),
            ("get", "http", &["http.get:https://a.example/**"]),
            ("draw", "random", &["random:*"]),
            ("outer", "call", &["execute:*", "fs.read:/data/**"]),
        ] {
            machine.call(relay(name, call, needs)).unwrap();
        }
        for name in ["a", "b", "crew/c"] {
            agents.push(machine.agent(name));
        }
        Run {
            machine,
            agents,
            objects: vec![Handle::from_raw(1)],
            capabilities: vec![CapId::from_u64(1)],
            snapshots: BTreeMap::new(),
            begun: None,
            erased_below: 0,
        }
    }

    fn take(&mut self, act: Act) {
        let object = |index: usize, objects: &[Handle]| objects[index % objects.len()];
        let agents = self.agents.clone();
        let mut presented = None;
        let (agent, request) = match act {
            Act::Alloc { agent, value } => {
                let content = Content::Json(object! { "value": value });
                let subject = (value % 4 == 0).then(|| "alice".into());
                (agent, Request::Heap(HeapRequest::Alloc { type_name: "counter".into(), content, subject }))
            }
            Act::Raw { agent, bytes } => (
                agent,
                Request::Heap(HeapRequest::Alloc {
                    type_name: "raw".into(),
                    content: Content::Raw(bytes.into()),
                    subject: Some("alice".into()),
                }),
            ),
            Act::Read { agent, object: index } => (
                agent,
                Request::Heap(HeapRequest::Read {
                    handle: object(index, &self.objects),
                    version: (index % 5 == 0).then_some(1),
                }),
            ),
            Act::Write { agent, object: index, value, version } => {
                let patch = format!("[{{\"op\":\"replace\",\"path\":\"/value\",\"value\":{value}}}]");
                (agent, write(object(index, &self.objects), &patch, version))
            }
            Act::BadPatch { agent, object: index } => (
                agent,
                write(object(index, &self.objects), "[{\"op\":\"test\",\"path\":\"/x\",\"value\":1}]", None),
            ),
            Act::Delete { agent, object: index } => (
                agent,
                Request::Heap(HeapRequest::Delete {
                    handle: object(index, &self.objects),
                    expected_version: None,
                }),
            ),
            Act::Search { agent, form } => {
                let Value::Object(form) = json(SEARCHES[form]) else { unreachable!("each is an object") };
                (agent, Request::Heap(HeapRequest::Query { form }))
            }
            Act::Batch { agent, object: index, value, parts } => {
                let patch = json(&format!("[{{\"op\":\"add\",\"path\":\"/value\",\"value\":{value}}}]"));
                let target = object(index, &self.objects).into();
                let expected_version = (value % 3 == 0).then_some(1);
                let links = vec![(Pointer::parse("/link").unwrap(), Created(0))];
                let write = |target| BatchPart::Write {
                    target,
                    patch: patch.clone(),
                    expected_version: None,
                    links: links.clone(),
                };
                let all = [
                    new("counter", "{}"),
                    write(Created(0).into()),
                    write(target),
                    BatchPart::Delete { target, expected_version },
                    new("", "1"),
                ];
                (agent, Request::Heap(HeapRequest::Batch { parts: all[..parts].to_vec() }))
            }
            Act::Type { agent, schema } => (
                agent,
                Request::Heap(HeapRequest::TypeRegister {
                    name: "counter".into(),
                    schema: json(SCHEMAS[schema]),
                }),
            ),
            Act::Add { agent, a, b } => (agent, tool("add", &format!("{{\"a\":{a},\"b\":{b}}}"))),
            Act::BadCall { agent } => (agent, tool("nothing@9.9.9", "[]")),
            Act::FileRead { agent, inside } => {
                let path = if inside { "/data/./x/../y.txt" } else { "/etc/passwd" };
                (agent, Request::File(FileRequest::Read { path: path.into(), bytes_max: 1000 }))
            }
            Act::FileWrite { agent } => (
                agent,
                Request::File(FileRequest::Write {
                    path: "/data/out/z".into(),
                    data: Arc::from(&b"bytes"[..]),
                }),
            ),
            Act::Http { agent, host } => {
                let url = ["https://a.example/x", "https://evila.example/", "http://127.0.0.1:1/"][host % 3];
                (
                    agent,
                    Request::Http(HttpRequest {
                        method: "GET".into(),
                        url: url.into(),
                        headers: vec![("accept".into(), "*/*".into())],
                        body: None,
                        response_bytes_max: 100,
                        timeout_ms: 1000,
                    }),
                )
            }
            Act::Infer { agent, max_tokens } => {
                let request = object! { "model": "m-1", "max_tokens": max_tokens, "messages": json(r#"[{"role":"user","content":"hi"}]"#) };
                (agent, Request::Infer(InferRequest { request, stream: max_tokens % 2 == 0, price: None }))
            }
            Act::Authorize { agent, what } => {
                let (operation, target) = [
                    ("read", "/data/x"),
                    ("execute", "add"),
                    ("http.get", "https://a.example/"),
                    ("read", "moon"),
                    ("read", "0x1"),
                ][what % 5];
                (
                    agent,
                    Request::Admin(AdminRequest::Authorize {
                        operation: operation.into(),
                        target: target.into(),
                        args: None,
                    }),
                )
            }
            Act::Relay { agent, which } => (agent, tool(RELAYED[which].0, RELAYED[which].1)),
            Act::Policy { which } => (0, load(POLICIES[which])),
            Act::Budget { agent, dimension, limit } => (
                agent,
                Request::Agent(AgentRequest::BudgetSet {
                    dimension: Dimension::ALL[dimension % 9],
                    limit: Some(limit),
                    agent: None,
                }),
            ),
            Act::Log { agent, reserved } => {
                let event = if reserved { "alloc" } else { "shipped" };
                (
                    agent,
                    Request::Audit(AuditRequest::Log {
                        event: event.into(),
                        details: object! { "n": 1 },
                        subject: Some("bob".into()),
                    }),
                )
            }
            Act::Query { agent } => (
                agent,
                Request::Audit(AuditRequest::Query(AuditFilter {
                    newest: true,
                    limit: Some(5),
                    ..AuditFilter::default()
                })),
            ),
            Act::Grant { agent, terms } => {
                let mut args = json(TERMS[terms]).as_object().cloned().unwrap();
                args.insert("agent", ["main", "a", "b", "crew"][agent]);
                (0, Request::decode(Operation::CapGrant, &args.into()).unwrap())
            }
            Act::Attenuate { agent, capability, terms } => {
                let mut args = json(TERMS[terms]).as_object().cloned().unwrap();
                args.insert("capability", format!("{:#x}", self.capability(capability).to_u64()));
                (agent, Request::decode(Operation::CapAttenuate, &args.into()).unwrap())
            }
            Act::Dispose { agent, capability, revoke } => {
                let capability = self.capability(capability);
                let request = if revoke {
                    Request::Agent(AgentRequest::CapRevoke { capability })
                } else {
                    Request::Agent(AgentRequest::CapToken { capability })
                };
                (agent, request)
            }
            Act::Present { agent, capability, caveat, what } => {
                let request = [
                    Request::File(FileRequest::Read { path: "/data/y".into(), bytes_max: 1000 }),
                    tool("add", r#"{"a":1,"b":2}"#),
                    Request::Admin(AdminRequest::LastError),
                    alloc("counter", "0"),
                ][what]
                    .clone();
                let caveat = [
                    None,
                    Some(Caveat::ExpiresAt(self.machine.clock_us + 2_000_000)),
                    Some(Caveat::Run([7; 16])),
                    Some(Caveat::Agent(AgentPattern::parse("crew/*").unwrap())),
                ][caveat]
                    .clone();
                let authority: Authority = caveat.into_iter().collect();
                let token = VerifiedToken { capability: self.capability(capability), authority };
                presented = Some(PresentedCapability::new(token).unwrap());
                (agent, request)
            }
            Act::Snapshot => {
                // A snapshot begins, other inputs follow, and then it is stored, unless another one has begun in
                // between.
                let now = self.machine.now();
                let kernel = &mut self.machine.kernel;
                match self.begun.take() {
                    None => self.begun = Some(kernel.begin_snapshot(now)),
                    Some(begun) => {
                        let (snapshot, state) = begun.encode();
                        if kernel.end_snapshot(now, begun.seq(), state) {
                            self.snapshots.insert(begun.seq(), snapshot);
                        }
                    }
                }
                self.machine.settle();
                return;
            }
            Act::Erase { which } => {
                if let Ok((seq, snapshot)) = self.machine.erase(["alice", "a", "main"][which]) {
                    // Older snapshots contain the erased data.
                    self.snapshots = BTreeMap::from([(seq, snapshot)]);
                    self.erased_below = seq;
                }
                return;
            }
            Act::Sleep { ms } => return self.machine.sleep_ms(ms),
            Act::ClockBack { ms } => {
                self.machine.step_wall_us(-(i64::try_from(ms).unwrap() * 1000));
                return;
            }
            Act::Stale => {
                let Some((ticket, _)) = self.machine.effects.first().cloned() else { return };
                self.machine.effects.remove(0);
                self.machine.complete(ticket, Completion::Unknown);
                self.machine.complete(ticket, Completion::Done);
                return;
            }
            Act::End { effect, how } => return self.end(effect, how),
        };
        let asked: AuthenticatedRequest = match presented {
            Some(presented) => request.presenting(presented),
            None => request.into(),
        };
        let call = self.machine.dispatch(agents[agent % agents.len()], asked);
        match self.machine.replies.get(&call) {
            Some(Ok(Reply::Handle(handle))) => self.objects.push(*handle),
            Some(Ok(Reply::Value(made))) => {
                if let Some(text) = made.get("capability").and_then(Value::as_str) {
                    let number = u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
                    self.capabilities.push(CapId::from_u64(number));
                }
            }
            _ => {}
        }
        let now = self.machine.now();
        self.machine.kernel.handle_timeout(now);
        self.machine.settle();
    }

    fn take_unless_erasing(&mut self, act: Act) {
        if !matches!(act, Act::Erase { .. }) {
            self.take(act);
        }
    }

    fn capability(&self, index: usize) -> CapId {
        self.capabilities[index % self.capabilities.len()]
    }

    fn end(&mut self, index: usize, how: usize) {
        if self.machine.effects.is_empty() {
            return;
        }
        let index = index % self.machine.effects.len();
        let (ticket, effect) = self.machine.effects.swap_remove(index);
        let completion = match (how, effect) {
            (0, _) => Completion::failed(Code::Io, "the disk is on fire"),
            (1, _) => Completion::Unknown,
            (2, _) => Completion::Done,
            (3, Effect::RunTool { tool, env, input, limits }) => {
                // The host stops the tool; the effect of its host call continues.
                let mut run = ToolRun::start(&tool, &input, limits, &env);
                if let ToolStep::Asks(request) = run.step() {
                    self.machine.host_call(ticket, request);
                }
                run.give_up(Code::ToolTimeout, "too slow")
            }
            (how, effect @ Effect::RunTool { .. }) => {
                let world = &mut |_: &mut Machine, _, effect: &Effect| match effect {
                    Effect::File { .. } if how == 4 => Completion::File(Arc::from(&b"content"[..])),
                    _ => Completion::Unknown,
                };
                return self.machine.run_tool(ticket, effect, world);
            }
            (_, Effect::Http { .. }) => {
                self.machine.progress(
                    ticket,
                    Step::Resolved(vec!["8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap()]),
                );
                let url =
                    Text::from(["https://a.example/next", "https://other.example/", "nonsense"][how % 3]);
                self.machine.progress(ticket, Step::Redirect { method: "GET".into(), url });
                Completion::Http(HttpResponse { status: 200, headers: vec![], body: Arc::from(&b"ok"[..]) })
            }
            (_, Effect::Infer { .. }) => {
                self.machine.progress(ticket, Step::Chunk { data: "{}".into(), tokens: 60 * how as u64 });
                Completion::Inferred { response: object! { "choices": Vec::new() }, tokens: 60 * how as u64 }
            }
            (_, Effect::File { .. }) => Completion::File(Arc::from(&b"content"[..])),
            (_, Effect::Log(_)) => Completion::Value(object! { "consistent": true }),
        };
        self.machine.complete(ticket, completion);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn replay_reproduces_everything(acts in proptest::collection::vec(act(), 1..60)) {
        let mut run = Run::new();
        for act in acts {
            run.take_unless_erasing(act);
        }
        let machine = &mut run.machine;
        let bytes = export::encode(&machine.records, &BTreeMap::new());
        let mut replay = Replay::new(ToolReplay::Rerun);
        let mut replies = 0;
        for (entry, record) in export::decode(&bytes).unwrap().zip(&machine.records) {
            let entry = entry.unwrap();
            let followed = replay.feed(entry.leaf, entry.body.unwrap()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&followed.record, record);
            for (call, outcome) in followed.replies {
                prop_assert_eq!(outcome_to_value(&outcome), outcome_to_value(&machine.replies[&call]));
                replies += 1;
            }
        }
        prop_assert_eq!(replies, machine.replies.len());
        let mut again = replay.finish().unwrap();
        prop_assert_eq!(again.head(), machine.kernel.head());
        prop_assert_eq!(again.state_digest(), machine.kernel.state_digest());
    }

    #[test]
    fn unerased_entries_replay_and_a_snapshot_continues_as_the_log_does(
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let mut run = Run::new();
        for act in acts {
            run.take(act);
        }
        let machine = &mut run.machine;
        let (standings, examination) = machine.examined(&run.snapshots);
        let first_erased = machine.records.iter().position(|record| record.body.is_empty());
        for (seq, standing) in standings.iter().enumerate() {
            let opaque = first_erased.is_some_and(|first| first <= seq) && (seq as u64) < run.erased_below;
            prop_assert_eq!(matches!(standing, EntryStatus::Opaque), opaque, "entry {}: {:?}", seq, standing);
            prop_assert!(!matches!(standing, EntryStatus::Invalid(_)), "entry {}: {:?}", seq, standing);
        }
        let mut again = examination.into_replay().expect("the state is known").finish().unwrap();
        prop_assert_eq!(again.state_digest(), machine.kernel.state_digest());
        for (seq, snapshot) in &run.snapshots {
            let mut replay = Replay::resume(snapshot, ToolReplay::Rerun).unwrap();
            for record in &machine.records[usize::try_from(*seq).unwrap()..] {
                let followed = replay.feed(&record.leaf, &record.body);
                let followed = followed.map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(&followed.record.hash, &record.hash);
            }
            let mut again = replay.finish().unwrap();
            prop_assert_eq!(again.head(), machine.kernel.head());
            prop_assert_eq!(again.state_digest(), machine.kernel.state_digest());
        }
    }

    #[test]
    fn no_forged_body_replays(acts in proptest::collection::vec(act(), 1..20), at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>()) {
        let mut run = Run::new();
        for act in acts {
            run.take_unless_erasing(act);
        }
        let records = &run.machine.records;
        let forged = at.index(records.len());
        let mut body = records[forged].body.to_vec();
        let byte = byte.index(body.len());
        body[byte] ^= 1;
        let mut replay = Replay::new(ToolReplay::Recorded);
        let wrong = records.iter().enumerate().find_map(|(index, record)| {
            let body = if index == forged { &body[..] } else { &record.body };
            replay.feed(&record.leaf, body).err()
        });
        prop_assert_eq!(wrong.map(|error| error.seq), Some(forged as u64));
    }
}

/// The number of entries that one run re-executes; a million in the nightly run.
const ENTRIES: (&str, u64) = ("AK_REPLAY_ENTRIES", 20_000);

#[test]
fn a_long_journal_is_replayed() {
    let entries = std::env::var(ENTRIES.0).map_or(ENTRIES.1, |text| text.parse().unwrap());
    let mut machine = Machine::new();
    let worker = machine.agent("worker");
    let mut replay = Replay::new(ToolReplay::Recorded);
    let mut took = std::time::Duration::ZERO;
    let mut fed = 0;
    while fed < entries {
        for n in 0..64 {
            machine.sleep_ms(10);
            let content = object! { "n": n, "text": "as long as an object of an agent usually is" };
            let request = Request::Heap(HeapRequest::Alloc {
                type_name: "note".into(),
                content: Content::Json(content),
                subject: None,
            });
            let Ok(Reply::Handle(handle)) = machine.call_as(worker, request) else { panic!("no handle") };
            machine
                .call_as(worker, write(handle, "[{\"op\":\"replace\",\"path\":\"/n\",\"value\":7}]", Some(0)))
                .unwrap();
            machine.call_as(worker, Request::Heap(HeapRequest::Read { handle, version: None })).unwrap();
            machine
                .call_as(worker, Request::Heap(HeapRequest::Delete { handle, expected_version: None }))
                .unwrap();
        }
        let started = std::time::Instant::now();
        for record in machine.records.drain(..) {
            replay.feed(&record.leaf, &record.body).unwrap();
            fed += 1;
        }
        took += started.elapsed();
        machine.replies.clear();
    }
    println!("{fed} entries executed again in {took:?}");
    assert_eq!(replay.finish().unwrap().state_digest(), machine.kernel.state_digest());
}
