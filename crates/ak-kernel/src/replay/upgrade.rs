//! Continues the journal of an earlier version under this one.
//!
//! Entries of an earlier version are not decided again. When the journal is opened, those after its newest snapshot
//! are executed once with their recorded decisions. Then an UPGRADE record commits to the resulting state, and the
//! journal continues under this version. A later verifier starts from the snapshot that belongs to that record:
//! earlier entries are verified by their chain, and can be re-executed by a kernel of their own version.

use alloc::{format, string::String, vec::Vec};

use ak_json::{Object, Text, Value, object};

use crate::{
    accounts::sessions::Sessions,
    api::{
        code::Code,
        fields::FieldError,
        operation::Operation,
        reply::Failure,
        session::{AgentId, GUEST, SessionId},
        time::{Clock, Now},
    },
    codec::input::Input,
    record::{
        entry::{EARLIER_VERSIONS, SEMANTICS_VERSION},
        recorded::EarlierDecision,
    },
    state::Kernel,
};

impl Kernel {
    /// Executes one input of an earlier version with its recorded decision.
    ///
    /// # Errors
    /// Why the entry is not the next one.
    pub(crate) fn execute_earlier(&mut self, now: Now, input: Input, leaf: &[u8]) -> Result<(), String> {
        let seq = self.chain.next_seq();
        self.recorded = Some(EarlierDecision::next_of(&self.chain, leaf)?);
        match input {
            Input::Dispatch { session, asked } => {
                self.dispatch_admitted(now, session, asked);
            }
            Input::Progress { ticket, step } => self.handle_step(now, ticket, step),
            Input::HostCall { ticket, request } => {
                self.dispatch_admitted_host_call(&now, ticket, request);
            }
            Input::Complete { ticket, ended } => self.handle_completion(now, ticket, ended),
            Input::Tick => self.tick(&now),
            Input::Throttled(turned) => self.throttled(&now, turned),
            Input::Snapshot { state } => self.note_digest(&now, state),
            Input::Genesis { .. }
            | Input::ClockStep
            | Input::SnapshotBegun
            | Input::SnapshotKept { .. }
            | Input::Upgrade { .. } => {
                self.recorded = None;
                return Err("no earlier version writes such an entry there".into());
            }
        }
        self.recorded = None;
        if self.chain.next_seq() != seq + 1 {
            return Err("it led to no entry of its own".into());
        }
        // These outputs were released when the input was first executed.
        self.outputs.clear();
        Ok(())
    }

    /// Opens a session as version 8 did: each agent had one session, with the agent's number.
    pub(crate) fn open_session_as_recorded(&mut self, name: &Text) -> Result<SessionId, Failure> {
        let agent = self.agents.open_alone(name, &self.policy, self.clock.elapsed);
        let session = SessionId::from_number(agent.number());
        self.sessions.adopt(agent.number(), agent);
        Ok(session)
    }

    /// The version of the journal that this kernel's state came from; `None` once it is this kernel's.
    pub const fn earlier_version(&self) -> Option<u64> {
        self.earlier
    }

    /// Whether the state was converted from the form of `version`, and the record of that is not made yet.
    pub(crate) fn is_upgraded_from(&self, version: u64) -> bool {
        self.upgraded == Some(version)
    }

    /// Continues the journal under this version: records the state after the earlier entries. Returns the snapshot
    /// of the state before that record; `None` if the journal is of this version already.
    pub fn upgrade(&mut self, now: Now) -> Option<Vec<u8>> {
        let from = self.earlier?;
        self.prepare_upgrade();
        let (bytes, _) = self.image().encode();
        self.note_upgrade(&now, from);
        Some(bytes)
    }

    /// Converts the state of an earlier version to this version's form.
    pub(crate) fn prepare_upgrade(&mut self) {
        self.upgraded = self.earlier.take();
        let elapsed = self.clock.elapsed;
        self.agents.complete_lineages(&self.policy, elapsed);
        self.grants.migrate(&self.policy);
        self.agents.migrate_limits(&self.policy);
        let guests = self.agents.find(GUEST).unwrap_or(AgentId::MAIN);
        self.sessions.adopt_fixed(guests);
    }

    /// Records that the journal continues under this version.
    pub(crate) fn note_upgrade(&mut self, now: &Now, from: u64) {
        self.upgraded = None;
        self.advance(now);
        let state = self.state_digest();
        let input = Input::Upgrade { from, to: SEMANTICS_VERSION, state };
        let facts = self.notice(Operation::Upgrade);
        let details = object! { "from": from, "to": SEMANTICS_VERSION };
        self.record(now, &input, facts, Vec::new(), details);
    }
}

