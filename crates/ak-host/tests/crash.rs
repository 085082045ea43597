//! A process that writes a journal is killed at random moments, repeatedly, and loses nothing that it acknowledged. The
//! same holds for a process that runs a whole kernel, which takes snapshots, erases and begins segments all the time.
//!
//! `AK_KILLS` sets the number of kills, `AK_KILL_SEED` the seed of their moments.
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
use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{
    AuditRequest, HeapRequest, Outcome, Reply, Request,
    ak_heap::{Content, Handle},
};
use ak_host::{Connection, FileDisk, JOURNAL_DIRECTORY, VAULT_DIRECTORY, read_journal};
use records::{body, record};
use support::Scratch;

/// Variable that makes the process the victim, and names the directory in which it writes.
const VICTIM: &str = "AK_KILL_VICTIM";

/// Small, so that many segments begin and are dropped.
const OPTIONS: Options =
    Options { segment_bytes_max: 64 << 10, allocation_bytes: 32 << 10, reserve_bytes: 4 << 10 };

fn open(directory: &Path) -> (Journal<FileDisk>, RecoveryReport) {
    let disk = FileDisk::new(directory).unwrap();
    Journal::open(disk, &Genesis { id: [9; 16], meta: Vec::new() }, OPTIONS, &[]).unwrap()
}

/// Runs in the child: appends records without end, and prints what is durable.
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

