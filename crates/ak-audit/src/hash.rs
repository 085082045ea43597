//! The three hashes of the log's format: leaf, node and commitment.

use sha2::{Digest as _, Sha256, block_api::compress256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The hash that stands for an absent value: before the first entry, and in fields with nothing to commit to.
pub const ZERO_HASH: Hash = [0; 32];

/// The initial state of SHA-256, FIPS 180-4 §5.3.3.
pub(crate) const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// RFC 6962 §2.1, `SHA-256(0x00 ‖ entry)`: the entry's leaf in the tree and its link in the chain.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    // Copies only the first and the last blocks, for the prefix and the padding (FIPS 180-4 §5.1.1: one bit, zeros,
    // the length in bits).
    let Some((start, rest)) = entry.split_first_chunk::<63>() else {
        return Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into();
    };
    let mut first = [0; 64];
    first[1..].copy_from_slice(start);
    let (middle, text) = rest.as_chunks::<64>();
    let mut last = [0; 128];
    let (end, _) = last.split_at_mut(if text.len() < 56 { 64 } else { 128 });
    if let Some((to, padding)) = end.split_at_mut_checked(text.len()) {
        to.copy_from_slice(text);
        if let Some(bit) = padding.first_mut() {
            *bit = 0x80;
        }
        if let Some(bits) = padding.last_chunk_mut() {
            *bits = ((entry.len() as u64 + 1) * 8).to_be_bytes();
        }
    }
    let mut state = INITIAL;
    compress256(&mut state, &[first]);
    compress256(&mut state, middle);
    compress256(&mut state, end.as_chunks().0);
    to_hash(state)
}

/// Lays out in `blocks` the padded message whose SHA-256 is the leaf hash of an entry of `length` bytes, which
/// `write` fills in. `None` if it does not fit.
pub(crate) fn leaf_message(
    blocks: &mut [[u8; 64]],
    length: usize,
    write: impl FnOnce(&mut [u8]),
) -> Option<&[[u8; 64]]> {
    let length = length.checked_add(1)?;
    let message = blocks.get_mut(..length.checked_add(9)?.div_ceil(64))?;
    let (text, padding) = message.as_flattened_mut().split_at_mut_checked(length)?;
    let (prefix, text) = text.split_first_mut()?;
    *prefix = 0x00;
    write(text);
    let (zeros, bits) = padding.split_last_chunk_mut::<8>()?;
    zeros.fill(0);
    *zeros.first_mut()? = 0x80;
    *bits = (length as u64 * 8).to_be_bytes();
    Some(message)
}

/// SHA-256 of a padded message.
pub(crate) fn hash_blocks(message: &[[u8; 64]]) -> Hash {
    let mut state = INITIAL;
    compress256(&mut state, message);
    to_hash(state)
}

/// RFC 6962 §2.1, `SHA-256(0x01 ‖ left ‖ right)`: an inner node of the tree.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut message = NODE;
    set_children(&mut message, left, right);
    hash_blocks(message.as_chunks().0)
}

/// The padded message of an inner node, without its children. It fills two blocks exactly, so no buffering is needed.
pub(crate) const NODE: [u8; 128] = {
    let mut message = [0; 128];
    message[0] = 0x01;
    message[65] = 0x80;
    [message[126], message[127]] = (65 * 8u16).to_be_bytes();
    message
};

/// Puts the children into an inner node's message.
#[inline]
pub(crate) fn set_children(message: &mut [u8; 128], left: &Hash, right: &Hash) {
    message[1..33].copy_from_slice(left);
    message[33..65].copy_from_slice(right);
}

pub(crate) fn to_hash(state: [u32; 8]) -> Hash {
    let mut hash = ZERO_HASH;
    hash.as_chunks_mut().0.iter_mut().zip(state).for_each(|(to, word)| *to = word.to_be_bytes());
    hash
}

/// RFC 6962 §2.1: the root of a tree without leaves, `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// `HMAC-SHA256(salt, digest)`, RFC 2104: commits an entry to a digest that cannot be guessed without the salt.
///
/// For an absent value, entries hold [`ZERO_HASH`] instead of a commitment. Several commitments with one salt take one
/// [`CommitmentKey`].
#[must_use]
pub fn commitment(salt: &[u8; 32], digest: &Hash) -> Hash {
    CommitmentKey::new(salt).commit(digest)
}

/// A salt that is ready for commitments: the states of SHA-256 behind the two blocks of RFC 2104 that depend on the key alone.
#[derive(Clone)]
pub struct CommitmentKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl core::fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CommitmentKey")
    }
}

impl CommitmentKey {
    /// The key of a salt.
    #[must_use]
    pub fn new(salt: &[u8; 32]) -> CommitmentKey {
        let state = |pad: u8| {
            // RFC 2104 pads a short key with zeros to the hash's block size.
            let block: [u8; 64] = core::array::from_fn(|index| salt.get(index).copied().unwrap_or(0) ^ pad);
            let mut state = INITIAL;
            compress256(&mut state, &[block]);
            state
        };
        CommitmentKey { inner: state(0x36), outer: state(0x5c) }
    }

    /// The commitment to a digest.
    #[must_use]
    pub fn commit(&self, digest: &Hash) -> Hash {
        after_block(self.outer, &after_block(self.inner, digest))
    }
}

/// SHA-256 of a message of 96 bytes, whose first block led to `state` and whose rest is `text`.
fn after_block(mut state: [u32; 8], text: &Hash) -> Hash {
    let mut last = [0; 64];
    let (start, padding) = last.split_at_mut(32);
    start.copy_from_slice(text);
    if let Some(bit) = padding.first_mut() {
        *bit = 0x80;
    }
    if let Some(bits) = padding.last_chunk_mut() {
        *bits = (96 * 8u64).to_be_bytes();
    }
    compress256(&mut state, &[last]);
    to_hash(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_is_an_hmac() {
        use hmac::{Hmac, KeyInit, Mac};
        for (salt, digest) in
            [([0; 32], [0; 32]), ([1; 32], [2; 32]), ([0xff; 32], [0x80; 32]), ([0x36; 32], [0x5c; 32])]
        {
            let mut mac = Hmac::<Sha256>::new_from_slice(&salt).unwrap();
            mac.update(&digest);
            let expected: Hash = mac.finalize().into_bytes().into();
            assert_eq!(commitment(&salt, &digest), expected);
        }
    }

    #[test]
    fn known_answers() {
        // RFC 6962 leaf of the empty entry, the empty tree, and HMAC-SHA256 by an independent implementation.
        let check = |hash: Hash, hexadecimal: &str| assert_eq!(hex::encode(hash), hexadecimal);
        check(leaf_hash(b""), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        check(empty_root(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let node = Sha256::new().chain_update([1]).chain_update([2; 32]).chain_update([3; 32]).finalize();
        assert_eq!(node_hash(&[2; 32], &[3; 32]), <Hash>::from(node));
        check(
            commitment(&[1; 32], &[2; 32]),
            "7321406e0c880fd92597898beb393af2aebed51ab5cdf1d52e5991f9afadd2de",
        );
    }
}
