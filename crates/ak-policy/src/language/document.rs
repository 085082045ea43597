//! A policy text, TOML or JSON, as one value, and the position in the text of each place in the value.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Array, Limits, Number, Object, Pointer, Value, array_index};
use toml::de::{DeTable, DeValue};

use super::error::PolicyError;

/// The most bytes of a policy text.
pub const POLICY_BYTES_MAX: usize = 4 << 20;

/// What is wrong with a document, with the place in its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Pointer,
    /// Whether the fault is in the member's name, not in its value.
    pub(crate) key: bool,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// A policy text and its value.
pub(crate) struct Document<'a> {
    text: &'a str,
    format: Format,
    pub(crate) value: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Toml,
    Json,
}

impl<'a> Document<'a> {
    /// Reads JSON when the first character other than white space is `{`, TOML otherwise.
    pub(crate) fn parse(text: &'a str) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            let message = alloc::format!("policy is longer than {POLICY_BYTES_MAX} bytes");
            return Err(PolicyError { source: None, line: 1, column: 1, message, hint: None });
        }
        if text.trim_start().starts_with('{') {
            let value = parse_json(text)?;
            return Ok(Self { text, format: Format::Json, value });
        }
        let table = parse_toml(text)?;
        let value = no_inline_rules(text, &table).and_then(|()| convert_table(&table, &Pointer::root()));
        let value =
            value.map_err(|fault| Self { text, format: Format::Toml, value: Value::Null }.locate(fault))?;
        Ok(Self { text, format: Format::Toml, value })
    }

    /// A document of a value that was already read, and the value's JSON text.
    pub(crate) fn of(value: &Value, text: &'a str) -> Self {
        Self { text, format: Format::Json, value: value.clone() }
    }

    /// Finds the line and column of a fault in the text.
    pub(crate) fn locate(&self, fault: Fault) -> PolicyError {
        let offset = match self.format {
            Format::Toml => locate_toml(self.text, &fault.at, fault.key),
            Format::Json => locate_json(self.text, &fault.at, fault.key),
        };
        error_at(self.text, offset.unwrap_or(0), fault.message, fault.hint)
    }
}

fn error_at(text: &str, offset: usize, message: String, hint: Option<String>) -> PolicyError {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    PolicyError { source: None, line, column, message, hint }
}

fn parse_json(text: &str) -> Result<Value, PolicyError> {
    let limits = Limits { bytes_max: POLICY_BYTES_MAX, ..Limits::default() };
    Value::parse(text.as_bytes(), &limits)
        .map_err(|error| error_at(text, error.offset, error.reason.to_string(), None))
}

fn parse_toml(text: &str) -> Result<DeTable<'_>, PolicyError> {
    DeTable::parse(text).map(toml::Spanned::into_inner).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        error_at(text, offset, error.message().to_owned(), None)
    })
}

/// Rejects `rule = [{ … }]`: every policy must allow another `[[rule]]` to be appended, which is impossible after
/// an inline array.
fn no_inline_rules(text: &str, table: &DeTable<'_>) -> Result<(), Fault> {
    let tables = |value: &toml::Spanned<DeValue<'_>>| {
        text.get(value.span()).is_some_and(|value| value.is_empty() || value.starts_with("[["))
    };
    if table.iter().all(|(name, value)| name.get_ref() != "rule" || tables(value)) {
        return Ok(());
    }
    Err(Fault {
        at: ["rule".into()].into_iter().collect(),
        key: true,
        message: "rules are tables of their own".to_owned(),
        hint: Some("write each behind a line '[[rule]]'".to_owned()),
    })
}

// The TOML parser limits the depth of documents, so recursion here is bounded.

fn convert_table(table: &DeTable<'_>, at: &Pointer) -> Result<Value, Fault> {
    let mut object = Object::new();
    for (key, value) in table {
        let mut at = at.clone();
        at.push(key.get_ref().as_ref());
        object.insert(key.get_ref().as_ref(), convert(value.get_ref(), &at)?);
    }
    Ok(Value::Object(object))
}

fn convert(value: &DeValue<'_>, at: &Pointer) -> Result<Value, Fault> {
    let fault = |message: &str| Fault { at: at.clone(), key: false, message: message.to_owned(), hint: None };
    Ok(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(integer) => {
            let (text, radix) = (integer.as_str(), integer.radix());
            let unsigned = u64::from_str_radix(text, radix).map(Number::from);
            let number = unsigned.or_else(|_| i64::from_str_radix(text, radix).map(Number::from));
            Value::Number(number.map_err(|_| fault("integer beyond 64 bits"))?)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(number.ok_or_else(|| fault("number is not finite"))?)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
        DeValue::Array(items) => {
            let mut array = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let mut at = at.clone();
                at.push(index.to_string());
                array.push(convert(item.get_ref(), &at)?);
            }
            Value::Array(array.into_iter().collect::<Array>())
        }
        DeValue::Table(table) => convert_table(table, at)?,
    })
}

/// Walks the TOML document a second time, for the positions in the text.
fn locate_toml(text: &str, at: &Pointer, key: bool) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut value = &DeValue::Table(table.into_inner());
    let mut offset = 0;
    let mut tokens = at.tokens().iter().peekable();
    while let Some(token) = tokens.next() {
        match value {
            DeValue::Table(table) => {
                let (name, member) = table.iter().find(|(name, _)| name.get_ref().as_ref() == &**token)?;
                let named = key && tokens.peek().is_none();
                // A table written in several parts has no position of its own, but its name has one.
                let place = if named || member.span().is_empty() { name.span() } else { member.span() };
                offset = place.start;
                value = member.get_ref();
            }
            DeValue::Array(items) => {
                let item = items.get(array_index(token)?)?;
                if !item.span().is_empty() {
                    offset = item.span().start;
                }
                value = item.get_ref();
            }
            _ => return Some(offset),
        }
    }
    Some(offset)
}

/// Walks the JSON text, which is known to be well formed.
fn locate_json(text: &str, at: &Pointer, key: bool) -> Option<usize> {
    let mut cursor = Cursor { text: text.as_bytes(), at: 0 };
    let mut tokens = at.tokens().iter().peekable();
    while let Some(token) = tokens.next() {
        cursor.skip_space();
        match cursor.bump()? {
            b'{' => loop {
                cursor.skip_space();
                let start = cursor.at;
                cursor.skip_value()?;
                let name = Value::parse(text.as_bytes().get(start..cursor.at)?, &Limits::default()).ok()?;
                if name.as_str() == Some(token) && key && tokens.peek().is_none() {
                    return Some(start);
                }
                cursor.skip_past(b':')?;
                if name.as_str() == Some(token) {
                    break;
                }
                cursor.skip_value()?;
                cursor.skip_past(b',')?;
            },
            b'[' => {
                for _ in 0..array_index(token)? {
                    cursor.skip_value()?;
                    cursor.skip_past(b',')?;
                }
            }
            _ => return None,
        }
    }
    cursor.skip_space();
    Some(cursor.at)
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn skip_past(&mut self, separator: u8) -> Option<()> {
        self.skip_space();
        (self.bump()? == separator).then_some(())
    }

    fn skip_value(&mut self) -> Option<()> {
        self.skip_space();
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            let ends = self.peek().is_none_or(|next| matches!(next, b',' | b':' | b'}' | b']'));
            if depth == 0 && (ends || self.peek().is_some_and(|next| next.is_ascii_whitespace())) {
                return Some(());
            }
        }
    }

    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.bump()? {
                b'\\' => self.at += 1,
                b'"' => return Some(()),
                _ => {}
            }
        }
    }
}
