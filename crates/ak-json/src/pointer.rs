//! JSON Pointer, RFC 6901.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::value::Value;
use crate::value::number::Number;
use crate::value::text::Text;
use crate::work::{self, OutOfWork, Work};

/// The most tokens of a pointer that [`Pointer::parse`] accepts.
pub const POINTER_TOKENS_MAX: usize = 4096;

/// A JSON Pointer (RFC 6901): the path from a document to one of its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Vec<Text>);

/// Why a text is not a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// The text is neither empty nor begins with `/`.
    #[error("pointer does not begin with '/'")]
    Start,
    /// A `~` in the text is followed by neither `0` nor `1`.
    #[error("'~' at byte {offset} of the pointer is followed by neither '0' nor '1'")]
    Escape {
        /// The position of the `~` in bytes from the start.
        offset: usize,
    },
    /// The text has more than [`POINTER_TOKENS_MAX`] tokens.
    #[error("pointer has more than {POINTER_TOKENS_MAX} tokens")]
    Tokens,
}

impl Pointer {
    /// The pointer to the whole document, written as the empty string.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Reads a pointer in the form of RFC 6901 §3.
    ///
    /// # Errors
    /// [`PointerError`] when the text has another form, or too many tokens.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let Some(rest) = text.strip_prefix('/') else {
            return if text.is_empty() { Ok(Self::root()) } else { Err(PointerError::Start) };
        };
        let mut tokens = Vec::new();
        let mut offset = 1;
        for token in rest.split('/') {
            if tokens.len() == POINTER_TOKENS_MAX {
                return Err(PointerError::Tokens);
            }
            tokens.push(unescape(token, offset)?);
            offset += token.len() + 1;
        }
        Ok(Self(tokens))
    }

    /// The reference tokens, unescaped, outermost first.
    pub fn tokens(&self) -> &[Text] {
        &self.0
    }

    /// Whether this points to the whole document.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a token: a member's name, or an array index in decimal.
    pub fn push(&mut self, token: impl Into<Text>) {
        self.0.push(token.into());
    }

    /// Appends an array index.
    pub fn push_index(&mut self, index: usize) {
        self.0.push(Number::from(index).with_text(|text| text.into()));
    }

    /// Removes the last token and returns it; `None` for the root.
    pub fn pop(&mut self) -> Option<Text> {
        self.0.pop()
    }

    /// The pointer without its last token, to the container of the value; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// The last token; `None` for the root.
    pub fn last(&self) -> Option<&Text> {
        self.0.last()
    }

    /// Whether `prefix` points to the same value as this pointer, or to a container around it.
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

fn unescape(token: &str, offset: usize) -> Result<Text, PointerError> {
    let mut parts = token.split('~');
    let first = parts.next().unwrap_or_default();
    if first.len() == token.len() {
        return Ok(first.into());
    }
    let mut text = String::from(first);
    let mut at = offset + first.len();
    for part in parts {
        let (escaped, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            (None, None) => return Err(PointerError::Escape { offset: at }),
        };
        text.push(escaped);
        text.push_str(rest);
        at += 1 + part.len();
    }
    Ok(text.into())
}

/// Reads an array index as in RFC 6901 §4: decimal, without leading zeros. `None` for any other text.
pub fn array_index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit());
    if plain { token.parse().ok() } else { None }
}

impl FromIterator<Text> for Pointer {
    fn from_iter<I: IntoIterator<Item = Text>>(tokens: I) -> Self {
        Self(tokens.into_iter().collect())
    }
}

impl FromStr for Pointer {
    type Err = PointerError;
    fn from_str(text: &str) -> Result<Self, PointerError> {
        Self::parse(text)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.0 {
            f.write_str("/")?;
            let mut rest: &str = token;
            while let Some(at) = rest.find(['~', '/']) {
                let (plain, special) = rest.split_at(at);
                f.write_str(plain)?;
                f.write_str(if special.starts_with('~') { "~0" } else { "~1" })?;
                rest = special.get(1..).unwrap_or_default();
            }
            f.write_str(rest)?;
        }
        Ok(())
    }
}

impl Value {
    /// Units of [`Work`] for looking up a token in this value.
    pub fn step_work(&self, token: &str) -> u64 {
        match self {
            Self::Object(object) => object.lookup_work(token),
            Self::Array(_) => 3 + work::bytes(token.len()) * 4,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => 1,
        }
    }

    /// The value at the pointer within this one; `None` when there is none. Spends work proportional to the tokens
    /// and the containers on the way.
    ///
    /// # Errors
    /// [`OutOfWork`] when `work` runs out.
    pub fn find(&self, pointer: &Pointer, work: &mut Work) -> Result<Option<&Self>, OutOfWork> {
        let mut found = self;
        for token in pointer.tokens() {
            work.spend(found.step_work(token))?;
            match found.child(token) {
                Some(child) => found = child,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    fn child(&self, token: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(token),
            Self::Array(array) => array.get(array_index(token)?),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => None,
        }
    }

    /// The value at the pointer within this one; `None` when there is none.
    pub fn pointer(&self, pointer: &Pointer) -> Option<&Self> {
        pointer.tokens().iter().try_fold(self, |value, token| value.child(token))
    }
}
