//! `cargo xtask test`: runs all checks and tests.

use std::{process::Command, time::Instant};

use crate::{
    ak, dependencies, examples, fuzz, glossary, image, imports, python,
    run::{Result, cargo, root, run, target_dir},
};

/// All packages but `ak-image`, which has a profile of its own; the others are built with `std`.
const WORKSPACE: [&str; 3] = ["--workspace", "--exclude", "ak-image"];

type Stage = (&'static str, fn() -> Result);

const STAGES: [Stage; 13] = [
    ("formatting", formatting),
    ("imports", imports::imports),
    ("glossary", glossary::check),
    ("dependencies", dependencies::check),
    ("lints", lints),
    ("documentation", documentation),
    ("Rust tests", rust_tests),
    ("fuzz targets, a slice", fuzz::slice),
    ("bare-metal image", || image::image(None)),
    ("Python tests", python_tests),
    ("packages", dependencies::package),
    ("examples, embedded", examples::embedded),
    ("examples, over a socket", examples::over_a_socket),
];

/// Runs every stage, even if an earlier one failed, and reports which failed.
pub(crate) fn test() -> Result {
    let mut report = Vec::new();
    for (name, stage) in STAGES {
        println!("\n==> {name}");
        let started = Instant::now();
        let result = stage();
        if let Err(error) = &result {
            eprintln!("xtask: {error}");
        }
        report.push((name, started.elapsed(), result.is_ok()));
    }
    println!();
    for (name, took, passed) in &report {
        println!("{} {name:<24} {:>7.1} s", if *passed { "ok    " } else { "FAILED" }, took.as_secs_f64());
    }
    let failed: Vec<&str> = report.iter().filter(|(_, _, passed)| !passed).map(|(name, ..)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn formatting() -> Result {
    run(&mut cargo(&["fmt", "--all", "--", "--check"]))
}

fn lints() -> Result {
    run(cargo(&["clippy"]).args(WORKSPACE).args(["--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> Result {
    run(cargo(&["doc", "--no-deps"]).args(WORKSPACE).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The seed of property tests. It is fixed, so that a change fails only for its own faults; another seed tries
/// other cases.
const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "20261123");

/// Runs unit tests, integration tests and doctests, with third-party vectors if they are beside the checkout.
fn rust_tests() -> Result {
    // The Python module does not link without Python, so it is tested from Python.
    let mut tests = cargo(&["test", "--no-fail-fast", "--workspace", "--exclude", "authority-nanos-python"]);
    with_vectors(&mut tests);
    if std::env::var_os(SEED.0).is_none() {
        println!("property tests start from {}={}", SEED.0, SEED.1);
        tests.env(SEED.0, SEED.1);
    }
    run(&mut tests)
}

/// Sets AK_VECTORS to the third-party vectors if they are beside the checkout and the variable is not set.
pub(crate) fn with_vectors(tests: &mut Command) {
    let vectors = root().join("../shared/vectors");
    if std::env::var_os("AK_VECTORS").is_none() && vectors.is_dir() {
        tests.env("AK_VECTORS", vectors);
    }
}

/// Checks types and runs the Python tests. The variables name the other forms of the kernel, so that the tests
/// cover them too.
fn python_tests() -> Result {
    python::build()?;
    run(python::python("mypy").args(["--strict", "--no-incremental", "bindings/python/python"]))?;
    run(&mut cargo(&["build", "--package", "ak-ffi"]))?;
    let mut tests = python::python("python");
    tests.args(["-m", "pytest", "-p", "no:cacheprovider", "bindings/python"]);
    tests.env("AK_BIN", ak::build()?);
    tests.env("AK_LIB", target_dir().join("debug/libak.so"));
    tests.env("AK_IMAGE", image::build()?);
    run(&mut tests)
}
