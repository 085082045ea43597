//! A journal as one string of bytes: what is exported, carried elsewhere and re-executed there.
//!
//! | offset | bytes | field, little-endian |
//! |---|---|---|
//! | 0 | 8 | magic `AKJRNL01` |
//! | … | 4 | length of the next leaf |
//! | … | … | the leaf |
//! | … | 4 | length of its body |
//! | … | … | the body |
//!
//! The last four repeat for each entry. There is no checksum: the leaves are hash-chained, and re-execution checks the rest.

use alloc::vec::Vec;

use crate::record::Record;

/// What a stream starts with.
pub const MAGIC: [u8; 8] = *b"AKJRNL01";

/// The bytes are no journal stream, or end in the middle of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a journal stream from byte {offset} on")]
pub struct StreamError {
    /// Where reading stopped.
    pub offset: usize,
}

/// Puts records into one string of bytes.
pub fn encode<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<u8> {
    let mut out = Vec::from(MAGIC);
    for record in records {
        for part in [&*record.leaf, &*record.body] {
            // A part is bounded by the kernel's limits, far below 4 GiB.
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(part);
        }
    }
    out
}

/// Takes a stream apart: leaf and body of each entry, without copying.
///
/// # Errors
/// [`StreamError`] when the bytes do not start like a stream. A later fault ends the iteration with an error.
pub fn decode(bytes: &[u8]) -> Result<Entries<'_>, StreamError> {
    match bytes.strip_prefix(&MAGIC) {
        Some(rest) => Ok(Entries { rest, offset: MAGIC.len() }),
        None => Err(StreamError { offset: 0 }),
    }
}

/// Leaf and body of each entry of a stream.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Entries<'a> {
    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        self.rest = rest;
        self.offset += 4 + part.len();
        Some(part)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), StreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match (self.part(), self.part()) {
            (Some(leaf), Some(body)) => Some(Ok((leaf, body))),
            (Some(_) | None, _) => {
                self.rest = &[];
                Some(Err(StreamError { offset: self.offset }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use ak_audit::{Entry, Integrity, Kind, Verdict, ZERO_HASH};

    use super::*;

    fn record(agent: &str, body: &[u8]) -> Record {
        let entry = Entry {
            seq: 0,
            time_us: 0,
            run: [0; 16],
            operation: 1,
            kind: Kind::Notice,
            decision: Verdict::Permit,
            code: 0,
            cause: 0,
            policy: ZERO_HASH,
            target: ZERO_HASH,
            request: ZERO_HASH,
            reply: ZERO_HASH,
            previous: ZERO_HASH,
            integrity: Integrity::Trusted,
            secrecy: Vec::new(),
            agent,
            rule: "",
        };
        let leaf = entry.seal().unwrap();
        Record { seq: 0, hash: leaf.leaf().into(), leaf, body: Arc::from(body) }
    }

    #[test]
    fn a_stream_gives_back_what_went_in() {
        let records = [record("main", b"{}"), record("", b"")];
        let bytes = encode(&records);
        let entries: Result<Vec<_>, _> = decode(&bytes).unwrap().collect();
        let expected = records.iter().map(|record| (&*record.leaf, &*record.body));
        assert!(entries.unwrap().into_iter().eq(expected));
    }

    #[test]
    fn a_cut_stream_is_noticed() {
        let bytes = encode(&[record("main", b"{}")]);
        assert!(decode(&bytes[..7]).is_err());
        for end in 9..bytes.len() {
            assert!(decode(&bytes[..end]).unwrap().any(|entry| entry.is_err()), "cut at {end}");
        }
    }
}
