//! Canonical encodings of containers whose items are not all in memory at once.

use alloc::vec::Vec;

use super::encode::{ARRAY, CHUNK, HASHED, INLINE_BYTES_MAX, NODE, OBJECT, head};
use crate::digest::{Digest, sha256};
use crate::value::Value;
use crate::value::tree::WIDTH;

/// The canonical encoding of a value, `docs/decisions/0002-canonical-encoding.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    /// The digest of the value, equal to [`Value::digest`].
    pub fn digest(&self) -> Digest {
        sha256(&self.0)
    }
}

impl From<&Value> for Encoded {
    fn from(value: &Value) -> Self {
        let mut out = Vec::new();
        value.encode(&mut out);
        Self(out)
    }
}

/// Encodes an array item by item, for its digest. It keeps only the current chunk of up to 32 items, and fewer than
/// 32 hashes for each level of the tree.
///
/// ```
/// use ak_json::{ArrayEncoder, array};
///
/// let mut encoder = ArrayEncoder::default();
/// encoder.push(&1u64.into());
/// encoder.push(&"two".into());
/// assert_eq!(encoder.finish().digest(), array![1u64, "two"].digest());
/// ```
#[derive(Debug, Default)]
pub struct ArrayEncoder(Sequence);

impl ArrayEncoder {
    /// Appends the next item.
    pub fn push(&mut self, item: &Value) {
        self.0.push(|out| item.encode(out));
    }

    /// The encoding of the array.
    pub fn finish(self) -> Encoded {
        self.0.finish(ARRAY)
    }
}

/// Encodes an object member by member, for its digest.
#[derive(Debug, Default)]
pub struct ObjectEncoder(Sequence);

impl ObjectEncoder {
    /// Appends the next member, whose name must not have been appended before.
    pub fn push(&mut self, name: &str, value: &Encoded) {
        self.0.push(|out| {
            out.extend_from_slice(&(name.len() as u32).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&value.0);
        });
    }

    /// The encoding of the object.
    pub fn finish(self) -> Encoded {
        self.0.finish(OBJECT)
    }
}

/// The items encoded so far, as far as they are not yet in hashes.
#[derive(Debug, Default)]
struct Sequence {
    count: usize,
    /// The items, while they are short enough to be encoded inline.
    inline: Vec<u8>,
    is_long: bool,
    /// The items of the chunk that is not full yet.
    chunk: Vec<u8>,
    /// For each level, chunks first, the hashes that no node above covers yet: fewer than 32.
    levels: Vec<Vec<Digest>>,
}

impl Sequence {
    fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.chunk.len();
        encode(&mut self.chunk);
        if !self.is_long {
            self.inline.extend_from_slice(self.chunk.get(start..).unwrap_or_default());
            self.is_long = self.inline.len() > INLINE_BYTES_MAX;
        }
        self.count += 1;
        if self.count.is_multiple_of(WIDTH) {
            self.end_chunk();
        }
    }

    fn end_chunk(&mut self) {
        let digest = Digest::of_parts([&[CHUNK][..], &self.chunk]);
        self.chunk.clear();
        self.add(0, digest);
    }

    fn add(&mut self, mut level: usize, mut digest: Digest) {
        loop {
            if self.levels.len() <= level {
                self.levels.resize_with(level + 1, Vec::new);
            }
            let Some(hashes) = self.levels.get_mut(level) else { return };
            hashes.push(digest);
            if hashes.len() < WIDTH {
                return;
            }
            digest = node(hashes);
            hashes.clear();
            level += 1;
        }
    }

    fn root(&mut self) -> Option<Digest> {
        if !self.count.is_multiple_of(WIDTH) {
            self.end_chunk();
        }
        let mut level = 0;
        loop {
            let above = self.levels.iter().skip(level + 1).any(|hashes| !hashes.is_empty());
            let hashes = self.levels.get_mut(level)?;
            match hashes.as_slice() {
                [one] if !above => return Some(*one),
                [] => {}
                several => {
                    let digest = node(several);
                    hashes.clear();
                    self.add(level + 1, digest);
                }
            }
            level += 1;
        }
    }

    fn finish(mut self, tag: u8) -> Encoded {
        let mut out = Vec::new();
        if !self.is_long {
            head(tag, self.count, &mut out);
            out.extend_from_slice(&self.inline);
        } else if let Some(root) = self.root() {
            head(tag | HASHED, self.count, &mut out);
            out.extend_from_slice(root.as_bytes());
        }
        Encoded(out)
    }
}

fn node(hashes: &[Digest]) -> Digest {
    Digest::of_parts([&[NODE][..]].into_iter().chain(hashes.iter().map(|hash| &hash.as_bytes()[..])))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::Object;

    /// Numbers of items around those at which chunks and nodes become full.
    const COUNTS: [u64; 22] = [
        0, 1, 2, 10, 13, 14, 15, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 1056, 2048, 32_767, 32_768,
        32_769, 70_000,
    ];

    #[test]
    fn what_is_encoded_item_by_item_has_the_digest_of_the_whole() {
        for count in COUNTS {
            let (mut items, mut members) = (ArrayEncoder::default(), ObjectEncoder::default());
            for number in 0..count {
                items.push(&number.into());
                members.push(&number.to_string(), &Encoded::from(&Value::from(number)));
            }
            let array: Vec<Value> = (0..count).map(Value::from).collect();
            assert_eq!(items.finish().digest(), Value::from(array).digest(), "{count} items");
            let object: Object = (0..count).map(|number| (number.to_string(), Value::from(number))).collect();
            assert_eq!(members.finish().digest(), Value::from(object).digest(), "{count} members");
        }
    }

    #[test]
    fn what_is_encoded_within_another_has_the_digest_of_the_whole() {
        let inner = |count: u64| Value::from((0..count).map(Value::from).collect::<Vec<Value>>());
        for count in [0, 3, 14, 15, 40] {
            let mut outer = ObjectEncoder::default();
            let mut items = ArrayEncoder::default();
            (0..count).for_each(|number| items.push(&number.into()));
            outer.push("items", &items.finish());
            outer.push("value", &Encoded::from(&inner(count)));
            let whole = crate::object! { "items": inner(count), "value": inner(count) };
            assert_eq!(outer.finish().digest(), whole.digest(), "{count} items");
        }
    }
}
