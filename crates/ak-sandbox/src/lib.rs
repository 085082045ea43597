#![no_std]
#![forbid(unsafe_code)]
//! Runs a stranger's tool: WebAssembly with a meter, walls and no surprises.
//!
//! A [`Tool`] is a [`Manifest`] and the module it names by SHA-256. A [`Run`] is one call of it, on an
//! instance in its first state: new, or put back to it.
//!
//! - **Nothing comes for free.** Fuel, memory, tables, stack, output, log and host calls each have a limit
//!   and an error of their own.
//! - **Nothing happens inside.** This crate touches no file, clock or network. A guest that asks for
//!   something from outside, be it by `ak.http` or by `fopen`, is suspended with a [`HostCall`]; whoever
//!   drives the run decides, performs, and resumes it with the reply.
//! - **Nothing varies.** The same module, input and replies give the same output and the same fuel, however
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

extern crate alloc;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod builtin;
mod code;
mod data;
mod failure;
mod guest;
mod host;
mod limiter;
mod limits;
mod machine;
mod manifest;
mod manifest_error;
mod manifest_toml;
mod meter;
mod module;
mod reply;
mod run;
mod tool;
mod wasi;
mod work;

pub use builtin::builtin;
pub use failure::{Failure, RunError, Trap};
pub use host::{HostCall, HostOperation};
pub use limits::{MODULE_BYTES_MAX, RunLimits, SandboxConfig};
pub use manifest::{
    ARGS_BYTES_MAX, Abi, LISTED_BYTES_MAX, LISTED_MAX, Manifest, ManifestLimits, NAME_BYTES_MAX,
    VERSION_BYTES_MAX,
};
pub use manifest_error::{ManifestError, Position};
pub use run::{Run, RunOutput, Step};
pub use tool::{Tool, ToolError};
pub use work::{LOAD_WORK_MAX, ModulePart};
