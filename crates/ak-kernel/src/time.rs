//! Time and entropy, which come in with every input.

use core::fmt;

use ak_json::{Value, object};

use crate::fields::{FieldError, Fields, base64url};

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
}

/// What the world gives with every input: two clocks, and 32 fresh unpredictable bytes.
///
/// The wall clock is what people read, and may step. The other one counts from the boot of the machine, goes on while the
/// machine sleeps (`CLOCK_BOOTTIME`), and never steps. Rates, lifetimes and deadlines rest on it.
///
/// The kernel journals the entropy only of inputs that draw on it (ids, salts), so that replay draws the same.
#[derive(Clone, Copy)]
pub struct Now {
    /// The wall clock.
    pub wall: Time,
    /// Which boot of the machine `uptime_us` counts from.
    pub boot: [u8; 16],
    /// Time since that boot, in µs.
    pub uptime_us: u64,
    /// Whether the system says that its wall clock is synchronised.
    pub synchronised: bool,
    /// Bytes from a cryptographic source, used once.
    pub entropy: [u8; 32],
}

impl Now {
    /// A moment on a machine that was never booted again, whose wall clock never steps: for simulations and examples.
    pub const fn steady(wall: Time, entropy: [u8; 32]) -> Now {
        Now { wall, boot: [0; 16], uptime_us: wall.0, synchronised: true, entropy }
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Now")
            .field("wall", &self.wall)
            .field("uptime_us", &self.uptime_us)
            .finish_non_exhaustive()
    }
}

/// By how much the wall clock may run apart from the clock that never steps between two inputs, in µs. A larger step is
/// recorded.
pub const CLOCK_STEP_US_MAX: u64 = 2_000_000;

/// What the kernel knows of time.
///
/// `elapsed` is kernel time: it begins at the wall time of the genesis and never steps. It is known exactly within one boot of
/// the machine. What passed between two boots only the wall clock tells, so there are two bounds from then on: expiries and
/// deadlines go by the upper, rates and budgets by the lower. Neither clock can be made to renew anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The wall clock at the newest input.
    pub(crate) wall: Time,
    boot: [u8; 16],
    uptime_us: u64,
    /// Kernel time, in µs.
    pub(crate) elapsed: Elapsed,
    /// While the system clock was not synchronised since the newest boot: wall and kernel time when the boot before ended.
    before_boot: Option<(Time, u64)>,
    /// Whether the newest input was the first of its boot: its record says which boot that is.
    pub(crate) is_new_boot: bool,
}

pub(crate) use ak_policy::Elapsed;

impl Clock {
    /// The clock of a new kernel.
    pub(crate) fn new(now: &Now) -> Clock {
        let us = now.wall.0;
        let elapsed = Elapsed { low_us: us, high_us: us };
        let (wall, boot, uptime_us) = (now.wall, now.boot, now.uptime_us);
        Clock { wall, boot, uptime_us, elapsed, before_boot: None, is_new_boot: true }
    }

    /// The clock of a kernel of an earlier version, which knew one clock.
    pub(crate) fn from_wall(us: u64) -> Clock {
        let elapsed = Elapsed { low_us: us, high_us: us };
        Clock { wall: Time(us), uptime_us: us, elapsed, ..Clock::default() }
    }

    /// The clock at a later input.
    pub(crate) fn after(self, now: &Now) -> Clock {
        let Elapsed { low_us, high_us } = self.elapsed;
        let mut next = Clock { wall: now.wall, boot: now.boot, uptime_us: now.uptime_us, ..self };
        next.is_new_boot = now.boot != self.boot;
        if next.is_new_boot {
            // At least as long as the machine is up; at most what the wall clock says, where that is more.
            let by_wall = now.wall.0.saturating_sub(self.wall.0);
            next.elapsed = Elapsed {
                low_us: low_us.saturating_add(now.uptime_us),
                high_us: high_us.saturating_add(by_wall.max(now.uptime_us)),
            };
            next.before_boot = Some(self.before_boot.unwrap_or((self.wall, low_us)));
        } else {
            // Two threads may read the clock in one order and arrive in the other: time does not go back.
            let passed = now.uptime_us.saturating_sub(self.uptime_us);
            next.uptime_us = self.uptime_us.max(now.uptime_us);
            next.elapsed =
                Elapsed { low_us: low_us.saturating_add(passed), high_us: high_us.saturating_add(passed) };
        }
        if let (true, Some((wall, low_us))) = (now.synchronised, next.before_boot) {
            // The wall clock can be believed now: so much passed since the boot before.
            let passed = now.wall.0.saturating_sub(wall.0);
            let believed = low_us.saturating_add(passed).min(next.elapsed.high_us);
            next.elapsed.low_us = next.elapsed.low_us.max(believed);
            next.before_boot = None;
        }
        next
    }

    /// By how much the wall clock steps between this and a later input of the same boot, in µs.
    pub(crate) fn step_us(&self, now: &Now) -> i64 {
        if now.boot != self.boot {
            return 0;
        }
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        let by_wall = signed(now.wall.0).saturating_sub(signed(self.wall.0));
        let passed = signed(now.uptime_us.max(self.uptime_us)).saturating_sub(signed(self.uptime_us));
        by_wall.saturating_sub(passed)
    }

    /// Which boot the newest input came in.
    pub(crate) const fn boot(&self) -> &[u8; 16] {
        &self.boot
    }

    /// The wall time that belongs to a moment of kernel time, as far as the clocks run alike.
    pub(crate) fn wall_at(&self, kernel_us: u64) -> u64 {
        match kernel_us.checked_sub(self.elapsed.high_us) {
            Some(ahead) => self.wall.0.saturating_add(ahead),
            None => self.wall.0.saturating_sub(self.elapsed.high_us.saturating_sub(kernel_us)),
        }
    }

    pub(crate) fn to_value(self) -> Value {
        let before = self.before_boot.map(|(wall, low_us)| Value::from(ak_json::array![wall.0, low_us]));
        object! {
            "wall": self.wall.0, "boot": base64url(&self.boot), "uptime": self.uptime_us,
            "low": self.elapsed.low_us, "high": self.elapsed.high_us, "before_boot": before,
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Clock, FieldError> {
        let mut fields = Fields::new("clock", value)?;
        let boot = <[u8; 16]>::try_from(&*fields.bytes("boot")?);
        let before_boot = match fields.optional("before_boot") {
            None => None,
            Some(pair) => {
                let number = |index| pair.as_array()?.iter().nth(index)?.as_u64();
                let both = number(0).zip(number(1));
                let (wall, low_us) =
                    both.ok_or_else(|| fields.error("before_boot", "expected two numbers"))?;
                Some((Time(wall), low_us))
            }
        };
        let clock = Clock {
            wall: Time(fields.u64("wall")?),
            boot: boot.map_err(|_| fields.error("boot", "expected 16 bytes"))?,
            uptime_us: fields.u64("uptime")?,
            elapsed: Elapsed { low_us: fields.u64("low")?, high_us: fields.u64("high")? },
            before_boot,
            is_new_boot: false,
        };
        fields.finish()?;
        Ok(clock)
    }
}
