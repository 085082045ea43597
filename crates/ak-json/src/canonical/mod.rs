//! The canonical encoding and its hashes.

mod encode;
pub(crate) mod encoder;
