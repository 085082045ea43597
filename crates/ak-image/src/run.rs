use core::fmt::{self, Write};

use ak_kernel::ak_json::object;
use ak_kernel::{EntryStatus, LogVerifier, StoredBody, ToolReplay, export, outcome_to_value};

/// How the image ends: the number that it writes to QEMU's debug exit device. QEMU then exits with `number << 1 | 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// No entry of the journal is invalid. QEMU exits with 33.
    Success = 0x10,
    /// The journal is invalid, empty or missing, or the start information cannot be used. QEMU exits with 35.
    Failure = 0x11,
    /// The image itself failed: a fault of the processor or a panic. QEMU exits with 37.
    Fault = 0x12,
}

/// Re-executes a journal, tools included, and prints one line of JSON for each reply and a last one with the summary:
/// the same lines as `ak replay --replies --rerun-tools` on a host.
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
    Stream(#[from] export::ExportError),
    #[error("entry {0} is invalid: {1}")]
    Wrong(u64, alloc::string::String),
    #[error("the journal is empty")]
    Empty,
    #[error("cannot write to the console")]
    Console(#[from] fmt::Error),
}

fn replay(journal: &[u8], out: &mut dyn Write) -> Result<(), RunError> {
    let mut examination = LogVerifier::new(0, ToolReplay::Rerun);
    for entry in export::decode(journal)? {
        let export::ExportedEntry { leaf, body, snapshot, subjects } = entry?;
        let seq = examination.entries();
        match examination.examine(leaf, StoredBody { body, subjects: &subjects }, snapshot) {
            EntryStatus::Verified(replies) => {
                for (call, outcome) in replies {
                    let line = object! { "call": call.seq(), "outcome": outcome_to_value(&outcome) };
                    writeln!(out, "{}", line.to_json())?;
                }
            }
            EntryStatus::Opaque | EntryStatus::NotReplayed => {}
            EntryStatus::Invalid(reason) => return Err(RunError::Wrong(seq, reason)),
        }
    }
    if let Some((seq, reason)) = examination.first_wrong() {
        return Err(RunError::Wrong(seq, reason));
    }
    if examination.entries() == 0 {
        return Err(RunError::Empty);
    }
    writeln!(out, "{}", examination.into_summary().to_json())?;
    Ok(())
}
