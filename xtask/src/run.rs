//! Running other programs, and finding or installing them.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What went wrong, in one line for the terminal.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// A program, to be run at the root, without standard input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// This cargo, as `cargo xtask` was called with.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs a program to its end; its output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} failed: {status}", line(command))),
        Err(error) => Err(format!("cannot run {name}: {error}")),
    }
}

/// The command as one would type it, without the path of the program.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Whether a program is there and answers.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Sees to it that a program is there: where it does not answer, its Debian package is installed, or named.
pub(crate) fn need(mut probe: impl FnMut() -> Command, package: &str) -> Result {
    if answers(&mut probe()) {
        return Ok(());
    }
    println!("==> installing {package}");
    let apt = |arguments: &[&str]| {
        answers(command("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    if apt(&["update"])
        && apt(&["install", "-y", "--no-install-recommends", package])
        && answers(&mut probe())
    {
        return Ok(());
    }
    Err(format!(
        "{package} is missing and could not be installed: please run `sudo apt-get install {package}`"
    ))
}
