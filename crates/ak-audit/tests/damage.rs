//! Damage to what was acknowledged, by a rotting disk or by a forger who makes every checksum right: found, and the
//! first bad entry named.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use ak_audit::{
    Checkpoint, Journal, Record, ZERO_HASH,
    journal::{Genesis, JournalFault, Options, RecoveryReport},
    leaf_hash,
};

mod common;
use common::{
    forge::{self, Piece},
    record,
    sim::{Random, SECTOR_BYTES, SimDisk},
};

type Files = BTreeMap<String, Vec<u8>>;

const FIRST: &str = "00000000000000000000.akj";

fn open(files: &Files, anchors: &[Checkpoint]) -> (Journal<SimDisk>, RecoveryReport) {
    let genesis = Genesis { id: [3; 16], meta: Vec::new() };
    Journal::open(SimDisk::with(files.clone()), &genesis, Options::default(), anchors).unwrap()
}

/// A journal of `batches` batches of `count` records each, and a checkpoint after each batch.
fn journal(batches: u64, count: u64, segment_bytes_max: u64) -> (Files, Vec<Record>, Vec<Checkpoint>) {
    let disk = SimDisk::default();
    let options = Options { segment_bytes_max, allocation_bytes: 2048, reserve_bytes: 512 };
    let genesis = Genesis { id: [3; 16], meta: Vec::new() };
    let (mut journal, _) = Journal::open(disk.share(), &genesis, options, &[]).unwrap();
    let (mut previous, mut records, mut checkpoints) = (ZERO_HASH, Vec::new(), Vec::new());
    for _ in 0..batches {
        for _ in 0..count {
            let record = record(records.len() as u64, previous);
            previous = leaf_hash(&record.entry);
            journal.append(std::slice::from_ref(&record)).unwrap();
            records.push(record);
        }
        journal.sync().unwrap();
        checkpoints.push(journal.checkpoint("log"));
    }
    (disk.files(), records, checkpoints)
}

/// What was recovered is a prefix of what was written, and whole where the report says that all is well.
fn check_nothing_corrupt(journal: &Journal<SimDisk>, report: &RecoveryReport, model: &[Record], what: &str) {
    let kept: Vec<Record> = journal.records(0..u64::MAX).map(|record| record.unwrap().1).collect();
    assert!(model.get(report.pruned_below as usize..).unwrap().starts_with(&kept), "{what}");
    assert_eq!(report.pruned_below + kept.len() as u64, report.size, "{what}");
}

/// Segments that earlier versions wrote are read, and the journal goes on after them.
#[test]
fn segments_with_the_earlier_magic_are_read_and_continued() {
    let (files, mut model, checkpoints) = journal(10, 13, 24 << 10);
    let earlier: Files =
        files.iter().map(|(name, bytes)| (name.clone(), forge::with_earlier_magic(bytes))).collect();
    assert!(earlier.len() > 1);
    let genesis = Genesis { id: [3; 16], meta: Vec::new() };
    let options = Options { segment_bytes_max: 24 << 10, allocation_bytes: 2048, reserve_bytes: 512 };
    let disk = SimDisk::with(earlier.clone());
    let (mut journal, report) = Journal::open(disk.share(), &genesis, options, &checkpoints).unwrap();
    assert_eq!((report.size, report.first_bad, report.read_only), (model.len() as u64, None, false));
    assert_eq!(report.anchored_at, checkpoints.last().map(|checkpoint| checkpoint.size));
    for _ in 0..5 {
        for _ in 0..13 {
            let record = record(model.len() as u64, journal.chain().head);
            journal.append(std::slice::from_ref(&record)).unwrap();
            model.push(record);
        }
        journal.sync().unwrap();
    }
    drop(journal);
    // Segments of both kinds stand side by side.
    let files = disk.files();
    assert!(files.len() > earlier.len());
    let (journal, report) = open(&files, &checkpoints);
    assert_eq!((report.size, report.first_bad), (model.len() as u64, None));
    check_nothing_corrupt(&journal, &report, &model, "both magics");
    // No other magic is read.
    let mut other = earlier;
    other.values_mut().for_each(|bytes| *bytes = forge::change_header(bytes, 16));
    assert_eq!(open(&other, &[]).1.reason, Some(JournalFault::Header));
}

#[test]
fn every_flipped_bit_of_a_sealed_log_is_found() {
    let (files, model, _) = journal(10, 13, 24 << 10);
    let length: usize = files.values().map(Vec::len).sum();
    assert!(length >= 64 << 10 && files.len() > 1);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= length {
                        break;
                    }
                    (0..8).for_each(|bit| flip(&files, &model, at, bit));
                }
            });
        }
    });
}

