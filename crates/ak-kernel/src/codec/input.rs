//! Inputs in the form of the journal.

use alloc::format;

use ak_json::{Digest, ObjectBuilder, Value};

use crate::api::{
    config::Config,
    effect::{Completion, Step, Ticket},
    fields::{FieldError, Fields, base64url},
    operation::Operation,
    prepared::PreparedCompletion,
    presented::{AuthenticatedRequest, PresentedCapability},
    request::Request,
    session::SessionId,
    throttled::Throttled,
    time::{Now, Time},
    tool_request::{ToolRequest, ToolRequestKind},
};

/// Version of the journal's format. Replay rejects any other.
pub const FORMAT_VERSION: u64 = 1;

/// An input, as dispatched or as read back from a journal.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Genesis {
        config: Config,
        /// The version of the kernel's semantics at the start of the journal.
        semantics: u64,
    },
    Dispatch {
        session: SessionId,
        asked: AuthenticatedRequest,
    },
    Progress {
        ticket: Ticket,
        step: Step,
    },
    /// A host call of a running tool.
    HostCall {
        ticket: Ticket,
        request: ToolRequest,
    },
    Complete {
        ticket: Ticket,
        ended: PreparedCompletion,
    },
    Tick,
    /// A snapshot in the form of earlier versions: the digest of the state.
    Snapshot {
        state: Digest,
    },
    /// A snapshot of the state begins.
    SnapshotBegun,
    /// A snapshot was stored. `of` is the entry with which it began, `state` the digest of the state before that
    /// entry.
    SnapshotKept {
        of: u64,
        state: Digest,
    },
    Throttled(Throttled),
    /// The wall clock stepped since the input before.
    ClockStep,
    /// A journal of an earlier version continues under this one, from this state.
    Upgrade {
        from: u64,
        to: u64,
        state: Digest,
    },
}

impl Input {
    /// The journal's form. It contains the entropy if `used_entropy`, and the boot id if `is_new_boot`.
    pub(crate) fn to_value(&self, now: &Now, is_new_boot: bool, used_entropy: bool) -> Value {
        let mut body = ObjectBuilder::with_capacity(9);
        match self {
            Self::Genesis { config, semantics } => {
                body.insert("in", "genesis");
                body.insert("format", FORMAT_VERSION);
                body.insert("semantics", *semantics);
                body.insert("config", config.to_value());
            }
            Self::Dispatch { session, asked: AuthenticatedRequest { request, presented, prepared } } => {
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
        if used_entropy {
            body.insert("entropy", base64url(&now.entropy));
        }
        body.finish().into()
    }

    /// Whether its data is long and was put into the journal's form in advance.
    pub(crate) fn is_long(&self) -> bool {
        match self {
            Self::Dispatch { asked, .. } => asked.prepared.is_long(),
            Self::Complete { ended, .. } => ended.is_long(),
            Self::Genesis { .. }
            | Self::Progress { .. }
            | Self::HostCall { .. }
            | Self::Tick
            | Self::Snapshot { .. }
            | Self::SnapshotBegun
            | Self::SnapshotKept { .. }
            | Self::Throttled(_)
            | Self::ClockStep
            | Self::Upgrade { .. } => false,
        }
    }

    /// Whether the input itself uses its entropy, besides the salts of new subjects: the genesis entry derives the
    /// log's id from it, and a host call may ask for random bytes.
    pub(crate) fn draws(&self) -> bool {
        match self {
            Self::Genesis { .. } => true,
            Self::HostCall { request, .. } => matches!(request.kind, ToolRequestKind::Random(_)),
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

    /// Reads an input from the journal's form. `boot` is the boot of the input before.
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
        // Version 8 recorded the wall clock only.
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
                let presented =
                    fields.optional("cap").as_ref().map(PresentedCapability::from_value).transpose()?;
                let asked = AuthenticatedRequest { presented, ..AuthenticatedRequest::from(request) };
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
            "throttled" => Self::Throttled(Throttled::from_value(&fields.value("counts")?)?),
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
