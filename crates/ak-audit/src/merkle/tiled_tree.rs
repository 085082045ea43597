//! The tree of a log whose entries are on disk: of the lower eight levels, memory holds only the edge.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    hash::Hash,
    hash_engine::HashEngine,
    merkle::full_tree::FullTree,
    merkle::prover::{self, ProofError},
    merkle::tree::{TILE_HEIGHT, TILE_WIDTH, Tree},
};

/// The roots of all full tiles with the tree above them, and the edge of the last tile: half a byte for each entry.
///
/// A *tile* is a perfect subtree over [`TILE_WIDTH`] leaves, as in <https://c2sp.org/tlog-tiles>.
#[derive(Debug, Clone, Default)]
pub(crate) struct TiledTree {
    tiles: FullTree,
    tile: Tree,
}

impl TiledTree {
    /// The tree with this edge.
    pub(crate) fn from_edge(edge: &Tree) -> TiledTree {
        TiledTree { tiles: FullTree::from_edge(&edge.above(TILE_HEIGHT)), tile: edge.below(TILE_HEIGHT) }
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        self.tile.push(leaf);
        if self.tile.size() >> TILE_HEIGHT == 1 {
            self.tiles.push(self.tile.root());
            self.tile = Tree::new();
        }
    }

    /// Appends leaves, hashing nodes of the same height together.
    pub(crate) fn extend(&mut self, mut leaves: &[Hash], engine: &HashEngine) {
        while !leaves.is_empty() {
            let room = usize::try_from(TILE_WIDTH.saturating_sub(self.tile.size())).unwrap_or(usize::MAX);
            let (within, rest) = leaves.split_at_checked(room).unwrap_or((leaves, &[]));
            self.tile.extend(within, engine);
            if self.tile.size() == TILE_WIDTH {
                self.tiles.push(self.tile.root());
                self.tile = Tree::new();
            }
            leaves = rest;
        }
    }

    /// The edge over all leaves.
    pub(crate) fn edge(&self) -> Tree {
        // The tree above the tiles is never pruned beyond its present size.
        let above = self.tiles.edge(self.tiles.size()).unwrap_or_default();
        above.joined(TILE_HEIGHT, &self.tile)
    }

    pub(crate) fn root(&self) -> Hash {
        self.edge().root()
    }

    /// The edge of the last tile, for a later [`TiledTree::rewind`].
    pub(crate) fn last_tile(&self) -> Tree {
        self.tile.clone()
    }

    /// Goes back to `size` leaves, the size at which `last_tile` was the edge of the last tile.
    pub(crate) fn rewind(&mut self, size: u64, last_tile: Tree) {
        self.tiles.truncate(size >> TILE_HEIGHT);
        self.tile = last_tile;
    }

    /// Adds, below the tiles of this tree, those of `before`, a tree of `size` leaves. This tree keeps the tiles from
    /// leaf `size` on.
    pub(crate) fn put_before(&mut self, mut before: TiledTree, size: u64) -> Result<(), ProofError> {
        for tile in size >> TILE_HEIGHT..self.tiles.size() {
            before.tiles.push(self.tiles.node(0, tile)?);
        }
        self.tiles = before.tiles;
        Ok(())
    }

    /// Removes the tiles whose leaves are all below `index`.
    pub(crate) fn prune(&mut self, index: u64) {
        self.tiles.prune(index >> TILE_HEIGHT);
    }

    /// A reader of the tree's nodes. `read` returns the leaves of the tile with the given index as a tree of their
    /// own.
    pub(crate) fn reader<R>(&self, read: R) -> TileReader<'_, R>
    where
        R: FnMut(u64) -> Result<FullTree, ProofError>,
    {
        TileReader { tree: self, read, cache: BTreeMap::new() }
    }
}

/// Reads nodes of a [`TiledTree`]; those inside a tile are computed from its leaves, which are read once and cached.
pub(crate) struct TileReader<'t, R> {
    tree: &'t TiledTree,
    read: R,
    cache: BTreeMap<u64, FullTree>,
}

impl<R: FnMut(u64) -> Result<FullTree, ProofError>> TileReader<'_, R> {
    pub(crate) fn node(&mut self, level: u32, index: u64) -> Result<Hash, ProofError> {
        if let Some(above) = level.checked_sub(TILE_HEIGHT) {
            return self.tree.tiles.node(above, index);
        }
        let height = TILE_HEIGHT - level;
        let tile = index >> height;
        if !self.cache.contains_key(&tile) {
            self.cache.insert(tile, (self.read)(tile)?);
        }
        let within = index - (tile << height);
        self.cache.get(&tile).ok_or(ProofError::Unreadable)?.node(level, within)
    }

    /// The subtree at this height and index in the tree of `size` leaves; the last one of a height may be incomplete.
    pub(crate) fn subtree(&mut self, level: u32, index: u64, size: u64) -> Result<Hash, ProofError> {
        prover::subtree(level, index, size, |level, index| self.node(level, index))
    }

    pub(crate) fn root(&mut self, size: u64) -> Result<Hash, ProofError> {
        let peaks = prover::peaks(size).map(|(level, index)| self.node(level, index));
        let peaks = peaks.collect::<Result<Vec<_>, _>>()?;
        Ok(Tree::from_peaks(size, peaks).ok_or(ProofError::Range)?.root())
    }
}
