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
//! | `embedded`, `keyring`, `secret` | capability tokens: verified before a request goes in, made after the reply |
//! | `files` | file effects, beneath the granted root |
//! | `http`, `infer` | HTTP and model calls |
//! | `server`, `client`, `wire` | the daemon's socket, both ends |

mod attest;
mod client;
mod clock;
mod commit;
mod connection;
mod disk;
mod driver;
mod embedded;
mod engine;
mod files;
mod http;
mod infer;
mod keyring;
mod log;
mod secret;
mod server;
mod spare;
mod wire;

pub use attest::CHECKPOINT_KEY;
pub use connection::{Connection, Options, policy_request};
pub use disk::FileDisk;
pub use driver::Driver;
pub use engine::engine;
pub use files::LIST_ENTRIES_MAX;
pub use http::{CONNECT_TIMEOUT_MS, REDIRECTS_MAX};
pub use infer::BYTES_PER_TOKEN;
pub use keyring::KEYS_FILE;
pub use log::{JOURNAL_DIRECTORY, MEMORY_LOG_BYTES_MAX, read_journal};
pub use server::{CONNECTIONS_MAX, EFFECTS_MAX, GUEST, Server, owner_token};

pub use {ak_json, ak_kernel};
