//! Segments: the files of a journal. Each starts with a header that makes it readable without the segments before it.

use alloc::{format, string::String, vec, vec::Vec};

use sha2::{Digest as _, Sha256};

use super::frame::{self, FRAME_HEAD_BYTES, Salt};
use crate::{chain::Chain, hash::ZERO_HASH, hash_engine::HashEngine, merkle::tree::Tree};

/// The first bytes of a header's payload; they change with the format.
const MAGIC: [u8; 8] = *b"AKSEG001";

/// The magic of earlier versions, whose segments have the same layout.
const EARLIER_MAGIC: [u8; 8] = *b"AKJRNL01";

/// Bytes reserved for a segment's header, zeros after its frame included. The first batch starts at this offset.
pub const HEADER_BYTES: u64 = 16 << 10;

/// The most bytes that [`Genesis::meta`] may have.
pub const META_BYTES_MAX: usize = 8 << 10;

/// The identity of a journal, set when it is created. Every segment repeats it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Genesis {
    /// 16 bytes of entropy that nobody without access to the directory knows; the segments' salts derive from them.
    pub id: [u8; 16],
    /// Bytes that the owner needs before it reads the first record, such as versions and configuration; at most
    /// [`META_BYTES_MAX`].
    pub meta: Vec<u8>,
}

/// The header of a segment: the journal's identity, and the chain and tree before the segment's first entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) genesis: Genesis,
    pub(crate) chain: Chain,
    pub(crate) tree: Tree,
}

impl Header {
    /// The header's frame, without the zeros that follow it. The payload is
    /// magic, id, `u64` first seq, head, `u64` time, `u8` number of peaks, peaks, meta.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Header { genesis, chain, tree } = self;
        let count = u8::try_from(tree.peaks().len()).unwrap_or(u8::MAX);
        let mut out = Vec::new();
        let payload: [&[u8]; 8] = [
            &MAGIC,
            &genesis.id,
            &chain.next.to_le_bytes(),
            &chain.head,
            &chain.time_us.to_le_bytes(),
            &[count],
            tree.peaks().as_flattened(),
            &genesis.meta,
        ];
        frame::push(&mut out, &HashEngine::PORTABLE, Salt([0; 8]), 0, frame::HEADER, &payload);
        out
    }

    /// A placeholder for the lost header of the segment that starts with `first`.
    pub(crate) fn lost(first: u64) -> Header {
        let tree = Tree::from_peaks(first, vec![ZERO_HASH; first.count_ones() as usize]).unwrap_or_default();
        Header { genesis: Genesis::default(), chain: Chain { next: first, ..Chain::EMPTY }, tree }
    }

    /// Decodes the header at the start of a segment; `None` if it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let length = frame::frame_length(bytes.first_chunk::<FRAME_HEAD_BYTES>()?)?;
        let (whole, padding) = bytes.split_at_checked(length)?;
        let (frame::HEADER, payload) = frame::open(whole, &HashEngine::PORTABLE, Salt([0; 8]), 0)? else {
            return None;
        };
        let (magic, rest) = payload.split_first_chunk::<8>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (next, rest) = rest.split_first_chunk::<8>()?;
        let (head, rest) = rest.split_first_chunk::<32>()?;
        let (time_us, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first()?;
        let (peaks, meta) = rest.split_at_checked(usize::from(*count).checked_mul(32)?)?;
        let (peaks, _) = peaks.as_chunks::<32>();
        let next = u64::from_le_bytes(*next);
        let is_known = [MAGIC, EARLIER_MAGIC].contains(magic);
        if !is_known || meta.len() > META_BYTES_MAX || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        Some(Header {
            genesis: Genesis { id: *id, meta: meta.to_vec() },
            chain: Chain { next, head: *head, time_us: u64::from_le_bytes(*time_us) },
            tree: Tree::from_peaks(next, peaks.to_vec())?,
        })
    }

    /// The salt of this segment's frames.
    pub(crate) fn salt(&self) -> Salt {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(b"ak-audit segment salt\n")
            .chain_update(self.genesis.id)
            .chain_update(self.chain.next.to_le_bytes())
            .chain_update(self.chain.head)
            .finalize()
            .into();
        Salt(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// The file name of the segment whose first entry has the `seq` `first`.
pub(crate) fn name(first: u64) -> String {
    format!("{first:020}.akj")
}

/// The `seq` of the first entry of the segment with this file name; `None` if the name is not a segment's.
pub(crate) fn parse_name(file: &str) -> Option<u64> {
    let first = file.strip_suffix(".akj")?.parse().ok()?;
    (name(first) == file).then_some(first)
}
