//! Journals in a directory. A process that writes one is killed at any moment, again and again: nothing it acknowledged
//! is ever lost.
//!
//! `AK_KILLS` sets how often, `AK_KILL_SEED` when.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../../ak-audit/tests/common/records.rs"]
mod records;
mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use ak_audit::{
    Journal,
    journal::{Genesis, Options, RecoveryReport},
};
use ak_host::FileDisk;
use records::{body, record};
use support::Scratch;

/// Tells the process that it is the one to be killed, and where to write.
const VICTIM: &str = "AK_KILL_VICTIM";

/// Small, so that segments begin and are dropped many times.
const OPTIONS: Options =
    Options { segment_bytes_max: 64 << 10, allocation_bytes: 32 << 10, reserve_bytes: 4 << 10 };

fn open(directory: &Path) -> (Journal<FileDisk>, RecoveryReport) {
    let disk = FileDisk::new(directory).unwrap();
    Journal::open(disk, &Genesis { id: [9; 16], meta: Vec::new() }, OPTIONS, &[]).unwrap()
}

/// What the child does: logs without end, and says what is durable as soon as it is.
#[test]
fn victim() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let (mut journal, _) = open(Path::new(&directory));
    println!("ready");
    for round in 0u64.. {
        let mut batch = Vec::new();
        let mut chain = journal.chain();
        for _ in 0..1 + round * round % 23 {
            let next = record(chain.next, chain.head);
            chain.push(&next.entry).unwrap();
            batch.push(next);
        }
        journal.append(&batch).unwrap();
        println!("durable {}", journal.sync().unwrap());
        if round % 16 == 15 {
            journal.prune(journal.len().saturating_sub(400)).unwrap();
        }
        std::io::stdout().flush().unwrap();
    }
}

/// Starts a victim and hands over what it says, line by line, to the last whole one.
fn start(directory: &Path) -> (Child, mpsc::Receiver<String>) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (said, heard) = mpsc::channel();
    let mut lines = BufReader::new(victim.stdout.take().unwrap());
    std::thread::spawn(move || {
        let mut line = String::new();
        // A line that was cut short is none.
        while lines.read_line(&mut line).is_ok_and(|_| line.ends_with('\n')) {
            if said.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    (victim, heard)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    if std::env::var_os(VICTIM).is_some() {
        return;
    }
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (kills, mut seed): (u64, u64) = (number("AK_KILLS", 200), number("AK_KILL_SEED", 1));
    println!("AK_KILLS={kills} AK_KILL_SEED={seed}");
    let scratch = Scratch::new("kill");
    let directory = scratch.join("journal");
    let (mut acknowledged, mut torn) = (0, 0);
    for cycle in 0..kills {
        let (mut victim, heard) = start(&directory);
        while heard.recv().unwrap().trim() != "ready" {}
        // Anywhere in a round: some take less than a millisecond, some begin a segment.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(500 + (seed >> 33) % 25_000));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let durable =
            heard.iter().filter_map(|line| line.strip_prefix("durable ")?.trim().parse().ok()).last();
        acknowledged = durable.unwrap_or(acknowledged).max(acknowledged);
        let (journal, report) = open(&directory);
        assert_eq!((report.first_bad, report.read_only), (None, false), "cycle {cycle}: {report:?}");
        assert!(report.size >= acknowledged, "cycle {cycle}: {} of {acknowledged} are left", report.size);
        let kept = journal.records(0..u64::MAX).map(|record| record.unwrap());
        assert!(
            kept.map(|(seq, record)| (seq, record.body.to_vec()))
                .eq((report.pruned_below..report.size).map(|seq| (seq, body(seq))))
        );
        torn += u64::from(report.torn_tail_bytes > 0);
    }
    println!("{acknowledged} acknowledged, {torn} torn tails in {kills} kills");
    assert!(acknowledged > kills, "there was load");
}

/// Root may write everything, and sees nothing of this.
#[test]
fn a_copy_that_may_only_be_read_is_verified() {
    let scratch = Scratch::new("copy");
    let (mut journal, _) = open(scratch.path());
    let next = record(0, journal.chain().head);
    journal.append(&[next]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let only_read = std::fs::Permissions::from_mode(0o500);
    for place in std::fs::read_dir(scratch.path()).unwrap() {
        std::fs::set_permissions(place.unwrap().path(), only_read.clone()).unwrap();
    }
    let disk = FileDisk::new(scratch.path()).unwrap();
    let (journal, report) = Journal::open_read_only(disk, &[]).unwrap().unwrap();
    assert_eq!((report.size, report.first_bad, journal.records(0..9).count()), (1, None, 1));
}
