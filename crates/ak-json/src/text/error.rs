//! Why a text is not accepted.

/// Why a text is not accepted, with line and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line} column {column}")]
pub struct ParseError {
    /// The kind of error.
    pub reason: ParseReason,
    /// The position in bytes from the start.
    pub offset: usize,
    /// The line, counted from 1.
    pub line: usize,
    /// The byte within the line, counted from 1.
    pub column: usize,
}

/// The kinds of [`ParseError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseReason {
    /// The text ends within a value, or is empty.
    #[error("unexpected end of text")]
    End,
    /// A byte is not allowed at this place.
    #[error("unexpected byte")]
    Byte,
    /// The text is not UTF-8.
    #[error("invalid utf-8")]
    Utf8,
    /// A control character stands unescaped in a string.
    #[error("unescaped control character")]
    Control,
    /// A backslash is not followed by a valid escape.
    #[error("invalid escape")]
    Escape,
    /// A number does not have the form of RFC 8259 §6.
    #[error("invalid number")]
    Number,
    /// The value is followed by something other than white space.
    #[error("text after the value")]
    Trailing,
    /// A `\u` escape is half of a surrogate pair.
    #[error("lone surrogate")]
    Surrogate,
    /// An object has two members with the same name.
    #[error("duplicate member")]
    Duplicate,
    /// An integer is outside the ranges of `i64` and `u64`.
    #[error("integer beyond 64 bits")]
    Integer,
    /// A number is beyond the range of `f64`.
    #[error("number too large")]
    Float,
    /// The text nests deeper than [`Limits::depth_max`](crate::Limits::depth_max).
    #[error("nesting too deep")]
    Depth,
    /// The text is longer than [`Limits::bytes_max`](crate::Limits::bytes_max).
    #[error("text too long")]
    Bytes,
    /// A container has more items or members than [`Limits::members_max`](crate::Limits::members_max).
    #[error("too many members")]
    Members,
    /// The text has more values than [`Limits::values_max`](crate::Limits::values_max).
    #[error("too many values")]
    Values,
}

impl ParseReason {
    /// Whether the reason is a limit or a rule of this parser: the text may be JSON by the grammar of RFC 8259.
    pub fn is_limit(self) -> bool {
        match self {
            Self::End
            | Self::Byte
            | Self::Utf8
            | Self::Control
            | Self::Escape
            | Self::Number
            | Self::Trailing => false,
            Self::Surrogate
            | Self::Duplicate
            | Self::Integer
            | Self::Float
            | Self::Depth
            | Self::Bytes
            | Self::Members
            | Self::Values => true,
        }
    }
}

/// A reason to stop, and the position to report.
pub(crate) struct Stop(pub(crate) ParseReason, pub(crate) usize);

pub(crate) type Parsed<T> = Result<T, Stop>;

pub(crate) fn utf8(text: &[u8]) -> Parsed<&str> {
    core::str::from_utf8(text).map_err(|error| Stop(ParseReason::Utf8, error.valid_up_to()))
}
