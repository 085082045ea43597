//! TODO

pub(crate) mod server;
