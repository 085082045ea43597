//! The whole state as bytes, and a kernel from them. What a snapshot rests on is not itself: the record made with it holds
//! the state's digest, and a kernel restored from it goes on only if it makes that very record again.

use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};

use ak_audit::Kind;
use ak_heap::Heap;
use ak_json::{Digest, Limits, Object, Value, object};
use ak_policy::{GrantTable, Policy};

use crate::{
    agents::Agents,
    config::Config,
    effect::{LogWork, Ticket},
    fields::{FieldError, Fields, base64url},
    form::insert_some,
    history::History,
    http_hop::HttpHop,
    kernel::Kernel,
    needs::{Needs, ToolLine},
    operation::Operation,
    policy_files::{paths_from_value, paths_to_value},
    presented::Presented,
    record::{Chain, FORMAT_VERSION, Facts, Input, SEMANTICS_VERSION},
    reply::Failure,
    request::Request,
    session::{SessionId, Sessions},
    subject::Subjects,
    time::{Clock, Now},
    toolbox::Toolbox,
    types::Types,
    under_way::UnderWay,
    upgrade::{self, is_earlier},
};

/// How a snapshot begins: format and version.
const MAGIC: &[u8; 8] = b"AKSNAP01";

/// Bytes that are no snapshot of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot cannot be used: {reason}")]
pub struct RestoreError {
    /// What is wrong with it.
    pub reason: String,
}

impl From<FieldError> for RestoreError {
    fn from(error: FieldError) -> RestoreError {
        RestoreError { reason: format!("{error}") }
    }
}

fn unusable(error: impl core::fmt::Display) -> RestoreError {
    RestoreError { reason: format!("{error}") }
}

impl Kernel {
    /// Takes a snapshot: records the state's digest, and gives the state as it was before that record.
    ///
    /// `AKSNAP01`, the length of the state's JSON text (u64, little-endian), the text, the heap's own snapshot. It holds
    /// all that the kernel knows of everybody: keep it as the bodies are kept, and no longer than the next erasure.
    pub fn snapshot(&mut self, now: Now) -> Vec<u8> {
        self.note_step(&now);
        let bytes = self.encode_state();
        self.note_state(&now);
        bytes
    }

    /// How long a snapshot of the state is now, in bytes.
    pub fn snapshot_bytes(&mut self) -> u64 {
        self.encode_state().len() as u64
    }

    /// The state as bytes.
    pub(crate) fn encode_state(&mut self) -> Vec<u8> {
        let text = self.state().to_json();
        let mut bytes = Vec::from(MAGIC);
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(self.heap.snapshot());
        bytes
    }

    /// Records the state's digest.
    pub(crate) fn note_state(&mut self, now: &Now) {
        self.advance(now);
        let state = self.state_digest();
        self.note_digest(now, state);
    }

    /// Records a digest of the state.
    pub(crate) fn note_digest(&mut self, now: &Now, state: Digest) {
        self.advance(now);
        let facts = Facts { kind: Kind::Notice, ..self.notice(Operation::Snapshot) };
        self.record(now, &Input::Snapshot { state }, facts, Vec::new(), object! {});
    }

