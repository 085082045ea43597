//! The parser: RFC 8259 text to values, without recursion.

use alloc::vec::Vec;
use core::mem;

use crate::array::Array;
use crate::limits::Limits;
use crate::object::{Member, Object};
use crate::scan::Cursor;
use crate::text::Text;
use crate::value::Value;

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
    /// Deeper than [`Limits::depth_max`].
    #[error("nesting too deep")]
    Depth,
    /// Longer than [`Limits::bytes_max`].
    #[error("text too long")]
    Bytes,
    /// More in one container than [`Limits::members_max`].
    #[error("too many members")]
    Members,
    /// More values than [`Limits::values_max`].
    #[error("too many values")]
    Values,
}

impl ParseReason {
    /// Whether the text up to here is JSON by the grammar, and breaks a limit or a rule of this parser.
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

impl Value {
    /// Parses JSON text (RFC 8259, UTF-8 without a byte order mark).
    ///
    /// Integers are exact; a number with a fraction or exponent becomes the nearest `f64`.
    ///
    /// # Errors
    /// [`ParseError`] when the text is no JSON; when an object has a member twice, an integer lies outside
    /// `i64` and `u64`, another number outside `f64`, or an escape is a lone surrogate; when a limit is exceeded.
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        parse(text, limits).map_err(|Stop(reason, offset)| {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            ParseError { reason, offset, line, column }
        })
    }
}

/// A reason to stop, and the byte to name.
pub(crate) struct Stop(pub(crate) ParseReason, pub(crate) usize);

pub(crate) type Parsed<T> = Result<T, Stop>;

/// An object or array whose end has not come yet.
struct Open {
    is_object: bool,
    /// Where its content begins on the stack of values.
    start: usize,
    /// Where its names begin on the stack of names.
    names: usize,
}

/// The name of a member, and where it stands.
struct Name {
    text: Text,
    offset: usize,
}

fn parse(text: &[u8], limits: &Limits) -> Parsed<Value> {
    if text.len() > limits.bytes_max {
        return Err(Stop(ParseReason::Bytes, limits.bytes_max));
    }
    let text = core::str::from_utf8(text).map_err(|error| Stop(ParseReason::Utf8, error.valid_up_to()))?;
    let mut cursor = Cursor::new(text);
    // What is complete in the containers that are open. Values are built where they stay: to move one that
    // has just been written makes the processor wait for the write.
    let mut values: Vec<Value> = Vec::with_capacity(16);
    let mut names: Vec<Name> = Vec::new();
    let mut outer: Vec<Open> = Vec::new();
    let mut open = Open { is_object: false, start: 0, names: 0 };
    let mut values_left = limits.values_max;
    loop {
        values_left = values_left.checked_sub(1).ok_or(Stop(ParseReason::Values, cursor.at))?;
        match cursor.token() {
            Some(b'"') => values.push(Value::String(cursor.string()?.into())),
            Some(b'-' | b'0'..=b'9') => values.push(Value::Number(cursor.number()?)),
            Some(bracket @ (b'{' | b'[')) => {
                if outer.len() >= limits.depth_max {
                    return cursor.stop(ParseReason::Depth);
                }
                cursor.at += 1;
                let is_object = bracket == b'{';
                let inner = Open { is_object, start: values.len(), names: names.len() };
                match cursor.token() {
                    Some(b']') if !is_object => values.push(Value::Array(Array::new())),
                    Some(b'}') if is_object => values.push(Value::Object(Object::new())),
                    _ => {
                        outer.push(mem::replace(&mut open, inner));
                        if is_object {
                            names.push(Name { offset: cursor.at, text: cursor.name()?.into() });
                            cursor.colon()?;
                        }
                        continue;
                    }
                }
                cursor.at += 1;
            }
            Some(b't') => values.push(cursor.word("true", Value::Bool(true))?),
            Some(b'f') => values.push(cursor.word("false", Value::Bool(false))?),
            Some(b'n') => values.push(cursor.word("null", Value::Null)?),
            _ => return cursor.unexpected(),
        }
        // A value is complete, and perhaps with it the containers around it.
        loop {
            if values.len() - open.start > limits.members_max && !outer.is_empty() {
                return cursor.stop(ParseReason::Members);
            }
            let Some(byte) = cursor.token() else {
                return match (outer.is_empty(), values.pop()) {
                    (true, Some(value)) => Ok(value),
                    _ => cursor.stop(ParseReason::End),
                };
            };
            let value = match byte {
                _ if outer.is_empty() => return cursor.stop(ParseReason::Trailing),
                b',' => {
                    cursor.at += 1;
                    if open.is_object {
                        cursor.token();
                        names.push(Name { offset: cursor.at, text: cursor.name()?.into() });
                        cursor.colon()?;
                    }
                    break;
                }
                b']' if !open.is_object => Value::Array(values.split_off(open.start).into()),
                b'}' if open.is_object => {
                    let own = names.get_mut(open.names..).unwrap_or_default();
                    let pairs = own.iter_mut().zip(values.drain(open.start..));
                    let members =
                        pairs.map(|(name, value)| Member { name: mem::take(&mut name.text), value });
                    let object = Object::build(members.collect()).map_err(|repeated| {
                        let offset = own.get(repeated).map_or(cursor.at, |name| name.offset);
                        Stop(ParseReason::Duplicate, offset)
                    })?;
                    names.truncate(open.names);
                    Value::Object(object)
                }
                _ => return cursor.stop(ParseReason::Byte),
            };
            cursor.at += 1;
            values.push(value);
            open = outer.pop().unwrap_or(Open { is_object: false, start: 0, names: 0 });
        }
    }
}
