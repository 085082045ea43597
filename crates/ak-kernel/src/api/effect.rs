//! Effects that the host performs, and what it reports about them.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::net::IpAddr;

use ak_json::{Object, Text, Value, object};
use ak_policy::CanonicalPath;
use ak_sandbox::{RunLimits, Tool};

use crate::api::{
    code::Code,
    fields::{FieldError, Fields, base64url, insert_some},
    http_hop::HttpHop,
    reply::{Failure, HttpResponse},
    subject::SubjectId,
};

/// Names one pending effect, once: the completion that ends the effect also ends the ticket.
///
/// A ticket cannot be built outside this crate; the host returns the one that it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    pub(crate) const fn new(cause: u64) -> Ticket {
        Ticket(cause)
    }

    /// The `seq` of the decision that permitted the effect.
    pub const fn cause(self) -> u64 {
        self.0
    }
}

/// A permitted effect. The host performs it exactly as described and decides nothing.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An operation on one file or directory.
    File {
        /// The granted root. The host resolves the path beneath it, without following symbolic links.
        root: Text,
        /// Whether the host may report a symbolic link as a [`Step::Link`] if its target lies beneath the root. If
        /// not, the host refuses the link.
        follows_links: bool,
        /// The canonical path, which begins with `root`.
        path: CanonicalPath,
        /// The operation on the path.
        action: FileAction,
    },
    /// An HTTP request. The host reports addresses and redirects as [`Step`]s and waits for the answers.
    Http {
        /// The first request.
        hop: HttpHop,
        /// Largest response body that is accepted, in bytes.
        response_bytes_max: u64,
        /// Time after which the request is given up, in milliseconds.
        timeout_ms: u64,
    },
    /// A chat completion.
    Infer {
        /// The model, which selects the endpoint.
        model: Text,
        /// The request as the host sends it, with one limit of tokens, lowered to what the policy permits.
        request: Value,
        /// Whether to stream the answer; the host reports each chunk as a [`Step`] first.
        stream: bool,
        /// Largest answer that is accepted, in bytes.
        response_bytes_max: u64,
    },
    /// A run of a tool.
    RunTool {
        /// The tool to run.
        tool: Tool,
        /// The environment variables of a WASI command.
        env: Vec<(Text, Text)>,
        /// The arguments of the call.
        input: Value,
        /// Fuel, memory and output that the run may use.
        limits: RunLimits,
    },
    /// Work on the log, which the host stores.
    Log(LogWork),
}

/// The operation of an effect on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogWork {
    /// Verifies the whole log and executes it again.
    Verify {
        /// The key that the caller trusts to sign checkpoints, as text (C2SP signed-note).
        key: Option<Text>,
        /// A signed checkpoint that the caller kept from earlier.
        anchor: Option<Text>,
    },
    /// Signs a checkpoint of the log.
    Checkpoint,
    /// Proves that an entry is part of the log.
    Prove {
        /// The `seq` of the entry.
        seq: u64,
        /// Whether the result also contains the entry's bytes.
        with_entry: bool,
    },
    /// Makes everything that is recorded about a subject unreadable for good. The kernel has removed it from its
    /// state already. The host first makes a new snapshot, then destroys the subject's key and all older snapshots.
    Erase {
        /// The subject whose key is destroyed.
        subject: SubjectId,
        /// The number of heap objects that were erased, for the reply.
        objects: u64,
        /// The number of entries about the subject, including that of the erasure, which become unreadable. `None`
        /// if it is unknown, because an earlier version did not count them from the start.
        entries: Option<u64>,
    },
}

/// The value of an erasure's [`Completion::Value`]: the subject, and how many objects and entries were erased.
pub fn erasure_outcome(subject: SubjectId, objects: u64, entries: Option<u64>) -> Value {
    object! { "objects": objects, "subject": subject, "entries": entries.map(Value::from) }
}

