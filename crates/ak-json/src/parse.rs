//! The parser: RFC 8259 text to values, without recursion.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use crate::array::Array;
use crate::limits::Limits;
use crate::number::Number;
use crate::object::{Member, Object};
use crate::text::Text;
use crate::tree::Tree;
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

struct Stop(ParseReason, usize);

type Parsed<T> = Result<T, Stop>;

/// A container whose end has not come yet; what it holds so far lies on the parser's stacks from `start`.
enum Open {
    Array { start: usize },
    Object { start: usize, name: Text },
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    limits: &'a Limits,
    values_left: usize,
    open: Vec<Open>,
    items: Vec<Value>,
    members: Vec<Member>,
    /// Where the name of each of `members` stands.
    name_offsets: Vec<usize>,
    unescaped: String,
}

fn parse(text: &[u8], limits: &Limits) -> Parsed<Value> {
    if text.len() > limits.bytes_max {
        return Err(Stop(ParseReason::Bytes, limits.bytes_max));
    }
    let text = core::str::from_utf8(text).map_err(|error| Stop(ParseReason::Utf8, error.valid_up_to()))?;
    let mut parser = Parser {
        text,
        at: 0,
        limits,
        values_left: limits.values_max,
        open: Vec::new(),
        items: Vec::new(),
        members: Vec::new(),
        name_offsets: Vec::new(),
        unescaped: String::new(),
    };
    parser.document()
}

