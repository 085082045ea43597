//! Time and entropy, which come in with every input.

use core::fmt;

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(us: u64) -> Time {
        Time(us)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This time and `ms` milliseconds more; the latest time there is if that overflows.
    pub const fn plus_millis(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Whole milliseconds since `earlier`; 0 if that is not earlier.
    pub const fn millis_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}

/// What the world gives with every input: the time, and 32 fresh unpredictable bytes.
///
/// The kernel journals the entropy only of inputs that draw on it (ids, salts), so that replay draws the same.
#[derive(Clone, Copy)]
pub struct Now {
    /// When the input arrived. The kernel clamps it to never fall.
    pub time: Time,
    /// Bytes from a cryptographic source, used once.
    pub entropy: [u8; 32],
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Now").field("time", &self.time).finish_non_exhaustive()
    }
}
