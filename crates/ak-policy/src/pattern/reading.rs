//! How patterns are read in doubt.

/// How a pattern is read where it leaves something open, so that doubt never widens authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// For permits: a target that the pattern may not mean does not match.
    Narrow,
    /// For forbids and asks: a target that the pattern may mean matches.
    Wide,
}
