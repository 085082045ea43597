//! A tamper-evident log: canonical entries, one hash each for chain and tree, proofs, signed checkpoints.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod chain;
pub mod checkpoint;
mod entry;
mod hash;
pub mod journal;
mod log;
pub mod note;
pub mod proof;
mod prove;
mod query;
mod tiled;
mod tree;

pub use ak_json::Integrity;
pub use chain::{Chain, ChainError};
pub use checkpoint::Checkpoint;
pub use entry::{ENTRY_BYTES_MAX, Entry, EntryError, FIXED_BYTES, Kind, MAGIC, Verdict};
pub use hash::{Hash, ZERO_HASH, commitment, empty_root, leaf_hash, node_hash};
pub use journal::{Disk, DiskError, Journal, JournalError};
pub use log::{Fault, Log, Missing, Record, Report};
pub use note::{SigningKey, VerifierKey};
pub use prove::ProofError;
pub use query::{Order, Page, Query};
pub use tree::{FullTree, Tree};
