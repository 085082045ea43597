//! The five examples of the Python package, on a kernel of their own or on a daemon.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use crate::{
    python::python,
    run::{Result, cargo, command, root, run, target_dir},
};

/// How long the daemon may take until it listens.
const DAEMON_WAIT: Duration = Duration::from_secs(10);

/// Runs the examples, each with an embedded kernel.
pub(crate) fn embedded() -> Result {
    all(|example| {
        for name in ["AK_URL", "AK_TOKEN_FILE", "AK_STATE_DIR", "AK_POLICY"] {
            example.env_remove(name);
        }
    })
}

/// Runs the examples, each with a fresh daemon's kernel, as the owner.
pub(crate) fn over_a_socket() -> Result {
    run(&mut cargo(&["build", "--package", "ak-cli"]))?;
    for example in paths()? {
        let daemon = Daemon::start()?;
        one(&example, |command| {
            command.env("AK_URL", format!("unix://{}", daemon.socket().display())).env("AK_TOKEN_FILE", daemon.token());
        })?;
    }
    Ok(())
}

fn all(prepare: impl Fn(&mut Command)) -> Result {
    paths()?.iter().try_for_each(|example| one(example, &prepare))
}

fn one(example: &Path, prepare: impl Fn(&mut Command)) -> Result {
    println!("\n--- {}", example.strip_prefix(root()).unwrap_or(example).display());
    let mut command = python("python");
    prepare(command.arg(example));
    run(&mut command)
}

/// The examples in the order of their numbers.
fn paths() -> Result<Vec<PathBuf>> {
    let examples = root().join("examples");
    let listing = fs::read_dir(&examples).map_err(|error| format!("cannot read {}: {error}", examples.display()))?;
    let is_example = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".py")
    };
    let mut paths: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).filter(is_example).collect();
    paths.sort();
    Ok(paths)
}

/// `ak serve` in a directory of its own; both end with this value.
struct Daemon {
    directory: PathBuf,
    process: Child,
}

impl Daemon {
    fn start() -> Result<Daemon> {
        let directory = std::env::temp_dir().join(format!("ak-xtask-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let socket = directory.join("ak.sock");
        let mut serve = command(target_dir().join("debug/ak"));
        serve.arg("serve").arg("--socket").arg(&socket).arg("--token-file").arg(directory.join("token"));
        let process = serve.spawn().map_err(|error| format!("cannot run ak serve: {error}"))?;
        let daemon = Daemon { directory, process };
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if started.elapsed() > DAEMON_WAIT {
                return Err("ak serve does not listen".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("ak.sock")
    }

    fn token(&self) -> PathBuf {
        self.directory.join("token")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, and its directory with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