impl LogWork {
    /// The members of an [`Erase`](Self::Erase): subject, number of objects, number of entries.
    pub(crate) const fn erasing(&self) -> Option<(SubjectId, u64, Option<u64>)> {
        match self {
            Self::Erase { subject, objects, entries } => Some((*subject, *objects, *entries)),
            Self::Verify { .. } | Self::Checkpoint | Self::Prove { .. } => None,
        }
    }
}

/// The operation of a file effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Reads the whole file.
    Read {
        /// Longest file that is read, in bytes. A longer file fails with an error.
        bytes_max: u64,
    },
    /// Replaces the content of the file atomically.
    Write {
        /// The whole new content.
        data: Arc<[u8]>,
    },
    /// Lists the directory.
    List,
    /// Returns the metadata of the file or directory.
    Stat,
    /// Removes the file.
    Delete,
    /// Creates the directory.
    MakeDirectory {
        /// Whether missing parent directories are created too, each reported as a [`Step::Path`] first. If so, an
        /// existing directory is no error.
        parents: bool,
    },
    /// Appends to the file, which is created if it does not exist.
    Append {
        /// The bytes to append.
        data: Arc<[u8]>,
    },
    /// Renames the file and replaces a file at the new path. A directory is refused.
    Rename {
        /// The granted root of the new path.
        root: Text,
        /// The new path, which begins with `root`.
        path: CanonicalPath,
    },
    /// Returns the paths beneath the directory that match the pattern. The host reports each directory below it as
    /// a [`Step::Path`] before it enters it. The kernel removes from the result what the agent may not read.
    Glob {
        /// The pattern, relative to the directory.
        pattern: Text,
        /// Most paths to return.
        matches_max: u64,
    },
}

/// A question that the host puts to the kernel while an effect runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The addresses of the host name. Answered by [`StepAnswer::Connect`].
    Resolved(Vec<IpAddr>),
    /// The server redirects to this request. Answered by [`StepAnswer::Follow`].
    Redirect {
        /// Method of the next request.
        method: Text,
        /// Absolute URL of the next request.
        url: Text,
    },
    /// The path of a file leads through a symbolic link to this path, which is absolute and beneath the root. After
    /// [`StepAnswer::Continue`] the host uses it in place of the path.
    Link {
        /// The target of the link.
        path: Text,
    },
    /// The effect needs another path beneath the root: a directory to search or to create. Answered by
    /// [`StepAnswer::Continue`] or [`StepAnswer::Skip`].
    Path {
        /// The path, absolute and in its canonical form.
        path: Text,
    },
    /// The server rejected a request to a model, and the host wants to send it once more. Answered by
    /// [`StepAnswer::Continue`].
    Resend,
    /// One chunk of a streamed answer.
    Chunk {
        /// The server-sent event's data.
        data: Text,
        /// The number of tokens in the chunk, as the host estimates it.
        tokens: u64,
    },
}

/// The kernel's answer to a [`Step`]. Every step can be answered by `Abort`.
#[derive(Clone, Debug, PartialEq)]
pub enum StepAnswer {
    /// Continue the effect.
    Continue,
    /// Continue the effect without the path that the step names.
    Skip,
    /// Connect to one of these addresses and no other.
    Connect(Vec<IpAddr>),
    /// Follow the redirect by sending exactly this request.
    Follow(Box<HttpHop>),
    /// Stop the effect and complete it; its outcome is this failure.
    Abort(Failure),
}

/// The name under which a failure's context has the end of a tool's log.
pub(crate) const LOG: &str = "log";
/// The name under which the reply to a tool has the fuel used by the tool that it called.
pub(crate) const FUEL: &str = "fuel";
/// The name under which a failure's context has [`Spent::hops_sent`].
const HOPS_SENT: &str = "hops_sent";

/// What a failed effect used up, how many of its requests were sent, and the end of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens of a model, fuel of a tool, or bytes of an HTTP response.
    pub amount: u64,
    /// Number of requests of an HTTP effect that were sent, redirects included; `None` means that all may have been
    /// sent.
    pub hops_sent: Option<u64>,
    /// The end of a tool's log or stderr.
    pub log: Option<Text>,
}

