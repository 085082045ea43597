//! The state machine: inputs go in, records and outputs come out, nothing else happens.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};

use ak_audit::{Decision as Ruled, Kind};
use ak_heap::{Heap, HeapConfig, REQUEST_WORK, Work};
use ak_json::{Digest, Text, Value, object};
use ak_policy::{GrantTable, Policy, Steps, budget::Dimension};
use ak_sandbox::HostOperation;

use crate::{
    admission::Admission,
    agents::{Agents, GUEST, MAIN},
    code::Code,
    config::Config,
    effect::{Effect, Ticket, Verdict},
    gate::{Gate, REQUEST_STEPS_MAX, Ruling, STEP_WORK},
    history::History,
    needs::ToolLine,
    operation::Operation,
    prepared::Prepared,
    presented::Asked,
    record::{Chain, Facts, Input, Record, SEMANTICS_VERSION},
    reply::{Failure, Outcome, outcome_facts},
    request::Request,
    session::{AgentId, SessionId, Sessions},
    snapshot::Begun,
    subject::{About, SUBJECT_BYTES, Subjects},
    time::{CLOCK_STEP_US_MAX, Clock, Now},
    toolbox::Toolbox,
    types::Types,
    under_way::{Next, UnderWay},
    upgrade::Recorded,
    view::View,
};

/// Names one request until its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u64);

impl CallId {
    /// The `seq` of the request's decision record.
    pub const fn seq(self) -> u64 {
        self.0
    }
}

/// Who makes a request.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) session: SessionId,
    /// The session's agent.
    pub(crate) account: AgentId,
    /// The running tool that asks for it, on the session's behalf.
    pub(crate) within: Option<Ticket>,
    /// That tool, and those that called it.
    pub(crate) tools: ToolLine,
    /// What that tool has left.
    pub(crate) fuel_left: u64,
    /// By which host call it asks.
    pub(crate) host_call: Option<HostOperation>,
}

impl Caller {
    /// A session for itself.
    pub(crate) const fn new(session: SessionId, account: AgentId) -> Caller {
        Caller { session, account, within: None, tools: Vec::new(), fuel_left: 0, host_call: None }
    }

    /// Whether the owner asks, and not a tool that the owner called: that is nobody but the agent `main`.
    pub(crate) const fn is_owner(&self) -> bool {
        self.account.is_main() && self.within.is_none()
    }
}

/// What leaves the kernel, after the record that decided it was committed.
#[derive(Clone, Debug)]
pub enum Output {
    /// A request is answered.
    Reply(CallId, Outcome),
    /// The host shall perform this and say how it ended.
    Perform(Ticket, Effect),
    /// The answer to a step of an effect under way.
    Resume(Ticket, Verdict),
}

/// The Authority Kernel: a deterministic state machine.
///
/// Call order: after every input take all records with [`poll_record`](Self::poll_record), make them durable, say so with
/// [`committed`](Self::committed), and only then take the outputs with [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub struct Kernel {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) policy: Policy,
    /// The files of this machine that the policy in force was read from.
    pub(crate) policy_files: Vec<Text>,
    pub(crate) grants: GrantTable,
    pub(crate) agents: Agents,
    pub(crate) sessions: Sessions,
    pub(crate) heap: Heap,
    pub(crate) types: Types,
    pub(crate) toolbox: Toolbox,
    pub(crate) history: History,
    pub(crate) subjects: Subjects,
    pub(crate) under_way: BTreeMap<Ticket, UnderWay>,
    pub(crate) admission: Admission,
    pub(crate) chain: Chain,
    records: VecDeque<Record>,
    committed: Option<u64>,
    pub(crate) held: VecDeque<(u64, Output)>,
    /// Units of work that the input has taken so far.
    pub(crate) work: u64,
    /// What is left for the decisions on it.
    pub(crate) steps: Steps,
    /// What was worked out beforehand of the request that is being decided on.
    pub(crate) prepared: Prepared,
    /// What an earlier version decided about the input that is executed, while a journal of that version is continued.
    pub(crate) recorded: Option<Recorded>,
    /// The version that the state comes from, until the journal goes on under this one.
    pub(crate) earlier: Option<u64>,
    /// The version that the state was brought into this one's form from, until that is recorded.
    pub(crate) upgraded: Option<u64>,
    /// The newest snapshot that has begun, until it is ended. What comes does not depend on it but for its end.
    pub(crate) begun: Option<Begun>,
}

