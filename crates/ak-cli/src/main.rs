//! `ak`: the Authority Kernel's daemon and tools.

mod progress;
mod replay;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The Authority Kernel's daemon and tools.
#[derive(Debug, Parser)]
#[command(name = "ak", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Offer a kernel on a Unix socket.
    Serve(serve::Serve),
    /// Re-execute a journal and check that every decision follows.
    Replay(replay::ReplayCommand),
}

/// Why a command ended without success: its exit code, and a line for stderr.
#[derive(Debug)]
struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    const ERROR: u8 = 1;
    const VERIFICATION: u8 = 4;
    const IN_PART: u8 = 5;
    const STOPPED: u8 = 6;

    fn error(message: impl ToString) -> Failed {
        Failed { code: Failed::ERROR, message: message.to_string() }
    }
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(command) => command.run(),
        Command::Replay(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("ak: {}", failed.message);
            ExitCode::from(failed.code)
        }
    }
}
