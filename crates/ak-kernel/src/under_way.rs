//! Effects under way: the inputs that carry them on, end them, and tell them to stop.

use alloc::{boxed::Box, string::String, vec::Vec};

use ak_audit::{Decision as Ruled, Kind};
use ak_json::{Text, object};

use crate::{
    agents::{Hold, MAIN},
    code::Code,
    effect::{Completion, Effect, LogWork, Step, Ticket, Verdict},
    gate::Ruling,
    http_hop::HttpHop,
    kernel::{CallId, Caller, Kernel, Output},
    needs::ToolLine,
    operation::Operation,
    prepared::{Ended, Prepared},
    presented::Presented,
    record::{Facts, Input},
    reply::{Failure, Reply, outcome_facts},
    request::Request,
    session::{AgentId, SessionId},
    time::{Elapsed, Now},
};

/// An effect between permit and completion.
#[derive(Debug)]
pub(crate) struct UnderWay {
    /// Who asked for it, and whose session that is.
    pub(crate) session: SessionId,
    pub(crate) account: AgentId,
    pub(crate) request: Request,
    /// The capability that came with the request: it must cover a redirect too.
    pub(crate) presented: Option<Presented>,
    pub(crate) target: Option<String>,
    pub(crate) hold: Hold,
    /// For a file whose links are followed: the directory that they must not leave.
    pub(crate) links_beneath: Option<Text>,
    /// For HTTP: what was worked out of the request beforehand. It is no part of the state.
    pub(crate) prepared: Prepared,
    /// For HTTP: the request that is sent at the moment.
    pub(crate) hop: Option<HttpHop>,
    /// For HTTP: the size of each request so far, in bytes.
    pub(crate) sent: Vec<u64>,
    /// For a stream: the tokens of its answer seen so far, and how many were set aside for it.
    pub(crate) tokens: u64,
    pub(crate) tokens_max: u64,
    /// Why it was told to stop.
    pub(crate) aborted: Option<Failure>,
    /// The running tool that asked for it.
    pub(crate) within: Option<Ticket>,
    /// The tools that it is done for, a running tool itself the last of them.
    pub(crate) tools: ToolLine,
    /// Of a tool that an agent called: how many host calls came of it, of all tools that it led to together.
    pub(crate) host_calls: u64,
    /// Of an erasure: what is to be done again should it be cut short.
    pub(crate) erasing: Option<LogWork>,
    /// Bytes of the records of its steps, of those that were set aside, and why a step was refused. They are no part of the
    /// state: what was refused was not recorded.
    pub(crate) steps_bytes: u64,
    pub(crate) refused: Option<Failure>,
}

impl UnderWay {
    /// One that has just begun, of a request that came without a capability.
    pub(crate) fn new(session: SessionId, account: AgentId, request: Request, hold: Hold) -> UnderWay {
        UnderWay {
            session,
            account,
            request,
            presented: None,
            target: None,
            hold,
            links_beneath: None,
            prepared: Prepared::default(),
            hop: None,
            sent: Vec::new(),
            tokens: 0,
            tokens_max: 0,
            aborted: None,
            within: None,
            tools: Vec::new(),
            host_calls: 0,
            erasing: None,
            steps_bytes: 0,
            refused: None,
        }
    }
}

impl UnderWay {
    /// The caller that it is for.
    pub(crate) fn caller(&self) -> Caller {
        Caller { within: self.within, tools: self.tools.clone(), ..Caller::new(self.session, self.account) }
    }
}

/// What acting on a permit came to.
pub(crate) enum Next {
    Reply(Reply),
    /// A request was only asked about: what would be decided, and the answer.
    Preview(Box<Ruling>, Reply),
    Effect(Effect, Box<UnderWay>),
}

