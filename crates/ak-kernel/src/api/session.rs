//! Sessions and agents.

/// The root agent's name.
pub const MAIN: &str = "main";
/// The name of the agent whose children are the guests.
pub const GUEST: &str = "guest";
/// Longest agent name, in bytes.
pub const AGENT_NAME_BYTES_MAX: usize = 255;

/// Identifies a session: one authenticated line to the kernel. The kernel assigns each number once; the host binds
/// it to a connection or an object. An agent may have several sessions at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u32);

impl SessionId {
    /// The owner's first session, which is open from the start and is never closed. Its data operations run as the agent
    /// `main`.
    pub const OWNER: SessionId = SessionId(0);

    /// The first session of the agent `guest`, from which every guest's session is opened. It is open from the
    /// start.
    pub const GUESTS: SessionId = SessionId(u32::MAX);

    /// The session's number, for the wire and the journal.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The session with this number. The kernel refuses numbers that it did not assign.
    pub const fn from_number(number: u32) -> SessionId {
        SessionId(number)
    }
}

/// Identifies an agent by number. Accounts, grants and objects belong to agents, never to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(u32);

impl AgentId {
    /// The root agent, `main`, for which owner sessions act.
    pub(crate) const MAIN: AgentId = AgentId(0);

    /// The agent's number, for the journal.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The agent with this number, which may not exist.
    pub(crate) const fn from_number(number: u32) -> AgentId {
        AgentId(number)
    }

    /// Whether this is the root agent. Only owner sessions act for the root agent.
    pub(crate) const fn is_main(self) -> bool {
        self.0 == Self::MAIN.0
    }
}
