//! `cargo xtask peers schemas`: compares which calls public MCP servers accept with which the schemas of their
//! tools accept.
//!
//! The servers come from npm and PyPI and are installed into `target/peers`. A script starts them and records which
//! calls they accept; the test compares. Then the same is done for patterns, with Node as the peer.

use std::fs::{self, File};

use crate::run::{Result, cargo, command, root, run, target_dir};

const NPM: [&str; 4] = ["filesystem", "everything", "memory", "sequential-thinking"];
const PYPI: [&str; 4] = ["jsonschema", "mcp-server-fetch", "mcp-server-git", "mcp-server-time"];

/// Runs every server and Node, and then the tests that compare.
pub(crate) fn schemas() -> Result {
    let dir = target_dir().join("peers/mcp");
    fs::create_dir_all(&dir).map_err(|error| format!("cannot write {}: {error}", dir.display()))?;
    let dir = dir.canonicalize().map_err(|error| error.to_string())?;
    let (npm, python) = (dir.join("npm/node_modules/.bin"), dir.join("venv/bin"));
    if !npm.join("mcp-server-everything").exists() {
        println!("==> fetching MCP servers into {}", dir.display());
        let servers = NPM.map(|server| format!("@modelcontextprotocol/server-{server}"));
        let mut install = command("npm");
        install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(dir.join("npm"));
        run(install.args(servers))?;
    }
    if !python.join("mcp-server-time").exists() {
        run(command("python3").args(["-m", "venv"]).arg(dir.join("venv")))?;
        run(command(python.join("pip")).args(["install", "--quiet"]).args(PYPI))?;
    }
    let scratch = dir.join("scratch");
    // Removes the files of an earlier run, if there are any.
    let _ = fs::remove_dir_all(&scratch);
    let rows = dir.join("rows.json");
    let file = File::create(&rows).map_err(|error| format!("cannot write {}: {error}", rows.display()))?;
    let mut ask = command(python.join("python"));
    ask.arg(root().join("xtask/peers/schemas.py")).args([npm, python, scratch]);
    run(ask.stdout(file))?;
    let test = ["test", "--package", "ak-sandbox", "--test", "peers", "--", "--ignored", "--nocapture"];
    run(cargo(&test).env("AK_SCHEMA_PEERS", rows))?;

    let patterns = dir.join("patterns.json");
    let file =
        File::create(&patterns).map_err(|error| format!("cannot write {}: {error}", patterns.display()))?;
    run(command("node").arg(root().join("xtask/peers/patterns.js")).stdout(file))?;
    let test = ["test", "--package", "ak-json", "--test", "peers", "--", "--ignored", "--nocapture"];
    run(cargo(&test).env("AK_PATTERN_PEERS", patterns))
}
