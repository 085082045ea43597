//! Snapshots: the whole state as bytes, and a kernel restored from them. A snapshot does not authenticate itself:
//! the record of its end contains the state's digest, and a restored kernel is accepted only if it makes that same
//! record again.

use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};

use ak_audit::Kind;
use ak_heap::{Heap, Image};
use ak_json::{ArrayEncoder, Digest, Encoded, Limits, Object, ObjectEncoder, Value, object};
use ak_policy::{GrantTable, Policy};

use crate::{
    accounts::{agents::Agents, sessions::Sessions, tool_permissions::ToolPermissions},
    api::{
        config::Config,
        fields::{FieldError, Fields, base64url},
        operation::Operation,
        policy_files::{paths_from_value, paths_to_value},
        time::{Clock, Now},
    },
    codec::input::{FORMAT_VERSION, Input},
    effects::pending::PendingEffect,
    heap::types::Types,
    record::{
        entry::{Chain, EntryFields, SEMANTICS_VERSION},
        history::{History, Views},
        subjects::{Subjects, SubjectsImage},
    },
    replay::upgrade::{self, is_earlier},
    state::{Kernel, SnapshotBegun},
    tools::registry::Toolbox,
};

/// The first bytes of a snapshot: format and version.
const MAGIC: &[u8; 8] = b"AKSNAP01";

/// Bytes that are not a snapshot of the state.
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

/// The state at the start of a snapshot. It shares its large parts with the kernel, which continues meanwhile.
#[derive(Debug)]
pub struct StateImage {
    seq: u64,
    /// The state without the parts in the other fields.
    rest: Object,
    subjects: SubjectsImage,
    history: Views,
    heap: Image,
}

impl StateImage {
    /// The `seq` of the entry that the snapshot belongs to. The state is the one before this entry.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Encodes the snapshot, and computes the digest for [`Kernel::end_snapshot`]. The time is proportional to the
    /// whole state.
    ///
    /// The bytes are `AKSNAP01`, the length of the state's JSON text (u64, little-endian), the text, and the heap's
    /// own snapshot. They contain personal data of all subjects: protect them like the bodies, and delete them at
    /// the next erasure.
    pub fn encode(&self) -> (Vec<u8>, Digest) {
        let heap = self.heap.digest();
        let mut text = Vec::from(MAGIC);
        let length_at = text.len();
        text.extend([0; size_of::<u64>()]);
        let text_at = text.len();
        let state = self.state(Some(&mut text));
        let length = (text.len().saturating_sub(text_at) as u64).to_le_bytes();
        if let Some(place) = text.get_mut(length_at..text_at) {
            place.copy_from_slice(&length);
        }
        self.heap.write(heap, &mut text);
        (text, whole_digest(&state, heap))
    }

    /// The digest without the bytes.
    fn digest(&self, heap: Digest) -> Digest {
        whole_digest(&self.state(None), heap)
    }

    /// The canonical encoding of the state without the heap; writes its JSON text if `text` is given. The readable
    /// entries are converted one at a time, because as values they take many times their packed memory.
    fn state(&self, mut text: Option<&mut Vec<u8>>) -> Encoded {
        let mut state = ObjectEncoder::default();
        let mut write = |bytes: &[u8], value: Option<&Value>| {
            if let Some(text) = &mut text {
                text.extend_from_slice(bytes);
                value.into_iter().for_each(|value| value.write_json(text));
            }
        };
        let subjects = self.subjects.to_value();
        let large = [("subjects", &subjects)];
        for (at, (name, value)) in
            self.rest.iter().map(|(name, value)| (&**name, value)).chain(large).enumerate()
        {
            state.push(name, &Encoded::from(value));
            write(if at == 0 { b"{" } else { b"," }, Some(&Value::from(name)));
            write(b":", Some(value));
        }
        let mut entries = ArrayEncoder::default();
        write(b",\"history\":", None);
        for (at, entry) in self.history.values().enumerate() {
            entries.push(&entry);
            write(if at == 0 { b"[" } else { b"," }, Some(&entry));
        }
        write(if self.history.is_empty() { b"[]}" } else { b"]}" }, None);
        state.push("history", &entries.finish());
        state.finish()
    }
}

