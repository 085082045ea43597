//! A process that has no free descriptors still records. This is a test binary of its own, because the limit holds for
//! the whole process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../../ak-audit/tests/common/records.rs"]
mod records;
mod support;

use std::fs::{self, File};

use ak_audit::journal::{Genesis, Journal, Options};
use ak_host::FileDisk;

use records::record;
use support::Scratch;

const OPTIONS: Options =
    Options { segment_bytes_max: 16 << 10, allocation_bytes: 8 << 10, reserve_bytes: 1 << 10 };

/// Opens files until no descriptor is free.
fn exhaust() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn append(journal: &mut Journal<FileDisk>, count: usize) {
    for _ in 0..count {
        let chain = journal.chain();
        journal.append(&[record(chain.next, chain.head)]).unwrap();
        journal.sync().unwrap();
    }
}

#[test]
fn without_descriptors_segments_use_the_reserved_ones_and_then_the_last_one_grows() {
    let scratch = Scratch::new("descriptors");
    let segments = || {
        let names = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some()).count()
    };
    let genesis = Genesis { id: [7; 16], meta: Vec::new() };
    let (mut journal, _) =
        Journal::open(FileDisk::new(scratch.path()).unwrap(), &genesis, OPTIONS, &[]).unwrap();
    append(&mut journal, 10);
    let before = segments();
    let taken = exhaust();
    assert!(taken.len() > 10);
    append(&mut journal, 300);
    drop(taken);
    let held = segments() - before;
    let taken = exhaust();
    append(&mut journal, 300);
    drop(taken);
    let after = segments();
    append(&mut journal, 100);
    assert!(held >= 1, "some are held for it");
    assert!(segments() > after, "segments begin again");
    drop(journal);
    let disk = FileDisk::new(scratch.path()).unwrap();
    let (journal, report) = Journal::open(disk, &genesis, OPTIONS, &[]).unwrap();
    assert_eq!((journal.len(), report.first_bad, report.read_only), (710, None, false));
}
