//! Rates of requests. An agent session that sends too many requests, or has too many refused, is throttled before
//! the gate decides: the kernel records only a count, once a second. So a flood of requests cannot fill a disk. The
//! owner has no rates.
//!
//! The rates are not part of the state: a throttled request is no input, and every request in a journal was
//! admitted.

use alloc::{collections::BTreeMap, format};

use crate::api::{code::Code, config::Config, reply::Failure, session::AgentId};

/// Throttled requests are recorded as counts, in at most one record per this time, in milliseconds.
pub const THROTTLED_INTERVAL_MS: u64 = 1_000;

/// The levels of each agent's rates, and the throttled requests that are not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    meters: BTreeMap<AgentId, [Bucket; 4]>,
    /// Throttled requests by agent; `None` counts those without a known session.
    pub(crate) throttled_requests: BTreeMap<Option<AgentId>, u64>,
    /// Kernel time of the newest throttling record, in µs.
    pub(crate) recorded_us: u64,
}

/// A token bucket. The level is in millionths of a token, so that a rate in tokens per second adds a whole number
/// each µs.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i128,
    /// Kernel time (lower bound) at which the level was computed, in µs.
    at_us: u64,
}

const UNIT: i128 = 1_000_000;

/// Reads a rate from the configuration: tokens per second, and the size of the bucket.
type Limits = fn(&Config) -> (u64, u64);

/// The rates of an agent, in the order of its meters.
const RATES: [(&str, Limits); 4] = [
    ("requests", |config| (config.requests_per_second, config.requests_burst)),
    ("refused requests", |config| (config.refusals_per_second, config.refusals_burst)),
    ("bytes of journal", |config| (config.journal_bytes_per_second, config.journal_bytes_burst)),
    ("units of work", |config| (config.work_per_second, config.work_burst)),
];

/// The rates of all guests together. They are lower, because anybody may be a guest.
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
    /// Whether the rates of an agent have room for a request. `line` are the agent and its ancestors, each with
    /// whether it is the parent of all guests.
    ///
    /// # Errors
    /// RATE_LIMIT with `retry_after_ms`.
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

    /// Takes what a recorded request used from the rates of the agent and its ancestors.
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

    /// Removes the rates of an agent that was removed.
    pub(crate) fn forget(&mut self, account: AgentId) {
        self.meters.remove(&account);
    }

    /// Kernel time at which the throttled requests are to be recorded, in µs; `None` if there are none.
    pub(crate) fn due_us(&self) -> Option<u64> {
        (!self.throttled_requests.is_empty())
            .then(|| self.recorded_us.saturating_add(THROTTLED_INTERVAL_MS * 1000))
    }
}

/// The rates of an agent, or those of all guests together.
const fn rates(guests: bool) -> [(&'static str, Limits); 4] {
    if guests { GUEST_RATES } else { RATES }
}