impl From<u64> for Spent {
    fn from(amount: u64) -> Spent {
        Spent { amount, ..Spent::default() }
    }
}

impl Spent {
    /// Adds log and number of sent requests to a failure's context.
    pub(crate) fn tell(&self, context: Object) -> Object {
        let mut facts = context;
        insert_some(&mut facts, LOG, self.log.clone());
        insert_some(&mut facts, HOPS_SENT, self.hops_sent);
        facts
    }

    /// Takes out of a context what [`tell`](Self::tell) added.
    fn told(amount: u64, context: &Object) -> Spent {
        Spent {
            amount,
            hops_sent: context.get(HOPS_SENT).and_then(Value::as_u64),
            log: context.get(LOG).and_then(Value::as_text).cloned(),
        }
    }
}

/// How an effect ended, as the host reports it.
#[derive(Clone, Debug, PartialEq)]
pub enum Completion {
    /// The effect was performed and has no result.
    Done,
    /// The file's content.
    File(Arc<[u8]>),
    /// A listing, a description, or the result of a verification.
    Value(Value),
    /// The server's response.
    Http(HttpResponse),
    /// The model's answer and the tokens that it used.
    Inferred {
        /// An OpenAI chat completion.
        response: Value,
        /// Tokens of prompt and answer together.
        tokens: u64,
    },
    /// The tool's output and the fuel that it used.
    Tool {
        /// The output of the tool.
        output: Value,
        /// Fuel that the run used.
        fuel: u64,
        /// The end of its log or stderr.
        log: Text,
    },
    /// The effect did not happen, or failed in a known way.
    Failed {
        /// The kind of failure.
        code: Code,
        /// One sentence: what failed, where, and what to do.
        message: String,
        /// Facts for programs.
        context: Object,
        /// What the effect used up before it failed.
        spent: Spent,
    },
    /// It is unknown whether the effect happened.
    Unknown,
}

impl Completion {
    /// A failure of an effect that used nothing up.
    pub fn failed(code: Code, message: impl Into<String>) -> Completion {
        Completion::Failed { code, message: message.into(), context: Object::new(), spent: Spent::default() }
    }

    /// Whether this comes from the tool's own run, rather than from a host that could not run the tool or lost it.
    pub(crate) fn is_of_tool(&self) -> bool {
        matches!(self, Self::Tool { .. } | Self::Failed { code: Code::ToolFail, .. })
    }

