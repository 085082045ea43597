//! `cargo xtask bench NAME`: compares a crate with its rivals in one run.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    python,
    run::{Result, cargo, root, run},
};

/// The benches, as packages of the workspace in `bench/`.
pub(crate) const BENCHES: [&str; 8] = ["audit", "heap", "host", KERNEL, "policy", "sandbox", SCALE, STALL];

/// The bench of one governed request in memory. Its rivals are measured from Python.
const KERNEL: &str = "kernel";

/// The bench of how long the requests of one agent delay another, for each seed in `fuzz/seeds`. It has no rivals.
const STALL: &str = "stall";

/// The bench of costs that grow with the log: opening, waiting, memory. It has no rivals.
const SCALE: &str = "scale";

/// The file that keeps measured tables.
const PERFORMANCE: &str = "docs/performance.md";

/// Runs a bench and prints its tables. With `save` it also writes them to `docs/performance.md`.
pub(crate) fn bench(name: &str, save: bool) -> Result {
    if !BENCHES.contains(&name) {
        return Err(format!("there is no bench {name}; there are: {}", BENCHES.join(", ")));
    }
    if name == STALL {
        return stall(&[]);
    }
    let mut bench = program(name);
    if ![SCALE, KERNEL].contains(&name) {
        bench.env("AK_BENCH_PYTHON", python::rivals()?);
    }
    let output =
        bench.stderr(Stdio::inherit()).output().map_err(|error| format!("cannot run cargo: {error}"))?;
    let tables = String::from_utf8_lossy(&output.stdout);
    println!("{tables}");
    if !output.status.success() {
        return Err(format!("the bench {name} failed: {}", output.status));
    }
    if save { keep(name, &tables) } else { Ok(()) }
}

/// Runs the seeds whose names contain one of the arguments, or all seeds. With `--check` it only reads them.
pub(crate) fn stall(arguments: &[&str]) -> Result {
    run(program(STALL).arg("--").args(arguments))
}

fn program(name: &str) -> Command {
    let package = format!("bench-{name}");
    cargo(&["run", "--release", "--manifest-path", "bench/Cargo.toml", "--package", &package])
}

/// Replaces the tables of a bench in `docs/performance.md`, between the marks of its section.
fn keep(name: &str, tables: &str) -> Result {
    let path = root().join(PERFORMANCE);
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {PERFORMANCE}: {error}"))?;
    let (start, end) = (format!("<!-- bench {name} -->"), format!("<!-- end {name} -->"));
    let parts = text.split_once(&start).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{PERFORMANCE} has no section between {start} and {end}"));
    };
    let text = format!("{before}{start}\n{}\n\n{end}{after}", tables.trim_end());
    fs::write(&path, text).map_err(|error| format!("cannot write {PERFORMANCE}: {error}"))
}
