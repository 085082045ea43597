//! What the policy is asked: action, canonical target, arguments.

use alloc::{borrow::Cow, string::String};

use ak_heap::Handle;
use ak_json::{Text, Value};
use ak_policy::{Action, Policy, Target};

use crate::api::{prepared::Prepared, reply::Failure, request::Request};

/// What the policy decides on.
#[derive(Clone, Debug)]
pub(crate) struct PolicyQuery {
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) args: Option<Value>,
    /// Whether what it is done to belongs to whoever asks. An object that is not there counts as somebody else's.
    pub(crate) owned: bool,
}

/// Why a request has nothing the policy could decide on: it is refused.
#[derive(Clone, Debug)]
pub(crate) struct InvalidTarget {
    pub(crate) op: Cow<'static, str>,
    pub(crate) target: Text,
    /// What of the request is wrong, and how.
    pub(crate) reason: String,
}

/// The type that stands in a question to the policy for all of them.
pub(crate) const ANY_TYPE: &str = "*";

/// Who asks the policy, and what is known of the request beforehand.
pub(crate) struct QueryContext<'q> {
    pub(crate) agent: &'q Text,
    pub(crate) policy: &'q Policy,
    pub(crate) prepared: &'q Prepared,
    /// Whether an object belongs to whoever asks.
    pub(crate) owns: &'q dyn Fn(Handle) -> bool,
}

/// A part of a request that the gate decides on as if it came alone.
pub(crate) struct JudgedPart {
    /// Its place in a batch, which a refusal names.
    pub(crate) index: Option<usize>,
    pub(crate) request: Result<Request, Failure>,
    /// Whether it is about an object that the same request creates, and so is one's own.
    pub(crate) creates_target: bool,
}
