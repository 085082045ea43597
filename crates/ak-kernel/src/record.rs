//! Inputs as the journal keeps them, and the records the kernel makes of them.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_audit::{Decision as AuditVerdict, Entry, Integrity, Kind, Leaf};
use ak_json::{Digest, ObjectBuilder, Text, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    admission::Turned,
    config::Config,
    effect::{Completion, Step, Ticket},
    fields::{FieldError, Fields, base64url},
    operation::Operation,
    prepared::Ended,
    presented::{Asked, Presented},
    request::Request,
    session::SessionId,
    subject::{About, SubjectId},
    time::{Clock, Now, Time},
    tool_request::{ToolRequest, Wish},
};

/// Version of the journal's format. Replay refuses others.
pub const FORMAT_VERSION: u64 = 1;
/// Version of the kernel's meaning: raised whenever any decision could come out differently.
pub const SEMANTICS_VERSION: u64 = 9;
/// Versions whose journals this kernel continues. Their entries are executed with the decisions that are recorded.
pub const EARLIER_VERSIONS: [u64; 1] = [8];

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
        /// The version of the kernel's meaning that the journal begins with.
        semantics: u64,
    },
    Dispatch {
        session: SessionId,
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
        ended: Ended,
    },
    Tick,
    /// As versions before this one wrote it: the state's digest, so that a snapshot of it can be told from any other.
    Snapshot {
        state: Digest,
    },
    /// A snapshot of the state begins.
    SnapshotBegun,
    /// The digest of the state from before entry `of`, with which a snapshot began.
    SnapshotKept {
        of: u64,
        state: Digest,
    },
    Throttled(Turned),
    /// The wall clock stepped since the input before.
    ClockStep,
    /// A journal of an earlier version goes on under this one, from this state.
    Upgrade {
        from: u64,
        to: u64,
        state: Digest,
    },
}

