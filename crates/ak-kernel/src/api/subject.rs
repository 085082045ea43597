//! Whom recorded data is about.

/// Names one subject from the first record about it to its erasure; afterwards the same name gets another number. It is
/// what a host's table of keys goes by, which so holds no names.
pub type SubjectId = u64;
