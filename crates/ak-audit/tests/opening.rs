//! A journal that is opened from an entry on, its beginning read beside, against the same one read at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use ak_audit::{
    Journal, JournalError, Order, Query, Record, ZERO_HASH,
    journal::{Genesis, Options},
    leaf_hash,
};
use proptest::prelude::*;

mod common;
use common::{record, sim::SimDisk};

const SMALL: Options = Options { segment_bytes_max: 40 << 10, allocation_bytes: 4096, reserve_bytes: 512 };

fn genesis() -> Genesis {
    Genesis { id: [3; 16], meta: Vec::new() }
}

fn records(from: u64, count: u64, mut previous: [u8; 32]) -> Vec<Record> {
    let make = |seq| {
        let record = record(seq, previous);
        previous = leaf_hash(&record.entry);
        record
    };
    (from..from + count).map(make).collect()
}

fn append(journal: &mut Journal<SimDisk>, records: &[Record]) {
    for batch in records.chunks(7) {
        journal.append(batch).unwrap();
        journal.sync().unwrap();
    }
}

fn filled(count: u64) -> (SimDisk, Vec<Record>) {
    let model = records(0, count, ZERO_HASH);
    let (mut journal, _) = Journal::open(SimDisk::default(), &genesis(), SMALL, &[]).unwrap();
    append(&mut journal, &model);
    (SimDisk::with(journal.disk().files()), model)
}

fn open_from(disk: &SimDisk, from: u64) -> (Journal<SimDisk>, ak_audit::journal::RecoveryReport) {
    Journal::open_from(SimDisk::with(disk.files()), &genesis(), SMALL, from).unwrap()
}

/// All that can be asked of a journal.
fn told(journal: &Journal<SimDisk>) -> impl PartialEq + std::fmt::Debug {
    let len = journal.len();
    let proofs: Vec<_> = (0..len).step_by(97).map(|seq| journal.inclusion_proof(seq, len).unwrap()).collect();
    let roots: Vec<_> = (1..=len).step_by(89).map(|size| journal.root_at(size).unwrap()).collect();
    let consistency: Vec<_> =
        (1..len).step_by(83).map(|old| journal.consistency_proof(old, len).unwrap()).collect();
    let query = Query { agent: Some("agent-1"), order: Order::NewestFirst, ..Query::default() };
    let page = journal.query(&query, 50, |_, _| true).unwrap();
    let tiles: Vec<_> = journal.tiles(len).map(|tile| tile.unwrap()).collect();
    (proofs, roots, consistency, page, tiles, journal.root(), journal.pruned_below())
}

fn read(journal: &Journal<SimDisk>) -> Vec<Record> {
    journal.records(0..u64::MAX).map(|record| record.unwrap().1).collect()
}

fn scanned(journal: &Journal<SimDisk>) -> Result<Vec<Record>, JournalError> {
    let mut scan = journal.scan(SimDisk::with(journal.disk().files()));
    let mut records = Vec::new();
    loop {
        let page = scan.page(50, 4 << 10)?;
        if page.is_empty() {
            assert_eq!(scan.next(), scan.end());
            return Ok(records);
        }
        assert_eq!(page[0].0, records.len() as u64);
        records.extend(page.into_iter().map(|(_, record)| record));
    }
}

#[test]
fn a_journal_opened_from_an_entry_becomes_the_same_as_one_read_at_once() {
    let (disk, model) = filled(1500);
    let segments = disk.files().len();
    assert!(segments > 8, "{segments} segments");
    for from in [0, 1, 300, 700, 1100, 1499] {
        let (mut journal, report) = open_from(&disk, from);
        assert_eq!((report.first_bad, report.read_only, report.size), (None, false, 1500));
        let unread = journal.unread_below();
        assert!(
            unread <= from && (from < 300 || unread > from - 300),
            "{unread} entries are unread for {from}"
        );
        assert_eq!(journal.root(), open_from(&disk, 0).0.root());
        assert_eq!((read(&journal), scanned(&journal).unwrap()), (model.clone(), model.clone()));
        let more = records(1500, 400, leaf_hash(&model[1499].entry));
        let Some(scrub) = journal.scrub() else {
            assert_eq!(unread, 0);
            continue;
        };
        // What is appended meanwhile may begin another segment.
        append(&mut journal, &more[..200]);
        let mut told_of = Vec::new();
        let read_beside = scrub.read(&SimDisk::with(disk.files()), &mut |entries| {
            told_of.push(entries);
            true
        });
        append(&mut journal, &more[200..]);
        assert_eq!(journal.finish_scrub(read_beside.unwrap().unwrap()), Ok(None));
        assert!(told_of.is_sorted() && journal.scrub().is_none());
        let (whole, _) =
            Journal::open(SimDisk::with(journal.disk().files()), &genesis(), SMALL, &[]).unwrap();
        assert_eq!(told(&journal), told(&whole));
        assert_eq!((read(&journal), scanned(&journal).unwrap()), (read(&whole), read(&whole)));
    }
}

#[test]
fn a_scrub_that_is_told_to_stop_stops() {
    let (mut disk, model) = (SimDisk::default(), records(0, 9000, ZERO_HASH));
    let large = Options { segment_bytes_max: 1500 << 10, ..SMALL };
    let (mut journal, _) = Journal::open(disk, &genesis(), large, &[]).unwrap();
    append(&mut journal, &model);
    disk = SimDisk::with(journal.disk().files());
    let (journal, _) = open_from(&disk, 8999);
    let mut calls = 0;
    let read = journal.scrub().unwrap().read(&disk, &mut |_| {
        calls += 1;
        false
    });
    assert!(read.unwrap().is_none());
    assert_eq!(calls, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is damaged before the entry: the opening or the scrub names the entry that a reading of all would name, and no
    /// reading gives anything else than what was written.
    #[test]
    fn damage_before_the_entry_is_found_by_the_scrub(
        segment in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let (disk, model) = filled(700);
        let mut files = disk.files();
        let names: Vec<String> = files.keys().filter(|name| name.ends_with(".akj")).cloned().collect();
        let damaged = &names[segment.index(names.len() - 1)];
        let bytes = files.get_mut(damaged).unwrap();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= 1 << bit;
        let disk = SimDisk::with(files);
        let (_, expected) = Journal::open(SimDisk::with(disk.files()), &genesis(), SMALL, &[]).unwrap();
        let (mut journal, report) = open_from(&disk, 699);
        match journal.scrub() {
            None => prop_assert_eq!(report.first_bad, expected.first_bad),
            Some(scrub) => {
                prop_assert_eq!((report.first_bad, report.size), (None, 700));
                match scanned(&journal) {
                    Ok(read) => prop_assert_eq!(read, model),
                    Err(error) => prop_assert!(matches!(error, JournalError::Changed { .. }), "{}", error),
                }
                let read = scrub.read(&disk, &mut |_| true).unwrap().unwrap();
                let fault = journal.finish_scrub(read).unwrap();
                prop_assert_eq!(fault.map(|(seq, _)| seq), expected.first_bad);
                prop_assert_eq!(fault.map(|(_, fault)| fault), expected.reason);
                prop_assert_eq!(journal.is_writable(), fault.is_none());
            }
        }
    }
}
