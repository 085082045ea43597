//! The state machine: inputs go in, records and outputs come out, nothing else happens.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};

use ak_audit::{Kind, Verdict as Ruled};
use ak_heap::{Heap, HeapConfig};
use ak_json::{Digest, Text, Value, object};
use ak_policy::{GrantTable, Policy};
use ak_sandbox::HostOperation;

use crate::{
    admission::Admission,
    agents::Agents,
    code::Code,
    config::Config,
    effect::{Effect, Ticket, Verdict},
    gate::{Gate, Ruling},
    history::{History, View},
    needs::ToolLine,
    operation::Operation,
    presented::Asked,
    record::{Chain, Facts, Input, Record},
    reply::{Failure, Outcome, outcome_to_value},
    request::{Request, SUBJECT_BYTES_MAX},
    session::Session,
    subject::{About, Subjects},
    time::{Now, Time},
    toolbox::Toolbox,
    types::Types,
    under_way::{Next, UnderWay},
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
    pub(crate) session: Session,
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
    pub(crate) const fn session(session: Session) -> Caller {
        Caller { session, within: None, tools: Vec::new(), fuel_left: 0, host_call: None }
    }

    /// Whether the owner asks, and not a tool that the owner called: that is nobody but the agent `main`.
    pub(crate) const fn is_owner(&self) -> bool {
        self.session.is_owner() && self.within.is_none()
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
    pub(crate) clock: Time,
    pub(crate) policy: Policy,
    pub(crate) grants: GrantTable,
    pub(crate) agents: Agents,
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
}

impl Kernel {
    /// A new kernel. Its first record, the genesis entry, waits already.
    pub fn new(now: Now, config: Config) -> Kernel {
        let chain = Chain::new(&now.entropy);
        let mut kernel = Kernel::bare(config, chain, Policy::baseline(), BTreeMap::new());
        kernel.clock = now.time;
        kernel.agents = Agents::new(now.time);
        kernel.toolbox = Toolbox::with_builtin(&kernel.config);
        kernel.grants.load(&kernel.policy, now.time.as_micros());
        let facts = kernel.notice(Operation::Genesis);
        let input = Input::Genesis { config: kernel.config.clone() };
        kernel.record(&now, &input, facts, Vec::new(), object! {});
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
            clock: Time::default(),
            grants: GrantTable::default(),
            agents: Agents::new(Time::default()),
            toolbox: Toolbox::empty(&config),
            history: History::new(config.history_bytes_max),
            subjects: Subjects::new(),
            heap: Heap::new(Kernel::heap_config(&config)),
            types: Types::default(),
            records: VecDeque::new(),
            admission: Admission::default(),
            committed: None,
            held: VecDeque::new(),
            chain,
            policy,
            under_way,
            config,
        }
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
    /// RATE_LIMIT with `retry_after_ms` when the session asks too often, or is refused too often. Nothing was done then, and
    /// nothing recorded but that somebody was turned away.
    pub fn dispatch(
        &mut self,
        now: Now,
        session: Session,
        asked: impl Into<Asked>,
    ) -> Result<CallId, Failure> {
        self.note_turned_away(&now);
        self.admit(&now, session)?;
        Ok(self.heard(now, session, asked.into()))
    }

    /// Takes a request that was admitted.
    pub(crate) fn heard(&mut self, now: Now, session: Session, asked: Asked) -> CallId {
        self.take(&now, &Caller::session(session), None, asked, |asked| Input::Dispatch { session, asked })
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
        let (session, request) = (caller.session, &asked.request);
        let agent = self.agents.get(session).map(|agent| agent.name.clone());
        let unnameable = self.check_subject(request, session).err();
        let about = match (&agent, &unnameable) {
            (Some(agent), None) => self.subjects_of(request, agent),
            (agent, _) => agent.iter().cloned().collect(),
        };
        let about = self.subjects.meet(about, &now.entropy, session);
        let refused = |rule: &str, failure| (Ruling::new(Ruled::Refused, rule, None), Err(failure));
        let (ruling, next) = match (&agent, unnameable, barred) {
            (None, _, _) => {
                let message = format!("there is no session {}", session.number());
                refused("session", Failure::new(Code::InvalidArgument, message))
            }
            (Some(_), Some(failure), _) => refused("limit", failure),
            (Some(_), None, Some(failure)) => refused("host-call", failure),
            (Some(agent), None, None) => self.decide(caller, agent.clone(), asked.clone()),
        };
        let (output, reply) = match next {
            Ok(Next::Effect(effect, under_way)) => {
                let ticket = Ticket::new(seq);
                self.under_way.insert(ticket, *under_way);
                (Output::Perform(ticket, effect), None)
            }
            Ok(Next::Reply(reply)) => {
                let outcome = Ok(reply);
                let value = outcome_to_value(&outcome);
                (Output::Reply(CallId(seq), outcome), Some((0, value)))
            }
            Err(failure) => {
                let code = failure.code.number();
                let outcome = Err(self.shown(caller, failure));
                let value = outcome_to_value(&outcome);
                (Output::Reply(CallId(seq), outcome), Some((code, value)))
            }
        };
        let others = match &output {
            Output::Reply(_, Ok(reply)) => {
                self.note_subject(request, reply);
                self.others_in(request, reply)
            }
            Output::Reply(_, Err(_)) | Output::Perform(..) | Output::Resume(..) => Vec::new(),
        };
        let code = reply.as_ref().map_or(0, |(code, _)| *code);
        let event = match request {
            Request::AuditLog { event, .. } if code == 0 => Some(event.clone()),
            _ => None,
        };
        let reply = reply.map(|(_, value)| value);
        let details = crate::describe::decision(request, &caller.tools, &ruling, reply.as_ref());
        let facts = Facts {
            operation: request.operation(),
            kind: if caller.within.is_some() { Kind::Step } else { Kind::Decision },
            decision: ruling.ruled,
            code,
            cause: caller.within.map(Ticket::cause),
            policy: self.policy.digest(),
            target: ruling.target,
            reply,
            others,
            agent: agent.unwrap_or_default(),
            rule: ruling.rule,
            event,
        };
        let refused = ruling.ruled != Ruled::Permit;
        self.record_about(now, &input(asked), facts, about, details);
        self.charge_newest(caller, refused);
        self.held.push_back((seq, output));
        CallId(seq)
    }

    /// Takes from an agent's rates what the newest record took.
    pub(crate) fn charge_newest(&mut self, caller: &Caller, refused: bool) {
        let bytes = |record: &Record| record.leaf.len().saturating_add(record.body.len());
        let bytes = self.records.back().map_or(0, bytes);
        self.charge_admission(caller, refused, bytes);
    }

    /// Whether the kernel can take the subject that a request names, if it names one.
    fn check_subject(&self, request: &Request, session: Session) -> Result<(), Failure> {
        let Some(subject) = request.subject() else { return Ok(()) };
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
            let message = format!("a subject's name has 1 to {SUBJECT_BYTES_MAX} bytes");
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        if self.subjects.id(subject).is_some() {
            return Ok(());
        }
        let Config { subjects_max, subjects_per_agent_max, .. } = self.config;
        let (all, own) = self.subjects.count(session);
        let message = if all >= subjects_max {
            format!("there are {subjects_max} subjects already")
        } else if own >= subjects_per_agent_max && !session.is_owner() {
            format!("the agent has named {subjects_per_agent_max} subjects already")
        } else {
            return Ok(());
        };
        Err(Failure::new(Code::Quota, message))
    }

    /// Decides on a request and, if it may pass, acts on it.
    fn decide(
        &mut self,
        caller: &Caller,
        agent: Text,
        Asked { request, presented }: Asked,
    ) -> (Ruling, Result<Next, Failure>) {
        let amounts = match self.costs(caller, &agent, &request) {
            Ok(amounts) => amounts,
            Err(failure) => {
                let ruling = Ruling::new(Ruled::Refused, "limit", None);
                return (ruling, Err(failure));
            }
        };
        let (tools, host_call) = (caller.tools.clone(), caller.host_call);
        let gate = self.gate(caller.session, agent);
        let mut gate = Gate { presented: presented.clone(), tools, host_call, ..gate };
        let (ruling, permit) = gate.authorize(request, amounts);
        let next = permit.and_then(|permit| self.exercise(caller, ruling.target.clone(), presented, permit));
        (ruling, next)
    }

    pub(crate) fn gate(&mut self, session: Session, agent: Text) -> Gate<'_> {
        self.gate_and_heap(session, agent).0
    }

    /// The gate, and the heap to ask it about.
    pub(crate) fn gate_and_heap(&mut self, session: Session, agent: Text) -> (Gate<'_>, &Heap) {
        let gate = Gate {
            policy: &self.policy,
            grants: &mut self.grants,
            agents: &mut self.agents,
            session,
            agent,
            presented: None,
            tools: Vec::new(),
            host_call: None,
            run: *self.chain.run(),
            now: self.clock,
            trace_id: trace_id(&self.chain),
        };
        (gate, &self.heap)
    }

    /// Says that every record up to `seq` is as durable as it will ever be. Outputs that rest on them are released.
    pub fn committed(&mut self, seq: u64) {
        self.committed = self.committed.max(Some(seq));
    }

    /// The next record to make durable.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// The next output whose record is committed.
    pub fn poll_output(&mut self) -> Option<Output> {
        let (seq, _) = self.held.front()?;
        if Some(*seq) > self.committed {
            return None;
        }
        self.held.pop_front().map(|(_, output)| output)
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

    /// Time never falls.
    pub(crate) fn advance(&mut self, now: &Now) {
        self.clock = self.clock.max(now.time);
    }

    /// What whoever asked is shown of a failure. The last denial is kept.
    pub(crate) fn shown(&mut self, caller: &Caller, mut failure: Failure) -> Failure {
        let Some(denial) = failure.denial.take() else { return failure };
        let full = caller.is_owner() || self.policy.denial_detail_full();
        let denial = if full { *denial } else { denial.redacted() };
        if !full {
            failure.message = match denial.target.as_str() {
                "" => format!("{}: {}", denial.op, denial.reason),
                target => format!("{} {target}: {}", denial.op, denial.reason),
            };
        }
        if let Some(agent) = self.agents.get_mut(caller.session) {
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
        let about = self.subjects.meet(about, &now.entropy, Session::OWNER);
        self.record_about(now, input, facts, about, details);
    }

    fn record_about(&mut self, now: &Now, input: &Input, facts: Facts, about: About, details: Value) {
        // Whoever was erased by this very input leaves no trace in what can be read.
        let names = about
            .names
            .iter()
            .chain(&facts.others)
            .filter(|name| self.subjects.id(name).is_some_and(|id| id > 0));
        let view = View::new(self.chain.next_seq(), self.clock, &facts, names.cloned().collect(), details);
        let reply_salt = self.subjects.salt_with(&about, &facts.others);
        let record = self.chain.record(now, self.clock, input, facts, about, &reply_salt);
        self.history.push(view);
        self.records.push_back(record);
    }
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
