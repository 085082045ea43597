//! A driver for tests: virtual time, a log in memory, and effects that the test completes.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use ak_heap::{Content, Handle};
use ak_json::{Digest, Limits, Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditRequest, AuthenticatedRequest, BatchPart, CallId, Code, Completion,
    Config, Effect, EntryStatus, Failure, FileRequest, HeapRequest, Kernel, LogVerifier, LogWork, Now,
    Outcome, Output, Record, Replay, Reply, Request, SessionId, Step, StepAnswer, StoredBody, Ticket, Time,
    ToolReplay, ToolRequest, ToolRun, ToolStep, ToolsRequest, erasure_outcome,
};
use ak_policy::budget::Dimension;
use sha2::Digest as _;

/// 2026-01-01, in µs.
const START_US: u64 = 1_767_225_600_000_000;

pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    pub(crate) records: Vec<Record>,
    pub(crate) replies: BTreeMap<CallId, Outcome>,
    pub(crate) effects: Vec<(Ticket, Effect)>,
    pub(crate) verdicts: Vec<(Ticket, StepAnswer)>,
    pub(crate) clock_us: u64,
    /// The difference between the wall clock and the boot clock, in µs.
    wall_us: i64,
    inputs: u64,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Machine {
        let now = Now::steady(Time::from_micros(START_US), [1; 32]);
        let mut machine = Machine {
            kernel: Kernel::new(now, config),
            records: Vec::new(),
            replies: BTreeMap::new(),
            effects: Vec::new(),
            verdicts: Vec::new(),
            clock_us: START_US,
            wall_us: 0,
            inputs: 0,
        };
        machine.settle();
        machine
    }

    /// The next moment, a millisecond later, with fresh entropy.
    pub(crate) fn now(&mut self) -> Now {
        self.clock_us += 1000;
        self.inputs += 1;
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&self.inputs.to_le_bytes());
        let now = Now::steady(Time::from_micros(self.clock_us), entropy);
        Now { wall: Time::from_micros(self.clock_us.saturating_add_signed(self.wall_us)), ..now }
    }

    /// Steps the wall clock.
    pub(crate) fn step_wall_us(&mut self, us: i64) {
        self.wall_us += us;
    }

    pub(crate) fn sleep_ms(&mut self, ms: u64) {
        self.clock_us += ms * 1000;
    }

    /// Commits the records and takes the outputs.
    pub(crate) fn settle(&mut self) {
        while let Some(record) = self.kernel.poll_record() {
            assert!(self.kernel.poll_output().is_none(), "nothing leaves before its record is committed");
            self.kernel.committed(record.seq);
            self.records.push(record);
            self.take_outputs();
        }
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.kernel.poll_output() {
            match output {
                Output::Reply(call, outcome) => {
                    assert!(self.replies.insert(call, outcome).is_none(), "a call is answered once");
                }
                Output::Perform(ticket, effect) => self.effects.push((ticket, effect)),
                Output::Resume(ticket, verdict) => self.verdicts.push((ticket, verdict)),
            }
        }
    }

    pub(crate) fn dispatch(
        &mut self,
        session: SessionId,
        request: impl Into<AuthenticatedRequest>,
    ) -> CallId {
        self.try_dispatch(session, request).expect("it is heard")
    }

    pub(crate) fn try_dispatch(
        &mut self,
        session: SessionId,
        request: impl Into<AuthenticatedRequest>,
    ) -> Result<CallId, Failure> {
        let now = self.now();
        let call = self.kernel.dispatch(now, session, request);
        self.settle();
        call
    }

    pub(crate) fn progress(&mut self, ticket: Ticket, step: Step) -> StepAnswer {
        let now = self.now();
        self.kernel.progress(now, ticket, step).expect("it is short enough");
        self.settle();
        self.verdicts.pop().expect("a verdict").1
    }

    pub(crate) fn complete(&mut self, ticket: Ticket, completion: Completion) {
        let now = self.now();
        self.kernel.complete(now, ticket, completion);
        self.settle();
    }

    /// Dispatches a request, runs tools, and returns the outcome. The test must complete other effects.
    pub(crate) fn call_as(
        &mut self,
        session: SessionId,
        request: impl Into<AuthenticatedRequest>,
    ) -> Outcome {
        let call = self.try_dispatch(session, request)?;
        if let Some((ticket, effect)) =
            self.effects.pop_if(|(_, effect)| matches!(effect, Effect::RunTool { .. }))
        {
            self.run_tool(ticket, effect, &mut no_world);
        }
        self.replies.get(&call).cloned().expect("a reply")
    }

    /// Runs a tool with its host calls as a host does; `world` completes the effects that are not tools.
    pub(crate) fn run_tool(
        &mut self,
        ticket: Ticket,
        effect: Effect,
        world: &mut dyn FnMut(&mut Machine, Ticket, &Effect) -> Completion,
    ) {
        let Effect::RunTool { tool, env, input, limits } = effect else { panic!("{effect:?}") };
        let mut run = ToolRun::start(&tool, &input, limits, &env);
        loop {
            match run.step() {
                ToolStep::Yields => {}
                ToolStep::Asks(request) => {
                    let call = self.host_call(ticket, request);
                    let own = |(ticket, _): &mut (Ticket, Effect)| ticket.cause() == call.seq();
                    if let Some((inner, effect)) = self.effects.pop_if(own) {
                        match effect {
                            Effect::RunTool { .. } => self.run_tool(inner, effect, world),
                            effect => {
                                let completion = world(self, inner, &effect);
                                self.complete(inner, completion);
                            }
                        }
                    }
                    run.reply(self.replies.get(&call).expect("a reply"));
                }
                ToolStep::Ends(completion) => return self.complete(ticket, completion),
            }
        }
    }

    /// Passes a host call of a running tool to the kernel.
    pub(crate) fn host_call(&mut self, ticket: Ticket, request: ToolRequest) -> CallId {
        self.try_host_call(ticket, request).expect("it is heard")
    }

    pub(crate) fn try_host_call(&mut self, ticket: Ticket, request: ToolRequest) -> Result<CallId, Failure> {
        let now = self.now();
        let call = self.kernel.host_call(now, ticket, request);
        self.settle();
        call
    }

    pub(crate) fn call(&mut self, request: impl Into<AuthenticatedRequest>) -> Outcome {
        self.call_as(SessionId::OWNER, request)
    }

    /// Dispatches a request that must become an effect.
    pub(crate) fn effect(
        &mut self,
        session: SessionId,
        request: impl Into<AuthenticatedRequest>,
    ) -> (CallId, Ticket, Effect) {
        let call = self.dispatch(session, request);
        let (ticket, effect) =
            self.effects.pop().unwrap_or_else(|| panic!("no effect but {:?}", self.replies.get(&call)));
        (call, ticket, effect)
    }

    pub(crate) fn policy(&mut self, text: &str) {
        self.call(load(text)).unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// Sets an agent's budget as the owner.
    pub(crate) fn limit(&mut self, agent: &str, dimension: Dimension, limit: u64) {
        self.call(Request::Agent(AgentRequest::BudgetSet {
            dimension,
            limit: Some(limit),
            agent: Some(agent.into()),
        }))
        .unwrap();
    }

    pub(crate) fn agent(&mut self, name: &str) -> SessionId {
        match self.call(Request::Agent(AgentRequest::SessionOpen { agent: name.into() })) {
            Ok(Reply::Session(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    /// Makes a snapshot, which belongs to the next record.
    pub(crate) fn snapshot(&mut self) -> Vec<u8> {
        let now = self.now();
        let bytes = self.kernel.snapshot(now);
        self.settle();
        bytes
    }

    /// Erases a subject as a host does: makes a snapshot, then removes the bodies. Returns the `seq` that the
    /// snapshot belongs to, and the snapshot.
    pub(crate) fn erase(&mut self, subject: &str) -> Result<(u64, Vec<u8>), Failure> {
        let call = self.try_dispatch(
            SessionId::OWNER,
            Request::Audit(AuditRequest::Erase { subject: subject.into() }),
        )?;
        if let Some(Err(failure)) = self.replies.get(&call) {
            return Err(failure.clone());
        }
        let Some((ticket, Effect::Log(LogWork::Erase { subject, objects, entries }))) = self.effects.pop()
        else {
            panic!("an erasure is work on the log")
        };
        let snapshot = self.snapshot();
        let seq = self.kernel.entries() - 2;
        for record in &mut self.records {
            if record.subjects.contains(&subject) {
                record.body = [].into();
            }
        }
        self.complete(ticket, Completion::Value(erasure_outcome(subject, objects, entries)));
        Ok((seq, snapshot))
    }

    /// Verifies all records so far, with snapshots by `seq`.
    pub(crate) fn examined(&self, snapshots: &BTreeMap<u64, Vec<u8>>) -> (Vec<EntryStatus>, LogVerifier) {
        let mut examination = LogVerifier::new(0, ToolReplay::Rerun);
        let standings = self.records.iter().map(|record| {
            let body = Some(&*record.body).filter(|body| !body.is_empty());
            let kept = StoredBody { body, subjects: &record.subjects };
            examination.examine(&record.leaf, kept, snapshots.get(&record.seq).map(Vec::as_slice))
        });
        (standings.collect(), examination)
    }

    /// Re-executes all records so far and compares.
    pub(crate) fn replayed(&mut self) -> Kernel {
        self.replayed_with(ToolReplay::Rerun)
    }

    /// Re-executes with `tools`: a tool whose host calls the test made by hand cannot be run again.
    pub(crate) fn replayed_with(&mut self, tools: ToolReplay) -> Kernel {
        let mut replay = Replay::new(tools);
        for record in &self.records {
            let followed = replay.feed(&record.leaf, &record.body).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(followed.record.hash, record.hash);
        }
        let mut again = replay.finish().unwrap();
        assert_eq!(again.head(), self.kernel.head());
        assert_eq!(again.state_digest(), self.kernel.state_digest());
        again
    }
}

/// A world in which every effect fails.
pub(crate) fn no_world(_: &mut Machine, _: Ticket, _: &Effect) -> Completion {
    Completion::failed(Code::Io, "there is no world here")
}

pub(crate) fn json(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

pub(crate) fn load(text: &str) -> Request {
    Request::Admin(AdminRequest::PolicyLoad { text: text.into(), base_dir: None, files: Default::default() })
}

pub(crate) fn alloc(type_name: &str, value: &str) -> Request {
    Request::Heap(HeapRequest::Alloc {
        type_name: type_name.into(),
        content: Content::Json(json(value)),
        subject: None,
    })
}

pub(crate) fn new(type_name: &str, value: &str) -> BatchPart {
    BatchPart::Alloc { type_name: type_name.into(), content: Content::Json(json(value)), links: Vec::new() }
}

pub(crate) fn write(handle: Handle, patch: &str, expected_version: Option<u64>) -> Request {
    Request::Heap(HeapRequest::Write { handle, patch: json(patch), expected_version })
}

pub(crate) fn tool(name: &str, args: &str) -> Request {
    Request::Tools(ToolsRequest::Call { tool: name.into(), args: json(args) })
}

/// A tool that makes one host call with its own arguments, and returns the reply.
pub(crate) fn relay(name: &str, call: &str, needs: &[&str]) -> Request {
    let wat = include_str!("relay.wat").replace("CALL", call);
    register(name, &wat, needs)
}

fn register(name: &str, wat: &str, needs: &[&str]) -> Request {
    let module = wat::parse_str(wat).unwrap();
    let sha256 = Digest::from(<[u8; 32]>::from(sha2::Sha256::digest(&module)));
    let needs: Vec<Value> = needs.iter().map(|need| Value::from(*need)).collect();
    let manifest = object! {
        "name": name, "version": "1.0.0", "abi": "native", "sha256": format!("{sha256}"), "needs": needs,
    };
    Request::Tools(ToolsRequest::Register { manifest, module: module.into(), env: Vec::new() })
}

pub(crate) fn file_read(path: &str) -> Request {
    Request::File(FileRequest::Read { path: path.into(), bytes_max: 1000 })
}

pub(crate) fn handle(outcome: Outcome) -> Handle {
    match outcome {
        Ok(Reply::Handle(handle)) => handle,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn value(outcome: Outcome) -> Value {
    match outcome {
        Ok(Reply::Value(value)) => value,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Err(failure) => failure,
        Ok(reply) => panic!("it passed: {reply:?}"),
    }
}
