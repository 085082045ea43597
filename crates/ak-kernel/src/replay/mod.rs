//! A journal executed again: verified, exported, continued, or started from a snapshot.

pub mod export;
pub(crate) mod reexecute;
pub(crate) mod rerun;
pub(crate) mod snapshot;
pub(crate) mod upgrade;
pub(crate) mod verify;