impl Kernel {
    /// Takes a step of an effect under way. The verdict comes as an output.
    ///
    /// A ticket that names no effect under way gets no verdict: there is nobody to give it to. A short step is recorded all the
    /// same.
    ///
    /// # Errors
    /// LIMIT where the step, or all steps of the effect together, are longer than what is recorded of them. The step is not
    /// recorded, no verdict follows, and the host has to stop the effect, which then ends as this failure.
    pub fn progress(&mut self, now: Now, ticket: Ticket, step: Step) -> Result<(), Failure> {
        let step = self.bounded_step(ticket, step)?;
        self.note_step(&now);
        self.take_step(now, ticket, step);
        Ok(())
    }

    pub(crate) fn take_step(&mut self, now: Now, ticket: Ticket, step: Step) {
        self.advance(&now);
        let seq = self.chain.next_seq();
        let input = Input::Progress { ticket, step: step.clone() };
        let details = crate::describe::step(&step);
        let Some(mut under_way) = self.under_way.remove(&ticket) else {
            return self.stale(&now, &input, ticket);
        };
        let (ruling, verdict) = match under_way.aborted.clone() {
            Some(failure) => {
                let ruling = Ruling::new(Ruled::Refused, "aborted", None);
                (ruling, Verdict::Abort(failure))
            }
            None => self.judge(&mut under_way, step),
        };
        let mut code = 0;
        if let Verdict::Abort(failure) = &verdict {
            code = failure.code.number();
            under_way.aborted = Some(failure.clone());
        }
        let mut facts = self.facts_of(&under_way, ticket, Kind::Step);
        facts.decision = ruling.ruled;
        facts.rule = ruling.rule;
        facts.target = ruling.target;
        facts.code = code;
        let about = self.subjects_under_way(&under_way);
        let account = under_way.account;
        self.under_way.insert(ticket, under_way);
        self.record(&now, &input, facts, about, details);
        self.charge_newest(account, 0, false);
        self.held.push_back((seq, Output::Resume(ticket, verdict)));
    }

    /// Takes the end of an effect. The reply to its request comes as an output.
    ///
    /// A ticket that was never given out or is used up is recorded and has no other consequence. A completion that
    /// is not of the request's kind is refused: what happened counts as unknown. One that takes more bytes than were set aside
    /// for it counts as a failure with BUFFER_OVERFLOW.
    pub fn complete(&mut self, now: Now, ticket: Ticket, ended: impl Into<Ended>) {
        let ended = self.bounded_end(ticket, ended.into());
        self.note_step(&now);
        self.take_completion(now, ticket, ended);
    }

    pub(crate) fn take_completion(&mut self, now: Now, ticket: Ticket, ended: Ended) {
        self.advance(&now);
        let seq = self.chain.next_seq();
        let mut completion = ended.completion.clone();
        let input = Input::Complete { ticket, ended: ended.clone() };
        let Some(under_way) = self.under_way.remove(&ticket) else {
            return self.stale(&now, &input, ticket);
        };
        let mut facts = self.facts_of(&under_way, ticket, Kind::Outcome);
        let about = self.subjects_under_way(&under_way);
        let caller = under_way.caller();
        let operation = under_way.request.operation();
        if !completion.ends(&under_way.request) {
            (facts.decision, facts.rule) = (Ruled::Refused, Text::from("completion"));
            completion = Completion::Unknown;
        }
        let log = completion.log().cloned();
        let outcome = self.conclude(under_way, completion).map_err(|failure| self.shown(&caller, failure));
        if let Err(failure) = &outcome {
            facts.code = failure.code.number();
        }
        let details = crate::describe::outcome(operation, &outcome, log);
        facts.reply = Some(outcome_facts(operation, &outcome, ended.reply(&outcome)).digest());
        facts.message = outcome.as_ref().err().map(|failure| failure.message.clone());
        self.record(&now, &input, facts, about, details);
        self.charge_newest(caller.account, 0, false);
        self.held.push_back((seq, Output::Reply(CallId(ticket.cause()), outcome)));
    }

