//! The daemon: one kernel offered on a Unix socket.

pub(crate) mod hello;
pub(crate) mod limits;
pub(crate) mod server;
pub(crate) mod session;
