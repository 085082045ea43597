//! `count {path}` gives `{bytes, lines, words}`: an ordinary Rust program, compiled for `wasm32-wasip1`.

use std::error::Error;
use std::{fs, io};

#[derive(serde::Deserialize)]
struct Input {
    path: String,
}

#[derive(serde::Serialize)]
struct Output {
    bytes: usize,
    lines: usize,
    words: usize,
}

/// Prints errors to stderr and exits with 1, so the call of the tool fails with that message.
fn main() -> Result<(), Box<dyn Error>> {
    let input: Input = serde_json::from_reader(io::stdin())?;
    let text = fs::read_to_string(&input.path)?;
    let output =
        Output { bytes: text.len(), lines: text.lines().count(), words: text.split_whitespace().count() };
    serde_json::to_writer(io::stdout(), &output)?;
    Ok(())
}
