//! Admits requests that are short enough, from sessions whose rates have room.

use alloc::{format, vec::Vec};

use ak_audit::Decision;
use ak_json::{Value, object};

use crate::{
    api::{
        code::Code,
        config::Config,
        operation::Operation,
        presented::AuthenticatedRequest,
        reply::Failure,
        request::{AgentRequest, AuditRequest, Request},
        session::{AgentId, GUEST, SessionId},
        throttled::Throttled,
        time::Now,
    },
    codec::input::Input,
    record::{entry::EntryFields, subjects::SUBJECT_BYTES_MAX},
    state::Kernel,
};

impl Kernel {
    /// The agent and its ancestors whose rates a request counts against, each with whether it is the parent of all
    /// guests; empty for the owner.
    fn metered(&self, account: AgentId) -> Vec<(AgentId, bool)> {
        let guests = self.agents.find(GUEST);
        self.agents.lineage(account).into_iter().map(|account| (account, Some(account) == guests)).collect()
    }

    /// Whether a request is admitted. A rejected one changes nothing; the caller of this function counts it as
    /// throttled.
    pub(crate) fn admit(
        &self,
        now: &Now,
        session: SessionId,
        AuthenticatedRequest { request, prepared, .. }: &AuthenticatedRequest,
    ) -> Result<(), Failure> {
        let Some(account) = self.sessions.agent(session) else {
            let message = format!("session {} is not open", session.number());
            return Err(Failure::new(Code::InvalidArgument, message));
        };
        prepared.check_form(request)?;
        let (size, size_max) = (request.size(), self.config.input_bytes_max);
        if size > size_max {
            return Err(request.too_long(size, size_max));
        }
        if let (Request::Audit(AuditRequest::Erase { subject }), true) = (request, account.is_main())
            && self.subjects.id(subject).is_none_or(|id| id == 0)
        {
            // A record of the request would keep the name.
            return Err(Failure::new(Code::NotFound, "nothing is recorded about a subject of this name"));
        }
        self.check_subject(request, account)?;
        // A session can always be closed, whatever its agent did before. The owner has no rates.
        if matches!(request, Request::Agent(AgentRequest::SessionClose)) {
            return Ok(());
        }
        let now_us = self.clock.after(now).elapsed.low_us;
        self.admission.check(&self.metered(account), now_us, &self.config)
    }

    /// Whether the rates of a tool's agent have room for a host call of the tool.
    pub(crate) fn admit_tool(&self, now: &Now, account: AgentId) -> Result<(), Failure> {
        let now_us = self.clock.after(now).elapsed.low_us;
        self.admission.check(&self.metered(account), now_us, &self.config)
    }

    /// Counts a request as throttled: its session sends too many, the request is malformed, or its session is
    /// unknown. A host calls this for requests that its transport rejects.
    pub fn throttle(&mut self, now: &Now, session: Option<SessionId>) {
        let account = session.and_then(|session| self.sessions.agent(session));
        self.throttle_account(now, account);
    }

    pub(crate) fn throttle_account(&mut self, now: &Now, account: Option<AgentId>) {
        // Guests are counted together, since there may be any number of them.
        let guest = account.is_some_and(|account| self.agents.is_guest(account));
        let account = if guest { self.agents.find(GUEST) } else { account };
        let count = self.admission.throttled_requests.entry(account).or_default();
        *count = count.saturating_add(1);
        self.record_throttled(now);
    }

    /// Records the throttled requests, if their record is due.
    pub(crate) fn record_throttled(&mut self, now: &Now) {
        let now_us = self.clock.after(now).elapsed.low_us;
        if self.admission.due_us().is_none_or(|due_us| now_us < due_us) {
            return;
        }
        let counts = core::mem::take(&mut self.admission.throttled_requests);
        self.record_clock_step(now);
        self.throttled(now, Throttled(counts.into_iter().collect()));
    }

    /// The number of agents with throttled requests that are not recorded yet.
    pub(crate) fn throttled_requests(&self) -> u64 {
        self.admission.throttled_requests.len() as u64
    }

    /// Kernel time at which throttled requests are to be recorded, in µs.
    pub(crate) fn admission_due_us(&self) -> Option<u64> {
        self.admission.due_us()
    }

    pub(crate) fn throttled(&mut self, now: &Now, turned: Throttled) {
        self.advance(now);
        self.admission.recorded_us = self.clock.elapsed.low_us;
        let agents = turned.0.iter().map(|(account, count)| {
            let agent = account.map(|account| self.agents.name(account));
            object! { "agent": agent, "turned_away": *count }
        });
        let details = object! { "agents": agents.collect::<Vec<Value>>() };
        let facts = EntryFields {
            decision: Decision::Refused,
            code: Code::RateLimit.number(),
            ..self.notice(Operation::Throttled)
        };
        self.record(now, &Input::Throttled(turned), facts, Vec::new(), details);
    }

    /// Takes from the rates of an agent and its ancestors: requests, refused requests, bytes of journal, units of
    /// work.
    pub(crate) fn charge_admission(&mut self, account: AgentId, taken: [u64; 4]) {
        let line = self.metered(account);
        self.admission.charge(&line, self.clock.elapsed.low_us, taken, &self.config);
    }

    /// Whether the kernel can add the subject that a request names, if it names one. The answer depends on the
    /// agent's own requests and the kernel's quota only, so that it does not reveal which subjects others named.
    fn check_subject(&self, request: &Request, account: AgentId) -> Result<(), Failure> {
        let Some(subject) = request.subject() else { return Ok(()) };
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
            let message = format!("a subject's name has 1 to {SUBJECT_BYTES_MAX} bytes");
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        if self.subjects.is_named_by(subject, account) {
            return Ok(());
        }
        let Config { subjects_max, subjects_per_agent_max, .. } = self.config;
        let (all, own) = self.subjects.named(account);
        let message = if all >= subjects_max {
            format!("there are {subjects_max} subjects already")
        } else if own >= subjects_per_agent_max && !account.is_main() {
            format!("the agent has named {subjects_per_agent_max} subjects already")
        } else {
            return Ok(());
        };
        Err(Failure::new(Code::Quota, message))
    }
}
