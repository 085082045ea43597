//! Names of agents: the root agent, guests, and the ancestors that a name contains.

/// The name of the root agent, the ancestor of all other agents.
pub(crate) const MAIN: &str = "main";
/// The name of an agent that connected without credentials, or the first part of that agent's name.
pub const GUEST: &str = "guest";

/// Whether an agent is a guest or a descendant of a guest.
pub(crate) fn is_guest(agent: &str) -> bool {
    lineage(agent).next() == Some(GUEST)
}

/// The names of an agent's ancestors that its own name contains, outermost first, then its own: `crew`,
/// `crew/writer`.
pub(crate) fn lineage(agent: &str) -> impl Iterator<Item = &str> {
    let ends = agent.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
    ends.chain([agent.len()]).filter_map(|end| agent.get(..end))
}
