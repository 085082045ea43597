//! The right edge of the RFC 6962 tree, which knows the root. [`FullTree`](crate::FullTree) can also make proofs.

use alloc::vec::Vec;

use crate::{
    hash::{Hash, empty_root, node_hash},
    hash_engine::HashEngine,
};

/// Levels of the tree that a tile spans.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// Leaves under a full tile.
pub(crate) const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// The right edge of an append-only RFC 6962 tree: it appends leaves and knows the root, in O(log n) memory.
///
/// It holds one hash for each bit set in the size: the roots of the perfect trees that the leaves divide into,
/// largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub const fn new() -> Tree {
        Tree { size: 0, peaks: Vec::new() }
    }

    /// The tree with this size and these peaks, in the order of [`Tree::peaks`].
    ///
    /// `None` unless there is one peak for each bit set in `size`.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Tree> {
        (peaks.len() == size.count_ones() as usize).then_some(Tree { size, peaks })
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// Appends leaves, hashing nodes of the same height together.
    pub(crate) fn extend(&mut self, mut leaves: &[Hash], engine: &HashEngine) {
        let mut hashes = Vec::new();
        while !leaves.is_empty() {
            // The largest perfect subtree that can start here.
            let level = leaves.len().ilog2().min(self.size.trailing_zeros());
            let (under, rest) = leaves.split_at_checked(1 << level).unwrap_or((leaves, &[]));
            hashes.clear();
            hashes.extend_from_slice(under);
            while hashes.len() > 1 {
                engine.parents(&mut hashes);
            }
            let Some(mut hash) = hashes.pop() else { break };
            for _ in 0..(self.size >> level).trailing_ones() {
                if let Some(left) = self.peaks.pop() {
                    hash = node_hash(&left, &hash);
                }
            }
            self.peaks.push(hash);
            self.size = self.size.saturating_add(1 << level);
            leaves = rest;
        }
    }

    /// The Merkle tree hash over all leaves, RFC 6962 §2.1.
    #[must_use]
    pub fn root(&self) -> Hash {
        let folded = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        folded.unwrap_or_else(empty_root)
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect trees that the leaves divide into, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The part of this edge at `height` and above, as the edge of a tree whose leaves are the subtrees of that height.
    pub(crate) fn above(&self, height: u32) -> Tree {
        let size = self.size >> height;
        Tree { size, peaks: self.peaks.iter().take(size.count_ones() as usize).copied().collect() }
    }

    /// The part of this edge below `height`: the leaves after the last full subtree of that height.
    pub(crate) fn below(&self, height: u32) -> Tree {
        let above = (self.size >> height).count_ones() as usize;
        let size = self.size - (self.size >> height << height);
        Tree { size, peaks: self.peaks.iter().skip(above).copied().collect() }
    }

    /// Joins this tree, the part of an edge at `height` and above, with `below`, the rest of that edge.
    pub(crate) fn joined(mut self, height: u32, below: &Tree) -> Tree {
        self.size = (self.size << height) + below.size;
        self.peaks.extend_from_slice(&below.peaks);
        self
    }
}
