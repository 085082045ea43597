//! The parser from RFC 8259 text to values, without recursion.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::error::{ParseError, ParseReason, Parsed, Stop, utf8};
use super::grammar;
use super::limits::Limits;
use super::scan::Cursor;
use crate::value::Value;
use crate::value::array::Array;
use crate::value::names::{Names, Shapes};
use crate::value::object::Object;
use crate::value::text::Text;
use crate::value::tree::Tree;

impl Value {
    /// Parses JSON text (RFC 8259, UTF-8 without a byte order mark).
    ///
    /// Integers are exact; a number with a fraction or exponent becomes the nearest `f64`.
    ///
    /// # Errors
    /// [`ParseError`] when the text is not JSON; when an object has a member twice, an integer is outside `i64` and
    /// `u64`, another number is outside `f64`, or an escape is a lone surrogate; or when a limit is exceeded. If a
    /// text is not JSON, the error says so, even if the text breaks a limit first.
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        parse(text, limits).map_err(|stop| {
            // The text after a broken limit may turn out not to be JSON.
            let Stop(reason, offset) = match stop {
                Stop(reason, _) if reason.is_limit() => grammar::check(text).err().unwrap_or(stop),
                _ => stop,
            };
            let before = text.get(..offset).unwrap_or(text);
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            ParseError { reason, offset, line, column }
        })
    }
}

fn parse(text: &[u8], limits: &Limits) -> Parsed<Value> {
    if text.len() > limits.bytes_max {
        return Err(Stop(ParseReason::Bytes, limits.bytes_max));
    }
    let text = utf8(text)?;
    let mut parser = Parser {
        cursor: Cursor::new(text),
        limits,
        values_left: limits.values_max,
        open: Vec::new(),
        values: Vec::with_capacity(16),
        names: Vec::new(),
        shapes: Shapes::default(),
    };
    while !(parser.begin()? && parser.finish()?) {}
    parser.values.pop().ok_or(Stop(ParseReason::End, parser.cursor.at))
}

/// The parser's state. Finished values and names of open containers are on two stacks.
///
/// Values are built in their final place: moving a value that was just written makes the processor wait for the
/// write.
struct Parser<'a> {
    cursor: Cursor<'a>,
    limits: &'a Limits,
    values_left: usize,
    open: Vec<Open>,
    values: Vec<Value>,
    names: Vec<Name>,
    shapes: Shapes,
}

/// A container that is not closed yet.
struct Open {
    /// The index of its first value on the stack of values.
    values: usize,
    kind: Kind,
}

enum Kind {
    Array,
    /// An object whose names are on the stack of names.
    Object,
    /// An object whose names so far equal those of an earlier one, and are not on the stack.
    Shaped(Arc<Names>),
}

/// The name of a member, and its position in bytes.
struct Name {
    text: Text,
    offset: usize,
}

