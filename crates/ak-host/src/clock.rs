//! Reads the clocks and the entropy that every input of the kernel carries.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use ak_kernel::{Now, Time};
use rustix::time::{ClockId, clock_gettime};

use crate::entropy;

/// The file in which Linux gives the id of the boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How long an answer of the system about its wall clock is reused, in µs.
const SYNCHRONISED_US: u64 = 1_000_000;

/// Returns the times of the system's clocks, and 32 random bytes.
///
/// # Errors
/// When the system has no random source; the kernel must not run without one.
pub(crate) fn now() -> Result<Now, getrandom::Error> {
    let entropy = entropy::draw()?;
    let uptime_us = uptime_us();
    Ok(Now { wall: wall(), boot: boot()?, uptime_us, synchronised: is_synchronised(uptime_us), entropy })
}

fn wall() -> Time {
    let us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Time::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
}

/// Returns the time since the boot in µs, including time in which the machine slept.
fn uptime_us() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec / 1000).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(rest)
}

/// Returns the id of the machine's boot. If the system has none, each process counts as a boot of its own: times of two
/// processes are then compared less precisely, but never wrongly.
fn boot() -> Result<[u8; 16], getrandom::Error> {
    static BOOT: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let told = std::fs::read_to_string(BOOT_ID).ok().and_then(|text| parse_boot(&text));
    let boot = match told {
        Some(boot) => boot,
        None => {
            let mut random = [0; 16];
            getrandom::fill(&mut random)?;
            random
        }
    };
    Ok(*BOOT.get_or_init(|| boot))
}

/// Parses 32 hexadecimal digits with dashes between them.
fn parse_boot(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
    u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(u128::to_be_bytes)
}

/// Whether the system says that its wall clock is synchronised; an answer is reused for [`SYNCHRONISED_US`].
fn is_synchronised(uptime_us: u64) -> bool {
    // The answer in the lowest bit, and the uptime of the answer in the other bits.
    static ANSWER: AtomicU64 = AtomicU64::new(0);
    let answer = ANSWER.load(Ordering::Relaxed);
    if answer != 0 && uptime_us.saturating_sub(answer >> 1) < SYNCHRONISED_US {
        return answer & 1 == 1;
    }
    let synchronised = ask_whether_synchronised();
    ANSWER.store(uptime_us.max(1) << 1 | u64::from(synchronised), Ordering::Relaxed);
    synchronised
}

#[expect(unsafe_code, reason = "the system call has no safe wrapper")]
fn ask_whether_synchronised() -> bool {
    // SAFETY: all-zero bytes are a valid `timex` (integers and padding). With `modes` 0 the call changes nothing and
    // only writes into the struct, which lives until it returns.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&mut timex)
    };
    state >= 0 && state != libc::TIME_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_since_the_boot_never_falls_and_the_boot_keeps_its_name() {
        let (first, second) = (now().unwrap(), now().unwrap());
        assert!(first.uptime_us <= second.uptime_us && first.uptime_us > 0);
        assert_eq!(first.boot, second.boot);
        assert_ne!(first.entropy, second.entropy);
    }

    #[test]
    fn a_boot_is_read_with_its_dashes() {
        let boot = parse_boot("5a0c9a4e-0001-4b1c-8d62-7f0f00000010\n").unwrap();
        assert_eq!((boot[0], boot[15]), (0x5a, 0x10));
        for wrong in
            ["", "5a0c", "5a0c9a4e-0001-4b1c-8d62-7f0f0000001", "zz0c9a4e-0001-4b1c-8d62-7f0f00000010"]
        {
            assert!(parse_boot(wrong).is_none(), "{wrong}");
        }
    }
}
