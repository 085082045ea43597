//! The inputs that continue, end and abort effects.

use alloc::{sync::Arc, vec::Vec};

use ak_audit::{Decision, Kind};
use ak_json::{Text, object};
use ak_policy::CanonicalUrl;

use crate::{
    api::{
        code::Code,
        effect::{Completion, FUEL, Step, StepAnswer, Ticket},
        kernel_rule::KernelRule,
        operation::Operation,
        prepared::PreparedCompletion,
        reply::{Failure, Outcome, outcome_facts},
        request::{Request, ToolsRequest},
        session::MAIN,
        time::{Elapsed, Now},
    },
    authz::gate::DecisionRecord,
    codec::input::Input,
    effects::pending::{EffectState, PendingEffect},
    operations::{Amounts, Completed, details},
    record::{entry::EntryFields, recorded::EarlierDecision},
    state::{CallId, Kernel, Output},
};

impl Kernel {
    /// Takes a step of a pending effect. The answer comes as an output.
    ///
    /// A step with a ticket of no pending effect gets no answer. If it is short, it is recorded all the same.
    ///
    /// # Errors
    /// LIMIT if the step, or all steps of the effect together, are longer than the records that were planned for
    /// them. The step is not recorded and no answer follows. The host must stop the effect, which then ends with
    /// this failure.
    pub fn progress(&mut self, now: Now, ticket: Ticket, step: Step) -> Result<(), Failure> {
        let step = self.bounded_step(ticket, step)?;
        self.record_clock_step(&now);
        self.handle_step(now, ticket, step);
        Ok(())
    }

    pub(crate) fn handle_step(&mut self, now: Now, ticket: Ticket, step: Step) {
        self.advance(&now);
        let seq = self.chain.next_seq();
        let input = Input::Progress { ticket, step: step.clone() };
        let details = details::step(&step);
        let Some(mut pending) = self.pending.remove(&ticket) else {
            return self.stale(&now, &input, ticket);
        };
        let (decided, answer) = match pending.aborted.clone() {
            Some(failure) => {
                let decided = DecisionRecord::new(Decision::Refused, KernelRule::Aborted, None);
                (decided, StepAnswer::Abort(failure))
            }
            None => self.on_step(&mut pending, step),
        };
        let mut code = 0;
        if let StepAnswer::Abort(failure) = &answer {
            code = failure.code.number();
            pending.aborted = Some(failure.clone());
        }
        let mut facts = self.facts_of(&pending, ticket, Kind::Step);
        facts.decision = decided.decision;
        facts.rule = decided.rule;
        facts.target = decided.target;
        facts.code = code;
        let about = self.subjects_under_way(&pending);
        let account = pending.account;
        self.pending.insert(ticket, pending);
        self.record(&now, &input, facts, about, details);
        self.charge_newest(account, 0, false);
        self.outputs.push_back((seq, Output::Resume(ticket, answer)));
    }

    /// Takes the completion of an effect. The reply to its request comes as an output.
    ///
    /// A completion with a ticket that was never issued or is used up is recorded and has no other consequence. A
    /// completion that is not of the request's kind is refused: the outcome is unknown. One that takes more bytes
    /// than were planned for it counts as a failure with BUFFER_OVERFLOW.
    pub fn complete(&mut self, now: Now, ticket: Ticket, ended: impl Into<PreparedCompletion>) {
        let ended = self.bounded_end(ticket, ended.into());
        self.record_clock_step(&now);
        self.handle_completion(now, ticket, ended);
    }

    pub(crate) fn handle_completion(&mut self, now: Now, ticket: Ticket, ended: PreparedCompletion) {
        self.advance(&now);
        let seq = self.chain.next_seq();
        let completion = ended.completion.clone();
        let input = Input::Complete { ticket, ended: ended.clone() };
        let Some(pending) = self.pending.remove(&ticket) else {
            return self.stale(&now, &input, ticket);
        };
        let mut facts = self.facts_of(&pending, ticket, Kind::Outcome);
        let about = self.subjects_under_way(&pending);
        let caller = pending.caller();
        let operation = pending.request.operation();
        let log = completion.log().cloned();
        let Ending { used, outcome, belongs } = self.ending(&pending, completion);
        if !belongs {
            (facts.decision, facts.rule) = (Decision::Refused, Text::from(KernelRule::Completion));
        }
        let PendingEffect { reservation, aborted, request, .. } = pending;
        self.agents.settle(reservation, &used, self.clock.elapsed);
        let outcome = match aborted {
            Some(failure) if outcome.is_ok() => Err(failure),
            _ => outcome,
        };
        let outcome = outcome.map_err(|failure| self.redact_for_caller(&caller, failure));
        if let Err(failure) = &outcome {
            facts.code = failure.code.number();
        }
        let details = details::outcome(&request, &outcome, log);
        facts.reply = Some(outcome_facts(operation, &outcome, ended.reply(&outcome)).digest());
        facts.message = outcome.as_ref().err().map(|failure| failure.message.clone());
        self.record(&now, &input, facts, about, details);
        self.charge_newest(caller.account, 0, false);
        self.outputs.push_back((seq, Output::Reply(CallId(ticket.cause()), outcome)));
    }

