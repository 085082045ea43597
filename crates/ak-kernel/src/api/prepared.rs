//! Results computed from an input before the kernel's lock is taken, so that other callers do not wait for them: a
//! parsed policy, a checked tool, the journal's form and digest of long data.
//!
//! They follow from the input alone, so the journal does not contain them: replay computes them again.

use alloc::{string::String, sync::Arc};

use ak_json::Value;
use ak_policy::{Policy, PolicyError};
use ak_sandbox::Tool;

use crate::api::{
    effect::Completion,
    reply::{Failure, Outcome, Reply},
};

/// Data of at least this many bytes is put into the journal's form in advance. Shorter data is converted under the
/// lock.
pub(crate) const LONG_BYTES: u64 = 32 << 10;

/// Results that were computed from a request in advance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) work: Option<Arc<Work>>,
    /// The arguments in the journal's form.
    pub(crate) args: Option<Value>,
    /// The body of an HTTP request in the form that rules see.
    pub(crate) http_body: Option<(Arc<[u8]>, Value)>,
    /// The result of the size check, if it was made.
    pub(crate) checked: Option<Result<(), Failure>>,
}

#[derive(Debug)]
pub(crate) enum Work {
    Policy(Result<Policy, PolicyError>),
    /// A checked tool, or the reason for which it is refused.
    Tool(Result<Tool, String>),
}

/// Prepared results follow from their request, so they never make two requests unequal.
impl PartialEq for Prepared {
    fn eq(&self, _: &Prepared) -> bool {
        true
    }
}

impl Prepared {
    pub(crate) const fn is_long(&self) -> bool {
        self.args.is_some()
    }

    /// The checked tool, if the request registers one.
    pub(crate) fn tool(&self) -> Option<Result<Tool, String>> {
        match self.work.as_deref() {
            Some(Work::Tool(tool)) => Some(tool.clone()),
            Some(Work::Policy(_)) | None => None,
        }
    }
}

/// A completion with the results that the host computed from it before it took the lock.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedCompletion {
    pub(crate) completion: Completion,
    forms: Forms,
}

/// Results that were computed from a completion in advance.
#[derive(Clone, Debug, Default)]
struct Forms {
    /// The completion in the journal's form.
    completion: Option<Value>,
    /// The wire form of the reply with the same bytes.
    reply: Option<Value>,
    /// The length of the journal's form, in bytes.
    bytes: Option<u64>,
}

/// As for [`Prepared`].
impl PartialEq for Forms {
    fn eq(&self, _: &Forms) -> bool {
        true
    }
}

impl From<Completion> for PreparedCompletion {
    fn from(completion: Completion) -> PreparedCompletion {
        PreparedCompletion { completion, forms: Forms::default() }
    }
}

impl PreparedCompletion {
    /// Computes in advance what follows from the completion alone, so that the kernel does less under its lock.
    #[must_use]
    pub fn prepared(self) -> PreparedCompletion {
        let is_long = |bytes: &[u8]| bytes.len() as u64 >= LONG_BYTES;
        let forms = match &self.completion {
            Completion::File(bytes) if is_long(bytes) => Forms {
                completion: Some(digested(self.completion.to_value())),
                reply: Some(digested(Reply::Bytes(bytes.clone()).to_value())),
                bytes: None,
            },
            Completion::Http(response) if is_long(&response.body) => {
                let response = digested(response.to_value());
                let completion = Completion::http_value(response.clone());
                Forms { completion: Some(digested(completion)), reply: Some(response), bytes: None }
            }
            // Computing the digest caches it in the value, and in each array and object in it.
            Completion::Value(value)
            | Completion::Inferred { response: value, .. }
            | Completion::Tool { output: value, .. } => {
                let _ = value.digest();
                Forms::default()
            }
            Completion::Done
            | Completion::File(_)
            | Completion::Http(_)
            | Completion::Failed { .. }
            | Completion::Unknown => Forms::default(),
        };
        let bytes = Some(self.completion.journal_bytes());
        PreparedCompletion { forms: Forms { bytes, ..forms }, ..self }
    }

    /// The length of the journal's form, in bytes.
    pub(crate) fn journal_bytes(&self) -> u64 {
        self.forms.bytes.unwrap_or_else(|| self.completion.journal_bytes())
    }

    pub(crate) const fn is_long(&self) -> bool {
        self.forms.completion.is_some()
    }

    /// The journal's form.
    pub(crate) fn to_value(&self) -> Value {
        self.forms.completion.clone().unwrap_or_else(|| self.completion.to_value())
    }

    /// The wire form of the reply in `outcome`, if it was computed in advance from the same data.
    pub(crate) fn reply(&self, outcome: &Outcome) -> Option<Value> {
        let is_same = match (&self.completion, outcome) {
            (Completion::File(bytes), Ok(Reply::Bytes(reply))) => Arc::ptr_eq(bytes, reply),
            (Completion::Http(response), Ok(Reply::Http(reply))) => {
                Arc::ptr_eq(&response.body, &reply.body)
                    && (response.status, &response.headers) == (reply.status, &reply.headers)
            }
            _ => false,
        };
        self.forms.reply.clone().filter(|_| is_same)
    }
}

/// Returns the value after its digest was computed and cached in it.
pub(crate) fn digested(value: Value) -> Value {
    let _ = value.digest();
    value
}
