//! The time and entropy that every input carries.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ak_kernel::{Now, Time};

/// The system's time and 32 bytes from its random source.
///
/// # Errors
/// When the system has no random source: the kernel must not run without one.
pub(crate) fn now() -> Result<Now, getrandom::Error> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)?;
    Ok(Now { time: time(), entropy })
}

fn time() -> Time {
    let us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Time::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
}

/// How long it is until then.
pub(crate) fn until(due: Time) -> Duration {
    // A millisecond more, so that the time is over for the kernel as well.
    Duration::from_millis(due.millis_since(time()).saturating_add(1))
}
