//! Requests about sessions, budgets and capabilities.

use ak_json::Text;
use ak_policy::{budget::Dimension, capability::CapId};

use crate::api::capability_spec::CapabilitySpec;

/// A request about sessions, budgets or capabilities.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentRequest {
    /// Set a budget of `agent`, or of the session's own agent.
    BudgetSet {
        /// Of what.
        dimension: Dimension,
        /// The new limit; `None` removes it.
        limit: Option<u64>,
        /// Whose; the session's own where absent.
        agent: Option<Text>,
    },
    /// Limits and usage.
    BudgetStatus {
        /// Of what; of everything where absent.
        dimension: Option<Dimension>,
        /// Whose; the session's own where absent. Only the owner asks for others'.
        agent: Option<Text>,
    },
    /// Give an agent a capability.
    CapGrant {
        /// The agent, which is created if it is not there.
        agent: Text,
        /// What it is for; they need a name.
        terms: CapabilitySpec,
    },
    /// Derive a narrower capability.
    CapAttenuate {
        /// From which.
        capability: CapId,
        /// What is added.
        terms: CapabilitySpec,
    },
    /// Take a capability back, with all that was derived from it.
    CapRevoke {
        /// Which.
        capability: CapId,
    },
    /// A capability as a bearer token. The kernel tells whose it is; the host, which has the keys, adds the token.
    CapToken {
        /// Which.
        capability: CapId,
    },
    /// Open a session for an agent, which is created if it is not there. An agent may have several. Asked by the session of
    /// guests ([`SessionId::GUESTS`](crate::SessionId::GUESTS)) it opens one for a new guest.
    SessionOpen {
        /// The agent's name.
        agent: Text,
    },
    /// End the session that asks. What its agent has stays; a guest leaves nothing behind.
    SessionClose,
}
