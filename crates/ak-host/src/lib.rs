//! Drivers of the Authority Kernel on `std`: this crate performs all input and output, and decides on no request.
//!
//! A [`Connection`] is a session with a kernel that is embedded in this process or served by a daemon over a Unix
//! socket. The [`Driver`] runs an embedded kernel: it gives the kernel time and entropy, writes its records, performs
//! the effects that the kernel permits, and reports their outcomes to it. The Python module, the C library and the
//! daemon are built on [`Connection`].
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
//! A request passes through these folders from top to bottom: a connection accepts it, the driver dispatches it to the
//! kernel and commits its records, and `effects` or `fs` performs its effect.
//!
//! ## `daemon`: one kernel offered on a Unix socket
//! `server` accepts connections. `hello` authenticates each connection, and `session` serves its requests. `limits`
//! bounds the sessions, effects and memory of every session but the owner's.
//!
//! ## `connection`: one session with a kernel, embedded or behind a socket
//! `embedded` is a kernel in this process, `remote` a kernel behind a socket. `policy_files` reads a policy with the
//! files that it includes; `tool_files` reads the schemas that a tool's manifest refers to.
//!
//! ## `driver`: the run loop around one kernel
//! `dispatched` follows one request from its dispatch to its outcome. `group_commit` makes records durable with one
//! sync for all waiting callers; `commit_state` is the kernel under its lock with the log space promised to callers,
//! and `stop_signal` reports that the kernel stopped. `perform` performs effects, each with a `context`; `host_calls`
//! serves running tools; `log_work` verifies the log and proves entries. `snapshots` and `scrub` work beside the
//! writer: `unsaved` measures when a snapshot is due, and `scrub` reads the segments that opening left unread.
//!
//! ## `effects`: performs the effects that the kernel permits
//! `context` connects a running effect to the kernel and the caller. `http` performs HTTP calls, `tools` runs tools.
//! `infer` calls models: `routes` maps models to servers, and `circuit` suspends servers that fail; `call` is one call,
//! `outgoing` its request, `body` reads the response, `sse` splits a stream into events. `formats` translates to and
//! from each server's format: `responses` and `anthropic`, each with its `request`, and the servers' `usage` and
//! `error` reports. `delta` redacts the pieces of a stream, `merge` joins them, and `completion` is the complete answer
//! with its cost; `reasoning` knows which models may reason; `error` says why a call gave no answer.
//!
//! ## `fs`: files beneath granted roots
//! `target` is the file that an effect acts on. `resolve` opens paths, `links` resolves symbolic links for a permit
//! that follows them, `roots` are the directories that a policy grants. `glob` finds files by a pattern. `protected`
//! keeps every agent away from the kernel's own files. `preserve` copies owner, mode and attributes to a file's
//! replacement; `sweep` removes temporary files of killed processes; `error` says why an effect failed.
//!
//! ## `net`: the network as the operator configured it
//! `connection` is one HTTP/1.1 connection, `head_limit` bounds the length of its response heads, `pool` keeps idle
//! connections, and `error` says why a request got no response.
//!
//! ## `secrets`: secrets and the keys of the kernel
//! `value` is one secret. `store` inserts secrets into requests, `redact` removes them from completions, and
//! `redact_stream` removes them from a stream piece by piece. `key_file` reads and creates key files: `tokens` (keys of
//! capability tokens) and `checkpoint_key`.
//!
//! ## `config`: the operator's settings
//! `options` say how to reach or create a kernel. `tables` are the tables of the host configuration file, with `source`
//! (the source of a secret, and URLs), `pattern` and `price`.
//!
//! ## `storage`: records, keys and snapshots
//! `log` stores records, as a `memory_log` or a `durable_log`; `log_reader` reads them. `vault` holds the data that an
//! erasure destroys: keys, each in a `key_slot`, and `vault_snapshots`, each in a `snapshot_file`. `disk` is a
//! directory as a journal's disk: `write_lock` excludes a second writer, and `preallocate` writes zeros ahead.
//! `recover` opens a state directory, `verify` is the result of a verification, and `hash_accel` computes hashes with
//! the processor's instructions.
//!
//! ## At the bottom
//! `call` (how a caller waits, and where pieces of an answer go), `wire` (frames over a socket), `runtime` (the one
//! runtime of a process), `fork` (which values a forked child must not use), `clock`, `entropy` (of the inputs), `random`, `fair_mutex`,
//! `descriptors` (the limit on file descriptors), `trusted_file` (reads files that untrusted users cannot have
//! written), `temp_file` (files that are written first and named afterwards).
//!
//! # Directions
//!
//! Imports: `daemon → connection → {driver, wire}`
//! Imports: `driver → effects → {net, fs, secrets} → config → trusted_file`
//! Imports: `driver → storage → {clock, descriptors, fair_mutex, random}`
//! Imports: `effects → call → runtime → fork`
//! Imports: `daemon → {descriptors, random}`
//! Imports: `net → runtime`
//! Imports: `{fs, secrets} → temp_file`
//! Imports: `secrets → random`
//! Imports: `clock → entropy → fork`

mod call;
mod clock;
mod config;
mod connection;
mod daemon;
mod descriptors;
mod driver;
mod effects;
mod entropy;
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
pub use connection::policy_files::{PolicyReport, policy_request};
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
