//! Who is heard at all. An agent session that asks too often, or is refused too often, is turned away before anything is
//! decided: nothing is recorded of it but a count, once a second. So no flood fills a disk. The owner is always heard.
//!
//! None of this is part of the state: what was turned away is no input, and whatever is in the journal was heard.

use alloc::{collections::BTreeMap, format, vec::Vec};

use ak_audit::Decision as Ruled;
use ak_json::{Array, Value, array, object};

use crate::{
    agents::GUEST,
    code::Code,
    config::Config,
    fields::FieldError,
    kernel::Kernel,
    operation::Operation,
    presented::Asked,
    record::{Facts, Input},
    reply::Failure,
    request::{Request, SUBJECT_BYTES_MAX},
    session::{AgentId, SessionId},
    time::Now,
};

/// Requests that were turned away are summed in at most one record in this long, in milliseconds.
pub const THROTTLED_INTERVAL_MS: u64 = 1_000;

/// How much of each rate the agents have left, and who was turned away since that was last recorded.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    meters: BTreeMap<AgentId, [Bucket; 4]>,
    /// Of nobody in particular where there is no session.
    turned_away: BTreeMap<Option<AgentId>, u64>,
    /// When that was last recorded, in kernel time.
    noted_us: u64,
}

/// A token bucket, in millionths of a token, so that a rate in tokens a second adds whole numbers each µs.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i128,
    /// In kernel time: the lower bound, in µs.
    at_us: u64,
}

const UNIT: i128 = 1_000_000;

/// Of a configuration: how many tokens a second, and the most at once.
type Limits = fn(&Config) -> (u64, u64);

/// What is measured, in the order of the meters.
const RATES: [(&str, Limits); 4] = [
    ("requests", |config| (config.requests_per_second, config.requests_burst)),
    ("refused requests", |config| (config.refusals_per_second, config.refusals_burst)),
    ("bytes of journal", |config| (config.journal_bytes_per_second, config.journal_bytes_burst)),
    ("units of work", |config| (config.work_per_second, config.work_burst)),
];

/// The same for all guests together, who are strangers.
const GUEST_RATES: [(&str, Limits); 4] = [
    ("requests of guests", |config| (config.guest_requests_per_second, config.guest_requests_burst)),
    ("refused requests of guests", |config| (config.guest_refusals_per_second, config.guest_refusals_burst)),
    ("bytes of journal for guests", |config| {
        (config.guest_journal_bytes_per_second, config.guest_journal_bytes_burst)
    }),
    ("units of work for guests", |config| (config.guest_work_per_second, config.guest_work_burst)),
];

impl Bucket {
    fn level_at(self, now_us: u64, (rate, burst): (u64, u64)) -> i128 {
        let elapsed_us = now_us.saturating_sub(self.at_us);
        let filled = i128::from(elapsed_us) * i128::from(rate);
        self.level.saturating_add(filled).min(i128::from(burst) * UNIT)
    }
}

impl Admission {
    /// Whether an agent may be heard. `line` are the agent and its ancestors, and whether each is the parent of all guests.
    pub(crate) fn check(
        &self,
        line: &[(AgentId, bool)],
        now_us: u64,
        config: &Config,
    ) -> Result<(), Failure> {
        for (account, guests) in line {
            let Some(meters) = self.meters.get(account) else { continue };
            for (bucket, (what, limits)) in meters.iter().zip(rates(*guests)) {
                let (rate, burst) = limits(config);
                let missing = UNIT.saturating_sub(bucket.level_at(now_us, (rate, burst)));
                if missing > 0 {
                    let wait_us = u64::try_from(missing / i128::from(rate.max(1))).unwrap_or(u64::MAX);
                    let message = format!("too many {what}: {rate} a second are heard, {burst} at once");
                    return Err(
                        Failure::new(Code::RateLimit, message).with("retry_after_ms", wait_us.div_ceil(1000))
                    );
                }
            }
        }
        Ok(())
    }

    /// Takes what a recorded request took.
    fn charge(&mut self, line: &[(AgentId, bool)], now_us: u64, taken: [u64; 4], config: &Config) {
        for (account, guests) in line {
            let rates = rates(*guests);
            let full = |(_, limits): (&str, Limits)| Bucket {
                level: i128::from(limits(config).1) * UNIT,
                at_us: now_us,
            };
            let meters = self.meters.entry(*account).or_insert_with(|| rates.map(full));
            for ((bucket, (_, limits)), taken) in meters.iter_mut().zip(rates).zip(taken) {
                let level = bucket.level_at(now_us, limits(config)).saturating_sub(i128::from(taken) * UNIT);
                *bucket = Bucket { level, at_us: bucket.at_us.max(now_us) };
            }
        }
    }

    /// Forgets an agent that has ended.
    pub(crate) fn forget(&mut self, account: AgentId) {
        self.meters.remove(&account);
    }

    /// When what was turned away is to be recorded.
    fn due_us(&self) -> Option<u64> {
        (!self.turned_away.is_empty()).then(|| self.noted_us.saturating_add(THROTTLED_INTERVAL_MS * 1000))
    }
}