impl Kernel {
    /// A new kernel. Its first record, the genesis entry, waits already.
    pub fn new(now: Now, config: Config) -> Kernel {
        let chain = Chain::new(&now.entropy);
        let mut kernel = Kernel::bare(config, chain, Policy::baseline(), BTreeMap::new());
        kernel.clock = Clock::new(&now);
        kernel.agents = Agents::new(kernel.clock.elapsed);
        let guests = kernel.agents.find(GUEST).unwrap_or(AgentId::MAIN);
        kernel.sessions = Sessions::new(guests);
        kernel.toolbox = Toolbox::with_builtin(&kernel.config);
        kernel.grants.load(&kernel.policy, kernel.clock.elapsed);
        let facts = kernel.notice(Operation::Genesis);
        let input = Input::Genesis { config: kernel.config.clone(), semantics: SEMANTICS_VERSION };
        kernel.record(&now, &input, facts, Vec::new(), object! {});
        kernel
    }

    /// A kernel as an earlier version began it, by its genesis entry.
    pub(crate) fn earlier(now: &Now, config: Config, version: u64, leaf: &[u8]) -> Kernel {
        let mut kernel = Kernel::bare(config, Chain::new(&now.entropy), Policy::baseline(), BTreeMap::new());
        kernel.clock = Clock::from_wall(now.wall.as_micros());
        kernel.agents.open_alone(&Text::from(MAIN), &kernel.policy, kernel.clock.elapsed);
        kernel.sessions.adopt(0, AgentId::MAIN);
        kernel.toolbox = Toolbox::with_builtin(&kernel.config);
        kernel.grants.load(&kernel.policy, kernel.clock.elapsed);
        kernel.earlier = Some(version);
        // The kernel itself is the first that anything is about.
        kernel.subjects.meet(Vec::new(), &now.entropy, None);
        kernel.chain.follow(ak_audit::leaf_hash(leaf).into());
        kernel
    }

    /// A kernel that knows of nothing but these.
    pub(crate) fn bare(
        config: Config,
        chain: Chain,
        policy: Policy,
        under_way: BTreeMap<Ticket, UnderWay>,
    ) -> Kernel {
        Kernel {
            clock: Clock::default(),
            grants: GrantTable::default(),
            agents: Agents::empty(),
            sessions: Sessions::empty(),
            toolbox: Toolbox::empty(&config),
            history: History::new(config.history_bytes_max),
            subjects: Subjects::new(),
            heap: Heap::new(Kernel::heap_config(&config)),
            types: Types::default(),
            records: VecDeque::new(),
            admission: Admission::default(),
            committed: None,
            held: VecDeque::new(),
            work: 0,
            steps: Steps::new(REQUEST_STEPS_MAX),
            prepared: Prepared::default(),
            recorded: None,
            earlier: None,
            upgraded: None,
            policy_files: Vec::new(),
            begun: None,
            chain,
            policy,
            under_way,
            config,
        }
    }

    /// A meter for what one request may do to the heap.
    pub(crate) fn meter(&self) -> Work {
        // What an earlier version did was within its own limits.
        if self.recorded.is_some() { Work::unlimited() } else { Work::new(REQUEST_WORK) }
    }

    pub(crate) fn heap_config(config: &Config) -> HeapConfig {
        HeapConfig {
            objects_max: config.heap_objects_max,
            bytes_max: config.heap_bytes_max,
            content: config.json_limits(),
            ..HeapConfig::default()
        }
    }

