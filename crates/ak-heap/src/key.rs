//! The order of values in indexes and results.

use ak_json::{Number, Text, Value};

/// Strings are ordered by their first 256 bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// The key by which a value is ordered: null, then `false` and `true`, numbers by value, strings by code points, and
/// last containers and missing values, which are all equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    Other,
}

impl Key {
    pub(crate) fn of(value: Option<&Value>) -> Key {
        match value {
            Some(Value::Null) => Key::Null,
            Some(Value::Bool(value)) => Key::Bool(*value),
            Some(Value::Number(value)) => Key::Number(*value),
            Some(Value::String(text)) if text.len() <= KEY_BYTES_MAX => Key::Text(text.clone()),
            Some(Value::String(text)) => {
                let end = (0..=KEY_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                Key::Text(text.split_at(end).0.into())
            }
            Some(Value::Array(_) | Value::Object(_)) | None => Key::Other,
        }
    }

    /// The scalar as JSON, or an empty array for a key without an order.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Key::Null => Value::Null,
            Key::Bool(value) => Value::Bool(*value),
            Key::Number(value) => Value::Number(*value),
            Key::Text(text) => Value::String(text.clone()),
            Key::Other => Value::Array(ak_json::Array::new()),
        }
    }
}