    /// In how many µs [`handle_timeout`](Self::handle_timeout) is due, if ever, from the newest input on.
    pub fn poll_timeout(&self) -> Option<u64> {
        let Elapsed { low_us, high_us } = self.clock.elapsed;
        let deadline = self.deadline().map(|due_us| due_us.saturating_sub(high_us));
        let admission = self.admission_due_us().map(|due_us| due_us.saturating_sub(low_us));
        deadline.into_iter().chain(admission).min()
    }

    /// When the wall time of somebody with an effect under way is over, in kernel time.
    fn deadline(&self) -> Option<u64> {
        let open = self.under_way.values().filter(|under_way| under_way.aborted.is_none());
        open.filter_map(|under_way| self.agents.deadline(under_way.account)).min()
    }

    /// In how many µs from the newest input on the wall time of the agent is over that an effect is for, if it has any.
    pub fn time_left_of(&self, ticket: Ticket) -> Option<u64> {
        let due_us = self.agents.deadline(self.under_way.get(&ticket)?.account)?;
        Some(due_us.saturating_sub(self.clock.elapsed.high_us))
    }

    /// Tells effects whose agent's wall time is over to stop. Before [`poll_timeout`](Self::poll_timeout) nothing happens.
    pub fn handle_timeout(&mut self, now: Now) {
        self.note_turned_away(&now);
        self.note_step(&now);
        let now_us = self.clock.after(&now).elapsed.high_us;
        if self.deadline().is_some_and(|due_us| due_us <= now_us) {
            self.tick(&now);
        }
    }

    /// Ends what is over.
    pub(crate) fn tick(&mut self, now: &Now) {
        self.advance(now);
        let seq = self.chain.next_seq();
        let now_us = self.clock.elapsed.high_us;
        for (ticket, under_way) in &mut self.under_way {
            let over = self.agents.deadline(under_way.account).is_some_and(|due_us| due_us <= now_us);
            if over && under_way.aborted.is_none() {
                let failure = Failure::new(Code::BudgetExceeded, "the wall time of the agent is used up");
                under_way.aborted = Some(failure.clone());
                self.held.push_back((seq, Output::Resume(*ticket, Verdict::Abort(failure))));
            }
        }
        let facts = self.notice(Operation::Tick);
        self.record(now, &Input::Tick, facts, Vec::new(), object! {});
    }

    /// The tickets of all effects under way. After a restart each is completed as [`Completion::Unknown`], save what is
    /// [`unfinished`](Self::unfinished).
    pub fn tickets(&self) -> Vec<Ticket> {
        self.under_way.keys().copied().collect()
    }

    pub(crate) fn stale(&mut self, now: &Now, input: &Input, ticket: Ticket) {
        let mut facts = self.notice(Operation::Tick);
        facts.decision = Ruled::Refused;
        facts.rule = Text::from("stale-ticket");
        facts.code = Code::Replay.number();
        // Whatever it brings, nobody knows whom it is about.
        let about = Vec::from([Text::from(MAIN)]);
        self.record(now, input, facts, about, object! { "ticket": ticket.cause() });
    }

    /// Whom an effect is about: its agent. The end of an erasure explains which bodies are gone, and so is never erased itself.
    fn subjects_under_way(&self, under_way: &UnderWay) -> Vec<Text> {
        match under_way.erasing {
            // An earlier version could erase it.
            Some(_) if self.recorded.is_none() => Vec::new(),
            Some(_) | None => Vec::from([self.agents.name(under_way.account)]),
        }
    }

    fn facts_of(&self, under_way: &UnderWay, ticket: Ticket, kind: Kind) -> Facts {
        let agent = self.agents.name(under_way.account);
        Facts {
            operation: under_way.request.operation(),
            kind,
            decision: Ruled::Permit,
            code: 0,
            cause: Some(ticket.cause()),
            policy: self.policy.digest(),
            target: under_way.target.clone(),
            reply: None,
            message: None,
            others: Vec::new(),
            agent,
            rule: Text::default(),
            event: None,
        }
    }
}
