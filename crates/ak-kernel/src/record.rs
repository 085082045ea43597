//! Inputs as the journal keeps them, and the records the kernel makes of them.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_audit::{Entry, Integrity, Kind, Leaf, Verdict as AuditVerdict};
use ak_json::{Digest, ObjectBuilder, Text, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    admission::Turned,
    config::Config,
    effect::{Completion, Step, Ticket},
    fields::{FieldError, Fields, base64url},
    operation::Operation,
    presented::{Asked, Presented},
    request::Request,
    session::Session,
    subject::{About, SubjectId},
    time::{Now, Time},
    tool_request::{ToolRequest, Wish},
};

/// Version of the journal's format. Replay refuses others.
pub const FORMAT_VERSION: u64 = 1;
/// Version of the kernel's meaning: raised whenever any decision could come out differently. Replay refuses others.
pub const SEMANTICS_VERSION: u64 = 8;

/// One input, made durable before anything that follows from it leaves the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 0 without gaps.
    pub seq: u64,
    /// The audit entry: digests of input, decision and reply. It need not be hashed again.
    pub leaf: Leaf,
    /// The leaf's hash.
    pub hash: Digest,
    /// The input itself, as JSON text.
    pub body: Arc<[u8]>,
    /// Whom the body is about, ascending: it is to be kept so that it is gone once one of them is erased. Empty where it
    /// is about the kernel itself, which is never erased.
    pub subjects: Vec<SubjectId>,
}

/// An input, as dispatched or as read back from a journal.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Genesis {
        config: Config,
    },
    Dispatch {
        session: Session,
        asked: Asked,
    },
    Progress {
        ticket: Ticket,
        step: Step,
    },
    /// A running tool asks for something.
    HostCall {
        ticket: Ticket,
        request: ToolRequest,
    },
    Complete {
        ticket: Ticket,
        completion: Completion,
    },
    Tick,
    /// The state's digest is recorded, so that a snapshot of it can be told from any other.
    Snapshot {
        state: Digest,
    },
    Throttled(Turned),
}

impl Input {
    /// The journal's form. `entropy` is given only where the input drew on it.
    pub(crate) fn to_value(&self, time: Time, entropy: Option<&[u8; 32]>) -> Value {
        let mut body = ObjectBuilder::with_capacity(8);
        match self {
            Self::Genesis { config } => {
                body.insert("in", "genesis");
                body.insert("format", FORMAT_VERSION);
                body.insert("semantics", SEMANTICS_VERSION);
                body.insert("config", config.to_value());
            }
            Self::Dispatch { session, asked: Asked { request, presented } } => {
                body.insert("in", "dispatch");
                body.insert("session", u64::from(session.number()));
                body.insert("op", request.operation().name());
                body.insert("args", request.args());
                if let Some(presented) = presented {
                    body.insert("cap", presented.to_value());
                }
            }
            Self::Progress { ticket, step } => {
                body.insert("in", "progress");
                body.insert("ticket", ticket.cause());
                body.insert("step", step.to_value());
            }
            Self::HostCall { ticket, request } => {
                body.insert("in", "host_call");
                body.insert("ticket", ticket.cause());
                body.insert("request", request.to_value());
            }
            Self::Complete { ticket, completion } => {
                body.insert("in", "complete");
                body.insert("ticket", ticket.cause());
                body.insert("result", completion.to_value());
            }
            Self::Tick => {
                body.insert("in", "tick");
            }
            Self::Throttled(turned) => {
                body.insert("in", "throttled");
                body.insert("counts", turned.to_value());
            }
            Self::Snapshot { state } => {
                body.insert("in", "snapshot");
                body.insert("state", format!("{state}"));
            }
        }
        body.insert("time", time.as_micros());
        if let Some(entropy) = entropy {
            body.insert("entropy", base64url(entropy));
        }
        body.finish().into()
    }

