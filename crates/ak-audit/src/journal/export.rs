//! Export as C2SP tiles (<https://c2sp.org/tlog-tiles>): static files from which anybody can verify the log.

use alloc::{collections::VecDeque, string::ToString, vec::Vec};

use super::{Disk, Journal, JournalError};
use crate::{
    hash::leaf_hash,
    merkle::{
        prover::ProofError,
        tiles::{Tile, TilePosition},
        tree::TILE_HEIGHT,
    },
};

/// Why a tile cannot be exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] ProofError),
    /// An entry is longer than the 65,535 bytes that fit a bundle.
    #[error("entry {seq} is too long for a bundle of entries")]
    TooLong {
        /// `seq` of the entry.
        seq: u64,
    },
}

impl<D: Disk> Journal<D> {
    /// Iterates over the tiles and entry bundles of the log's first `size` entries, to be served beside a checkpoint
    /// of that size. Tiles that contain pruned entries are left out, as the format allows.
    ///
    /// # Errors
    /// The first item is an error when the log is shorter than `size`. Any item is one when the disk fails or an
    /// entry is too long.
    pub fn tiles(&self, size: u64) -> impl Iterator<Item = Result<Tile, TileError>> {
        let short = (size > self.len()).then_some(Err(ProofError::Range.into()));
        // A level-0 tile with some entries pruned starts below the first entry kept.
        let kept = |position: &TilePosition| match position.level {
            0 => position.index << TILE_HEIGHT >= self.pruned_below(),
            _ => position.end() > self.pruned_below(),
        };
        let positions = TilePosition::all(if short.is_some() { 0 } else { size }).filter(kept);
        let mut ready: VecDeque<Result<Tile, TileError>> = short.into_iter().collect();
        let mut positions = positions.fuse();
        core::iter::from_fn(move || {
            if ready.is_empty() {
                let position = positions.next()?;
                match self.tile_files(position) {
                    Ok(files) => ready.extend(files.into_iter().map(Ok)),
                    Err(error) => ready.push_back(Err(error)),
                }
            }
            ready.pop_front()
        })
    }

    fn tile_files(&self, position: TilePosition) -> Result<Vec<Tile>, TileError> {
        if position.level == 0 {
            return self.leaf_tile(position);
        }
        let mut reader = self.tree_reader();
        let mut bytes = Vec::new();
        let first = position.index << TILE_HEIGHT;
        for index in first..first.saturating_add(position.width) {
            match reader.node(position.level * TILE_HEIGHT, index) {
                Ok(hash) => bytes.extend_from_slice(&hash),
                Err(ProofError::Pruned) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Vec::from([Tile { path: position.path(&position.level.to_string()), bytes }]))
    }

    /// The leaf hashes of a tile, and the bundle of the entries.
    fn leaf_tile(&self, position: TilePosition) -> Result<Vec<Tile>, TileError> {
        let (mut hashes, mut bundle) = (Vec::new(), Vec::new());
        let first = position.index << TILE_HEIGHT;
        for record in self.records(first..first.saturating_add(position.width)) {
            let (seq, record) = record?;
            let length = u16::try_from(record.entry.len()).map_err(|_| TileError::TooLong { seq })?;
            hashes.extend_from_slice(&leaf_hash(&record.entry));
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(&record.entry);
        }
        let tile = Tile { path: position.path("0"), bytes: hashes };
        Ok(Vec::from([tile, Tile { path: position.path("entries"), bytes: bundle }]))
    }
}
