//! The heap as bytes, for storage.

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::Digest;

use crate::catalog::Declarations;
use crate::encode::{label_map, length, text};
use crate::heap::Heap;
use crate::object::{Content, Object, Revision};
use crate::slots::{State, Table};

/// The first bytes of a snapshot: format and version. Version 1 has no types that agents registered.
pub(crate) const MAGIC_1: &[u8; 4] = b"AKH1";
pub(crate) const MAGIC_2: &[u8; 4] = b"AKH2";
/// The states of a slot, after its generation.
pub(crate) mod state {
    pub(crate) const FREE: u8 = 0;
    pub(crate) const LIVE: u8 = 1;
    pub(crate) const DEAD: u8 = 2;
    pub(crate) const RETIRED: u8 = 3;
}
/// The kinds of content, in its first byte.
pub(crate) mod kind {
    pub(crate) const JSON: u8 = 0;
    pub(crate) const RAW: u8 = 1;
}

impl Heap {
    /// Encodes everything visible through the heap as bytes, from which [`restore`](Self::restore) makes an equal
    /// heap. Limits are not included.
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 4 | `AKH1`, or `AKH2` where agents registered types |
    /// | 8 | number of objects ever deleted |
    /// | 4 | number of types with a schema for everybody or indexes, and for each, ascending: |
    /// | | its name, the compact JSON text of its schema (empty without one), the number of its indexes (4), their JSON Pointers, ascending |
    /// | 4 | `AKH2` only: number of types that agents registered, and for each, ascending: type name, scope, the compact JSON text of its schema |
    /// | 4 | number of slots, and for each: |
    /// | 4 + 1 | generation; 0 free, 1 live, 2 tombstone, 3 retired. If live or tombstone: |
    /// | 8 | number of objects deleted before it; 0 while live |
    /// | | owner, type name |
    /// | 8 + 4 | the newest version; the number of revisions kept, and for each, oldest first: |
    /// | 1 | 0 JSON, 1 raw bytes |
    /// | 4 + *n* | length and content: compact JSON text or the bytes |
    /// | 4 | the number of label entries: one for the whole content, then one for each labelled subtree, ascending |
    /// | | each: the number of pointer tokens (4), the tokens, integrity (1: 0 trusted, 1 untrusted), the number of secrets (4), the secrets, ascending |
    /// | 32 | [`digest`](Self::digest) of the heap |
    ///
    /// Integers are little-endian. Names, pointers, tokens and secrets are UTF-8 with their length (4) in front.
    pub fn snapshot(&mut self) -> Vec<u8> {
        let digest = self.digest();
        let mut bytes = Vec::new();
        self.image().write(digest, &mut bytes);
        bytes
    }

    /// A copy that can be encoded later, by another thread too, while the heap changes. It shares all unchanged data
    /// with the heap, and costs one pointer for each 32 slots.
    pub fn image(&self) -> Image {
        Image { deaths: self.deaths(), declarations: self.catalog.declarations(), table: self.slots.table() }
    }
}

/// A copy of a heap, to be encoded: see [`Heap::image`].
#[derive(Clone, Debug)]
pub struct Image {
    pub(crate) deaths: u64,
    pub(crate) declarations: Declarations,
    pub(crate) table: Table,
}

impl Image {
    /// Appends the [`snapshot`](Heap::snapshot) of the heap when the image was made, whose [`digest`](Self::digest)
    /// is `digest`.
    pub fn write(&self, digest: Digest, bytes: &mut Vec<u8>) {
        let Declarations { types, scoped } = &self.declarations;
        bytes.extend(if scoped.is_empty() { MAGIC_1 } else { MAGIC_2 });
        bytes.extend(self.deaths.to_le_bytes());
        length(types.len(), bytes);
        for (name, schema, indexes) in types {
            text(name, bytes);
            let schema = schema.as_ref().map(|schema| schema.source().to_json());
            text(&schema.unwrap_or_default(), bytes);
            length(indexes.len(), bytes);
            indexes.iter().for_each(|pointer| text(&pointer.to_string(), bytes));
        }
        if !scoped.is_empty() {
            length(scoped.len(), bytes);
        }
        for (scope, name, schema) in scoped {
            text(name, bytes);
            text(scope, bytes);
            text(&schema.source().to_json(), bytes);
        }
        length(self.table.len(), bytes);
        for (_, slot) in self.table.iter() {
            bytes.extend(slot.generation.to_le_bytes());
            match &slot.state {
                State::Free => bytes.push(state::FREE),
                State::Retired => bytes.push(state::RETIRED),
                State::Live(live) => {
                    bytes.push(state::LIVE);
                    object(0, live, bytes);
                }
                State::Dead(tombstone) => {
                    bytes.push(state::DEAD);
                    object(tombstone.order, &tombstone.object, bytes);
                }
            }
        }
        bytes.extend(digest.as_bytes());
    }
}

fn object(order: u64, object: &Object, bytes: &mut Vec<u8>) {
    bytes.extend(order.to_le_bytes());
    text(object.owner(), bytes);
    text(object.type_name(), bytes);
    bytes.extend(object.version().to_le_bytes());
    length(object.revision_count(), bytes);
    object.revisions().for_each(|kept| revision(kept, bytes));
}

fn revision(revision: &Revision, bytes: &mut Vec<u8>) {
    bytes.push(match revision.content() {
        Content::Json(_) => kind::JSON,
        Content::Raw(_) => kind::RAW,
    });
    length(usize::try_from(revision.size()).unwrap_or(usize::MAX), bytes);
    match revision.content() {
        Content::Json(value) => value.write_json(bytes),
        Content::Raw(raw) => bytes.extend(&**raw),
    }
    label_map(revision.label_map(), bytes);
}
