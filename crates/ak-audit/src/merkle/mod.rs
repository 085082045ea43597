//! The RFC 6962 Merkle tree over the leaf hashes: its forms, proofs and their verification.

pub(crate) mod full_tree;
pub(crate) mod prover;
pub(crate) mod tiled_tree;
pub(crate) mod tiles;
pub(crate) mod tree;
pub mod verifier;
