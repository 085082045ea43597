//! Who is heard at all. An agent session that asks too often, or is refused too often, is turned away before anything is
//! decided: nothing is recorded of it but a count, once a second. So no flood fills a disk. The owner is always heard.
//!
//! None of this is part of the state: what was turned away is no input, and whatever is in the journal was heard.

use alloc::{collections::BTreeMap, format};

use crate::api::{code::Code, config::Config, reply::Failure, session::AgentId};

/// Requests that were turned away are summed in at most one record in this long, in milliseconds.
pub const THROTTLED_INTERVAL_MS: u64 = 1_000;

/// How much of each rate the agents have left, and who was turned away since that was last recorded.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    meters: BTreeMap<AgentId, [Bucket; 4]>,
    /// Of nobody in particular where there is no session.
    pub(crate) throttled_requests: BTreeMap<Option<AgentId>, u64>,
    /// When that was last recorded, in kernel time.
    pub(crate) noted_us: u64,
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
                    let message = format!("too many {what}: {rate} a second are admitted, {burst} at once");
                    return Err(Failure::new(Code::RateLimit, message).retry_after(wait_us));
                }
            }
        }
        Ok(())
    }

    /// Takes what a recorded request took.
    pub(crate) fn charge(&mut self, line: &[(AgentId, bool)], now_us: u64, taken: [u64; 4], config: &Config) {
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
    pub(crate) fn due_us(&self) -> Option<u64> {
        (!self.throttled_requests.is_empty())
            .then(|| self.noted_us.saturating_add(THROTTLED_INTERVAL_MS * 1000))
    }
}

/// The rates of an agent, or of all guests together.
const fn rates(guests: bool) -> [(&'static str, Limits); 4] {
    if guests { GUEST_RATES } else { RATES }
}
