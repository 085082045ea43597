//! Time and entropy, which the host passes in with every input.

use core::fmt;

use ak_json::{Value, object};

use crate::api::fields::{FieldError, Fields, base64url};

/// A wall-clock time in microseconds since the Unix epoch.
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

/// The clocks and the 32 fresh random bytes that the host passes in with every input.
///
/// The wall clock is for people, and may step. The other clock counts from the boot of the machine, continues while
/// the machine sleeps (`CLOCK_BOOTTIME`), and never steps. Rates, lifetimes and deadlines rest on it.
///
/// The kernel journals the entropy only of inputs that use it (ids, salts), so that replay uses the same bytes.
#[derive(Clone, Copy)]
pub struct Now {
    /// The wall clock.
    pub wall: Time,
    /// Identifies the boot of the machine from which `uptime_us` counts.
    pub boot: [u8; 16],
    /// Time since that boot, in µs.
    pub uptime_us: u64,
    /// Whether the system reports its wall clock as synchronised.
    pub synchronised: bool,
    /// Bytes from a cryptographic source, used for one input only.
    pub entropy: [u8; 32],
}

impl Now {
    /// A moment on a machine that never reboots and whose wall clock never steps, for simulations and examples.
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

/// By how much the wall clock may drift from the boot clock between two inputs without a record, in µs. A larger
/// step is recorded as CLOCK_STEP.
pub const CLOCK_STEP_US_MAX: u64 = 2_000_000;

/// By how much the wall clock of a new boot may lag behind before its synchronisation without raising the upper
/// bound, in µs: battery-powered clocks are set to the second, and drift.
const REBOOT_DOUBT_US_MAX: u64 = 10_000_000;

/// What the kernel knows about the passage of time.
///
/// `elapsed` is kernel time: it begins at the wall time of the genesis entry and never steps. Within one boot of
/// the machine it is exact. The time between two boots is known from the wall clock only, so from then on there are
/// two bounds: expiries and deadlines use the upper bound, rates and budgets the lower. Setting either clock renews
/// nothing.
///
/// Between any two inputs the lower bound grows by at most the time that passed, and the upper bound by at least
/// that time. `docs/decisions/0011-two-clocks.md` states the assumptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The wall clock at the newest input.
    pub(crate) wall: Time,
    boot: [u8; 16],
    uptime_us: u64,
    /// Kernel time, in µs.
    pub(crate) elapsed: Elapsed,
    /// The newest input at which the system reported its wall clock as synchronised.
    synchronised: Option<Synchronised>,
    /// Whether the newest input is the first of its boot; its record then contains the id of the boot.
    pub(crate) is_new_boot: bool,
}

/// A moment at which the wall clock was synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Synchronised {
    wall_us: u64,
    /// The lower bound of kernel time at that moment.
    low_us: u64,
    /// The least value that the upper bound of that moment must have had, by what is known now.
    high_us: u64,
    /// The number of boots since; 2 means two or more.
    boots: u64,
}

pub(crate) use ak_policy::Elapsed;

impl Clock {
    /// The clock of a new kernel.
    pub(crate) fn new(now: &Now) -> Clock {
        let us = now.wall.0;
        let elapsed = Elapsed { low_us: us, high_us: us };
        let synchronised = now.synchronised.then_some(Synchronised::exactly(us, us));
        let (wall, boot, uptime_us) = (now.wall, now.boot, now.uptime_us);
        Clock { wall, boot, uptime_us, elapsed, synchronised, is_new_boot: true }
    }

    /// The clock of a kernel of an earlier version, which had only the wall clock.
    pub(crate) fn from_wall(us: u64) -> Clock {
        let elapsed = Elapsed { low_us: us, high_us: us };
        let synchronised = Some(Synchronised::exactly(us, us));
        Clock { wall: Time(us), uptime_us: us, elapsed, synchronised, ..Clock::default() }
    }

    /// The clock at a later input.
    pub(crate) fn after(self, now: &Now) -> Clock {
        if self.is_late(now) {
            return Clock { is_new_boot: false, ..self };
        }
        let is_same = (now.boot, now.uptime_us, now.wall) == (self.boot, self.uptime_us, self.wall);
        let begins_boot = now.boot != self.boot;
        let mut next = Clock { wall: now.wall, boot: now.boot, uptime_us: now.uptime_us, ..self };
        // The same input may advance the clock several times before its record is made.
        next.is_new_boot = begins_boot || self.is_new_boot && is_same;
        if begins_boot {
            self.begin_boot(&mut next);
        } else {
            next.pass(now.uptime_us.saturating_sub(self.uptime_us), 0);
        }
        if now.synchronised {
            next.synchronise(begins_boot);
        }
        next
    }

    /// Whether an input was read off the clocks before the newest one. Threads may deliver inputs in another order
    /// than that in which they read the clocks; a late input moves neither clock.
    fn is_late(&self, now: &Now) -> bool {
        now.boot == self.boot && now.uptime_us < self.uptime_us
    }

    /// Adds `us` to both bounds, and `more_us` to the upper one.
    fn pass(&mut self, us: u64, more_us: u64) {
        self.elapsed.low_us = self.elapsed.low_us.saturating_add(us);
        self.elapsed.high_us = self.elapsed.high_us.saturating_add(us).saturating_add(more_us);
    }

