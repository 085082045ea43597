//! The Rust sources of a crate, parsed: its modules, what each defines, and what each names of the others.

mod modules;
mod resolve;
mod scan;

pub(crate) use modules::{Crate, CrateModule, ModulePath};
pub(crate) use scan::{UseItem, UseVisibility};