    /// The kernel as it was when the snapshot was taken: the next input is the record made with it.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are no snapshot that this kernel takes.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Kernel, RestoreError> {
        let (state, heap) = parts(bytes)?;
        Kernel::from_state(&state, heap)
    }

    /// The digest of the state that a snapshot holds, by its bytes alone and of whatever version.
    pub(crate) fn digest_of(bytes: &[u8], config: &Config) -> Result<Digest, RestoreError> {
        let (state, heap) = parts(bytes)?;
        let mut heap = Heap::restore(heap, Kernel::heap_config(config)).map_err(unusable)?;
        Ok(object! { "state": state, "heap": format!("{}", heap.digest()) }.digest())
    }

    /// A digest of everything that the kernel's further decisions and answers depend on. Equal after replay.
    pub fn state_digest(&mut self) -> Digest {
        let state = self.state();
        object! { "state": state, "heap": format!("{}", self.heap.digest()) }.digest()
    }

    /// Everything but the heap.
    fn state(&self) -> Value {
        let mut lists: Vec<&Arc<Needs>> = Vec::new();
        let under_way: Vec<Value> = self
            .under_way
            .iter()
            .map(|(ticket, open)| {
                let mut row = open.to_value(&mut lists);
                row.insert("ticket", ticket.cause());
                Value::from(row)
            })
            .collect();
        let needs: Vec<Value> = lists.into_iter().map(|needs| needs.to_value()).collect();
        let mut state = object! {
            "format": FORMAT_VERSION, "semantics": SEMANTICS_VERSION, "config": self.config.to_value(),
            "run": base64url(self.chain.run()), "next": self.chain.next_seq(), "head": format!("{}", self.chain.head()),
            "clock": self.clock.to_value(), "sessions": self.sessions.to_value(), "policy": self.policy.to_value().clone(), "grants": self.grants.to_value(),
            "agents": self.agents.to_value(), "types": self.types.to_value(), "tools": self.toolbox.state(),
            "subjects": self.subjects.to_value(), "history": self.history.to_value(),
            "under_way": under_way, "needs": needs, "upgraded": self.upgraded.map(Value::from),
        };
        if let Value::Object(state) = &mut state
            && !self.policy_files.is_empty()
        {
            state.insert("policy_files", paths_to_value(&self.policy_files));
        }
        state
    }

    fn from_state(state: &Value, heap: &[u8]) -> Result<Kernel, RestoreError> {
        let version = state.get("semantics").and_then(Value::as_u64);
        let earlier = version.filter(|version| is_earlier(*version));
        let migrated = match earlier {
            Some(_) => upgrade::from_version_8(state)?,
            None => state.clone(),
        };
        let mut fields = Fields::new("state", &migrated)?;
        if fields.u64("format")? != FORMAT_VERSION {
            return Err(fields.error("format", "is a version that this kernel does not know").into());
        }
        if fields.u64("semantics")? != SEMANTICS_VERSION && earlier.is_none() {
            return Err(fields.error("semantics", "is a version that this kernel does not know").into());
        }
        let config = Config::from_value(&fields.value("config")?)?;
        let run = <[u8; 16]>::try_from(&*fields.bytes("run")?);
        let run = run.map_err(|_| fields.error("run", "expected 16 bytes"))?;
        let chain = Chain::resumed(run, fields.u64("next")?, fields.digest("head")?);
        let policy = Policy::from_value(&fields.value("policy")?).map_err(unusable)?;
        let mut under_way = BTreeMap::new();
        let agents = Agents::from_value(&fields.value("agents")?)?;
        let needs = fields.items("needs")?;
        let needs: Vec<Arc<Needs>> =
            needs.iter().map(|row| Needs::from_value(row).map(Arc::new)).collect::<Result<_, _>>()?;
        for row in fields.items("under_way")?.iter() {
            let (ticket, open) = UnderWay::from_value(row, &agents, &needs)?;
            under_way.insert(ticket, open);
        }
        let heap = Heap::restore(heap, Kernel::heap_config(&config)).map_err(unusable)?;
        let mut kernel = Kernel::bare(config, chain, policy, under_way);
        kernel.earlier = earlier;
        kernel.upgraded = fields.optional_u64("upgraded")?;
        if let Some(files) = fields.optional("policy_files") {
            let files = paths_from_value(&files);
            kernel.policy_files = files.ok_or_else(|| fields.error("policy_files", "expected paths"))?;
        }
        kernel.clock = Clock::from_value(&fields.value("clock")?)?;
        kernel.sessions = Sessions::from_value(&fields.value("sessions")?)?;
        kernel.grants = GrantTable::from_value(&fields.value("grants")?).map_err(unusable)?;
        kernel.types = Types::from_value(&fields.value("types")?)?;
        kernel.toolbox = Toolbox::from_state(&fields.value("tools")?, &kernel.config)?;
        kernel.history = History::from_value(&fields.value("history")?, kernel.config.history_bytes_max)?;
        kernel.subjects = Subjects::from_value(&fields.value("subjects")?)?;
        (kernel.agents, kernel.heap) = (agents, heap);
        fields.finish()?;
        Ok(kernel)
    }
}

/// The state and the heap's own snapshot.
fn parts(bytes: &[u8]) -> Result<(Value, &[u8]), RestoreError> {
    let short = || unusable("it ends too early");
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| unusable("it is of another format"))?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short())?;
    let (state, heap) = rest.split_at_checked(length).ok_or_else(short)?;
    let unbounded = Limits {
        depth_max: JSON_DEPTH_MAX,
        bytes_max: usize::MAX,
        members_max: usize::MAX,
        values_max: usize::MAX,
    };
    let state = Value::parse(state, &unbounded).map_err(unusable)?;
    Ok((state, heap))
}

