//! Compares verifying 1,000,000 entries with the hashing that it includes.

use ak_audit::{
    Journal, Log, Record,
    journal::{Genesis, Options},
};
use measure::{Race, Report};
use sha2::{Digest as _, Sha256};

use ak_host::FileDisk;

use crate::{OURS, durable::Scratch, records::Source};

const VERIFY: &str = "Verify 1,000,000 entries of 332 B";
const STREAM: &str = "SHA-256 of the same entries and inner nodes, one stream";
const PORTABLE: &str = "ak-audit, without the host's engine";
const CASE: &str = "all";

const ENTRIES: usize = 1_000_000;

pub fn race(report: &mut Report) {
    let scratch = Scratch::new();
    let genesis = Genesis { id: [7; 16], meta: Vec::new() };
    let disk = || FileDisk::new(&scratch.path("verify")).expect("the directory can be made");
    let (mut journal, _) = Journal::open(disk(), &genesis, Options::default(), &[]).expect("it is new");
    let mut log = Log::with_engine(usize::MAX, ak_host::engine());
    let mut source = Source::new();
    for _ in 0..ENTRIES / 10_000 {
        let records = source.take(10_000);
        journal.append(&records).expect("there is space");
        journal.sync().expect("the disk works");
        for Record { entry, body } in records {
            log.append(entry, body).expect("it follows");
        }
    }
    drop(journal);
    let mut portable = Log::new(usize::MAX);
    for (_, record) in log.iter() {
        portable.append(record.entry.clone(), record.body.clone()).expect("it follows");
    }
    let root = log.root();
    let results = Race::new()
        .cpu(OURS, || assert!(log.verify().consistent))
        .cpu(PORTABLE, || assert!(portable.verify().consistent))
        .cpu("ak-audit, a journal on disk (in the page cache) with its checksums", || {
            let opened = Journal::open_read_only(disk(), &[]).expect("the disk works");
            assert_eq!(opened.expect("it is there").1.root, root);
        })
        .cpu(STREAM, || {
            for (_, record) in log.iter() {
                measure::black_box(Sha256::new().chain_update([0]).chain_update(&record.entry).finalize());
                measure::black_box(Sha256::digest([1; 65]));
            }
        })
        .cpu("SHA-256 of the same entries, without inner nodes", || {
            for (_, record) in log.iter() {
                measure::black_box(Sha256::new().chain_update([0]).chain_update(&record.entry).finalize());
            }
        })
        .run();
    report.add(VERIFY, CASE, results);
}

pub fn targets(report: &mut Report) {
    let stream = report.ns(VERIFY, CASE, STREAM);
    let rate = |who| stream / report.ns(VERIFY, CASE, who);
    let (portable, paired) = (rate(PORTABLE), rate(OURS));
    report.at_least("verification, rate against one hash stream", portable, 0.9);
    report.at_least("verification with two streams on one core, rate against one", paired, 1.7);
}
