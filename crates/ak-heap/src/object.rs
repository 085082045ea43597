//! Objects, with their content and history.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use ak_json::{Digest, DropQueue, Labels, Text, Value};
use once_cell::race::OnceBox;

use crate::labels::LabelMap;

/// The content of an object: JSON or raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A JSON value, which patches can change.
    Json(Value),
    /// Bytes that are not JSON, which patches cannot change.
    Raw(Arc<[u8]>),
}

impl Content {
    /// Bytes of the compact JSON text, or number of the raw bytes.
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

    /// The JSON value; `None` for raw bytes.
    pub fn as_json(&self) -> Option<&Value> {
        match self {
            Content::Json(value) => Some(value),
            Content::Raw(_) => None,
        }
    }
}

/// One version of an object: its content and labels.
#[derive(Clone, Debug)]
pub struct Revision {
    version: u64,
    content: Content,
    size: u64,
    labels: Arc<SealedLabels>,
    /// Computed when the heap, or a copy that shares the revision, is digested.
    pub(crate) digest: OnceBox<Digest>,
}

impl Revision {
    pub(crate) fn new(version: u64, content: Content, labels: Arc<SealedLabels>) -> Revision {
        Revision { version, size: content.size(), content, labels, digest: OnceBox::new() }
    }

    /// 0 when allocated; each write adds one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The content.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// [`Content::size`] of the content, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The join of all labels of the content.
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

/// A label map that no longer changes, with the join of its labels.
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

/// An object: its owner, its type, its present content and its history.
#[derive(Clone, Debug)]
pub struct Object {
    owner: Text,
    type_name: Text,
    current: Revision,
    /// Oldest first; versions increase by one up to the current one.
    history: VecDeque<Revision>,
    bytes: u64,
}

impl Object {
    pub(crate) fn new(owner: Text, type_name: Text, current: Revision) -> Object {
        Object { owner, type_name, bytes: current.size, current, history: VecDeque::new() }
    }

    /// An object with these revisions, oldest first; `None` if there are none.
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

    /// The name of the agent that allocated the object.
    pub fn owner(&self) -> &Text {
        &self.owner
    }

    /// The name of the object's type.
    pub fn type_name(&self) -> &Text {
        &self.type_name
    }

    /// 0 when allocated; each write adds one.
    pub fn version(&self) -> u64 {
        self.current.version
    }

    /// The join of all labels of the content.
    pub fn labels(&self) -> &Labels {
        self.current.labels()
    }

    /// The labels by subtree.
    pub fn label_map(&self) -> &LabelMap {
        self.current.label_map()
    }

    /// The present content.
    pub fn content(&self) -> &Content {
        &self.current.content
    }

    /// [`Content::size`] of the present content, in bytes; [`bytes`](Self::bytes) is what counts towards quotas.
    pub fn size(&self) -> u64 {
        self.current.size
    }

    /// The present revision.
    pub fn current(&self) -> &Revision {
        &self.current
    }

    /// Sum of the sizes of all readable revisions, which counts towards quotas.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Every readable revision, oldest first, the current one last.
    pub fn revisions(&self) -> impl DoubleEndedIterator<Item = &Revision> {
        self.history.iter().chain([&self.current])
    }

    /// The revision with this version; `None` if it is not kept.
    pub fn revision(&self, version: u64) -> Option<&Revision> {
        match self.current.version.checked_sub(version)? {
            0 => Some(&self.current),
            back => self.history.get(self.history.len().checked_sub(usize::try_from(back).ok()?)?),
        }
    }

    /// Number of readable revisions.
    pub(crate) fn revision_count(&self) -> usize {
        self.history.len() + 1
    }

    /// Makes `revision` the current one and drops the oldest earlier ones beyond `history_max`.
    pub(crate) fn push(&mut self, revision: Revision, history_max: usize, drop_queue: &mut DropQueue) {
        self.bytes = self.bytes.saturating_add(revision.size);
        self.history.push_back(core::mem::replace(&mut self.current, revision));
        while self.history.len() > history_max {
            let Some(dropped) = self.history.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(dropped.size);
            dropped.content.drop_into(drop_queue);
        }
    }

    /// Moves the contents of all revisions to a queue that frees them step by step.
    pub(crate) fn drop_into(self, drop_queue: &mut DropQueue) {
        for revision in self.history.into_iter().chain([self.current]) {
            revision.content.drop_into(drop_queue);
        }
    }
}
