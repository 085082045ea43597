//! `cargo xtask mutants gate`: removes each charge and each check of the gate in turn, and reports which removals no
//! test notices.
//!
//! All mutants are built once, in a copy of the workspace in `target/mutants`: the copy contains each source text of
//! the table beside its replacement, and the number in `AK_MUTANT` selects one replacement. If a text does not occur in
//! its file as often as expected, the run fails, and so does `cargo test -p xtask`, so the table cannot become stale.

mod gate;
mod instrument;

use std::{
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

use self::instrument::{Mutant, instrumented};
use crate::run::{Result, cargo, command, root, target_dir};

/// The integration tests of `ak-kernel` of which one must fail for each mutant.
const TESTS: [&str; 9] =
    ["gate", "capabilities", "sessions", "admission", "host_calls", "guarantees", "heap", "erasure", "files"];

/// How long the tests of one mutant may take. A mutant whose tests take longer counts as noticed.
const TIME_MAX: Duration = Duration::from_secs(120);

/// The environment variable with the number, in the table, of the mutant that is switched on.
const CHOSEN: &str = "AK_MUTANT";

/// The root file of the crate that has the mutants.
const SWITCH_FILE: &str = "crates/ak-kernel/src/lib.rs";

/// The text that is appended to the root file of the copy. It decides at run time whether a mutant is switched on.
/// Replacements leave code unused, so warnings of the copy do not matter.
const SWITCH: &str = r#"
extern crate std;
pub(crate) fn mutant(number: usize) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("AK_MUTANT").ok()?.parse().ok()) == Some(number)
}
"#;

/// How many mutants are tested at the same time.
const AT_ONCE: usize = 2;

/// Runs the mutants of the gate. With `only`, runs those whose description contains it.
pub(crate) fn gate(only: Option<&str>) -> Result {
    let table = gate::MUTANTS;
    let copy = target_dir().join("mutants");
    prepare(&copy, table)?;
    println!("==> building {} mutants", table.len());
    let tests = build(&copy)?;
    println!("==> the tests without any mutant");
    if is_noticed(&tests, None)? {
        return Err("the tests fail without any mutant".to_owned());
    }
    let wanted = |mutant: &Mutant| only.is_none_or(|only| mutant.removes.contains(only));
    let queue = Mutex::new(table.iter().enumerate().filter(|(_, mutant)| wanted(mutant)));
    let (killed, survived, stuck) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
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
    if failed == 0 { Ok(()) } else { Err(format!("{failed} mutants of the gate survive")) }
}

/// Builds the tests of the copy and returns their programs, in the order of [`TESTS`].
fn build(copy: &Path) -> Result<Vec<PathBuf>> {
    let mut build =
        cargo(&["test", "--no-run", "--message-format=json-render-diagnostics", "--package", "ak-kernel"]);
    build.current_dir(copy).args(TESTS.iter().flat_map(|test| ["--test", test]));
    // The crates of the copy have the same names as those of the workspace, so the copy needs a target
    // directory of its own.
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

/// Whether a test fails with this mutant, or the tests take longer than [`TIME_MAX`].
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

/// Copies the files of the workspace that git does not ignore, with the mutants in them.
fn prepare(copy: &Path, table: &[Mutant]) -> Result {
    let listed =
        command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output();
    let listed = listed.map_err(|error| format!("cannot run git: {error}"))?;
    let failed = |error: std::io::Error| format!("cannot copy the workspace: {error}");
    let mutated = instrumented(table)?;
    for path in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|path| !path.is_empty()) {
        let Ok(mut bytes) = fs::read(root().join(path)) else { continue };
        if let Some(text) = mutated.get(path) {
            bytes = text.clone().into_bytes();
        }
        if path == SWITCH_FILE {
            bytes.extend_from_slice(SWITCH.as_bytes());
        }
        let to = copy.join(path);
        // An unchanged file is not written, so that cargo does not build it again.
        if fs::read(&to).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(to.parent().unwrap_or(copy)).map_err(failed)?;
            fs::write(&to, bytes).map_err(failed)?;
        }
    }
    Ok(())
}
