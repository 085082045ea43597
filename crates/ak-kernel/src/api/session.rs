//! Sessions, and the agents behind them.

/// The root agent's name.
pub const MAIN: &str = "main";
/// The agent whose descendants guests are.
pub const GUEST: &str = "guest";
/// Longest agent name, in bytes.
pub const AGENT_NAME_BYTES_MAX: usize = 255;

/// One authenticated line to the kernel. The kernel gives the numbers out, each once; the host binds one to a connection or
/// an object. An agent may have several sessions at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u32);

impl SessionId {
    /// The owner's first session, which is open from the start and is never closed. Its data operations run as the agent
    /// `main`.
    pub const OWNER: SessionId = SessionId(0);

    /// The first session of the agent `guest`, which every guest's session is opened by. It is open from the start.
    pub const GUESTS: SessionId = SessionId(u32::MAX);

    /// The session's number, for the wire and the journal.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The session with this number. The kernel refuses numbers that it did not give out.
    pub const fn from_number(number: u32) -> SessionId {
        SessionId(number)
    }
}

/// One agent, by its number. Accounts, grants and objects belong to agents, never to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(u32);

impl AgentId {
    /// The root agent, as which owner sessions act.
    pub(crate) const MAIN: AgentId = AgentId(0);

    /// The agent's number, for the journal.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The agent with this number, which need not exist.
    pub(crate) const fn from_number(number: u32) -> AgentId {
        AgentId(number)
    }

    /// Whether it is the root agent. Only owner sessions are sessions of the root agent.
    pub(crate) const fn is_main(self) -> bool {
        self.0 == Self::MAIN.0
    }
}
