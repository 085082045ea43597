//! Bounds on what the parser accepts.

/// Levels of nesting by default.
pub const DEPTH_MAX: usize = 128;
/// Bytes of text by default.
pub const BYTES_MAX: usize = 16 << 20;
/// Items or members of one container by default.
pub const MEMBERS_MAX: usize = 1_000_000;
/// Values of one document by default.
pub const VALUES_MAX: usize = 2_000_000;

/// Bounds on what [`Value::parse`](crate::Value::parse) accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Levels of nesting: 0 allows scalars only, `[[]]` needs 2.
    pub depth_max: usize,
    /// Bytes of text, white space included.
    pub bytes_max: usize,
    /// Items of one array, members of one object.
    pub members_max: usize,
    /// Values in one document, containers included: what bounds memory, since `[]` costs more than its text.
    pub values_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: DEPTH_MAX, bytes_max: BYTES_MAX, members_max: MEMBERS_MAX, values_max: VALUES_MAX }
    }
}
