//! The digest of the whole heap.
//!
//! | what | digest: SHA-256 over |
//! |---|---|
//! | revision | `30 ‖ kind ‖ content ‖ labels`; *kind* is 0 for JSON, 1 for raw bytes; *content* is the digest of the JSON value or the SHA-256 of the bytes |
//! | slot | `31 ‖ u32 generation ‖ state ‖ …`; *state* is 0 free, 1 live, 2 tombstone, 3 retired |
//! | … live or tombstone | `u64 order of death` (0 while live) `‖ owner ‖ type name ‖ u64 version ‖ u32 count ‖` the kept revisions' digests, oldest first |
//! | node | `32 ‖` digests of up to 16 slots or nodes; the slots in the order of their indexes |
//! | catalog | `34 ‖`, for each type with a schema for everybody or indexes, in order: its name, the digest of its schema (zeros without one), `u32 count ‖` the pointers of its indexes, as texts, in order |
//! | … where agents registered types | `u32 count ‖`, for each, ascending: type name, scope, the digest of its schema |
//! | heap | `33 ‖ u32 slots ‖ u64 deaths ‖ catalog ‖` root node |
//!
//! Prefix bytes are hexadecimal, integers little-endian; texts and labels are encoded as in a
//! [snapshot](crate::Heap::snapshot).

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Digest, sha256};

use crate::catalog::Declarations;
use crate::digest_tree::DigestTree;
use crate::encode::{label_map, length, text};
use crate::heap::Heap;
use crate::object::{Content, Object, Revision};
use crate::slots::{Slot, State};
use crate::snapshot::Image;

impl Heap {
    /// The digest of everything visible through the heap: objects, labels, history, tombstones, and the next handle.
    /// Limits are not part of it.
    ///
    /// Equal heaps have equal digests, whatever operations led to them. Takes time in proportion to the changes since
    /// the last call, times the logarithm of the heap's size.
    pub fn digest(&mut self) -> Digest {
        let mut touched = self.slots.take_touched();
        touched.sort_unstable();
        let slots =
            touched.into_iter().filter_map(|index| Some((index as usize, slot(self.slots.at(index)?))));
        let root = self.digests.update(slots.collect());
        heap(self.slots.len(), self.deaths(), &self.catalog.declarations(), root)
    }
}

impl Image {
    /// [`Heap::digest`] of the heap when the image was made. Takes time in proportion to the whole heap.
    pub fn digest(&self) -> Digest {
        let slots = self.table.iter().map(|(index, kept)| (index as usize, slot(kept)));
        let root = DigestTree::default().update(slots.collect());
        heap(self.table.len(), self.deaths, &self.declarations, root)
    }
}

fn heap(slots: usize, deaths: u64, declarations: &Declarations, root: Digest) -> Digest {
    let mut bytes = Vec::from([0x33]);
    length(slots, &mut bytes);
    bytes.extend(deaths.to_le_bytes());
    bytes.extend(catalog(declarations).as_bytes());
    bytes.extend(root.as_bytes());
    sha256(&bytes)
}

fn catalog(catalog: &Declarations) -> Digest {
    let mut bytes = Vec::from([0x34]);
    for (name, schema, indexes) in &catalog.types {
        text(name, &mut bytes);
        let schema = schema.as_ref().map(|schema| schema.source().digest());
        bytes.extend(schema.unwrap_or_default().as_bytes());
        length(indexes.len(), &mut bytes);
        indexes.iter().for_each(|pointer| text(&pointer.to_string(), &mut bytes));
    }
    if !catalog.scoped.is_empty() {
        length(catalog.scoped.len(), &mut bytes);
    }
    for (scope, name, schema) in &catalog.scoped {
        text(name, &mut bytes);
        text(scope, &mut bytes);
        bytes.extend(schema.source().digest().as_bytes());
    }
    sha256(&bytes)
}

fn slot(slot: &Slot) -> Digest {
    let mut bytes = Vec::from([0x31]);
    bytes.extend(slot.generation.to_le_bytes());
    match &slot.state {
        State::Free => bytes.push(0),
        State::Live(live) => {
            bytes.push(1);
            object(0, live, &mut bytes);
        }
        State::Dead(tombstone) => {
            bytes.push(2);
            object(tombstone.order, &tombstone.object, &mut bytes);
        }
        State::Retired => bytes.push(3),
    }
    sha256(&bytes)
}

fn object(order: u64, object: &Object, bytes: &mut Vec<u8>) {
    bytes.extend(order.to_le_bytes());
    text(object.owner(), bytes);
    text(object.type_name(), bytes);
    bytes.extend(object.version().to_le_bytes());
    length(object.revision_count(), bytes);
    for kept in object.revisions() {
        bytes.extend(kept.digest.get_or_init(|| Box::new(revision(kept))).as_bytes());
    }
}

fn revision(revision: &Revision) -> Digest {
    let (kind, content) = match revision.content() {
        Content::Json(value) => (0, value.digest()),
        Content::Raw(raw) => (1, sha256(raw)),
    };
    let mut bytes = Vec::from([0x30, kind]);
    bytes.extend(content.as_bytes());
    label_map(revision.label_map(), &mut bytes);
    sha256(&bytes)
}
