//! Sessions: who is asking.

/// Who is asking. The kernel gives the numbers out; the host binds one to a connection or an object.
///
/// A session's number is its agent's: opening a session for the same agent twice gives the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(u32);

impl Session {
    /// The owner's session. Its data operations run as the agent `main`.
    pub const OWNER: Session = Session(0);

    /// The session's number, for the wire and the journal.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The session with this number. The kernel refuses numbers that it did not give out.
    pub const fn from_number(number: u32) -> Session {
        Session(number)
    }

    /// Whether the owner is asking.
    pub const fn is_owner(self) -> bool {
        self.0 == Self::OWNER.0
    }
}
