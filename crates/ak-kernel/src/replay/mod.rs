//! Executes a journal again: to verify it, to continue it, or to start from a snapshot; and exports it.

pub mod export;
pub(crate) mod reexecute;
pub(crate) mod rerun;
pub(crate) mod snapshot;
pub(crate) mod upgrade;
pub(crate) mod verify;
