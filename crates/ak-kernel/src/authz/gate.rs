//! The gate: the only place that permits a request, by making a [`Permit`].

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::net::IpAddr;

use ak_audit::Decision;
use ak_heap::{Handle, Heap};
use ak_json::{Integrity, Labels, Text};
use ak_policy::{
    Action, CanonicalIp, Charge, GrantId, GrantTable, HostOrIp, Policy, PolicyDecision, Query, Steps, Target,
    budget::Dimension,
    capability::{CapDenial, CapId},
};
use ak_sandbox::HostOperation;

use crate::{
    accounts::{
        agents::{Agents, Charges, Reservation, over_limit},
        capabilities::{Cover, refusal},
        tool_permissions::{CallStack, ToolPermissions},
    },
    api::{
        code::Code,
        kernel_rule::KernelRule,
        operation::AllowedCaller,
        prepared::Prepared,
        presented::PresentedCapability,
        reply::{Denial, Failure},
        request::{AgentRequest, Request},
        session::{AgentId, GUEST},
        time::Clock,
    },
    authz::query::{InvalidTarget, JudgedPart, PolicyQuery, QueryContext},
    models::provider_actions::{self, Act},
    record::{entry::trace_id, recorded::EarlierDecision},
};

/// Most steps that the decisions on one request may take together.
pub(crate) const REQUEST_STEPS_MAX: usize = 200_000;
/// Units of work that a step counts for in an agent's rate; a unit is about 10 ns.
pub(crate) const STEP_WORK: u64 = 10;

/// Proof that a request passed the gate, together with the request. It is the only key to an effect.
///
/// Every function that reads or changes an agent's objects, or starts an effect, takes a permit by value. Only
/// `Gate::authorize` makes one: the fields are private to this file.
#[derive(Debug)]
pub struct Permit {
    request: Request,
    target: Option<Target>,
    root: Option<Root>,
    parts: Vec<(Target, Root)>,
    reservation: Reservation,
    fuel: Option<u64>,
}

/// The directory beneath which a permit grants files.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) path: Text,
    /// Whether links that stay beneath it are followed.
    pub(crate) follows: bool,
}

/// The parts of a permit, for the code that acts on it.
pub(crate) struct PermitParts {
    pub(crate) request: Request,
    /// The canonical target: the gate decided on it, and the effect uses it.
    pub(crate) target: Option<Target>,
    /// The granted root of a file.
    pub(crate) root: Option<Root>,
    /// For a request that was decided on part by part: the file targets of the parts, each with its root.
    pub(crate) parts: Vec<(Target, Root)>,
    /// The reserved costs. They must be settled or released.
    pub(crate) reservation: Reservation,
    /// How much fuel is reserved.
    pub(crate) fuel: Option<u64>,
}

impl Permit {
    pub(crate) fn into_parts(self) -> PermitParts {
        let Permit { request, target, root, parts, reservation, fuel } = self;
        PermitParts { request, target, root, parts, reservation, fuel }
    }
}

/// A decision as the record states it.
#[derive(Clone, Debug)]
pub(crate) struct DecisionRecord {
    pub(crate) decision: Decision,
    pub(crate) rule: Text,
    pub(crate) target: Option<String>,
    /// The decisions on the operations of a batch, in order.
    pub(crate) each: Vec<DecisionRecord>,
    /// The capabilities that the decision rests on besides the policy.
    pub(crate) by: Vec<CapId>,
}

impl DecisionRecord {
    pub(crate) fn new(decision: Decision, rule: impl Into<Text>, target: Option<String>) -> DecisionRecord {
        DecisionRecord { decision, rule: rule.into(), target, each: Vec::new(), by: Vec::new() }
    }
}

/// The parts of a permit that the gate computes.
#[derive(Default)]
struct Pass {
    target: Option<Target>,
    root: Option<Root>,
    /// The file targets of the parts of a request, each with its root.
    parts: Vec<(Target, Root)>,
    reservation: Reservation,
}

/// The result of a policy's permit.
pub(crate) struct Passed {
    root: Option<Root>,
    /// The policy's grants that the permit rests on: those of the agent and of its ancestors.
    pub(crate) grants: Vec<GrantId>,
    pub(crate) cover: Cover,
}

