//! Immutable strings that are cheap to clone.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use once_cell::race::OnceBox;
use smol_str::SmolStr;

use crate::digest::{Digest, sha256};

/// Strings of at least this many bytes are hashed once, and encoded as their hash.
pub(crate) const LONG_BYTES_MIN: usize = 129;

/// An immutable UTF-8 string, whose clones share it; up to 23 bytes are stored in place.
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Short(SmolStr),
    Long(Arc<Long>),
}

/// A text of at least [`LONG_BYTES_MIN`] bytes, with its digest once that is computed.
struct Long {
    text: Box<str>,
    digest: OnceBox<Digest>,
}

/// Like the derived implementation, but never inlined: then the result is copied in two moves, not byte by byte.
impl Clone for Text {
    #[inline(never)]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Text {
    /// The empty string.
    pub const fn new() -> Self {
        Self(Repr::Short(SmolStr::new_static("")))
    }

    /// The text of a program's own string. A short one is not copied.
    pub fn from_static(text: &'static str) -> Self {
        if text.len() < LONG_BYTES_MIN {
            Self(Repr::Short(SmolStr::new_static(text)))
        } else {
            Self::from(text)
        }
    }

    /// The string itself.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Short(text) => text,
            Repr::Long(long) => &long.text,
        }
    }

    /// The SHA-256 of a long string, computed once; `None` for a short string.
    pub(crate) fn long_digest(&self) -> Option<&Digest> {
        match &self.0 {
            Repr::Short(_) => None,
            Repr::Long(long) => Some(long.digest.get_or_init(|| Box::new(sha256(long.text.as_bytes())))),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.len() < LONG_BYTES_MIN {
            Self(Repr::Short(SmolStr::new(text)))
        } else {
            Self(Repr::Long(Arc::new(Long { text: text.into(), digest: OnceBox::new() })))
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        if text.len() < LONG_BYTES_MIN {
            Self(Repr::Short(SmolStr::from(text)))
        } else {
            Self(Repr::Long(Arc::new(Long { text: text.into_boxed_str(), digest: OnceBox::new() })))
        }
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().into()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Orders by bytes, which for UTF-8 is the order of code points.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_str().cmp(other)
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Hashes like `str`, so that maps keyed by `Text` can be searched with a `&str`.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
