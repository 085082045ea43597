//! The PVH start information (Xen, `docs/misc/pvh.pandoc`), little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `0x336ec578` |
//! | 4 | 4 | version; the memory map is there from 1 on |
//! | 12 | 4 | number of modules |
//! | 16 | 8 | address of the module list: address u64, size u64, 16 bytes more |
//! | 40 | 8 | address of the memory map: address u64, size u64, type u32 (1 is RAM), 4 bytes more |
//! | 48 | 4 | number of its entries |

use core::ops::Range;

/// The lowest address that the heap may use. Below it are the loader's tables and legacy devices.
pub const MEMORY_START: u64 = 1 << 20;
/// The end of the memory that the page tables map one to one.
pub const MEMORY_END: u64 = 4 << 30;

const MAGIC: u32 = 0x336e_c578;
const INFO_BYTES: u64 = 56;
const MODULE_BYTES: u64 = 32;
const REGION_BYTES: u64 = 24;
const REGIONS_MAX: u64 = 1024;
const RAM: u32 = 1;

/// The part of the loader's start information that the image uses: the boot module and the range of the heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The physical addresses of the first boot module; `None` if no module was passed.
    pub module: Option<Range<u64>>,
    /// The largest range of RAM between [`MEMORY_START`] and [`MEMORY_END`] that neither image nor module occupies.
    pub heap: Range<u64>,
}

/// Why the loader's start information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The magic number is not that of PVH.
    #[error("no PVH start information")]
    Magic,
    /// The information is of version 0, which has no memory map.
    #[error("start information of version 0 has no memory map")]
    Version,
    /// A table or the module lies outside memory, or the memory map has more than 1,024 entries.
    #[error("{0} lies outside memory")]
    OutsideMemory(&'static str),
    /// Image and module leave no RAM for the heap.
    #[error("no memory is left for the heap")]
    NoHeap,
}

impl Boot {
    /// Reads the start information at `address`. `memory` gives the bytes at a physical address, or `None` if they
    /// cannot be read; `image` is the range that this program occupies.
    ///
    /// # Errors
    ///
    /// [`BootError`] when the information is not what a PVH loader leaves.
    pub fn read<'a>(
        memory: impl Fn(u64, u64) -> Option<&'a [u8]>,
        address: u64,
        image: Range<u64>,
    ) -> Result<Self, BootError> {
        let table = |name, at, bytes| memory(at, bytes).map(Table).ok_or(BootError::OutsideMemory(name));
        let info = table("start information", address, INFO_BYTES)?;
        if info.u32(0) != MAGIC {
            return Err(BootError::Magic);
        }
        if info.u32(4) == 0 {
            return Err(BootError::Version);
        }
        let module = match info.u32(12) {
            0 => None,
            _ => {
                let first = table("module list", info.u64(16), MODULE_BYTES)?;
                let start = first.u64(0);
                let end = start.checked_add(first.u64(8)).filter(|&end| end <= MEMORY_END);
                Some(start..end.ok_or(BootError::OutsideMemory("module"))?)
            }
        };
        let count = u64::from(info.u32(48));
        if count > REGIONS_MAX {
            return Err(BootError::OutsideMemory("memory map"));
        }
        let map = table("memory map", info.u64(40), count.saturating_mul(REGION_BYTES))?;
        let occupied = [image, module.clone().unwrap_or(0..0)];
        let heap = map
            .regions()
            .filter_map(|region| largest_gap(region, &occupied))
            .max_by_key(|gap| gap.end - gap.start)
            .ok_or(BootError::NoHeap)?;
        Ok(Self { module, heap })
    }
}

/// A table of little-endian fields. Every table is as long as its fields require; a field past the end would read as 0.
struct Table<'a>(&'a [u8]);

impl Table<'_> {
    fn u32(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.copied().map_or(0, u32::from_le_bytes)
    }

    fn u64(&self, offset: usize) -> u64 {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.copied().map_or(0, u64::from_le_bytes)
    }

    /// The regions of RAM, each cut to the range from [`MEMORY_START`] to [`MEMORY_END`].
    fn regions(&self) -> impl Iterator<Item = Range<u64>> {
        let entries = self.0.chunks_exact(REGION_BYTES as usize).map(Table);
        entries.filter(|entry| entry.u32(16) == RAM).map(|entry| {
            let end = entry.u64(0).saturating_add(entry.u64(8));
            entry.u64(0).max(MEMORY_START)..end.min(MEMORY_END)
        })
    }
}

