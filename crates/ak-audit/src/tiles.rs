//! Export as C2SP tiles (<https://c2sp.org/tlog-tiles>): a static directory from which anybody can check the log.

use alloc::{
    collections::VecDeque,
    format,
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    hash::leaf_hash,
    journal::{Disk, Journal, JournalError},
    prove::ProofError,
    tree::{TILE_HEIGHT, TILE_WIDTH},
};

/// One file of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Its path below the log's prefix, such as `tile/0/x001/234` or `tile/entries/000.p/17`.
    pub path: String,
    /// What stands in it.
    pub bytes: Vec<u8>,
}

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
        /// The entry.
        seq: u64,
    },
}

/// Place and width of a tile.
#[derive(Debug, Clone, Copy)]
struct Place {
    level: u32,
    index: u64,
    width: u64,
}

impl Place {
    /// Every tile of a tree of `size` leaves, those of a level together, partial ones last.
    fn all(size: u64) -> impl Iterator<Item = Place> {
        let counts = (0..u64::BITS / TILE_HEIGHT).map(move |level| (level, size >> (level * TILE_HEIGHT)));
        counts.flat_map(|(level, count)| {
            (0..count.div_ceil(TILE_WIDTH)).map(move |index| {
                let width = count.saturating_sub(index << TILE_HEIGHT).min(TILE_WIDTH);
                Place { level, index, width }
            })
        })
    }

    /// The first leaf after those under the full tile at this place.
    const fn end(self) -> u64 {
        match 1u64.checked_shl(TILE_HEIGHT * (self.level + 1)) {
            Some(span) => (self.index + 1).saturating_mul(span),
            None => u64::MAX,
        }
    }

    /// `level/N[.p/W]`, the index in groups of three digits.
    fn path(self, level: &str) -> String {
        let mut index = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            index = format!("x{:03}/{index}", rest % 1000);
            rest /= 1000;
        }
        match self.width {
            TILE_WIDTH => format!("tile/{level}/{index}"),
            width => format!("tile/{level}/{index}.p/{width}"),
        }
    }
}

impl<D: Disk> Journal<D> {
    /// The tiles and entry bundles of the log's first `size` entries, to be served beside a checkpoint of that size.
    /// Those that retention has cut into are left out, as the format allows.
    ///
    /// # Errors
    /// The first item is an error when the log is shorter than `size`; any, when the disk fails.
    pub fn tiles(&self, size: u64) -> impl Iterator<Item = Result<Tile, TileError>> {
        let short = (size > self.len()).then_some(Err(ProofError::Range.into()));
        // The tile that retention cut through starts below what is kept.
        let kept = |place: &Place| match place.level {
            0 => place.index << TILE_HEIGHT >= self.pruned_below(),
            _ => place.end() > self.pruned_below(),
        };
        let places = Place::all(if short.is_some() { 0 } else { size }).filter(kept);
        let mut ready: VecDeque<Result<Tile, TileError>> = short.into_iter().collect();
        let mut places = places.fuse();
        core::iter::from_fn(move || {
            if ready.is_empty() {
                let place = places.next()?;
                match self.tile_files(place) {
                    Ok(files) => ready.extend(files.into_iter().map(Ok)),
                    Err(error) => ready.push_back(Err(error)),
                }
            }
            ready.pop_front()
        })
    }

    fn tile_files(&self, place: Place) -> Result<Vec<Tile>, TileError> {
        if place.level == 0 {
            return self.leaf_tile(place);
        }
        let mut reader = self.tree_reader();
        let mut bytes = Vec::new();
        let first = place.index << TILE_HEIGHT;
        for index in first..first.saturating_add(place.width) {
            match reader.node(place.level * TILE_HEIGHT, index) {
                Ok(hash) => bytes.extend_from_slice(&hash),
                Err(ProofError::Pruned) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Vec::from([Tile { path: place.path(&place.level.to_string()), bytes }]))
    }

    /// The leaf hashes of a tile, and the entries they are the hashes of.
    fn leaf_tile(&self, place: Place) -> Result<Vec<Tile>, TileError> {
        let (mut hashes, mut bundle) = (Vec::new(), Vec::new());
        let first = place.index << TILE_HEIGHT;
        for record in self.records(first..first.saturating_add(place.width)) {
            let (seq, record) = record?;
            let length = u16::try_from(record.entry.len()).map_err(|_| TileError::TooLong { seq })?;
            hashes.extend_from_slice(&leaf_hash(&record.entry));
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(&record.entry);
        }
        let tile = Tile { path: place.path("0"), bytes: hashes };
        Ok(Vec::from([tile, Tile { path: place.path("entries"), bytes: bundle }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |index, width, path: &str| assert_eq!(Place { level: 0, index, width }.path("0"), path);
        check(0, 256, "tile/0/000");
        check(5, 7, "tile/0/005.p/7");
        check(1_234_067, 256, "tile/0/x001/x234/067");
        check(1000, 1, "tile/0/x001/000.p/1");
    }

    /// The example of the specification.
    #[test]
    fn tiles_of_a_tree_of_70000_leaves() {
        let places: Vec<_> = Place::all(70_000).map(|place| (place.level, place.width)).collect();
        let count = |level, width| places.iter().filter(|place| **place == (level, width)).count();
        assert_eq!(
            (count(0, 256), count(0, 112), count(1, 256), count(1, 17), count(2, 1)),
            (273, 1, 1, 1, 1)
        );
        assert_eq!(places.len(), 277);
        assert_eq!(Place::all(256).count(), 2);
        assert_eq!(Place::all(u64::MAX).next().map(|place| place.width), Some(256));
    }
}
