//! Std drivers for the Authority Kernel: everything that touches the world, and nothing that decides.
//!
//! A [`Connection`] is a session with a kernel, embedded in this process or behind a daemon's socket. Around an embedded
//! kernel runs the [`Driver`]: it gives the kernel time and entropy, keeps its records, performs the effects that it
//! permits, and brings back how they ended. The Python module, the C library and the daemon all stand on it.
//!
//! ```
//! use ak_host::{Connection, Options};
//! use ak_host::ak_kernel::{Reply, HeapRequest, Request, ak_heap::Content, ak_json::object};
//!
//! let kernel = Connection::open(&Options::default())?;
//! let content = Content::Json(object! { "value": 0 });
//! let reply = kernel.call(Request::Heap(HeapRequest::Alloc { type_name: "counter".into(), content, subject: None }))?;
//! assert!(matches!(reply, Reply::Handle(_)));
//! # Ok::<(), ak_host::ak_kernel::Failure>(())
//! ```
//!
//! # Folders
//!
//! A request passes them from top to bottom: a connection takes it, the driver puts it to the kernel and records it, and an effect
//! happens beneath `effects` or `fs`.
//!
//! ## `daemon`: one kernel offered on a Unix socket
//! `server` accepts connections. `hello` authenticates each; `session` serves its requests. `limits` bounds what those who are not the
//! owner may take.
//!
//! ## `connection`: one session with a kernel, wherever the kernel runs
//! `embedded` is a kernel in this process, `remote` one behind a socket. `policy_files` and `tool_files` read what a policy and a
//! tool's manifest name.
//!
//! ## `driver`: the run loop around one kernel
//! `dispatched` is a request from its dispatch to its outcome. `group_commit` makes records durable, one sync for all who wait, over
//! `commit_state` (the kernel under its lock and the space promised in the log) and `stop_signal`. `perform` performs effects, with a
//! `context` for each; `host_calls` serves running tools; `log_work` verifies the log and proves entries. `snapshots`, whose need
//! `unsaved` measures, and `scrub`, which reads what opening left unread, work beside the writer.
//!
//! ## `effects`: what the kernel permits, performed
//! `context` is the way from an effect back to the kernel and the caller. `http` performs HTTP calls, `tools` runs tools. `infer` asks
//! models: `routes` says where, `circuit` whether; `call` is one call, `outgoing` its request, `body` reads the answer, `sse` splits its
//! stream into events. `formats` translates to and from each server's format: `responses` and `anthropic`, each with its `request`, and
//! their `usage` and `error` reports. `delta` redacts the pieces of a stream, `merge` puts them together, `completion` is the whole and
//! what it costs; `reasoning` knows which models may reason; `error` is why there is no answer.
//!
//! ## `fs`: files beneath granted roots
//! `target` is the file that an effect acts on. `resolve` opens paths, `links` follows links that a permit follows, `roots` are what a
//! policy grants. `protected` keeps every agent away from the kernel's own files. `preserve` carries owner, mode and attributes to a
//! file's replacement; `sweep` removes what killed processes abandoned; `error` is why an effect fails.
//!
//! ## `net`: the network as the operator set it up
//! `connection` is one HTTP/1.1 connection, whose heads `head_limit` bounds; `pool` keeps idle ones; `error` is why there is no response.
//!
//! ## `secrets`: what must not get out
//! `value` is one secret, `store` puts secrets where they belong in requests, `redact` cuts them from what comes back and
//! `redact_stream` does so piece by piece. `key_file` reads and creates files of keys: `tokens` (of capabilities) and `checkpoint_key`.
//!
//! ## `config`: the operator's settings
//! `options` say how to reach or make a kernel. `tables` are the host configuration as it is written, with `source` (of a secret, and
//! URLs), `pattern` and `price`.
//!
//! ## `storage`: records, keys and snapshots
//! `log` is where records are kept: `memory_log` or `durable_log`, read by `log_reader`. `vault` holds what an erasure destroys: keys, each
//! in a `key_slot`, and `vault_snapshots`, each in a `snapshot_file`. `disk` is a directory as a journal's disk: `write_lock` tells two
//! writers apart, `preallocate` writes zeros ahead. `recover` opens a state directory, `verify` is the result of a verification, `hash_accel` hashes by the processor's instructions.
//!
//! ## At the bottom
//! `call` (how a caller waits, and where pieces of an answer go), `wire` (frames over a socket), `runtime` (the one runtime of a
//! process), `fork` (what a forked child may not use), `clock`, `random`, `fair_mutex`, `descriptors` (their limit),
//! `trusted_file` (who else could have written it), `temp_file` (written, then named).
//!
//! # Directions
//!
//! Imports: `daemon → connection → {driver, wire}`
//! Imports: `driver → effects → {net, fs, secrets} → config → trusted_file`
//! Imports: `driver → storage → {clock, descriptors, fair_mutex, fork, random}`
//! Imports: `effects → call → runtime → fork`
//! Imports: `daemon → {descriptors, random}`
//! Imports: `net → runtime`
//! Imports: `{fs, secrets} → temp_file`
//! Imports: `secrets → random`

