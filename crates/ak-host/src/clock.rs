//! The time and entropy that every input carries.

use std::time::{SystemTime, UNIX_EPOCH};

use ak_kernel::{Now, Time};

/// The system's time and 32 bytes from its random source.
///
/// # Errors
/// When the system has no random source: the kernel must not run without one.
pub fn now() -> Result<Now, getrandom::Error> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)?;
    let us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Ok(Now { time: Time::from_micros(u64::try_from(us).unwrap_or(u64::MAX)), entropy })
}
