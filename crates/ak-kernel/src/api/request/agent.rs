//! Requests about sessions, budgets and capabilities.

use ak_json::Text;
use ak_policy::{budget::Dimension, capability::CapId};

use crate::api::capability_spec::CapabilitySpec;

/// A request about sessions, budgets or capabilities.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentRequest {
    /// Sets the limit of one budget of `agent`, or of the session's own agent.
    BudgetSet {
        /// The kind of budget.
        dimension: Dimension,
        /// The new limit, in the unit of the dimension; `None` removes the limit that was set.
        limit: Option<u64>,
        /// The agent's name; `None` means the session's own agent.
        agent: Option<Text>,
    },
    /// Returns limits and usage of an agent's budgets.
    BudgetStatus {
        /// The kind of budget; `None` means all of them.
        dimension: Option<Dimension>,
        /// The agent's name; `None` means the session's own agent. Only the owner may name another agent.
        agent: Option<Text>,
    },
    /// Grants a capability to an agent.
    CapGrant {
        /// The agent's name. The agent is created if it does not exist.
        agent: Text,
        /// The restrictions of the capability. A grant needs a name.
        terms: CapabilitySpec,
    },
    /// Derives a narrower capability from one that the session's agent holds.
    CapAttenuate {
        /// The parent capability.
        capability: CapId,
        /// The restrictions that are added to the parent's.
        terms: CapabilitySpec,
    },
    /// Revokes a capability and every capability that was derived from it.
    CapRevoke {
        /// The capability to revoke.
        capability: CapId,
    },
    /// Returns a capability as a bearer token. The kernel returns its name, holder and expiry; the host, which has
    /// the keys, adds the token.
    CapToken {
        /// The capability to make a token of.
        capability: CapId,
    },
    /// Opens a session for an agent, which is created if it does not exist. An agent may have several sessions.
    /// From the guests' session ([`SessionId::GUESTS`](crate::SessionId::GUESTS)) the request opens a session for a
    /// new guest instead.
    SessionOpen {
        /// The agent's name. It is ignored for guests.
        agent: Text,
    },
    /// Closes the session that sends the request. Its agent keeps its account and objects; a guest is removed with
    /// all that it has.
    SessionClose,
}