mod call;
mod clock;
mod config;
mod connection;
mod daemon;
mod descriptors;
mod driver;
mod effects;
mod fair_mutex;
mod fork;
mod fs;
mod net;
mod random;
mod runtime;
mod secrets;
mod storage;
mod temp_file;
mod trusted_file;
mod wire;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub use call::{INTERRUPT_POLL_MS, OutcomeFuture, drive_interruptible};
pub use config::CONFIG_BYTES_MAX;
pub use config::options::Options;
pub use config::pattern::REDACT_BUFFER_BYTES_MAX;
pub use connection::policy_files::policy_request;
pub use connection::remote::HELLO_REPLY_TIMEOUT_MS;
pub use connection::{Connection, tool_files::tool_request};
pub use daemon::hello::{HELLO_TIMEOUT_MS, owner_token};
pub use daemon::limits::{RECEIVED_BYTES_MAX, SESSIONS_EFFECTS_MAX, SESSIONS_MAX, UNAUTHENTICATED_MAX};
pub use daemon::server::Server;
pub use daemon::session::{EFFECTS_MAX, REQUEST_TIMEOUT_MS, WRITE_TIMEOUT_MS};
pub use descriptors::raise_descriptor_limit;
pub use driver::Driver;
pub use driver::unsaved::SNAPSHOT_ENTRIES;
pub use effects::http::REDIRECTS_MAX;
pub use effects::infer::body::STREAM_IDLE_MS_MAX;
pub use effects::infer::call::{INFER_RETRIES_MAX, RETRY_WAIT_MS_MAX, STREAM_FRAMING_MAX};
pub use effects::infer::circuit::{CIRCUIT_FAILURES_MAX, CIRCUIT_OPEN_MS};
pub use effects::infer::completion::BYTES_PER_TOKEN;
pub use effects::infer::routes::INFER_TIMEOUT_MS;
pub use effects::infer::sse::EVENT_BYTES_MAX;
pub use effects::tools::TOOL_WALL_MS_MAX;
pub use fork::{PerProcess, ProcessIdentity};
pub use fs::protected::PROTECTED_ENTRIES_MAX;
pub use fs::target::{LIST_BYTES_MAX, LIST_ENTRIES_MAX};
pub use net::connection::{HEAD_BYTES_MAX, HEADERS_MAX};
pub use net::pool::IDLE_CONNECTIONS_MAX;
pub use net::{ADDRESSES_MAX, CONNECT_TIMEOUT_MS};
pub use runtime::{RUNTIME_THREADS_MAX, spawn};
pub use secrets::checkpoint_key::CHECKPOINT_KEY;
pub use secrets::redact::REDACTED;
pub use secrets::tokens::KEYS_FILE;
pub use secrets::value::SECRET_BYTES_MIN;
pub use storage::disk::FileDisk;
pub use storage::hash_accel::engine;
pub use storage::memory_log::MEMORY_LOG_BYTES_MAX;
pub use storage::recover::{
    JOURNAL_DIRECTORY, OWNER_RESERVE_BYTES, Progress, StoredJournal, VAULT_DIRECTORY, read_journal,
};
pub use storage::vault::VAULT_RESERVE_BYTES;
pub use temp_file::SWEPT_ENTRIES_MAX;

pub use tokio_util::sync::CancellationToken;
pub use {ak_json, ak_kernel};
