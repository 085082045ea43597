//! `cargo xtask image`: the kernel on bare metal, in QEMU.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    ak, python,
    run::{Result, cargo, command, need, run, target_dir},
};

const QEMU: &str = "qemu-system-x86_64";
/// QEMU's exit code if no entry of the journal is invalid.
const SUCCESS: i32 = 33;

/// Builds the image, boots it on a journal, and compares its output with that of `ak replay` on this host. Without
/// a journal, it records one: the scripted session of the Python tests.
pub(crate) fn image(journal: Option<&Path>) -> Result {
    let image = build()?;
    let ak = ak::build()?;
    need(qemu_version, "qemu-system-x86")?;
    let recorded = target_dir().join("session.journal");
    let mut replay = command(ak);
    replay.args(["replay", "--replies", "--rerun-tools"]);
    let journal = match journal {
        Some(journal) => {
            replay.arg(journal);
            journal
        }
        None => {
            replay.arg("--export").arg(&recorded).arg(record()?);
            &recorded
        }
    };
    let host = output(&mut replay, 0)?;
    let metal = output(&mut boot(&image, journal), SUCCESS)?.replace("\r\n", "\n");
    print!("{metal}");
    if metal == host { Ok(()) } else { Err(format!("bare metal and host differ; the host says:\n{host}")) }
}

/// Builds the image and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--package", "ak-image", "--profile", "kernel", "--features", "boot"]))?;
    Ok(target_dir().join("kernel/ak-image"))
}

/// Records the scripted session and returns its state directory.
fn record() -> Result<PathBuf> {
    python::build()?;
    let state = target_dir().join("session");
    if state.exists() {
        fs::remove_dir_all(&state).map_err(|error| format!("cannot remove {}: {error}", state.display()))?;
    }
    run(python::python("python").arg("bindings/python/tests/session.py").arg(&state))?;
    Ok(state)
}

fn qemu_version() -> Command {
    let mut qemu = command(QEMU);
    qemu.arg("--version");
    qemu
}

fn boot(image: &Path, journal: &Path) -> Command {
    let mut qemu = command(QEMU);
    qemu.args(["-M", "microvm,acpi=off", "-accel", "tcg", "-cpu", "max", "-m", "512"]);
    qemu.args(["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]);
    qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    qemu.arg("-kernel").arg(image).arg("-initrd").arg(journal);
    qemu
}

/// Runs a program and returns what it prints. It is an error if the program does not end with this status.
fn output(command: &mut Command, status: i32) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| format!("cannot run {name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() == Some(status) {
        return Ok(text);
    }
    Err(format!("{name} ended with {}:\n{text}", output.status))
}