fn whole_digest(state: &Encoded, heap: Digest) -> Digest {
    let mut whole = ObjectEncoder::default();
    whole.push("state", state);
    whole.push("heap", &Encoded::from(&Value::from(format!("{heap}"))));
    whole.finish().digest()
}

impl Kernel {
    /// Begins a snapshot: returns the current state, and records that a snapshot has begun.
    ///
    /// 1. Encode the image, which may take long; the kernel continues meanwhile.
    /// 2. Record the digest with [`end_snapshot`](Self::end_snapshot), and make the record durable.
    /// 3. Store the snapshot: from here on the log authenticates it.
    ///
    /// A new snapshot replaces one that has begun and not ended.
    pub fn begin_snapshot(&mut self, now: Now) -> StateImage {
        self.record_clock_step(&now);
        let image = self.image();
        self.note_snapshot_begun(&now, None);
        image
    }

    /// Records the digest of the state before entry `of`, with which the newest snapshot began. Returns whether it
    /// did; if another snapshot has begun since, nothing is recorded.
    pub fn end_snapshot(&mut self, now: Now, of: u64, state: Digest) -> bool {
        if self.begun.is_none_or(|begun| begun.seq != of) {
            return false;
        }
        self.record_clock_step(&now);
        self.note_snapshot_kept(&now, of, state);
        true
    }

    /// Makes a snapshot at once: begins, encodes and ends it.
    pub fn snapshot(&mut self, now: Now) -> Vec<u8> {
        let image = self.begin_snapshot(now);
        let (bytes, state) = image.encode();
        self.end_snapshot(now, image.seq, state);
        bytes
    }

    /// Records the begin of a snapshot.
    fn note_snapshot_begun(&mut self, now: &Now, state: Option<Digest>) {
        self.begun = Some(SnapshotBegun { seq: self.chain.next_seq(), state });
        self.advance(now);
        let facts = EntryFields { kind: Kind::Notice, ..self.notice(Operation::Snapshot) };
        self.record(now, &Input::SnapshotBegun, facts, Vec::new(), object! {});
    }

    /// Records the end of a snapshot with the digest of its state.
    fn note_snapshot_kept(&mut self, now: &Now, of: u64, state: Digest) {
        self.begun = None;
        self.advance(now);
        let facts = EntryFields { kind: Kind::Outcome, cause: Some(of), ..self.notice(Operation::Snapshot) };
        self.record(now, &Input::SnapshotKept { of, state }, facts, Vec::new(), object! {});
    }

    /// Re-executes the record of a snapshot's begin: computes the digest of the state.
    pub(crate) fn begin_snapshot_again(&mut self, now: &Now) {
        let state = self.state_digest();
        self.note_snapshot_begun(now, Some(state));
    }

    /// Re-executes the record of a snapshot's end: compares its digest with the computed one.
    ///
    /// # Errors
    /// Why no such record follows.
    pub(crate) fn end_snapshot_again(&mut self, now: &Now, of: u64, state: Digest) -> Result<(), String> {
        match self.begun.filter(|begun| begun.seq == of).map(|begun| begun.state) {
            None => Err(format!("no snapshot that began with entry {of} is to be ended")),
            Some(computed) if computed != Some(state) => {
                Err(format!("the state from before entry {of} is not the one that the entry commits to"))
            }
            Some(_) => {
                self.note_snapshot_kept(now, of, state);
                Ok(())
            }
        }
    }

    /// Records a digest of the state in the form of earlier versions.
    pub(crate) fn note_digest(&mut self, now: &Now, state: Digest) {
        self.advance(now);
        let facts = EntryFields { kind: Kind::Notice, ..self.notice(Operation::Snapshot) };
        self.record(now, &Input::Snapshot { state }, facts, Vec::new(), object! {});
    }

