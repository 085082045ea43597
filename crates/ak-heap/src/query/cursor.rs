//! Where a page ended.

use alloc::format;
use core::fmt;
use core::str::FromStr;

use ak_json::{Digest, Limits, Value};

use crate::key::{KEY_BYTES_MAX, Key};

/// Where a page of results ended. It names a position in the order, not an object, so it stays valid whatever is
/// written in between: an object that stays as it is comes exactly once.
///
/// As text it is the query's digest, the place in hexadecimal and the value in JSON, with colons between. A cursor
/// holds for the query that gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// Which query it belongs to.
    pub(super) query: Digest,
    pub(super) index: u32,
    pub(super) key: Key,
}

/// Text that is no cursor.
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
        // Escapes make at most six bytes out of one.
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
        // One text for each cursor: what prints differently was not ours.
        if format!("{cursor}") == text { Ok(cursor) } else { Err(CursorError) }
    }
}
