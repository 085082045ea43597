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

fn parse(text: &[u8], limits: &Limits) -> Parsed<Value> {
    if text.len() > limits.bytes_max {
        return Err(Stop(ParseReason::Bytes, limits.bytes_max));
    }
    let text = core::str::from_utf8(text).map_err(|error| Stop(ParseReason::Utf8, error.valid_up_to()))?;
    let mut parser = Parser {
        cursor: Cursor::new(text),
        limits,
        values_left: limits.values_max,
        open: Vec::new(),
        values: Vec::with_capacity(16),
        names: Vec::new(),
    };
    while !(parser.begin()? && parser.finish()?) {}
    parser.values.pop().ok_or(Stop(ParseReason::End, parser.cursor.at))
}

/// The parser's state. What is complete within open containers lies on two stacks.
///
/// Values are built where they stay: to move one that has just been written makes the processor wait for
/// the write.
struct Parser<'a> {
    cursor: Cursor<'a>,
    limits: &'a Limits,
    values_left: usize,
    open: Vec<Open>,
    values: Vec<Value>,
    names: Vec<Name>,
}

/// An object or array whose end has not come yet.
struct Open {
    is_object: bool,
    /// Where its values begin on their stack.
    values: usize,
    /// Where its names begin on their stack.
    names: usize,
}

/// The name of a member, and where it stands.
struct Name {
    text: Text,
    offset: usize,
}

impl Parser<'_> {
    /// Reads a scalar, an empty container or the beginning of another, up to where a value must follow.
    /// Tells whether a value is complete.
    #[inline]
    fn begin(&mut self) -> Parsed<bool> {
        let cursor = &mut self.cursor;
        let byte = cursor.token();
        self.values_left = self.values_left.checked_sub(1).ok_or(Stop(ParseReason::Values, cursor.at))?;
        match byte {
            Some(b'"') => self.values.push(Value::String(cursor.string()?.into())),
            Some(b'-' | b'0'..=b'9') => self.values.push(Value::Number(cursor.number()?)),
            Some(b'{') => return self.enter(true),
            Some(b'[') => return self.enter(false),
            Some(b't') => self.values.push(cursor.word("true", Value::Bool(true))?),
            Some(b'f') => self.values.push(cursor.word("false", Value::Bool(false))?),
            Some(b'n') => self.values.push(cursor.word("null", Value::Null)?),
            _ => return cursor.unexpected(),
        }
        Ok(true)
    }

    #[inline]
    fn enter(&mut self, is_object: bool) -> Parsed<bool> {
        if self.open.len() >= self.limits.depth_max {
            return self.cursor.stop(ParseReason::Depth);
        }
        self.cursor.at += 1;
        let empty = match (self.cursor.token(), is_object) {
            (Some(b'}'), true) => Value::Object(Object::new()),
            (Some(b']'), false) => Value::Array(Array::new()),
            _ => {
                self.open.push(Open { is_object, values: self.values.len(), names: self.names.len() });
                if is_object {
                    self.name()?;
                }
                return Ok(false);
            }
        };
        self.cursor.at += 1;
        self.values.push(empty);
        Ok(true)
    }

    /// Goes on after a value: closes what ends here, up to where a value must follow. Tells whether the text
    /// has ended.
    #[inline]
    fn finish(&mut self) -> Parsed<bool> {
        loop {
            let byte = self.cursor.token();
            let Some(open) = self.open.last() else {
                return if byte.is_none() { Ok(true) } else { self.cursor.stop(ParseReason::Trailing) };
            };
            if self.values.len() - open.values > self.limits.members_max {
                return self.cursor.stop(ParseReason::Members);
            }
            let container = match (byte, open.is_object) {
                (Some(b','), is_object) => {
                    self.cursor.at += 1;
                    if is_object {
                        self.cursor.token();
                        self.name()?;
                    }
                    return Ok(false);
                }
                (Some(b']'), false) => Value::Array(self.values.split_off(open.values).into()),
                (Some(b'}'), true) => Value::Object(object(&mut self.values, &mut self.names, open)?),
                _ => return self.cursor.unexpected(),
            };
            self.cursor.at += 1;
            self.open.pop();
            self.values.push(container);
        }
    }

    #[inline]
    fn name(&mut self) -> Parsed<()> {
        self.names.push(Name { offset: self.cursor.at, text: self.cursor.name()?.into() });
        self.cursor.colon()
    }
}

/// Takes the members of an object that ends here off the stacks.
fn object(values: &mut Vec<Value>, names: &mut Vec<Name>, open: &Open) -> Parsed<Object> {
    let own = names.get_mut(open.names..).unwrap_or_default();
    let members = own.iter_mut().zip(values.drain(open.values..));
    let members = members.map(|(name, value)| Member { name: mem::take(&mut name.text), value });
    let object = Object::build(members.collect()).map_err(|repeated| {
        let offset = own.get(repeated).map_or(0, |name| name.offset);
        Stop(ParseReason::Duplicate, offset)
    })?;
    names.truncate(open.names);
    Ok(object)
}
