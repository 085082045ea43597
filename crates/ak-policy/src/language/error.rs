//! Why a policy text is not accepted.

use alloc::string::String;
use core::fmt;

/// Why a policy text is not accepted, with line, column and a suggestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// The included profile that contains the error; `None` for the text itself.
    pub source: Option<String>,
    /// The line, counted from 1.
    pub line: usize,
    /// The character within the line, counted from 1.
    pub column: usize,
    /// The error message, in lower case without a full stop.
    pub message: String,
    /// What to write instead; `None` when it cannot be guessed.
    pub hint: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

impl core::error::Error for PolicyError {}
