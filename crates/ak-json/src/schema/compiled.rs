//! A compiled schema.

use alloc::vec::Vec;

use super::error::Unjudged;
use super::keywords::Node;
use crate::value::Value;

/// The compiled rules of a schema.
pub(super) struct Compiled {
    pub(super) source: Value,
    /// The first node is the root.
    pub(super) nodes: Vec<Node>,
    /// The number of automata that the patterns have.
    pub(super) automata: usize,
    pub(super) unjudged: Vec<Unjudged>,
    /// The approximate bytes of memory that the schema takes.
    pub(super) bytes: usize,
}
