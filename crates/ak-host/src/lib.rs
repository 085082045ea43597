//! Std drivers for the Authority Kernel: everything that touches the world, and nothing that decides.
//!
//! A [`Connection`] is a session with a kernel, embedded in this process or behind a daemon's socket. Around an embedded
//! kernel runs the [`Driver`]: it gives the kernel time and entropy, keeps its records, performs the effects that it
//! permits, and brings back how they ended. The Python module, the C library and the daemon all stand on it.
//!
//! ```
//! use ak_host::{Connection, Options};
//! use ak_host::ak_kernel::{Reply, Request, ak_heap::Content, ak_json::object};
//!
//! let kernel = Connection::open(&Options::default())?;
//! let content = Content::Json(object! { "value": 0 });
//! let reply = kernel.call(Request::Alloc { type_name: "counter".into(), content, subject: None })?;
//! assert!(matches!(reply, Reply::Handle(_)));
//! # Ok::<(), ak_host::ak_kernel::Failure>(())
//! ```
//!
//! | file | what it drives |
//! |---|---|
//! | `driver` | the run loop: persist → committed → perform → progress → complete |
//! | `call`, `asker`, `runtime` | who waits for a call and how; what an effect under way asks; the one runtime of a process |
//! | `fork` | what a forked child may not use of its parent's |
//! | `commit` | group commit: one sync for all who wait |
//! | `attest` | verdicts on the log, checkpoints, proofs |
//! | `log`, `disk` | records, in memory or in a journal on disk |
//! | `vault` | the keys of bodies, and snapshots: what an erasure destroys |
//! | `snapshots`, `scrub` | snapshots, and the rest of a journal that opening left unread: made and read beside the writer |
//! | `spare`, `descriptors`, `engine` | disk space prepared ahead, the limit on descriptors, hashing by instructions of the processor |
//! | `recover` | from a state directory back to a kernel |
//! | `embedded`, `keyring`, `secret`, `trust` | capability tokens: verified before a request goes in, made after the reply |
//! | `config` | the operator's own settings |
//! | `files`, `temp_file`, `keep`, `beneath`, `roots`, `protected`, `policy_files` | file effects, beneath the granted root and away from the kernel's own files |
//! | `http`, `net`, `line`, `head` | HTTP calls, to permitted addresses, over connections |
//! | `infer`, `routes`, `circuit` | model calls: where they go, and whether |
//! | `answer`, `sse`, `responses`, `anthropic` | answers of models, in each server's format |
//! | `tools` | runs of tools, and what they ask for |
//! | `secrets`, `redact`, `pieces` | secrets, put where they belong and cut from what comes back |
//! | `server`, `client`, `wire` | the daemon's socket, both ends |

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
mod hex;
mod net;
mod random;
mod runtime;
mod secrets;
mod storage;
mod temp_file;
mod trusted_file;
mod wire;

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
pub use effects::infer::circuit::{CIRCUIT_FAILURES_MAX, CIRCUIT_OPEN_MS};
pub use effects::infer::completion::BYTES_PER_TOKEN;
pub use effects::infer::routes::INFER_TIMEOUT_MS;
pub use effects::infer::sse::EVENT_BYTES_MAX;
pub use effects::infer::{INFER_RETRIES_MAX, RETRY_WAIT_MS_MAX, STREAM_FRAMING_MAX};
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
