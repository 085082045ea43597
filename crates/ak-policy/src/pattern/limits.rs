//! The limits of patterns, and from which length paths are searched in two passes.

/// The most bytes of a pattern.
pub(crate) const PATTERN_BYTES_MAX: usize = 8192;

/// The most `**` of a pattern; adjacent ones count as one.
pub(crate) const DEEP_MAX: usize = 8;

/// The length in bytes from which a path is first checked for the pattern's literal segments.
pub(crate) const SEARCHED_BYTES_MIN: usize = 128;
