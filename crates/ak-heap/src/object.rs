//! What a handle names: an object, its content and its history.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use ak_json::{Digest, DropQueue, Labels, Text, Value};
use once_cell::race::OnceBox;

use crate::labels::LabelMap;

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A JSON value, which patches can change.
    Json(Value),
    /// Bytes that are not JSON, which stay as they are.
    Raw(Arc<[u8]>),
}

impl Content {
    /// Bytes of the compact JSON text, or of the raw bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Json(value) => value.json_len() as u64,
            Content::Raw(bytes) => bytes.len() as u64,
        }
    }

    fn drop_into(self, drop_queue: &mut DropQueue) {
        if let Content::Json(value) = self {
            drop_queue.add(value);
        }
    }

    /// The JSON value, if it is one.
    pub fn as_json(&self) -> Option<&Value> {
        match self {
            Content::Json(value) => Some(value),
            Content::Raw(_) => None,
        }
    }
}

/// One state of an object, as a write left it.
#[derive(Clone, Debug)]
pub struct Revision {
    version: u64,
    content: Content,
    size: u64,
    labels: Arc<SealedLabels>,
    /// Computed when the heap, or a copy that shares it, is digested.
    pub(crate) digest: OnceBox<Digest>,
}

impl Revision {
    pub(crate) fn new(version: u64, content: Content, labels: Arc<SealedLabels>) -> Revision {
        Revision { version, size: content.size(), content, labels, digest: OnceBox::new() }
    }

    /// 0 as allocated, one more after each write.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The content.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// [`Content::size`] of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the whole content carries.
    pub fn labels(&self) -> &Labels {
        &self.labels.whole
    }

    /// The labels by subtree.
    pub fn label_map(&self) -> &LabelMap {
        &self.labels.map
    }

    pub(crate) fn sealed_labels(&self) -> &Arc<SealedLabels> {
        &self.labels
    }
}

/// A label map that no longer changes, and what it comes to.
#[derive(Debug, Default)]
pub(crate) struct SealedLabels {
    map: LabelMap,
    whole: Labels,
}

impl SealedLabels {
    pub(crate) fn map(&self) -> &LabelMap {
        &self.map
    }
}

impl From<LabelMap> for SealedLabels {
    fn from(map: LabelMap) -> SealedLabels {
        SealedLabels { whole: map.joined(), map }
    }
}

/// An object: who owns it, of what type it is, its present content and what it held before.
#[derive(Clone, Debug)]
pub struct Object {
    owner: Text,
    type_name: Text,
    current: Revision,
    /// Oldest first; versions rise by one up to the current.
    history: VecDeque<Revision>,
    bytes: u64,
}

impl Object {
    pub(crate) fn new(owner: Text, type_name: Text, current: Revision) -> Object {
        Object { owner, type_name, bytes: current.size, current, history: VecDeque::new() }
    }

    /// An object with these revisions, oldest first; none without any.
    pub(crate) fn restored(
        owner: Text,
        type_name: Text,
        mut revisions: VecDeque<Revision>,
    ) -> Option<Object> {
        let current = revisions.pop_back()?;
        let bytes =
            revisions.iter().fold(current.size, |bytes, revision| bytes.saturating_add(revision.size));
        Some(Object { owner, type_name, current, history: revisions, bytes })
    }

    /// The agent that allocated it.
    pub fn owner(&self) -> &Text {
        &self.owner
    }

    /// The name of its type.
    pub fn type_name(&self) -> &Text {
        &self.type_name
    }

    /// 0 as allocated, one more after each write.
    pub fn version(&self) -> u64 {
        self.current.version
    }

    /// What the whole content carries.
    pub fn labels(&self) -> &Labels {
        self.current.labels()
    }

    /// The labels by subtree.
    pub fn label_map(&self) -> &LabelMap {
        self.current.label_map()
    }

    /// The content.
    pub fn content(&self) -> &Content {
        &self.current.content
    }

    /// [`Content::size`] of the content; see [`bytes`](Self::bytes) for what counts towards quotas.
    pub fn size(&self) -> u64 {
        self.current.size
    }

    /// The present state.
    pub fn current(&self) -> &Revision {
        &self.current
    }

    /// The sizes of all revisions that can be read, together: what the object counts for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Every revision that can be read, oldest first, the current last.
    pub fn revisions(&self) -> impl DoubleEndedIterator<Item = &Revision> {
        self.history.iter().chain([&self.current])
    }

    /// The revision with this version, if it is still kept.
    pub fn revision(&self, version: u64) -> Option<&Revision> {
        match self.current.version.checked_sub(version)? {
            0 => Some(&self.current),
            back => self.history.get(self.history.len().checked_sub(usize::try_from(back).ok()?)?),
        }
    }

    /// How many revisions can be read.
    pub(crate) fn revision_count(&self) -> usize {
        self.history.len() + 1
    }

    /// Makes `revision` the current one and throws away what exceeds `history_max` earlier ones.
    pub(crate) fn push(&mut self, revision: Revision, history_max: usize, drop_queue: &mut DropQueue) {
        self.bytes = self.bytes.saturating_add(revision.size);
        self.history.push_back(core::mem::replace(&mut self.current, revision));
        while self.history.len() > history_max {
            let Some(dropped) = self.history.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(dropped.size);
            dropped.content.drop_into(drop_queue);
        }
    }

    /// Gives up all revisions, a little at a time.
    pub(crate) fn drop_into(self, drop_queue: &mut DropQueue) {
        for revision in self.history.into_iter().chain([self.current]) {
            revision.content.drop_into(drop_queue);
        }
    }
}