/// The rates of an agent, or of all guests together.
const fn rates(guests: bool) -> [(&'static str, Limits); 4] {
    if guests { GUEST_RATES } else { RATES }
}

impl Kernel {
    /// The agent and its ancestors whose rates a request counts against; nobody's where the owner asks.
    fn metered(&self, account: AgentId) -> Vec<(AgentId, bool)> {
        let guests = self.agents.find(GUEST);
        self.agents.line(account).into_iter().map(|account| (account, Some(account) == guests)).collect()
    }

    /// Whether a request may be heard. One that may not is counted by the caller, and changes nothing else.
    pub(crate) fn admit(
        &self,
        now: &Now,
        session: SessionId,
        Asked { request, prepared, .. }: &Asked,
    ) -> Result<(), Failure> {
        let Some(account) = self.sessions.agent(session) else {
            let message = format!("session {} is not open", session.number());
            return Err(Failure::new(Code::InvalidArgument, message));
        };
        prepared.check_size(request)?;
        let (size, size_max) = (request.size(), self.config.input_bytes_max);
        if size > size_max {
            return Err(request.too_long(size, size_max));
        }
        if let (Request::Erase { subject }, true) = (request, account.is_main())
            && self.subjects.id(subject).is_none_or(|id| id == 0)
        {
            // To record the name would be to keep it.
            return Err(Failure::new(Code::NotFound, "nothing is recorded about a subject of this name"));
        }
        self.check_subject(request, account)?;
        // Each session ends once, whatever its agent did before. The owner has no rates.
        if matches!(request, Request::SessionClose) {
            return Ok(());
        }
        let now_us = self.clock.after(now).elapsed.low_us;
        self.admission.check(&self.metered(account), now_us, &self.config)
    }

    /// Whether the rates of a tool's agent have room for what the tool asks for.
    pub(crate) fn admit_tool(&self, now: &Now, account: AgentId) -> Result<(), Failure> {
        let now_us = self.clock.after(now).elapsed.low_us;
        self.admission.check(&self.metered(account), now_us, &self.config)
    }

    /// Counts a request that was not heard: its session asks too often, or it could not be understood, or nobody could tell
    /// whose it is. Call it for what a transport refuses.
    pub fn turn_away(&mut self, now: &Now, session: Option<SessionId>) {
        let account = session.and_then(|session| self.sessions.agent(session));
        self.turn_away_account(now, account);
    }

    pub(crate) fn turn_away_account(&mut self, now: &Now, account: Option<AgentId>) {
        // Guests are counted together: there may be any number of them.
        let guest = account.is_some_and(|account| self.agents.is_guest(account));
        let account = if guest { self.agents.find(GUEST) } else { account };
        let count = self.admission.turned_away.entry(account).or_default();
        *count = count.saturating_add(1);
        self.note_turned_away(now);
    }

    /// Records what was turned away, if it is time to.
    pub(crate) fn note_turned_away(&mut self, now: &Now) {
        let now_us = self.clock.after(now).elapsed.low_us;
        if self.admission.due_us().is_none_or(|due_us| now_us < due_us) {
            return;
        }
        let counts = core::mem::take(&mut self.admission.turned_away);
        self.note_step(now);
        self.throttled(now, Turned(counts.into_iter().collect()));
    }

    /// Of how many agents requests were turned away, and not recorded yet.
    pub(crate) fn turned_away(&self) -> u64 {
        self.admission.turned_away.len() as u64
    }

    /// When turned away requests are to be recorded, in kernel time.
    pub(crate) fn admission_due_us(&self) -> Option<u64> {
        self.admission.due_us()
    }

    pub(crate) fn throttled(&mut self, now: &Now, turned: Turned) {
        self.advance(now);
        self.admission.noted_us = self.clock.elapsed.low_us;
        let agents = turned.0.iter().map(|(account, count)| {
            let agent = account.map(|account| self.agents.name(account));
            object! { "agent": agent, "turned_away": *count }
        });
        let details = object! { "agents": agents.collect::<Vec<Value>>() };
        let facts = Facts {
            decision: Ruled::Refused,
            code: Code::RateLimit.number(),
            ..self.notice(Operation::Throttled)
        };
        self.record(now, &Input::Throttled(turned), facts, Vec::new(), details);
    }

    /// Takes from the rates of an agent and its ancestors: requests, refused requests, bytes of journal, units of work.
    pub(crate) fn charge_admission(&mut self, account: AgentId, taken: [u64; 4]) {
        let line = self.metered(account);
        self.admission.charge(&line, self.clock.elapsed.low_us, taken, &self.config);
    }

    /// Whether the kernel can take the subject that a request names, if it names one. What the answer depends on is the
    /// agent's own doing alone, so that it tells nothing about whom others named.
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

/// How many requests of whom were turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turned(Vec<(Option<AgentId>, u64)>);

impl Turned {
    pub(crate) fn to_value(&self) -> Value {
        let rows = self
            .0
            .iter()
            .map(|(account, count)| array![account.map(|account| u64::from(account.number())), *count]);
        rows.collect::<Array>().into()
    }

    pub(crate) fn from_value(value: &Value) -> Result<Turned, FieldError> {
        let wrong = || FieldError::new("input.counts", "expected pairs of an agent and a number");
        let pair = |pair: &Value| {
            let mut items = pair.as_array()?.iter();
            let account = match items.next()? {
                Value::Null => None,
                number => Some(AgentId::from_number(u32::try_from(number.as_u64()?).ok()?)),
            };
            Some((account, items.next()?.as_u64()?))
        };
        let rows = value.as_array().ok_or_else(wrong)?;
        rows.iter().map(pair).collect::<Option<_>>().map(Turned).ok_or_else(wrong)
    }
}
