//! Names of agents: the root agent, guests, and the ancestors that a name contains.

/// The root agent, below which all others are.
pub(crate) const MAIN: &str = "main";
/// The agent that a connection without credentials is, or the first step of its name.
pub const GUEST: &str = "guest";

/// Whether an agent is a guest, or one of a guest's.
pub(crate) fn is_guest(agent: &str) -> bool {
    lineage(agent).next() == Some(GUEST)
}

/// The names that stand on the way to an agent, its own last: `crew`, `crew/writer`.
pub(crate) fn lineage(agent: &str) -> impl Iterator<Item = &str> {
    let ends = agent.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
    ends.chain([agent.len()]).filter_map(|end| agent.get(..end))
}
