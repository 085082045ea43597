//! The query that a request puts to the policy: action, canonical target, arguments.

use alloc::{borrow::Cow, string::String};

use ak_heap::Handle;
use ak_json::{Text, Value};
use ak_policy::{Action, Policy, Target};

use crate::api::{prepared::Prepared, reply::Failure, request::Request};

/// A query to the policy about one request.
#[derive(Clone, Debug)]
pub(crate) struct PolicyQuery {
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) args: Option<Value>,
    /// Whether the object of the action belongs to the caller. An object that does not exist counts as another
    /// agent's.
    pub(crate) owned: bool,
}

/// Why a request has no target that the policy could decide on. Such a request is refused.
#[derive(Clone, Debug)]
pub(crate) struct InvalidTarget {
    pub(crate) op: Cow<'static, str>,
    pub(crate) target: Text,
    /// What of the request is wrong, and how.
    pub(crate) reason: String,
}

/// The type name that stands for all types in a query.
pub(crate) const ANY_TYPE: &str = "*";

/// The caller's agent, and what was computed from the request in advance.
pub(crate) struct QueryContext<'q> {
    pub(crate) agent: &'q Text,
    pub(crate) policy: &'q Policy,
    pub(crate) prepared: &'q Prepared,
    /// Whether an object belongs to the caller.
    pub(crate) owns: &'q dyn Fn(Handle) -> bool,
}

/// A part of a request that the gate decides on as a request of its own.
pub(crate) struct JudgedPart {
    /// Its index in a batch, which a refusal names.
    pub(crate) index: Option<usize>,
    pub(crate) request: Result<Request, Failure>,
    /// Whether it is about an object that the same request creates, which counts as the caller's own.
    pub(crate) creates_target: bool,
}