    /// Whether it draws on its entropy, beside the salt of a subject that is met for the first time: genesis makes the log's
    /// id of it, a tool may ask for random bytes.
    fn draws(&self) -> bool {
        match self {
            Self::Genesis { .. } => true,
            Self::HostCall { request, .. } => matches!(request.wish, Wish::Random(_)),
            Self::Progress { .. }
            | Self::Dispatch { .. }
            | Self::Complete { .. }
            | Self::Tick
            | Self::Snapshot { .. }
            | Self::Throttled(_) => false,
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<(Now, Input), FieldError> {
        let mut fields = Fields::new("input", value)?;
        let time = Time::from_micros(fields.u64("time")?);
        let entropy = match fields.optional_bytes("entropy")? {
            None => [0; 32],
            Some(bytes) => {
                <[u8; 32]>::try_from(&*bytes).map_err(|_| fields.error("entropy", "expected 32 bytes"))?
            }
        };
        let input = match &*fields.text("in")? {
            "genesis" => {
                for (name, ours) in [("format", FORMAT_VERSION), ("semantics", SEMANTICS_VERSION)] {
                    if fields.u64(name)? != ours {
                        return Err(fields.error(name, "is a version that this kernel does not know"));
                    }
                }
                Self::Genesis { config: Config::from_value(&fields.value("config")?)? }
            }
            "dispatch" => {
                let session = fields.u64("session")?;
                let session =
                    u32::try_from(session).map_err(|_| fields.error("session", "is out of range"))?;
                let operation = Operation::from_name(&fields.text("op")?)
                    .ok_or_else(|| fields.error("op", "is not an operation"))?;
                let request = Request::decode(operation, &fields.value("args")?)?;
                let presented = fields.optional("cap").as_ref().map(Presented::from_value).transpose()?;
                let asked = Asked { request, presented };
                Self::Dispatch { session: Session::from_number(session), asked }
            }
            "progress" => Self::Progress {
                ticket: Ticket::new(fields.u64("ticket")?),
                step: Step::from_value(&fields.value("step")?)?,
            },
            "host_call" => Self::HostCall {
                ticket: Ticket::new(fields.u64("ticket")?),
                request: ToolRequest::from_value(&fields.value("request")?)?,
            },
            "complete" => Self::Complete {
                ticket: Ticket::new(fields.u64("ticket")?),
                completion: Completion::from_value(&fields.value("result")?)?,
            },
            "tick" => Self::Tick,
            "throttled" => Self::Throttled(Turned::from_value(&fields.value("counts")?)?),
            "snapshot" => Self::Snapshot { state: fields.digest("state")? },
            _ => return Err(fields.error("in", "is not an input")),
        };
        fields.finish()?;
        Ok((Now { time, entropy }, input))
    }
}

/// What the entry says beside the input itself.
pub(crate) struct Facts {
    pub(crate) operation: Operation,
    pub(crate) kind: Kind,
    pub(crate) decision: AuditVerdict,
    pub(crate) code: i32,
    /// The decision that this entry belongs to; its own `seq` where absent.
    pub(crate) cause: Option<u64>,
    pub(crate) policy: Digest,
    /// The canonical target.
    pub(crate) target: Option<String>,
    /// The wire form of the outcome, where there is one already.
    pub(crate) reply: Option<Value>,
    /// Whom the reply tells of beside those the input is about.
    pub(crate) others: Vec<Text>,
    pub(crate) agent: Text,
    pub(crate) rule: Text,
    /// The event type of an entry that an agent writes itself.
    pub(crate) event: Option<Text>,
}

/// Room for what a body often takes, in bytes: to measure it costs more than to let it grow.
const BODY_BYTES: usize = 512;

/// The chain of leaves.
#[derive(Debug)]
pub(crate) struct Chain {
    run: [u8; 16],
    next_seq: u64,
    previous: Digest,
}

impl Chain {
    pub(crate) fn new(entropy: &[u8; 32]) -> Chain {
        let mut run = [0; 16];
        for (to, from) in run.iter_mut().zip(derive(entropy, "run", "")) {
            *to = from;
        }
        Chain { run, next_seq: 0, previous: Digest::from([0; 32]) }
    }

    /// The chain of a log with this id, after so many entries.
    pub(crate) const fn resumed(run: [u8; 16], next_seq: u64, previous: Digest) -> Chain {
        Chain { run, next_seq, previous }
    }

    pub(crate) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(crate) const fn head(&self) -> Digest {
        self.previous
    }

    pub(crate) const fn run(&self) -> &[u8; 16] {
        &self.run
    }

    /// Makes the record of one input and moves the chain on. `reply_salt` commits to the reply, the salt of `about` to all
    /// else.
    pub(crate) fn record(
        &mut self,
        now: &Now,
        time: Time,
        input: &Input,
        facts: Facts,
        about: About,
        reply_salt: &[u8; 32],
    ) -> Record {
        let drew = about.drew || input.draws();
        let body = input.to_value(now.time, drew.then_some(&now.entropy));
        let commit = |salt: &[u8; 32], digest: Option<Digest>| match digest {
            Some(digest) => ak_audit::commitment(salt, digest.as_bytes()),
            None => [0; 32],
        };
        let seq = self.next_seq;
        let entry = Entry {
            seq,
            time_us: time.as_micros(),
            run: self.run,
            operation: facts.operation.number(),
            kind: facts.kind,
            decision: facts.decision,
            code: facts.code,
            cause: facts.cause.unwrap_or(seq),
            policy: *facts.policy.as_bytes(),
            target: commit(&about.salt, facts.target.map(|target| Value::from(target).digest())),
            request: commit(&about.salt, Some(body.digest())),
            reply: commit(reply_salt, facts.reply.map(|reply| reply.digest())),
            previous: *self.previous.as_bytes(),
            integrity: Integrity::Trusted,
            secrecy: Vec::new(),
            agent: &facts.agent,
            rule: clip(&facts.rule),
        };
        // Names are bounded where they come in, and the rule just above.
        let Ok(leaf) = entry.to_leaf() else { unreachable!("an entry with bounded texts has bytes") };
        let hash = Digest::from(leaf.hash());
        self.next_seq += 1;
        self.previous = hash;
        let mut text = Vec::with_capacity(BODY_BYTES);
        body.write_json(&mut text);
        Record { seq, leaf, hash, body: text.into(), subjects: about.ids }
    }
}

/// The first 255 bytes of a rule id, which is all an entry has room for.
fn clip(rule: &str) -> &str {
    let mut end = rule.len().min(usize::from(u8::MAX));
    while !rule.is_char_boundary(end) {
        end -= 1;
    }
    rule.get(..end).unwrap_or_default()
}

/// 32 bytes for one purpose from one input's entropy.
pub(crate) fn derive(entropy: &[u8; 32], purpose: &str, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(entropy);
    hash.update([u8::try_from(purpose.len()).unwrap_or(u8::MAX)]);
    hash.update(purpose);
    hash.update(name);
    hash.finalize().into()
}
