//! How long a pattern may be, and when a search in it is bounded.

/// The longest pattern, in bytes.
pub(crate) const PATTERN_BYTES_MAX: usize = 8192;

/// The most `**` of a pattern; neighbours count as one.
pub(crate) const DEEP_MAX: usize = 8;

/// Shorter paths are searched at once; in longer ones the literal segments are looked for first.
pub(crate) const SEARCHED_BYTES_MIN: usize = 128;
