//! The journal's frames written anew from `docs/audit-format.md`, for whoever wants to forge one: it shares no code with
//! the crate.

use ak_audit::{Hash, Tree, leaf_hash};
use sha2::{Digest as _, Sha256};

pub const DATA: usize = 16 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Record { entry: Vec<u8>, body: Vec<u8> },
    Commit { first: u64, size: u64, root: Hash },
    Mark { size: u64 },
}

/// CRC-32C bit by bit.
fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut crc = !0u32;
    for byte in parts.concat() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The salt of a segment, from its header.
pub fn salt(segment: &[u8]) -> [u8; 8] {
    let (id, first, head) = (&segment[17..33], &segment[33..41], &segment[41..73]);
    let text: &[&[u8]] = &[b"ak-audit segment salt\n", id, first, head];
    Sha256::digest(text.concat())[..8].try_into().unwrap()
}

/// What stands in a segment after its header.
pub fn read(segment: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = DATA;
    while at + 9 <= segment.len() && segment[at + 8] != 0 {
        let length = u32::from_le_bytes(segment[at + 4..at + 8].try_into().unwrap()) as usize;
        let crc = crc32c(&[&salt(segment), &(at as u64).to_le_bytes(), &segment[at + 4..at + 9 + length]]);
        assert_eq!(crc.to_le_bytes(), segment[at..at + 4], "frame at {at}");
        let payload = &segment[at + 9..at + 9 + length];
        pieces.push(match segment[at + 8] {
            2 => {
                let entry = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
                Piece::Record { entry: payload[4..4 + entry].to_vec(), body: payload[4 + entry..].to_vec() }
            }
            3 => Piece::Commit {
                first: u64_at(payload, 0),
                size: u64_at(payload, 8),
                root: payload[24..].try_into().unwrap(),
            },
            4 => Piece::Mark { size: u64_at(payload, 0) },
            kind => panic!("frame of kind {kind} at {at}"),
        });
        at += 9 + length;
    }
    pieces
}

/// The segment with these pieces in place of its own, every checksum right.
pub fn write(segment: &[u8], pieces: &[Piece]) -> Vec<u8> {
    let mut out = segment[..DATA].to_vec();
    let mut start = DATA;
    for piece in pieces {
        let (kind, payload) = match piece {
            Piece::Record { entry, body } => {
                (2, [(entry.len() as u32).to_le_bytes().as_slice(), entry, body].concat())
            }
            Piece::Commit { first, size, root } => {
                let numbers = [first.to_le_bytes(), size.to_le_bytes(), (start as u64).to_le_bytes()];
                (3, [numbers.as_flattened(), root].concat())
            }
            Piece::Mark { size } => (4, size.to_le_bytes().to_vec()),
        };
        let mut rest = (payload.len() as u32).to_le_bytes().to_vec();
        rest.push(kind);
        rest.extend(payload);
        let crc = crc32c(&[&salt(segment), &(out.len() as u64).to_le_bytes(), &rest]);
        out.extend(crc.to_le_bytes());
        out.extend(rest);
        if !matches!(piece, Piece::Record { .. }) {
            start = out.len();
        }
    }
    out.resize(out.len().max(segment.len()), 0);
    out
}

/// The segment with one byte of its header changed and the header's checksum right.
pub fn change_header(segment: &[u8], offset: usize) -> Vec<u8> {
    let mut out = segment.to_vec();
    out[offset] ^= 1;
    check_header(&mut out);
    out
}

/// The segment as earlier versions wrote it, whose headers have another magic.
pub fn with_earlier_magic(segment: &[u8]) -> Vec<u8> {
    let mut out = segment.to_vec();
    assert_eq!(&out[9..17], b"AKSEG001");
    out[9..17].copy_from_slice(b"AKJRNL01");
    check_header(&mut out);
    out
}

/// Writes the checksum that the header's bytes have.
fn check_header(segment: &mut [u8]) {
    let length = u32::from_le_bytes(segment[4..8].try_into().unwrap()) as usize;
    let crc = crc32c(&[&[0; 8], &0u64.to_le_bytes(), &segment[4..9 + length]]);
    segment[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Makes every record follow its predecessor again, from the first on, and every commit fit, as whoever holds the
/// directory could. Needs the first segment.
pub fn chain_anew(pieces: &mut [Piece]) {
    let (mut previous, mut seq, mut first) = ([0; 32], 0u64, 0);
    let mut tree = Tree::new();
    for piece in pieces {
        match piece {
            Piece::Record { entry, .. } => {
                entry[4..12].copy_from_slice(&seq.to_le_bytes());
                entry[44..52].copy_from_slice(&seq.to_le_bytes());
                entry[180..212].copy_from_slice(&previous);
                previous = leaf_hash(entry);
                tree.push(previous);
                seq += 1;
            }
            Piece::Commit { first: from, size, root } => {
                (*from, *size, *root) = (first, seq, tree.root());
                first = seq;
            }
            Piece::Mark { size } => *size = seq,
        }
    }
}
