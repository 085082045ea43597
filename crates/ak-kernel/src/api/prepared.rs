//! What of an input can be worked out before it reaches the kernel, and so without keeping others waiting: a policy is
//! parsed, a tool is checked, long data is put into the journal's form and digested.
//!
//! It follows from the input alone and is made from it here, so it is in no journal: whoever executes that again works it
//! out then.

use alloc::{string::String, sync::Arc};

use ak_json::Value;
use ak_policy::{Policy, PolicyError};
use ak_sandbox::Tool;

use crate::api::{
    effect::Completion,
    reply::{Failure, Outcome, Reply},
};

/// Data of so many bytes is put into the journal's form beforehand. What is shorter is so at once.
pub(crate) const LONG_BYTES: u64 = 32 << 10;

/// What was worked out of a request, if anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) work: Option<Arc<Work>>,
    /// The journal's form of its arguments.
    pub(crate) args: Option<Value>,
    /// The body of an HTTP request, as rules see it.
    pub(crate) http_body: Option<(Arc<[u8]>, Value)>,
    /// The result of [`Request::check_form`], where that was called.
    pub(crate) checked: Option<Result<(), Failure>>,
}

#[derive(Debug)]
pub(crate) enum Work {
    Policy(Result<Policy, PolicyError>),
    /// Or why the tool is refused.
    Tool(Result<Tool, String>),
}

/// Two that were made from the same request are the same, whether there was time for it or not.
impl PartialEq for Prepared {
    fn eq(&self, _: &Prepared) -> bool {
        true
    }
}

impl Prepared {
    pub(crate) const fn is_long(&self) -> bool {
        self.args.is_some()
    }

    /// The tool of a request to register one.
    pub(crate) fn tool(&self) -> Option<Result<Tool, String>> {
        match self.work.as_deref() {
            Some(Work::Tool(tool)) => Some(tool.clone()),
            Some(Work::Policy(_)) | None => None,
        }
    }
}

/// How an effect ended, as a host says it to the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedCompletion {
    pub(crate) completion: Completion,
    forms: Forms,
}

/// What was worked out of a completion, if anything.
#[derive(Clone, Debug, Default)]
struct Forms {
    /// The journal's form of it.
    completion: Option<Value>,
    /// The wire form of the reply that brings back the same bytes.
    reply: Option<Value>,
    /// How long the journal's form is.
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
    /// The same with what can be worked out of it beforehand: the kernel, which others wait for, then has less to do.
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
            // A digest is kept with the value, and with each list and object in it.
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

    /// How long the journal's form is, in bytes.
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

    /// The wire form of the reply in an outcome that this led to, where it was worked out.
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

/// The value, whose digest is known from then on.
pub(crate) fn digested(value: Value) -> Value {
    let _ = value.digest();
    value
}