    /// The kernel before the entry that the snapshot belongs to; its next input is the one of that entry.
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not a snapshot that this kernel supports.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Kernel, RestoreError> {
        let (state, heap) = parts(bytes)?;
        Kernel::from_state(&state, heap)
    }

    /// The digest of the state in a snapshot of any version, computed from its bytes.
    pub(crate) fn digest_of(bytes: &[u8], config: &Config) -> Result<Digest, RestoreError> {
        let (state, heap) = parts(bytes)?;
        let mut heap = Heap::restore(heap, Kernel::heap_config(config)).map_err(unusable)?;
        Ok(whole_digest(&Encoded::from(&state), heap.digest()))
    }

    /// A digest of everything that the kernel's further decisions and replies depend on. Replay gives the same
    /// digest.
    pub fn state_digest(&mut self) -> Digest {
        let heap = self.heap.digest();
        self.image().digest(heap)
    }

    /// The current state, which shares its large parts with the kernel. This takes time for the small parts, and
    /// one pointer per 32 or so items of the large ones.
    pub fn image(&self) -> StateImage {
        StateImage {
            seq: self.chain.next_seq(),
            rest: self.rest(),
            subjects: self.subjects.image(),
            history: self.history.views(),
            heap: self.heap.image(),
        }
    }

    /// The state without its large parts.
    fn rest(&self) -> Object {
        let mut lists: Vec<&Arc<ToolPermissions>> = Vec::new();
        let pending: Vec<Value> = self
            .pending
            .iter()
            .map(|(ticket, open)| {
                let mut row = open.to_value(&mut lists);
                row.insert("ticket", ticket.cause());
                Value::from(row)
            })
            .collect();
        let needs: Vec<Value> = lists.into_iter().map(|needs| needs.to_value()).collect();
        let mut rest = Object::new();
        rest.insert("format", FORMAT_VERSION);
        rest.insert("semantics", SEMANTICS_VERSION);
        rest.insert("config", self.config.to_value());
        rest.insert("run", base64url(self.chain.run()));
        rest.insert("next", self.chain.next_seq());
        rest.insert("head", format!("{}", self.chain.head()));
        rest.insert("clock", self.clock.to_value());
        rest.insert("sessions", self.sessions.to_value());
        rest.insert("policy", self.policy.to_value().clone());
        rest.insert("grants", self.grants.to_value());
        rest.insert("agents", self.agents.to_value());
        rest.insert("types", self.types.to_value());
        rest.insert("tools", self.toolbox.state());
        rest.insert("under_way", pending);
        rest.insert("needs", needs);
        rest.insert("upgraded", self.upgraded.map(Value::from));
        if !self.policy_files.is_empty() {
            rest.insert("policy_files", paths_to_value(&self.policy_files));
        }
        rest
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
        let mut pending = BTreeMap::new();
        let agents = Agents::from_value(&fields.value("agents")?)?;
        let needs = fields.items("needs")?;
        let needs: Vec<Arc<ToolPermissions>> = needs
            .iter()
            .map(|row| ToolPermissions::from_value(row).map(Arc::new))
            .collect::<Result<_, _>>()?;
        for row in fields.items("under_way")?.iter() {
            let (ticket, open) = PendingEffect::from_value(row, &agents, &needs)?;
            pending.insert(ticket, open);
        }
        let heap = Heap::restore(heap, Kernel::heap_config(&config)).map_err(unusable)?;
        let mut kernel = Kernel::empty(config, chain, policy, pending);
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
        kernel.subjects = Subjects::from_value(&fields.value("subjects")?, &heap)?;
        (kernel.agents, kernel.heap) = (agents, heap);
        fields.finish()?;
        Ok(kernel)
    }
}

/// Splits a snapshot into the state and the heap's own snapshot.
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

/// Deepest nesting of a state: a journalled input, and the members around it.
const JSON_DEPTH_MAX: usize = 1024;
