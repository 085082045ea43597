//! The canonical encoding and its hashes, `docs/decisions/0002-canonical-encoding.md`.

use alloc::vec::Vec;

use crate::array::Array;
use crate::digest::{Digest, sha256};
use crate::number::Repr;
use crate::object::Object;
use crate::tree::{Item, Kids, Node, Tree};
use crate::value::Value;

/// Items whose encodings sum to more stand in their container's encoding as a hash.
const INLINE_BYTES_MAX: usize = 128;

const NULL: u8 = 0x00;
const FALSE: u8 = 0x01;
const TRUE: u8 = 0x02;
const UNSIGNED: u8 = 0x03;
const NEGATIVE: u8 = 0x04;
const FLOAT: u8 = 0x05;
const STRING: u8 = 0x06;
const ARRAY: u8 = 0x07;
const OBJECT: u8 = 0x08;
/// Added to a tag when content stands as a hash.
const HASHED: u8 = 0x10;
/// Before the items of a chunk.
const CHUNK: u8 = 0x20;
/// Before the hashes of up to 32 chunks or nodes.
const NODE: u8 = 0x21;

impl Value {
    /// The SHA-256 of the canonical encoding: depends on the value and the order of members, not on how it came
    /// to be. Containers remember theirs, so a changed value costs a hash of what was touched.
    pub fn digest(&self) -> Digest {
        // Small containers are not remembered, but few can stand between those that are.
        let is_hashed = |value: &Self| match value {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::Array(Array { tree }) => tree.is_hashed(),
            Self::Object(Object { tree }) => tree.is_hashed(),
        };
        self.deepest_first(is_hashed, |value| value.encode_shallow(&mut Vec::new()));
        let mut out = Vec::new();
        self.encode_shallow(&mut out);
        sha256(&out)
    }

    pub(crate) fn encode_shallow(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(NULL),
            Self::Bool(false) => out.push(FALSE),
            Self::Bool(true) => out.push(TRUE),
            Self::Number(number) => {
                let (tag, bytes) = match number.0 {
                    Repr::Unsigned(value) => (UNSIGNED, value.to_le_bytes()),
                    Repr::Negative(value) => (NEGATIVE, value.to_le_bytes()),
                    Repr::Float(value) => (FLOAT, value.to_bits().to_le_bytes()),
                };
                out.push(tag);
                out.extend_from_slice(&bytes);
            }
            Self::String(text) => match text.long_digest() {
                None => {
                    head(STRING, text.len(), out);
                    out.extend_from_slice(text.as_bytes());
                }
                Some(digest) => {
                    head(STRING | HASHED, text.len(), out);
                    out.extend_from_slice(digest.as_bytes());
                }
            },
            Self::Array(Array { tree }) => encode_container(ARRAY, tree, out),
            Self::Object(Object { tree }) => encode_container(OBJECT, tree, out),
        }
    }
}

fn head(tag: u8, len: usize, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

fn encode_container<T: Item>(tag: u8, tree: &Tree<T>, out: &mut Vec<u8>) {
    let Some(root) = tree.root() else { return head(tag, 0, out) };
    let start = out.len();
    // A root is hashed only when its items do not fit.
    if !tree.is_hashed() {
        head(tag, tree.len(), out);
        let items = out.len();
        let fits = tree.iter().all(|item| {
            item.encode(out);
            out.len() - items <= INLINE_BYTES_MAX
        });
        if fits {
            return;
        }
        out.truncate(start);
    }
    head(tag | HASHED, tree.len(), out);
    let digest = node_hash(root, out);
    out.extend_from_slice(digest.as_bytes());
}

/// The hash of a chunk or of a node above; the end of `out` serves as scratch space.
fn node_hash<'a, T: Item>(node: &'a Node<T>, out: &mut Vec<u8>) -> &'a Digest {
    node.hash(|| {
        let start = out.len();
        match node.kids() {
            Kids::Leaf(items) => {
                out.push(CHUNK);
                items.iter().for_each(|item| item.encode(out));
            }
            Kids::Branch(_, kids) => {
                out.push(NODE);
                for kid in kids {
                    let digest = node_hash(kid, out);
                    out.extend_from_slice(digest.as_bytes());
                }
            }
        }
        let digest = sha256(out.get(start..).unwrap_or_default());
        out.truncate(start);
        digest
    })
}
