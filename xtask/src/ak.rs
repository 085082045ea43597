//! The program `ak`: building it, and running `ak serve` while a stage needs a daemon.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use crate::run::{Result, cargo, command, run, target_dir};

/// How long to wait for the daemon to listen.
const DAEMON_WAIT: Duration = Duration::from_secs(10);

/// Builds `ak` and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--package", "ak-cli"]))?;
    Ok(target_dir().join("debug/ak"))
}

/// `ak serve` in a directory of its own. Dropping this ends the process and removes the directory.
pub(crate) struct Daemon {
    directory: PathBuf,
    process: Child,
}

impl Daemon {
    pub(crate) fn start() -> Result<Daemon> {
        let directory = std::env::temp_dir().join(format!("ak-xtask-{}", std::process::id()));
        fs::create_dir_all(&directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let mut serve = command(target_dir().join("debug/ak"));
        serve.arg("serve").arg("--socket").arg(directory.join("ak.sock"));
        serve.arg("--token-file").arg(directory.join("token"));
        let process = serve.spawn().map_err(|error| format!("cannot run ak serve: {error}"))?;
        let daemon = Daemon { directory, process };
        let started = Instant::now();
        while UnixStream::connect(daemon.socket()).is_err() {
            if started.elapsed() > DAEMON_WAIT {
                return Err("ak serve does not listen".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("ak.sock")
    }

    /// The file with the owner's token.
    pub(crate) fn token(&self) -> PathBuf {
        self.directory.join("token")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process may have ended by itself, so errors do not matter.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
