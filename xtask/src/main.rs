//! Developer commands: `cargo xtask COMMAND`. Each does all its own set-up; what it cannot set up, it names.
//!
//! - `demo`: builds the Python package into a private environment and runs the five examples
//! - `test`: everything that is tested
//! - `image [JOURNAL]`: builds the bare-metal image and boots it in QEMU
//! - `bench NAME [--save]`: measures a crate beside its rivals

mod ak;
mod bench;
mod demo;
mod examples;
mod image;
mod python;
mod run;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  demo             build the Python package into target/venv and run the five examples
  test             formatting, lints, documentation, Rust tests, the bare-metal image, Python tests, examples
  image [JOURNAL]  build the bare-metal image and boot it in QEMU on a journal, or on its scripted session
  bench NAME       measure a crate beside its rivals; with --save the tables go to docs/performance.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo"] => demo::demo(),
        ["test"] => test::test(),
        ["image"] => image::image(None),
        ["image", journal] => image::image(Some(journal.as_ref())),
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
