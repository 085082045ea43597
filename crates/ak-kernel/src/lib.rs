#![no_std]
#![forbid(unsafe_code)]
//! The reference monitor: one deterministic state machine behind every effect of an agent.
//!
//! - **One gate.** A [`Request`] is turned into a [`Permit`] or a [`Denial`]; only a permit can act.
//! - **Record first.** Every input gives one [`Record`]; nothing leaves before the record is committed.
//! - **Pure.** Time and entropy come in with each input ([`Now`]); the same inputs give the same bytes, so a journal
//!   can be re-executed by a stranger ([`Replay`]).
//!
//! The road of a request by folders: `kernel` hears it and asks its family in `operations` what the policy is to judge; `authz`
//! decides and sets the costs aside in `accounts`; the family answers it, or starts an effect, which waits in `effects`; `record`
//! makes the entry; [`Kernel::poll_output`] gives the [`Output::Reply`] or [`Output::Perform`]. Of an effect come [`Step`]s and a
//! [`Completion`], on which the family decides again.
//!
//! ```
//! use ak_heap::Content;
//! use ak_json::object;
//! use ak_kernel::{Config, Kernel, Now, Output, HeapRequest, Request, SessionId, Time};
//!
//! let now = Now::steady(Time::from_micros(1_700_000_000_000_000), [7; 32]);
//! let mut kernel = Kernel::new(now, Config::default());
//! let content = Content::Json(object! { "value": 0 });
//! kernel.dispatch(now, SessionId::OWNER, Request::Heap(HeapRequest::Alloc { type_name: "counter".into(), content, subject: None }))?;
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
//! # Folders
//!
//! Imports: `replay → kernel → operations → state → {authz, effects, tools, heap} → {models, accounts} → record → codec → api`
//!
//! ## `api`
//! Types alone, and their JSON form: `request` (a file for each family), `operation` (the one table), `kernel_rule` (ids of what no policy decides), `reply`, `code` (the list of
//! error codes), `effect` (what the host performs and brings back), `http_hop`, `tool_request`, `presented` (a request with who
//! asks by which capability), `prepared` (what is worked out before the kernel's lock), `capability_spec`, `audit_filter`, `config`,
//! `fields` (the reader of JSON objects), `policy_files`, `price`, `usage`, `session`, `subject`, `throttled`, `time`.
//!
//! ## `codec`
//! Bytes: `input` (inputs as the journal keeps them), `frame` (frames of the wire).
//!
//! ## `record`
//! What each input leaves: `entry` (the record and its leaf), `subjects` (whom it is about), `view` and `history` (what can be
//! queried), `recorded` (what an earlier version decided), `shared` (collections whose copies share).
//!
//! ## `accounts`
//! `agents` with their budgets, `capabilities`, `sessions`, `tool_permissions`.
//!
//! ## `models`
//! What the content of a request to a model decides: `tokens`, `provider_actions`.
//!
//! ## `authz`
//! `gate` (the one), `query` (what the policy is asked), `admission` (how often somebody is heard).
//!
//! ## `effects`
//! Effects that have started: `pending`, and their form in a snapshot, `state`.
//!
//! ## `tools`
//! `registry`, and `run`, one run of a tool.
//!
//! ## `heap`
//! `types`, the registered types of heap objects. The heap itself is `ak-heap`.
//!
//! ## `state`
//! The kernel's state, who asks, and how an input is recorded.
//!
//! ## `operations`
//! A module for each family of operations, behind one signature: `heap`, `file`, `http`, `infer`, `tools`, `agent`, `audit`,
//! `admin`; and for all of them `prepared` and `details`, the readable keys of an entry.
//!
//! ## `kernel`
//! The inputs: requests, `effects` (steps and ends), `host_call` (what a running tool asks for); `admission` and `record_size` bound
//! them.
//!
//! ## `replay`
//! A journal again: `reexecute` (with `rerun` of tools), `verify`, `snapshot`, `export`, `upgrade` from an earlier version.
//!
//! This crate knows nothing of files, sockets, clocks, threads or Python.

extern crate alloc;

mod accounts;
mod api;
mod authz;
mod codec;
mod effects;
mod heap;
mod kernel;
mod models;
mod operations;
mod record;
mod replay;
mod state;
mod tools;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub use api::{
    audit_filter::{AuditFilter, QUERY_LIMIT, QUERY_LIMIT_MAX},
    capability_spec::{CapabilitySpec, METHODS_MAX, RESOURCE_BYTES_MAX},
    code::{Code, ErrorClass},
    config::Config,
    effect::{Completion, Effect, FileAction, LogWork, Spent, Step, StepAnswer, Ticket, erasure_outcome},
    fields::FieldError,
    http_hop::HttpHop,
    operation::{AllowedCaller, Operation},
    policy_files::{POLICY_FILES_MAX, PolicyFile, PolicyFiles},
    prepared::PreparedCompletion,
    presented::{AuthenticatedRequest, PresentedCapability},
    price::{Media, Price, Rates},
    reply::{
        CapabilityUse, Denial, Failure, HttpResponse, Outcome, Reply, outcome_from_value, outcome_to_value,
    },
    request::{
        AdminRequest, AgentRequest, AuditRequest, BatchPart, FILE_BYTES_MAX, FileRequest, GLOB_LIMIT,
        GLOB_LIMIT_MAX, HTTP_HEADERS_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_TIMEOUT_MS, HeapRequest, HttpRequest,
        InferRequest, RESPONSE_BYTES_MAX, Request, ToolsRequest,
    },
    session::{AGENT_NAME_BYTES_MAX, AgentId, GUEST, MAIN, SessionId},
    subject::SubjectId,
    time::{CLOCK_STEP_US_MAX, Now, Time},
    tool_request::{RANDOM_BYTES_MAX, ToolRequest},
    usage::{Usage, token_count},
};
pub use authz::{admission::THROTTLED_INTERVAL_MS, gate::Permit};
pub use codec::{frame, input::FORMAT_VERSION};
pub use kernel::{host_call::HOST_CALLS_MAX, record_size::OUTCOME_BYTES_MAX};
pub use models::tokens::{
    AUDIO_SECOND_TOKENS, COMPLETION_TOKENS, IMAGE_TOKENS, OUTGOING_LIMITS, prompt_estimate,
};
pub use operations::{
    file::{FILE_STEPS_BYTES_MAX, LISTING_BYTES_MAX},
    heap::search::PAGE_BYTES_MAX,
    http::{ADDRESSES_MAX, HTTP_STEPS_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX},
    infer::INFERENCE_STEPS_BYTES_MAX,
    tools::TOOLS_NESTED_MAX,
};
pub use record::{
    entry::{EARLIER_VERSIONS, Record, SEMANTICS_VERSION},
    subjects::SUBJECT_BYTES_MAX,
};
pub use replay::{
    export,
    reexecute::{Replay, ReplayError, ReplayedEntry, ToolReplay},
    snapshot::{RestoreError, StateImage},
    verify::{EntryStatus, LogVerifier, StoredBody},
};
pub use state::{CallId, Kernel, Output};
pub use tools::{
    registry::ENV_BYTES_MAX,
    run::{TOOL_LOG_BYTES_MAX, ToolRun, ToolStep},
};

/// The leaves, for those who drive a kernel.
pub use {ak_audit, ak_heap, ak_json, ak_policy, ak_sandbox};
