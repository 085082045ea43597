//! Positions, widths and paths of C2SP tiles (<https://c2sp.org/tlog-tiles>).

use alloc::{format, string::String, vec::Vec};

use super::tree::{TILE_HEIGHT, TILE_WIDTH};

/// One file of an exported log (C2SP tlog-tiles): a tile of hashes or a bundle of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// The file's path below the log's prefix, such as `tile/0/x001/234` or `tile/entries/000.p/17`.
    pub path: String,
    /// The file's content.
    pub bytes: Vec<u8>,
}

/// Level, index and width of a tile; the width is 256 unless the tile is partial.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TilePosition {
    pub(crate) level: u32,
    pub(crate) index: u64,
    pub(crate) width: u64,
}

impl TilePosition {
    /// Every tile of a tree of `size` leaves, level by level, the partial one of a level last.
    pub(crate) fn all(size: u64) -> impl Iterator<Item = TilePosition> {
        let counts = (0..u64::BITS / TILE_HEIGHT).map(move |level| (level, size >> (level * TILE_HEIGHT)));
        counts.flat_map(|(level, count)| {
            (0..count.div_ceil(TILE_WIDTH)).map(move |index| {
                let width = count.saturating_sub(index << TILE_HEIGHT).min(TILE_WIDTH);
                TilePosition { level, index, width }
            })
        })
    }

    /// Index of the first leaf after the full tile at this position.
    pub(crate) const fn end(self) -> u64 {
        match 1u64.checked_shl(TILE_HEIGHT * (self.level + 1)) {
            Some(span) => (self.index + 1).saturating_mul(span),
            None => u64::MAX,
        }
    }

    /// The path `tile/level/N[.p/W]`, with the index in groups of three digits.
    pub(crate) fn path(self, level: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check =
            |index, width, path: &str| assert_eq!(TilePosition { level: 0, index, width }.path("0"), path);
        check(0, 256, "tile/0/000");
        check(5, 7, "tile/0/005.p/7");
        check(1_234_067, 256, "tile/0/x001/x234/067");
        check(1000, 1, "tile/0/x001/000.p/1");
    }

    /// The example of the C2SP specification.
    #[test]
    fn tiles_of_a_tree_of_70000_leaves() {
        let places: Vec<_> = TilePosition::all(70_000).map(|place| (place.level, place.width)).collect();
        let count = |level, width| places.iter().filter(|place| **place == (level, width)).count();
        assert_eq!(
            (count(0, 256), count(0, 112), count(1, 256), count(1, 17), count(2, 1)),
            (273, 1, 1, 1, 1)
        );
        assert_eq!(places.len(), 277);
        assert_eq!(TilePosition::all(256).count(), 2);
        assert_eq!(TilePosition::all(u64::MAX).next().map(|place| place.width), Some(256));
    }
}
