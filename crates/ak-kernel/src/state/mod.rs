//! The kernel's state, the caller of a request, and the recording of inputs.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
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

/// Identifies a request until its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u64);

impl CallId {
    /// The `seq` of the request's decision record.
    pub const fn seq(self) -> u64 {
        self.0
    }
}

/// The caller of a request.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) session: SessionId,
    /// The session's agent.
    pub(crate) account: AgentId,
    /// The running tool that sends the request on the session's behalf.
    pub(crate) within: Option<Ticket>,
    /// That tool and those that called it, the innermost last.
    pub(crate) tools: CallStack,
    /// The fuel that the tool has left.
    pub(crate) fuel_left: u64,
    /// The host call by which the tool sends the request.
    pub(crate) host_call: Option<HostOperation>,
}

impl Caller {
    /// A session that sends a request itself.
    pub(crate) const fn new(session: SessionId, account: AgentId) -> Caller {
        Caller { session, account, within: None, tools: Vec::new(), fuel_left: 0, host_call: None }
    }

    /// Whether the owner sends the request itself. A tool run by the owner does not get owner rights: it acts as
    /// the agent `main`.
    pub(crate) const fn is_owner(&self) -> bool {
        self.account.is_main() && self.within.is_none()
    }
}

/// An output of the kernel, available once its record is committed: a reply, an effect, or the answer to a step.
#[derive(Clone, Debug)]
pub enum Output {
    /// The reply to a request.
    Reply(CallId, Outcome),
    /// An effect to perform. The host reports its end with [`Kernel::complete`].
    Perform(Ticket, Effect),
    /// The answer to a step of a pending effect.
    Resume(Ticket, StepAnswer),
}

/// The Authority Kernel: a deterministic state machine that decides on requests and produces records and outputs.
///
/// Call order: after every input take all records with [`poll_record`](Self::poll_record), make them durable,
/// confirm this with [`committed`](Self::committed), and only then take the outputs with
/// [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub struct Kernel {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) policy: Policy,
    /// The files on this machine that the policy in force was read from.
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
    /// Units of work on the heap that the current input has used so far.
    pub(crate) work: u64,
    /// The steps that are left for decisions on the current input.
    pub(crate) steps: Steps,
    /// What was computed in advance from the request that is being decided on.
    pub(crate) prepared: Prepared,
    /// The earlier version's decision on the current input, while the journal of that version is executed.
    pub(crate) recorded: Option<EarlierDecision>,
    /// The version of the journal that is executed, until it continues under this version.
    pub(crate) earlier: Option<u64>,
    /// The version from which the state was converted, until that is recorded.
    pub(crate) upgraded: Option<u64>,
    /// The newest snapshot that has begun and not ended. Only the record of its end depends on it.
    pub(crate) begun: Option<SnapshotBegun>,
}

/// A snapshot that has begun and is not stored yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotBegun {
    /// The `seq` of the entry that it belongs to.
    pub(crate) seq: u64,
    /// The digest of the state before that entry, if the kernel replays it. Otherwise the maker of the snapshot
    /// provides it.
    pub(crate) state: Option<Digest>,
}

impl Kernel {
    /// A kernel without agents, sessions, objects and tools.
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

    /// The number of entries.
    pub fn entries(&self) -> u64 {
        self.chain.next_seq()
    }

    /// The id of the log, derived from the entropy of the genesis entry.
    pub const fn run(&self) -> [u8; 16] {
        *self.chain.run()
    }

    /// The records that were not polled yet.
    pub(crate) fn unpolled(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// A meter for the heap work of one request.
    pub(crate) fn meter(&self) -> Work {
        // An earlier version has enforced its own limits.
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

    /// The gate for a caller: a session itself, or a tool on its behalf.
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
            seq: self.chain.next_seq(),
            recorded: self.recorded.as_ref(),
            prepared: &self.prepared,
            // An earlier version has enforced its own limits.
            steps: self.recorded.is_none().then_some(&self.steps),
        }
    }

    /// Removes from a failure what the caller must not learn, and stores the denial as the agent's last one.
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

    /// Advances both clocks.
    pub(crate) fn advance(&mut self, now: &Now) {
        self.clock = self.clock.after(now);
    }

    /// Records a step of the wall clock, if it stepped.
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

    /// Records an input about these subjects.
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
        // A subject that this input erased must not appear in the readable entry.
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
            // The entry exists already, as the version that wrote it made it.
            self.chain.follow(recorded.hash);
            return;
        }
        let reply_salt = self.subjects.salt_with(&about, &facts.others);
        let record = self.chain.record(now, &self.clock, input, facts, about, &reply_salt);
        self.records.push_back(record);
    }

    /// Takes the newest record from the rates of an agent: its bytes and work, `requests` requests, and a refusal
    /// if `refused`.
    pub(crate) fn charge_newest(&mut self, account: AgentId, requests: u64, refused: bool) {
        let bytes = |record: &Record| record.leaf.len().saturating_add(record.body.len());
        let bytes = self.records.back().map_or(0, bytes);
        let steps = core::mem::replace(&mut self.steps, Steps::new(REQUEST_STEPS_MAX));
        let decided = (REQUEST_STEPS_MAX - steps.left()) as u64 * STEP_WORK;
        let work = core::mem::take(&mut self.work).saturating_add(decided);
        self.charge_admission(account, [requests, u64::from(refused), bytes as u64, work]);
    }

    /// Removes the subjects of objects whose tombstones the newest change of the heap dropped.
    pub(crate) fn forget_subjects_of_forgotten(&mut self) {
        for handle in self.heap.dropped_tombstones() {
            self.subjects.forget_object(*handle);
        }
    }
}

impl PendingEffect {
    /// The caller that the effect is for.
    pub(crate) fn caller(&self) -> Caller {
        Caller { within: self.within, tools: self.tools.clone(), ..Caller::new(self.session, self.account) }
    }
}
