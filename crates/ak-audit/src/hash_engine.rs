//! SHA-256 and CRC-32C, which a host can replace with hardware implementations, and hashing of several messages at
//! once.

use alloc::vec::Vec;
use core::fmt;

use crc::{CRC_32_ISCSI, Crc, Table};
use sha2::block_api::compress256;

use crate::hash::{Hash, INITIAL, NODE, ZERO_HASH, leaf_hash, leaf_message, set_children, to_hash};

/// A block of a SHA-256 message, 64 bytes.
pub type Block = [u8; 64];

/// CRC-32C (Castagnoli), as in RFC 3720.
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Blocks of the longest entry that is hashed alongside another one: 1,014 bytes.
const BLOCKS_MAX: usize = 16;

/// Entries whose messages are laid out together.
const LEAVES_TOGETHER: usize = 8;

/// Inner nodes whose messages are laid out together.
const NODES_TOGETHER: usize = 8;

/// Implementations of SHA-256 and CRC-32C; all give the same results. A host whose processor has instructions for
/// them returns an engine that uses these from [`Disk::engine`](crate::Disk::engine), and passes it to
/// [`Log::with_engine`](crate::Log::with_engine).
#[derive(Clone, Copy)]
pub struct HashEngine {
    /// Compresses an equal number of blocks of two messages into their two states (FIPS 180-4 §6.2.2). The messages
    /// do not depend on each other, so an implementation can interleave them to hide the latency of each.
    pub compress_two: fn(&mut [[u32; 8]; 2], [&[Block]; 2]),
    /// CRC-32C of the concatenation of two parts.
    pub crc32c: fn([&[u8]; 2]) -> u32,
}

impl fmt::Debug for HashEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashEngine").finish_non_exhaustive()
    }
}

impl HashEngine {
    /// The engine for any processor: one message after the other, CRC-32C by table.
    pub const PORTABLE: HashEngine = HashEngine {
        compress_two: |[first, second], [left, right]| {
            compress256(first, left);
            compress256(second, right);
        },
        crc32c: |parts| {
            let mut digest = CRC.digest();
            parts.iter().for_each(|part| digest.update(part));
            digest.finalize()
        },
    };

    /// Appends the leaf hash of each entry.
    pub(crate) fn leaf_hashes<'e>(
        &self,
        entries: impl IntoIterator<Item = &'e [u8]>,
        hashes: &mut Vec<Hash>,
    ) {
        let mut entries = entries.into_iter().peekable();
        // All messages are written before the first one is read, so the processor does not wait for its own stores.
        let mut scratch = [[[0; 64]; BLOCKS_MAX]; LEAVES_TOGETHER];
        while entries.peek().is_some() {
            let mut messages: [&[Block]; LEAVES_TOGETHER] = [&[]; LEAVES_TOGETHER];
            let start = hashes.len();
            for ((message, blocks), entry) in messages.iter_mut().zip(&mut scratch).zip(&mut entries) {
                let laid = leaf_message(blocks, entry.len(), |text| text.copy_from_slice(entry));
                *message = laid.unwrap_or_default();
                // Entries too long for the message buffer are hashed alone.
                hashes.push(if message.is_empty() { leaf_hash(entry) } else { ZERO_HASH });
            }
            let hashes = hashes.get_mut(start..).unwrap_or_default();
            for (hashes, messages) in hashes.chunks_mut(2).zip(messages.chunks(2)) {
                let [left, right] = messages else { continue };
                let common = left.len().min(right.len());
                let (lefts, rights) = (left.split_at(common), right.split_at(common));
                let mut states = [INITIAL; 2];
                (self.compress_two)(&mut states, [lefts.0, rights.0]);
                for ((hash, mut state), rest) in hashes.iter_mut().zip(states).zip([lefts.1, rights.1]) {
                    if !rest.is_empty() {
                        compress256(&mut state, rest);
                    }
                    if common + rest.len() > 0 {
                        *hash = to_hash(state);
                    }
                }
            }
        }
    }

    /// Replaces each pair of hashes by its parent node; `hashes` must have an even length.
    pub(crate) fn parents(&self, hashes: &mut Vec<Hash>) {
        // All messages are written before the first one is read, so the processor does not wait for its own stores.
        let mut messages = [NODE; NODES_TOGETHER];
        let count = hashes.len() / 2;
        for start in (0..count).step_by(NODES_TOGETHER) {
            let end = count.min(start + NODES_TOGETHER);
            let children = hashes.get(2 * start..2 * end).unwrap_or_default().as_chunks::<2>().0;
            for (message, [left, right]) in messages.iter_mut().zip(children) {
                set_children(message, left, right);
            }
            let parents = hashes.get_mut(start..end).unwrap_or_default();
            for (parents, messages) in parents.chunks_mut(2).zip(messages.chunks(2)) {
                match (parents, messages) {
                    ([first, second], [left, right]) => {
                        let mut states = [INITIAL; 2];
                        (self.compress_two)(&mut states, [left.as_chunks().0, right.as_chunks().0]);
                        [*first, *second] = states.map(to_hash);
                    }
                    ([first], [left, ..]) => {
                        let mut state = INITIAL;
                        compress256(&mut state, left.as_chunks().0);
                        *first = to_hash(state);
                    }
                    _ => {}
                }
            }
        }
        hashes.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::hash::node_hash;

    #[test]
    fn together_is_as_one_by_one() {
        for count in 0..40usize {
            // Short, long, and too long to be hashed alongside another one.
            let entries: Vec<Vec<u8>> =
                (0..count).map(|index| vec![index as u8; (index * 389) % 1300]).collect();
            let mut hashes = Vec::new();
            HashEngine::PORTABLE.leaf_hashes(entries.iter().map(Vec::as_slice), &mut hashes);
            let expected: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            assert_eq!(hashes, expected);
            hashes.truncate(count / 2 * 2);
            let parents = hashes.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right));
            let expected: Vec<Hash> = parents.collect();
            HashEngine::PORTABLE.parents(&mut hashes);
            assert_eq!(hashes, expected);
        }
    }
}
