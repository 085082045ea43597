//! Measures how long the requests of one agent delay another.
//!
//! Each seed in `fuzz/seeds` runs beside a victim: another agent that creates, reads and deletes small objects
//! and measures its longest wait. If that is above [`WAIT_MAX`], the run is repeated, since other work on the
//! machine may be the cause; the shortest of the longest waits counts. A seed runs in a process of its own, for
//! at most [`RUN_MAX`].
//!
//! `--check` only reads the seeds and decodes their requests. Other arguments are parts of the names of seeds to run;
//! `--once` before them leaves out the repetitions. `--durable` runs seeds that are marked `durable` on a state
//! directory. Waits there also depend on the disk, so they are reported without a bound.

mod generate;
mod module;
mod run;
mod seed;
mod server;
mod victim;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use ak_host::ak_json::{Limits, Value};

use crate::seed::Seed;

/// The longest time that a request of the victim may wait.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// There must be at least this many seeds.
const SEEDS_MIN: usize = 60;
/// The most runs of a seed.
const RUNS: usize = 3;
/// A wait above this cannot come from other work on the machine, so the seed is not run again.
const SURE: Duration = Duration::from_millis(500);
/// The longest time that a run may take, setup included.
const RUN_MAX: Duration = Duration::from_secs(240);
/// At least this many of the worst seeds are listed.
const WORST: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", path, mode, directory] => one(path.as_ref(), *mode == "durable", directory.as_ref()),
        ["--check"] => check().map(|count| println!("{count} seeds, each request decodes")),
        ["--once", names @ ..] => measure("memory", names, 1),
        ["--durable", names @ ..] => measure("durable", names, 1),
        names => measure("memory", names, RUNS),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("stall: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds")
}

/// Reads every seed and decodes its requests.
fn check() -> Result<usize, String> {
    let paths = Seed::list(&directory())?;
    let faults: Vec<String> =
        paths.iter().filter_map(|path| Seed::read(path).and_then(|seed| seed.check()).err()).collect();
    if !faults.is_empty() {
        return Err(faults.join("\n       "));
    }
    if paths.len() < SEEDS_MIN {
        return Err(format!("{} seeds; there have to be {SEEDS_MIN}", paths.len()));
    }
    Ok(paths.len())
}

/// Runs one seed in this process.
fn one(path: &Path, is_durable: bool, directory: &Path) -> Result<(), String> {
    run::run(&Seed::read(path)?, is_durable, directory)
}

/// The result of one seed in one mode.
struct Row {
    name: String,
    fault: String,
    title: String,
    /// The shortest, over all runs, of the victim's longest wait in a run.
    wait: Duration,
    /// In that run: the CPU time of the attacker's thread for its most expensive request.
    cpu: Duration,
    /// In that run: the longest wait of the victim before the attack.
    alone: Duration,
    outcomes: String,
    notes: Vec<String>,
    /// Why the bound does not apply, if it does not.
    pause: Option<String>,
}

