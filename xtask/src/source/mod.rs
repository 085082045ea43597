//! The parsed Rust sources of a crate: its modules, the items that each defines, and the items of others that
//! each names.

mod modules;
mod resolve;
mod scan;

pub(crate) use modules::{Crate, CrateModule, ModulePath};
pub(crate) use scan::{UseItem, UseVisibility};
