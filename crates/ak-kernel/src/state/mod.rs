//! The kernel's state, who asks, and what leaves it.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};

use ak_audit::{Decision, Kind};
use ak_heap::{Heap, HeapConfig, REQUEST_WORK, Work};
use ak_json::{Digest, Text, Value, object};
use ak_policy::{GrantTable, Policy, Steps};
use ak_sandbox::HostOperation;

use crate::{
    accounts::{agents::Agents, sessions::Sessions, tool_permissions::CallStack},
    api::{
        config::Config,
        effect::{Effect, StepAnswer, Ticket},
        operation::Operation,
        prepared::Prepared,
        reply::{Failure, Outcome},
        session::{AgentId, SessionId},
        time::{CLOCK_STEP_US_MAX, Clock, Now},
    },
    authz::{
        admission::Admission,
        gate::{Gate, REQUEST_STEPS_MAX, STEP_WORK},
    },
    codec::input::Input,
    effects::pending::PendingEffect,
    heap::types::Types,
    record::{
        entry::{Chain, EntryFields, Record},
        history::History,
        recorded::EarlierDecision,
        subjects::{RecordSubjects, Subjects},
        view::View,
    },
    tools::registry::Toolbox,
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
    pub(crate) tools: CallStack,
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
    Resume(Ticket, StepAnswer),
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
    pub(crate) pending: BTreeMap<Ticket, PendingEffect>,
    pub(crate) admission: Admission,
    pub(crate) chain: Chain,
    pub(crate) records: VecDeque<Record>,
    pub(crate) committed: Option<u64>,
    pub(crate) outputs: VecDeque<(u64, Output)>,
    /// Units of work that the input has taken so far.
    pub(crate) work: u64,
    /// What is left for the decisions on it.
    pub(crate) steps: Steps,
    /// What was worked out beforehand of the request that is being decided on.
    pub(crate) prepared: Prepared,
    /// What an earlier version decided about the input that is executed, while a journal of that version is continued.
    pub(crate) recorded: Option<EarlierDecision>,
    /// The version that the state comes from, until the journal goes on under this one.
    pub(crate) earlier: Option<u64>,
    /// The version that the state was brought into this one's form from, until that is recorded.
    pub(crate) upgraded: Option<u64>,
    /// The newest snapshot that has begun, until it is ended. What comes does not depend on it but for its end.
    pub(crate) begun: Option<SnapshotBegun>,
}

/// A snapshot that has begun and is not kept yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotBegun {
    /// The entry that it belongs to.
    pub(crate) seq: u64,
    /// The digest of the state before that entry, where the kernel is replayed. Whoever makes the snapshot brings it.
    pub(crate) state: Option<Digest>,
}

impl Kernel {
    /// A kernel that knows of nothing but these.
    pub(crate) fn empty(
        config: Config,
        chain: Chain,
        policy: Policy,
        pending: BTreeMap<Ticket, PendingEffect>,
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
            outputs: VecDeque::new(),
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
            pending,
            config,
        }
    }

    /// The kernel's limits.
    pub fn config(&self) -> &Config {
        &self.config
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

    /// The records that were not polled yet.
    pub(crate) fn unpolled(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
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

    /// What whoever asked is shown of a failure. The last denial is kept.
    pub(crate) fn redact_for_caller(&mut self, caller: &Caller, mut failure: Failure) -> Failure {
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
            failure.tell_wait();
        }
        if let Some(agent) = self.agents.get_mut(caller.account) {
            agent.last_denial = Some(denial.clone());
        }
        failure.denial = Some(Box::new(denial));
        failure
    }

    /// Moves both clocks on.
    pub(crate) fn advance(&mut self, now: &Now) {
        self.clock = self.clock.after(now);
    }

    /// Records that the wall clock stepped, where it did.
    pub(crate) fn record_clock_step(&mut self, now: &Now) {
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

    pub(crate) fn notice(&self, operation: Operation) -> EntryFields {
        EntryFields {
            operation,
            kind: Kind::Notice,
            decision: Decision::Permit,
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
        facts: EntryFields,
        about: Vec<Text>,
        details: Value,
    ) {
        let about = self.subjects.intern(about, &now.entropy, None);
        self.record_about(now, input, facts, about, details);
    }

    pub(crate) fn record_about(
        &mut self,
        now: &Now,
        input: &Input,
        facts: EntryFields,
        about: RecordSubjects,
        details: Value,
    ) {
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

    /// Takes from an agent's rates what the newest record took, of a request or of none.
    pub(crate) fn charge_newest(&mut self, account: AgentId, requests: u64, refused: bool) {
        let bytes = |record: &Record| record.leaf.len().saturating_add(record.body.len());
        let bytes = self.records.back().map_or(0, bytes);
        let steps = core::mem::replace(&mut self.steps, Steps::new(REQUEST_STEPS_MAX));
        let decided = (REQUEST_STEPS_MAX - steps.left()) as u64 * STEP_WORK;
        let work = core::mem::take(&mut self.work).saturating_add(decided);
        self.charge_admission(account, [requests, u64::from(refused), bytes as u64, work]);
    }

    /// What the heap has forgotten with its newest change needs no subject.
    pub(crate) fn forget_subjects_of_forgotten(&mut self) {
        for handle in self.heap.dropped_tombstones() {
            self.subjects.forget_object(*handle);
        }
    }
}

/// Names the next entry: run and `seq`.
fn trace_id(chain: &Chain) -> String {
    let [a, b, c, d, ..] = chain.run();
    format!("{}-{}", hex::encode([*a, *b, *c, *d]), chain.next_seq())
}

impl PendingEffect {
    /// The caller that it is for.
    pub(crate) fn caller(&self) -> Caller {
        Caller { within: self.within, tools: self.tools.clone(), ..Caller::new(self.session, self.account) }
    }
}
