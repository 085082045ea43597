//! `cargo xtask mutants gate`: takes each charge and each check of the gate away in turn, and says which the tests notice.
//!
//! All mutants are built once, in a copy of the workspace in `target/mutants`: each text of the table stands there beside its
//! replacement, and the number in `AK_MUTANT` chooses one. A text that is not found fails the run, so the table cannot rot.

mod gate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::run::{Result, cargo, command, root, run, target_dir};

/// One check or charge, and what stands in its place.
struct Mutant {
    /// The file below `crates/ak-kernel/src`.
    file: &'static str,
    /// Its exact text: a statement with its semicolon or block, or an expression.
    source: &'static str,
    /// Which occurrence of the text, from 0; the last where the text stands there once.
    which: usize,
    replacement: &'static str,
    /// What is taken away.
    removes: &'static str,
}

/// A mutant whose text stands in the file once.
const fn mutant(
    file: &'static str,
    source: &'static str,
    replacement: &'static str,
    removes: &'static str,
) -> Mutant {
    Mutant { file, source, which: 0, replacement, removes }
}

/// One whose text stands there several times.
const fn nth(
    file: &'static str,
    (source, which): (&'static str, usize),
    replacement: &'static str,
    removes: &'static str,
) -> Mutant {
    Mutant { file, source, which, replacement, removes }
}

/// The tests that are to notice: all are of `ak-kernel`.
const TESTS: [&str; 8] =
    ["gate", "capabilities", "sessions", "admission", "host_calls", "theorems", "heap", "erasure"];

/// How long the tests of one mutant may take: one that never ends is noticed.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Which mutant is on, by its number in the table.
const CHOSEN: &str = "AK_MUTANT";

/// Stands at the end of the copy's `lib.rs`.
const SWITCH: &str = r#"
extern crate std;
pub(crate) fn mutant(number: usize) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("AK_MUTANT").ok()?.parse().ok()) == Some(number)
}
"#;

/// Runs the mutants of the gate; with a part of what a mutant removes, only those.
pub(crate) fn gate(only: Option<&str>) -> Result {
    let table = gate::MUTANTS;
    let copy = target_dir().join("mutants");
    let absent = prepare(&copy, table)?;
    println!("==> building {} mutants", table.len());
    run(tests(&copy).arg("--no-run"))?;
    println!("==> the tests without any mutant");
    run(&mut tests(&copy))?;
    let (mut passed, mut failed) = (0, absent.len());
    for number in &absent {
        if let Some(Mutant { file, source, .. }) = table.get(*number) {
            println!("NOT FOUND {number:>3} {file}: {source:?}");
        }
    }
    for (number, mutant) in table.iter().enumerate().filter(|(number, _)| !absent.contains(number)) {
        if only.is_some_and(|only| !mutant.removes.contains(only)) {
            continue;
        }
        let started = Instant::now();
        let killed = is_killed(&copy, number)?;
        let verdict = if killed { "killed  " } else { "SURVIVED" };
        println!(
            "{verdict} {number:>3} {:>5.1} s  {}: {}",
            started.elapsed().as_secs_f64(),
            mutant.file,
            mutant.removes
        );
        if killed {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(format!("{failed} mutants of the gate survive or are not found")) }
}

fn tests(copy: &PathBuf) -> std::process::Command {
    let mut tests = cargo(&["test", "--quiet", "--package", "ak-kernel"]);
    tests.current_dir(copy).args(TESTS.iter().flat_map(|test| ["--test", test]));
    tests
        .env("CARGO_TARGET_DIR", target_dir())
        .env("PROPTEST_CASES", "16")
        .env("PROPTEST_RNG_SEED", "20261123");
    // The replacements leave much unused.
    tests.env("RUSTFLAGS", "--cap-lints=warn -Awarnings");
    tests
}

/// Whether the tests notice a mutant.
fn is_killed(copy: &PathBuf, number: usize) -> Result<bool> {
    let mut tests = tests(copy);
    tests.env(CHOSEN, number.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child: Child = tests.spawn().map_err(|error| format!("cannot run cargo: {error}"))?;
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(!status.success()),
            Ok(None) if started.elapsed() < TIME_MAX => thread::sleep(Duration::from_millis(50)),
            Ok(None) | Err(_) => {
                child.kill().map_err(|error| format!("cannot end the tests of mutant {number}: {error}"))?;
                let _ended = child.wait();
                return Ok(true);
            }
        }
    }
}

/// Copies what git knows of the workspace, with the mutants in it. Gives those whose text is not there.
fn prepare(copy: &Path, table: &[Mutant]) -> Result<BTreeSet<usize>> {
    let listed =
        command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output();
    let listed = listed.map_err(|error| format!("cannot run git: {error}"))?;
    let failed = |error: std::io::Error| format!("cannot copy the workspace: {error}");
    let mut mutated = BTreeMap::new();
    let mut absent = BTreeSet::new();
    for file in table.iter().map(|mutant| mutant.file).collect::<BTreeSet<_>>() {
        let path = format!("crates/ak-kernel/src/{file}");
        let text = fs::read_to_string(root().join(&path)).map_err(|error| format!("{path}: {error}"))?;
        mutated.insert(path, with_mutants(&text, file, table, &mut absent)?);
    }
    for path in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|path| !path.is_empty()) {
        let Ok(mut bytes) = fs::read(root().join(path)) else { continue };
        if let Some(text) = mutated.get(path) {
            bytes = text.clone().into_bytes();
        }
        if path == "crates/ak-kernel/src/lib.rs" {
            bytes.extend_from_slice(SWITCH.as_bytes());
        }
        let to = copy.join(path);
        // What is as it was is not built again.
        if fs::read(&to).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(to.parent().unwrap_or(copy)).map_err(failed)?;
            fs::write(&to, bytes).map_err(failed)?;
        }
    }
    Ok(absent)
}

/// A file with all of its mutants, each behind its number.
fn with_mutants(text: &str, file: &str, table: &[Mutant], absent: &mut BTreeSet<usize>) -> Result<String> {
    let mut places = BTreeMap::new();
    for (number, mutant) in table.iter().enumerate().filter(|(_, mutant)| mutant.file == file) {
        match text.match_indices(mutant.source).nth(mutant.which) {
            Some((at, _)) => {
                if let Some((other, _)) = places.insert(at, (number, mutant)) {
                    return Err(format!("mutants {other} and {number} have one place in {file}"));
                }
            }
            None => {
                absent.insert(number);
            }
        }
    }
    let (mut out, mut from) = (String::new(), 0);
    for (at, (number, Mutant { source, replacement, .. })) in places {
        let between =
            text.get(from..at).ok_or_else(|| format!("mutant {number} overlaps another one in {file}"))?;
        let chosen = format!("if crate::mutant({number}) {{ {replacement} }} else {{ {source} }}");
        out.push_str(between);
        out.push_str(&if source.ends_with([';', '}']) { chosen } else { format!("({chosen})") });
        from = at + source.len();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Ok(out)
}
