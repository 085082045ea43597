//! Effects between permit and completion.

pub(crate) mod pending;
pub(crate) mod state;
