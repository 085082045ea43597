//! Makes a heap from its bytes. The bytes are not trusted: any bytes give either an error or a heap within its
//! limits.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;

use ak_json::{Integrity, Labels, Limits, Pointer, Text, Value, Work};

use crate::config::HeapConfig;
use crate::config::NAME_BYTES_MAX;
use crate::error::HeapError;
use crate::heap::Heap;
use crate::labels::LabelMap;
use crate::object::{Content, Object, Revision};
use crate::slots::{Slot, State, Tombstone};
use crate::snapshot::{MAGIC_1, MAGIC_2, kind, state};
use crate::types::TypeError;
use crate::usage::Tombstones;

/// Why bytes cannot be restored: they are not a snapshot, or exceed a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("snapshot at byte {offset}: {reason}")]
pub struct RestoreError {
    /// Position of the error, in bytes from the start.
    pub offset: usize,
    /// What is wrong at this position.
    pub reason: RestoreReason,
}

/// What is wrong with the bytes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreReason {
    /// The bytes do not begin like a snapshot.
    #[error("not a snapshot of version 1 or 2")]
    Magic,
    /// The bytes end too early.
    #[error("ends too early")]
    End,
    /// There are more bytes after the end of the snapshot.
    #[error("goes on where it should end")]
    Trailing,
    /// A value that is not allowed at this position.
    #[error("{0}")]
    Form(&'static str),
    /// The snapshot exceeds this limit of the configuration.
    #[error("more than the limit of {0}")]
    Limit(&'static str),
    /// The digest of the restored heap is not the one in the snapshot.
    #[error("the digest does not match")]
    Digest,
}

impl Heap {
    /// Makes the heap that a [`snapshot`](Self::snapshot) was taken of.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are damaged in any way, or exceed the limits of `config`.
    ///
    /// Contents are not checked against the schemas of their types again: they were checked when they were written.
    pub fn restore(bytes: &[u8], config: HeapConfig) -> Result<Heap, RestoreError> {
        let mut reader = Reader { rest: bytes, len: bytes.len() };
        let restored = restore(&mut reader, config);
        restored.map_err(|reason| RestoreError { offset: reader.len - reader.rest.len(), reason })
    }
}

fn restore(reader: &mut Reader<'_>, config: HeapConfig) -> Result<Heap, RestoreReason> {
    let magic = reader.take(MAGIC_1.len());
    if magic != Ok(MAGIC_1) && magic != Ok(MAGIC_2) {
        return Err(RestoreReason::Magic);
    }
    let mut heap = Heap::new(config);
    heap.tombstones = Tombstones::after(reader.u64()?);
    // Objects are added to the indexes as they are read.
    for _ in 0..reader.u32()? {
        let name = reader.name()?;
        let schema = reader.bytes()?;
        if !schema.is_empty() {
            restore_type(&mut heap, "", name, schema)?;
        }
        for _ in 0..reader.u32()? {
            let pointer = Pointer::parse(reader.text()?).map_err(|_| RestoreReason::Form("not a pointer"))?;
            heap.create_index(name, &pointer, &mut Work::unlimited()).map_err(limit)?;
        }
    }
    if magic == Ok(MAGIC_2) {
        let count = reader.u32()?;
        if count == 0 {
            return Err(RestoreReason::Form("format version 2, but no types of agents"));
        }
        for _ in 0..count {
            let (name, scope) = (reader.name()?, reader.name()?);
            restore_type(&mut heap, scope, name, reader.bytes()?)?;
        }
    }
    for index in 0..reader.u32()? {
        slot(reader, &mut heap, index)?;
    }
    let digest = reader.take(32)?;
    if !reader.rest.is_empty() {
        return Err(RestoreReason::Trailing);
    }
    if heap.digest().as_ref() != digest { Err(RestoreReason::Digest) } else { Ok(heap) }
}

fn restore_type(heap: &mut Heap, scope: &str, name: &str, schema: &[u8]) -> Result<(), RestoreReason> {
    let schema = Value::parse(schema, &Limits::default()).map_err(|_| RestoreReason::Form("not JSON"))?;
    heap.restore_type(scope, name, &schema).map_err(|error| match error {
        TypeError::Limit { limit, .. } => RestoreReason::Limit(limit),
        TypeError::Name | TypeError::Schema(_) | TypeError::Object { .. } | TypeError::Work(_) => {
            RestoreReason::Form("not a schema")
        }
    })
}

fn limit(error: HeapError) -> RestoreReason {
    match error {
        HeapError::Limit { limit, .. } => RestoreReason::Limit(limit),
        _ => RestoreReason::Form("not an index"),
    }
}

fn slot(reader: &mut Reader<'_>, heap: &mut Heap, index: u32) -> Result<(), RestoreReason> {
    let generation = reader.u32()?;
    if generation == 0 || index == u32::MAX {
        return Err(RestoreReason::Form("no such handle"));
    }
    let state = match reader.byte()? {
        state::FREE => State::Free,
        state::RETIRED if generation == u32::MAX => State::Retired,
        state::LIVE => {
            let (0, object) = object(reader, heap)? else {
                return Err(RestoreReason::Form("a live object has a deletion number"));
            };
            heap.ledger.add(&object);
            heap.catalog.add(index, &object);
            State::Live(Box::new(object))
        }
        state::DEAD => {
            let (order, object) = object(reader, heap)?;
            if order >= heap.tombstones.deaths() || heap.tombstones.holds(order) {
                return Err(RestoreReason::Form("deletion number is too high or used twice"));
            }
            heap.tombstones.add(order, index, &object);
            State::Dead(Box::new(Tombstone { object, order }))
        }
        _ => return Err(RestoreReason::Form("no such state")),
    };
    heap.slots.append(Slot::new(generation, state));
    let (config, usage, tombstones) = (heap.config(), heap.usage(), heap.tombstones());
    let limits = [
        ("objects", usage.objects, config.objects_max),
        ("bytes", usage.bytes, config.bytes_max),
        ("tombstones", tombstones.objects, config.tombstones_max as u64),
        ("bytes of tombstones", tombstones.bytes, config.tombstone_bytes_max),
    ];
    match limits.iter().find(|(_, held, max)| held > max) {
        Some((what, ..)) => Err(RestoreReason::Limit(what)),
        None => Ok(()),
    }
}

/// The order number of the object's deletion, and the object.
fn object(reader: &mut Reader<'_>, heap: &Heap) -> Result<(u64, Object), RestoreReason> {
    let order = reader.u64()?;
    let (owner, type_name) = (reader.name()?, reader.name()?);
    let (owner, type_name) = (heap.shared_owner(owner), heap.shared_type_name(type_name));
    let (version, count) = (reader.u64()?, reader.u32()?);
    if usize::try_from(count).is_ok_and(|count| count > heap.config().history_max.saturating_add(1)) {
        return Err(RestoreReason::Limit("history"));
    }
    let oldest = version.checked_add(1).and_then(|end| end.checked_sub(count.into()));
    let mut revisions = VecDeque::new();
    for version in oldest.ok_or(RestoreReason::Form("more revisions than versions"))?..=version {
        let content = content(reader, heap.config())?;
        let labels = label_map(reader, heap.config())?;
        revisions.push_back(Revision::new(version, content, heap.sealed(labels)));
    }
    let object = Object::restored(owner, type_name, revisions);
    Ok((order, object.ok_or(RestoreReason::Form("no revision"))?))
}

fn content(reader: &mut Reader<'_>, config: &HeapConfig) -> Result<Content, RestoreReason> {
    let (kind, bytes) = (reader.byte()?, reader.bytes()?);
    if bytes.len() > config.content.bytes_max {
        return Err(RestoreReason::Limit("content in bytes"));
    }
    match kind {
        kind::JSON => {
            // Patches may have built documents with more values than the parser accepts by default.
            let limits = Limits { values_max: usize::MAX, ..config.content };
            let value = Value::parse(bytes, &limits);
            value.map(Content::Json).map_err(|_| RestoreReason::Form("not JSON within the limits"))
        }
        kind::RAW => Ok(Content::Raw(Arc::from(bytes))),
        _ => Err(RestoreReason::Form("no such kind of content")),
    }
}

fn label_map(reader: &mut Reader<'_>, config: &HeapConfig) -> Result<LabelMap, RestoreReason> {
    let count = reader.u32()?;
    if usize::try_from(count).is_ok_and(|count| count > config.labelled_max.saturating_add(1)) {
        return Err(RestoreReason::Limit("labelled subtrees"));
    }
    let mut map = LabelMap::default();
    for _ in 0..count {
        let mut pointer = Pointer::root();
        for _ in 0..reader.u32()? {
            pointer.push(reader.text()?);
        }
        map = map.with(pointer, &labels(reader)?);
    }
    Ok(map)
}

fn labels(reader: &mut Reader<'_>) -> Result<Labels, RestoreReason> {
    let integrity = match reader.byte()? {
        0 => Integrity::Trusted,
        1 => Integrity::Untrusted,
        _ => return Err(RestoreReason::Form("no such integrity")),
    };
    let mut secrecy = BTreeSet::new();
    for _ in 0..reader.u32()? {
        secrecy.insert(Text::from(reader.text()?));
    }
    Ok(Labels { integrity, secrecy })
}

struct Reader<'b> {
    rest: &'b [u8],
    len: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], RestoreReason> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RestoreReason::End)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RestoreReason> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(RestoreReason::End)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, RestoreReason> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, RestoreReason> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RestoreReason> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'b [u8], RestoreReason> {
        let count = self.u32()?;
        self.take(usize::try_from(count).map_err(|_| RestoreReason::End)?)
    }

    fn text(&mut self) -> Result<&'b str, RestoreReason> {
        core::str::from_utf8(self.bytes()?).map_err(|_| RestoreReason::Form("not UTF-8"))
    }

    fn name(&mut self) -> Result<&'b str, RestoreReason> {
        match self.text()? {
            name if (1..=NAME_BYTES_MAX).contains(&name.len()) => Ok(name),
            _ => Err(RestoreReason::Form("not a name")),
        }
    }
}
