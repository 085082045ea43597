//! The memory that a kernel without a journal on disk holds after many calls.

use crate::{Result, Scale, hold, open, resident_mb, round, row};

/// How much more memory ten times as many calls may take, in percent of the memory after the first tenth.
const GROWTH_PERCENT_MAX: f64 = 5.0;
const TIMES: u64 = 10;

pub(crate) fn run(scale: &Scale) -> Result {
    let kernel = open(None)?;
    let mut first = None;
    let mut last = 0.0;
    for times in 1..=TIMES {
        for number in 0..scale.count / 3 {
            round(&kernel, number)?;
        }
        (last, _) = resident_mb()?;
        row("memory", &format!("held after {} calls", times * scale.count), last, None, "MB");
        first.get_or_insert(last);
    }
    let first: f64 = first.unwrap_or(last);
    hold(&[row("memory", "growth", (last - first) / first * 100.0, Some(GROWTH_PERCENT_MAX), "%")])
}
