//! Why a text is refused.

/// Why and where a text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line} column {column}")]
pub struct ParseError {
    /// What is wrong.
    pub reason: ParseReason,
    /// Where, in bytes from the start.
    pub offset: usize,
    /// The line, counted from 1.
    pub line: usize,
    /// The byte within the line, counted from 1.
    pub column: usize,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseReason {
    /// The text ends within a value, or is empty.
    #[error("unexpected end of text")]
    End,
    /// A byte that cannot stand here.
    #[error("unexpected byte")]
    Byte,
    /// Bytes that are not UTF-8.
    #[error("invalid utf-8")]
    Utf8,
    /// A control character stands unescaped in a string.
    #[error("unescaped control character")]
    Control,
    /// A backslash is followed by what is no escape.
    #[error("invalid escape")]
    Escape,
    /// A number in another form than RFC 8259 §6.
    #[error("invalid number")]
    Number,
    /// Something follows the value.
    #[error("text after the value")]
    Trailing,
    /// A `\u` escape gives half of a surrogate pair.
    #[error("lone surrogate")]
    Surrogate,
    /// An object has two members of the same name.
    #[error("duplicate member")]
    Duplicate,
    /// An integer outside `i64` and `u64`.
    #[error("integer beyond 64 bits")]
    Integer,
    /// A number beyond the range of `f64`.
    #[error("number too large")]
    Float,
    /// Deeper than [`Limits::depth_max`](crate::Limits::depth_max).
    #[error("nesting too deep")]
    Depth,
    /// Longer than [`Limits::bytes_max`](crate::Limits::bytes_max).
    #[error("text too long")]
    Bytes,
    /// More in one container than [`Limits::members_max`](crate::Limits::members_max).
    #[error("too many members")]
    Members,
    /// More values than [`Limits::values_max`](crate::Limits::values_max).
    #[error("too many values")]
    Values,
}

impl ParseReason {
    /// Whether the text is JSON by the grammar of RFC 8259, and breaks a limit or a rule of this parser.
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

/// A reason to stop, and the byte to name.
pub(crate) struct Stop(pub(crate) ParseReason, pub(crate) usize);

pub(crate) type Parsed<T> = Result<T, Stop>;

pub(crate) fn utf8(text: &[u8]) -> Parsed<&str> {
    core::str::from_utf8(text).map_err(|error| Stop(ParseReason::Utf8, error.valid_up_to()))
}