    /// Adds the time since the boot before ended, as far as the first input of the new boot shows it: at least the
    /// new uptime, at most what the wall clock shows, if that is more.
    fn begin_boot(self, next: &mut Clock) {
        let mut ended_us = self.wall.0;
        if let Some(newest) = &mut next.synchronised {
            let up_us = self.elapsed.low_us.saturating_sub(newest.low_us);
            if newest.boots == 0 {
                ended_us = ended_us.min(newest.wall_us.saturating_add(up_us));
            } else {
                // The times that the machine was off before and after this boot will only be known as a sum. For
                // things that began during this boot, the upper bound must assume all of that sum.
                newest.high_us = newest.high_us.max(self.elapsed.high_us.saturating_sub(up_us));
            }
            newest.boots = newest.boots.saturating_add(1).min(2);
        }
        let told_us = next.wall.0.saturating_sub(ended_us);
        next.pass(next.uptime_us, told_us.saturating_sub(next.uptime_us));
    }

    /// Takes the wall clock as correct: its difference since the last synchronised moment is the time that passed.
    fn synchronise(&mut self, begins_boot: bool) {
        let Elapsed { low_us, high_us } = self.elapsed;
        let newest = match self.synchronised {
            None => Synchronised::exactly(self.wall.0, low_us),
            Some(newest) if newest.boots == 0 => {
                let passed_us = low_us.saturating_sub(newest.low_us);
                Synchronised { high_us: newest.high_us.saturating_add(passed_us), ..newest }
            }
            Some(newest) => {
                let passed_us = self.wall.0.saturating_sub(newest.wall_us);
                let known_us = newest.high_us.saturating_add(passed_us);
                // Raising the upper bound within a boot lets things that began in this boot expire early. It is not
                // worth that for a few seconds.
                if begins_boot || known_us.saturating_sub(high_us) > REBOOT_DOUBT_US_MAX {
                    self.elapsed.high_us = high_us.max(known_us);
                }
                // Raising the lower bound within a boot would refill early what was used since the boot began. And
                // after two unsynchronised boots only the sum of the times is known.
                if begins_boot && newest.boots == 1 {
                    let believed_us = newest.low_us.saturating_add(passed_us).min(self.elapsed.high_us);
                    self.elapsed.low_us = low_us.max(believed_us);
                }
                Synchronised { high_us: known_us, ..newest }
            }
        };
        self.synchronised = Some(Synchronised {
            wall_us: self.wall.0,
            low_us: self.elapsed.low_us,
            high_us: newest.high_us.max(self.elapsed.high_us),
            boots: 0,
        });
    }

    /// By how much the wall clock steps between this input and a later one of the same boot, in µs.
    pub(crate) fn step_us(&self, now: &Now) -> i64 {
        if now.boot != self.boot || self.is_late(now) {
            return 0;
        }
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        let by_wall = signed(now.wall.0).saturating_sub(signed(self.wall.0));
        by_wall.saturating_sub(signed(now.uptime_us.saturating_sub(self.uptime_us)))
    }

    /// The id of the boot in which the newest input came.
    pub(crate) const fn boot(&self) -> &[u8; 16] {
        &self.boot
    }

    /// The wall time at a moment of kernel time, if the two clocks run alike.
    pub(crate) fn wall_at(&self, kernel_us: u64) -> u64 {
        match kernel_us.checked_sub(self.elapsed.high_us) {
            Some(ahead) => self.wall.0.saturating_add(ahead),
            None => self.wall.0.saturating_sub(self.elapsed.high_us.saturating_sub(kernel_us)),
        }
    }

    pub(crate) fn to_value(self) -> Value {
        let synchronised = self.synchronised.map(|Synchronised { wall_us, low_us, high_us, boots }| {
            ak_json::array![wall_us, low_us, high_us, boots]
        });
        object! {
            "wall": self.wall.0, "boot": base64url(&self.boot), "uptime": self.uptime_us,
            "low": self.elapsed.low_us, "high": self.elapsed.high_us, "synchronised": synchronised,
            "new_boot": self.is_new_boot,
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Clock, FieldError> {
        let mut fields = Fields::new("clock", value)?;
        let boot = <[u8; 16]>::try_from(&*fields.bytes("boot")?);
        let synchronised = fields.optional("synchronised").map(|numbers| {
            let number = |index| numbers.as_array()?.iter().nth(index)?.as_u64();
            Some(Synchronised {
                wall_us: number(0)?,
                low_us: number(1)?,
                high_us: number(2)?,
                boots: number(3)?,
            })
        });
        let synchronised = synchronised
            .map(|newest| newest.ok_or_else(|| fields.error("synchronised", "expected four numbers")))
            .transpose()?;
        let clock = Clock {
            wall: Time(fields.u64("wall")?),
            boot: boot.map_err(|_| fields.error("boot", "expected 16 bytes"))?,
            uptime_us: fields.u64("uptime")?,
            elapsed: Elapsed { low_us: fields.u64("low")?, high_us: fields.u64("high")? },
            synchronised,
            is_new_boot: fields.value("new_boot")?.as_bool() == Some(true),
        };
        fields.finish()?;
        Ok(clock)
    }
}

impl Synchronised {
    /// A synchronised moment at which both bounds are equal.
    const fn exactly(wall_us: u64, kernel_us: u64) -> Synchronised {
        Synchronised { wall_us, low_us: kernel_us, high_us: kernel_us, boots: 0 }
    }
}
