//! Power failures at every point of a journal's life: nothing acknowledged is lost, nothing corrupt is accepted, and the
//! journal can be written again. `AK_CRASH_IMAGES` sets how many crash images are opened, `AK_CRASH_SEED` where to start.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use ak_audit::{
    DiskError, Journal, JournalError, Query, Record, ZERO_HASH,
    journal::{Genesis, Options, RecoveryReport},
    leaf_hash,
};

mod common;
use common::{
    record,
    sim::{Faults, Random, SimDisk},
};

const SMALL: Options = Options { segment_bytes_max: 20 << 10, allocation_bytes: 2048, reserve_bytes: 512 };

fn open(disk: SimDisk) -> Result<(Journal<SimDisk>, RecoveryReport), JournalError> {
    Journal::open(disk, &Genesis { id: [3; 16], meta: b"meta".to_vec() }, SMALL, &[])
}

/// The first `count` records every journal here consists of.
fn records(count: u64) -> Vec<Record> {
    let mut previous = ZERO_HASH;
    let make = |seq| {
        let record = record(seq, previous);
        previous = leaf_hash(&record.entry);
        record
    };
    (0..count).map(make).collect()
}

/// Opens what a crash left and checks it against what was acknowledged; then goes on writing.
fn check(image: SimDisk, model: &[Record], acknowledged: u64, pruned: u64, seed: u64) {
    let (mut journal, report) = open(image).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!((report.first_bad, report.reason, report.read_only), (None, None, false), "seed {seed}");
    assert!(report.size >= acknowledged, "seed {seed}: {} of {acknowledged} left", report.size);
    assert!(report.pruned_below <= pruned, "seed {seed}");
    let kept: Vec<_> = journal.records(0..u64::MAX).map(|record| record.unwrap()).collect();
    let expected = (report.pruned_below..report.size).map(|seq| (seq, model[seq as usize].clone()));
    assert!(kept.into_iter().eq(expected), "seed {seed}");
    let more = model.get(report.size as usize..).unwrap_or_default();
    let more = &more[..more.len().min(3)];
    journal.append(more).unwrap();
    journal.sync().unwrap();
    let (size, root) = (journal.len(), journal.root());
    // What was only in a cache when the journal was opened would be gone now.
    let (journal, again) = open(journal.into_disk().crash(&mut Random(seed))).unwrap();
    assert_eq!((again.size, again.root, again.first_bad), (size, root, None), "seed {seed}");
    let whole = journal.records(0..u64::MAX).map(|record| record.unwrap());
    assert!(
        whole.eq((again.pruned_below..size).map(|seq| (seq, model[seq as usize].clone()))),
        "seed {seed}"
    );
}

#[test]
fn a_crash_loses_nothing_acknowledged_and_leaves_nothing_corrupt() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (images, first) = (number("AK_CRASH_IMAGES", 100_000), number("AK_CRASH_SEED", 1));
    println!("AK_CRASH_IMAGES={images} AK_CRASH_SEED={first}");
    let model = records(200);
    let (seed, opened) = (AtomicU64::new(first), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while opened.load(Ordering::Relaxed) < images {
                    let images = crash_throughout_a_life(seed.fetch_add(1, Ordering::Relaxed), &model);
                    opened.fetch_add(images, Ordering::Relaxed);
                }
            });
        }
    });
}

