//! `ak-audit` beside what it is made of, SHA-256 and a synced file, and beside what one would use instead: fjall, redb and
//! SQLite for the journal, `ct-merkle` for the tree.

#[path = "../../../crates/ak-host/src/disk.rs"]
#[allow(dead_code, reason = "the host's disk alone: with it as a crate would come the whole host")]
mod disk;
mod durable;
mod memory;
mod merkle;
mod records;
mod stores;
mod verify;

use measure::Report;

const OURS: &str = "ak-audit";

fn main() {
    let mut report = Report::new();
    memory::race(&mut report);
    merkle::race(&mut report);
    verify::race(&mut report);
    durable::race(&mut report);
    memory::targets(&mut report);
    durable_targets(&mut report);
    merkle::targets(&mut report);
    verify::targets(&mut report);
    report.print();
}

fn durable_targets(report: &mut Report) {
    use durable::{CASES, DURABLE, FJALL, RAW, RAW_HASHED, SQLITE};
    let case = CASES[2].0;
    let ns = |report: &Report, who| report.ns(DURABLE, case, who);
    let ours = ns(report, OURS);
    for (rival, bound) in [(FJALL, 1.8), (SQLITE, 3.5), (RAW, 0.85), (RAW_HASHED, 0.85)] {
        let ratio = ns(report, rival) / ours;
        report.at_least(&format!("durable append with {case} waiters, rate against {rival}"), ratio, bound);
    }
}
