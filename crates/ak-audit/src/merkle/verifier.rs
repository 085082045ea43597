//! Verification of RFC 6962 proofs: no allocation, no panic, no second way to prove a thing.
//!
//! Next to whole trees it checks *subtrees*, the ranges `[start, end)` of leaves that form a node of some tree
//! (draft-ietf-plants-merkle-tree-certs, "Subtrees"); the proofs of RFC 6962 are those with `start` 0.

use crate::hash::{Hash, empty_root, node_hash};

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// Leaf, sizes or range contradict each other, or nothing is claimed.
    #[error("leaf, sizes or range of the proof contradict each other")]
    Range,
    /// It has more or fewer hashes than its sizes demand.
    #[error("proof has the wrong number of hashes")]
    Length,
    /// It leads to another root.
    #[error("proof leads to another root")]
    Root,
}

/// Checks that `leaf` is the leaf hash at `index` in the tree of `size` leaves with this `root`.
///
/// # Errors
/// When it is not proven.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), InvalidProof> {
    verify_subtree_inclusion(leaf, index, 0, size, proof, root)
}

/// Checks that the tree of `old` leaves with root `old_root` is how the tree of `new` leaves with `new_root` began.
///
/// # Errors
/// When it is not proven, and when `old` is 0: everything began empty, so the claim says nothing.
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
/// When it is not proven, or `[start, end)` is no subtree.
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
/// When it is not proven, or `[start, end)` is no subtree. An empty range is part of every tree that reaches it.
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
    // Climb to the node the proof starts from: the subtree itself where it is perfect or ends the tree, else the
    // perfect tree at its right edge.
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

/// The end of each check: nothing left to climb, and every hash as claimed.
fn check_end(left: u64, claims: &[(&Hash, &Hash)]) -> Result<(), InvalidProof> {
    if left != 0 {
        return Err(InvalidProof::Length);
    }
    if claims.iter().all(|(found, claimed)| found == claimed) { Ok(()) } else { Err(InvalidProof::Root) }
}
