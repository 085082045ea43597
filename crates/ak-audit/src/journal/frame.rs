//! Frames: the unit of writing a segment and of detecting damage.
//!
//! | bytes | field, little-endian |
//! |---|---|
//! | 4 | CRC-32C over the segment's salt, the frame's offset in the file as u64, and all that follows |
//! | 4 | *n*, length of the payload |
//! | 1 | kind |
//! | *n* | payload |
//!
//! The salt prevents a caller who chooses a body from forging a frame inside it. The offset ensures that a frame
//! which the disk stored at the wrong place is not accepted there.

use alloc::vec::Vec;

use crate::{hash::Hash, hash_engine::HashEngine};

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEAD_BYTES: usize = 9;

/// The longest payload in bytes: a body of 64 MiB and an entry.
pub(crate) const PAYLOAD_BYTES_MAX: usize = (64 << 20) + (1 << 17);

/// Bytes of a whole commit frame.
pub(crate) const COMMIT_BYTES: usize = FRAME_HEAD_BYTES + 56;

/// Bytes of a whole mark frame.
pub(crate) const MARK_BYTES: usize = FRAME_HEAD_BYTES + 8;

pub(crate) const HEADER: u8 = 1;
pub(crate) const RECORD: u8 = 2;
pub(crate) const COMMIT: u8 = 3;
pub(crate) const MARK: u8 = 4;

/// The first bytes of every checksum of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) [u8; 8]);

/// The commit frame that ends a batch. Only batches with one count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Number of entries in the log before this batch.
    pub(crate) first: u64,
    /// Number of entries in the log with this batch.
    pub(crate) size: u64,
    /// Offset of the batch's first frame.
    pub(crate) start: u64,
    /// Root over all `size` entries.
    pub(crate) root: Hash,
}

/// A decoded frame whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// An entry and its body: `u32` length of the entry, entry, body.
    Record { entry: &'a [u8], body: &'a [u8] },
    /// `u64` first, `u64` size, `u64` start, root.
    Commit(Commit),
    /// `u64` size: the number of acknowledged entries, written after a sync.
    Mark { size: u64 },
}

/// Appends a frame without its checksum.
fn push_open(out: &mut Vec<u8>, kind: u8, payload: &[&[u8]]) {
    let length = payload.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
    // Callers keep to PAYLOAD_BYTES_MAX, which fits 32 bits.
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, a, b, c, d, kind]);
    payload.iter().for_each(|part| out.extend_from_slice(part));
}

/// Writes the checksum of the whole frame in `frame`, whose offset in the file is `offset`.
fn finish(frame: &mut [u8], engine: &HashEngine, salt: Salt, offset: u64) {
    if let Some((crc, covered)) = frame.split_first_chunk_mut() {
        *crc = checksum(engine, salt, offset, covered).to_le_bytes();
    }
}

/// Appends a frame whose offset in the file is `offset`.
pub(crate) fn push(
    out: &mut Vec<u8>,
    engine: &HashEngine,
    salt: Salt,
    offset: u64,
    kind: u8,
    payload: &[&[u8]],
) {
    let start = out.len();
    push_open(out, kind, payload);
    finish(out.get_mut(start..).unwrap_or_default(), engine, salt, offset);
}

/// The checksum of the frame at `offset`; `covered` is the frame without it.
fn checksum(engine: &HashEngine, salt: Salt, offset: u64, covered: &[u8]) -> u32 {
    (engine.crc32c)([[salt.0, offset.to_le_bytes()].as_flattened(), covered])
}

/// Appends a record frame whose offset is not known yet, without its checksum.
pub(crate) fn push_record(out: &mut Vec<u8>, entry: &[u8], body: &[u8]) {
    let length = u32::try_from(entry.len()).unwrap_or(u32::MAX).to_le_bytes();
    push_open(out, RECORD, &[&length, entry, body]);
}

/// Writes the checksum of the record frame that `frames` starts with. Returns its entry and the length of the frame.
pub(crate) fn finish_record<'f>(
    frames: &'f mut [u8],
    engine: &HashEngine,
    salt: Salt,
    offset: u64,
) -> (&'f [u8], usize) {
    let length = frames.first_chunk().and_then(frame_length).unwrap_or(0);
    let Some(frame) = frames.get_mut(..length) else { return (&[], 0) };
    finish(frame, engine, salt, offset);
    let entry = frame.get(FRAME_HEAD_BYTES..).and_then(|payload| payload.split_first_chunk::<4>());
    let entry = entry.and_then(|(length, rest)| rest.get(..u32::from_le_bytes(*length) as usize));
    (entry.unwrap_or_default(), length)
}

pub(crate) fn push_commit(out: &mut Vec<u8>, engine: &HashEngine, salt: Salt, offset: u64, commit: &Commit) {
    let Commit { first, size, start, root } = commit;
    let numbers = [first.to_le_bytes(), size.to_le_bytes(), start.to_le_bytes()];
    push(out, engine, salt, offset, COMMIT, &[numbers.as_flattened(), root]);
}

/// Writes a mark whose offset in the file is `offset`.
pub(crate) fn write_mark(out: &mut [u8], engine: &HashEngine, salt: Salt, offset: u64, size: u64) {
    let mut mark = Vec::with_capacity(MARK_BYTES);
    push(&mut mark, engine, salt, offset, MARK, &[&size.to_le_bytes()]);
    out.iter_mut().zip(mark).for_each(|(to, from)| *to = from);
}

/// The length of the frame that starts with `head`; `None` if its length or kind is invalid.
pub(crate) fn frame_length(head: &[u8; FRAME_HEAD_BYTES]) -> Option<usize> {
    let [_, _, _, _, a, b, c, d, kind] = *head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    (length <= PAYLOAD_BYTES_MAX && matches!(kind, HEADER..=MARK))
        .then(|| length.saturating_add(FRAME_HEAD_BYTES))
}

/// The kind and payload of the frame in `bytes`; `None` if its checksum or length is wrong.
pub(crate) fn open<'b>(
    bytes: &'b [u8],
    engine: &HashEngine,
    salt: Salt,
    offset: u64,
) -> Option<(u8, &'b [u8])> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    if checksum(engine, salt, offset, rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (head, payload) = rest.split_first_chunk::<5>()?;
    let [a, b, c, d, kind] = *head;
    (u32::from_le_bytes([a, b, c, d]) as usize == payload.len()).then_some((kind, payload))
}

/// Decodes the frame in `bytes`; `None` if its checksum is wrong or its kind cannot follow a header.
pub(crate) fn parse<'b>(bytes: &'b [u8], engine: &HashEngine, salt: Salt, offset: u64) -> Option<Frame<'b>> {
    let (kind, payload) = open(bytes, engine, salt, offset)?;
    match kind {
        RECORD => {
            let (length, rest) = payload.split_first_chunk::<4>()?;
            let (entry, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            Some(Frame::Record { entry, body })
        }
        COMMIT => {
            let (numbers, root) = payload.split_at_checked(24)?;
            let ([first, size, start], []) = numbers.as_chunks::<8>() else { return None };
            Some(Frame::Commit(Commit {
                first: u64::from_le_bytes(*first),
                size: u64::from_le_bytes(*size),
                start: u64::from_le_bytes(*start),
                root: root.try_into().ok()?,
            }))
        }
        MARK => Some(Frame::Mark { size: u64::from_le_bytes(payload.try_into().ok()?) }),
        _ => None,
    }
}
