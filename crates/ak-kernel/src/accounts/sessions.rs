//! The open sessions.

use alloc::{collections::BTreeMap, format};

use ak_json::{Value, object};

use crate::api::{
    code::Code,
    fields::{FieldError, Fields},
    reply::Failure,
    session::{AgentId, SessionId},
};

/// The open sessions, and the agent of each.
#[derive(Debug)]
pub(crate) struct Sessions {
    open: BTreeMap<SessionId, AgentId>,
    next: u32,
}

impl Sessions {
    /// The two sessions that are always open: the owner's, and the one from which guests' sessions are opened.
    pub(crate) fn new(guests: AgentId) -> Sessions {
        let open = [(SessionId::OWNER, AgentId::MAIN), (SessionId::GUESTS, guests)];
        Sessions { open: open.into_iter().collect(), next: 1 }
    }

    /// No sessions at all.
    pub(crate) const fn empty() -> Sessions {
        Sessions { open: BTreeMap::new(), next: 0 }
    }

    /// The agent of the session; `None` if the session is not open.
    pub(crate) fn agent(&self, session: SessionId) -> Option<AgentId> {
        self.open.get(&session).copied()
    }

    /// Opens a session for an agent.
    ///
    /// # Errors
    /// QUOTA if `max` sessions are open, or all numbers were assigned.
    pub(crate) fn open(&mut self, agent: AgentId, max: u64) -> Result<SessionId, Failure> {
        let full = || Failure::new(Code::Quota, format!("the limit of {max} sessions is reached: close one"));
        if self.open.len() as u64 >= max {
            return Err(full());
        }
        let next = self.next.checked_add(1).filter(|next| *next < u32::MAX).ok_or_else(full)?;
        let session = SessionId::from_number(core::mem::replace(&mut self.next, next));
        self.open.insert(session, agent);
        Ok(session)
    }

    /// Closes a session. Returns its agent; `None` for a session that is not open, and for the two that are never
    /// closed.
    pub(crate) fn close(&mut self, session: SessionId) -> Option<AgentId> {
        match session {
            SessionId::OWNER | SessionId::GUESTS => None,
            session => self.open.remove(&session),
        }
    }

    /// The open sessions that can be closed.
    pub(crate) fn closable(&self) -> impl Iterator<Item = SessionId> {
        let fixed = [SessionId::OWNER, SessionId::GUESTS];
        self.open.keys().copied().filter(move |session| !fixed.contains(session))
    }

    /// How many sessions an agent has.
    pub(crate) fn count(&self, agent: AgentId) -> usize {
        self.open.values().filter(|open| **open == agent).count()
    }

    /// Opens a session under a number that an earlier version assigned.
    pub(crate) fn adopt(&mut self, number: u32, agent: AgentId) {
        self.open.insert(SessionId::from_number(number), agent);
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Opens the sessions that are always open in this version.
    pub(crate) fn adopt_fixed(&mut self, guests: AgentId) {
        self.open.insert(SessionId::OWNER, AgentId::MAIN);
        self.open.insert(SessionId::GUESTS, guests);
    }

    pub(crate) fn to_value(&self) -> Value {
        let open = self
            .open
            .iter()
            .map(|(session, agent)| ak_json::array![u64::from(session.number()), u64::from(agent.number())]);
        object! { "open": open.collect::<alloc::vec::Vec<Value>>(), "next": u64::from(self.next) }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Sessions, FieldError> {
        let mut fields = Fields::new("sessions", value)?;
        let mut sessions = Sessions::empty();
        for pair in fields.items("open")?.iter() {
            let number = |index| u32::try_from(pair.as_array()?.iter().nth(index)?.as_u64()?).ok();
            match (number(0), number(1)) {
                (Some(session), Some(agent)) => {
                    sessions.open.insert(SessionId::from_number(session), AgentId::from_number(agent))
                }
                _ => return Err(fields.error("open", "expected pairs of a session and an agent")),
            };
        }
        let next = fields.u64("next")?;
        sessions.next = u32::try_from(next).map_err(|_| fields.error("next", "is out of range"))?;
        fields.finish()?;
        Ok(sessions)
    }
}
