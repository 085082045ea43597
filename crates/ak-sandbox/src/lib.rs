#![no_std]
#![forbid(unsafe_code)]
//! A sandbox for untrusted WebAssembly tools: metered, isolated and deterministic.
//!
//! A [`Tool`] is a [`Manifest`] and the module it names by SHA-256. A [`Run`] is one call of it, on an
//! instance in its first state: new, or put back to it.
//!
//! - **Everything is limited.** Fuel, memory, tables, stack, output, log and host calls each have a limit
//!   and an error of their own.
//! - **No effects.** This crate touches no file, clock or network. A guest that asks for
//!   something from outside, be it by `ak.http` or by `fopen`, is suspended with a [`HostCall`]; whoever
//!   drives the run decides, performs, and resumes it with the reply.
//! - **Deterministic.** The same module, input and replies give the same output and the same fuel, however
//!   the run is sliced.
//!
//! This crate knows JSON ([`ak_json`]) and nothing of policies, agents or audit.
//!
//! ```
//! use ak_json::{Limits, Value};
//! use ak_sandbox::{Manifest, Run, RunLimits, SandboxConfig, Step, Tool, builtin};
//!
//! let [(manifest, module), _] = builtin(); // add {a, b}
//! let tool = Tool::new(Manifest::parse(manifest)?, module.into(), &SandboxConfig::default())?;
//!
//! let input = Value::parse(br#"{"a":3,"b":5}"#, &Limits::default())?;
//! let mut run = Run::start(&tool, &input, RunLimits::default())?;
//! let done = loop {
//!     match run.step(1_000_000)? {
//!         Step::Yield => {}
//!         Step::HostCall(_) => run.reply(Err("nothing is granted".into()))?,
//!         Step::Done(done) => break done,
//!     }
//! };
//! assert_eq!(done.output.to_json(), r#"{"result":8}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//!
//! **Loading.** `manifest` reads what a tool says of itself (`toml` its text, `error` what is wrong with it). `module` checks a
//! module before it is compiled and rewrites it: `work` bounds what loading takes, `body_rewrite` edits functions, `data` merges
//! data segments, `binary` reads and writes the format, `error` is [`ToolError`]. `tool` compiles it and, in `machine`, makes
//! instances and puts them back to their first state. `builtin` has the tools that are always there.
//!
//! **Running.** `run` is one call, step by step; its `reply` takes the outcome of a host call. `guest` is what one run holds:
//! memory and streams (`streams`), fuel (`meter`), sizes (`limiter`). `failure` tells why a run ended, `limits` what bounds it.
//!
//! **What a guest can call.** `imports`: `ak`, our own functions, and `wasi`, those of `wasi_snapshot_preview1`: `syscall` is
//! what all of them share, `calls` and `contents` are those about files, `buffers` those that read and write, `replies` goes on
//! after a host call, `layout` has the byte forms. `files` holds the files that a guest has open (`names`, `errno`, `pending`).
//! `host_call` names what a guest may ask of the world outside.
//!
//! # Directions
//!
//! Imports: `run → tool → {imports, module}`
//! Imports: `imports → guest → files → limits`
//! Imports: `guest → {failure, host_call}`
//! Imports: `{builtin, imports} → manifest`
//! Imports: `module → limits`

extern crate alloc;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod builtin;
mod failure;
mod files;
mod guest;
mod host_call;
mod imports;
mod limits;
mod manifest;
mod module;
mod run;
mod tool;

pub use builtin::builtin;
pub use failure::{Failure, RunError, Trap};
pub use host_call::{HostCall, HostOperation};
pub use limits::{MODULE_BYTES_MAX, RunLimits, SandboxConfig};
pub use manifest::error::{ManifestError, Position};
pub use manifest::{
    ARGS_BYTES_MAX, Abi, LISTED_BYTES_MAX, LISTED_MAX, Manifest, ManifestLimits, NAME_BYTES_MAX,
    VERSION_BYTES_MAX,
};
pub use module::error::ToolError;
pub use module::work::{LOAD_WORK_MAX, ModulePart};
pub use run::{Run, RunOutput, Step};
pub use tool::Tool;
