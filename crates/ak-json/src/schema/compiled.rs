//! A compiled schema.

use alloc::vec::Vec;

use super::error::Unjudged;
use super::keywords::Node;
use crate::value::Value;

/// The rules of a schema.
pub(super) struct Compiled {
    pub(super) source: Value,
    /// The root is the first.
    pub(super) nodes: Vec<Node>,
    /// How many automata its patterns have.
    pub(super) automata: usize,
    pub(super) unjudged: Vec<Unjudged>,
    /// Approximate bytes of memory that it takes.
    pub(super) bytes: usize,
}