impl Input {
    /// The journal's form. The entropy stands in it only where the input `drew` on it, the boot where it is a new one.
    pub(crate) fn to_value(&self, now: &Now, is_new_boot: bool, drew: bool) -> Value {
        let mut body = ObjectBuilder::with_capacity(9);
        match self {
            Self::Genesis { config, semantics } => {
                body.insert("in", "genesis");
                body.insert("format", FORMAT_VERSION);
                body.insert("semantics", *semantics);
                body.insert("config", config.to_value());
            }
            Self::Dispatch { session, asked: Asked { request, presented, prepared } } => {
                body.insert("in", "dispatch");
                body.insert("session", u64::from(session.number()));
                body.insert("op", request.operation().name());
                body.insert("args", prepared.args(request));
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
            Self::Complete { ticket, ended } => {
                body.insert("in", "complete");
                body.insert("ticket", ticket.cause());
                body.insert("result", ended.to_value());
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
            Self::SnapshotBegun => {
                body.insert("in", "snapshot_begun");
            }
            Self::SnapshotKept { of, state } => {
                body.insert("in", "snapshot_kept");
                body.insert("of", *of);
                body.insert("state", format!("{state}"));
            }
            Self::ClockStep => {
                body.insert("in", "clock_step");
            }
            Self::Upgrade { from, to, state } => {
                body.insert("in", "upgrade");
                body.insert("from", *from);
                body.insert("to", *to);
                body.insert("state", format!("{state}"));
            }
        }
        body.insert("time", now.wall.as_micros());
        body.insert("uptime", now.uptime_us);
        if is_new_boot {
            body.insert("boot", base64url(&now.boot));
        }
        if !now.synchronised {
            body.insert("synchronised", false);
        }
        if drew {
            body.insert("entropy", base64url(&now.entropy));
        }
        body.finish().into()
    }

    /// Whether it was put into the journal's form beforehand, since that is long.
    fn is_long(&self) -> bool {
        match self {
            Self::Dispatch { asked, .. } => asked.prepared.is_long(),
            Self::Complete { ended, .. } => ended.is_long(),
            _ => false,
        }
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
            | Self::SnapshotBegun
            | Self::SnapshotKept { .. }
            | Self::Throttled(_)
            | Self::ClockStep
            | Self::Upgrade { .. } => false,
        }
    }

    /// Takes an input from the journal's form. `boot` is the boot that the input before came in.
    pub(crate) fn from_value(value: &Value, boot: &[u8; 16]) -> Result<(Now, Input), FieldError> {
        let mut fields = Fields::new("input", value)?;
        let wall = Time::from_micros(fields.u64("time")?);
        let entropy = match fields.optional_bytes("entropy")? {
            None => [0; 32],
            Some(bytes) => {
                <[u8; 32]>::try_from(&*bytes).map_err(|_| fields.error("entropy", "expected 32 bytes"))?
            }
        };
        let boot = match fields.optional_bytes("boot")? {
            None => *boot,
            Some(bytes) => {
                <[u8; 16]>::try_from(&*bytes).map_err(|_| fields.error("boot", "expected 16 bytes"))?
            }
        };
        let synchronised = fields.optional("synchronised").is_none_or(|value| value.as_bool() != Some(false));
        // Version 8 knew the wall clock alone.
        let uptime_us = fields.optional_u64("uptime")?.unwrap_or(wall.as_micros());
        let now = Now { wall, boot, uptime_us, synchronised, entropy };
        let input = match &*fields.text("in")? {
            "genesis" => {
                if fields.u64("format")? != FORMAT_VERSION {
                    return Err(fields.error("format", "is a version that this kernel does not know"));
                }
                let semantics = fields.u64("semantics")?;
                Self::Genesis { config: Config::from_value(&fields.value("config")?)?, semantics }
            }
            "dispatch" => {
                let session = fields.u64("session")?;
                let session =
                    u32::try_from(session).map_err(|_| fields.error("session", "is out of range"))?;
                let operation = Operation::from_name(&fields.text("op")?)
                    .ok_or_else(|| fields.error("op", "is not an operation"))?;
                let request = Request::decode(operation, &fields.value("args")?)?;
                let presented = fields.optional("cap").as_ref().map(Presented::from_value).transpose()?;
                let asked = Asked { presented, ..Asked::from(request) };
                Self::Dispatch { session: SessionId::from_number(session), asked }
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
                ended: Completion::from_value(&fields.value("result")?)?.into(),
            },
            "tick" => Self::Tick,
            "throttled" => Self::Throttled(Turned::from_value(&fields.value("counts")?)?),
            "snapshot" => Self::Snapshot { state: fields.digest("state")? },
            "snapshot_begun" => Self::SnapshotBegun,
            "snapshot_kept" => Self::SnapshotKept { of: fields.u64("of")?, state: fields.digest("state")? },
            "clock_step" => Self::ClockStep,
            "upgrade" => Self::Upgrade {
                from: fields.u64("from")?,
                to: fields.u64("to")?,
                state: fields.digest("state")?,
            },
            _ => return Err(fields.error("in", "is not an input")),
        };
        fields.finish()?;
        Ok((now, input))
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
    /// The digest of the outcome's facts, where there is one already.
    pub(crate) reply: Option<Digest>,
    /// What the outcome says for people. It is in no digest.
    pub(crate) message: Option<String>,
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

    /// Moves on behind an entry that stands already.
    pub(crate) fn follow(&mut self, hash: Digest) {
        self.next_seq += 1;
        self.previous = hash;
    }

    /// Makes the record of one input and moves the chain on. `reply_salt` commits to the reply, the salt of `about` to all
    /// else.
    pub(crate) fn record(
        &mut self,
        now: &Now,
        clock: &Clock,
        input: &Input,
        facts: Facts,
        about: About,
        reply_salt: &[u8; 32],
    ) -> Record {
        let drew = about.drew || input.draws();
        let body = input.to_value(now, clock.is_new_boot, drew);
        let commit = |salt: &[u8; 32], digest: Option<Digest>| match digest {
            Some(digest) => ak_audit::commitment(salt, digest.as_bytes()),
            None => [0; 32],
        };
        let seq = self.next_seq;
        let entry = Entry {
            seq,
            time_us: clock.wall.as_micros(),
            run: self.run,
            operation: facts.operation.number(),
            kind: facts.kind,
            decision: facts.decision,
            code: facts.code,
            cause: facts.cause.unwrap_or(seq),
            policy: *facts.policy.as_bytes(),
            target: commit(&about.salt, facts.target.map(|target| Value::from(target).digest())),
            request: commit(&about.salt, Some(body.digest())),
            reply: commit(reply_salt, facts.reply),
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
        let bytes = if input.is_long() { body.json_len() } else { BODY_BYTES };
        let mut text = Vec::with_capacity(bytes);
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
