//! Byte formats: frames of the wire protocol, and inputs as the journal stores them.

pub mod frame;
pub(crate) mod input;
