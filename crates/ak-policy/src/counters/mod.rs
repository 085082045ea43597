//! Elapsed time, usage over time, rates, and reading the state of tables back.

pub(crate) mod elapsed;
pub(crate) mod rate;
pub(crate) mod state;
pub(crate) mod usage;
