//! The private Python environment in `target/venv`, with the package built into it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

use crate::run::{Result, command, need, root, run, target_dir};

/// The packages that build and test the Python package.
const REQUIREMENTS: [&str; 3] = ["maturin>=1.9.4,<2", "pytest>=8", "mypy>=1.11"];

/// A llama.cpp server with the OpenAI format, and the package that writes a model for it.
const LLM: [&str; 2] = ["llama-cpp-python[server]>=0.3", "gguf>=0.10"];

/// The Python packages that benches compare with.
const RIVALS: [&str; 2] = ["extism>=1.1,<2", "jsonpatch>=1.33"];

/// The files and directories that the package is built from.
const SOURCES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "crates", "bindings/python"];

/// The native module. The build puts it beside the package's Python files, which the environment refers to.
const MODULE: &str = "bindings/python/python/authority_nanos/_native.abi3.so";

/// A Python program of the environment: `python`, `pytest`, …
pub(crate) fn python(program: &str) -> Command {
    let mut command = command(environment().join("bin").join(program));
    command.env("VIRTUAL_ENV", environment()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Builds the package into the environment, which is made if it does not exist. Does nothing if the sources have not
/// changed since the last build.
pub(crate) fn build() -> Result {
    let stamp = environment().join("built-from");
    let sources = fingerprint().map_err(|error| format!("cannot read the sources: {error}"))?;
    if root().join(MODULE).exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == sources) {
        return Ok(());
    }
    if !environment().join("bin/maturin").exists() {
        make(&environment(), &REQUIREMENTS)?;
    }
    println!("==> building the Python package");
    run(python("maturin").args(["develop", "--manifest-path", "bindings/python/Cargo.toml"]))?;
    fs::write(&stamp, sources).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}

/// The Python of the environment with the rivals that benches measure. The environment is made if it does not exist.
pub(crate) fn rivals() -> Result<PathBuf> {
    other("venv-rivals", &RIVALS)
}

/// The Python of the environment with a model's server. The environment is made if it does not exist, which takes a
/// quarter of an hour.
pub(crate) fn llm() -> Result<PathBuf> {
    other("venv-llm", &LLM)
}

fn other(name: &str, requirements: &[&str]) -> Result<PathBuf> {
    let environment = target_dir().join(name);
    let (complete, wanted) = (environment.join("complete"), requirements.join("\n"));
    if fs::read_to_string(&complete).ok().as_ref() != Some(&wanted) {
        make(&environment, requirements)?;
        fs::write(complete, wanted).map_err(|error| format!("cannot write there: {error}"))?;
    }
    Ok(environment.join("bin/python"))
}

/// Makes an environment with these packages, and replaces one that exists.
fn make(environment: &Path, requirements: &[&str]) -> Result {
    need(|| python3(&["--version"]), "python3")?;
    need(|| python3(&["-c", "import ensurepip, venv"]), "python3-venv")?;
    println!("==> making a Python environment");
    run(python3(&["-m", "venv", "--clear"]).arg(environment))?;
    run(command(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(requirements))
}

/// The Python of the system.
fn python3(arguments: &[&str]) -> Command {
    let mut command = command("python3");
    command.args(arguments);
    command
}

fn environment() -> PathBuf {
    target_dir().join("venv")
}

/// A digest of names, sizes and modification times of the sources, by which a change of them is noticed.
fn fingerprint() -> io::Result<String> {
    let mut digest = DefaultHasher::new();
    for source in SOURCES {
        visit(&root().join(source), &mut digest)?;
    }
    Ok(format!("{:016x}", digest.finish()))
}

fn visit(path: &Path, digest: &mut DefaultHasher) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        let mut entries =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        // Leaves out the files that the build itself writes, hidden files, and tests.
        entries.retain(|entry| {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with('.') && name != "__pycache__" && !name.ends_with(".so") && name != "tests"
        });
        entries.sort();
        return entries.iter().try_for_each(|entry| visit(entry, digest));
    }
    path.hash(digest);
    metadata.len().hash(digest);
    metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().hash(digest);
    Ok(())
}
