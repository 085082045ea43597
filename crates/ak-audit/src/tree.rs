//! The RFC 6962 tree, in two forms: [`Tree`] knows its root, [`FullTree`] can also prove.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    engine::Engine,
    hash::{Hash, empty_root, node_hash},
    prove::{self, ProofError},
};

/// Levels of the tree that a tile spans.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// Leaves under a full tile.
pub(crate) const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// The right edge of an append-only RFC 6962 tree: enough to append and to know the root, in O(log n) memory.
///
/// It holds one hash for each bit set in the size: the roots of the perfect trees the leaves fall into, largest first.
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

    /// The tree with this size and these peaks, largest first, as [`Tree::peaks`] gave them.
    ///
    /// None unless there is one peak for each bit set in `size`.
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

    /// Appends leaves, hashing what lies under full subtrees together.
    pub(crate) fn extend(&mut self, mut leaves: &[Hash], engine: &Engine) {
        let mut hashes = Vec::new();
        while !leaves.is_empty() {
            // The largest perfect subtree that can begin here.
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

    /// The roots of the perfect trees that the leaves fall into, largest first.
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

    /// The edge of which this is the part at `height` and above, and `below` the rest.
    pub(crate) fn joined(mut self, height: u32, below: &Tree) -> Tree {
        self.size = (self.size << height) + below.size;
        self.peaks.extend_from_slice(&below.peaks);
        self
    }
}

/// An RFC 6962 tree that keeps its hashes and so can prove: about 64 bytes for each leaf kept.
///
/// The oldest leaves can be forgotten ([`FullTree::prune`]); every later leaf and size can still be proven.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FullTree {
    size: u64,
    pruned_below: u64,
    levels: Vec<Level>,
}

/// The perfect subtrees of one height that are kept: those from index `first` on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Level {
    first: u64,
    hashes: VecDeque<Hash>,
}

impl Level {
    fn at(&self, index: u64) -> Option<Hash> {
        self.hashes.get(usize::try_from(index.checked_sub(self.first)?).ok()?).copied()
    }
}

impl FullTree {
    /// A tree without leaves.
    #[must_use]
    pub const fn new() -> FullTree {
        FullTree { size: 0, pruned_below: 0, levels: Vec::new() }
    }

    /// The tree whose leaves are all forgotten already and of which `tree` is the edge.
    #[must_use]
    pub fn from_edge(tree: &Tree) -> FullTree {
        let mut full = FullTree { size: tree.size, pruned_below: tree.size, levels: Vec::new() };
        let mut peaks = tree.peaks.iter().rev();
        let height = u64::BITS - tree.size.leading_zeros();
        for level in 0..height {
            let first = first_kept(tree.size, level);
            let peak = if tree.size >> level & 1 == 1 { peaks.next() } else { None };
            full.levels.push(Level { first, hashes: peak.into_iter().copied().collect() });
        }
        full
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut index = self.size;
        let mut height = 0;
        loop {
            if self.levels.len() == height {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(height) else { break };
            level.hashes.push_back(hash);
            // An odd index completes a pair: its parent is complete, too.
            let Some(left) = (index & 1 == 1).then(|| level.at(index - 1)).flatten() else { break };
            hash = node_hash(&left, &hash);
            index >>= 1;
            height += 1;
        }
        self.size = self.size.saturating_add(1);
    }

    /// Number of leaves ever appended.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The first leaf that is still kept.
    #[must_use]
    pub const fn pruned_below(&self) -> u64 {
        self.pruned_below
    }

    /// The leaf hash at `index`, if it is kept.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        if index < self.pruned_below { None } else { self.node(0, index).ok() }
    }

    /// Forgets every leaf below `index`; roots and proofs that concern later leaves stay available.
    pub fn prune(&mut self, index: u64) {
        self.pruned_below = index.clamp(self.pruned_below, self.size);
        for (height, level) in (0..).zip(self.levels.iter_mut()) {
            let first = first_kept(self.pruned_below, height);
            if level.first == first {
                // Where nothing goes here, nothing goes above.
                break;
            }
            while level.first < first && level.hashes.pop_front().is_some() {
                level.first += 1;
            }
        }
    }

    /// Forgets every leaf from `size` on, as if it had never been appended.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.size = size.clamp(self.pruned_below, self.size);
        for (height, level) in (0..).zip(self.levels.iter_mut()) {
            let kept = (self.size >> height).saturating_sub(level.first);
            level.hashes.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        }
    }

    /// The edge of the tree as it was when it had `size` leaves.
    ///
    /// # Errors
    /// When the tree is smaller, or the hashes needed were pruned.
    pub fn edge(&self, size: u64) -> Result<Tree, ProofError> {
        self.holds(size)?;
        let peaks = prove::peaks(size).map(|(level, index)| self.node(level, index));
        Ok(Tree { size, peaks: peaks.collect::<Result<_, _>>()? })
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        // The edge at the present size is never pruned.
        self.root_at(self.size).unwrap_or_else(|_| empty_root())
    }

    /// The root over the first `size` leaves.
    ///
    /// # Errors
    /// When the tree is smaller, or the hashes needed were pruned.
    pub fn root_at(&self, size: u64) -> Result<Hash, ProofError> {
        Ok(self.edge(size)?.root())
    }

    /// Proves that leaf `index` stands in the tree of the first `size` leaves (RFC 6962 §2.1.1).
    ///
    /// # Errors
    /// When there is no such leaf or size, or the hashes needed were pruned.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.holds(size)?;
        if index < self.pruned_below {
            return Err(ProofError::Pruned);
        }
        prove::inclusion(index, size, |level, index| self.node(level, index))
    }

    /// Proves that the first `old` of the first `new` leaves are what the tree of size `old` had (RFC 6962 §2.1.2).
    ///
    /// # Errors
    /// When `old` is 0 or above `new`, the tree is smaller than `new`, or the hashes needed were pruned.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        self.holds(new)?;
        prove::consistency(old, new, |level, index| self.node(level, index))
    }

    fn holds(&self, size: u64) -> Result<(), ProofError> {
        if size > self.size { Err(ProofError::Range) } else { Ok(()) }
    }

    /// The root of the perfect subtree at this height and index.
    pub(crate) fn node(&self, level: u32, index: u64) -> Result<Hash, ProofError> {
        self.levels.get(level as usize).and_then(|level| level.at(index)).ok_or(ProofError::Pruned)
    }
}

/// The first subtree of height `level` that proofs about leaves from `pruned_below` on can need: either the one that
/// holds this leaf, or, where that is a right child, its left sibling.
const fn first_kept(pruned_below: u64, level: u32) -> u64 {
    match pruned_below.checked_shr(level) {
        Some(index) => index & !1,
        None => 0,
    }
}
