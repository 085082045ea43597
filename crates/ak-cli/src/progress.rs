//! Progress on work that takes a while, for people.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

/// How long work goes on in silence.
const SILENCE: Duration = Duration::from_secs(1);

/// Tells a terminal how far a journal is executed again, once that takes a while: entries done, and how many there are.
pub(crate) fn progress() -> impl FnMut(u64, u64) {
    let (started, terminal) = (Instant::now(), std::io::stderr().is_terminal());
    let mut told = false;
    move |done, all| {
        if terminal && (told || started.elapsed() >= SILENCE) {
            told = true;
            let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
            let end = if done == all { "\n" } else { "" };
            eprint!("\rexecuting the journal again: {done} of {all} entries, {percent}%{end}");
        }
    }
}
