//! Reads a policy, tells what is suspicious about it, and checks it against a file of expected decisions.
//!
//! `cargo run --example audit_policy -- POLICY.toml [EXPECTED.toml]`

use std::path::Path;
use std::process::ExitCode;

use ak_policy::{Included, Loader, Policy};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (policy, cases) = match args.as_slice() {
        [policy] => (policy, None),
        [policy, cases] => (policy, Some(cases)),
        _ => {
            eprintln!("usage: audit_policy POLICY.toml [EXPECTED.toml]");
            return ExitCode::from(2);
        }
    };
    match audit(policy, cases.map(String::as_str)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives whether every decision was as expected.
fn audit(path: &str, cases: Option<&str>) -> Result<bool, Box<dyn std::error::Error>> {
    let file = Files.load(path, None)?;
    let policy = Policy::parse_with(&file.text, file.base_dir.as_deref(), &Files)
        .map_err(|error| format!("{path}: {error}"))?;
    println!("{path}: digest {}", policy.digest());
    for remark in policy.lint() {
        println!("  {remark}");
    }
    for (dimension, limit) in policy.budget_limits("main") {
        println!("  {dimension}: at most {limit}");
    }
    let Some(cases) = cases else { return Ok(true) };
    let report =
        policy.test(&std::fs::read_to_string(cases)?).map_err(|error| format!("{cases}: {error}"))?;
    for failure in &report.failed {
        println!("  case '{}': expected {}, found {}", failure.name, failure.expected, failure.found);
    }
    println!("  {} decisions as expected, {} not", report.passed, report.failed.len());
    Ok(report.failed.is_empty())
}

/// Profiles are files; `./` is the directory of the text that includes them.
struct Files;

impl Loader for Files {
    fn load(&self, name: &str, base_dir: Option<&str>) -> Result<Included, String> {
        let path = Path::new(base_dir.unwrap_or(".")).join(name);
        let read = || {
            let path = path.canonicalize()?;
            let base_dir = path.parent().and_then(Path::to_str).map(String::from);
            Ok(Included {
                text: std::fs::read_to_string(&path)?,
                base_dir,
                identity: path.display().to_string(),
            })
        };
        read().map_err(|error: std::io::Error| error.to_string())
    }
}