impl Parser<'_> {
    /// Reads a scalar, an empty container, or the beginning of another container up to the place of its first
    /// value. Returns whether a value is complete.
    #[inline]
    fn begin(&mut self) -> Parsed<bool> {
        let cursor = &mut self.cursor;
        let byte = cursor.token();
        self.values_left = self.values_left.checked_sub(1).ok_or(Stop(ParseReason::Values, cursor.at))?;
        match byte {
            Some(b'"') => self.values.push(Value::String(cursor.string()?.into())),
            Some(b'-' | b'0'..=b'9') => self.values.push(Value::Number(cursor.number()?)),
            Some(b'{') => return self.object(),
            Some(b'[') => return self.array(),
            Some(b't') => self.values.push(cursor.word("true", Value::Bool(true))?),
            Some(b'f') => self.values.push(cursor.word("false", Value::Bool(false))?),
            Some(b'n') => self.values.push(cursor.word("null", Value::Null)?),
            _ => return cursor.unexpected(),
        }
        Ok(true)
    }

    fn array(&mut self) -> Parsed<bool> {
        self.enter()?;
        if self.cursor.token() == Some(b']') {
            self.cursor.at += 1;
            self.values.push(Value::Array(Array::new()));
            return Ok(true);
        }
        self.open.push(Open { values: self.values.len(), kind: Kind::Array });
        Ok(false)
    }

    fn object(&mut self) -> Parsed<bool> {
        self.enter()?;
        if self.cursor.token() == Some(b'}') {
            self.cursor.at += 1;
            self.values.push(Value::Object(Object::new()));
            return Ok(true);
        }
        let offset = self.cursor.at;
        let first = self.cursor.name()?;
        let kind = match self.shapes.beginning_with(first) {
            Some(shape) => Kind::Shaped(shape),
            None => {
                self.names.push(Name { text: first.into(), offset });
                Kind::Object
            }
        };
        self.open.push(Open { values: self.values.len(), kind });
        self.cursor.colon()?;
        Ok(false)
    }

    fn enter(&mut self) -> Parsed<()> {
        if self.open.len() >= self.limits.depth_max {
            return self.cursor.stop(ParseReason::Depth);
        }
        self.cursor.at += 1;
        Ok(())
    }

    /// Continues after a value: closes containers that end here, up to the place of the next value. Returns whether
    /// the text has ended.
    #[inline]
    fn finish(&mut self) -> Parsed<bool> {
        loop {
            let byte = self.cursor.token();
            let Some(open) = self.open.last_mut() else {
                return if byte.is_none() { Ok(true) } else { self.cursor.stop(ParseReason::Trailing) };
            };
            let count = self.values.len() - open.values;
            if count > self.limits.members_max {
                return self.cursor.stop(ParseReason::Members);
            }
            let container = match (byte, &mut open.kind) {
                (Some(b','), kind) => {
                    self.cursor.at += 1;
                    if !matches!(kind, Kind::Array) {
                        self.cursor.token();
                        next_name(&mut self.cursor, &mut self.names, kind, count)?;
                    }
                    return Ok(false);
                }
                (Some(b']'), Kind::Array) => {
                    Value::Array(Array { items: Tree::split_off(&mut self.values, open.values) })
                }
                (Some(b'}'), kind @ (Kind::Object | Kind::Shaped(_))) => {
                    let names = close_names(&mut self.names, &mut self.shapes, kind, count)?;
                    Value::Object(Object::of(names, Tree::split_off(&mut self.values, open.values)))
                }
                _ => return self.cursor.unexpected(),
            };
            self.cursor.at += 1;
            self.open.pop();
            self.values.push(container);
        }
    }
}

/// Reads the name of the next member, after `count` members, and the colon.
#[inline]
fn next_name(cursor: &mut Cursor<'_>, names: &mut Vec<Name>, kind: &mut Kind, count: usize) -> Parsed<()> {
    let is_expected = match kind {
        Kind::Shaped(shape) => shape.list().get(count).is_some_and(|name| cursor.eat_plain(name)),
        Kind::Array | Kind::Object => false,
    };
    if !is_expected {
        leave_shape(names, kind, count);
        names.push(Name { offset: cursor.at, text: cursor.name()?.into() });
    }
    cursor.colon()
}

/// Puts the names of an earlier object on the stack, because this object's names differ from here on.
fn leave_shape(names: &mut Vec<Name>, kind: &mut Kind, count: usize) {
    if let Kind::Shaped(shape) = kind {
        names.extend(shape.list().iter().take(count).map(|name| Name { text: name.clone(), offset: 0 }));
        *kind = Kind::Object;
    }
}

/// The names of an object of `count` members that ends here.
fn close_names(
    names: &mut Vec<Name>,
    shapes: &mut Shapes,
    kind: &mut Kind,
    count: usize,
) -> Parsed<Arc<Names>> {
    match kind {
        Kind::Shaped(shape) if shape.list().len() == count => return Ok(Arc::clone(shape)),
        _ => leave_shape(names, kind, count),
    }
    let start = names.len() - count;
    let own = names.get_mut(start..).unwrap_or_default();
    let texts = own.iter_mut().map(|name| mem::take(&mut name.text)).collect();
    let built = Names::build(texts).map_err(|(repeated, _)| {
        let offset = own.get(repeated).map_or(0, |name| name.offset);
        Stop(ParseReason::Duplicate, offset)
    })?;
    names.truncate(start);
    let built = Arc::new(built);
    shapes.remember(&built);
    Ok(built)
}
