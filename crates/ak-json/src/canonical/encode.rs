//! The canonical encoding and its hashes, `docs/decisions/0002-canonical-encoding.md`.

use alloc::vec::Vec;

use crate::digest::{Digest, sha256};
use crate::value::Value;
use crate::value::number::Repr;
use crate::value::text::Text;
use crate::value::tree::{self, Chunk, Node, Tree};

/// A container whose items take more bytes than this is encoded as a hash.
pub(crate) const INLINE_BYTES_MAX: usize = 128;

/// Initial capacity for an encoding, enough for most.
const ENCODED_BYTES: usize = 512;

const NULL: u8 = 0x00;
const FALSE: u8 = 0x01;
const TRUE: u8 = 0x02;
const UNSIGNED: u8 = 0x03;
const NEGATIVE: u8 = 0x04;
const FLOAT: u8 = 0x05;
const STRING: u8 = 0x06;
pub(crate) const ARRAY: u8 = 0x07;
pub(crate) const OBJECT: u8 = 0x08;
/// Added to a tag when the content is encoded as its hash.
pub(crate) const HASHED: u8 = 0x10;
/// The first byte of a hashed chunk, before its items.
pub(crate) const CHUNK: u8 = 0x20;
/// The first byte of a hashed node, before the hashes of up to 32 chunks or nodes.
pub(crate) const NODE: u8 = 0x21;

impl Value {
    /// The SHA-256 of the canonical encoding. It depends only on the value and the order of members, not on how the
    /// value was made. Containers remember their hashes, so after a change only the changed parts are hashed again.
    pub fn digest(&self) -> Digest {
        let mut out = Vec::with_capacity(ENCODED_BYTES);
        self.encode(&mut out);
        sha256(&out)
    }

    /// Appends the encoding, without recursion into deep values.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        // Small containers remember no hash, but only few can be nested before a container is large enough to
        // remember one.
        let is_hashed = |value: &Self| match value {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::Array(array) => array.items.is_hashed(),
            Self::Object(object) => object.values.is_hashed(),
        };
        self.deepest_first(is_hashed, |value| value.encode_shallow(&mut Vec::new()));
        self.encode_shallow(out);
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
            Self::Array(array) => Items { values: &array.items, names: None }.encode(ARRAY, out),
            Self::Object(object) => {
                Items { values: &object.values, names: object.names() }.encode(OBJECT, out)
            }
        }
    }
}

pub(crate) fn head(tag: u8, len: usize, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

/// The items of an array or the members of an object.
struct Items<'a> {
    values: &'a Tree<Value>,
    names: Option<&'a Tree<Text>>,
}

impl Items<'_> {
    fn encode(&self, tag: u8, out: &mut Vec<u8>) {
        let len = self.values.len();
        let Some(root) = self.values.root() else { return head(tag, len, out) };
        // A root has a hash only when its items do not fit inline.
        if !self.values.is_hashed() {
            let start = out.len();
            head(tag, len, out);
            if self.fit(out) {
                return;
            }
            out.truncate(start);
        }
        head(tag | HASHED, len, out);
        let digest = self.hash(root, 0, out);
        out.extend_from_slice(digest.as_bytes());
    }

    /// Appends the items while they fit inline, and returns whether all did.
    fn fit(&self, out: &mut Vec<u8>) -> bool {
        let end_max = out.len() + INLINE_BYTES_MAX;
        let mut position = 0;
        while position < self.values.len() && out.len() <= end_max {
            let chunk = self.values.chunk_from(position);
            self.chunk(&chunk, position, end_max, out);
            position += chunk.len();
        }
        out.len() <= end_max
    }

    /// Appends the items of a chunk, stopping after the first one that exceeds `end_max`.
    fn chunk(&self, chunk: &Chunk<'_, Value>, position: usize, end_max: usize, out: &mut Vec<u8>) {
        let names = self.names.map(|names| names.chunk_from(position));
        for (place, value) in chunk.iter().enumerate() {
            if let Some(name) = names.as_ref().and_then(|names| names.get(place)) {
                out.extend_from_slice(&(name.len() as u32).to_le_bytes());
                out.extend_from_slice(name.as_bytes());
            }
            value.encode_shallow(out);
            if out.len() > end_max {
                return;
            }
        }
    }

    /// The hash of a node whose items begin at `position`. The end of `out` is used as scratch space.
    fn hash<'a>(&self, node: &'a Node<Value>, position: usize, out: &mut Vec<u8>) -> &'a Digest {
        node.head().memo.hash(|| {
            let start = out.len();
            match node.level() {
                0 => {
                    out.push(CHUNK);
                    self.chunk(&node.chunk(), position, usize::MAX, out);
                }
                level => {
                    out.push(NODE);
                    for (place, kid) in node.kids().enumerate() {
                        let digest = self.hash(kid, position + place * tree::span(level), out);
                        out.extend_from_slice(digest.as_bytes());
                    }
                }
            }
            let digest = sha256(out.get(start..).unwrap_or_default());
            out.truncate(start);
            digest
        })
    }
}
