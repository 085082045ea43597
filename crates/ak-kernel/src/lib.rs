#![no_std]
#![forbid(unsafe_code)]
//! The reference monitor: one deterministic state machine that decides on every effect of an agent.
//!
//! - **One gate.** The gate turns a [`Request`] into a [`Permit`] or a [`Denial`]; every effect needs a permit.
//! - **Record first.** Every input makes one [`Record`]; no output leaves the kernel before its record is
//!   committed.
//! - **Pure.** The host passes time and entropy in with each input ([`Now`]); the same inputs give the same bytes,
//!   so anybody can re-execute a journal ([`Replay`]).
//!
//! The path of a request through the folders: `kernel` admits it and asks its family in `operations` for the policy
//! query; `authz` decides and reserves the costs in `accounts`; the family answers the request or starts an effect,
//! which stays in `effects` until it ends; `record` makes the entry; [`Kernel::poll_output`] returns the
//! [`Output::Reply`] or [`Output::Perform`]. While the host performs an effect it sends [`Step`]s, and at the end a
//! [`Completion`]; the family decides on each of them.
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
//! // The driver's loop: store each record, confirm it, take the outputs that this releases.
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
//! Types without logic, and their JSON form: `request` (a file for each family), `operation` (the table of
//! operations), `kernel_rule` (ids for decisions that no policy makes), `reply`, `code` (the table of error codes),
//! `effect` (what the host performs and reports), `http_hop`, `tool_request`, `presented` (a request with the
//! capability that its session presents), `prepared` (results computed before the kernel's lock is taken),
//! `capability_spec`, `audit_filter`, `config`, `fields` (the reader of JSON objects), `policy_files`, `price`,
//! `usage`, `session`, `subject`, `throttled`, `time`.
//!
//! ## `codec`
//! Byte formats: `input` (inputs as the journal stores them), `frame` (frames of the wire protocol).
//!
//! ## `record`
//! The record of each input: `entry` (the record and its leaf), `subjects` (the subjects of a record), `view` and
//! `history` (entries that queries read), `recorded` (decisions of an earlier version), `shared` (collections whose
//! clones share memory).
//!
//! ## `accounts`
//! Agents' accounts: `agents` (with their budgets), `capabilities`, `sessions`, `tool_permissions`.
//!
//! ## `models`
//! Rules on the content of a request to a model: `tokens` (limits, estimates, charges), `provider_actions`.
//!
//! ## `authz`
//! `gate` (the only place that permits a request), `query` (the policy query), `admission` (rates per agent).
//!
//! ## `effects`
//! Effects that have started: `pending` (in memory), `state` (in a snapshot).
//!
//! ## `tools`
//! `registry` (the registered tools), `run` (one run of a tool).
//!
//! ## `heap`
//! `types`: the registered types of heap objects. The heap itself is `ak-heap`.
//!
//! ## `state`
//! The kernel's state, the caller of a request, and how an input is recorded.
//!
//! ## `operations`
//! A module for each family of operations, all with one signature: `heap`, `file`, `http`, `infer`, `tools`,
//! `agent`, `audit`, `admin`. Shared by all of them: `prepared` and `details` (the readable keys of an entry).
//!
//! ## `kernel`
//! The inputs: requests, `effects` (steps and completions), `host_call` (requests of a running tool); `admission`
//! and `record_size` bound them.
//!
//! ## `replay`
//! Executes a journal again: `reexecute` (with `rerun` for tools), `verify`, `snapshot`, `export`, `upgrade` (from
//! an earlier version).
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

/// The crates whose types appear in this interface, for hosts that drive a kernel.
pub use {ak_audit, ak_heap, ak_json, ak_policy, ak_sandbox};