impl Parser<'_> {
    fn document(&mut self) -> Parsed<Value> {
        loop {
            let Some(mut value) = self.value()? else { continue };
            loop {
                let Some(open) = self.open.last_mut() else {
                    return match self.token() {
                        None => Ok(value),
                        Some(_) => self.stop(ParseReason::Trailing),
                    };
                };
                let (count, end) = match open {
                    Open::Array { start } => {
                        self.items.push(value);
                        (self.items.len() - *start, b']')
                    }
                    Open::Object { start, name } => {
                        self.members.push(Member { name: mem::take(name), value });
                        (self.members.len() - *start, b'}')
                    }
                };
                if count > self.limits.members_max {
                    return self.stop(ParseReason::Members);
                }
                match self.token() {
                    Some(b',') => {
                        self.at += 1;
                        if end == b'}' {
                            self.name()?;
                        }
                        break;
                    }
                    Some(byte) if byte == end => {
                        self.at += 1;
                        value = self.close()?;
                    }
                    _ => return self.unexpected(),
                }
            }
        }
    }

    /// Reads a scalar or an empty container; or opens a container and gives `None`.
    fn value(&mut self) -> Parsed<Option<Value>> {
        let Some(byte) = self.token() else { return self.stop(ParseReason::End) };
        let Some(left) = self.values_left.checked_sub(1) else { return self.stop(ParseReason::Values) };
        self.values_left = left;
        let value = match byte {
            b'"' => Value::String(self.string()?),
            b'-' | b'0'..=b'9' => Value::Number(self.number()?),
            b'{' => {
                self.enter()?;
                if self.token() != Some(b'}') {
                    let start = self.members.len();
                    self.open.push(Open::Object { start, name: Text::new() });
                    self.name()?;
                    return Ok(None);
                }
                self.at += 1;
                Value::Object(Object::new())
            }
            b'[' => {
                self.enter()?;
                if self.token() != Some(b']') {
                    let start = self.items.len();
                    self.open.push(Open::Array { start });
                    return Ok(None);
                }
                self.at += 1;
                Value::Array(Array::new())
            }
            b't' => self.word("true", Value::Bool(true))?,
            b'f' => self.word("false", Value::Bool(false))?,
            b'n' => self.word("null", Value::Null)?,
            _ => return self.unexpected(),
        };
        Ok(Some(value))
    }

    fn enter(&mut self) -> Parsed<()> {
        if self.open.len() >= self.limits.depth_max {
            return self.stop(ParseReason::Depth);
        }
        self.at += 1;
        Ok(())
    }

    /// Builds the innermost open container, whose end has been read.
    fn close(&mut self) -> Parsed<Value> {
        match self.open.pop() {
            Some(Open::Array { start }) => {
                Ok(Value::Array(Array { tree: Tree::build(self.items.drain(start..)) }))
            }
            Some(Open::Object { start, .. }) => {
                let object = Object::build(&mut self.members, start).map_err(|repeated| {
                    let offset = self.name_offsets.get(repeated).copied().unwrap_or(self.at);
                    Stop(ParseReason::Duplicate, offset)
                })?;
                self.name_offsets.truncate(start);
                Ok(Value::Object(object))
            }
            None => self.unexpected(),
        }
    }

    /// Reads a member's name and the colon after it.
    fn name(&mut self) -> Parsed<()> {
        if self.token() != Some(b'"') {
            return self.unexpected();
        }
        self.name_offsets.push(self.at);
        let text = self.string()?;
        if let Some(Open::Object { name, .. }) = self.open.last_mut() {
            *name = text;
        }
        if self.token() != Some(b':') {
            return self.unexpected();
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Parsed<Value> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return self.unexpected();
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn string(&mut self) -> Parsed<Text> {
        self.at += 1;
        let start = self.at;
        self.at += plain_len(self.rest());
        if self.peek() == Some(b'"') {
            let text = self.text.get(start..self.at).unwrap_or_default().into();
            self.at += 1;
            return Ok(text);
        }
        let mut from = start;
        self.unescaped.clear();
        loop {
            self.unescaped.push_str(self.text.get(from..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.unescaped.as_str().into());
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    self.unescaped.push(character);
                }
                Some(_) => return self.stop(ParseReason::Control),
                None => return self.stop(ParseReason::End),
            }
            from = self.at;
            self.at += plain_len(self.rest());
        }
    }

    /// Reads an escape, from its backslash on.
    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        self.at += 1;
        let Some(letter) = self.peek() else { return self.stop(ParseReason::End) };
        self.at += 1;
        let character = match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4(start)?;
                let code = if (0xd800..0xdc00).contains(&high) && self.rest().starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.hex4(start)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(Stop(ParseReason::Surrogate, start));
                    }
                    0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00))
                } else {
                    high
                };
                char::from_u32(code).ok_or(Stop(ParseReason::Surrogate, start))?
            }
            _ => return Err(Stop(ParseReason::Escape, start)),
        };
        Ok(character)
    }

    fn hex4(&mut self, start: usize) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = match self.peek() {
                Some(digit @ b'0'..=b'9') => digit - b'0',
                Some(digit @ b'a'..=b'f') => digit - b'a' + 10,
                Some(digit @ b'A'..=b'F') => digit - b'A' + 10,
                Some(_) => return Err(Stop(ParseReason::Escape, start)),
                None => return self.stop(ParseReason::End),
            };
            code = code << 4 | u32::from(digit);
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Parsed<Number> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let mut magnitude = Some(0u64);
        let leading_zero = self.peek() == Some(b'0');
        let first = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            magnitude =
                magnitude.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            self.at += 1;
        }
        let digits = self.at - first;
        if digits == 0 {
            return self.bad_number();
        }
        if leading_zero && digits > 1 {
            return Err(Stop(ParseReason::Number, first + 1));
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.float(start);
        }
        let number = match (magnitude, negative) {
            (Some(magnitude), false) => Some(Number::from(magnitude)),
            (Some(magnitude), true) => 0i64.checked_sub_unsigned(magnitude).map(Number::from),
            (None, _) => None,
        };
        number.ok_or(Stop(ParseReason::Integer, start))
    }

    /// Reads fraction and exponent of a number that began at `start`.
    fn float(&mut self, start: usize) -> Parsed<Number> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        text.parse().ok().and_then(Number::from_f64).ok_or(Stop(ParseReason::Float, start))
    }

    fn digits(&mut self) -> Parsed<()> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { self.bad_number() } else { Ok(()) }
    }

    fn bad_number<T>(&self) -> Parsed<T> {
        self.stop(if self.peek().is_none() { ParseReason::End } else { ParseReason::Number })
    }

    /// The next byte after white space.
    fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn unexpected<T>(&self) -> Parsed<T> {
        self.stop(if self.peek().is_none() { ParseReason::End } else { ParseReason::Byte })
    }

    fn stop<T>(&self, reason: ParseReason) -> Parsed<T> {
        Err(Stop(reason, self.at))
    }
}

/// How many bytes come before a quote, a backslash or a control character.
fn plain_len(bytes: &[u8]) -> usize {
    const fn every(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // Sets the top bit of the lowest zero byte, and perhaps of bytes above it.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(every(1)) & !word & every(0x80)
    }
    let (words, tail) = bytes.as_chunks::<8>();
    for (count, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(every(0x20)) & !word & every(0x80);
        let special = zeros(word ^ every(b'"')) | zeros(word ^ every(b'\\')) | control;
        if special != 0 {
            return count * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let plain = tail.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + plain
}
