//! What a running tool asks for: it passes the same gate as what its agent asks for, and must be within the needs of the
//! tool, and of each tool that called it.

use alloc::{boxed::Box, format, vec::Vec};

use ak_audit::{Kind, Verdict as Ruled};
use ak_json::{Text, Value};
use ak_sandbox::HostOperation;

use crate::{
    code::Code,
    effect::{Completion, Step, Ticket},
    fields::base64url,
    kernel::{CallId, Caller, Kernel, Output},
    presented::Asked,
    record::{Facts, Input, derive},
    reply::{Failure, Outcome, Reply, outcome_to_value},
    request::Request,
    time::Now,
    tool_request::{ToolRequest, Wish},
    under_way::UnderWay,
};

/// Most host calls that come of one call by an agent, through however many tools.
pub const HOST_CALLS_MAX: u64 = 1_000;
/// How deep tools may call tools: an agent's call is the first level.
pub const TOOLS_NESTED_MAX: usize = 4;

/// What has come of an agent's call of a tool, all tools that it led to together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) host_calls: u64,
    /// Used by the tools that the tool called.
    pub(crate) fuel: u64,
}

impl Kernel {
    /// Takes a host call. The answer comes under its own id, as to a request.
    pub(crate) fn host_call(&mut self, now: &Now, ticket: Ticket, request: ToolRequest) -> CallId {
        self.advance(now);
        let Some(tool) = self.under_way.get(&ticket) else {
            let seq = self.chain.next_seq();
            self.stale(now, &Input::Progress { ticket, step: Step::HostCall(request) }, ticket);
            let failure = Failure::new(Code::Replay, "no tool runs under this ticket");
            self.held.push_back((seq, Output::Reply(CallId(seq), Err(failure))));
            return CallId(seq);
        };
        let caller = Caller { session: tool.session, within: Some(ticket), tools: tool.tools.clone() };
        let presented = tool.presented.clone();
        let barred = self.count_host_call(ticket, request.operation).err();
        let ToolRequest { operation, wish } = request;
        let input = |wish| Input::Progress { ticket, step: Step::HostCall(ToolRequest { operation, wish }) };
        match wish {
            Wish::Request(request) => {
                let asked = Asked { request: *request, presented };
                self.take(now, &caller, barred, asked, |asked| input(Wish::Request(Box::new(asked.request))))
            }
            Wish::Now => {
                let time = Value::from(self.clock.as_micros());
                self.give(now, &caller, barred, (operation, time), &input(Wish::Now))
            }
            Wish::Random(bytes) => {
                let random = base64url(&random(&now.entropy, bytes));
                self.give(now, &caller, barred, (operation, random), &input(Wish::Random(bytes)))
            }
        }
    }

    /// Counts a host call.
    ///
    /// # Errors
    /// Why it may not be made, whatever it asks for.
    fn count_host_call(&mut self, ticket: Ticket, operation: HostOperation) -> Result<(), Failure> {
        let tool = self.under_way.get(&ticket).filter(|open| matches!(open.request, Request::Call { .. }));
        let tool =
            tool.ok_or_else(|| Failure::new(Code::InvalidArgument, "only a running tool makes host calls"))?;
        if let Some(failure) = &tool.aborted {
            return Err(failure.clone());
        }
        let agent = self.agents.name(tool.session);
        if !self.policy.wasm_hostcall_allowed(&agent, operation.name()) {
            let message = format!("the policy's `[wasm] hostcalls` does not list {}", operation.name());
            return Err(Failure::new(Code::PolicyDeny, message));
        }
        let first = self.first_call(ticket);
        let tally = first.and_then(|first| self.under_way.get_mut(&first)).map(|first| &mut first.tally);
        let tally =
            tally.ok_or_else(|| Failure::new(Code::Replay, "the tool that led to this call is gone"))?;
        if tally.host_calls >= HOST_CALLS_MAX {
            let message = format!("one call of a tool leads to at most {HOST_CALLS_MAX} host calls");
            return Err(Failure::new(Code::Limit, message));
        }
        tally.host_calls += 1;
        Ok(())
    }

    /// The call by an agent that led to this one, if all between are still under way.
    pub(crate) fn first_call(&self, ticket: Ticket) -> Option<Ticket> {
        let mut ticket = ticket;
        // A ticket is always newer than the one it is within.
        while let Some(outer) = self.under_way.get(&ticket)?.within {
            ticket = outer;
        }
        Some(ticket)
    }

    /// Gives a tool the time or random bytes, which no policy speaks of: its needs do.
    fn give(
        &mut self,
        now: &Now,
        caller: &Caller,
        barred: Option<Failure>,
        (operation, wanted): (HostOperation, Value),
        input: &Input,
    ) -> CallId {
        let seq = self.chain.next_seq();
        let agent = self.agents.name(caller.session);
        let without = caller.tools.iter().find(|needs| !needs.has(operation));
        let (ruled, rule, outcome): (_, _, Outcome) = match (barred, without) {
            (Some(failure), _) => (Ruled::Refused, "host-call", Err(failure)),
            (None, Some(needs)) => {
                let message = format!("the tool {} does not need `{}:*`", needs.tool, operation.name());
                (Ruled::DefaultDeny, "needs", Err(Failure::new(Code::CapScope, message)))
            }
            (None, None) => match self.gate(caller.session, agent.clone()).pay_for_asking(1) {
                Ok(()) => (Ruled::Permit, "needs", Ok(Reply::Value(wanted))),
                Err(failure) => (Ruled::Refused, "budget", Err(failure)),
            },
        };
        let value = outcome_to_value(&outcome);
        let details = crate::describe::ambient(operation, &caller.tools, &value);
        let Some(ticket) = caller.within else { return CallId(seq) };
        let Some(tool) = self.under_way.get(&ticket) else { return CallId(seq) };
        let facts = Facts {
            decision: ruled,
            rule: Text::from(rule),
            target: None,
            code: outcome.as_ref().err().map_or(0, |failure| failure.code.number()),
            reply: Some(value),
            ..self.facts_of(tool, ticket, Kind::Step)
        };
        self.record(now, input, facts, Vec::from([agent]), details);
        self.held.push_back((seq, Output::Reply(CallId(seq), outcome)));
        CallId(seq)
    }

    /// Counts the fuel of a tool that a tool called.
    pub(crate) fn tally(&mut self, ended: &UnderWay, completion: &Completion) {
        let spent = match completion {
            Completion::Tool { fuel, .. } => *fuel,
            Completion::Failed { spent, .. } if matches!(ended.request, Request::Call { .. }) => *spent,
            _ => return,
        };
        let first = ended.within.and_then(|within| self.first_call(within));
        if let Some(first) = first.and_then(|first| self.under_way.get_mut(&first)) {
            first.tally.fuel = first.tally.fuel.saturating_add(spent);
        }
    }
}

/// So many bytes from one input's entropy.
fn random(entropy: &[u8; 32], bytes: u64) -> Vec<u8> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let blocks = (0u64..).flat_map(|block| derive(entropy, "random", &format!("{block}")));
    blocks.take(length).collect()
}