/// The largest part of `region` that none of `occupied` overlaps. Each gap starts at the start of the region or at the
/// end of an occupied range.
fn largest_gap(region: Range<u64>, occupied: &[Range<u64>]) -> Option<Range<u64>> {
    let starts = core::iter::once(region.start).chain(occupied.iter().map(|range| range.end));
    let gaps = starts.filter(|start| region.contains(start)).filter_map(|start| {
        let others = occupied.iter().filter(|range| range.start < range.end && range.end > start);
        let end = others.map(|range| range.start).fold(region.end, u64::min);
        (start < end).then_some(start..end)
    });
    gaps.max_by_key(|gap| gap.end - gap.start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    extern crate std;
    use std::vec;
    use std::vec::Vec;

    const INFO: u64 = 0x1000;
    const MODULES: u64 = 0x2000;
    const MAP: u64 = 0x3000;
    const IMAGE: Range<u64> = (1 << 20)..(2 << 20);

    /// The tables that a loader leaves in memory, built by hand.
    struct Loader {
        info: [u8; 56],
        modules: [u8; 32],
        map: Vec<u8>,
    }

    impl Loader {
        fn new(module: Option<Range<u64>>, map: &[(u64, u64, u32)]) -> Self {
            let mut info = [0; 56];
            info[..4].copy_from_slice(&0x336e_c578_u32.to_le_bytes());
            info[4] = 1;
            info[12] = module.is_some().into();
            info[16..24].copy_from_slice(&MODULES.to_le_bytes());
            info[40..48].copy_from_slice(&MAP.to_le_bytes());
            info[48..52].copy_from_slice(&(map.len() as u32).to_le_bytes());
            let mut modules = [0; 32];
            if let Some(module) = module {
                modules[..8].copy_from_slice(&module.start.to_le_bytes());
                modules[8..16].copy_from_slice(&(module.end - module.start).to_le_bytes());
            }
            let map = map.iter().flat_map(|(start, size, kind)| {
                let mut entry = [start.to_le_bytes(), size.to_le_bytes()].concat();
                entry.extend(kind.to_le_bytes());
                entry.extend([0; 4]);
                entry
            });
            Self { info, modules, map: map.collect() }
        }

        fn boot(&self) -> Result<Boot, BootError> {
            let memory = |at, bytes| {
                let table = match at {
                    INFO => &self.info[..],
                    MODULES => &self.modules,
                    MAP => &self.map,
                    _ => return None,
                };
                table.get(..bytes as usize)
            };
            Boot::read(memory, INFO, IMAGE)
        }
    }

    #[test]
    fn the_heap_lies_between_image_and_module() {
        let map =
            [(0, 0x9_fc00, 1), (0x10_0000, 0x1ff0_0000, 1), (0xfeff_c000, 0x4000, 2), (4 << 30, 1 << 30, 1)];
        let module = 0x1ffe_0000..0x1fff_e000;
        let boot = Loader::new(Some(module.clone()), &map).boot().unwrap();
        assert_eq!(boot, Boot { module: Some(module.clone()), heap: IMAGE.end..module.start });
        let boot = Loader::new(None, &map).boot().unwrap();
        assert_eq!(boot, Boot { module: None, heap: IMAGE.end..0x2000_0000 });
    }

    #[test]
    fn nonsense_is_refused() {
        let good = || Loader::new(None, &[(0x10_0000, 0x1000_0000, 1)]);
        let check = |change: fn(&mut Loader), error| {
            let mut loader = good();
            change(&mut loader);
            assert_eq!(loader.boot(), Err(error));
        };
        check(|loader| loader.info[0] = 0, BootError::Magic);
        check(|loader| loader.info[4] = 0, BootError::Version);
        check(|loader| loader.info[41] = 0xff, BootError::OutsideMemory("memory map"));
        check(|loader| loader.info[51] = 0xff, BootError::OutsideMemory("memory map"));
        check(
            |loader| (loader.info[12], loader.info[17]) = (1, 0xff),
            BootError::OutsideMemory("module list"),
        );
        check(|loader| (loader.info[12], loader.modules[7]) = (1, 0xff), BootError::OutsideMemory("module"));
        check(|loader| loader.map[16] = 2, BootError::NoHeap);
        check(|loader| loader.map = vec![0; 24], BootError::NoHeap);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_heap_is_free_ram(
            map in proptest::collection::vec((0u64..5 << 30, 0u64..3 << 30, 0u32..3), 0..5),
            start in 0u64..4 << 30,
            size in 0u64..1 << 28,
        ) {
            let module = start..(start + size).min(MEMORY_END);
            if let Ok(Boot { heap, .. }) = Loader::new(Some(module.clone()), &map).boot() {
                prop_assert!(heap.start < heap.end && heap.start >= MEMORY_START && heap.end <= MEMORY_END);
                for occupied in [IMAGE, module] {
                    prop_assert!(occupied.is_empty() || heap.end <= occupied.start || occupied.end <= heap.start);
                }
                let inside = |(start, size, kind): &(u64, u64, u32)| {
                    *kind == 1 && *start <= heap.start && heap.end <= start + size
                };
                prop_assert!(map.iter().any(inside));
            }
        }
    }
}
