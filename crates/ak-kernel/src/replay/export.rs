//! The export format: a whole journal in one byte string, to be re-executed elsewhere.
//!
//! | offset | bytes | field, little-endian |
//! |---|---|---|
//! | 0 | 8 | magic `AKJRNL03` |
//! | … | 8 | length of the next leaf |
//! | … | … | the leaf |
//! | … | 8 | length of its body; 0 if it was erased |
//! | … | … | the body |
//! | … | 8 | length of the snapshot that belongs to the entry; 0 if there is none |
//! | … | … | the snapshot |
//! | … | 8 | length of the list of subjects of an erased body; 0 if the body is present |
//! | … | … | the list, 8 bytes for each subject |
//!
//! The last eight rows repeat for each entry. `AKJRNL02`, which earlier versions wrote, has no lists of subjects.
//! There is no checksum: the leaves are hash-chained, and re-execution checks the rest.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{api::subject::SubjectId, record::entry::Record};

/// The first bytes of an exported journal.
pub const MAGIC: [u8; 8] = *b"AKJRNL03";
/// The first bytes of a journal that an earlier version exported.
pub const EARLIER_MAGIC: [u8; 8] = *b"AKJRNL02";

/// Bytes that are not an exported journal, or that end in the middle of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a journal stream from byte {offset} on")]
pub struct ExportError {
    /// The offset at which reading stopped, in bytes.
    pub offset: usize,
}

/// Encodes records as an exported journal. `snapshots` are those from which replay can continue after an erased
/// body, by the `seq` of their entry.
pub fn encode<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    snapshots: &BTreeMap<u64, Vec<u8>>,
) -> Vec<u8> {
    let mut out = Vec::from(MAGIC);
    for record in records {
        let snapshot = snapshots.get(&record.seq).map_or(&[][..], |snapshot| snapshot);
        let subjects: Vec<u8> = match record.body.is_empty() {
            true => record.subjects.iter().flat_map(|subject| subject.to_le_bytes()).collect(),
            false => Vec::new(),
        };
        for part in [&*record.leaf, &*record.body, snapshot, &*subjects] {
            out.extend_from_slice(&(part.len() as u64).to_le_bytes());
            out.extend_from_slice(part);
        }
    }
    out
}

/// One entry of an exported journal, borrowed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedEntry<'a> {
    /// The leaf.
    pub leaf: &'a [u8],
    /// The body; `None` if it was erased.
    pub body: Option<&'a [u8]>,
    /// The snapshot that belongs to the entry, if there is one.
    pub snapshot: Option<&'a [u8]>,
    /// The subjects of an erased body.
    pub subjects: Vec<SubjectId>,
}

/// Decodes an exported journal without copying.
///
/// # Errors
/// [`ExportError`] if the bytes do not begin like an exported journal. A later fault ends the iteration with an
/// error.
pub fn decode(bytes: &[u8]) -> Result<Entries<'_>, ExportError> {
    let (magic, rest) = bytes.split_first_chunk().ok_or(ExportError { offset: 0 })?;
    match *magic {
        MAGIC => Ok(Entries { rest, offset: MAGIC.len(), names_subjects: true }),
        EARLIER_MAGIC => Ok(Entries { rest, offset: MAGIC.len(), names_subjects: false }),
        _ => Err(ExportError { offset: 0 }),
    }
}

/// Iterator over the entries of an exported journal.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    offset: usize,
    names_subjects: bool,
}

impl<'a> Entries<'a> {
    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<8>()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        self.rest = rest;
        self.offset += 8 + part.len();
        Some(part)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<ExportedEntry<'a>, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let given = |part: &'a [u8]| Some(part).filter(|part| !part.is_empty());
        let parts = (self.part(), self.part(), self.part());
        let subjects = if self.names_subjects { self.part() } else { Some(&[][..]) };
        match (parts, subjects.map(<[u8]>::as_chunks::<8>)) {
            ((Some(leaf), Some(body), Some(snapshot)), Some((subjects, [])))
                if body.is_empty() || subjects.is_empty() =>
            {
                let subjects = subjects.iter().map(|subject| SubjectId::from_le_bytes(*subject)).collect();
                Some(Ok(ExportedEntry { leaf, body: given(body), snapshot: given(snapshot), subjects }))
            }
            ((Some(_) | None, _, _), _) => {
                self.rest = &[];
                Some(Err(ExportError { offset: self.offset }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use ak_audit::{Decision, Entry, Integrity, Kind, ZERO_HASH};

    use super::*;

    fn record(agent: &str, body: &[u8]) -> Record {
        let entry = Entry {
            seq: 0,
            time_us: 0,
            run: [0; 16],
            operation: 1,
            kind: Kind::Notice,
            decision: Decision::Permit,
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
        let leaf = entry.to_leaf().unwrap();
        Record { seq: 0, hash: leaf.hash().into(), leaf, body: Arc::from(body), subjects: Vec::new() }
    }

    #[test]
    fn a_stream_gives_back_what_went_in() {
        let erased = Record { seq: 1, subjects: Vec::from([7, 9]), ..record("", b"") };
        let records = [record("main", b"{}"), erased];
        let bytes = encode(&records, &BTreeMap::from([(1, b"state".to_vec())]));
        let entries: Result<Vec<_>, _> = decode(&bytes).unwrap().collect();
        let expected = [
            ExportedEntry { leaf: &records[0].leaf, body: Some(b"{}"), snapshot: None, subjects: Vec::new() },
            ExportedEntry {
                leaf: &records[1].leaf,
                body: None,
                snapshot: Some(b"state"),
                subjects: Vec::from([7, 9]),
            },
        ];
        assert_eq!(entries.unwrap(), expected);
    }

    #[test]
    fn a_cut_stream_is_noticed() {
        let bytes = encode(&[record("main", b"{}")], &BTreeMap::new());
        assert!(decode(&bytes[..7]).is_err());
        for end in 9..bytes.len() {
            assert!(decode(&bytes[..end]).unwrap().any(|entry| entry.is_err()), "cut at {end}");
        }
    }
}
