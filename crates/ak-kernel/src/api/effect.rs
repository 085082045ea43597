//! What the kernel lets the host do, and what the host brings back.

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

/// Names one effect under way. Single-use: the completion that ends the effect ends the ticket.
///
/// It cannot be built outside this crate; the host only hands back what it was given.
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

/// An effect that the gate has permitted. The host performs it as it stands and decides nothing.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An operation on one file or directory.
    File {
        /// The granted root: the path is resolved beneath it, through no symbolic link.
        root: Text,
        /// Whether what a link leads to beneath the root may be asked for as a [`Step::Link`]. Without it a link is refused.
        follows_links: bool,
        /// The canonical path, which begins with `root`.
        path: CanonicalPath,
        /// What to do.
        action: FileAction,
    },
    /// An HTTP request. Addresses and redirects come back as [`Step`]s first.
    Http {
        /// The first request.
        hop: HttpHop,
        /// Refuse a longer response body, in bytes.
        response_bytes_max: u64,
        /// Give up after this long, in milliseconds.
        timeout_ms: u64,
    },
    /// A chat completion.
    Infer {
        /// The model, to choose the endpoint by.
        model: Text,
        /// The request as it goes out, `max_tokens` clamped.
        request: Value,
        /// Whether to stream; each chunk comes back as a [`Step`] first.
        stream: bool,
        /// Refuse a longer response, in bytes.
        response_bytes_max: u64,
    },
    /// A run of a tool.
    RunTool {
        /// Which.
        tool: Tool,
        /// The environment of a WASI command.
        env: Vec<(Text, Text)>,
        /// Its arguments.
        input: Value,
        /// How far it may go.
        limits: RunLimits,
    },
    /// Work on the log, which the host keeps.
    Log(LogWork),
}

/// What to do with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogWork {
    /// Verify the whole of it and execute it again.
    Verify {
        /// The key that is trusted to sign its checkpoints, as text (C2SP signed-note).
        key: Option<Text>,
        /// A signed checkpoint that the caller kept.
        anchor: Option<Text>,
    },
    /// Sign a checkpoint of it.
    Checkpoint,
    /// Prove that an entry stands in it.
    Prove {
        /// Which.
        seq: u64,
        /// Whether its bytes are given too.
        with_entry: bool,
    },
    /// Make what is recorded about a subject unreadable for good. The kernel has forgotten it already: first keep a
    /// snapshot, then destroy the subject's key, older snapshots with it.
    Erase {
        /// Whose key.
        subject: SubjectId,
        /// How many objects went; for the answer.
        objects: u64,
        /// How many entries of the log are about it, that of its erasure included, and cannot be read from then on. Where an
        /// earlier version began to count too late it is not known.
        entries: Option<u64>,
    },
}

/// What the outcome of an erasure says: whose entries cannot be read any more, and how many they are.
pub fn erasure_outcome(subject: SubjectId, objects: u64, entries: Option<u64>) -> Value {
    object! { "objects": objects, "subject": subject, "entries": entries.map(Value::from) }
}

impl LogWork {
    /// Of an erasure: whose key, how many objects went, and how many entries.
    pub(crate) const fn erasing(&self) -> Option<(SubjectId, u64, Option<u64>)> {
        match self {
            Self::Erase { subject, objects, entries } => Some((*subject, *objects, *entries)),
            Self::Verify { .. } | Self::Checkpoint | Self::Prove { .. } => None,
        }
    }
}

/// What to do with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Read all of it; refuse a longer one.
    Read {
        /// In bytes.
        bytes_max: u64,
    },
    /// Replace it by this, atomically.
    Write {
        /// The whole content.
        data: Arc<[u8]>,
    },
    /// List the directory.
    List,
    /// Describe it.
    Stat,
    /// Remove it.
    Delete,
    /// Create the directory.
    MakeDirectory {
        /// Whether the missing directories above it are created too, each asked for as a [`Step::Path`] first, and one that
        /// exists already is no failure.
        parents: bool,
    },
    /// Append this; create the file if it is not there.
    Append {
        /// What is appended.
        data: Arc<[u8]>,
    },
    /// Rename the file, which is no directory, and replace the file at the new path.
    Rename {
        /// The root that was granted for the new path.
        root: Text,
        /// The new path, which begins with that root.
        path: CanonicalPath,
    },
    /// Find the paths beneath the directory that match. Each directory below it is asked for as a [`Step::Path`] before it is
    /// entered. The kernel leaves out of them what may not be read.
    Glob {
        /// The pattern relative to the directory.
        pattern: Text,
        /// Most paths to bring back.
        matches_max: u64,
    },
}

