//! `ak replay`: re-executes a journal.

use std::path::PathBuf;

use ak_host::{
    ak_json::object,
    ak_kernel::{Code, EntryStatus, LogVerifier, StoredBody, ToolReplay, export, outcome_to_value},
};
use clap::Args;

use crate::{error::CommandError, progress::show_progress};

/// Re-execute a journal and check that every decision follows from the policy then in force. Exits with 0 when every entry was
/// verified, with 5 when some could not be, and with 4 when an entry is invalid.
#[derive(Debug, Args)]
pub(crate) struct ReplayCommand {
    /// A state directory, or a file with an exported journal.
    #[arg(value_name = "PATH")]
    journal: PathBuf,
    /// Run the tools again instead of taking their results from the journal.
    #[arg(long)]
    rerun_tools: bool,
    /// Print the status of every entry: `follows`, `opaque` where a body was erased, or `not_replayed` where an earlier version
    /// wrote it.
    #[arg(long)]
    entries: bool,
    /// Print every reply as JSON.
    #[arg(long)]
    replies: bool,
    /// Also write the journal to one file, which can be replayed elsewhere.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// How many entries lie between two reports of progress.
const PROGRESS_ENTRIES: u64 = 4096;

impl ReplayCommand {
    /// What is wrong with the journal, which is named.
    fn invalid(&self, reason: &dyn std::fmt::Display) -> CommandError {
        CommandError::invalid_journal(format!("{}: {reason}", self.journal.display()))
    }

    pub(crate) fn run(self) -> Result<(), CommandError> {
        let bytes = match self.journal.is_dir() {
            true => match ak_host::read_journal(&self.journal) {
                Ok(journal) => journal.to_stream(),
                Err(failure) if failure.code == Code::LogCorrupt => {
                    return Err(CommandError::invalid_journal(failure.message));
                }
                Err(failure) => return Err(CommandError::failed(failure)),
            },
            false => std::fs::read(&self.journal)
                .map_err(|error| CommandError::failed(format!("{}: {error}", self.journal.display())))?,
        };
        if let Some(export) = &self.export {
            std::fs::write(export, &bytes)
                .map_err(|error| CommandError::failed(format!("{}: {error}", export.display())))?;
        }
        let tools = if self.rerun_tools { ToolReplay::Rerun } else { ToolReplay::Recorded };
        let mut examination = LogVerifier::new(0, tools);
        let decoded = export::decode(&bytes).map_err(|error| self.invalid(&error))?;
        let (mut progress, total) = (show_progress(), decoded.clone().count() as u64);
        for entry in decoded {
            let export::ExportedEntry { leaf, body, snapshot, subjects } =
                entry.map_err(|error| self.invalid(&error))?;
            let seq = examination.entries();
            let standing = examination.examine(leaf, StoredBody { body, subjects: &subjects }, snapshot);
            let (name, replies) = match standing {
                EntryStatus::Verified(replies) => ("follows", replies),
                EntryStatus::Opaque => ("opaque", Vec::new()),
                EntryStatus::NotReplayed => ("not_replayed", Vec::new()),
                EntryStatus::Invalid(reason) => {
                    return Err(self.invalid(&format!("entry {seq} is invalid: {reason}")));
                }
            };
            if (seq + 1).is_multiple_of(PROGRESS_ENTRIES) || seq + 1 == total {
                progress(seq + 1, total);
            }
            if self.entries {
                println!("{}", object! { "seq": seq, "standing": name }.to_json());
            }
            for (call, outcome) in replies.iter().filter(|_| self.replies) {
                let line = object! { "call": call.seq(), "outcome": outcome_to_value(outcome) };
                println!("{}", line.to_json());
            }
        }
        if examination.entries() == 0 {
            return Err(self.invalid(&"the journal has no entries"));
        }
        if let Some((seq, reason)) = examination.first_wrong() {
            return Err(self.invalid(&format!("entry {seq} is invalid: {reason}")));
        }
        let (complete, opaque, earlier) =
            (examination.is_complete(), examination.opaque(), examination.not_replayed());
        println!("{}", examination.into_summary().to_json());
        if complete {
            return Ok(());
        }
        let message = format!(
            "verified in part: {opaque} entries are opaque (their bodies were erased), and {earlier} were written by an earlier \
             version: replay those with that version's `ak`"
        );
        Err(CommandError::partly_verified(message))
    }
}
