//! Appending to the log in memory, beside the hashing that this cannot do without.

use ak_audit::{Chain, Log, Record, leaf_hash, node_hash};
use measure::{Clock, Race, Report};
use sha2::{Digest as _, Sha256};

use crate::{
    OURS,
    records::{self, ENTRY_BYTES, Source},
};

const APPEND: &str = "Append to a log in memory: one entry of 332 B";
const ENTRIES: &str = "SHA-256 of the same bytes";
const TREE: &str = "SHA-256 of the same bytes, and of one inner node for each entry";

/// What the log may hold: old records give way while it is measured.
const LOG_BYTES_MAX: usize = 32 << 20;

pub fn race(report: &mut Report) {
    let mut log = Log::new(LOG_BYTES_MAX);
    let mut source = Source::new();
    let mut whole = Log::new(LOG_BYTES_MAX);
    let mut chain = Chain::EMPTY;
    let results = Race::new()
        .turns(OURS, |iterations| {
            let records: Vec<Record> = source.take(iterations as usize);
            Clock::Cpu.time(|| {
                for Record { entry, body } in records {
                    log.append(entry, body).expect("it follows");
                }
            })
        })
        .cpu("ak-audit, the entry encoded too", || {
            let entry = records::entry(&chain).encode().expect("it fits");
            let head = whole.append(entry, [].into()).expect("it follows");
            chain = Chain { next: chain.next + 1, head, time_us: 0 };
        })
        .cpu(ENTRIES, hashing(|bytes| Sha256::digest(bytes).into()))
        .cpu(
            TREE,
            hashing(|bytes| {
                let leaf: [u8; 32] = Sha256::digest(bytes).into();
                let mut node = [1u8; 65];
                node[1..33].copy_from_slice(&leaf);
                Sha256::digest(node).into()
            }),
        )
        .run();
    report.add(APPEND, "1 entry", results);
    // What is hashed is what a log hashes.
    assert_eq!(leaf_hash(b"x"), <[u8; 32]>::from(Sha256::digest(b"\0x")));
    assert_eq!(
        node_hash(&[0; 32], &[0; 32]),
        <[u8; 32]>::from(Sha256::digest([&[1][..], &[0; 64]].concat()))
    );
}

/// Hashes the prefix and the entry, with the hash before in its place, as in a log.
fn hashing(hash: impl Fn(&[u8]) -> [u8; 32]) -> impl FnMut() -> [u8; 32] {
    let entry = records::entry(&Chain::EMPTY).encode().expect("it fits");
    let mut bytes = [&[0], &*entry].concat();
    assert_eq!(bytes.len(), 1 + ENTRY_BYTES);
    move || {
        let hash = hash(&bytes);
        bytes[181..213].copy_from_slice(&hash);
        hash
    }
}

pub fn targets(report: &mut Report) {
    let ours = report.ns(APPEND, "1 entry", OURS);
    let ratio = ours / report.ns(APPEND, "1 entry", ENTRIES);
    report.at_most("append in memory, against bare SHA-256 of the same bytes", ratio, 1.5);
}