/// Deepest nesting of a state: of a journalled input, and the members around it.
const JSON_DEPTH_MAX: usize = 1024;

impl UnderWay {
    /// `lists` takes the needs of tools, each once.
    fn to_value<'k>(&'k self, lists: &mut Vec<&'k Arc<Needs>>) -> Object {
        let mut row = Object::new();
        row.insert("session", u64::from(self.session.number()));
        row.insert("agent", u64::from(self.account.number()));
        row.insert("op", self.request.operation().name());
        row.insert("args", self.request.args());
        insert_some(&mut row, "cap", self.presented.as_ref().map(Presented::to_value));
        insert_some(&mut row, "target", self.target.clone());
        row.insert("hold", self.hold.to_value());
        insert_some(&mut row, "links_beneath", self.links_beneath.clone());
        if let (Request::Http(first), Some(hop)) = (&self.request, &self.hop) {
            row.insert("hop", hop.to_value(first));
        }
        row.insert("sent", self.sent.iter().copied().map(Value::from).collect::<Vec<Value>>());
        row.insert("tokens", self.tokens);
        row.insert("tokens_max", self.tokens_max);
        insert_some(&mut row, "within", self.within.map(Ticket::cause));
        let tools = self.tools.iter().map(|needs| {
            let known = lists.iter().position(|list| list == &needs);
            let at = known.unwrap_or_else(|| {
                lists.push(needs);
                lists.len() - 1
            });
            Value::from(at as u64)
        });
        row.insert("tools", tools.collect::<Vec<Value>>());
        row.insert("host_calls", self.host_calls);
        insert_some(&mut row, "aborted", self.aborted.as_ref().map(Failure::facts));
        let erasing = self.erasing.as_ref().and_then(LogWork::erasing);
        let erasing = erasing
            .map(|(subject, objects, entries)| ak_json::array![subject, objects, entries.map(Value::from)]);
        insert_some(&mut row, "erasing", erasing);
        row
    }

    fn from_value(
        value: &Value,
        agents: &Agents,
        needs: &[Arc<Needs>],
    ) -> Result<(Ticket, UnderWay), FieldError> {
        let mut fields = Fields::new("under_way", value)?;
        let operation = Operation::from_name(&fields.text("op")?)
            .ok_or_else(|| fields.error("op", "is not an operation"))?;
        let request = Request::decode(operation, &fields.value("args")?)?;
        let hop = fields.optional("hop").as_ref().map(HttpHop::from_value).transpose()?;
        let sent = fields.items("sent")?;
        let sent: Option<Vec<u64>> = sent.iter().map(Value::as_u64).collect();
        let erasing = fields.optional("erasing").map(|row| {
            let number = |index| row.as_array()?.iter().nth(index)?.as_u64();
            Some(LogWork::Erase { subject: number(0)?, objects: number(1)?, entries: number(2) })
        });
        let tools = fields.items("tools")?;
        let tools = tools.iter().map(|at| needs.get(usize::try_from(at.as_u64()?).ok()?).cloned());
        let tools: Option<ToolLine> = tools.collect();
        let session = SessionId::from_number(fields.account("session")?.number());
        let account = fields.account("agent")?;
        let open = UnderWay {
            within: fields.optional_u64("within")?.map(Ticket::new),
            tools: tools.ok_or_else(|| fields.error("tools", "expected numbers of needs"))?,
            host_calls: fields.u64("host_calls")?,
            presented: fields.optional("cap").as_ref().map(Presented::from_value).transpose()?,
            target: fields.optional_text("target")?.as_deref().map(String::from),
            links_beneath: fields.optional_text("links_beneath")?,
            hop,
            sent: sent.ok_or_else(|| fields.error("sent", "expected numbers"))?,
            tokens: fields.u64("tokens")?,
            tokens_max: fields.u64("tokens_max")?,
            aborted: fields.optional("aborted").as_ref().map(Failure::from_facts).transpose()?,
            erasing: erasing
                .map(|work| work.ok_or_else(|| fields.error("erasing", "is no erasure")))
                .transpose()?,
            ..UnderWay::new(session, account, request, agents.hold_again(&fields.value("hold")?)?)
        };
        let ticket = Ticket::new(fields.u64("ticket")?);
        fields.finish()?;
        Ok((ticket, open))
    }
}
