//! Host calls of a running tool. A host call passes the same gate as a request of the tool's agent, and must be
//! within the needs of the tool and of each tool that called it. A tool run by the owner does not get owner rights:
//! it acts as the agent `main`.

use alloc::{boxed::Box, format, vec::Vec};

use ak_audit::{Decision, Kind};
use ak_json::{Text, Value};
use ak_policy::{PolicyDecision, budget::Dimension};
use ak_sandbox::HostOperation;

use crate::{
    api::{
        code::Code,
        effect::Ticket,
        fields::base64url,
        kernel_rule::KernelRule,
        operation::Operation,
        prepared::Prepared,
        presented::AuthenticatedRequest,
        reply::{Failure, Outcome, Reply, outcome_facts},
        request::{Request, ToolsRequest},
        time::Now,
        tool_request::{ToolRequest, ToolRequestKind},
    },
    authz::query::QueryContext,
    codec::input::Input,
    effects::pending::EffectState,
    operations::details,
    record::{
        entry::{EntryFields, derive},
        recorded::EarlierDecision,
    },
    state::{CallId, Caller, Kernel, Output},
};

/// Most host calls that one call by an agent may lead to, through all tools together.
pub const HOST_CALLS_MAX: u64 = 1_000;

impl Kernel {
    /// Takes a host call of the tool that runs under `ticket`. The answer comes under the id returned, like that of
    /// a request: as [`Output::Reply`], or as [`Output::Perform`] with a ticket of its own first.
    ///
    /// # Errors
    /// RATE_LIMIT with `retry_after_ms` if the agent's rates are used up. The call had no effect then and was not
    /// recorded; the host tries again later.
    pub fn host_call(&mut self, now: Now, ticket: Ticket, request: ToolRequest) -> Result<CallId, Failure> {
        if let Some(tool) = self.pending.get(&ticket) {
            self.admit_tool(&now, tool.account)?;
        }
        self.record_clock_step(&now);
        Ok(self.dispatch_admitted_host_call(&now, ticket, request))
    }

    /// Takes a host call that was admitted.
    pub(crate) fn dispatch_admitted_host_call(
        &mut self,
        now: &Now,
        ticket: Ticket,
        request: ToolRequest,
    ) -> CallId {
        self.advance(now);
        let Some(tool) = self.pending.get(&ticket) else {
            let seq = self.chain.next_seq();
            self.stale(now, &Input::HostCall { ticket, request }, ticket);
            let failure = Failure::new(Code::Replay, "no tool runs under this ticket");
            self.outputs.push_back((seq, Output::Reply(CallId(seq), Err(failure))));
            return CallId(seq);
        };
        let ToolRequest { operation, kind, fuel_left } = request;
        let caller = Caller {
            session: tool.session,
            account: tool.account,
            within: Some(ticket),
            tools: tool.tools.clone(),
            host_call: Some(operation),
            fuel_left,
        };
        let presented = tool.presented.clone();
        let rejected = if self.recorded.is_some() { None } else { self.count_host_call(ticket).err() };
        let input = |kind| Input::HostCall { ticket, request: ToolRequest { operation, kind, fuel_left } };
        match kind {
            ToolRequestKind::Request(request) => {
                let is_long = if self.recorded.is_some() { None } else { request.check_form().err() };
                let rejected = rejected.or(is_long);
                let asked = AuthenticatedRequest { presented, ..AuthenticatedRequest::from(*request) };
                let input =
                    |asked: AuthenticatedRequest| input(ToolRequestKind::Request(Box::new(asked.request)));
                self.handle_request(now, &caller, rejected, asked, input)
            }
            ToolRequestKind::Now => {
                let time = Value::from(self.clock.wall.as_micros());
                self.answer_ambient(now, &caller, operation, time, rejected, &input(ToolRequestKind::Now))
            }
            ToolRequestKind::Random(bytes) => {
                let random = base64url(&random(&now.entropy, bytes));
                self.answer_ambient(
                    now,
                    &caller,
                    operation,
                    random,
                    rejected,
                    &input(ToolRequestKind::Random(bytes)),
                )
            }
        }
    }

    /// Counts a host call.
    ///
    /// # Errors
    /// Why the call is refused, whatever its request is.
    fn count_host_call(&mut self, ticket: Ticket) -> Result<(), Failure> {
        let line = self.call_chain(ticket)?;
        let first = line.last().and_then(|first| self.pending.get_mut(first));
        if let Some(EffectState::Tool { host_calls }) = first.map(|first| &mut first.state) {
            if *host_calls >= HOST_CALLS_MAX {
                let message = format!("one call of a tool leads to at most {HOST_CALLS_MAX} host calls");
                return Err(Failure::new(Code::Limit, message));
            }
            *host_calls += 1;
        }
        line.into_iter().try_for_each(|ticket| self.still_permitted(ticket))
    }

    /// The tickets of the tool and of those that called it, from the innermost to the agent's own call.
    fn call_chain(&self, ticket: Ticket) -> Result<Vec<Ticket>, Failure> {
        let mut line = Vec::from([ticket]);
        loop {
            let ticket = line.last().copied().unwrap_or(ticket);
            let Some(tool) = self.pending.get(&ticket) else {
                return Err(Failure::new(
                    Code::Replay,
                    "the calling tool has ended: it makes no more host calls",
                ));
            };
            if !matches!(*tool.request, Request::Tools(ToolsRequest::Call { .. })) {
                return Err(Failure::new(Code::InvalidArgument, "only a running tool makes host calls"));
            }
            if let Some(failure) = &tool.aborted {
                return Err(failure.clone());
            }
            match tool.within {
                // A ticket is always newer than the one it is within, so the loop ends.
                Some(outer) => line.push(outer),
                None => return Ok(line),
            }
        }
    }

