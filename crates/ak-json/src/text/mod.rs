//! Reads and writes JSON text.

pub(crate) mod error;
mod grammar;
pub(crate) mod limits;
mod parse;
mod print;
mod scan;