/// Everything that a decision depends on.
pub(crate) struct Gate<'k> {
    pub(crate) policy: &'k Policy,
    pub(crate) grants: &'k mut GrantTable,
    pub(crate) agents: &'k mut Agents,
    /// The heap, for the owners of objects.
    pub(crate) heap: &'k Heap,
    pub(crate) account: AgentId,
    /// Whether the owner sends the request itself, and not through a tool.
    pub(crate) owner: bool,
    pub(crate) agent: Text,
    /// The capability that was presented with the request.
    pub(crate) presented: Option<PresentedCapability>,
    /// The tools that send the request on the agent's behalf. It must be within the needs of each of them.
    pub(crate) tools: CallStack,
    /// The host call by which a tool sends the request. The policy may close host calls by name.
    pub(crate) host_call: Option<HostOperation>,
    /// The log's id, for capabilities that are bound to one log.
    pub(crate) run: [u8; 16],
    pub(crate) clock: Clock,
    /// The entry that the request will have; a denial is traced by it.
    pub(crate) seq: u64,
    /// The decision of an earlier version whose journal is continued: the gate then repeats it and decides nothing.
    pub(crate) recorded: Option<&'k EarlierDecision>,
    /// What was computed from the request in advance.
    pub(crate) prepared: &'k Prepared,
    /// Limits the steps that deciding may take; `None` for decisions of an earlier version.
    pub(crate) steps: Option<&'k Steps>,
}