    /// The time from the newest input until [`handle_timeout`](Self::handle_timeout) is due, in µs; `None` if
    /// never.
    pub fn poll_timeout(&self) -> Option<u64> {
        let Elapsed { low_us, high_us } = self.clock.elapsed;
        let deadline = self.deadline().map(|due_us| due_us.saturating_sub(high_us));
        let admission = self.admission_due_us().map(|due_us| due_us.saturating_sub(low_us));
        deadline.into_iter().chain(admission).min()
    }

    /// Kernel time at which the wall time of an agent with a pending effect is first used up, in µs.
    fn deadline(&self) -> Option<u64> {
        let open = self.pending.values().filter(|pending| pending.aborted.is_none());
        open.filter_map(|pending| self.agents.deadline(pending.account)).min()
    }

    /// The time from the newest input until the wall time of the effect's agent is used up, in µs; `None` if it has
    /// no limit.
    pub fn time_left_of(&self, ticket: Ticket) -> Option<u64> {
        let due_us = self.agents.deadline(self.pending.get(&ticket)?.account)?;
        Some(due_us.saturating_sub(self.clock.elapsed.high_us))
    }

    /// Aborts the effects of agents whose wall time is used up, and records throttled requests that are due. Before
    /// [`poll_timeout`](Self::poll_timeout) is due this does nothing but record a step of the wall clock.
    pub fn handle_timeout(&mut self, now: Now) {
        self.record_throttled(&now);
        self.record_clock_step(&now);
        let now_us = self.clock.after(&now).elapsed.high_us;
        if self.deadline().is_some_and(|due_us| due_us <= now_us) {
            self.tick(&now);
        }
    }

    /// Aborts the effects of agents whose wall time is used up.
    pub(crate) fn tick(&mut self, now: &Now) {
        self.advance(now);
        let seq = self.chain.next_seq();
        let now_us = self.clock.elapsed.high_us;
        for (ticket, pending) in &mut self.pending {
            let over = self.agents.deadline(pending.account).is_some_and(|due_us| due_us <= now_us);
            if over && pending.aborted.is_none() {
                let failure = Failure::new(Code::BudgetExceeded, "the wall time of the agent is used up");
                pending.aborted = Some(failure.clone());
                self.outputs.push_back((seq, Output::Resume(*ticket, StepAnswer::Abort(failure))));
            }
        }
        let facts = self.notice(Operation::Tick);
        self.record(now, &Input::Tick, facts, Vec::new(), object! {});
    }

    /// The tickets of all pending effects. After a restart the host completes each as [`Completion::Unknown`],
    /// except the [`unfinished`](Self::unfinished) ones.
    pub fn tickets(&self) -> Vec<Ticket> {
        self.pending.keys().copied().collect()
    }

    pub(crate) fn stale(&mut self, now: &Now, input: &Input, ticket: Ticket) {
        let mut facts = self.notice(Operation::Tick);
        facts.decision = Decision::Refused;
        facts.rule = Text::from(KernelRule::StaleTicket);
        facts.code = Code::Replay.number();
        // It is unknown which subject the input is about.
        let about = Vec::from([Text::from(MAIN)]);
        self.record(now, input, facts, about, object! { "ticket": ticket.cause() });
    }

    /// The subject of an effect: its agent. The outcome of an erasure states which bodies are gone, so it is never
    /// erased itself.
    fn subjects_under_way(&self, pending: &PendingEffect) -> Vec<Text> {
        match pending.erasing() {
            // In an earlier version it could be erased.
            Some(_) if self.recorded.is_none() => Vec::new(),
            Some(_) | None => Vec::from([self.agents.name(pending.account)]),
        }
    }

