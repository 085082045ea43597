#![no_std]
#![forbid(unsafe_code)]
//! A sandbox for untrusted WebAssembly tools: metered, isolated and deterministic.
//!
//! A [`Tool`] is a [`Manifest`] and the compiled module that it names by SHA-256. A [`Run`] is one call of a tool, on
//! an instance in its first state: a new one, or one that was reset.
//!
//! - **Everything is limited.** Fuel, memory, tables, stack, output, log and host calls each have a limit and an
//!   error of their own.
//! - **No effects.** This crate touches no file, clock or network. When a guest requests something from outside, be
//!   it by `ak.http` or by `fopen`, the run is suspended with a [`HostCall`]. The driver of the run, its caller,
//!   decides on the call, performs it, and resumes the run with the reply.
//! - **Deterministic.** The same module, input and replies give the same output and the same fuel, however the run is
//!   sliced.
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
//! **Loading.** `manifest` reads a tool's manifest (`toml` its text, `error` its errors). `module` checks a module
//! before it is compiled and rewrites it: `work` limits the work of loading, `body_rewrite` edits functions, `data`
//! merges data segments, `binary` reads and writes the format, `error` is [`ToolError`]. `tool` compiles the module
//! and, in `machine`, makes instances and resets them to their first state. `builtin` has the tools that come with
//! the kernel.
//!
//! **Running.** `run` is one call, step by step; its `reply` delivers the outcome of a host call. `guest` is the
//! state of one run: memory and streams (`streams`), fuel (`meter`), sizes (`limiter`). `failure` holds the reasons
//! for which a run fails, `limits` its limits.
//!
//! **Imports of a guest.** `imports`: `ak`, our own functions, and `wasi`, those of `wasi_snapshot_preview1`. In the
//! latter, `syscall` is the common frame, `calls` and `contents` are the functions about files, `buffers` those that
//! read and write, `replies` continues after a host call, `layout` has the byte formats. `files` holds the files that
//! a guest has open (`names`, `errno`, `pending`). `host_call` defines the requests that a guest can make of its
//! host.
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
