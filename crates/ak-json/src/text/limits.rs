//! Bounds on what the parser accepts.

/// The default limit on levels of nesting.
pub const DEPTH_MAX: usize = 128;
/// The default limit on the bytes of a text.
pub const BYTES_MAX: usize = 16 << 20;
/// The default limit on the items or members of one container.
pub const MEMBERS_MAX: usize = 1_000_000;
/// The default limit on the values of one document.
pub const VALUES_MAX: usize = 2_000_000;

/// Bounds on what [`Value::parse`](crate::Value::parse) accepts: bytes, depth, values, members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most levels of nesting: 0 allows only scalars, `[[]]` needs 2.
    pub depth_max: usize,
    /// The most bytes of text, including white space.
    pub bytes_max: usize,
    /// The most items of one array, or members of one object.
    pub members_max: usize,
    /// The most values in one document, including containers. It bounds memory, because `[]` takes more memory than
    /// text.
    pub values_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: DEPTH_MAX, bytes_max: BYTES_MAX, members_max: MEMBERS_MAX, values_max: VALUES_MAX }
    }
}
