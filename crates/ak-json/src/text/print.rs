//! Writes compact JSON text.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::value::Value;
use crate::value::array::{Array, Items};
use crate::value::json_len::{escape, plain_len, string_len};
use crate::value::object::{Members, Object};
use crate::value::tree::Tree;

/// The items or members of a container that are not written yet.
enum Rest<'a> {
    Array(Items<'a>),
    Object(Members<'a>),
}

impl Value {
    /// The compact JSON text, with members in their order.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends the compact JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut open = Vec::new();
        write_head(self, out, &mut open);
        while let Some(rest) = open.last_mut() {
            let (next, end) = match rest {
                Rest::Array(items) => (items.next().map(|item| (None, item)), b']'),
                Rest::Object(members) => (members.next().map(|(name, value)| (Some(name), value)), b'}'),
            };
            let Some((name, value)) = next else {
                out.push(end);
                open.pop();
                continue;
            };
            if !matches!(out.last(), Some(b'[' | b'{')) {
                out.push(b',');
            }
            if let Some(name) = name {
                write_string(name, out);
                out.push(b':');
            }
            write_head(value, out, &mut open);
        }
    }

    /// The length of the compact JSON text in bytes, which containers remember; `usize::MAX` for a container of 4
    /// GiB or more.
    pub fn json_len(&self) -> usize {
        self.deepest_first(Self::is_measured, |value| {
            value.json_len_shallow();
        });
        self.json_len_shallow()
    }

    /// Whether [`json_len`](Self::json_len) takes no walk: the length is remembered, or this is a scalar.
    pub fn is_measured(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::Array(array) => array.items.is_measured(),
            Self::Object(object) => object.values.is_measured(),
        }
    }

    /// Like [`json_len`](Self::json_len), for a value that is not deep or whose inner values are measured.
    pub(crate) fn json_len_shallow(&self) -> usize {
        match self {
            Self::Null | Self::Bool(true) => 4,
            Self::Bool(false) => 5,
            Self::Number(number) => number.with_text(str::len),
            Self::String(text) => string_len(text),
            Self::Array(array) => container_len(array.len(), array.items.json_len()),
            Self::Object(object) => {
                let names = object.names().map_or(0, Tree::json_len);
                container_len(object.len(), names.saturating_add(object.values.json_len()))
            }
        }
    }
}

/// The length of a container with brackets and commas.
fn container_len(len: usize, bytes: usize) -> usize {
    bytes.saturating_add(len.saturating_sub(1)).saturating_add(2)
}

/// Writes a scalar, or the opening bracket of a container, and adds the container's contents to `open`.
fn write_head<'a>(value: &'a Value, out: &mut Vec<u8>, open: &mut Vec<Rest<'a>>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => number.with_text(|text| out.extend_from_slice(text.as_bytes())),
        Value::String(text) => write_string(text, out),
        Value::Array(array) => {
            out.push(b'[');
            open.push(Rest::Array(array.iter()));
        }
        Value::Object(object) => {
            out.push(b'{');
            open.push(Rest::Object(object.iter()));
        }
    }
}

/// Appends a string in quotes, escaping only what RFC 8259 §7 requires.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at_checked(plain_len(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match escape(*byte) {
            b'u' => {
                let low = char::from_digit(u32::from(byte & 15), 16).map_or(0, |digit| digit as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = after;
    }
    out.push(b'"');
}

macro_rules! show {
    ($($shown:ty => $value:expr),*) => {$(
        /// Writes the compact JSON text.
        impl fmt::Display for $shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value: fn(&Self) -> Value = $value;
                f.write_str(&value(self).to_json())
            }
        }

        /// Writes the compact JSON text.
        impl fmt::Debug for $shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

show! {
    Value => Self::clone,
    Array => |array| Value::Array(array.clone()),
    Object => |object| Value::Object(object.clone())
}
