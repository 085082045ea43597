//! `cargo xtask fuzz`: the targets in `fuzz/`, with libFuzzer and the stock toolchain.

use std::fs;

use crate::run::{Result, cargo, root, run};

/// The flags that cargo-fuzz passes: coverage for libFuzzer, and checks that a release build leaves out.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks --cfg fuzzing";

/// How often `cargo xtask test` runs each target: enough to see that the target still works.
const SLICE_RUNS: &str = "-runs=2000";
/// The most seconds that `cargo xtask test` runs each target.
const SLICE_TIME: &str = "-max_total_time=60";

/// Fuzzes one target, or each in turn, for `seconds` each.
pub(crate) fn fuzz(target: Option<&str>, seconds: u64) -> Result {
    let all = targets()?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| target.is_none_or(|target| *name == target)).collect();
    if chosen.is_empty() {
        let wanted = target.unwrap_or_default();
        return Err(format!("there is no fuzz target {wanted}; there are: {}", all.join(", ")));
    }
    chosen.iter().try_for_each(|name| start(name, &[&format!("-max_total_time={seconds}")]))
}

/// Runs each target a few times, from a fixed seed.
pub(crate) fn slice() -> Result {
    targets()?.iter().try_for_each(|name| start(name, &[SLICE_RUNS, SLICE_TIME, "-seed=20261123"]))
}

fn start(name: &str, arguments: &[&str]) -> Result {
    println!("==> fuzzing {name}");
    let [corpus, artifacts] = ["fuzz/corpus", "fuzz/artifacts"].map(|place| root().join(place).join(name));
    for place in [&corpus, &artifacts] {
        fs::create_dir_all(place).map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    }
    let artifacts = format!("-artifact_prefix={}/", artifacts.display());
    // With `--target`, cargo applies RUSTFLAGS to the fuzz targets but not to build scripts.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let build = ["run", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host];
    run(cargo(&build)
        .args(["--bin", name, "--"])
        .arg(artifacts)
        .args(arguments)
        .arg(corpus)
        .env("RUSTFLAGS", FLAGS))
}

/// The names of the files in `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let listed =
        fs::read_dir(&directory).map_err(|error| format!("cannot list the fuzz targets: {error}"))?;
    let names = listed.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some(path.file_stem()?.to_str()?.to_owned()).filter(|_| path.extension().is_some_and(|e| e == "rs"))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}
