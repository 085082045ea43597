//! Compares `ak-audit` with its building blocks, SHA-256 and a synced file, and with its alternatives: fjall, redb and
//! SQLite for the journal, `ct-merkle` for the tree.

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
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    type Part = (&'static str, fn(&mut Report), fn(&mut Report));
    let parts: [Part; 4] = [
        ("memory", memory::race, memory::targets),
        ("merkle", merkle::race, merkle::targets),
        ("verify", verify::race, verify::targets),
        ("durable", durable::race, durable_targets),
    ];
    // Runs all parts, or those that the arguments name.
    for (name, race, targets) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            race(&mut report);
            targets(&mut report);
        }
    }
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
