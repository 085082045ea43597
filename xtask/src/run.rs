//! Running other programs, and finding or installing them.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The result of a command; an error is a text for the terminal.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The directory that cargo builds into.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// A command that runs a program at the root of the repository, without standard input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// A command that runs the cargo that `cargo xtask` was called with.
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

/// The command line, without the path of the program.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Whether a program can be run and ends with success.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Makes sure that a program can be run: if it cannot, its Debian package is installed. If that fails too, the error
/// names the package.
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
