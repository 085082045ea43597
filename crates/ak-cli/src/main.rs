//! `ak`: the Authority Kernel's daemon and tools.
//!
//! - `serve`: `ak serve`, the daemon
//! - `replay`: `ak replay`, which re-executes a journal
//! - `progress`: shows on a terminal how far a journal has been re-executed
//! - `error`: failures of commands, and their exit codes
//!
//! Imports: `{serve, replay} → {progress, error}`

mod error;
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
    /// Serve a kernel on a Unix socket.
    Serve(serve::ServeCommand),
    /// Re-execute a journal and check that every decision follows.
    Replay(replay::ReplayCommand),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(command) => command.run(),
        Command::Replay(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ak: {}", error.message);
            ExitCode::from(error.exit_code)
        }
    }
}