/// Converts a state of version 8 to the form of this one. It drops the texts for people, which version 8 kept.
///
/// # Errors
/// The value is not a state of version 8.
pub(crate) fn from_version_8(state: &Value) -> Result<Value, FieldError> {
    let wrong = |at: &str| FieldError::new(format!("state.{at}"), "is not as version 8 writes it");
    let mut state = state.as_object().cloned().ok_or_else(|| wrong(""))?;
    let clock = state.get("clock").and_then(Value::as_u64).ok_or_else(|| wrong("clock"))?;
    state.insert("clock", Clock::from_wall(clock).to_value());

    let mut agents =
        state.get("agents").and_then(Value::as_object).cloned().ok_or_else(|| wrong("agents"))?;
    let rows = agents.get("agents").and_then(Value::as_array).cloned().ok_or_else(|| wrong("agents"))?;
    let mut sessions = Sessions::empty();
    let mut migrated = Vec::new();
    for (number, row) in (0u32..).zip(rows.iter()) {
        let mut row = row.as_object().cloned().ok_or_else(|| wrong("agents.agents"))?;
        row.insert("id", u64::from(number));
        row.insert("last_denial", Value::Null);
        migrated.push(Value::from(row));
        sessions.adopt(number, AgentId::from_number(number));
    }
    agents.insert("next", migrated.len() as u64);
    agents.insert("agents", migrated);
    state.insert("agents", agents);
    state.insert("sessions", sessions.to_value());

    let mut subjects =
        state.get("subjects").and_then(Value::as_object).cloned().ok_or_else(|| wrong("subjects"))?;
    let known = subjects.get("known").and_then(Value::as_object).cloned().ok_or_else(|| wrong("subjects"))?;
    let mut named: Vec<(u64, Vec<Value>)> = Vec::new();
    let mut kept = Object::new();
    for (name, subject) in &known {
        let mut subject = subject.as_object().cloned().ok_or_else(|| wrong("subjects.known"))?;
        let by = subject.remove("by").and_then(|by| by.as_u64()).ok_or_else(|| wrong("subjects.known"))?;
        subject.insert("entries", Value::Null);
        if !name.is_empty() {
            match named.iter_mut().find(|(own, _)| *own == by) {
                Some((_, names)) => names.push(name.clone().into()),
                None => named.push((by, Vec::from([name.clone().into()]))),
            }
        }
        kept.insert(name.clone(), subject);
    }
    named.sort_by_key(|(by, _)| *by);
    let named = named.into_iter().map(|(by, names)| ak_json::array![by, names]);
    subjects.insert("known", kept);
    subjects.insert("named", named.collect::<Vec<Value>>());
    state.insert("subjects", subjects);

    let open = state.get("under_way").and_then(Value::as_array).cloned().ok_or_else(|| wrong("under_way"))?;
    let open: Option<Vec<Value>> = open.iter().map(open_from_version_8).collect();
    state.insert("under_way", open.ok_or_else(|| wrong("under_way"))?);

    let history = state.get("history").and_then(Value::as_array).cloned().ok_or_else(|| wrong("history"))?;
    let views = history.iter().map(|view| {
        let mut view = view.as_object()?.clone();
        let mut entry = view.get("entry")?.as_object()?.clone();
        entry.remove("message");
        view.insert("entry", entry);
        Some(Value::from(view))
    });
    state.insert("history", views.collect::<Option<Vec<Value>>>().ok_or_else(|| wrong("history"))?);
    Ok(state.into())
}

fn open_from_version_8(row: &Value) -> Option<Value> {
    let mut row = row.as_object()?.clone();
    row.insert("agent", row.get("session")?.clone());
    let url = row.remove("url");
    let mut sent = Vec::new();
    if let Some(url) = url {
        let mut hop = row.get("args")?.as_object()?.clone();
        hop.insert("url", url);
        let body = hop.get("body").and_then(Value::as_str).map_or(0, str::len) as u64;
        sent.push(Value::from(body - body / 4));
        row.insert("hop", hop);
    }
    row.insert("sent", sent);
    if let Some(aborted) = row.remove("aborted") {
        let code = aborted.get("code")?.as_i64().and_then(|code| i32::try_from(code).ok());
        let code = code.and_then(Code::from_number)?;
        row.insert("aborted", Failure::new(code, code.meaning()).facts());
    }
    if let Some(erasing) = row.remove("erasing") {
        let erasing = erasing.as_array()?.iter().cloned().chain([Value::Null]);
        row.insert("erasing", erasing.collect::<Vec<Value>>());
    }
    Some(row.into())
}

/// Whether this kernel continues journals of this version.
pub(crate) fn is_earlier(version: u64) -> bool {
    EARLIER_VERSIONS.contains(&version)
}
