//! An effect between permit and completion.

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

/// An effect that has started and has not ended.
#[derive(Debug)]
pub(crate) struct PendingEffect {
    /// Who asked for it, and whose session that is.
    pub(crate) session: SessionId,
    pub(crate) account: AgentId,
    /// Shared, so that deciding on a step copies nothing of it.
    pub(crate) request: Arc<Request>,
    /// The capability that came with the request: it must cover a redirect too.
    pub(crate) presented: Option<PresentedCapability>,
    /// The canonical target.
    pub(crate) target: Option<String>,
    pub(crate) reservation: Reservation,
    /// The running tool that asked for it.
    pub(crate) within: Option<Ticket>,
    /// The tools that it is done for, a running tool itself the last of them.
    pub(crate) tools: CallStack,
    /// Why it was told to stop.
    pub(crate) aborted: Option<Failure>,
    /// What belongs to its kind.
    pub(crate) state: EffectState,
    /// Bytes of the records of its steps, of those that were set aside, and why a step was refused. They are no part of the
    /// kernel's state: what was refused was not recorded.
    pub(crate) steps_bytes: u64,
    pub(crate) refused: Option<Failure>,
}

/// What is known of an effect of one kind.
#[derive(Clone, Debug)]
pub(crate) enum EffectState {
    File {
        /// Where links are followed: the directory that they must not leave.
        links_beneath: Option<Text>,
    },
    Http {
        /// The request that is sent at the moment.
        hop: Box<HttpHop>,
        /// The size of each request so far, in bytes.
        sent: Vec<u64>,
        /// What was worked out of the request beforehand. It is no part of the kernel's state.
        prepared: Prepared,
    },
    Infer {
        /// Tokens of a streamed answer seen so far.
        tokens: u64,
        /// How many were set aside for it; 2^64 - 1 where there is no limit.
        tokens_max: u64,
    },
    Tool {
        /// Of a call by an agent: how many host calls came of it, of all tools that it led to together.
        host_calls: u64,
    },
    Log {
        /// Of an erasure: what is to be done again should it be cut short.
        erasing: Option<LogWork>,
    },
}

impl PendingEffect {
    /// The unfinished erasure, if it is one.
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