    /// Takes a request. Its reply comes as an output under the id returned.
    ///
    /// # Errors
    /// RATE_LIMIT with `retry_after_ms` when the agent asks too often, or is refused too often. LIMIT, QUOTA and
    /// INVALID_ARGUMENT for a request that is too long, that names a subject where the agent may name no more, or whose
    /// session is not open. Nothing was done then, and nothing recorded but that somebody was turned away.
    pub fn dispatch(
        &mut self,
        now: Now,
        session: SessionId,
        asked: impl Into<Asked>,
    ) -> Result<CallId, Failure> {
        let asked = asked.into();
        self.note_turned_away(&now);
        let admitted = self.admit(&now, session, &asked);
        if let Err(failure) = admitted {
            let account = self.sessions.agent(session);
            self.turn_away_account(&now, account);
            return Err(failure);
        }
        self.note_step(&now);
        Ok(self.heard(now, session, asked))
    }

    /// Takes a request that was admitted.
    pub(crate) fn heard(&mut self, now: Now, session: SessionId, asked: Asked) -> CallId {
        let account = self.sessions.agent(session);
        let caller = Caller::new(session, account.unwrap_or(AgentId::MAIN));
        let barred = account.is_none().then(|| no_session(session));
        self.take(&now, &caller, barred, asked, |asked| Input::Dispatch { session, asked })
    }

    /// Takes a request, by which `input` reached the kernel. It is refused at once where it is `barred`.
    pub(crate) fn take(
        &mut self,
        now: &Now,
        caller: &Caller,
        barred: Option<Failure>,
        asked: Asked,
        input: impl FnOnce(Asked) -> Input,
    ) -> CallId {
        self.advance(now);
        let seq = self.chain.next_seq();
        let (account, request) = (caller.account, &asked.request);
        let agent = self.agents.name(account);
        let about = self.subjects_of(request, &agent);
        let named = request.subject().map(|subject| (subject, account));
        if let Some((subject, account)) = named
            && !self.subjects.is_named_by(subject, account)
            && self.recorded.is_none()
        {
            let bytes = SUBJECT_BYTES.saturating_add(subject.len() as u64);
            self.agents.record(account, Dimension::Memory, bytes, self.clock.elapsed);
        }
        let about = self.subjects.meet(about, &now.entropy, named);
        let (mut ruling, next) = match barred {
            Some(failure) => (Ruling::new(Ruled::Refused, "host-call", None), Err(failure)),
            None => self.decide(caller, agent.clone(), asked.clone()),
        };
        let (output, outcome) = match next {
            Ok(Next::Effect(effect, under_way)) => {
                let ticket = Ticket::new(seq);
                self.under_way.insert(ticket, *under_way);
                (Output::Perform(ticket, effect), None)
            }
            Ok(Next::Reply(reply)) => (Output::Reply(CallId(seq), Ok(reply.clone())), Some((0, Ok(reply)))),
            // A request that was only asked about is recorded as what the answer was.
            Ok(Next::Preview(decided, reply)) => {
                ruling = *decided;
                (Output::Reply(CallId(seq), Ok(reply.clone())), Some((0, Ok(reply))))
            }
            Err(failure) => {
                let code = failure.code.number();
                let outcome = Err(self.shown(caller, failure));
                (Output::Reply(CallId(seq), outcome.clone()), Some((code, outcome)))
            }
        };
        let others = match &output {
            Output::Reply(_, Ok(reply)) => {
                self.note_subject(request, reply);
                self.others_in(request, reply)
            }
            Output::Reply(_, Err(_)) | Output::Perform(..) | Output::Resume(..) => Vec::new(),
        };
        let code = outcome.as_ref().map_or(0, |(code, _)| *code);
        let event = match request {
            Request::AuditLog { event, .. } if code == 0 => Some(event.clone()),
            _ => None,
        };
        let operation = request.operation();
        let reply = outcome.as_ref().map(|(_, outcome)| outcome_facts(operation, outcome, None).digest());
        let details =
            crate::describe::decision(request, caller, &ruling, outcome.as_ref().map(|(_, outcome)| outcome));
        let refused = code != 0 && ruling.ruled != Ruled::Permit;
        let facts = Facts {
            operation,
            kind: if caller.within.is_some() { Kind::Step } else { Kind::Decision },
            decision: ruling.ruled,
            code,
            cause: caller.within.map(Ticket::cause),
            policy: self.policy.digest(),
            target: ruling.target,
            reply,
            message: outcome.and_then(|(_, outcome)| outcome.err()).map(|failure| failure.message),
            others,
            agent,
            rule: ruling.rule,
            event,
        };
        self.record_about(now, &input(asked), facts, about, details);
        self.charge_newest(caller.account, 1, refused);
        self.held.push_back((seq, output));
        CallId(seq)
    }

