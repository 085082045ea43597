//! The RFC 6962 tree with all its nodes, from which proofs are made.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use once_cell::race::OnceBox;

use crate::{
    hash::{Hash, empty_root, node_hash},
    hash_engine::HashEngine,
    merkle::prover::{self, ProofError},
    merkle::tree::Tree,
};

/// An RFC 6962 tree that keeps its hashes and so can make proofs; it takes about 64 bytes for each leaf kept.
///
/// [`FullTree::prune`] removes the oldest leaves; the tree can still prove every later leaf and size.
#[derive(Debug, Clone, Default)]
pub struct FullTree {
    size: u64,
    pruned_below: u64,
    /// The hashes of each height. They are complete up to the last multiple of [`TOGETHER`] leaves; later nodes may
    /// be missing even if all their leaves are there, and are computed when needed.
    levels: Vec<Level>,
    folds: Folds,
}

/// Number of leaves whose nodes are hashed together; a power of two.
const TOGETHER: u64 = 64;

/// The smallest peak, the two smallest as one subtree, the three smallest, and so on, at the present size. Computed
/// on first use.
#[derive(Debug, Clone, Default)]
struct Folds(OnceBox<Vec<Hash>>);

impl Folds {
    const fn new() -> Folds {
        Folds(OnceBox::new())
    }
}

/// The roots of the perfect subtrees of one height, from index `first` on.
#[derive(Debug, Clone, Default)]
struct Level {
    first: u64,
    hashes: VecDeque<Hash>,
}

impl Level {
    #[inline]
    fn at(&self, index: u64) -> Option<&Hash> {
        self.hashes.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The roots from index `start` to before `end`, as far as they are kept.
    fn between(&self, start: u64, end: u64) -> impl Iterator<Item = &Hash> {
        let place = |index: u64| usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let length = self.hashes.len();
        self.hashes.range(place(start).min(length)..place(end).min(length))
    }

    /// The first index that is not hashed yet.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.hashes.len() as u64)
    }
}

impl FullTree {
    /// A tree without leaves.
    #[must_use]
    pub const fn new() -> FullTree {
        FullTree { size: 0, pruned_below: 0, levels: Vec::new(), folds: Folds::new() }
    }