impl Gate<'_> {
    /// Decides on a request. The permit contains a reservation of the most that the request may cost.
    pub(crate) fn authorize(
        &mut self,
        request: Request,
        amounts: Vec<(Dimension, u64)>,
    ) -> (DecisionRecord, Result<Permit, Failure>) {
        let fuel = amounts.iter().find(|(dimension, _)| *dimension == Dimension::Cpu).map(|(_, fuel)| *fuel);
        if let Some(recorded) = self.recorded {
            return self.authorize_as_recorded(recorded, request, amounts, fuel);
        }
        let owner_only = request.operation().who() != AllowedCaller::Anyone;
        if owner_only && !self.owner && !self.opens_guest(&request) {
            return (
                DecisionRecord::new(Decision::Forbid, KernelRule::OwnerOnly, None),
                Err(self.owner_only(&request)),
            );
        }
        // The owner can always raise a budget again, and a session can always be closed. All other requests are
        // charged, whether they are permitted or not.
        let mends_budget = self.owner && matches!(request, Request::Agent(AgentRequest::BudgetSet { .. }));
        let ends = matches!(request, Request::Agent(AgentRequest::SessionClose));
        if !owner_only
            && !mends_budget
            && !ends
            && let Err(failure) = self.charge_request(request.operations())
        {
            return (DecisionRecord::new(Decision::Refused, KernelRule::Budget, None), Err(failure));
        }
        let each = self.pass_each(&request);
        let (decided, passed) = each.unwrap_or_else(|| self.pass(&request, amounts));
        let permit = passed.map(|Pass { target, root, parts, reservation }| Permit {
            request,
            target,
            root,
            parts,
            reservation,
            fuel,
        });
        (decided, permit)
    }

    /// Whether the guests' session requests a session for one more guest.
    fn opens_guest(&self, request: &Request) -> bool {
        matches!(request, Request::Agent(AgentRequest::SessionOpen { .. })) && *self.agent == *GUEST
    }

    /// Decides on a request that a pending effect leads to, such as a redirect. It passes the whole gate, and its
    /// costs are reserved.
    pub(crate) fn authorize_hop(
        &mut self,
        request: &Request,
        amounts: Vec<(Dimension, u64)>,
    ) -> (DecisionRecord, Result<Reservation, Failure>) {
        if let Some(recorded) = self.recorded {
            let (decided, permit) = self.authorize_as_recorded(recorded, request.clone(), amounts, None);
            return (decided, permit.map(|Permit { reservation, .. }| reservation));
        }
        if let Err(failure) = self.charge_request(1) {
            return (DecisionRecord::new(Decision::Refused, KernelRule::Budget, None), Err(failure));
        }
        let (decided, passed) = self.pass(request, amounts);
        (decided, passed.map(|Pass { reservation, .. }| reservation))
    }

    fn asker<'q>(&'q self, agent: &'q Text, owns: &'q dyn Fn(Handle) -> bool) -> QueryContext<'q> {
        QueryContext { agent, policy: self.policy, prepared: self.prepared, owns }
    }

    /// Repeats an earlier version's decision: a request that was permitted is permitted and charged.
    fn authorize_as_recorded(
        &mut self,
        recorded: &EarlierDecision,
        request: Request,
        amounts: Vec<(Dimension, u64)>,
        fuel: Option<u64>,
    ) -> (DecisionRecord, Result<Permit, Failure>) {
        let decided = DecisionRecord {
            rule: recorded.rule.clone(),
            ..DecisionRecord::new(recorded.decision, "", None)
        };
        if request.operation().who() == AllowedCaller::Anyone {
            self.agents.record(self.account, Dimension::Compute, request.operations(), self.clock.elapsed);
        }
        if recorded.decision != Decision::Permit || recorded.code != 0 {
            let code = Code::from_number(recorded.code).unwrap_or(Code::PolicyDeny);
            return (decided, Err(Failure::new(code, code.meaning())));
        }
        let agent = self.agent.clone();
        let question = request.query(&self.asker(&agent, &|_| true)).ok().flatten();
        let charges =
            question.as_ref().and_then(|question| self.charges(question, &amounts).ok()).unwrap_or_default();
        let reservation =
            self.agents.reserve_beyond(self.account, &Charges { amounts, charges }, self.clock.elapsed);
        let target = question.map(|question| question.target);
        let decided = DecisionRecord { target: target.as_ref().map(Target::to_string), ..decided };
        (
            decided,
            Ok(Permit {
                request,
                target,
                root: Some(Root { path: Text::from("/"), follows: false }),
                parts: Vec::new(),
                reservation,
                fuel,
            }),
        )
    }

    /// Charges one `compute` for each operation of a request.
    pub(crate) fn charge_request(&mut self, operations: u64) -> Result<(), Failure> {
        let asking = Charges { amounts: Vec::from([(Dimension::Compute, operations)]), charges: Vec::new() };
        let reservation = self.agents.reserve(self.account, &asking, self.clock.elapsed)?;
        self.agents.settle(reservation, &asking.amounts, self.clock.elapsed);
        Ok(())
    }

    /// Decides on each part of a request as on a request of its own; `None` if the request has no parts. The whole
    /// is permitted if every part is; otherwise it fails with the failure of the first part that is not.
    fn pass_each(&mut self, request: &Request) -> Option<(DecisionRecord, Result<Pass, Failure>)> {
        let mut whole = DecisionRecord::new(Decision::Permit, KernelRule::Batch, None);
        let mut all = Ok(Pass::default());
        let has_parts = request.each_part(&mut |JudgedPart { index, request, creates_target }| {
            let (decided, passed) = match request {
                Ok(request) => self.pass_question(&request, Vec::new(), creates_target),
                Err(failure) => {
                    (DecisionRecord::new(Decision::Refused, KernelRule::Limit, None), Err(failure))
                }
            };
            match (&mut all, passed) {
                (Ok(all), Ok(passed)) => {
                    all.reservation.join(passed.reservation);
                    let file = passed.target.zip(passed.root);
                    all.parts.extend(file.filter(|(target, _)| matches!(target, Target::Path(_))));
                }
                (Ok(before), Err(failure)) => {
                    self.agents.release(core::mem::take(&mut before.reservation));
                    whole = DecisionRecord { each: core::mem::take(&mut whole.each), ..decided.clone() };
                    all = Err(index.map_or(failure.clone(), |index| failure.at_index(index)));
                }
                (Err(_), Ok(passed)) => self.agents.release(passed.reservation),
                (Err(_), Err(_)) => {}
            }
            whole.each.push(decided);
        });
        // The target of the whole is that of its first file.
        if let Ok(Pass { parts, .. }) = &all {
            whole.target = parts.first().map(|(target, _)| target.to_string());
        }
        has_parts.then_some((whole, all))
    }

    /// Decides on one request: canonical target, policy and limits. Reserves `amounts`.
    fn pass(
        &mut self,
        request: &Request,
        amounts: Vec<(Dimension, u64)>,
    ) -> (DecisionRecord, Result<Pass, Failure>) {
        self.pass_question(request, amounts, false)
    }

    /// Decides on one request. `created` means that the same batch creates the object, which so counts as the
    /// agent's own.
    fn pass_question(
        &mut self,
        request: &Request,
        amounts: Vec<(Dimension, u64)>,
        created: bool,
    ) -> (DecisionRecord, Result<Pass, Failure>) {
        if self.is_spent() {
            return too_many_steps(None);
        }
        let owns = |handle| created || self.owns(handle);
        let question = match request.query(&self.asker(&self.agent, &owns)) {
            Ok(None) if self.presented.is_some() && !request.only_tells() => {
                let failure = refusal(CapDenial::Scope).presented();
                return (DecisionRecord::new(Decision::Forbid, KernelRule::Capability, None), Err(failure));
            }
            Ok(None) => {
                return (
                    DecisionRecord::new(Decision::Permit, KernelRule::Session, None),
                    Ok(Pass::default()),
                );
            }
            Ok(Some(question)) => question,
            Err(unaskable) => {
                let target = Some(String::from(&*unaskable.target));
                let decided = DecisionRecord::new(Decision::Refused, KernelRule::Canonical, target);
                return (decided, Err(self.no_canonical_form(&unaskable)));
            }
        };
        let (decided, passed) = self.ask(&question, &amounts);
        let (decided, passed) = match passed {
            Ok(passed) => match self.closed(&question) {
                None => (decided, Ok(passed)),
                Some((decided, failure)) => (decided, Err(failure)),
            },
            Err(_) if self.is_spent() => return too_many_steps(decided.target),
            // Another agent's object gets the same answer as an object that does not exist, so that agents cannot
            // tell them apart.
            Err(failure)
                if decided.decision == Decision::DefaultDeny
                    && failure.code == Code::PolicyDeny
                    && !question.owned
                    && is_object(&question.target) =>
            {
                (decided, Err(no_object(&question.target)))
            }
            Err(failure) => (decided, Err(failure)),
        };
        let pass = passed.and_then(|passed| {
            let costs = Charges { charges: self.charges(&question, &amounts)?, amounts };
            let reservation = self.set_aside(&question, &costs, &passed.cover)?;
            for grant in passed.grants {
                self.grants.spend(grant, self.clock.elapsed);
            }
            Ok(Pass { target: Some(question.target), root: passed.root, parts: Vec::new(), reservation })
        });
        (decided, pass)
    }

    /// The decision on a request that is not made. It passes the whole gate, but nothing is reserved.
    pub(crate) fn preview(
        &self,
        question: &PolicyQuery,
        amounts: &[(Dimension, u64)],
    ) -> (DecisionRecord, Result<Passed, Failure>) {
        let (decided, passed) = self.ask(question, amounts);
        let passed = match passed {
            Ok(passed) => passed,
            Err(failure) => return (decided, Err(failure)),
        };
        if let Some((decided, failure)) = self.closed(question) {
            return (decided, Err(failure));
        }
        let charged = self.charges(question, amounts).and_then(|charges| {
            let costs = Charges { amounts: amounts.to_vec(), charges };
            self.agents.check(self.account, &costs, self.clock.elapsed)
        });
        match charged {
            Ok(()) => (decided, Ok(passed)),
            Err(failure) => (
                DecisionRecord {
                    decision: Decision::Refused,
                    rule: Text::from(KernelRule::Budget),
                    ..decided
                },
                Err(failure),
            ),
        }
    }

    /// Whether deciding took all steps that one request has. What was not examined counts as forbidden.
    pub(crate) fn is_spent(&self) -> bool {
        self.steps.is_some_and(Steps::is_spent)
    }

    /// Whether an object belongs to the caller. Every object belongs to the owner.
    pub(crate) fn owns(&self, handle: Handle) -> bool {
        self.owner || self.heap.read(handle).is_ok_and(|object| *object.owner() == self.agent)
    }

    /// Reserves the costs in every account, limit and capability, or in none.
    fn set_aside(
        &mut self,
        question: &PolicyQuery,
        costs: &Charges,
        cover: &Cover,
    ) -> Result<Reservation, Failure> {
        let mut reservation = self.agents.reserve(self.account, costs, self.clock.elapsed)?;
        let query = Query {
            now_us: self.clock.wall.as_micros(),
            elapsed: self.clock.elapsed,
            ..Query::new(&self.agent, question.action, &question.target)
        };
        let amounts = with_compute(&costs.amounts);
        match self.agents.capabilities.spend(&cover.by, &query, &self.run, &amounts) {
            Ok(reserved) => reservation.cover(reserved),
            Err(failure) => {
                self.agents.release(reservation);
                return Err(failure);
            }
        }
        Ok(reservation)
    }

    /// The rule that forbids the host of a URL or asks for an approval of it, if there is one. The host name is
    /// then not resolved.
    fn closed_endpoint(&self, question: &PolicyQuery) -> Option<(DecisionRecord, Failure)> {
        self.endpoints(question).into_iter().find_map(|(action, target)| {
            let implied = PolicyQuery { action, target, args: None, owned: false };
            match self.policy_decision(&implied) {
                PolicyDecision::Forbid | PolicyDecision::Ask => {
                    let (decided, asked) = self.ask(&implied, &[]);
                    asked.err().map(|failure| (decided, failure))
                }
                PolicyDecision::Permit
                | PolicyDecision::DefaultDeny
                | PolicyDecision::Expired
                | PolicyDecision::RateLimited { .. } => None,
            }
        })
    }

    /// The refusal of an action that the request implies besides its own.
    fn closed(&self, question: &PolicyQuery) -> Option<(DecisionRecord, Failure)> {
        self.closed_endpoint(question).or_else(|| self.closed_provider(question))
    }

    /// The refusal of what a request to a model asks its provider to do besides answering, if no `[infer]` permits
    /// it.
    fn closed_provider(&self, question: &PolicyQuery) -> Option<(DecisionRecord, Failure)> {
        let (Target::Model(model), Some(request)) = (&question.target, &question.args) else { return None };
        let is_closed = |act: &Act| match act {
            Act::Tool(name) => !self.policy.permits_provider_tool(&self.agent, name),
            Act::State => !self.policy.permits_provider_state(&self.agent),
        };
        let (act, pointer) = provider_actions::find(request, is_closed)?;
        let (rule, reason, setting) = match &act {
            Act::Tool(name) => (
                KernelRule::ProviderTools,
                format!(
                    "{pointer} requests the provider action {name}, which no `[infer] provider_tools` permits"
                ),
                format!("provider_tools = [{name:?}]"),
            ),
            Act::State => (
                KernelRule::ProviderState,
                format!(
                    "{pointer} uses or creates state at the provider, which no `[infer] stateful` permits"
                ),
                "stateful = true".into(),
            ),
        };
        let decided = DecisionRecord::new(Decision::DefaultDeny, rule, Some(model.as_str().into()));
        let denial = Denial {
            rule_id: rule.id().into(),
            args_path: pointer,
            suggested_snippet: format!("[infer]\n{setting}\n"),
            ..self.denial("infer", model.as_str(), reason, Code::PolicyDeny)
        };
        Some((decided, denied(Code::PolicyDeny, denial)))
    }

    /// The actions that a request to a URL implies: resolving its host, and connecting to it.
    fn endpoints(&self, question: &PolicyQuery) -> Vec<(Action, Target)> {
        let Target::Url(url) = &question.target else { return Vec::new() };
        match url.host() {
            HostOrIp::Host(host) => Vec::from([
                (Action::Dns, Target::Host(host.clone())),
                (Action::Connect, Target::HostPort(host.clone(), url.port())),
            ]),
            HostOrIp::Ip(_) => Vec::new(),
        }
    }

    /// Decides on a connection to the addresses of a permitted request's host. Returns the addresses that the host
    /// may connect to, the connection's reserved costs, and the failure of the last address whose costs could not
    /// be reserved.
    ///
    /// If a connection is counted (by a limit, or by the rate or uses of a capability or grant), only the first
    /// address that passes is returned: each connection is charged once.
    pub(crate) fn authorize_connection(
        &mut self,
        question: &PolicyQuery,
        found: &[IpAddr],
        port: u16,
    ) -> (Vec<IpAddr>, Reservation, Option<Failure>) {
        let mut open = Vec::new();
        let mut refused = None;
        let implied: Vec<PolicyQuery> = self
            .endpoints(question)
            .into_iter()
            .map(|(action, target)| PolicyQuery { action, target, args: None, owned: false })
            .collect();
        for address in found {
            let labels = self.labels();
            let allowed = self.policy.address_allowed(&self.query(question, &labels), *address, port);
            if !allowed || !self.is_needed(question, *address, port) {
                continue;
            }
            let target = Target::addr(*address, port);
            let connection = PolicyQuery { action: Action::Connect, target, args: None, owned: false };
            match self.charge_connection(&implied, &connection, *address) {
                Ok(None) => open.push(*address),
                Ok(Some(reservation)) if open.is_empty() => {
                    return (Vec::from([*address]), reservation, None);
                }
                Ok(Some(reservation)) => self.agents.release(reservation),
                Err(failure) => refused = Some(failure),
            }
        }
        (open, Reservation::default(), refused)
    }

    /// Reserves what a connection counts against; `None` if nothing counts it.
    fn charge_connection(
        &mut self,
        implied: &[PolicyQuery],
        connection: &PolicyQuery,
        address: IpAddr,
    ) -> Result<Option<Reservation>, Failure> {
        let mut charges = Vec::new();
        for question in implied.iter().chain([connection]) {
            charges.extend(self.charges(question, &[])?);
        }
        let labels = self.labels();
        let query = self.query(connection, &labels);
        let line = self.agents.lineage(self.account);
        let by = self.agents.capabilities.counted(&line, &query, &self.run)?;
        let decision = self.policy.decide(&query);
        // A public address is open to any request that may use its host, so it needs no grant.
        let needs_grant = decision.decision.is_permit() && !CanonicalIp::new(address).is_public();
        let grants: Vec<GrantId> = if needs_grant { decision.grants().collect() } else { Vec::new() };
        if charges.is_empty() && by.is_empty() && grants.is_empty() {
            return Ok(None);
        }
        let cover = Cover { by, ..Cover::default() };
        let reservation = self.set_aside(connection, &Charges { amounts: Vec::new(), charges }, &cover)?;
        for grant in grants {
            self.grants.spend(grant, self.clock.elapsed);
        }
        Ok(Some(reservation))
    }

    /// Whether the policy permits the query. Like [`ask`](Self::ask), but without reasons.
    pub(crate) fn permits(&self, question: &PolicyQuery) -> bool {
        self.policy_decision(question) == PolicyDecision::Permit
    }

    /// The policy's decision on the query, without capabilities and needs.
    pub(crate) fn policy_decision(&self, question: &PolicyQuery) -> PolicyDecision {
        let labels = self.labels();
        self.policy.decide(&self.query(question, &labels)).decision
    }

    /// Decides by capabilities, the needs of tools, and then the policy. Changes nothing.
    pub(crate) fn ask(
        &self,
        question: &PolicyQuery,
        amounts: &[(Dimension, u64)],
    ) -> (DecisionRecord, Result<Passed, Failure>) {
        let labels = self.labels();
        let query = self.query(question, &labels);
        let line = self.agents.lineage(self.account);
        let amounts = with_compute(amounts);
        let capabilities = &self.agents.capabilities;
        let cover = match capabilities.cover(self.presented.as_ref(), &line, &query, &self.run, &amounts) {
            Ok(cover) => cover,
            Err(failure) => {
                let target = question.target.to_string();
                let op = question.action.as_str();
                let denial = self.denial(op, &target, failure.message.clone(), failure.code);
                let decided =
                    DecisionRecord::new(Decision::DefaultDeny, KernelRule::Capability, Some(target));
                let Failure { code, context, capability, .. } = failure;
                return (decided, Err(Failure { context, capability, ..denied(code, denial) }));
            }
        };
        if let Some((rule, failure)) =
            self.rejected(question.action.as_str(), &question.target.to_string(), |needs| {
                needs.cover(&query, &self.run)
            })
        {
            let target = Some(question.target.to_string());
            return (DecisionRecord::new(Decision::DefaultDeny, rule, target), Err(failure));
        }
        let decision = self.policy.decide(&query);
        let rule = Text::from(decision.rule_id().unwrap_or_default());
        let decided = |ruled| DecisionRecord {
            by: cover.by.clone(),
            ..DecisionRecord::new(ruled, &rule, Some(question.target.to_string()))
        };
        let deny = |ruled, code| {
            let explanation = self.policy.explain_decision(&query, &decision);
            let denial = Denial {
                op: question.action.to_string(),
                target: question.target.to_string(),
                reason: explanation.reason,
                reason_code: code_name(code),
                missing_cap: explanation
                    .missing
                    .map(|action| format!("{}:{}", missing_name(action), question.target))
                    .unwrap_or_default(),
                suggested_snippet: explanation.snippet.unwrap_or_default(),
                rule_id: String::from(&*rule),
                args_path: explanation.args_path.map(|path| path.to_string()).unwrap_or_default(),
                trace_id: trace_id(&self.run, self.seq),
                timestamp: self.clock.wall.as_micros(),
            };
            (decided(ruled), Err(denied(code, denial)))
        };
        match decision.decision {
            PolicyDecision::Permit => {
                let follows = decision.follows_links();
                let root = decision.granted_root().map(|path| Root { path: Text::from(path), follows });
                (decided(Decision::Permit), Ok(Passed { root, grants: decision.grants().collect(), cover }))
            }
            PolicyDecision::Ask => deny(Decision::Ask, Code::ApprovalRequired),
            PolicyDecision::Forbid => deny(Decision::Forbid, Code::PolicyDeny),
            PolicyDecision::DefaultDeny => deny(Decision::DefaultDeny, Code::PolicyDeny),
            PolicyDecision::Expired => deny(Decision::DefaultDeny, Code::CapExpired),
            PolicyDecision::RateLimited { retry_after_us } => {
                let (decided, failure) = deny(Decision::DefaultDeny, Code::CapRate);
                (decided, failure.map_err(|failure| failure.retry_after(retry_after_us)))
            }
        }
    }

    /// Why a tool may not send this request, and by which rule: the policy closes the host call, or the needs of a
    /// tool do not cover the request.
    pub(crate) fn rejected(
        &self,
        op: &str,
        target: &str,
        covered: impl Fn(&ToolPermissions) -> bool,
    ) -> Option<(KernelRule, Failure)> {
        let host_call = self.host_call?.name();
        let (rule, reason, code) = if !self.policy.wasm_hostcall_allowed(&self.agent, host_call) {
            let reason = format!("the policy's `[wasm] hostcalls` does not list {host_call}");
            (KernelRule::Hostcalls, reason, Code::PolicyDeny)
        } else {
            let needs = self.tools.iter().find(|needs| !covered(needs))?;
            let reason = format!("the tool {} may not: its manifest's `needs` do not list it", needs.tool);
            (KernelRule::Needs, reason, Code::CapScope)
        };
        Some((rule, denied(code, self.denial(op, target, reason, code))))
    }

    /// The charges of the request against the policy's cumulative limits.
    pub(crate) fn charges(
        &self,
        question: &PolicyQuery,
        amounts: &[(Dimension, u64)],
    ) -> Result<Vec<Charge>, Failure> {
        let labels = self.labels();
        self.policy.charges(&self.query(question, &labels), amounts).map_err(|error| over_limit(&error))
    }

    /// Whether the needs of each tool cover an address. A need for a URL covers public addresses of its host; any
    /// other address must be listed, by a URL with that address or as `connect`.
    fn is_needed(&self, question: &PolicyQuery, address: IpAddr, port: u16) -> bool {
        let target = Target::addr(address, port);
        let query = Query {
            now_us: self.clock.wall.as_micros(),
            elapsed: self.clock.elapsed,
            ..Query::new(&self.agent, Action::Connect, &target)
        };
        let said = matches!(&question.target, Target::Url(url) if matches!(url.host(), HostOrIp::Ip(_)));
        said || CanonicalIp::new(address).is_public()
            || self.tools.iter().all(|needs| needs.cover(&query, &self.run))
    }

    fn query<'q>(&'q self, question: &'q PolicyQuery, labels: &'q Labels) -> Query<'q> {
        Query {
            args: question.args.as_ref(),
            labels,
            owned: question.owned,
            now_us: self.clock.wall.as_micros(),
            elapsed: self.clock.elapsed,
            grants: &*self.grants,
            steps: self.steps,
            ..Query::new(&self.agent, question.action, &question.target)
        }
    }

    /// The labels of a request's values. Values arrive as plain text, so the labels depend on the sender only.
    /// Values of a tool are untrusted, even if the owner called it.
    fn labels(&self) -> Labels {
        let integrity = if self.account.is_main() && self.tools.is_empty() {
            Integrity::Trusted
        } else {
            Integrity::Untrusted
        };
        Labels { integrity, ..Labels::default() }
    }

    fn owner_only(&self, request: &Request) -> Failure {
        let operation = request.operation();
        let reason = format!("{operation} is the owner's operation; an agent session may not use it");
        denied(Code::PolicyDeny, self.denial(operation.event(), "", reason, Code::PolicyDeny))
    }

    fn no_canonical_form(&self, InvalidTarget { op, target, reason }: &InvalidTarget) -> Failure {
        let reason = reason.clone();
        let denial = self.denial(op, target, reason.clone(), Code::InvalidArgument);
        Failure { denial: Some(Box::new(denial)), ..Failure::new(Code::InvalidArgument, reason) }
    }

    fn denial(&self, op: &str, target: &str, reason: String, code: Code) -> Denial {
        Denial {
            op: op.into(),
            target: target.into(),
            reason,
            reason_code: code_name(code),
            trace_id: trace_id(&self.run, self.seq),
            timestamp: self.clock.wall.as_micros(),
            ..Denial::default()
        }
    }
}

