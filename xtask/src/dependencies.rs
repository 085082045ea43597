//! What the product depends on: the licences, sources and versions of the dependencies, and whether the crates can be published.

use crate::run::{Result, cargo, command, run, target_dir};

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

/// Packages the crates, each with those that it depends on as packages, and builds each from its package.
pub(crate) fn package() -> Result {
    let packages = PUBLISHED.iter().flat_map(|name| ["--package", name]);
    run(cargo(&["package", "--allow-dirty", "--quiet"]).args(packages))
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