    /// The tree with the edge `tree`, none of whose leaves are kept.
    #[must_use]
    pub fn from_edge(tree: &Tree) -> FullTree {
        let mut full = FullTree {
            size: tree.size(),
            pruned_below: tree.size(),
            levels: Vec::new(),
            folds: Folds::new(),
        };
        let mut peaks = tree.peaks().iter().rev();
        let height = u64::BITS - tree.size().leading_zeros();
        for level in 0..height {
            let first = first_kept(tree.size(), level);
            let peak = if tree.size() >> level & 1 == 1 { peaks.next() } else { None };
            full.levels.push(Level { first, hashes: peak.into_iter().copied().collect() });
        }
        full
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, &HashEngine::PORTABLE);
    }

    /// [`FullTree::push`] with `engine` for the hashes.
    pub(crate) fn push_with(&mut self, leaf: Hash, engine: &HashEngine) {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        if let Some(leaves) = self.levels.first_mut() {
            leaves.hashes.push_back(leaf);
        }
        self.size = self.size.saturating_add(1);
        self.folds = Folds::default();
        if self.size.is_multiple_of(TOGETHER) {
            self.hash_complete_nodes(engine);
        }
    }

    /// Hashes all complete nodes, height by height: nodes of one height do not depend on each other.
    fn hash_complete_nodes(&mut self, engine: &HashEngine) {
        let mut hashes = Vec::new();
        for height in 0.. {
            let end = self.levels.get(height + 1).map_or(0, Level::end);
            let wanted = self.size >> (height + 1);
            if end >= wanted {
                break;
            }
            let Some(below) = self.levels.get(height) else { break };
            hashes.clear();
            hashes.extend(below.between(2 * end, 2 * wanted));
            engine.parents(&mut hashes);
            if self.levels.len() == height + 1 {
                self.levels.push(Level::default());
            }
            if let Some(level) = self.levels.get_mut(height + 1) {
                level.hashes.extend(&hashes);
            }
        }
    }

    /// Number of leaves ever appended.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Index of the first leaf that the tree keeps.
    #[must_use]
    pub const fn pruned_below(&self) -> u64 {
        self.pruned_below
    }

    /// The leaf hash at `index`; `None` if it was pruned or does not exist.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.kept_leaf(index).copied()
    }

    pub(crate) fn kept_leaf(&self, index: u64) -> Option<&Hash> {
        self.levels.first().filter(|_| index >= self.pruned_below)?.at(index)
    }

    /// Removes every leaf below `index`. Roots and proofs that concern later leaves stay available.
    pub fn prune(&mut self, index: u64) {
        self.pruned_below = index.clamp(self.pruned_below, self.size);
        if self.pruned_below > self.size / TOGETHER * TOGETHER {
            // The nodes not hashed yet need hashes that are about to be removed.
            self.hash_complete_nodes(&HashEngine::PORTABLE);
        }
        for (height, level) in (0..).zip(self.levels.iter_mut()) {
            let first = first_kept(self.pruned_below, height);
            if level.first == first {
                // If nothing is removed at this height, nothing is removed above it.
                break;
            }
            while level.first < first && level.hashes.pop_front().is_some() {
                level.first += 1;
            }
        }
    }

    /// Removes every leaf from `size` on, as if it had never been appended.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.size = size.clamp(self.pruned_below, self.size);
        self.folds = Folds::default();
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
        let peaks = prover::peaks(size).map(|(level, index)| self.node(level, index));
        Tree::from_peaks(size, peaks.collect::<Result<_, _>>()?).ok_or(ProofError::Range)
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

    /// Makes the proof that leaf `index` is in the tree of the first `size` leaves (RFC 6962 §2.1.1).
    ///
    /// # Errors
    /// When `index` is not below `size`, the tree is smaller than `size`, or the hashes needed were pruned.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.holds(size)?;
        if index < self.pruned_below {
            return Err(ProofError::Pruned);
        }
        prover::inclusion(index, size, |level, index| self.subtree(level, index, size))
    }

    /// Makes the proof that the tree of `new` leaves begins with the tree of `old` leaves (RFC 6962 §2.1.2).
    ///
    /// # Errors
    /// When `old` is 0 or above `new`, the tree is smaller than `new`, or the hashes needed were pruned.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        self.holds(new)?;
        prover::consistency(old, new, |level, index| self.subtree(level, index, new))
    }

    fn holds(&self, size: u64) -> Result<(), ProofError> {
        if size > self.size { Err(ProofError::Range) } else { Ok(()) }
    }

    /// The subtree at this height and index in the tree of `size` leaves; the last one of a height may be incomplete.
    #[inline]
    fn subtree(&self, level: u32, index: u64, size: u64) -> Result<Hash, ProofError> {
        if index < size >> level {
            return self.node(level, index);
        }
        self.cut_subtree(level, index, size)
    }

    #[cold]
    fn cut_subtree(&self, level: u32, index: u64, size: u64) -> Result<Hash, ProofError> {
        if size < self.size {
            return prover::subtree(level, index, size, |level, index| self.node(level, index));
        }
        let folds = self.folds.0.get_or_try_init(|| {
            let peaks = self.edge(size)?.peaks().to_vec();
            let fold = |right: &mut Option<Hash>, peak: &Hash| {
                *right = Some(right.map_or(*peak, |right| node_hash(peak, &right)));
                *right
            };
            Ok(Box::new(peaks.iter().rev().scan(None, fold).collect()))
        })?;
        let below = size & (1u64 << level).wrapping_sub(1);
        let folded = (below.count_ones() as usize).checked_sub(1).and_then(|count| folds.get(count));
        folded.copied().ok_or(ProofError::Range)
    }

    /// The root of the perfect subtree at this height and index.
    #[inline]
    pub(crate) fn node(&self, level: u32, index: u64) -> Result<Hash, ProofError> {
        match self.levels.get(level as usize).and_then(|level| level.at(index)) {
            Some(hash) => Ok(*hash),
            None => self.missing(level, index),
        }
    }

    /// Computes a complete node that is not hashed yet; fails if it was pruned.
    #[cold]
    fn missing(&self, level: u32, index: u64) -> Result<Hash, ProofError> {
        match level.checked_sub(1) {
            Some(below) if level < TOGETHER.ilog2() && index < self.size >> level => {
                Ok(node_hash(&self.node(below, 2 * index)?, &self.node(below, 2 * index + 1)?))
            }
            Some(_) | None => Err(ProofError::Pruned),
        }
    }
}

/// Index of the first subtree of height `level` that proofs about leaves from `pruned_below` on can need: the one
/// that holds this leaf, or its left sibling if it is a right child.
const fn first_kept(pruned_below: u64, level: u32) -> u64 {
    match pruned_below.checked_shr(level) {
        Some(index) => index & !1,
        None => 0,
    }
}