/// The name of a missing capability. `fs.write` alone would include deletion, so it is named `fs.write!`.
const fn missing_name(action: Action) -> &'static str {
    match action {
        Action::FsWrite => action.exact_name(),
        action => action.as_str(),
    }
}

fn is_object(target: &Target) -> bool {
    matches!(target, Target::Heap(_))
}

/// The failure for an object that was deleted, that the session may not use, or that never existed.
pub(crate) fn no_object(target: &Target) -> Failure {
    let Target::Heap(raw) = target else { return Failure::new(Code::NotFound, "there is no such object") };
    let handle = Handle::from_raw(*raw).to_string();
    let message = format!("no object {handle} that this session may use");
    Failure::new(Code::NotFound, message).with("handle", handle)
}

/// The failure of a request on which deciding takes too many steps.
fn too_many_steps(target: Option<String>) -> (DecisionRecord, Result<Pass, Failure>) {
    (DecisionRecord::new(Decision::Refused, KernelRule::Limit, target), Err(over_steps()))
}

pub(crate) fn over_steps() -> Failure {
    let message = format!(
        "deciding on the request takes more than {REQUEST_STEPS_MAX} steps; split it into smaller requests"
    );
    Failure::new(Code::Limit, message)
}

/// The costs of a request for a capability: its amounts, and one `compute`.
fn with_compute(amounts: &[(Dimension, u64)]) -> Vec<(Dimension, u64)> {
    amounts.iter().copied().chain([(Dimension::Compute, 1)]).collect()
}

fn code_name(code: Code) -> String {
    code.name().into()
}

fn denied(code: Code, denial: Denial) -> Failure {
    let message = match denial.target.as_str() {
        "" => denial.reason.clone(),
        target => format!("{} {target}: {}", denial.op, denial.reason),
    };
    Failure { denial: Some(Box::new(denial)), ..Failure::new(code, message) }
}
