//! The state machine: it takes inputs and produces records and outputs. It has no other effect.

pub(crate) mod admission;
pub(crate) mod effects;
pub(crate) mod host_call;
pub(crate) mod record_size;

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};

use ak_audit::{Decision, Kind};
use ak_json::{Text, Value, object};
use ak_policy::{Policy, budget::Dimension};

use crate::{
    accounts::{agents::Agents, sessions::Sessions},
    api::{
        code::Code,
        config::Config,
        effect::{Effect, Ticket},
        kernel_rule::KernelRule,
        operation::Operation,
        prepared::Prepared,
        presented::{AuthenticatedRequest, PresentedCapability},
        reply::{Failure, Reply, outcome_facts},
        session::{AgentId, GUEST, MAIN, SessionId},
        time::{Clock, Now},
    },
    authz::gate::{DecisionRecord, Gate, Permit, PermitParts},
    codec::input::Input,
    effects::pending::PendingEffect,
    operations::{Begun, Permitted, Started, details},
    record::{
        entry::{Chain, EntryFields, Record, SEMANTICS_VERSION},
        subjects::SUBJECT_BYTES,
    },
    state::{CallId, Caller, Kernel, Output},
    tools::registry::Toolbox,
};

impl Kernel {
    /// A new kernel. Its first record, the genesis entry, is ready to be polled.
    pub fn new(now: Now, config: Config) -> Kernel {
        let chain = Chain::new(&now.entropy);
        let mut kernel = Kernel::empty(config, chain, Policy::baseline(), BTreeMap::new());
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

    /// The kernel of an earlier version after its genesis entry.
    pub(crate) fn earlier(now: &Now, config: Config, version: u64, leaf: &[u8]) -> Kernel {
        let mut kernel = Kernel::empty(config, Chain::new(&now.entropy), Policy::baseline(), BTreeMap::new());
        kernel.clock = Clock::from_wall(now.wall.as_micros());
        kernel.agents.open_alone(&Text::from(MAIN), &kernel.policy, kernel.clock.elapsed);
        kernel.sessions.adopt(0, AgentId::MAIN);
        kernel.toolbox = Toolbox::with_builtin(&kernel.config);
        kernel.grants.load(&kernel.policy, kernel.clock.elapsed);
        kernel.earlier = Some(version);
        // Subject 0 is the kernel itself.
        kernel.subjects.intern(Vec::new(), &now.entropy, None);
        kernel.chain.follow(ak_audit::leaf_hash(leaf).into());
        kernel
    }

    /// Takes a request. Its reply comes as an output under the id returned.
    ///
    /// # Errors
    /// RATE_LIMIT with `retry_after_ms` if the agent sends too many requests, or has too many refused. LIMIT if the
    /// request is too long, QUOTA if the agent may name no more subjects, NOT_FOUND if it erases an unknown
    /// subject, INVALID_ARGUMENT if the subject's name is invalid or the session is not open. The request had no
    /// effect then, and is recorded only as a count of throttled requests.
    pub fn dispatch(
        &mut self,
        now: Now,
        session: SessionId,
        asked: impl Into<AuthenticatedRequest>,
    ) -> Result<CallId, Failure> {
        let asked = asked.into();
        self.record_throttled(&now);
        let admitted = self.admit(&now, session, &asked);
        if let Err(failure) = admitted {
            let account = self.sessions.agent(session);
            self.throttle_account(&now, account);
            return Err(failure);
        }
        self.record_clock_step(&now);
        Ok(self.dispatch_admitted(now, session, asked))
    }

    /// Takes a request that was admitted.
    pub(crate) fn dispatch_admitted(
        &mut self,
        now: Now,
        session: SessionId,
        asked: AuthenticatedRequest,
    ) -> CallId {
        let account = self.sessions.agent(session);
        let caller = Caller::new(session, account.unwrap_or(AgentId::MAIN));
        let rejected = account.is_none().then(|| no_session(session));
        self.handle_request(&now, &caller, rejected, asked, |asked| Input::Dispatch { session, asked })
    }

    /// Takes a request that reached the kernel as `input`. If it is `rejected`, it is refused without a decision.
    pub(crate) fn handle_request(
        &mut self,
        now: &Now,
        caller: &Caller,
        rejected: Option<Failure>,
        asked: AuthenticatedRequest,
        input: impl FnOnce(AuthenticatedRequest) -> Input,
    ) -> CallId {
        self.advance(now);
        let seq = self.chain.next_seq();
        let (account, request) = (caller.account, &asked.request);
        let agent = self.agents.name(account);
        let about = request.subjects(self, &agent);
        let named = request.subject().map(|subject| (subject, account));
        if let Some((subject, account)) = named
            && !self.subjects.is_named_by(subject, account)
            && self.recorded.is_none()
        {
            let bytes = SUBJECT_BYTES.saturating_add(subject.len() as u64);
            self.agents.record(account, Dimension::Memory, bytes, self.clock.elapsed);
        }
        let about = self.subjects.intern(about, &now.entropy, named);
        let (mut decided, next) = match rejected {
            Some(failure) => {
                (DecisionRecord::new(Decision::Refused, KernelRule::HostCall, None), Err(failure))
            }
            None => self.decide(caller, agent.clone(), asked.clone()),
        };
        let (output, outcome) = match next {
            Ok(Progress::Effect(effect, pending)) => {
                let ticket = Ticket::new(seq);
                self.pending.insert(ticket, *pending);
                (Output::Perform(ticket, effect), None)
            }
            Ok(Progress::Reply(reply)) => {
                (Output::Reply(CallId(seq), Ok(reply.clone())), Some((0, Ok(reply))))
            }
            // A preview is recorded with the decision that it predicts.
            Ok(Progress::Preview(previewed, reply)) => {
                decided = *previewed;
                (Output::Reply(CallId(seq), Ok(reply.clone())), Some((0, Ok(reply))))
            }
            Err(failure) => {
                let code = failure.code.number();
                let outcome = Err(self.redact_for_caller(caller, failure));
                (Output::Reply(CallId(seq), outcome.clone()), Some((code, outcome)))
            }
        };
        let others = match &output {
            Output::Reply(_, Ok(reply)) => request.others_in(self, reply),
            Output::Reply(_, Err(_)) | Output::Perform(..) | Output::Resume(..) => Vec::new(),
        };
        let code = outcome.as_ref().map_or(0, |(code, _)| *code);
        let event = request.event().filter(|_| code == 0).cloned();
        let operation = request.operation();
        let reply = outcome.as_ref().map(|(_, outcome)| outcome_facts(operation, outcome, None).digest());
        let details =
            details::decision(request, caller, &decided, outcome.as_ref().map(|(_, outcome)| outcome));
        let refused = code != 0 && decided.decision != Decision::Permit;
        let facts = EntryFields {
            operation,
            kind: if caller.within.is_some() { Kind::Step } else { Kind::Decision },
            decision: decided.decision,
            code,
            cause: caller.within.map(Ticket::cause),
            policy: self.policy.digest(),
            target: decided.target,
            reply,
            message: outcome.and_then(|(_, outcome)| outcome.err()).map(|failure| failure.message),
            others,
            agent,
            rule: decided.rule,
            event,
        };
        self.record_about(now, &input(asked), facts, about, details);
        self.charge_newest(caller.account, 1, refused);
        self.outputs.push_back((seq, output));
        CallId(seq)
    }

    /// Decides on a request and starts it if it is permitted.
    fn decide(
        &mut self,
        caller: &Caller,
        agent: Text,
        AuthenticatedRequest { request, presented, prepared }: AuthenticatedRequest,
    ) -> (DecisionRecord, Result<Progress, Failure>) {
        self.prepared = prepared;
        let mut request = request;
        if self.recorded.is_none() {
            let is_bound = presented.is_some() || self.agents.capabilities.has_any(caller.account);
            let is_bound = is_bound || self.policy.limits_usage();
            self.limit_answer(caller.account, &agent, &mut request, is_bound);
        }
        let amounts = match request.charges(self, caller, &agent) {
            Ok(amounts) => amounts,
            Err(failure) => {
                self.prepared = Prepared::default();
                let decided = DecisionRecord::new(Decision::Refused, KernelRule::Limit, None);
                return (decided, Err(failure));
            }
        };
        let mut gate = Gate { presented: presented.clone(), ..self.gate_of(caller, agent) };
        let (decided, permit) = gate.authorize(request, amounts);
        let next = permit.and_then(|permit| self.start(caller, decided.target.clone(), presented, permit));
        self.prepared = Prepared::default();
        (decided, next)
    }

    /// Acts on a permit: answers the request, or starts an effect. The reservation is settled with an answer, kept
    /// for an effect, and released on failure.
    fn start(
        &mut self,
        caller: &Caller,
        target_text: Option<String>,
        presented: Option<PresentedCapability>,
        permit: Permit,
    ) -> Result<Progress, Failure> {
        let PermitParts { request, target, root, parts, reservation, fuel } = permit.into_parts();
        let room =
            if request.is_effect() && self.recorded.is_none() { self.check_effects(caller) } else { Ok(()) };
        let permitted = Permitted { caller, target, root, parts, fuel, presented: presented.as_ref() };
        match room.and_then(|()| request.start(self, permitted)) {
            Ok(Started::Reply(reply)) => {
                self.agents.settle(reservation, &[], self.clock.elapsed);
                Ok(Progress::Reply(reply))
            }
            Ok(Started::Preview(decided, reply)) => {
                self.agents.settle(reservation, &[], self.clock.elapsed);
                Ok(Progress::Preview(decided, reply))
            }
            Ok(Started::Effect(effect, begun)) => {
                let Begun { request, state, tools } = *begun;
                let pending = PendingEffect {
                    session: caller.session,
                    account: caller.account,
                    request: Arc::new(request),
                    presented,
                    target: target_text,
                    reservation,
                    within: caller.within,
                    tools,
                    aborted: None,
                    state,
                    steps_bytes: 0,
                    refused: None,
                };
                Ok(Progress::Effect(effect, Box::new(pending)))
            }
            Err(failure) => {
                self.agents.release(reservation);
                Err(failure)
            }
        }
    }

    /// Whether one more effect may start. The last tenth of all effects is reserved for the owner. An agent
    /// directly below `main`, together with all its descendants, has at most [`Config::effects_per_agent_max`].
    fn check_effects(&self, caller: &Caller) -> Result<(), Failure> {
        let Config { effects_max, effects_per_agent_max, .. } = self.config;
        let open = self.pending.len() as u64;
        let refused = |max: u64| {
            Failure::new(
                Code::Quota,
                format!("the limit of {max} pending effects is reached: wait until one ends"),
            )
        };
        if caller.account.is_main() {
            return if open < effects_max { Ok(()) } else { Err(refused(effects_max)) };
        }
        let shared = effects_max - effects_max / OWNER_SHARE;
        if open >= shared {
            return Err(refused(shared));
        }
        let line = self.agents.lineage(caller.account);
        let top = line.last().copied().unwrap_or(caller.account);
        let own =
            self.pending.values().filter(|open| self.agents.lineage(open.account).contains(&top)).count();
        if own as u64 >= effects_per_agent_max { Err(refused(effects_per_agent_max)) } else { Ok(()) }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The names of the registered tools, each with the JSON Schema of its arguments.
    pub fn tool_schemas(&self) -> Vec<(Text, Value)> {
        self.toolbox.schemas()
    }

    /// The absolute paths of the files on this machine that the policy in force was read from.
    pub fn policy_files(&self) -> &[Text] {
        &self.policy_files
    }

    /// Confirms that every record up to `seq` is as durable as the host makes it. Outputs that rest on them can be
    /// polled from now on.
    pub fn committed(&mut self, seq: u64) {
        self.committed = self.committed.max(Some(seq));
    }

    /// The next record to make durable.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// The next output whose record is committed.
    pub fn poll_output(&mut self) -> Option<Output> {
        let (seq, _) = self.outputs.front()?;
        if Some(*seq) > self.committed {
            return None;
        }
        self.outputs.pop_front().map(|(_, output)| output)
    }

    /// The open sessions, except the owner's first one and the guests' one. After a restart no client holds them
    /// any more.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.sessions.closable().collect()
    }
}

fn no_session(session: SessionId) -> Failure {
    Failure::new(Code::InvalidArgument, format!("session {} is not open", session.number()))
}

/// The result of acting on a permit.
enum Progress {
    Reply(Reply),
    /// The decision that a preview predicts, and the reply.
    Preview(Box<DecisionRecord>, Reply),
    Effect(Effect, Box<PendingEffect>),
}

/// One in this many of the effects that may be pending is reserved for the owner.
const OWNER_SHARE: u64 = 10;
