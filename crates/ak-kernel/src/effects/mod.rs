//! Pending effects: those that have started and not ended.

pub(crate) mod pending;
pub(crate) mod state;
