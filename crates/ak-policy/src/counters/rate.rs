//! Rates and token buckets, in integer arithmetic.

use alloc::string::ToString;
use core::fmt;

use ak_json::{Value, object};

use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, ReadResult};
use crate::counters::usage::Usage;

/// A number of uses per period, such as `10/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    count: u32,
    per_us: u64,
}

/// A text that is not a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a rate such as '10/min'")]
pub struct RateError;

/// The units of time, in µs, the smallest first.
const UNITS: [(&[&str], u64); 5] = [
    (&["ms"], 1_000),
    (&["s", "sec", "second"], 1_000_000),
    (&["min", "m", "minute"], 60_000_000),
    (&["h", "hour"], 3_600_000_000),
    (&["d", "day"], 86_400_000_000),
];

fn unit_us(text: &str) -> Option<u64> {
    UNITS.iter().find(|(names, _)| names.contains(&text)).map(|(_, us)| *us)
}

/// Reads a period of at least 1 ms in µs: `24h`, `30min`, or a unit alone; `None` for any other text.
pub(crate) fn parse_period_us(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at_checked(digits)?;
    let count: u64 = if count.is_empty() { 1 } else { count.parse().ok()? };
    unit_us(unit)?.checked_mul(count).filter(|&us| us > 0)
}

/// Writes a period in the largest unit that divides it.
pub(crate) struct Period(pub(crate) u64);

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = UNITS.iter().rev().find(|(_, us)| self.0.is_multiple_of(*us));
        match largest.and_then(|(names, us)| Some((names.first()?, us))) {
            Some((name, us)) => write!(f, "{}{name}", self.0 / us),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl Rate {
    /// Reads `10/min`, `1/24h`, `5/s`.
    ///
    /// # Errors
    /// [`RateError`] where the text is not a count and a period in `ms`, `s`, `min`, `h` or `d`.
    pub fn parse(text: &str) -> Result<Self, RateError> {
        let (count, period) = text.split_once('/').ok_or(RateError)?;
        let plain = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| plain).ok_or(RateError)?;
        Ok(Self { count, per_us: parse_period_us(period).ok_or(RateError)? })
    }

    /// `count` uses in each `per_us` microseconds; `None` when `per_us` is 0.
    pub fn new(count: u32, per_us: u64) -> Option<Self> {
        (per_us > 0).then_some(Self { count, per_us })
    }

    /// The rate that allows less in the long run; of equal ones the rate that allows fewer uses at once.
    pub(crate) fn lower(self, other: Self) -> Self {
        let flow = |rate: Self, other: Self| u128::from(rate.count) * u128::from(other.per_us);
        let (own, others) = (flow(self, other), flow(other, self));
        if (others, other.count, other.per_us) < (own, self.count, self.per_us) { other } else { self }
    }

    /// Uses per period.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The period in µs.
    pub fn per_us(self) -> u64 {
        self.per_us
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, Period(self.per_us))
    }
}

