//! Selects the nodes that make up a proof, for every type of tree that keeps hashes.
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
    /// The hashes that the proof needs were pruned.
    #[error("hashes needed for the proof were pruned")]
    Pruned,
    /// The hashes that the proof needs could not be read from disk.
    #[error("hashes needed for the proof could not be read")]
    Unreadable,
}

/// The perfect trees that `size` leaves divide into, largest first, as (height, index).
pub(crate) fn peaks(size: u64) -> impl Iterator<Item = (u32, u64)> {
    (0..u64::BITS)
        .rev()
        .filter(move |level| size >> level & 1 == 1)
        .map(move |level| (level, (size >> level) - 1))
}

/// RFC 6962 §2.1.1: the siblings on the path from leaf `index` up to the root over `size` leaves. `subtree` returns
/// the subtree at a height and index, which the end of the tree may leave incomplete.
pub(crate) fn inclusion(
    index: u64,
    size: u64,
    mut subtree: impl FnMut(u32, u64) -> Result<Hash, ProofError>,
) -> Result<Vec<Hash>, ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (mut index, mut last) = (index, size - 1);
    // At most one sibling per level.
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

/// RFC 6962 §2.1.2: the nodes from which a verifier computes both the root over `old` and the root over `new` leaves.
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
    // The largest perfect tree at the old edge. If it is the whole old tree, the verifier knows its root already.
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

/// The subtree at this height and index in a tree of `size` leaves; the last one of a height may be incomplete.
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
