//! `cargo xtask nightly`: the checks that take too long to run on every change.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    bench, dependencies, fuzz, mutants, peer_modules, peers,
    run::{Result, cargo, run},
    test,
};

/// Settings that make tests do more than by default, in this order: cases of each property; decisions compared with the
/// naive evaluator; crash images of the journal; kills of a process that writes a journal; entries re-executed; edits
/// of exported journals; one in how many disk calls of a session is made to fail.
const FURTHER: [(&str, &str); 7] = [
    ("PROPTEST_CASES", "4096"),
    ("AK_PAIRS", "1000000"),
    ("AK_CRASH_IMAGES", "1000000"),
    ("AK_KILLS", "2000"),
    ("AK_REPLAY_ENTRIES", "1000000"),
    ("AK_EDITS", "10000"),
    ("AK_FAULTS", "1"),
];

/// How long each target is fuzzed, in seconds.
const FUZZ_SECONDS: u64 = 600;

/// Runs longer tests from another seed, the mutants of the gate, the peers, every fuzz target and every bench. Reports
/// all failures at the end.
pub(crate) fn nightly() -> Result {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    println!("==> tests, further: PROPTEST_RNG_SEED={seed}");
    let mut tests = cargo(&["test", "--release", "--no-fail-fast", "--workspace"]);
    tests.args(["--exclude", "authority-nanos-python", "--exclude", "ak-image"]);
    tests.env("PROPTEST_RNG_SEED", seed.to_string()).envs(FURTHER);
    test::with_vectors(&mut tests);
    let mut failed = Vec::new();
    failed.extend(run(&mut tests).err());
    println!("==> advisories");
    failed.extend(dependencies::advisories().err());
    println!("==> mutants of the gate");
    failed.extend(mutants::gate(None).err());
    println!("==> peers");
    failed.extend(peers::urls().err());
    failed.extend(peers::schemas().err());
    failed.extend(peer_modules::modules().err());
    failed.extend(fuzz::fuzz(None, FUZZ_SECONDS).err());
    for name in bench::BENCHES {
        println!("==> bench {name}");
        failed.extend(bench::bench(name, false).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}