    /// Whether the policy in force still permits a running tool; it may have been replaced since the call. A rate
    /// that is used up by now does not end the run, since the call was counted against it.
    fn still_permitted(&mut self, ticket: Ticket) -> Result<(), Failure> {
        let Some(tool) = self.pending.get(&ticket) else { return Ok(()) };
        let (account, request) = (tool.account, tool.request.clone());
        // The caller of the tool: the session itself, or another tool.
        let tools = if tool.within.is_some() { tool.tools.clone() } else { Vec::new() };
        let caller = Caller { tools, ..tool.caller() };
        let name = tool.tools.last().map(|needs| needs.tool.clone()).unwrap_or_default();
        let agent = self.agents.name(account);
        let prepared = Prepared::default();
        let asker =
            QueryContext { agent: &agent, policy: &self.policy, prepared: &prepared, owns: &|_| false };
        let Ok(Some(question)) = request.query(&asker) else { return Ok(()) };
        let module = name.split_once('@').map_or(&*name, |(module, _)| module);
        let allowed = self.policy.wasm_module_allowed(&agent, module);
        let decision = self.gate_of(&caller, agent).policy_decision(&question);
        match decision {
            PolicyDecision::Permit | PolicyDecision::RateLimited { .. } if allowed => Ok(()),
            PolicyDecision::Permit
            | PolicyDecision::RateLimited { .. }
            | PolicyDecision::Ask
            | PolicyDecision::Forbid
            | PolicyDecision::DefaultDeny
            | PolicyDecision::Expired => {
                let message = format!("the policy does not permit the tool {name} any more");
                Err(Failure::new(Code::PolicyDeny, message))
            }
        }
    }

    /// Answers a host call for the time or for random bytes. No rule of a policy covers these; the tool's needs do.
    fn answer_ambient(
        &mut self,
        now: &Now,
        caller: &Caller,
        operation: HostOperation,
        wanted: Value,
        rejected: Option<Failure>,
        input: &Input,
    ) -> CallId {
        let seq = self.chain.next_seq();
        let agent = self.agents.name(caller.account);
        if let Some(recorded) = self.recorded.clone() {
            return self.answer_ambient_as_recorded(now, caller, operation, input, &recorded);
        }
        let mut gate = self.gate_of(caller, agent.clone());
        let paid = gate.charge_request(1);
        let (ruled, rule, outcome): (_, _, Outcome) =
            match (rejected, paid, gate.rejected(operation.name(), "", |needs| needs.has(operation))) {
                (Some(failure), _, _) => (Decision::Refused, KernelRule::HostCall, Err(failure)),
                (None, Err(failure), _) => (Decision::Refused, KernelRule::Budget, Err(failure)),
                (None, Ok(()), Some((rule, failure))) => (Decision::DefaultDeny, rule, Err(failure)),
                (None, Ok(()), None) => (Decision::Permit, KernelRule::Needs, Ok(Reply::Value(wanted))),
            };
        let outcome = outcome.map_err(|failure| self.redact_for_caller(caller, failure));
        let details = details::ambient(operation, &caller.tools, &outcome);
        let facts = EntryFields {
            kind: Kind::Step,
            cause: caller.within.map(Ticket::cause),
            decision: ruled,
            rule: Text::from(rule),
            code: outcome.as_ref().err().map_or(0, |failure| failure.code.number()),
            reply: Some(outcome_facts(Operation::Call, &outcome, None).digest()),
            message: outcome.as_ref().err().map(|failure| failure.message.clone()),
            agent: agent.clone(),
            ..self.notice(Operation::Call)
        };
        self.record(now, input, facts, Vec::from([agent]), details);
        self.charge_newest(caller.account, 1, ruled != Decision::Permit);
        self.outputs.push_back((seq, Output::Reply(CallId(seq), outcome)));
        CallId(seq)
    }
}

impl Kernel {
    /// Repeats an earlier version's answer to a host call for the time or for random bytes.
    fn answer_ambient_as_recorded(
        &mut self,
        now: &Now,
        caller: &Caller,
        operation: HostOperation,
        input: &Input,
        recorded: &EarlierDecision,
    ) -> CallId {
        let seq = self.chain.next_seq();
        let agent = self.agents.name(caller.account);
        self.agents.record(caller.account, Dimension::Compute, 1, self.clock.elapsed);
        let outcome: Outcome = Ok(Reply::Done);
        let details = details::ambient(operation, &caller.tools, &outcome);
        let facts = EntryFields {
            kind: Kind::Step,
            cause: caller.within.map(Ticket::cause),
            decision: recorded.decision,
            code: recorded.code,
            rule: recorded.rule.clone(),
            agent: agent.clone(),
            ..self.notice(Operation::Call)
        };
        self.record(now, input, facts, Vec::from([agent]), details);
        self.outputs.push_back((seq, Output::Reply(CallId(seq), outcome)));
        CallId(seq)
    }
}

/// Derives `bytes` random bytes from one input's entropy.
fn random(entropy: &[u8; 32], bytes: u64) -> Vec<u8> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let blocks = (0u64..).flat_map(|block| derive(entropy, "random", &format!("{block}")));
    blocks.take(length).collect()
}
