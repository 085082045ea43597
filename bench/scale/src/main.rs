//! Measures costs that grow with the log: how long opening takes, how long others wait, how much memory is held.
//!
//! `cargo xtask bench scale` runs every case; arguments are the names of cases: `reopen`, `waits`, `memory`. `AK_SCALE`
//! is the number of entries, objects and calls; the default is 1,000,000. Each case runs in a process of its own, in a
//! directory that is removed afterwards, and prints a row for each number with its bound.

mod memory;
mod reopen;
mod waits;

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use ak_host::{
    Connection, Options,
    ak_json::object,
    ak_kernel::{HeapRequest, Reply, Request, ak_heap::Content},
};

/// The result of a case; an error says why it failed.
type Result = std::result::Result<(), String>;

const CASES: [(&str, fn(&Scale) -> Result); 3] =
    [("reopen", reopen::run), ("waits", waits::run), ("memory", memory::run)];

/// The number of entries, objects and calls of a case, and its directory.
pub(crate) struct Scale {
    pub(crate) count: u64,
    pub(crate) directory: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [run, case, directory] if run == "run" => one(case, directory.as_ref()),
        names => all(names),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("scale: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn all(names: &[String]) -> Result {
    println!("| case | number | measured | bound |\n|---|---|---|---|");
    let mut missed = Vec::new();
    for (case, _) in
        CASES.iter().filter(|(case, _)| names.is_empty() || names.iter().any(|name| name == case))
    {
        let directory = std::env::temp_dir().join(format!("ak-scale-{case}-{}", std::process::id()));
        let program = std::env::current_exe().map_err(told)?;
        let status = Command::new(program).args(["run", case]).arg(&directory).status().map_err(told);
        let _ = std::fs::remove_dir_all(&directory);
        if !status?.success() {
            missed.push(*case);
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join(", "))) }
}

fn one(case: &str, directory: &Path) -> Result {
    let count = std::env::var("AK_SCALE").map_or(Ok(1_000_000), |text| text.parse()).map_err(told)?;
    let (_, run) = CASES.iter().find(|(name, _)| *name == case).ok_or("there is no such case")?;
    run(&Scale { count, directory: directory.to_owned() })
}

pub(crate) fn told(error: impl Display) -> String {
    error.to_string()
}

/// Prints a row, and returns whether the bound holds.
pub(crate) fn row(case: &str, what: &str, measured: f64, bound: Option<f64>, unit: &str) -> bool {
    let bound_told = bound.map_or(String::from("-"), |bound| format!("{bound} {unit}"));
    let holds = bound.is_none_or(|bound| measured <= bound);
    let mark = if holds { "" } else { " **missed**" };
    println!("| {case} | {what} | {measured:.1} {unit}{mark} | {bound_told} |");
    holds
}

pub(crate) fn hold(bounds: &[bool]) -> Result {
    if bounds.iter().all(|holds| *holds) { Ok(()) } else { Err("a bound was missed".into()) }
}

pub(crate) fn open(directory: Option<&Path>) -> std::result::Result<Connection, String> {
    Connection::open(&Options { state_dir: directory.map(Path::to_owned), ..Options::default() })
        .map_err(told)
}

pub(crate) fn note(number: u64, subject: Option<&str>) -> Request {
    let content =
        Content::Json(object! { "n": number, "text": "as long as an object of an agent usually is" });
    Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: subject.map(Into::into) })
}

/// Allocates, reads and deletes an object, which adds three entries to the log.
pub(crate) fn round(kernel: &Connection, number: u64) -> Result {
    let Reply::Handle(handle) = kernel.call(note(number, None)).map_err(told)? else {
        return Err("no handle".into());
    };
    kernel.call(Request::Heap(HeapRequest::Read { handle, version: None })).map_err(told)?;
    kernel.call(Request::Heap(HeapRequest::Delete { handle, expected_version: None })).map_err(told)?;
    Ok(())
}

pub(crate) fn seconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64()
}

/// The resident memory of this process in MB: now, and its peak since [`forget_peak`].
pub(crate) fn resident_mb() -> std::result::Result<(f64, f64), String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(told)?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1000.0)
    };
    Ok((field("VmRSS:").ok_or("no VmRSS")?, field("VmHWM:").ok_or("no VmHWM")?))
}

/// Returns free memory to the system, so that later allocations show in the resident memory.
pub(crate) fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: glibc's function takes its own locks and does not touch memory in use.
    unsafe { malloc_trim(0) };
}

/// Resets the peak of the resident memory.
pub(crate) fn forget_peak() -> Result {
    std::fs::write("/proc/self/clear_refs", "5").map_err(told)
}