/// Lives one life of a journal, with a crash after each step, and gives how many images that made.
fn crash_throughout_a_life(seed: u64, model: &[Record]) -> u64 {
    let random = &mut Random(seed);
    let disk = SimDisk::default();
    let mut images = Vec::new();
    // The disk fails once, somewhere: the crash image then is one of a write or sync that was under way. Or it is full.
    let at = Some(random.next() % 120);
    disk.faults(match random.below(3) {
        0 => Faults { fail_at: at, ..Faults::default() },
        1 => Faults { full_at: at, ..Faults::default() },
        _ => Faults {
            capacity_bytes: Some((20 << 10) + random.below(120 << 10)),
            full_at: at,
            ..Faults::default()
        },
    });
    let (mut acknowledged, mut appended, mut pruned) = (0, 0, 0);
    let mut journal = open(disk.share()).ok().map(|(journal, _)| journal);
    while let Some(writing) = journal.as_mut().filter(|_| appended < 190) {
        let count = 1 + random.next() % 6;
        let batch = &model[appended as usize..(appended + count) as usize];
        let done = match random.below(12) {
            0 => writing.prune(random.next() % (acknowledged + 1)).map(|below| pruned = pruned.max(below)),
            1..=5 => writing.append(batch).map(|size| appended = size),
            6..=8 => writing.sync().map(|size| acknowledged = size),
            _ => {
                // While a batch is out, records are appended, and the power may fail.
                match writing.begin_sync() {
                    Ok(None) => Ok(()),
                    Ok(Some(out)) => {
                        if let Ok(size) = writing.append(batch) {
                            appended = size;
                        }
                        if random.chance(2) {
                            writing.close_batch();
                        }
                        assert_eq!(writing.begin_sync().err(), Some(JournalError::BatchPending));
                        let written = out.write(&mut disk.share());
                        images.push((disk.crash(random), acknowledged, pruned));
                        writing.finish_sync(out, written).map(|size| acknowledged = size)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        // What an interrupted pruning deleted is not known to the journal, only to the disk.
        pruned = if done.is_err() { u64::MAX } else { pruned };
        images.push((disk.crash(random), acknowledged, pruned));
        match done {
            Ok(_) => {}
            // Sooner or later there is space again.
            Err(JournalError::Full) if random.chance(3) => disk.faults(Faults::default()),
            Err(JournalError::Full) => {}
            Err(_) => journal = None,
        }
    }
    images.push((disk.crash(random), acknowledged, pruned));
    let count = images.len() as u64;
    for (image, acknowledged, pruned) in images {
        check(image, model, acknowledged, pruned, seed);
    }
    count
}

#[test]
fn a_torn_batch_leaves_nothing_behind() {
    // The torn batch spans a tile; what is written in its place has other lengths and another agent.
    let model = records(300);
    let disk = SimDisk::default();
    let (mut journal, _) = open(disk.share()).unwrap();
    journal.append(&model[..250]).unwrap();
    journal.sync().unwrap();
    journal.append(&model[250..]).unwrap();
    disk.faults(Faults { fail_at: Some(disk.operations()), ..Faults::default() });
    assert!(matches!(journal.sync(), Err(JournalError::Disk(_))));
    drop(journal);
    disk.faults(Faults::default());
    let (mut journal, report) = open(disk.share()).unwrap();
    assert_eq!(report.size, 250);
    assert!(report.torn_tail_bytes > 0);
    let mut other = model[..250].to_vec();
    for seq in 250..300 {
        let previous = journal.chain().head;
        let entry = ak_audit::Entry { agent: "other", ..common::entry(seq, previous) }.encode().unwrap();
        let record = Record { entry: entry.into(), body: vec![7; 3].into() };
        journal.append(std::slice::from_ref(&record)).unwrap();
        other.push(record);
    }
    journal.sync().unwrap();
    let whole: Vec<_> = journal.records(0..300).map(|record| record.unwrap().1).collect();
    assert_eq!(whole, other);
    let query = Query { agent: Some("other"), ..Query::default() };
    assert_eq!(journal.query(&query, 99, |_, _| true).unwrap().records.len(), 50);
    let (again, report) = open(journal.into_disk()).unwrap();
    let mut tree = ak_audit::Tree::new();
    other.iter().for_each(|record| tree.push(leaf_hash(&record.entry)));
    assert_eq!((report.size, report.torn_tail_bytes, report.root), (300, 0, tree.root()));
    let whole: Vec<_> = again.records(0..300).map(|record| record.unwrap().1).collect();
    assert_eq!(whole, other);
}

/// Lives the same short life on a disk with `faults`, and gives what was acknowledged.
fn live(disk: &SimDisk, model: &[Record], faults: Faults) -> u64 {
    disk.faults(faults);
    let mut acknowledged = 0;
    let Ok((mut journal, _)) = open(disk.share()) else { return 0 };
    for batch in model.chunks(4) {
        // Nothing changed where an append fails, nor where a sync finds no space: both can be tried again.
        if journal.append(batch).or_else(|_| journal.append(batch)).is_err() {
            break;
        }
        match journal.sync() {
            Ok(size) => acknowledged = size,
            Err(JournalError::Full) => {
                journal.append::<Record>(&[]).unwrap();
                acknowledged = journal.sync().unwrap();
            }
            Err(_) => {
                assert_eq!(journal.append(batch), Err(JournalError::Poisoned));
                assert_eq!(journal.sync(), Err(JournalError::Poisoned), "never retried into a success");
                break;
            }
        }
    }
    acknowledged
}

#[test]
fn an_error_of_the_disk_at_any_point_loses_nothing() {
    let model = records(120);
    let clean = SimDisk::default();
    live(&clean, &model, Faults::default());
    assert!(clean.operations() > 100);
    for at in (0..clean.operations()).map(Some) {
        let once = Faults { fail_at: at, ..Faults::default() };
        for faults in [once, Faults { forever: true, ..once }, Faults { full_at: at, ..Faults::default() }] {
            let disk = SimDisk::default();
            let acknowledged = live(&disk, &model, faults);
            disk.faults(Faults::default());
            for seed in 0..3 {
                check(disk.crash(&mut Random(seed)), &model, acknowledged, 0, seed);
            }
            check(disk.share(), &model, acknowledged, 0, at.unwrap());
        }
    }
}

#[test]
fn a_write_gone_astray_or_wrong_is_found() {
    let model = records(60);
    let clean = SimDisk::default();
    live(&clean, &model, Faults::default());
    let mut found = 0;
    for at in (0..clean.operations()).map(Some) {
        let astray = Faults { astray_at: at, ..Faults::default() };
        let twice = Faults { twice_at: at, ..Faults::default() };
        for faults in [astray, twice, Faults { flip_at: at, ..Faults::default() }] {
            let disk = SimDisk::default();
            let acknowledged = live(&disk, &model, faults);
            disk.faults(Faults::default());
            let Some((journal, report)) = Journal::open_read_only(disk, &[]).unwrap() else {
                panic!("{faults:?}: a journal that was acknowledged is none")
            };
            let kept: Vec<_> = journal.records(0..u64::MAX).map(|record| record.unwrap().1).collect();
            assert!(model.starts_with(&kept), "{faults:?}: what is corrupt is accepted");
            let whole = report.size >= acknowledged;
            assert!(whole || report.first_bad.is_some(), "{faults:?}: {report:?}");
            found += u32::from(!whole);
        }
    }
    assert!(found > 30, "{found}");
}

#[test]
fn a_full_disk_refuses_keeps_reading_and_recovers() {
    let model = records(200);
    for allocation_bytes in (1000..1400).step_by(11) {
        let disk = SimDisk::default();
        disk.faults(Faults { capacity_bytes: Some(24 << 10), ..Faults::default() });
        let options = Options { allocation_bytes, ..SMALL };
        let (mut journal, _) = Journal::open(disk.share(), &Genesis::default(), options, &[]).unwrap();
        let mut next = 0;
        loop {
            match journal.append(&model[next..=next]) {
                Ok(_) => next += 1,
                Err(error) => break assert_eq!(error, JournalError::Full),
            }
            journal.sync().unwrap();
        }
        assert!(next > 5);
        assert_eq!(journal.append(&model[next..=next]), Err(JournalError::Full));
        assert_eq!(journal.records(0..u64::MAX).count(), next);
        // The reserve is there for what must still be possible, to its last byte.
        let ordinary = next;
        while journal.append_reserved(&model[next..=next]).is_ok() {
            next += 1;
            assert_eq!(journal.sync(), Ok(next as u64));
        }
        assert!(next > ordinary);
        disk.faults(Faults::default());
        journal.append(&model[next..]).unwrap();
        assert_eq!(journal.sync(), Ok(200));
        drop(journal);
        check(disk.share(), &model, 200, 0, allocation_bytes);
    }
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let model = records(10);
    let disk = SimDisk::default();
    let (mut journal, _) = open(disk.share()).unwrap();
    journal.append(&model).unwrap();
    journal.sync().unwrap();
    assert_eq!(open(disk.share()).unwrap_err(), JournalError::Disk(DiskError::Locked));
    let (mut reader, report) = Journal::open_read_only(disk.share(), &[]).unwrap().unwrap();
    assert_eq!((report.size, report.root, report.read_only), (10, journal.root(), true));
    assert_eq!(reader.append(&model), Err(JournalError::ReadOnly));
    assert_eq!(reader.sync(), Err(JournalError::ReadOnly));
    drop(journal);
    assert!(open(disk.share()).is_ok());
    assert!(Journal::open_read_only(SimDisk::default(), &[]).unwrap().is_none());
}