/// Starts a victim, and returns the complete lines that it prints.
fn start(name: &str, directory: &Path) -> (Child, mpsc::Receiver<String>) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VICTIM, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (said, heard) = mpsc::channel();
    let mut lines = BufReader::new(victim.stdout.take().unwrap());
    std::thread::spawn(move || {
        let mut line = String::new();
        // An incomplete line does not count.
        while lines.read_line(&mut line).is_ok_and(|_| line.ends_with('\n')) {
            if said.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    (victim, heard)
}

/// Returns the number of kills, and the seed.
fn plan() -> (u64, u64) {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (kills, seed) = (number("AK_KILLS", 200), number("AK_KILL_SEED", 1));
    println!("AK_KILLS={kills} AK_KILL_SEED={seed}");
    (kills, seed)
}

/// Kills the victim after a random time.
fn kill(victim: &mut Child, seed: &mut u64, us_max: u64) {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    std::thread::sleep(Duration::from_micros((*seed >> 33) % us_max));
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    if std::env::var_os(VICTIM).is_some() {
        return;
    }
    let (kills, mut seed) = plan();
    let scratch = Scratch::new("kill");
    let directory = scratch.join("journal");
    let (mut acknowledged, mut torn) = (0, 0);
    for cycle in 0..kills {
        let (mut victim, heard) = start("victim", &directory);
        while heard.recv().unwrap().trim() != "ready" {}
        // At any moment of a round: some rounds take less than a millisecond, some begin a segment.
        kill(&mut victim, &mut seed, 25_000);
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

fn open_kernel(directory: &Path) -> Connection {
    let disk = |name: &str| FileDisk::new(&directory.join(name)).unwrap();
    let (journal, vault) = (disk(JOURNAL_DIRECTORY), disk(VAULT_DIRECTORY));
    Connection::open_with(journal, vault, OPTIONS, &Default::default())
        .unwrap_or_else(|failure| panic!("{failure}"))
}

fn note(text: &str, subject: Option<&str>) -> Request {
    let content = Content::Json(object! { "text": text, "n": 0 });
    Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: subject.map(Into::into) })
}

fn handle(outcome: Outcome) -> Handle {
    match outcome {
        Ok(Reply::Handle(handle)) => handle,
        other => panic!("no handle: {other:?}"),
    }
}

/// Returns the value of the victims' counter, which is the first object in the heap.
fn counted(kernel: &Connection, counter: Handle) -> u64 {
    match kernel.call(Request::Heap(HeapRequest::Stat { handle: counter })) {
        Ok(Reply::Value(told)) => told.get("version").and_then(Value::as_u64).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Runs in the child: counts, and meanwhile makes records of a subject and erases them.
#[test]
fn kernel_victim() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let kernel = open_kernel(Path::new(&directory));
    let counter = Handle::from_raw(1 << 32);
    println!("ready {}", counted(&kernel, counter));
    let say = |line: String| {
        println!("{line}");
        std::io::stdout().flush().unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let patch = Value::parse(br#"[{"op":"replace","path":"/n","value":1}]"#, &Default::default());
            let patch = patch.unwrap();
            loop {
                let write = Request::Heap(HeapRequest::Write {
                    handle: counter,
                    patch: patch.clone(),
                    expected_version: None,
                });
                match kernel.call(write) {
                    Ok(Reply::Version(version)) => say(format!("counted {version}")),
                    other => panic!("{other:?}"),
                }
                // Pauses, so that most of the time is spent on erasures, and the log stays short.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for round in 0u64.. {
            let name = format!("{}-{round}", std::process::id());
            let secret = format!("secret-{name}.");
            kernel.call(note(&secret, Some(&name))).unwrap();
            say(format!("recorded {secret}"));
            kernel.call(Request::Audit(AuditRequest::Erase { subject: name.as_str().into() })).unwrap();
            say(format!("erased {secret}"));
        }
    });
}

/// How often the whole state is read and checked, besides at the end.
const READ_ALL: u64 = 40;

#[test]
fn a_kernel_killed_during_snapshots_erasures_and_rotations_loses_nothing_and_keeps_nothing_erased() {
    if std::env::var_os(VICTIM).is_some() {
        return;
    }
    let (kills, mut seed) = plan();
    // A killed process loses nothing that it wrote, synced or not. Where memory can serve as a disk, the test is
    // faster.
    let memory = Path::new("/dev/shm").join("ak-kill-kernel");
    let name = if Path::new("/dev/shm").is_dir() { memory.to_str().unwrap() } else { "kill-kernel" };
    let scratch = Scratch::new(name);
    let directory = scratch.path();
    let kernel = open_kernel(directory);
    let counter = handle(kernel.call(note("counter", None)));
    assert_eq!(counter, Handle::from_raw(1 << 32));
    kernel.close();
    let (mut acknowledged, mut erasures, mut cut_short) = (0, 0, 0);
    let mut gone: Vec<String> = Vec::new();
    for cycle in 0..kills {
        let (mut victim, heard) = start("kernel_victim", directory);
        // The kernel finishes an interrupted erasure before this.
        let ready = || heard.recv().expect("it opens").trim().strip_prefix("ready ").map(str::to_owned);
        let found: u64 = std::iter::repeat_with(ready).flatten().next().unwrap().parse().unwrap();
        assert!(found >= acknowledged, "cycle {cycle}: {found} of {acknowledged} are left");
        // Kill after this many lines or a whole erasure, at any moment of what follows.
        let mut lines: Vec<String> = (0..seed >> 33 & 7).map(|_| heard.recv().unwrap()).collect();
        while seed >> 40 & 1 == 1 && !lines.iter().any(|line| line.starts_with("erased")) {
            lines.push(heard.recv().unwrap());
        }
        kill(&mut victim, &mut seed, 4_000);
        lines.extend(heard.iter());
        let mut recorded = None;
        for line in lines {
            match line.trim().split_once(' ') {
                Some(("counted", version)) => acknowledged = acknowledged.max(version.parse().unwrap()),
                Some(("recorded", secret)) => recorded = Some(secret.to_owned()),
                Some(("erased", secret)) => {
                    gone.push(secret.to_owned());
                    erasures += 1;
                    recorded = None;
                }
                other => panic!("cycle {cycle}: {other:?}"),
            }
        }
        cut_short += u64::from(recorded.is_some());
        if cycle % READ_ALL != READ_ALL - 1 && cycle + 1 != kills {
            continue;
        }
        let kernel = open_kernel(directory);
        let Ok(Reply::Value(report)) =
            kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))
        else {
            panic!("cycle {cycle}: no verdict")
        };
        assert_eq!(report.get("consistent"), Some(&Value::Bool(true)), "cycle {cycle}: {report}");
        kernel.close();
        let stored = read_journal(directory).unwrap();
        let bodies: Vec<u8> = stored.records.iter().flat_map(|record| record.body.to_vec()).collect();
        let bodies = String::from_utf8_lossy(&bodies);
        let left: Vec<&String> = gone.iter().filter(|secret| bodies.contains(secret.as_str())).collect();
        assert_eq!(left, Vec::<&String>::new(), "cycle {cycle}");
        gone.clear();
    }
    let segments = std::fs::read_dir(directory.join(JOURNAL_DIRECTORY)).unwrap().count();
    println!("counted to {acknowledged}, {erasures} erasures, {cut_short} cut short, {segments} segments");
    assert!(acknowledged > kills && erasures > kills / 8 && segments > 4, "there was load");
    assert!(cut_short > kills / 8, "erasures were under way");
}

/// Root may write every file, so this test does not apply to root.
#[test]
fn a_read_only_copy_is_verified() {
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
