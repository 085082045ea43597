//! Compares appending to the log in memory with the hashing that it includes.

use std::{sync::Arc, time::Duration};

use ak_audit::{Log, Record, leaf_hash, node_hash};
use measure::{Clock, Race, Report, black_box};
use sha2::{Digest as _, Sha256};

use crate::{OURS, records::Source};

const APPEND: &str = "Append to a log in memory: one entry of 332 B";
const ENTRIES: &str = "SHA-256 of the same bytes";
const TREE: &str = "SHA-256 of the same bytes, and of one inner node for each entry";

/// The size limit of the log. It is small enough that the log drops old records while it is measured.
const LOG_BYTES_MAX: usize = 32 << 20;

pub fn race(report: &mut Report) {
    let mut sealed = Log::with_engine(LOG_BYTES_MAX, ak_host::engine());
    let mut checked = Log::new(LOG_BYTES_MAX);
    let (mut source, mut checked_source) = (Source::new(), Source::new());
    let body: Arc<[u8]> = [].into();
    // Fills both logs first, so that the measurement does not include memory that is new to the process.
    while sealed.pruned_below() == 0 {
        for Record { entry, body } in source.take(1000) {
            sealed.append(entry, body).expect("it follows");
        }
        for Record { entry, body } in checked_source.take(1000) {
            checked.append(entry, body).expect("it follows");
        }
    }
    let results = Race::new()
        .turns(OURS, |iterations| {
            let entries = source.entries(iterations as usize);
            Clock::Cpu.time(|| {
                for entry in &entries {
                    sealed.append_leaf(entry.to_leaf().expect("it fits"), body.clone()).expect("it follows");
                }
            })
        })
        .turns("ak-audit, of bytes that must be checked", |iterations| {
            let records: Vec<Record> = checked_source.take(iterations as usize);
            Clock::Cpu.time(|| {
                for Record { entry, body } in records {
                    checked.append(entry, body).expect("it follows");
                }
            })
        })
        .turns(
            ENTRIES,
            hashing(|bytes| {
                black_box(Sha256::digest(bytes));
            }),
        )
        .turns(
            TREE,
            hashing(|bytes| {
                black_box(Sha256::digest(bytes));
                black_box(Sha256::digest(black_box([1; 65])));
            }),
        )
        .run();
    report.add(APPEND, "1 entry", results);
    let hash = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    assert_eq!(leaf_hash(b"x"), hash(b"\0x"), "what is hashed is what a log hashes");
    assert_eq!(node_hash(&[1; 32], &[1; 32]), hash(&[1; 65]), "what is hashed is what a tree hashes");
}

/// Hashes as many entries as there are iterations, each with the prefix of a leaf.
fn hashing(hash: impl Fn(&[u8])) -> impl FnMut(u64) -> Duration {
    let mut source = Source::new();
    move |iterations| {
        let records = source.take(iterations as usize);
        let prefixed: Vec<Vec<u8>> = records.iter().map(|record| [&[0], &*record.entry].concat()).collect();
        Clock::Cpu.time(|| prefixed.iter().for_each(|bytes| hash(bytes)))
    }
}

pub fn targets(report: &mut Report) {
    let ours = report.ns(APPEND, "1 entry", OURS);
    for what in [ENTRIES, TREE] {
        let ratio = ours / report.ns(APPEND, "1 entry", what);
        report.at_most(&format!("append in memory, against {what}"), ratio, 1.5);
    }
}