    /// Takes from an agent's rates what the newest record took, of a request or of none.
    pub(crate) fn charge_newest(&mut self, account: AgentId, requests: u64, refused: bool) {
        let bytes = |record: &Record| record.leaf.len().saturating_add(record.body.len());
        let bytes = self.records.back().map_or(0, bytes);
        let steps = core::mem::replace(&mut self.steps, Steps::new(REQUEST_STEPS_MAX));
        let decided = (REQUEST_STEPS_MAX - steps.left()) as u64 * STEP_WORK;
        let work = core::mem::take(&mut self.work).saturating_add(decided);
        self.charge_admission(account, [requests, u64::from(refused), bytes as u64, work]);
    }

    /// Decides on a request and, if it may pass, acts on it.
    fn decide(
        &mut self,
        caller: &Caller,
        agent: Text,
        Asked { request, presented, prepared }: Asked,
    ) -> (Ruling, Result<Next, Failure>) {
        self.prepared = prepared;
        let mut request = request;
        if self.recorded.is_none() {
            let is_bound = presented.is_some() || self.agents.holdings.has_any(caller.account);
            let is_bound = is_bound || self.policy.limits_usage();
            self.limit_answer(caller.account, &agent, &mut request, is_bound);
        }
        let amounts = match self.costs(caller, &agent, &request) {
            Ok(amounts) => amounts,
            Err(failure) => {
                self.prepared = Prepared::default();
                let ruling = Ruling::new(Ruled::Refused, "limit", None);
                return (ruling, Err(failure));
            }
        };
        let mut gate = Gate { presented: presented.clone(), ..self.gate_of(caller, agent) };
        let (ruling, permit) = gate.authorize(request, amounts);
        let next = permit.and_then(|permit| self.exercise(caller, ruling.target.clone(), presented, permit));
        self.prepared = Prepared::default();
        (ruling, next)
    }

