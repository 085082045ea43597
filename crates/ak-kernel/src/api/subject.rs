//! Ids of the subjects that recorded data is about.

/// Identifies one subject from the first record about it to its erasure. After the erasure the same name gets
/// another id. The host's table of keys is indexed by these ids, so it contains no names.
pub type SubjectId = u64;
