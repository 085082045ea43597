//! The five examples of the Python package, on a kernel of their own or on a daemon.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    ak::{self, Daemon},
    python::{self, python},
    run::{Result, root, run},
};

/// Runs the examples, each with an embedded kernel.
pub(crate) fn embedded() -> Result {
    python::build()?;
    for example in examples()? {
        run(&mut program(&example))?;
    }
    Ok(())
}

/// Runs the examples, each as the owner of a fresh daemon.
pub(crate) fn over_a_socket() -> Result {
    python::build()?;
    ak::build()?;
    for example in examples()? {
        let daemon = Daemon::start()?;
        let url = format!("unix://{}", daemon.socket().display());
        run(program(&example).env("AK_URL", url).env("AK_TOKEN_FILE", daemon.token()))?;
    }
    Ok(())
}

/// The command for one example, without the caller's AK_… settings.
fn program(example: &Path) -> Command {
    println!("\n--- {}", example.strip_prefix(root()).unwrap_or(example).display());
    let mut command = python("python");
    for name in ["AK_URL", "AK_TOKEN_FILE", "AK_STATE_DIR", "AK_POLICY"] {
        command.env_remove(name);
    }
    command.arg(example);
    command
}

/// The examples in the order of their numbers.
fn examples() -> Result<Vec<PathBuf>> {
    let directory = root().join("examples");
    let listing =
        fs::read_dir(&directory).map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let is_example = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".py")
    };
    let mut paths: Vec<PathBuf> =
        listing.filter_map(|entry| Some(entry.ok()?.path())).filter(is_example).collect();
    paths.sort();
    Ok(paths)
}
