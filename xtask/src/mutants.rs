//! `cargo xtask mutants gate`: takes each charge and each check of the gate away in turn, and says which the tests notice.
//!
//! All mutants are built once, in a copy of the workspace in `target/mutants`: each text of the table stands there beside its
//! replacement, and the number in `AK_MUTANT` chooses one. A text that is not found fails the run, so the table cannot rot.

mod gate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::run::{Result, cargo, command, root, target_dir};

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
    ["gate", "capabilities", "sessions", "admission", "host_calls", "guarantees", "heap", "erasure"];

/// How long the tests of one mutant may take: one that never ends is noticed.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Which mutant is on, by its number in the table.
const CHOSEN: &str = "AK_MUTANT";

/// Stands at the end of the copy's `lib.rs`. Warnings are of no interest there: the replacements leave much unused.
const SWITCH: &str = r#"
extern crate std;
pub(crate) fn mutant(number: usize) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("AK_MUTANT").ok()?.parse().ok()) == Some(number)
}
"#;

/// How many mutants are tested at a time.
const AT_ONCE: usize = 2;

/// Runs the mutants of the gate; with a part of what a mutant removes, only those.
pub(crate) fn gate(only: Option<&str>) -> Result {
    let table = gate::MUTANTS;
    let copy = target_dir().join("mutants");
    let absent = prepare(&copy, table)?;
    println!("==> building {} mutants", table.len());
    let tests = build(&copy)?;
    println!("==> the tests without any mutant");
    if is_noticed(&tests, None)? {
        return Err("the tests fail without any mutant".to_owned());
    }
    for number in &absent {
        if let Some(Mutant { file, source, .. }) = table.get(*number) {
            println!("NOT FOUND {number:>3} {file}: {source:?}");
        }
    }
    let wanted = |mutant: &Mutant| only.is_none_or(|only| mutant.removes.contains(only));
    let queue =
        table.iter().enumerate().filter(|(number, mutant)| !absent.contains(number) && wanted(mutant));
    let queue = Mutex::new(queue);
    let (killed, survived, stuck) = (AtomicUsize::new(0), AtomicUsize::new(absent.len()), Mutex::new(None));
    let work = || loop {
        let next = queue.lock().ok().and_then(|mut queue| queue.next());
        let Some((number, Mutant { file, removes, .. })) = next else { break };
        let started = Instant::now();
        let (verdict, count) = match is_noticed(&tests, Some(number)) {
            Ok(true) => ("killed  ", &killed),
            Ok(false) => ("SURVIVED", &survived),
            Err(error) => {
                if let Ok(mut stuck) = stuck.lock() {
                    stuck.get_or_insert(error);
                }
                break;
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        println!("{verdict} {number:>3} {:>5.1} s  {file}: {removes}", started.elapsed().as_secs_f64());
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    if let Some(error) = stuck.into_inner().unwrap_or_default() {
        return Err(error);
    }
    let (passed, failed) = (killed.into_inner(), survived.into_inner());
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(format!("{failed} mutants of the gate survive or are not found")) }
}

/// Builds the copy's tests; gives their programs.
fn build(copy: &Path) -> Result<Vec<PathBuf>> {
    let mut build =
        cargo(&["test", "--no-run", "--message-format=json-render-diagnostics", "--package", "ak-kernel"]);
    build.current_dir(copy).args(TESTS.iter().flat_map(|test| ["--test", test]));
    // A directory of its own: the copy's crates have the names of the workspace's.
    build.env("CARGO_TARGET_DIR", copy.join("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
    let output = build.output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the mutants cannot be built:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let programs = told.lines().filter_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'));
    let programs: Vec<PathBuf> = programs.map(|(program, _)| PathBuf::from(program)).collect();
    let at = |program: &PathBuf| {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        TESTS.iter().position(|test| name.rsplit_once('-').is_some_and(|(stem, _)| stem == *test))
    };
    let mut programs: Vec<(Option<usize>, PathBuf)> =
        programs.into_iter().map(|program| (at(&program), program)).collect();
    programs.sort();
    if programs.len() != TESTS.len() {
        return Err(format!("expected {} programs of tests, found {}", TESTS.len(), programs.len()));
    }
    Ok(programs.into_iter().map(|(_, program)| program).collect())
}

/// Whether a test fails, or takes too long.
fn is_noticed(tests: &[PathBuf], mutant: Option<usize>) -> Result<bool> {
    let started = Instant::now();
    for test in tests {
        let mut test = command(test);
        test.current_dir(root().join("crates/ak-kernel")).stdout(Stdio::null()).stderr(Stdio::null());
        test.env("PROPTEST_CASES", "16")
            .env("PROPTEST_RNG_SEED", "20261123")
            .env("PROPTEST_FAILURE_PERSISTENCE", "off");
        test.env("RUST_BACKTRACE", "0");
        test.env_remove(CHOSEN).envs(mutant.map(|number| (CHOSEN, number.to_string())));
        let mut child = test.spawn().map_err(|error| format!("cannot run a test: {error}"))?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(Some(_)) => return Ok(true),
                Ok(None) if started.elapsed() < TIME_MAX => thread::sleep(Duration::from_millis(20)),
                Ok(None) | Err(_) => {
                    child.kill().map_err(|error| format!("cannot end a test: {error}"))?;
                    let _ended = child.wait();
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
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
