use core::fmt::{self, Write};

use ak_kernel::ak_json::object;
use ak_kernel::{Replay, ReplayError, Tools, outcome_to_value, stream};

/// How the image ends; the number is what it writes to QEMU's debug exit device, which ends with `number << 1 | 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Every entry of the journal follows: QEMU ends with 33.
    Success = 0x10,
    /// The journal is wrong, or there is none: 35.
    Failure = 0x11,
    /// The image itself failed: 37.
    Fault = 0x12,
}

/// Re-executes a journal, tools included, and prints one line of JSON for each reply and one for the end: the same lines as
/// `ak replay --replies --rerun-tools` on a host.
pub fn run(journal: &[u8], out: &mut dyn Write) -> ExitCode {
    let outcome = replay(journal, out);
    let line = match &outcome {
        Ok(()) => return ExitCode::Success,
        Err(error) => writeln!(out, "{}", object! { "error": alloc::format!("{error}") }.to_json()),
    };
    match line {
        Ok(()) => ExitCode::Failure,
        Err(fmt::Error) => ExitCode::Fault,
    }
}

/// Why a journal cannot be re-executed.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("{0}")]
    Stream(#[from] stream::StreamError),
    #[error("{0}")]
    Replay(#[from] ReplayError),
    #[error("the console takes no more")]
    Console(#[from] fmt::Error),
}

fn replay(journal: &[u8], out: &mut dyn Write) -> Result<(), RunError> {
    let mut replay = Replay::new(Tools::Rerun);
    for entry in stream::decode(journal)? {
        let (leaf, body) = entry?;
        for (call, outcome) in replay.feed(leaf, body)?.replies {
            writeln!(
                out,
                "{}",
                object! { "call": call.seq(), "outcome": outcome_to_value(&outcome) }.to_json()
            )?;
        }
    }
    let entries = replay.entries();
    let mut kernel = replay.finish()?;
    let (head, state) = (alloc::format!("{}", kernel.head()), alloc::format!("{}", kernel.state_digest()));
    writeln!(out, "{}", object! { "entries": entries, "head": head, "state": state }.to_json())?;
    Ok(())
}
