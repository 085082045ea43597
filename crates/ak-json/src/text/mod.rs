//! JSON text: reading and writing it.

pub(crate) mod error;
mod grammar;
pub(crate) mod limits;
mod parse;
mod print;
mod scan;