/// Flips one bit of the files, taken as one run of bytes, and opens them.
fn flip(files: &Files, model: &[Record], mut at: usize, bit: u32) {
    let mut flipped = files.clone();
    for bytes in flipped.values_mut() {
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
            break;
        }
        at -= bytes.len();
    }
    let (journal, report) = Journal::open_read_only(SimDisk::with(flipped), &[]).unwrap().unwrap();
    let what = format!("byte {at} of a file, bit {bit}: {report:?}");
    // A flip after the last mark, or in it, harms nothing and shows as a torn tail.
    let whole = report.size == model.len() as u64;
    assert!(report.first_bad.is_some() || whole && report.torn_tail_bytes > 0, "{what}");
    check_nothing_corrupt(&journal, &report, model, &what);
}

#[test]
fn rotten_sectors_are_found() {
    let (files, model, checkpoints) = journal(10, 13, 24 << 10);
    for seed in 0..800 {
        let random = &mut Random(seed);
        let mut rotten = files.clone();
        let pick = random.below(rotten.len());
        let (name, bytes) = rotten.iter_mut().nth(pick).unwrap();
        let sectors = bytes.len() / SECTOR_BYTES;
        let (from, to) = (random.below(sectors) * SECTOR_BYTES, random.below(sectors) * SECTOR_BYTES);
        match random.below(5) {
            0 => bytes.copy_within(from..from + SECTOR_BYTES, to),
            1 => bytes[to..to + SECTOR_BYTES].fill(0),
            2 => bytes.truncate(to),
            3 => (0..SECTOR_BYTES).for_each(|at| bytes.swap(from + at, to + at)),
            _ => bytes[to..to + SECTOR_BYTES].iter_mut().for_each(|byte| *byte = random.next() as u8),
        }
        let what = format!("seed {seed}, {name}");
        if rotten == files {
            continue;
        }
        let (journal, report) = open(&rotten, &checkpoints);
        // Space that is cut off at the end of the last segment is none that held anything.
        let whole = report.size == model.len() as u64;
        assert!(whole || report.read_only && report.first_bad.is_some(), "{what}: {report:?}");
        check_nothing_corrupt(&journal, &report, &model, &what);
    }
}

/// Applies `forge` to the pieces of a log of 4 batches of 5 entries, makes all checksums right, and opens the result.
fn check(forge: impl FnOnce(&mut Vec<Piece>), first_bad: u64, recovered: u64) {
    let (mut files, model, checkpoints) = journal(4, 5, 1 << 20);
    let mut pieces = forge::read(&files[FIRST]);
    assert_eq!(forge::write(&files[FIRST], &pieces), files[FIRST], "the forger writes the format");
    forge(&mut pieces);
    let forged = forge::write(&files[FIRST], &pieces);
    files.insert(FIRST.to_owned(), forged);
    let (journal, report) = open(&files, &checkpoints);
    assert_eq!(
        (report.read_only, report.first_bad, report.size),
        (true, Some(first_bad), recovered),
        "{report:?}"
    );
    check_nothing_corrupt(&journal, &report, &model, "forged");
}

/// Position of record `seq` among the pieces: each batch of 5 ends in a commit and a mark.
fn at(seq: usize) -> usize {
    seq + seq / 5 * 2
}

fn change(piece: &mut Piece, offset: usize) {
    let Piece::Record { entry, .. } = piece else { panic!("no record") };
    entry[offset] ^= 1;
}

#[test]
fn a_forged_entry_is_named() {
    for seq in 0..20 {
        let batch = seq / 5 * 5;
        let recovered = batch as u64;
        // The policy's digest: nothing but the chain and the tree binds it.
        check(|pieces| change(&mut pieces[at(seq)], 60), seq as u64, recovered);
        // The link itself, and the number.
        check(|pieces| change(&mut pieces[at(seq)], 4), seq as u64, recovered);
        check(|pieces| change(&mut pieces[at(seq)], 200), seq as u64, recovered);
        check(|pieces| change(&mut pieces[at(seq)], 0), seq as u64, recovered);
        check(|pieces| change(&mut pieces[at(seq)], 38), seq as u64, recovered);
    }
}

#[test]
fn reordering_deleting_inserting_and_swapping_are_named() {
    check(|pieces| drop(pieces.remove(at(7))), 7, 5);
    check(|pieces| drop(pieces.remove(at(9))), 8, 5);
    check(|pieces| pieces.insert(at(7), pieces[at(7)].clone()), 8, 5);
    check(|pieces| pieces.insert(at(7), pieces[at(3)].clone()), 7, 5);
    check(|pieces| pieces.swap(at(6), at(8)), 6, 5);
    check(|pieces| pieces.swap(at(6), at(12)), 6, 5);
    check(|pieces| drop(pieces.drain(at(5)..at(10))), 5, 5);
    check(|pieces| pieces.truncate(at(15)), 15, 15);
    check(|pieces| pieces.truncate(at(12)), 10, 10);
    check(|pieces| pieces[at(5)..at(15)].rotate_left(7), 5, 5);
}

