//! Merges data segments, so that fewer have to be copied into each instance.
//!
//! The Go linker writes twenty thousand segments into a small program, one for each stretch between zeros. The engine
//! stores each segment, and copies each into every instance. Most of them are adjacent in memory, so one segment can
//! replace many.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use super::binary::write_leb128;

/// Largest gap between merged segments, in bytes: copying so many zeros costs less than another segment.
const GAP_BYTES_MAX: u64 = 256;
/// Most bytes of zeros added to all gaps together: as many as a module may have.
const FILL_BYTES_MAX: u64 = 8 << 20;

/// The bytes that a module's data segments write into its memory when an instance is made.
///
/// Segments are written in order, and later ones overwrite earlier ones. So a segment can be merged into the one
/// before it if it starts at that one's end, or after it if nothing was written into the gap: memory is zero at
/// first.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// Initial bytes of the memory.
    memory_bytes: u64,
    /// Address of each segment, and its range in `content`.
    segments: Vec<(u32, Range<usize>)>,
    content: Vec<u8>,
    /// Addresses that the last segment covers, with all segments merged into it.
    last: Range<u64>,
    /// Addresses that earlier segments have written, as start and end of ranges that do not touch.
    written: BTreeMap<u64, u64>,
    /// Bytes of zeros that may still be added.
    fill_bytes_left: u64,
    /// A segment lies outside the memory, so no instance can be made, and later segments do not matter.
    out_of_bounds: bool,
}

impl Data {
    pub(crate) fn new(memory_bytes: u64) -> Self {
        Self { memory_bytes, fill_bytes_left: FILL_BYTES_MAX, ..Self::default() }
    }

    /// Adds a segment; true if it was not merged into the one before.
    pub(crate) fn add(&mut self, at: u32, bytes: &[u8]) -> bool {
        let (start, end) = (u64::from(at), u64::from(at).saturating_add(bytes.len() as u64));
        if self.out_of_bounds {
            return false;
        }
        if end > self.memory_bytes {
            // Kept as the only segment, so that the engine reports it at each call.
            self.out_of_bounds = true;
            self.segments.clear();
            self.content.clear();
        } else if bytes.is_empty() {
            return false;
        }
        let gap = start.checked_sub(self.last.end).filter(|&gap| {
            gap == 0
                || gap <= GAP_BYTES_MAX.min(self.fill_bytes_left) && !self.is_written(self.last.end..start)
        });
        let merged = self.segments.last_mut().zip(gap);
        let alone = merged.is_none();
        match merged {
            Some(((_, range), gap)) => {
                self.fill_bytes_left -= gap;
                self.content.resize(self.content.len() + gap as usize, 0);
                self.content.extend_from_slice(bytes);
                range.end = self.content.len();
                self.last.end = end;
            }
            None => {
                let from = self.content.len();
                self.content.extend_from_slice(bytes);
                self.segments.push((at, from..self.content.len()));
                let before = core::mem::replace(&mut self.last, start..end);
                self.write(before);
            }
        }
        alone
    }

    /// Whether a segment before the last one has written into the gap.
    fn is_written(&self, gap: Range<u64>) -> bool {
        self.written.range(..gap.end).next_back().is_some_and(|(_, &end)| end > gap.start)
    }

    fn write(&mut self, mut range: Range<u64>) {
        while let Some((&start, &end)) = self.written.range(..=range.end).next_back()
            && end >= range.start
        {
            self.written.remove(&start);
            range = range.start.min(start)..range.end.max(end);
        }
        self.written.insert(range.start, range.end);
    }

    /// Bytes written into each instance.
    pub(crate) fn bytes(&self) -> u64 {
        self.content.len() as u64
    }

    /// The content of the data section.
    pub(crate) fn section(&self) -> Option<Vec<u8>> {
        let mut section = Vec::with_capacity(self.content.len() + 16 * self.segments.len() + 5);
        write_leb128(&mut section, u32::try_from(self.segments.len()).ok()?);
        for (at, range) in &self.segments {
            let bytes = self.content.get(range.clone())?;
            section.extend_from_slice(&[ACTIVE, I32_CONST]);
            write_signed_leb128(&mut section, at.cast_signed());
            section.push(END);
            write_leb128(&mut section, u32::try_from(bytes.len()).ok()?);
            section.extend_from_slice(bytes);
        }
        Some(section)
    }
}

const ACTIVE: u8 = 0;
const I32_CONST: u8 = 0x41;
const END: u8 = 0x0b;

fn write_signed_leb128(out: &mut Vec<u8>, mut value: i32) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        // The highest of the seven bits of the last byte is the sign.
        if value == if byte & 0x40 == 0 { 0 } else { -1 } {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}