    fn facts_of(&self, pending: &PendingEffect, ticket: Ticket, kind: Kind) -> EntryFields {
        let agent = self.agents.name(pending.account);
        EntryFields {
            operation: pending.request.operation(),
            kind,
            decision: Decision::Permit,
            code: 0,
            cause: Some(ticket.cause()),
            policy: self.policy.digest(),
            target: pending.target.clone(),
            reply: None,
            message: None,
            others: Vec::new(),
            agent,
            rule: Text::default(),
            event: None,
        }
    }

    /// Decides on a step of an effect.
    fn on_step(&mut self, pending: &mut PendingEffect, step: Step) -> (DecisionRecord, StepAnswer) {
        if let Some(recorded) = self.recorded.clone() {
            return self.step_as_recorded(pending, step, &recorded);
        }
        let request = Arc::clone(&pending.request);
        request.on_step(self, pending, step).unwrap_or_else(|| {
            let failure = Failure::new(Code::InvalidArgument, "this step does not belong to this effect");
            (DecisionRecord::new(Decision::Refused, KernelRule::Step, None), StepAnswer::Abort(failure))
        })
    }

    /// Repeats an earlier version's decision on a step.
    fn step_as_recorded(
        &mut self,
        pending: &mut PendingEffect,
        step: Step,
        recorded: &EarlierDecision,
    ) -> (DecisionRecord, StepAnswer) {
        let decided = DecisionRecord {
            rule: recorded.rule.clone(),
            ..DecisionRecord::new(recorded.decision, "", None)
        };
        if recorded.code != 0 {
            let code = Code::from_number(recorded.code).unwrap_or(Code::PolicyDeny);
            return (decided, StepAnswer::Abort(Failure::new(code, code.meaning())));
        }
        match step {
            Step::Redirect { method, url } => {
                let url = CanonicalUrl::parse(&url).ok();
                if let (EffectState::Http { hop, .. }, Some(url)) = (&mut pending.state, url) {
                    **hop = hop.redirected(method, url);
                }
            }
            Step::Chunk { tokens: more, .. } => {
                if let EffectState::Infer { tokens, .. } = &mut pending.state {
                    *tokens = tokens.saturating_add(more);
                }
            }
            Step::Resolved(_) | Step::Link { .. } | Step::Path { .. } | Step::Resend => {}
        }
        (decided, StepAnswer::Continue)
    }

    /// The outcome that a completion gives.
    fn ending(&mut self, pending: &PendingEffect, completion: Completion) -> Ending {
        match completion {
            Completion::Unknown => Ending::unknown(pending),
            Completion::Failed { code, message, context, spent } => {
                let used = pending.request.charge_failure(self, pending, &spent);
                let failure = Failure { context: spent.tell(context), ..Failure::new(code, message) };
                let mut failure = pending.aborted.clone().unwrap_or(failure);
                let is_call = matches!(*pending.request, Request::Tools(ToolsRequest::Call { .. }));
                if pending.within.is_some() && is_call {
                    failure = failure.with(FUEL, spent.amount);
                }
                Ending { used, outcome: Err(failure), belongs: true }
            }
            completion @ (Completion::Done
            | Completion::File(_)
            | Completion::Value(_)
            | Completion::Http(_)
            | Completion::Inferred { .. }
            | Completion::Tool { .. }) => match pending.request.complete(self, pending, completion) {
                Some(Completed { outcome, used }) => Ending { used, outcome, belongs: true },
                None => Ending { belongs: false, ..Ending::unknown(pending) },
            },
        }
    }
}

/// The end of an effect.
struct Ending {
    /// What it used of the reserved amounts. A dimension that is missing counts as used in full.
    used: Amounts,
    outcome: Outcome,
    /// Whether the completion is of the effect's kind.
    belongs: bool,
}

impl Ending {
    /// For an effect of which it is unknown whether it happened: everything that was reserved counts as used.
    fn unknown(pending: &PendingEffect) -> Ending {
        let message = "the effect was started, but its outcome is unknown: it may or may not have happened";
        let failure = pending.aborted.clone();
        let failure = failure.unwrap_or_else(|| Failure::new(Code::UnknownOutcome, message));
        Ending { used: Amounts::new(), outcome: Err(failure), belongs: true }
    }
}
