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
//! | `files`, `draft`, `keep`, `beneath`, `roots`, `protected`, `policy_files` | file effects, beneath the granted root and away from the kernel's own files |
//! | `http`, `net`, `line`, `head` | HTTP calls, to permitted addresses, over connections |
//! | `infer`, `routes`, `circuit` | model calls: where they go, and whether |
//! | `answer`, `sse`, `responses`, `anthropic` | answers of models, in each server's format |
//! | `tools` | runs of tools, and what they ask for |
//! | `secrets`, `redact`, `pieces` | secrets, put where they belong and cut from what comes back |
//! | `server`, `client`, `wire` | the daemon's socket, both ends |

mod answer;
mod anthropic;
mod asker;
mod attest;
mod beneath;
mod call;
mod choice;
mod circuit;
mod client;
mod clock;
mod commit;
mod config;
mod connection;
mod descriptors;
mod disk;
mod draft;
mod driver;
mod embedded;
mod engine;
mod files;
mod fork;
mod head;
mod http;
mod infer;
mod keep;
mod keyring;
mod line;
mod log;
mod net;
mod pieces;
mod policy_files;
mod protected;
mod recover;
mod redact;
mod responses;
mod roots;
mod routes;
mod runtime;
mod scrub;
mod secret;
mod secrets;
mod server;
mod snapshots;
mod spare;
mod sse;
mod stream;
mod thinking;
mod tools;
mod trust;
mod usage;
mod vault;
mod wire;

pub use answer::BYTES_PER_TOKEN;
pub use attest::CHECKPOINT_KEY;
pub use call::{Answer, HEED_MS, heeding};
pub use circuit::{CIRCUIT_FAILURES_MAX, CIRCUIT_OPEN_MS};
pub use client::GREETING_MS_MAX;
pub use config::CONFIG_BYTES_MAX;
pub use connection::{Connection, Options, tool_request};
pub use descriptors::raise_descriptor_limit;
pub use disk::FileDisk;
pub use draft::SWEPT_ENTRIES_MAX;
pub use driver::Driver;
pub use engine::engine;
pub use files::{LIST_BYTES_MAX, LIST_ENTRIES_MAX};
pub use fork::{Origin, PerProcess};
pub use http::REDIRECTS_MAX;
pub use infer::{INFER_RETRIES_MAX, RETRY_WAIT_MS_MAX, STREAM_FRAMING_MAX, STREAM_IDLE_MS_MAX};
pub use keyring::KEYS_FILE;
pub use log::MEMORY_LOG_BYTES_MAX;
pub use net::{ADDRESSES_MAX, CONNECT_TIMEOUT_MS, HEAD_BYTES_MAX, HEADERS_MAX};
pub use policy_files::policy_request;
pub use protected::PROTECTED_ENTRIES_MAX;
pub use recover::{
    JOURNAL_DIRECTORY, OWNER_RESERVE_BYTES, Progress, StoredJournal, VAULT_DIRECTORY, read_journal,
};
pub use redact::{HELD_BYTES_MAX, REDACTED};
pub use routes::{IDLE_CONNECTIONS_MAX, INFER_TIMEOUT_MS};
pub use runtime::{RUNTIME_THREADS_MAX, spawn};
pub use secrets::SECRET_BYTES_MIN;
pub use server::{
    EFFECTS_MAX, HELLO_TIMEOUT_MS, RECEIVED_BYTES_MAX, REQUEST_TIMEOUT_MS, SESSIONS_EFFECTS_MAX,
    SESSIONS_MAX, STRANGERS_MAX, Server, WRITE_TIMEOUT_MS, owner_token,
};
pub use snapshots::SNAPSHOT_ENTRIES;
pub use sse::EVENT_BYTES_MAX;
pub use tools::TOOL_WALL_MS_MAX;
pub use vault::VAULT_RESERVE_BYTES;

pub use tokio_util::sync::CancellationToken;
pub use {ak_json, ak_kernel};
