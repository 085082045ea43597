use alloc::string::String;
use core::fmt;

/// Why a manifest is not accepted, with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    at: String,
    reason: Reason,
    position: Option<Position>,
}

/// A position in a manifest's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("{0}")]
    Syntax(String),
    #[error("unknown key")]
    UnknownKey,
    #[error("missing key")]
    Missing,
    #[error("must be {0}")]
    Wrong(&'static str),
}

impl ManifestError {
    pub(crate) fn new(at: String, reason: Reason) -> Self {
        Self { at, reason, position: None }
    }

    pub(crate) fn at_position(self, position: Option<Position>) -> Self {
        Self { position, ..self }
    }

    /// JSON Pointer of the offending key; empty for the manifest itself.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Position of the error in the text, for a manifest read from TOML.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("manifest")?;
        if let Some(Position { line, column }) = self.position {
            write!(f, " line {line} column {column}")?;
        }
        if !self.at.is_empty() {
            write!(f, " at {}", self.at)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl core::error::Error for ManifestError {}
