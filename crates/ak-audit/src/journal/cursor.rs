//! Reads a segment forwards, frame by frame, through a window in memory.

use alloc::{string::String, vec::Vec};

use super::{
    disk::{Disk, DiskError},
    frame::{self, COMMIT_BYTES, FRAME_HEAD_BYTES, Frame, MARK_BYTES, Salt},
};

/// Bytes read at a time; a longer frame widens the window for that frame.
const WINDOW_BYTES: usize = 256 << 10;

pub(crate) struct Cursor<'d, D> {
    disk: &'d D,
    name: String,
    length: u64,
    offset: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'d, D: Disk> Cursor<'d, D> {
    /// A cursor at `offset` of the file `name`, which reads only its first `length` bytes.
    pub(crate) fn new(disk: &'d D, name: String, offset: u64, length: u64) -> Cursor<'d, D> {
        Cursor { disk, name, length, offset, window: Vec::new(), window_start: offset }
    }

    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes the cursor treat the file as ending at `length`, if it does not end before.
    pub(crate) fn shorten(&mut self, length: u64) {
        self.length = self.length.min(length);
    }

    pub(crate) const fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next `count` bytes; the cursor does not move. `None` if fewer are left.
    pub(crate) fn peek(&mut self, count: usize) -> Result<Option<&[u8]>, DiskError> {
        let left = self.length.saturating_sub(self.offset);
        if left < count as u64 {
            return Ok(None);
        }
        let mut skip = self.offset.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        let covered = skip.is_some_and(|skip| skip.saturating_add(count) <= self.window.len());
        if !covered {
            let wanted = usize::try_from(left).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES)).max(count);
            self.window.resize(wanted, 0);
            self.window_start = self.offset;
            let got = read_fully(self.disk, &self.name, self.offset, &mut self.window)?;
            self.window.truncate(got);
            skip = Some(0);
        }
        Ok(skip.and_then(|skip| self.window.get(skip..)?.get(..count)))
    }

    /// The frame at the cursor and its length in bytes; the cursor does not move. `None` if there is no whole,
    /// undamaged frame.
    pub(crate) fn frame(&mut self, salt: Salt) -> Result<Option<(Frame<'_>, u64)>, DiskError> {
        let (offset, engine) = (self.offset, self.disk.engine());
        let length = match self.peek(FRAME_HEAD_BYTES)?.and_then(|head| head.first_chunk()) {
            Some(head) => frame::frame_length(head),
            None => None,
        };
        let Some(length) = length else { return Ok(None) };
        let whole = self.peek(length)?;
        Ok(whole.and_then(|whole| Some((frame::parse(whole, &engine, salt, offset)?, length as u64))))
    }

    /// Searches from the cursor to the end for a frame that proves that a batch which began at `size` entries was
    /// acknowledged: a mark that counts more entries, or the commit of a later batch.
    pub(crate) fn acknowledged_beyond(&mut self, size: u64, salt: Salt) -> Result<bool, DiskError> {
        let engine = self.disk.engine();
        while let Some(head) = self.peek(FRAME_HEAD_BYTES)? {
            let length = match head {
                [_, _, _, _, 56, 0, 0, 0, frame::COMMIT] => COMMIT_BYTES,
                [_, _, _, _, 8, 0, 0, 0, frame::MARK] => MARK_BYTES,
                _ => 0,
            };
            if length > 0 {
                let offset = self.offset;
                match self.peek(length)?.and_then(|whole| frame::parse(whole, &engine, salt, offset)) {
                    Some(Frame::Commit(commit)) if commit.first > size => return Ok(true),
                    Some(Frame::Mark { size: marked }) if marked > size => return Ok(true),
                    Some(Frame::Record { .. } | Frame::Commit(_) | Frame::Mark { .. }) | None => {}
                }
            }
            self.offset = self.offset.saturating_add(1);
        }
        Ok(false)
    }

    /// Number of bytes from the cursor to the last one that is not zero; the cursor does not move.
    pub(crate) fn bytes_until_zeros(&mut self) -> Result<u64, DiskError> {
        let start = self.offset;
        let mut end = start;
        while self.offset < self.length {
            let left = usize::try_from(self.length.saturating_sub(self.offset)).unwrap_or(WINDOW_BYTES);
            let count = left.min(WINDOW_BYTES);
            let offset = self.offset;
            let Some(bytes) = self.peek(count)? else { break };
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = offset.saturating_add(last as u64).saturating_add(1);
            }
            self.offset = offset.saturating_add(count as u64);
        }
        self.offset = start;
        Ok(end.saturating_sub(start))
    }
}

/// Reads until the buffer is full or the file ends; returns the number of bytes read.
pub(crate) fn read_fully<D: Disk>(
    disk: &D,
    name: &str,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, DiskError> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match disk.read(name, offset.saturating_add(got as u64), rest)? {
            0 => break,
            count => got = got.saturating_add(count),
        }
    }
    Ok(got)
}
