//! `cargo xtask demo`: runs the five examples on a fresh machine.

use crate::{examples, python, run::Result};

/// Builds the Python package and runs the examples.
pub(crate) fn demo() -> Result {
    python::build()?;
    examples::embedded()?;
    println!("\nAll examples passed. They stand in examples/, and their Python in target/venv.");
    Ok(())
}
