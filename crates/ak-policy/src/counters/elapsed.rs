//! Elapsed time, on a clock that is never set back.

use ak_json::{Value, array};

use crate::counters::state::{Part, ReadResult};

/// Time since some fixed moment in the past, as a lower and an upper bound in µs.
///
/// Neither bound ever decreases, and while a machine runs both grow alike. They differ only after a reboot: the
/// time that the machine was off adds its lower bound to `low_us` and its upper bound to `high_us`. So the time
/// between two readings lies between the differences of their bounds, and `low_us <= high_us`.
///
/// Doubt never widens authority: what becomes available again with time (rates, limits, budgets with a period) and
/// what begins ([`Caveat::NotBefore`](crate::capability::Caveat::NotBefore)) uses `low_us`; what ends (grants,
/// [`Caveat::ExpiresAt`](crate::capability::Caveat::ExpiresAt)) uses `high_us`. Where the time between two readings
/// counts, both bounds of the earlier one are kept. So when one bound catches up late, because more becomes known
/// about the time that the machine was off, usage since then does not become available early, and nothing lasts
/// longer. The wall clock is used only for calendar times: see [`Query::now_us`](crate::Query::now_us).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elapsed {
    /// Lower bound in µs.
    pub low_us: u64,
    /// Upper bound in µs.
    pub high_us: u64,
}

impl Elapsed {
    /// An elapsed time that is known exactly: both bounds are equal.
    pub const fn exactly(us: u64) -> Self {
        Self { low_us: us, high_us: us }
    }

    /// The lower bound of the time since an earlier reading, in µs.
    pub(crate) fn since_at_least(self, earlier: Elapsed) -> u64 {
        let low_us = self.low_us.saturating_sub(earlier.low_us);
        self.high_us.saturating_sub(earlier.high_us).min(low_us)
    }

    /// The upper bound of the time since an earlier reading, in µs.
    pub(crate) fn since_at_most(self, earlier: Elapsed) -> u64 {
        let low_us = self.low_us.saturating_sub(earlier.low_us);
        self.high_us.saturating_sub(earlier.high_us).max(low_us)
    }

    /// The later of two readings, bound by bound.
    pub(crate) fn latest(self, other: Elapsed) -> Elapsed {
        Elapsed { low_us: self.low_us.max(other.low_us), high_us: self.high_us.max(other.high_us) }
    }

    /// The earlier of two readings, bound by bound.
    pub(crate) fn earliest(self, other: Elapsed) -> Elapsed {
        Elapsed { low_us: self.low_us.min(other.low_us), high_us: self.high_us.min(other.high_us) }
    }

    pub(crate) fn to_value(self) -> Value {
        array![self.low_us, self.high_us]
    }

    /// Reads the value that [`to_value`](Self::to_value) returned.
    pub(crate) fn read(part: &Part<'_>) -> ReadResult<Self> {
        let [low, high] = part.tuple()?;
        let elapsed = Self { low_us: low.number()?, high_us: high.number()? };
        part.demand(elapsed.low_us <= elapsed.high_us, "the lower bound exceeds the upper bound")?;
        Ok(elapsed)
    }
}
