//! Time that has passed, on a clock that never steps.

/// Time that has passed since some moment in the past, in µs, as two bounds.
///
/// Both bounds never fall, and while a machine runs they grow alike. They differ only after a reboot: the time
/// that the machine was off adds its lower bound to `low_us` and its upper bound to `high_us`. So the time
/// between two readings lies between the differences of their bounds, and `low_us <= high_us`.
///
/// Doubt never widens: what comes back with time (rates, limits, budgets with a period) and what begins
/// ([`Caveat::NotBefore`](crate::capability::Caveat::NotBefore)) runs on `low_us`; what ends (grants,
/// [`Caveat::ExpiresAt`](crate::capability::Caveat::ExpiresAt)) runs on `high_us`. The wall clock is for the
/// calendar alone: see [`Query::now_us`](crate::Query::now_us).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elapsed {
    /// At least so much has passed.
    pub low_us: u64,
    /// At most so much has passed.
    pub high_us: u64,
}

impl Elapsed {
    /// So much has passed, without doubt.
    pub const fn exactly(us: u64) -> Self {
        Self { low_us: us, high_us: us }
    }

    /// The most that can have passed since an earlier reading, in µs.
    pub(crate) fn since_at_most(self, earlier: Elapsed) -> u64 {
        let low_us = self.low_us.saturating_sub(earlier.low_us);
        self.high_us.saturating_sub(earlier.high_us).max(low_us)
    }

    /// The earlier of two readings, bound by bound.
    pub(crate) fn earliest(self, other: Elapsed) -> Elapsed {
        Elapsed { low_us: self.low_us.min(other.low_us), high_us: self.high_us.min(other.high_us) }
    }
}