/// Runs the seeds whose names contain one of `names`, or all, in a mode, each at most `runs` times.
fn measure(mode: &str, names: &[&str], runs: usize) -> Result<(), String> {
    let paths = Seed::list(&directory())?;
    let count = paths.len();
    if count < SEEDS_MIN {
        return Err(format!("{count} seeds; there have to be {SEEDS_MIN}"));
    }
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for path in paths {
        let seed = Seed::read(&path)?;
        if !names.is_empty() && !names.iter().any(|name| seed.name.contains(name)) {
            continue;
        }
        if mode == "durable" && !seed.is_durable {
            continue;
        }
        match shortest(&path, &seed, mode, runs) {
            Ok(row) => {
                eprintln!("{:>10}  {}: {}", millis(row.wait), row.name, row.outcomes);
                rows.push(row);
            }
            Err(reason) => {
                eprintln!("    failed  {reason}");
                failed.push(reason);
            }
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.wait));
    let (paused, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.pause.is_some());
    let over = rows.iter().filter(|row| row.wait > WAIT_MAX).count();
    println!("\n{count} seeds, {} runs, {over} with a wait above {}\n", rows.len(), millis(WAIT_MAX));
    println!(
        "| seed | row | longest wait | CPU of one request | alone | outcomes |\n|---|---|---:|---:|---:|---|"
    );
    for row in rows.iter().take(over.max(WORST)) {
        let Row { name, fault, wait, cpu, alone, outcomes, .. } = row;
        let [wait, cpu, alone] = [wait, cpu, alone].map(|duration| millis(*duration));
        println!("| {name} | {fault} | {wait} | {cpu} | {alone} | {outcomes} |");
    }
    if !paused.is_empty() {
        println!("\nThe owner's own, for which the kernel stops:\n");
    }
    for row in &paused {
        let pause = row.pause.as_deref().unwrap_or_default();
        println!("- {} ({}): {}: {pause}", row.name, row.title, millis(row.wait));
    }
    let noted: Vec<&Row> = rows.iter().filter(|row| !row.notes.is_empty()).collect();
    if !noted.is_empty() {
        println!("\nNot as the seed has it:\n");
    }
    for row in noted {
        println!("- {} ({}): {}", row.name, row.title, row.notes.join("; "));
    }
    if over > 0 && mode == "memory" {
        failed.push(format!("{over} waits above {}", millis(WAIT_MAX)));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Runs a seed until the victim's wait is within the bound, at most `runs` times.
fn shortest(path: &Path, seed: &Seed, mode: &str, runs: usize) -> Result<Row, String> {
    let mut shortest: Option<Row> = None;
    for _ in 0..runs {
        let row = in_process(path, seed, mode)?;
        if shortest.as_ref().is_none_or(|shortest| row.wait < shortest.wait) {
            shortest = Some(row);
        }
        if shortest
            .as_ref()
            .is_some_and(|shortest| shortest.wait <= WAIT_MAX || shortest.wait > SURE || seed.pause.is_some())
        {
            break;
        }
    }
    shortest.ok_or_else(|| "nothing ran".into())
}

fn in_process(path: &Path, seed: &Seed, mode: &str) -> Result<Row, String> {
    let name = if mode == "durable" { format!("{} (durable)", seed.name) } else { seed.name.clone() };
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let directory = std::env::temp_dir().join(format!("ak-stall-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let mut process = Command::new(program)
        .arg("run")
        .args([path, mode.as_ref(), &directory])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let started = Instant::now();
    while process.try_wait().map_err(failed)?.is_none() {
        if started.elapsed() > RUN_MAX {
            process.kill().map_err(failed)?;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = process.wait_with_output().map_err(failed)?;
    fs::remove_dir_all(&directory).map_err(failed)?;
    let told = Value::parse(output.stdout.trim_ascii(), &Limits::default())
        .map_err(|_| format!("{name}: the run ended with {}", output.status))?;
    let micros = |name: &str| Duration::from_micros(told.get(name).and_then(Value::as_u64).unwrap_or(0));
    let outcomes = told.get("outcomes").and_then(Value::as_object);
    let outcomes = outcomes.into_iter().flat_map(|outcomes| outcomes.iter());
    let notes = told.get("notes").and_then(Value::as_array);
    let notes = notes.into_iter().flat_map(|notes| notes.iter());
    Ok(Row {
        name: name.clone(),
        fault: seed.row.clone(),
        title: seed.title.clone(),
        pause: seed.pause.clone(),
        wait: micros("wait_us"),
        cpu: micros("cpu_us"),
        alone: micros("alone_us"),
        outcomes: outcomes
            .map(|(name, times)| format!("{times} × {}", name.as_str()))
            .collect::<Vec<_>>()
            .join(", "),
        notes: notes.filter_map(|note| Some(note.as_str()?.to_owned())).collect(),
    })
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
