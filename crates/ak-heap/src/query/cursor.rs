//! Cursors: positions at which pages end.

use alloc::format;
use core::fmt;
use core::str::FromStr;

use ak_json::{Digest, Limits, Value};

use crate::key::{KEY_BYTES_MAX, Key};

/// The position at which a page of results ended. It is a position in the order, not an object, so it stays valid
/// under writes: an object that is not changed in between appears exactly once.
///
/// As text it is the query's digest, the index in the table in hexadecimal and the value as JSON, separated by
/// colons. A cursor is valid only for the query that gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// Digest of the query that gave the cursor.
    pub(super) query: Digest,
    pub(super) index: u32,
    pub(super) key: Key,
}

/// Text that is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}:{}", self.query, self.index, self.key.to_value())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Cursor, CursorError> {
        // JSON escapes a byte with at most six.
        let limits = Limits { bytes_max: 6 * KEY_BYTES_MAX + 2, depth_max: 1, ..Limits::default() };
        let mut parts = text.splitn(3, ':');
        let (Some(query), Some(index), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CursorError);
        };
        let key = Value::parse(key.as_bytes(), &limits).map_err(|_| CursorError)?;
        let cursor = Cursor {
            query: query.parse().map_err(|_| CursorError)?,
            index: u32::from_str_radix(index, 16).map_err(|_| CursorError)?,
            key: Key::of(Some(&key)),
        };
        // Each cursor has one text, so a text that prints differently is not a cursor of this heap.
        if format!("{cursor}") == text { Ok(cursor) } else { Err(CursorError) }
    }
}
