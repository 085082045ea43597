//! Progress of a replay, on a terminal.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Progress is shown only for a replay that takes longer than this.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// Returns a function of the entries done and the entries in all. It shows the progress of a replay on stderr if stderr
/// is a terminal, and does nothing otherwise.
pub(crate) fn show_progress() -> impl FnMut(u64, u64) {
    let (started, terminal) = (Instant::now(), std::io::stderr().is_terminal());
    let mut is_shown = false;
    move |done, total| {
        if terminal && (is_shown || started.elapsed() >= SHOWN_AFTER) {
            is_shown = true;
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
            let end = if done == total { "\n" } else { "" };
            eprint!("\rre-executing the journal: {done} of {total} entries, {percent}%{end}");
        }
    }
}
