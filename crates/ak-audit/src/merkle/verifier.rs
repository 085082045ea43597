//! Verification of RFC 6962 proofs, without allocation or panic; each claim has exactly one valid proof.
//!
//! Besides whole trees it verifies *subtrees*, the ranges `[start, end)` of leaves that form a node of some tree
//! (draft-ietf-plants-merkle-tree-certs, "Subtrees"); the proofs of RFC 6962 are those with `start` 0.

use crate::hash::{Hash, empty_root, node_hash};

/// Why a proof is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// Leaf, sizes or range contradict each other, or the claim is empty.
    #[error("leaf, sizes or range of the proof contradict each other")]
    Range,
    /// The proof has more or fewer hashes than its sizes require.
    #[error("proof has the wrong number of hashes")]
    Length,
    /// The proof leads to another root.
    #[error("proof leads to another root")]
    Root,
}

/// Checks that `leaf` is the leaf hash at `index` in the tree of `size` leaves with this `root`.
///
/// # Errors
/// When the proof is not valid.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), InvalidProof> {
    verify_subtree_inclusion(leaf, index, 0, size, proof, root)
}

/// Checks that the tree of `new` leaves with `new_root` begins with the tree of `old` leaves with `old_root`.
///
/// # Errors
/// When the proof is not valid, and when `old` is 0: every tree begins with the empty one, so that claim is empty.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), InvalidProof> {
    if old == 0 {
        return Err(InvalidProof::Range);
    }
    verify_subtree_consistency(0, old, new, proof, old_root, new_root)
}

/// Checks that `leaf` is the leaf hash at `index` of the log, within the subtree `[start, end)` with this `root`.
///
/// # Errors
/// When the proof is not valid, or `[start, end)` is not a subtree.
pub fn verify_subtree_inclusion(
    leaf: &Hash,
    index: u64,
    start: u64,
    end: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), InvalidProof> {
    if !is_subtree(start, end) || index < start || index >= end {
        return Err(InvalidProof::Range);
    }
    let (mut index, mut last) = (index - start, end - start - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(InvalidProof::Length);
        }
        if index & 1 == 1 || index == last {
            hash = node_hash(sibling, &hash);
            // A node at the right edge without a sibling moves up unchanged.
            let lone = index.trailing_zeros();
            (index, last) = (index >> lone, last >> lone);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    check_end(last, &[(&hash, root)])
}

/// Checks that the subtree `[start, end)` with root `subtree_root` is part of the tree of `size` leaves with `root`.
///
/// # Errors
/// When the proof is not valid, or `[start, end)` is not a subtree. An empty range is part of every tree of at least
/// `end` leaves.
pub fn verify_subtree_consistency(
    start: u64,
    end: u64,
    size: u64,
    proof: &[Hash],
    subtree_root: &Hash,
    root: &Hash,
) -> Result<(), InvalidProof> {
    if end > size {
        return Err(InvalidProof::Range);
    }
    if start == end {
        let length = if proof.is_empty() { 0 } else { 1 };
        return check_end(length, &[(subtree_root, &empty_root())]);
    }
    if !is_subtree(start, end) {
        return Err(InvalidProof::Range);
    }
    let (mut first, mut last, mut tree_last) = (start, end - 1, size - 1);
    // Climb to the node that the proof starts from: the subtree itself if it is perfect or ends the tree, else the
    // perfect tree at the subtree's right edge.
    let bits = u64::BITS - (first ^ last).leading_zeros();
    let climb = if last == tree_last { bits } else { bits.min(last.trailing_ones()) };
    (first, last, tree_last) = (shift(first, climb), shift(last, climb), shift(tree_last, climb));
    let (seed, proof) = match proof.split_first() {
        _ if first == last => (subtree_root, proof),
        Some((seed, rest)) => (seed, rest),
        None => return Err(InvalidProof::Length),
    };
    let (mut small, mut large) = (*seed, *seed);
    for sibling in proof {
        if tree_last == 0 {
            return Err(InvalidProof::Length);
        }
        if last & 1 == 1 || last == tree_last {
            if first < last {
                small = node_hash(sibling, &small);
            }
            large = node_hash(sibling, &large);
            let lone = last.trailing_zeros();
            (first, last, tree_last) = (first >> lone, last >> lone, tree_last >> lone);
        } else {
            large = node_hash(&large, sibling);
        }
        (first, last, tree_last) = (first >> 1, last >> 1, tree_last >> 1);
    }
    check_end(tree_last, &[(&small, subtree_root), (&large, root)])
}

/// A range is a subtree if it is not empty and starts at a multiple of its width rounded up to a power of two.
const fn is_subtree(start: u64, end: u64) -> bool {
    match end.checked_sub(start) {
        None | Some(0) => false,
        Some(width) => match width.checked_next_power_of_two() {
            Some(span) => start & (span - 1) == 0,
            None => start == 0,
        },
    }
}

const fn shift(value: u64, bits: u32) -> u64 {
    match value.checked_shr(bits) {
        Some(shifted) => shifted,
        None => 0,
    }
}

/// The last step of each check: no level is left to climb, and every computed hash is the claimed one.
fn check_end(left: u64, claims: &[(&Hash, &Hash)]) -> Result<(), InvalidProof> {
    if left != 0 {
        return Err(InvalidProof::Length);
    }
    if claims.iter().all(|(found, claimed)| found == claimed) { Ok(()) } else { Err(InvalidProof::Root) }
}
