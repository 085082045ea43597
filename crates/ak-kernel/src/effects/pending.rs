//! An effect that has started and not ended.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use ak_json::Text;

use crate::{
    accounts::{agents::Reservation, tool_permissions::CallStack},
    api::{
        effect::{LogWork, Ticket},
        http_hop::HttpHop,
        prepared::Prepared,
        presented::PresentedCapability,
        reply::Failure,
        request::Request,
        session::{AgentId, SessionId},
    },
};

/// An effect that has started and not ended.
#[derive(Debug)]
pub(crate) struct PendingEffect {
    /// The session and the agent that the effect is for.
    pub(crate) session: SessionId,
    pub(crate) account: AgentId,
    /// Shared, so that deciding on a step does not copy it.
    pub(crate) request: Arc<Request>,
    /// The capability that was presented with the request. It must cover redirects too.
    pub(crate) presented: Option<PresentedCapability>,
    /// The canonical target.
    pub(crate) target: Option<String>,
    pub(crate) reservation: Reservation,
    /// The running tool that requested it.
    pub(crate) within: Option<Ticket>,
    /// The tools on whose behalf it runs; if it runs a tool, that tool is the last.
    pub(crate) tools: CallStack,
    /// The failure with which it was aborted.
    pub(crate) aborted: Option<Failure>,
    /// The state that depends on the kind of effect.
    pub(crate) state: EffectState,
    /// Bytes of its steps' records so far, and why a step was refused. Neither is part of the kernel's state, since
    /// a refused step is not recorded.
    pub(crate) steps_bytes: u64,
    pub(crate) refused: Option<Failure>,
}

/// The state of a pending effect, by kind.
#[derive(Clone, Debug)]
pub(crate) enum EffectState {
    File {
        /// The directory that links must not leave; `None` if no links are followed.
        links_beneath: Option<Text>,
    },
    Http {
        /// The request that is being sent.
        hop: Box<HttpHop>,
        /// The size of each request so far, redirects included, in bytes.
        sent: Vec<u64>,
        /// What was computed from the request in advance. It is not part of the kernel's state.
        prepared: Prepared,
    },
    Infer {
        /// Tokens of a streamed answer so far, as the host estimates them.
        tokens: u64,
        /// The limit of answer tokens; 2^64 - 1 if there is none.
        tokens_max: u64,
    },
    Tool {
        /// For a call by an agent: the host calls that it led to, by all tools together.
        host_calls: u64,
    },
    Log {
        /// For an erasure: the work to repeat if a crash interrupts it.
        erasing: Option<LogWork>,
    },
}

impl PendingEffect {
    /// The work of an erasure that has not ended; `None` for other effects.
    pub(crate) fn erasing(&self) -> Option<&LogWork> {
        match &self.state {
            EffectState::Log { erasing } => erasing.as_ref(),
            EffectState::File { .. }
            | EffectState::Http { .. }
            | EffectState::Infer { .. }
            | EffectState::Tool { .. } => None,
        }
    }
}
