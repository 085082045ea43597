//! `ak replay`: re-executes a journal.

use std::path::PathBuf;

use ak_host::{
    ak_json::object,
    ak_kernel::{Replay, Tools, outcome_to_value, stream},
};
use clap::Args;

use crate::Failed;

/// Re-execute a journal and check that every decision follows.
#[derive(Debug, Args)]
pub(crate) struct ReplayCommand {
    /// A state directory, or a journal stream.
    #[arg(value_name = "PATH")]
    journal: PathBuf,
    /// Run the tools again instead of taking their results from the journal.
    #[arg(long)]
    rerun_tools: bool,
    /// Print every reply as JSON.
    #[arg(long)]
    replies: bool,
    /// Write the journal as one stream, to be replayed elsewhere.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

impl ReplayCommand {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let bytes = match self.journal.is_dir() {
            true => stream::encode(&ak_host::read_journal(&self.journal).map_err(Failed::error)?),
            false => std::fs::read(&self.journal)
                .map_err(|error| Failed::error(format!("{}: {error}", self.journal.display())))?,
        };
        if let Some(export) = &self.export {
            std::fs::write(export, &bytes)
                .map_err(|error| Failed::error(format!("{}: {error}", export.display())))?;
        }
        let wrong = |message: String| Failed { code: Failed::VERIFICATION, message };
        let mut replay = Replay::new(if self.rerun_tools { Tools::Rerun } else { Tools::Recorded });
        for entry in stream::decode(&bytes).map_err(|error| wrong(error.to_string()))? {
            let (leaf, body) = entry.map_err(|error| wrong(error.to_string()))?;
            let followed = replay.feed(leaf, body).map_err(|error| wrong(error.to_string()))?;
            for (call, outcome) in followed.replies.iter().filter(|_| self.replies) {
                println!(
                    "{}",
                    object! { "call": call.seq(), "outcome": outcome_to_value(outcome) }.to_json()
                );
            }
        }
        let entries = replay.entries();
        let mut kernel = replay.finish().map_err(|error| wrong(error.to_string()))?;
        let verdict = object! {
            "entries": entries, "head": kernel.head().to_string(), "state": kernel.state_digest().to_string(),
        };
        println!("{}", verdict.to_json());
        Ok(())
    }
}