    /// What a tool wrote to its log; `None` if nothing.
    pub(crate) fn log(&self) -> Option<&Text> {
        let log = match self {
            Self::Tool { log, .. } => Some(log),
            Self::Failed { code: Code::ToolFail, spent, .. } => spent.log.as_ref(),
            Self::Done
            | Self::File(_)
            | Self::Value(_)
            | Self::Http(_)
            | Self::Inferred { .. }
            | Self::Failed { .. }
            | Self::Unknown => None,
        };
        log.filter(|log| !log.is_empty())
    }

    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Done => object! { "end": "done" },
            Self::File(bytes) => object! { "end": "file", "bytes": base64url(bytes) },
            Self::Value(value) => object! { "end": "value", "value": value.clone() },
            Self::Http(response) => Self::http_value(response.to_value()),
            Self::Inferred { response, tokens } => {
                object! { "end": "inferred", "response": response.clone(), "tokens": *tokens }
            }
            Self::Tool { output, fuel, log } => {
                object! { "end": "tool", "output": output.clone(), "fuel": *fuel, "log": log.clone() }
            }
            Self::Failed { code, message, context, spent } => object! {
                "end": "failed", "code": code.number(), "message": message.as_str(),
                "context": spent.tell(context.clone()), "spent": spent.amount,
            },
            Self::Unknown => object! { "end": "unknown" },
        }
    }

    /// The length of its form in the journal, in bytes. Data is measured without being converted.
    pub(crate) fn journal_bytes(&self) -> u64 {
        let encoded = |bytes: &[u8]| (bytes.len() as u64).saturating_mul(4).div_ceil(3);
        let (data, rest) = match self {
            Self::File(bytes) => (encoded(bytes), Self::File(Arc::default())),
            Self::Http(response) => (
                encoded(&response.body),
                Self::Http(HttpResponse { body: Arc::default(), ..response.clone() }),
            ),
            Self::Done
            | Self::Value(_)
            | Self::Inferred { .. }
            | Self::Tool { .. }
            | Self::Failed { .. }
            | Self::Unknown => (0, self.clone()),
        };
        data.saturating_add(rest.to_value().json_len() as u64)
    }

    /// The journal's form of a [`Http`](Self::Http) completion, given the form of its response.
    pub(crate) fn http_value(response: Value) -> Value {
        object! { "end": "http", "response": response }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Completion, FieldError> {
        let mut fields = Fields::new("result", value)?;
        let completion = match &*fields.text("end")? {
            "done" => Self::Done,
            "file" => Self::File(fields.bytes("bytes")?),
            "value" => Self::Value(fields.value("value")?),
            "http" => {
                let response = fields.value("response")?;
                let mut inner = Fields::new("result.response", &response)?;
                let response = HttpResponse::from_fields(&mut inner)?;
                inner.finish()?;
                Self::Http(response)
            }
            "inferred" => {
                Self::Inferred { response: fields.value("response")?, tokens: fields.u64("tokens")? }
            }
            "tool" => Self::Tool {
                output: fields.value("output")?,
                fuel: fields.u64("fuel")?,
                log: fields.text("log")?,
            },
            "failed" => {
                let number = fields.value("code")?.as_i64().and_then(|number| i32::try_from(number).ok());
                let code = number.and_then(Code::from_number);
                let code = code.ok_or_else(|| fields.error("code", "is not a code"))?;
                let message = String::from(&*fields.text("message")?);
                let context = fields.members("context")?;
                let spent = Spent::told(fields.u64("spent")?, &context);
                Self::Failed { code, message, context, spent }
            }
            "unknown" => Self::Unknown,
            _ => return Err(fields.error("end", "is not known here")),
        };
        fields.finish()?;
        Ok(completion)
    }
}

impl Step {
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Resolved(addresses) => {
                let list: Vec<Value> =
                    addresses.iter().map(|address| alloc::format!("{address}").into()).collect();
                object! { "step": "resolved", "addresses": list }
            }
            Self::Redirect { method, url } => {
                object! { "step": "redirect", "method": method.clone(), "url": url.clone() }
            }
            Self::Link { path } => object! { "step": "link", "path": path.clone() },
            Self::Path { path } => object! { "step": "path", "path": path.clone() },
            Self::Resend => object! { "step": "resend" },
            Self::Chunk { data, tokens } => {
                object! { "step": "chunk", "data": data.clone(), "tokens": *tokens }
            }
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Step, FieldError> {
        let mut fields = Fields::new("step", value)?;
        let step = match &*fields.text("step")? {
            "resolved" => {
                let wrong = || FieldError::new("step.addresses", "expected a list of IP addresses");
                let list = fields.value("addresses")?;
                let list = list.as_array().ok_or_else(wrong)?;
                let parse = |item: &Value| item.as_str().and_then(|text| text.parse().ok()).ok_or_else(wrong);
                Self::Resolved(list.iter().map(parse).collect::<Result<_, _>>()?)
            }
            "redirect" => Self::Redirect { method: fields.text("method")?, url: fields.text("url")? },
            "link" => Self::Link { path: fields.text("path")? },
            "path" => Self::Path { path: fields.text("path")? },
            "resend" => Self::Resend,
            "chunk" => Self::Chunk { data: fields.text("data")?, tokens: fields.u64("tokens")? },
            _ => return Err(fields.error("step", "is not known here")),
        };
        fields.finish()?;
        Ok(step)
    }
}
