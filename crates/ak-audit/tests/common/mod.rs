//! What the tests of logs share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "for tests, each of which uses its own part"
)]

pub mod forge;
pub mod records;
pub mod sim;

pub use records::*;
