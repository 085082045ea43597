#![no_std]
#![forbid(unsafe_code)]
//! The reference monitor: one deterministic state machine behind every effect of an agent.
//!
//! - **One gate.** A [`Request`] is turned into a [`Permit`] or a [`Denial`]; only a permit can act.
//! - **Record first.** Every input gives one [`Record`]; nothing leaves before the record is committed.
//! - **Pure.** Time and entropy come in with each input ([`Now`]); the same inputs give the same bytes, so a journal
//!   can be re-executed by a stranger ([`Replay`]).
//!
//! The road of a request: [`Request`] → `question` (canonical target) → `gate` (policy, budget) → `exec` or `answer`
//! → `record` → [`Output::Reply`], or [`Output::Perform`] → [`Step`]s and [`Completion`] → `settle` → `record` → reply.
//!
//! ```
//! use ak_heap::Content;
//! use ak_json::object;
//! use ak_kernel::{Config, Kernel, Now, Output, Request, SessionId, Time};
//!
//! let now = Now::steady(Time::from_micros(1_700_000_000_000_000), [7; 32]);
//! let mut kernel = Kernel::new(now, Config::default());
//! let content = Content::Json(object! { "value": 0 });
//! kernel.dispatch(now, SessionId::OWNER, Request::Alloc { type_name: "counter".into(), content, subject: None })?;
//!
//! // The driver's loop: keep the records, say so, take what they release.
//! while let Some(record) = kernel.poll_record() {
//!     kernel.committed(record.seq);
//! }
//! let Some(Output::Reply(_, outcome)) = kernel.poll_output() else { panic!("there is a reply") };
//! assert!(outcome.is_ok());
//! # Ok::<(), ak_kernel::Failure>(())
//! ```
//!
//! This crate knows nothing of files, sockets, clocks, threads or Python.

extern crate alloc;

mod admission;
mod agents;
mod answer;
mod batch;
mod capability;
mod code;
mod config;
mod describe;
mod effect;
mod erase;
mod examine;
mod exec;
mod fields;
mod foresee;
mod form;
mod gate;
mod grants;
mod history;
mod host_call;
mod http_hop;
mod inference;
mod kernel;
mod needs;
mod objects;
mod operation;
mod policy_files;
mod prepared;
mod presented;
mod price;
mod provider;
mod question;
mod record;
mod replay;
mod reply;
mod request;
mod rerun;
mod room;
mod search;
mod session;
mod settle;
mod shared;
mod snapshot;
pub mod stream;
mod subject;
mod terms;
mod time;
mod tool_request;
mod tool_run;
mod toolbox;
mod types;
mod under_way;
mod upgrade;
mod usage;
mod view;
pub mod wire;

pub use admission::THROTTLED_INTERVAL_MS;
pub use agents::{AGENT_NAME_BYTES_MAX, GUEST, MAIN};
pub use batch::Part;
pub use code::{Class, Code};
pub use config::Config;
pub use effect::{Completion, Effect, FileAction, HOPS_SENT, LogWork, Step, Ticket, Verdict, erased};
pub use examine::{Examination, Kept, Standing};
pub use fields::FieldError;
pub use gate::Permit;
pub use history::{Filter, QUERY_LIMIT, QUERY_LIMIT_MAX};
pub use host_call::{HOST_CALLS_MAX, TOOLS_NESTED_MAX};
pub use http_hop::HttpHop;
pub use inference::{AUDIO_SECOND_TOKENS, COMPLETION_TOKENS, IMAGE_TOKENS, prompt_estimate};
pub use kernel::{CallId, Kernel, Output};
pub use operation::{Operation, Who};
pub use policy_files::{POLICY_FILES_MAX, PolicyFile, PolicyFiles};
pub use prepared::Ended;
pub use presented::{Asked, Presented};
pub use price::{Media, Price, Rates};
pub use record::{EARLIER_VERSIONS, FORMAT_VERSION, Record, SEMANTICS_VERSION};
pub use replay::{Followed, Replay, ReplayError, Tools};
pub use reply::{Denial, Failure, HttpResponse, Outcome, Reply, outcome_from_value, outcome_to_value};
pub use request::{
    FILE_BYTES_MAX, HTTP_HEADERS_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_TIMEOUT_MS, HttpRequest,
    RESPONSE_BYTES_MAX, Request, SUBJECT_BYTES_MAX,
};
pub use room::{
    ADDRESSES_MAX, FILE_STEPS_BYTES_MAX, HTTP_STEPS_BYTES_MAX, INFERENCE_STEPS_BYTES_MAX, LISTING_BYTES_MAX,
    OUTCOME_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX,
};
pub use search::PAGE_BYTES_MAX;
pub use session::{AgentId, SessionId};
pub use snapshot::{RestoreError, StateImage};
pub use subject::SubjectId;
pub use terms::{METHODS_MAX, RESOURCE_BYTES_MAX, Terms};
pub use time::{CLOCK_STEP_US_MAX, Now, Time};
pub use tool_request::{RANDOM_BYTES_MAX, ToolRequest};
pub use tool_run::{TOOL_LOG_BYTES_MAX, ToolRun, ToolStep};
pub use toolbox::ENV_BYTES_MAX;
pub use usage::{Usage, token_count};

/// The leaves, for those who drive a kernel.
pub use {ak_audit, ak_heap, ak_json, ak_policy, ak_sandbox};
