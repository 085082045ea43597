//! Who is heard at all. An agent session that asks too often, or is refused too often, is turned away before anything is
//! decided: nothing is recorded of it but a count, once a second. So no flood fills a disk. The owner is always heard.
//!
//! None of this is part of the state: what was turned away is no input, and whatever is in the journal was heard.

use alloc::{collections::BTreeMap, format, vec::Vec};

use ak_audit::Verdict as Ruled;
use ak_json::{Array, Value, array, object};

use crate::{
    code::Code,
    config::Config,
    fields::FieldError,
    kernel::{Caller, Kernel},
    operation::Operation,
    record::{Facts, Input},
    reply::Failure,
    session::Session,
    time::{Now, Time},
};

/// Requests that were turned away are summed in at most one record in this long, in milliseconds.
pub const THROTTLED_INTERVAL_MS: u64 = 1_000;

/// How much of each rate the agents have left, and who was turned away since that was last recorded.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    meters: BTreeMap<Session, [Bucket; 3]>,
    /// Of nobody in particular where there is no session.
    turned_away: BTreeMap<Option<Session>, u64>,
    noted: Time,
}

/// A token bucket, in millionths of a token, so that a rate in tokens a second adds whole numbers each µs.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i128,
    at: Time,
}

const UNIT: i128 = 1_000_000;

/// Of a configuration: how many tokens a second, and the most at once.
type Limits = fn(&Config) -> (u64, u64);

/// What is measured, in the order of the meters.
const RATES: [(&str, Limits); 3] = [
    ("requests", |config| (config.requests_per_second, config.requests_burst)),
    ("refused requests", |config| (config.refusals_per_second, config.refusals_burst)),
    ("bytes of journal", |config| (config.journal_bytes_per_second, config.journal_bytes_burst)),
];

impl Bucket {
    fn level_at(self, now: Time, (rate, burst): (u64, u64)) -> i128 {
        let elapsed_us = now.as_micros().saturating_sub(self.at.as_micros());
        let filled = i128::from(elapsed_us) * i128::from(rate);
        self.level.saturating_add(filled).min(i128::from(burst) * UNIT)
    }
}

impl Admission {
    /// Whether a session may be heard.
    pub(crate) fn check(&self, session: Session, now: Time, config: &Config) -> Result<(), Failure> {
        let Some(meters) = self.meters.get(&session) else { return Ok(()) };
        for (bucket, (what, limits)) in meters.iter().zip(RATES) {
            let (rate, burst) = limits(config);
            let missing = UNIT.saturating_sub(bucket.level_at(now, (rate, burst)));
            if missing > 0 {
                let wait_us = u64::try_from(missing / i128::from(rate.max(1))).unwrap_or(u64::MAX);
                let message = format!("too many {what}: {rate} a second are heard, {burst} at once");
                return Err(
                    Failure::new(Code::RateLimit, message).with("retry_after_ms", wait_us.div_ceil(1000))
                );
            }
        }
        Ok(())
    }

    /// Takes what a recorded request took.
    fn charge(&mut self, session: Session, now: Time, taken: [u64; 3], config: &Config) {
        let full = RATES.map(|(_, limits)| Bucket { level: i128::from(limits(config).1) * UNIT, at: now });
        let meters = self.meters.entry(session).or_insert(full);
        for ((bucket, (_, limits)), taken) in meters.iter_mut().zip(RATES).zip(taken) {
            let level = bucket.level_at(now, limits(config)).saturating_sub(i128::from(taken) * UNIT);
            *bucket = Bucket { level, at: now };
        }
    }

    /// When what was turned away is to be recorded.
    fn due(&self) -> Option<Time> {
        (!self.turned_away.is_empty()).then(|| self.noted.plus_millis(THROTTLED_INTERVAL_MS))
    }
}

impl Kernel {
    /// Whether a request may be heard. One that may not is counted, and changes nothing else.
    pub(crate) fn admit(&mut self, now: &Now, session: Session) -> Result<(), Failure> {
        if session.is_owner() {
            return Ok(());
        }
        let admitted = self.admission.check(session, self.clock.max(now.time), &self.config);
        if admitted.is_err() {
            self.turn_away(now, Some(session));
        }
        admitted
    }

    /// Counts a request that was not heard: its session asks too often, or it could not be understood, or nobody could tell
    /// whose it is. Call it for what a transport refuses.
    pub fn turn_away(&mut self, now: &Now, session: Option<Session>) {
        let count = self.admission.turned_away.entry(session).or_default();
        *count = count.saturating_add(1);
        self.note_turned_away(now);
    }

    /// Records what was turned away, if it is time to.
    pub(crate) fn note_turned_away(&mut self, now: &Now) {
        if self.admission.due().is_none_or(|due| self.clock.max(now.time) < due) {
            return;
        }
        let counts = core::mem::take(&mut self.admission.turned_away);
        self.throttled(now, Turned(counts.into_iter().collect()));
    }

    /// Of how many agents requests were turned away, and not recorded yet.
    pub(crate) fn turned_away(&self) -> u64 {
        self.admission.turned_away.len() as u64
    }

    /// When turned away requests are to be recorded.
    pub(crate) fn admission_due(&self) -> Option<Time> {
        self.admission.due()
    }

    pub(crate) fn throttled(&mut self, now: &Now, turned: Turned) {
        self.advance(now);
        self.admission.noted = self.clock;
        let agents = turned.0.iter().map(|(session, count)| {
            let agent = session.map(|session| self.agents.name(session));
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

    /// Takes from an agent's rates what its request took.
    pub(crate) fn charge_admission(&mut self, caller: &Caller, refused: bool, record_bytes: usize) {
        if !caller.is_owner() {
            let taken = [1, u64::from(refused), record_bytes as u64];
            self.admission.charge(caller.session, self.clock, taken, &self.config);
        }
    }
}

/// How many requests of whom were turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turned(Vec<(Option<Session>, u64)>);

impl Turned {
    pub(crate) fn to_value(&self) -> Value {
        let rows = self
            .0
            .iter()
            .map(|(session, count)| array![session.map(|session| u64::from(session.number())), *count]);
        rows.collect::<Array>().into()
    }

    pub(crate) fn from_value(value: &Value) -> Result<Turned, FieldError> {
        let wrong = || FieldError::new("input.counts", "expected pairs of a session and a number");
        let pair = |pair: &Value| {
            let mut items = pair.as_array()?.iter();
            let session = match items.next()? {
                Value::Null => None,
                number => Some(Session::from_number(u32::try_from(number.as_u64()?).ok()?)),
            };
            Some((session, items.next()?.as_u64()?))
        };
        let rows = value.as_array().ok_or_else(wrong)?;
        rows.iter().map(pair).collect::<Option<_>>().map(Turned).ok_or_else(wrong)
    }
}
