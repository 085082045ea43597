//! Bytes: frames of the wire, and inputs as the journal keeps them.

pub mod frame;
pub(crate) mod input;
