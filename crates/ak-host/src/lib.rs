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
//! | `commit` | group commit: one sync for all who wait |
//! | `attest` | verdicts on the log, checkpoints, proofs |
//! | `log`, `disk` | records, in memory or in a journal on disk |
//! | `vault` | the keys of bodies, and snapshots: what an erasure destroys |
//! | `recover` | from a state directory back to a kernel |
//! | `embedded`, `keyring`, `secret` | capability tokens: verified before a request goes in, made after the reply |
//! | `config` | the operator's own settings |
//! | `files`, `beneath`, `roots`, `protected` | file effects, beneath the granted root and away from the kernel's own files |
//! | `http`, `net`, `line` | HTTP calls, to permitted addresses, over connections |
//! | `infer`, `routes`, `circuit` | model calls: where they go, and whether |
//! | `answer`, `sse`, `responses`, `anthropic` | answers of models, in each server's format |
//! | `tools` | runs of tools, and what they ask for |
//! | `secrets`, `redact` | secrets, put where they belong and cut from what comes back |
//! | `server`, `client`, `wire` | the daemon's socket, both ends |

mod answer;
mod anthropic;
mod attest;
mod beneath;
mod choice;
mod circuit;
mod client;
mod clock;
mod commit;
mod config;
mod connection;
mod disk;
mod driver;
mod embedded;
mod engine;
mod files;
mod http;
mod infer;
mod keyring;
mod line;
mod log;
mod net;
mod protected;
mod recover;
mod redact;
mod responses;
mod roots;
mod routes;
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
mod usage;
mod vault;
mod wire;

pub use answer::BYTES_PER_TOKEN;
pub use attest::CHECKPOINT_KEY;
pub use circuit::{CIRCUIT_FAILURES_MAX, CIRCUIT_OPEN_MS};
pub use config::CONFIG_BYTES_MAX;
pub use connection::{Connection, Options, policy_request, tool_request};
pub use disk::FileDisk;
pub use driver::Driver;
pub use engine::engine;
pub use files::{LIST_BYTES_MAX, LIST_ENTRIES_MAX};
pub use http::REDIRECTS_MAX;
pub use infer::{INFER_RETRIES_MAX, RETRY_WAIT_MS_MAX, STREAM_FRAMING_MAX, STREAM_IDLE_MS_MAX};
pub use keyring::KEYS_FILE;
pub use log::MEMORY_LOG_BYTES_MAX;
pub use net::{ADDRESSES_MAX, CONNECT_TIMEOUT_MS, HEAD_BYTES_MAX, HEADERS_MAX};
pub use protected::PROTECTED_ENTRIES_MAX;
pub use recover::{JOURNAL_DIRECTORY, Progress, StoredJournal, VAULT_DIRECTORY, read_journal};
pub use redact::{HELD_BYTES_MAX, REDACTED};
pub use routes::{IDLE_CONNECTIONS_MAX, INFER_TIMEOUT_MS};
pub use secrets::SECRET_BYTES_MIN;
pub use server::{CONNECTIONS_MAX, EFFECTS_MAX, HELLO_TIMEOUT_MS, Server, WRITE_TIMEOUT_MS, owner_token};
pub use snapshots::SNAPSHOT_ENTRIES;
pub use tools::TOOL_WALL_MS_MAX;

pub use tokio_util::sync::CancellationToken;
pub use {ak_json, ak_kernel};