/// Something the host met on the way and may not decide by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The host name resolved to these addresses. Answered by [`StepAnswer::Connect`].
    Resolved(Vec<IpAddr>),
    /// The server redirects: method and absolute URL of the next request. Answered by [`StepAnswer::Follow`].
    Redirect {
        /// Method of the next request.
        method: Text,
        /// Where to.
        url: Text,
    },
    /// The path of a file leads through a symbolic link to this one, which is absolute and beneath the root. Answered by
    /// [`StepAnswer::Continue`]: it takes the place of the path.
    Link {
        /// Where it leads.
        path: Text,
    },
    /// The effect comes to another path beneath the root: a directory that is to be searched, or made. Answered by
    /// [`StepAnswer::Continue`] or [`StepAnswer::Skip`].
    Path {
        /// The path, absolute and in its canonical form.
        path: Text,
    },
    /// A server turned the request to a model away, and it is to be sent once more. Answered by [`StepAnswer::Continue`].
    Resend,
    /// A piece of a streamed answer, and how many tokens it is worth.
    Chunk {
        /// The server-sent event's data.
        data: Text,
        /// Counted by the host.
        tokens: u64,
    },
}

/// The kernel's answer to a [`Step`].
#[derive(Clone, Debug, PartialEq)]
pub enum StepAnswer {
    /// Go on.
    Continue,
    /// Go on without what the step asked for.
    Skip,
    /// Connect to one of these addresses and no other.
    Connect(Vec<IpAddr>),
    /// Follow the redirect: send exactly this.
    Follow(Box<HttpHop>),
    /// Stop, and complete the effect with this failure.
    Abort(Failure),
}

/// By which name a failure tells the end of a tool's log.
pub(crate) const LOG: &str = "log";
/// What a reply to a tool says of the fuel that the tool it called has used up.
pub(crate) const FUEL: &str = "fuel";
/// By which name a failure tells [`Spent::hops_sent`].
const HOPS_SENT: &str = "hops_sent";

/// What a failed effect used up, and what it left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens, fuel, or bytes of the response.
    pub amount: u64,
    /// Of an HTTP effect: how many of its requests left the machine, redirects included. All of them may have where it is not told.
    pub hops_sent: Option<u64>,
    /// Of a tool: the end of what it wrote to its log, or to stderr.
    pub log: Option<Text>,
}

impl From<u64> for Spent {
    fn from(amount: u64) -> Spent {
        Spent { amount, ..Spent::default() }
    }
}

impl Spent {
    /// The facts of a failure, these among them.
    pub(crate) fn tell(&self, context: Object) -> Object {
        let mut facts = context;
        insert_some(&mut facts, LOG, self.log.clone());
        insert_some(&mut facts, HOPS_SENT, self.hops_sent);
        facts
    }

    /// Reads what [`tell`](Self::tell) put among the facts. They stay there, so that what is decoded encodes to the same bytes.
    fn told(amount: u64, context: &Object) -> Spent {
        Spent {
            amount,
            hops_sent: context.get(HOPS_SENT).and_then(Value::as_u64),
            log: context.get(LOG).and_then(Value::as_text).cloned(),
        }
    }
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Completion {
    /// Nothing to bring back.
    Done,
    /// The file's content.
    File(Arc<[u8]>),
    /// A listing, a description, or the result of a verification.
    Value(Value),
    /// The server's response.
    Http(HttpResponse),
    /// The model's answer and the tokens used, prompt included.
    Inferred {
        /// An OpenAI chat completion.
        response: Value,
        /// Tokens of prompt and completion.
        tokens: u64,
    },
    /// The tool's output and the fuel used.
    Tool {
        /// What it answered.
        output: Value,
        /// Fuel used.
        fuel: u64,
        /// The end of what it wrote to its log, or to stderr.
        log: Text,
    },
    /// It did not happen, or failed in a known way.
    Failed {
        /// Why.
        code: Code,
        /// One sentence.
        message: String,
        /// Facts for programs.
        context: Object,
        /// What it used up all the same.
        spent: Spent,
    },
    /// Nobody knows whether it happened.
    Unknown,
}

impl Completion {
    /// A failure that used nothing up.
    pub fn failed(code: Code, message: impl Into<String>) -> Completion {
        Completion::Failed { code, message: message.into(), context: Object::new(), spent: Spent::default() }
    }

    /// Whether a tool's own run made this, rather than a host that could not run it or lost it.
    pub(crate) fn is_of_tool(&self) -> bool {
        matches!(self, Self::Tool { .. } | Self::Failed { code: Code::ToolFail, .. })
    }

    /// What a tool wrote to its log, if anything.
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

    /// How long its form in the journal is, in bytes. Data is not put into that form for it.
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

    /// The form of an HTTP effect's end, by that of its response.
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
