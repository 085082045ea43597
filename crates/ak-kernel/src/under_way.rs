//! Effects under way: the inputs that carry them on, end them, and tell them to stop.

use alloc::{boxed::Box, string::String, vec::Vec};

use ak_audit::{Kind, Verdict as Ruled};
use ak_json::{Text, object};
use ak_policy::CanonicalUrl;

use crate::{
    agents::{Hold, MAIN},
    code::Code,
    effect::{Completion, Effect, LogWork, Step, Ticket, Verdict},
    gate::Ruling,
    kernel::{CallId, Caller, Kernel, Output},
    needs::ToolLine,
    operation::Operation,
    presented::Presented,
    record::{Facts, Input},
    reply::{Failure, Reply, outcome_to_value},
    request::Request,
    session::Session,
    time::{Now, Time},
};

/// An effect between permit and completion.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) session: Session,
    pub(crate) request: Request,
    /// The capability that came with the request: it must cover a redirect too.
    pub(crate) presented: Option<Presented>,
    pub(crate) target: Option<String>,
    pub(crate) hold: Hold,
    /// For HTTP: where the request goes at the moment.
    pub(crate) url: Option<CanonicalUrl>,
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
}

impl UnderWay {
    /// One that has just begun, of a request that came without a capability.
    pub(crate) const fn new(session: Session, request: Request, hold: Hold) -> UnderWay {
        UnderWay {
            session,
            request,
            presented: None,
            target: None,
            hold,
            url: None,
            tokens: 0,
            tokens_max: 0,
            aborted: None,
            within: None,
            tools: Vec::new(),
            host_calls: 0,
            erasing: None,
        }
    }
}

impl UnderWay {
    /// Who asked for it.
    pub(crate) fn caller(&self) -> Caller {
        Caller { within: self.within, tools: self.tools.clone(), ..Caller::session(self.session) }
    }
}

/// What acting on a permit came to.
pub(crate) enum Next {
    Reply(Reply),
    Effect(Effect, Box<UnderWay>),
}

impl Kernel {
    /// Takes a step of an effect under way. The verdict comes as an output.
    ///
    /// A ticket that names no effect under way gets no verdict: there is nobody to give it to. It is recorded.
    pub fn progress(&mut self, now: Now, ticket: Ticket, step: Step) {
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
        self.under_way.insert(ticket, under_way);
        self.record(&now, &input, facts, about, details);
        self.held.push_back((seq, Output::Resume(ticket, verdict)));
    }

    /// Takes the end of an effect. The reply to its request comes as an output.
    ///
    /// A ticket that was never given out or is used up is recorded and has no other consequence. A completion that
    /// is not of the request's kind is refused: what happened counts as unknown.
    pub fn complete(&mut self, now: Now, ticket: Ticket, mut completion: Completion) {
        self.advance(&now);
        let seq = self.chain.next_seq();
        let input = Input::Complete { ticket, completion: completion.clone() };
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
        let value = outcome_to_value(&outcome);
        let details = crate::describe::outcome(operation, &value, log);
        facts.reply = Some(value);
        self.record(&now, &input, facts, about, details);
        self.held.push_back((seq, Output::Reply(CallId(ticket.cause()), outcome)));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, if ever.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadline().into_iter().chain(self.admission_due()).min()
    }

    /// When the wall time of somebody with an effect under way is over.
    fn deadline(&self) -> Option<Time> {
        let open = self.under_way.values().filter(|under_way| under_way.aborted.is_none());
        open.filter_map(|under_way| self.agents.deadline(under_way.session)).min()
    }

    /// When the wall time of the agent is over that an effect is for, if it has any.
    pub fn deadline_of(&self, ticket: Ticket) -> Option<Time> {
        self.agents.deadline(self.under_way.get(&ticket)?.session)
    }

    /// Tells effects whose agent's wall time is over to stop. Before [`poll_timeout`](Self::poll_timeout) nothing happens.
    pub fn handle_timeout(&mut self, now: Now) {
        self.note_turned_away(&now);
        if self.deadline().is_some_and(|due| due <= now.time) {
            self.tick(&now);
        }
    }

    /// Ends what is over.
    pub(crate) fn tick(&mut self, now: &Now) {
        self.advance(now);
        let seq = self.chain.next_seq();
        let clock = self.clock;
        for (ticket, under_way) in &mut self.under_way {
            let over = self.agents.deadline(under_way.session).is_some_and(|due| due <= clock);
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

    /// Whom an effect is about: its agent.
    fn subjects_under_way(&self, under_way: &UnderWay) -> Vec<Text> {
        Vec::from([self.agents.name(under_way.session)])
    }

    fn facts_of(&self, under_way: &UnderWay, ticket: Ticket, kind: Kind) -> Facts {
        let agent = self.agents.name(under_way.session);
        Facts {
            operation: under_way.request.operation(),
            kind,
            decision: Ruled::Permit,
            code: 0,
            cause: Some(ticket.cause()),
            policy: self.policy.digest(),
            target: under_way.target.clone(),
            reply: None,
            others: Vec::new(),
            agent,
            rule: Text::default(),
            event: None,
        }
    }
}