#[test]
fn commits_and_marks_are_part_of_it() {
    check(|pieces| pieces[at(5) - 2] = Piece::Commit { first: 0, size: 5, root: [0; 32] }, 4, 0);
    check(|pieces| pieces[at(5) - 2] = Piece::Commit { first: 0, size: 6, root: [0; 32] }, 4, 0);
    check(|pieces| drop(pieces.remove(at(5) - 2)), 5, 0);
    check(|pieces| pieces[at(5) - 1] = Piece::Mark { size: 4 }, 5, 5);
    check(|pieces| pieces.insert(at(5), pieces[at(5) - 2].clone()), 4, 5);
}

#[test]
fn a_commit_of_nothing_is_none() {
    let nothing = |pieces: &mut Vec<Piece>| {
        let Piece::Commit { root, .. } = pieces[at(5) - 2] else { panic!("no commit") };
        pieces.insert(at(5), Piece::Commit { first: 5, size: 5, root });
    };
    check(nothing, 4, 5);
}

#[test]
fn a_forged_header_is_named() {
    let (files, _, _) = journal(10, 13, 24 << 10);
    let (name, bytes) = files.last_key_value().unwrap();
    let first = name[..20].parse().unwrap();
    // Id, first entry, head, time, a peak, metadata: each byte of them is bound by the segment before.
    for offset in [17, 33, 41, 73, 82] {
        let mut forged = files.clone();
        forged.insert(name.clone(), forge::change_header(bytes, offset));
        let report = open(&forged, &[]).1;
        assert_eq!((report.first_bad, report.read_only), (Some(first), true), "offset {offset}: {report:?}");
    }
}

#[test]
fn a_log_rewritten_throughout_contradicts_the_checkpoints_kept() {
    // Only what somebody else holds can tell a log from one rewritten from its first entry on.
    let (mut files, _, checkpoints) = journal(4, 5, 1 << 20);
    let mut pieces = forge::read(&files[FIRST]);
    change(&mut pieces[at(7)], 60);
    forge::chain_anew(&mut pieces);
    let forged = forge::write(&files[FIRST], &pieces);
    files.insert(FIRST.to_owned(), forged);
    let unanchored = open(&files, &[]).1;
    assert_eq!((unanchored.first_bad, unanchored.anchored_at, unanchored.size), (None, None, 20));
    let check = |anchors: &[Checkpoint], anchored_at, first_bad, reason| {
        let report = open(&files, anchors).1;
        assert_eq!((report.anchored_at, report.first_bad, report.reason), (anchored_at, first_bad, reason));
        assert_eq!(report.read_only, first_bad.is_some());
    };
    check(&checkpoints, Some(5), Some(5), Some(JournalFault::Rewritten { size: 10 }));
    check(&checkpoints[..1], Some(5), None, None);
    check(&checkpoints[3..], None, Some(0), Some(JournalFault::Rewritten { size: 20 }));
}

#[test]
fn an_older_copy_contradicts_the_checkpoint_kept() {
    let (_, _, checkpoints) = journal(4, 5, 1 << 20);
    let (old, ..) = journal(3, 5, 1 << 20);
    let (_, report) = open(&old, &checkpoints[3..]);
    assert_eq!((report.read_only, report.size, report.first_bad), (true, 15, Some(15)));
    assert_eq!(report.reason, Some(JournalFault::RolledBack { size: 20 }));
    let (_, report) = open(&old, &checkpoints[..3]);
    assert_eq!((report.read_only, report.anchored_at), (false, Some(15)));
}

#[test]
fn missing_segments() {
    let (files, _, checkpoints) = journal(31, 5, 20 << 10);
    let names: Vec<&String> = files.keys().collect();
    assert!(names.len() > 4);
    let first = |index: usize| names[index][..20].parse::<u64>().unwrap();
    let check = |missing: usize, anchors: &[Checkpoint], first_bad, pruned_below| {
        let mut left = files.clone();
        left.remove(names[missing]);
        let report = open(&left, anchors).1;
        assert_eq!((report.first_bad, report.pruned_below), (first_bad, pruned_below), "{report:?}");
    };
    check(2, &[], Some(first(2)), 0);
    check(0, &[], None, first(1));
    check(0, &checkpoints, None, first(1));
    check(names.len() - 1, &checkpoints, Some(first(names.len() - 1)), 0);
}
