//! Agents with their budgets, capabilities and sessions.

pub(crate) mod agents;
pub(crate) mod capabilities;
pub(crate) mod sessions;
pub(crate) mod tool_permissions;
