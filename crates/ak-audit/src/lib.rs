//! A tamper-evident log of decisions: verification detects every change to a recorded entry.
//!
//! An [`Entry`] has exactly one encoding. Its RFC 6962 leaf hash is both the `previous` field of the next entry and a
//! leaf of the Merkle tree, so one hash per entry serves the chain and the tree. A [`Checkpoint`] is the tree's size
//! and root, signed; a reader who keeps one can tell this log from an older or a rewritten copy. The data that an
//! entry is about is stored beside it in a *body*. The entry holds only salted commitments to the body, so a body can
//! be erased and every proof still holds.
//!
//! Principles:
//! - Each value has one encoding: a decoder rejects any bytes that the encoder would not write.
//! - A record is acknowledged once it is synced; damage to acknowledged records is reported with the entry's number,
//!   and such records are never dropped silently.
//! - Time and entropy are arguments; files are behind the [`Disk`] trait.
//! - Verification reports the checkpoint that it relies on. Without a checkpoint that was kept elsewhere, it cannot
//!   detect a rewritten log.
//!
//! The types to start from: [`Entry`], one recorded decision; [`Log`], a bounded log in memory; [`Journal`], the
//! durable log.
//!
//! # Example
//!
//! ```
//! use ak_audit::{Decision, Entry, Integrity, Kind, Log, SigningKey, ZERO_HASH, commitment, note::KeyKind, verifier};
//!
//! let mut log = Log::new(1 << 20);
//! for seq in 0..5 {
//!     let entry = Entry {
//!         seq,
//!         time_us: 1_700_000_000_000_000 + seq,
//!         run: [7; 16],
//!         operation: 1031,
//!         kind: Kind::Decision,
//!         decision: Decision::Permit,
//!         code: 0,
//!         cause: seq,
//!         policy: ZERO_HASH,
//!         target: ZERO_HASH,
//!         request: commitment(&[42; 32], &ak_json::sha256(b"what was asked").into()),
//!         reply: ZERO_HASH,
//!         previous: log.head(),
//!         integrity: Integrity::Trusted,
//!         secrecy: vec!["pii"],
//!         agent: "worker",
//!         rule: "only-our-people",
//!     };
//!     log.append(entry.encode()?, b"what was asked".as_slice().into())?;
//! }
//! assert!(log.verify().consistent);
//!
//! // Prove to the holder of a checkpoint that entry 3 is in the log.
//! let key = SigningKey::from_seed("log.example", KeyKind::Log, &[1; 32])?;
//! let note = log.checkpoint("log.example").sign(&key)?;
//! let checkpoint = ak_audit::Checkpoint::open(&note, key.verifier())?;
//! let leaf = ak_audit::leaf_hash(&log.get(3)?.entry);
//! let path = log.inclusion_proof(3, checkpoint.size)?;
//! verifier::verify_inclusion(&leaf, 3, checkpoint.size, &path, &checkpoint.root)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//!
//! **Entries.** `entry` holds [`Entry`] with its enums ([`Kind`], [`Decision`]) and, in a file each, the checked
//! bytes of an entry (`leaf`, `view`) and its JSON and OCSF forms (`json`). `chain` checks that an entry follows its
//! predecessor.
//!
//! **The Merkle tree.** `merkle` holds the right edge, which knows the root (`tree`); the tree that keeps all hashes
//! and makes proofs (`full_tree`); the tree that reads the leaves of its tiles from disk (`tiled_tree`); positions
//! and paths of tiles (`tiles`); the algorithm that makes proofs (`prover`); and their verification, which does not
//! allocate ([`verifier`]). `hash` has the hashes of RFC 6962, and `hash_engine` computes several of them at once.
//!
//! **Logs.** `log` is the bounded log in memory and [`journal`] the durable one: segments, frames, group commit,
//! recovery, export. `query` finds entries in either.
//!
//! **Beside the log.** [`checkpoint`] and [`note`]: C2SP checkpoints, cosignatures and signed notes. [`seal`]: bodies
//! sealed under keys; destroying a key erases the bodies sealed under it.
//!
//! `docs/audit-format.md` specifies every byte of every format. This crate knows nothing of policies, agents or
//! kernels: to it, an operation is a number and a body is bytes.
//!
//! # Directions
//!
//! Imports: `query → journal → log → {chain, checkpoint, merkle}`
//! Imports: `chain → entry → hash`
//! Imports: `checkpoint → {hash, note}`
//! Imports: `merkle → hash_engine → hash`
//! Imports: `seal → hash`
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod chain;
pub mod checkpoint;
mod entry;
mod hash;
mod hash_engine;
pub mod journal;
mod log;
mod merkle;
pub mod note;
mod query;
pub mod seal;

pub use ak_json::Integrity;
pub use chain::{Chain, ChainError};
pub use checkpoint::Checkpoint;
pub use entry::leaf::Leaf;
pub use entry::{Decision, ENTRY_BYTES_MAX, Entry, EntryError, FIXED_BYTES, Kind, MAGIC};
pub use hash::{CommitmentKey, Hash, ZERO_HASH, commitment, empty_root, leaf_hash, node_hash};
pub use hash_engine::{Block, HashEngine};
pub use journal::{Disk, DiskError, Genesis, Journal, JournalError, TileError};
pub use log::{Log, LogFault, MissingRecord, Record, VerifyReport};
pub use merkle::full_tree::FullTree;
pub use merkle::prover::ProofError;
pub use merkle::tiles::Tile;
pub use merkle::tree::Tree;
pub use merkle::verifier;
pub use note::{SigningKey, VerifierKey};
pub use query::{Order, Page, Query};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