    /// The gate for a caller: a session for itself, or a tool on its behalf.
    pub(crate) fn gate_of(&mut self, caller: &Caller, agent: Text) -> Gate<'_> {
        let (tools, host_call) = (caller.tools.clone(), caller.host_call);
        Gate { owner: caller.is_owner(), tools, host_call, ..self.gate(caller.account, agent) }
    }

    pub(crate) fn gate(&mut self, account: AgentId, agent: Text) -> Gate<'_> {
        Gate {
            policy: &self.policy,
            grants: &mut self.grants,
            agents: &mut self.agents,
            heap: &self.heap,
            account,
            owner: account.is_main(),
            agent,
            presented: None,
            tools: Vec::new(),
            host_call: None,
            run: *self.chain.run(),
            clock: self.clock,
            trace_id: trace_id(&self.chain),
            recorded: self.recorded.as_ref(),
            prepared: &self.prepared,
            // What an earlier version decided was within its own limits.
            steps: self.recorded.is_none().then_some(&self.steps),
        }
    }

    /// Says that every record up to `seq` is as durable as it will ever be. Outputs that rest on them are released.
    pub fn committed(&mut self, seq: u64) {
        self.committed = self.committed.max(Some(seq));
    }

    /// The next record to make durable.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// The records that were not polled yet.
    pub(crate) fn unpolled(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// The next output whose record is committed.
    pub fn poll_output(&mut self) -> Option<Output> {
        let (seq, _) = self.held.front()?;
        if Some(*seq) > self.committed {
            return None;
        }
        self.held.pop_front().map(|(_, output)| output)
    }

    /// The open sessions, but for the owner's first one and the one that guests come through. After a restart nobody holds
    /// them any more.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.sessions.closable().collect()
    }

    /// The leaf hash of the newest entry.
    pub fn head(&self) -> Digest {
        self.chain.head()
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.chain.next_seq()
    }

    /// The id of the log, made with it.
    pub const fn run(&self) -> [u8; 16] {
        *self.chain.run()
    }

    /// The kernel's limits.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Moves both clocks on.
    pub(crate) fn advance(&mut self, now: &Now) {
        self.clock = self.clock.after(now);
    }

    /// Records that the wall clock stepped, where it did.
    pub(crate) fn note_step(&mut self, now: &Now) {
        if self.clock.step_us(now).unsigned_abs() > CLOCK_STEP_US_MAX {
            self.clock_stepped(now);
        }
    }

    /// Records by how much the wall clock stepped.
    pub(crate) fn clock_stepped(&mut self, now: &Now) {
        let step_us = self.clock.step_us(now);
        self.advance(now);
        let facts = self.notice(Operation::ClockStep);
        self.record(now, &Input::ClockStep, facts, Vec::new(), object! { "step_us": step_us });
    }

    /// What whoever asked is shown of a failure. The last denial is kept.
    pub(crate) fn shown(&mut self, caller: &Caller, mut failure: Failure) -> Failure {
        let full = caller.is_owner() || self.policy.denial_detail_full();
        let Some(denial) = failure.denial.take() else {
            return if full { failure } else { failure.redacted() };
        };
        let denial = if full { *denial } else { denial.redacted() };
        if !full {
            failure.message = match denial.target.as_str() {
                "" => format!("{}: {}", denial.op, denial.reason),
                target => format!("{} {target}: {}", denial.op, denial.reason),
            };
        }
        if let Some(agent) = self.agents.get_mut(caller.account) {
            agent.last_denial = Some(denial.clone());
        }
        failure.denial = Some(Box::new(denial));
        failure
    }

    pub(crate) fn notice(&self, operation: Operation) -> Facts {
        Facts {
            operation,
            kind: Kind::Notice,
            decision: Ruled::Permit,
            code: 0,
            cause: None,
            policy: self.policy.digest(),
            target: None,
            reply: None,
            message: None,
            others: Vec::new(),
            agent: Text::default(),
            rule: Text::default(),
            event: None,
        }
    }

    /// Records an input that is about these subjects.
    pub(crate) fn record(
        &mut self,
        now: &Now,
        input: &Input,
        facts: Facts,
        about: Vec<Text>,
        details: Value,
    ) {
        let about = self.subjects.meet(about, &now.entropy, None);
        self.record_about(now, input, facts, about, details);
    }

    fn record_about(&mut self, now: &Now, input: &Input, facts: Facts, about: About, details: Value) {
        // Whoever was erased by this very input leaves no trace in what can be read.
        let names = about
            .names
            .iter()
            .chain(&facts.others)
            .filter(|name| self.subjects.id(name).is_some_and(|id| id > 0));
        let names: Vec<Text> = names.cloned().collect();
        let message = facts.message.as_deref();
        let view = View::new(self.chain.next_seq(), self.clock.wall, &facts, &names, details, message);
        self.history.push(view);
        if let Some(recorded) = &self.recorded {
            // The entry stands already, as the version that wrote it made it.
            self.chain.follow(recorded.hash);
            return;
        }
        let reply_salt = self.subjects.salt_with(&about, &facts.others);
        let record = self.chain.record(now, &self.clock, input, facts, about, &reply_salt);
        self.records.push_back(record);
    }
}

fn no_session(session: SessionId) -> Failure {
    Failure::new(Code::InvalidArgument, format!("session {} is not open", session.number()))
}

/// Names the next entry: run and `seq`.
fn trace_id(chain: &Chain) -> String {
    let mut text = String::new();
    for byte in chain.run().iter().take(4) {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push_str(&format!("-{}", chain.next_seq()));
    text
}
