//! What of an input can be worked out before it reaches the kernel, and so without keeping others waiting: a policy is
//! parsed, a tool is checked, long data is put into the journal's form and digested.
//!
//! It follows from the input alone and is made from it here, so it is in no journal: whoever executes that again works it
//! out then.

use alloc::{string::String, sync::Arc};

use ak_json::Value;
use ak_policy::{Policy, PolicyError};
use ak_sandbox::Tool;

use crate::{
    effect::Completion,
    policy_files::PolicyFiles,
    question::body_value,
    reply::{Failure, Outcome, Reply},
    request::Request,
    toolbox,
};

/// Data of so many bytes is put into the journal's form beforehand. What is shorter is so at once.
const LONG_BYTES: u64 = 32 << 10;

/// What was worked out of a request, if anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    work: Option<Arc<Work>>,
    /// The journal's form of its arguments.
    args: Option<Value>,
    /// The body of an HTTP request, as rules see it.
    http_body: Option<(Arc<[u8]>, Value)>,
    /// Why it is not heard, if it was looked at.
    heard: Option<Result<(), Failure>>,
}

#[derive(Debug)]
enum Work {
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
    pub(crate) fn of(request: &Request) -> Prepared {
        let heard = request.check_size();
        if heard.is_err() {
            return Prepared { heard: Some(heard), ..Prepared::default() };
        }
        let work = match request {
            Request::PolicyLoad { text, base_dir, files } => {
                let policy = files.parse(text, base_dir.as_deref());
                Some(Work::Policy(policy.inspect(|policy| {
                    // It is kept from then on.
                    let _ = policy.digest();
                })))
            }
            Request::ToolRegister { manifest, module, .. } => {
                Some(Work::Tool(toolbox::checked(manifest, module.clone())))
            }
            _ => None,
        };
        let is_long = request.size() >= LONG_BYTES;
        let args = is_long.then(|| digested(request.args()));
        let http_body = match request {
            Request::Http(http) if is_long => http.body.clone().map(|body| (body.clone(), body_value(&body))),
            _ => None,
        };
        Prepared { work: work.map(Arc::new), args, http_body, heard: Some(heard) }
    }

    /// Whether the request, which it was made from, is short enough to be heard.
    pub(crate) fn check_size(&self, request: &Request) -> Result<(), Failure> {
        self.heard.clone().unwrap_or_else(|| request.check_size())
    }

    /// A body as rules see it: worked out beforehand where it is the one of the request that this was made from.
    pub(crate) fn http_body(&self, body: &Arc<[u8]>) -> Value {
        let known = self.http_body.as_ref().filter(|(known, _)| Arc::ptr_eq(known, body));
        known.map_or_else(|| body_value(body), |(_, value)| value.clone())
    }

    pub(crate) const fn is_long(&self) -> bool {
        self.args.is_some()
    }

    /// The journal's form of the arguments of `request`, which it was made from.
    pub(crate) fn args(&self, request: &Request) -> Value {
        self.args.clone().unwrap_or_else(|| request.args())
    }

    /// The policy of a request to load one.
    pub(crate) fn policy(
        &self,
        text: &str,
        base_dir: Option<&str>,
        files: &PolicyFiles,
    ) -> Result<Policy, PolicyError> {
        match self.work.as_deref() {
            Some(Work::Policy(policy)) => policy.clone(),
            Some(Work::Tool(_)) | None => files.parse(text, base_dir),
        }
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
pub struct Ended {
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

impl From<Completion> for Ended {
    fn from(completion: Completion) -> Ended {
        Ended { completion, forms: Forms::default() }
    }
}

impl Ended {
    /// The same with what can be worked out of it beforehand: the kernel, which others wait for, then has less to do.
    #[must_use]
    pub fn prepared(self) -> Ended {
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
        Ended { forms: Forms { bytes, ..forms }, ..self }
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
fn digested(value: Value) -> Value {
    let _ = value.digest();
    value
}
