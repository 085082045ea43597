//! Which nodes of the tree make up a proof: the one algorithm behind every form of tree that keeps hashes.
//!
//! A *node* is the root of a perfect subtree, named by its height and its index among those of that height.

use alloc::vec::Vec;

use crate::hash::{Hash, node_hash};

/// Why a proof cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf or tree size.
    #[error("no such leaf or tree size")]
    Range,
    /// The hashes it needs are no longer kept.
    #[error("hashes needed for the proof were pruned")]
    Pruned,
    /// The hashes it needs could not be read.
    #[error("hashes needed for the proof could not be read")]
    Unreadable,
}

/// The perfect trees that `size` leaves fall into, largest first, as (height, index).
pub(crate) fn peaks(size: u64) -> impl Iterator<Item = (u32, u64)> {
    (0..u64::BITS)
        .rev()
        .filter(move |level| size >> level & 1 == 1)
        .map(move |level| (level, (size >> level) - 1))
}

/// RFC 6962 §2.1.1: the siblings on the way from leaf `index` up to the root over `size` leaves. `subtree` gives the
/// subtree at a height and index, which the tree may cut through.
pub(crate) fn inclusion(
    index: u64,
    size: u64,
    mut subtree: impl FnMut(u32, u64) -> Result<Hash, ProofError>,
) -> Result<Vec<Hash>, ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (mut index, mut last) = (index, size - 1);
    // One sibling for each level, at most.
    let mut proof = Vec::with_capacity((u64::BITS - last.leading_zeros()) as usize);
    for level in 0..u64::BITS {
        if last == 0 {
            break;
        }
        let sibling = index ^ 1;
        if sibling <= last {
            proof.push(subtree(level, sibling)?);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    Ok(proof)
}

/// RFC 6962 §2.1.2: the nodes from which both the root over `old` and the root over `new` leaves follow.
pub(crate) fn consistency(
    old: u64,
    new: u64,
    mut subtree: impl FnMut(u32, u64) -> Result<Hash, ProofError>,
) -> Result<Vec<Hash>, ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Range);
    }
    let mut proof = Vec::new();
    if old == new {
        return Ok(proof);
    }
    // The largest perfect tree at the old edge: known to the verifier when it is the whole old tree.
    let start = old.trailing_zeros();
    let (mut index, mut last) = ((old - 1) >> start, (new - 1) >> start);
    if index != 0 {
        proof.push(subtree(start, index)?);
    }
    for level in start..u64::BITS {
        if last == 0 {
            break;
        }
        let sibling = index ^ 1;
        if sibling <= last {
            proof.push(subtree(level, sibling)?);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    Ok(proof)
}

/// The subtree at this height and index in a tree of `size` leaves, which cuts through it where it is the last.
pub(crate) fn subtree(
    level: u32,
    index: u64,
    size: u64,
    mut node: impl FnMut(u32, u64) -> Result<Hash, ProofError>,
) -> Result<Hash, ProofError> {
    if index < size >> level {
        return node(level, index);
    }
    let mut edge: Option<Hash> = None;
    for low in (0..level).filter(|low| size >> low & 1 == 1) {
        let peak = node(low, (size >> low) - 1)?;
        edge = Some(edge.map_or(peak, |right| node_hash(&peak, &right)));
    }
    edge.ok_or(ProofError::Range)
}
