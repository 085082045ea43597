//! Developer commands: `cargo xtask COMMAND`. Each command installs what it needs, and names what it cannot install.
//!
//! - `demo`: builds the Python package into a private environment and runs the five examples
//! - `test [--llm]`: all checks and tests; with `--llm` only model calls, against a real server
//! - `glossary [--fix]`: checks `docs/glossary.md` against the types that the crates export; with `--fix` it corrects files
//! - `imports`: checks the imports of every crate against the directions that it states
//! - `dependencies`: checks the dependencies against `deny.toml`
//! - `packages`: packages the crates, and builds each from its package
//! - `image [JOURNAL]`: builds the bare-metal image and boots it in QEMU
//! - `fuzz [NAME [SECONDS]]`: fuzzes one target, or each in turn
//! - `peers urls`: compares how nginx, httpd, Node, Python and Go read URLs with how policies judge them
//! - `peers schemas`: compares the calls that public MCP servers accept with those that their schemas accept
//! - `peers modules`: builds a tool with each WebAssembly toolchain that is available, and runs it
//! - `mutants gate [WORDS]`: removes each charge and each check of the gate in turn; a test must fail each time
//! - `nightly`: runs longer tests from another seed, the peers, every fuzz target, every bench
//! - `bench NAME [--save]`: compares a crate with its rivals
//! - `bench stall [--check | --once | --durable] [SEED…]`: measures how long one agent's requests delay another
//!
//! Besides a module for each command there are `run` (other programs), `source` (parsed Rust sources), `python` (a
//! private environment), `ak` (the daemon) and `examples`.
//!
//! Imports: `nightly → test → {dependencies, examples, fuzz, glossary, image} → run`
//! Imports: `nightly → {bench, mutants, peer_modules} → run`
//! Imports: `peer_modules → peers → run`
//! Imports: `demo → examples`
//! Imports: `{examples, image} → {ak, python} → run`
//! Imports: `{bench, llm} → python`
//! Imports: `glossary → imports → source → run`

mod ak;
mod bench;
mod demo;
mod dependencies;
mod examples;
mod fuzz;
mod glossary;
mod image;
mod imports;
mod llm;
mod mutants;
mod nightly;
mod peer_modules;
mod peers;
mod python;
mod run;
mod source;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  demo             build the Python package into target/venv and run the five examples
  test [--llm]     formatting, lints, documentation, Rust tests, the bare-metal image, Python tests, examples;
                   with --llm model calls against a llama.cpp server, which is built and started
  glossary [--fix] check docs/glossary.md against the types that the crates export; with --fix correct the files in it
  imports          check the imports of every crate against the directions that its root file states
  dependencies     check licences, bans and sources of the dependencies against deny.toml, with cargo-deny
  packages         package the crates, and build each from its package
  image [JOURNAL]  build the bare-metal image and boot it in QEMU on a journal, or on its scripted session
  fuzz [NAME [S]]  fuzz one target, or each in turn, for S seconds (60)
  peers urls       compare what nginx, httpd, Node, Python and Go read in URLs with what policies say about them
  peers schemas    compare which calls public MCP servers accept with what the schemas of their tools accept
  peers modules    build a tool with Go, Rust, C, Zig, AssemblyScript, TinyGo and Javy, as far as they can be had, and run it
  mutants gate [W] take each charge and each check of the gate away in turn, or those described by W: the tests must notice
  nightly          test further and from another seed, ask the peers, fuzz every target for 10 minutes, run every bench
  bench NAME       measure a crate beside its rivals; with --save the tables go to docs/performance.md
  bench stall [--check | --once | --durable] [SEED...]
                   how long the requests of one agent keep another waiting, for each seed in fuzz/seeds, or for
                   those whose names contain one of these; --check only reads the seeds, --once repeats none";

/// How long a target is fuzzed by default, in seconds.
const FUZZ_SECONDS: u64 = 60;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo"] => demo::demo(),
        ["test"] => test::test(),
        ["test", "--llm"] => llm::test(),
        ["glossary"] => glossary::check(),
        ["glossary", "--fix"] => glossary::fix(),
        ["imports"] => imports::imports(),
        ["dependencies"] => dependencies::check(),
        ["packages"] => dependencies::package(),
        ["image"] => image::image(None),
        ["image", journal] => image::image(Some(journal.as_ref())),
        ["fuzz"] => fuzz::fuzz(None, FUZZ_SECONDS),
        ["fuzz", name] => fuzz::fuzz(Some(name), FUZZ_SECONDS),
        ["fuzz", name, seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::fuzz(Some(name), seconds),
            Err(_) => Err(format!("{seconds:?} is not a number of seconds")),
        },
        ["peers", "urls"] => peers::urls(),
        ["peers", "schemas"] => peers::schemas(),
        ["peers", "modules"] => peer_modules::modules(),
        ["mutants", "gate"] => mutants::gate(None),
        ["mutants", "gate", words] => mutants::gate(Some(words)),
        ["nightly"] => nightly::nightly(),
        ["bench", "stall", arguments @ ..] => bench::stall(arguments),
        ["bench", name] => bench::bench(name, false),
        ["bench", name, "--save"] => bench::bench(name, true),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