/// A token bucket that holds one period's uses and fills evenly.
///
/// It stores its debt in units of `uses × period`, so nothing is ever rounded: a use adds `per_us`, and each µs
/// repays `count`. The debt can exceed the capacity after the rate was lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    rate: Rate,
    owed: u128,
    at: Elapsed,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Elapsed) -> Self {
        Self { rate, owed: 0, at: now }
    }

    /// The bucket that results if this rate had been in force since `began`.
    pub(crate) fn replayed(rate: Rate, began: Elapsed, usage: &Usage) -> Self {
        let mut bucket = Self::full(rate, began);
        for (at, uses) in usage.entries() {
            bucket.owe(uses, at);
        }
        bucket
    }

    fn capacity(rate: Rate) -> u128 {
        u128::from(rate.count) * u128::from(rate.per_us)
    }

    fn owed_at(&self, now: Elapsed) -> u128 {
        let paid = u128::from(now.since_at_least(self.at)) * u128::from(self.rate.count);
        self.owed.saturating_sub(paid)
    }

    fn owe(&mut self, uses: u64, now: Elapsed) {
        let more = u128::from(uses) * u128::from(self.rate.per_us);
        self.owed = self.owed_at(now).saturating_add(more);
        self.at = self.at.latest(now);
    }

    /// Takes one use if one is available, and returns whether it did.
    pub(crate) fn take(&mut self, now: Elapsed) -> bool {
        let is_left = self.wait_us(now) == 0;
        if is_left {
            self.owe(1, now);
        }
        is_left
    }

    /// The time until a use is available, in µs: 0 when one is, `u64::MAX` when the rate allows none.
    pub(crate) fn wait_us(&self, now: Elapsed) -> u64 {
        let wanted = self.owed_at(now).saturating_add(self.rate.per_us.into());
        let missing = wanted.saturating_sub(Self::capacity(self.rate));
        if missing == 0 {
            return 0;
        }
        match self.rate.count {
            0 => u64::MAX,
            count => u64::try_from(missing.div_ceil(u128::from(count))).unwrap_or(u64::MAX),
        }
    }

    /// The rate at which the bucket fills.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// The time of the last use; before the first use, the time of creation.
    pub(crate) fn at(&self) -> Elapsed {
        self.at
    }

    /// Whether the debt is at most the capacity.
    pub(crate) fn is_within(&self) -> bool {
        self.owed <= Self::capacity(self.rate)
    }

    /// The debt in uses, rounded up.
    pub(crate) fn owed_uses(&self) -> u64 {
        u64::try_from(self.owed.div_ceil(u128::from(self.rate.per_us))).unwrap_or(u64::MAX)
    }

    pub(crate) fn to_value(&self) -> Value {
        let Rate { count, per_us } = self.rate;
        // The debt can exceed 64 bits, which JSON integers cannot.
        object! { "count": count, "per_us": per_us, "owed": self.owed.to_string(), "at": self.at.to_value() }
    }

    /// Reads the value that [`to_value`](Self::to_value) returned, or the form of kernel versions before 9, which
    /// kept the level instead of the debt.
    pub(crate) fn read(part: &Part<'_>) -> ReadResult<Self> {
        let is_level = part.has("level");
        let [count, per_us, number, at] = if is_level {
            part.members(["count", "per_us", "level", "at_us"])?
        } else {
            part.members(["count", "per_us", "owed", "at"])?
        };
        let rate =
            Rate::new(count.number()?, per_us.number()?).ok_or_else(|| per_us.wrong("the period is 0"))?;
        let text = number.text()?;
        let parsed: Option<u128> = text.parse().ok().filter(|number: &u128| number.to_string() == text);
        let parsed = parsed.ok_or_else(|| number.wrong("not a whole number in digits"))?;
        let owed = if is_level {
            let owed = Self::capacity(rate).checked_sub(parsed);
            owed.ok_or_else(|| number.wrong("more than the rate allows"))?
        } else {
            parsed
        };
        let at = if is_level { Elapsed::exactly(at.number()?) } else { Elapsed::read(&at)? };
        Ok(Self { rate, owed, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn rates() {
        let check = |text: &str, expected: Option<(u32, u64)>, canonical: &str| {
            let rate = Rate::parse(text).ok();
            assert_eq!(rate.map(|rate| (rate.count, rate.per_us)), expected, "{text}");
            assert_eq!(rate.map_or(text.to_string(), |rate| rate.to_string()), canonical);
        };
        check("10/min", Some((10, 60_000_000)), "10/1min");
        check("1/24h", Some((1, 86_400_000_000)), "1/1d");
        check("5/90s", Some((5, 90_000_000)), "5/90s");
        check("0/s", Some((0, 1_000_000)), "0/1s");
        for refused in
            ["", "10", "10/", "/min", "10/0min", "-1/min", "10/fortnight", "1.5/s", "10 /min", "+1/s"]
        {
            check(refused, None, refused);
        }
    }

    proptest! {
        /// Checks against the definition: a use at `t` is allowed iff the level, replayed from the start, holds
        /// one.
        #[test]
        fn a_bucket_gives_what_its_rate_allows(
            count in 0u32..6,
            per_us in 1u64..50,
            gaps in prop::collection::vec(0u64..30, 1..60),
        ) {
            let rate = Rate { count, per_us };
            let mut bucket = Bucket::full(rate, Elapsed::default());
            let mut now_us = 0;
            let mut taken = Vec::new();
            for gap in gaps {
                now_us += gap;
                let waits = bucket.wait_us(Elapsed::exactly(now_us));
                let took = bucket.take(Elapsed::exactly(now_us));
                prop_assert_eq!(took, waits == 0);
                if took {
                    taken.push(now_us);
                }
                if waits > 0 && waits < u64::MAX {
                    prop_assert!(bucket.clone().take(Elapsed::exactly(now_us + waits)));
                    prop_assert!(!bucket.clone().take(Elapsed::exactly(now_us + waits - 1)));
                }
            }
            // In any span there are at most the burst and what flowed in meanwhile.
            for (first, from) in taken.iter().enumerate() {
                for (last, until) in taken.iter().enumerate().skip(first) {
                    let uses = (last - first + 1) as u128 * u128::from(per_us);
                    let flowed = u128::from(until - from) * u128::from(count);
                    prop_assert!(uses <= u128::from(count) * u128::from(per_us) + flowed);
                }
            }
        }
    }
}
