//! What the product depends on: the licences, sources and versions of the dependencies, and whether the crates can be published.

use std::fs;

use crate::run::{Result, cargo, command, root, run, target_dir};

/// The version of cargo-deny that checks `deny.toml`.
const DENY_VERSION: &str = "0.20.2";

/// The crates that are published, each behind those that it depends on.
const PUBLISHED: [&str; 9] =
    ["ak-json", "ak-audit", "ak-heap", "ak-policy", "ak-sandbox", "ak-kernel", "ak-host", "ak-cli", "ak-ffi"];

/// Checks licences, bans and sources of the dependencies against `deny.toml`.
pub(crate) fn check() -> Result {
    deny(&["--locked", "check", "bans", "licenses", "sources"])
}

/// Checks whether a dependency has a known vulnerability, where the data of that can be downloaded.
pub(crate) fn advisories() -> Result {
    match deny(&["fetch", "db"]) {
        Ok(()) => deny(&["check", "advisories"]),
        Err(error) => {
            println!("skipped: the advisories cannot be downloaded ({error})");
            Ok(())
        }
    }
}

/// Packages the crates, and builds the packages: each stands on the packages of those that it depends on, and has nothing of
/// the repository beside it.
///
/// `cargo package` alone would verify them against copies of an earlier run, which cargo keeps by name and version.
pub(crate) fn package() -> Result {
    let packages = PUBLISHED.iter().flat_map(|name| ["--package", name]);
    run(cargo(&["package", "--allow-dirty", "--no-verify", "--quiet"]).args(packages))?;
    let unpacked = target_dir().join("package/unpacked");
    let failed = |error: std::io::Error| format!("{}: {error}", unpacked.display());
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).map_err(failed)?;
    }
    fs::create_dir_all(&unpacked).map_err(failed)?;
    let (mut members, mut patches) = (String::new(), String::new());
    for name in PUBLISHED {
        let directory = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let archive = target_dir().join(format!("package/{directory}.crate"));
        // `-m`: cargo tells by their times which files changed, and those in packages are constant.
        run(command("tar").arg("-xzmf").arg(&archive).arg("-C").arg(&unpacked))?;
        members += &format!("{directory:?}, ");
        patches += &format!("{name} = {{ path = {directory:?} }}\n");
    }
    let workspace =
        format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n[patch.crates-io]\n{patches}");
    fs::write(unpacked.join("Cargo.toml"), workspace).map_err(failed)?;
    fs::copy(root().join("Cargo.lock"), unpacked.join("Cargo.lock")).map_err(failed)?;
    let target = target_dir().join("package/target");
    run(cargo(&["check", "--quiet", "--workspace"]).current_dir(&unpacked).env("CARGO_TARGET_DIR", target))
}

/// Runs cargo-deny, which is built if it is not there: its own dependencies change nothing of ours.
fn deny(arguments: &[&str]) -> Result {
    let tools = target_dir().join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        println!("==> building cargo-deny");
        let install = ["install", "cargo-deny", "--locked", "--debug", "--quiet", "--version", DENY_VERSION];
        run(cargo(&install).arg("--root").arg(&tools))?;
    }
    run(command(program).args(arguments))
}
