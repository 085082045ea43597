//! How to read what a pattern leaves open.

/// How to read what a pattern leaves open: doubt never widens what may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A permit: what the pattern does not say is not meant.
    Narrow,
    /// A forbid or an ask: what the pattern does not say may be meant.
    Wide,
}
