//! Accounts of agents: budgets, capabilities, sessions, and permissions of tools.

pub(crate) mod agents;
pub(crate) mod capabilities;
pub(crate) mod sessions;
pub(crate) mod tool_permissions;
