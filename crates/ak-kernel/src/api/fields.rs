//! Reads a JSON object member by member. A member that is unknown, or of the wrong type, makes the whole object
//! invalid.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_heap::{Content, Handle};
use ak_json::{Array, Digest, Object, Text, Value};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::api::session::AgentId;

/// Which member of an object is not accepted, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FieldError {
    /// The member, such as `args.path`.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldError {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> FieldError {
        FieldError { path: path.into(), reason: reason.into() }
    }
}

/// A JSON object whose members are read one by one.
pub(crate) struct Fields<'a> {
    path: &'a str,
    object: Object,
    taken: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(path: &'a str, value: &Value) -> Result<Fields<'a>, FieldError> {
        match value {
            Value::Object(object) => Ok(Fields { path, object: object.clone(), taken: Vec::new() }),
            _ => Err(FieldError::new(path, "expected an object")),
        }
    }

    pub(crate) fn error(&self, name: &str, reason: impl Into<String>) -> FieldError {
        FieldError::new(format!("{}.{name}", self.path), reason)
    }

    /// The member; `None` if it is absent or null.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<Value> {
        self.taken.push(name);
        self.object.get(name).filter(|value| !value.is_null()).cloned()
    }

    /// The member; `None` if it is absent. A null is returned as a value.
    pub(crate) fn member(&mut self, name: &'static str) -> Option<Value> {
        self.taken.push(name);
        self.object.get(name).cloned()
    }

    /// The member, of any type. A null is returned as a value.
    pub(crate) fn value(&mut self, name: &'static str) -> Result<Value, FieldError> {
        self.member(name).ok_or_else(|| self.error(name, "is missing"))
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Text, FieldError> {
        self.optional_text(name)?.ok_or_else(|| self.error(name, "is missing"))
    }

    pub(crate) fn optional_text(&mut self, name: &'static str) -> Result<Option<Text>, FieldError> {
        match self.optional(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(name, "expected a string")),
        }
    }

    pub(crate) fn u64(&mut self, name: &'static str) -> Result<u64, FieldError> {
        self.optional_u64(name)?.ok_or_else(|| self.error(name, "is missing"))
    }

    pub(crate) fn optional_u64(&mut self, name: &'static str) -> Result<Option<u64>, FieldError> {
        match self.optional(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.error(name, "expected an integer from 0 to 2^64-1")),
            },
        }
    }

    /// A boolean member; false if it is absent.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, FieldError> {
        match self.optional(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.error(name, "expected true or false")),
        }
    }

    pub(crate) fn bytes(&mut self, name: &'static str) -> Result<Arc<[u8]>, FieldError> {
        self.optional_bytes(name)?.ok_or_else(|| self.error(name, "is missing"))
    }

    pub(crate) fn optional_bytes(&mut self, name: &'static str) -> Result<Option<Arc<[u8]>>, FieldError> {
        match self.optional_text(name)? {
            None => Ok(None),
            Some(text) => match URL_SAFE_NO_PAD.decode(text.as_bytes()) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(_) => Err(self.error(name, "expected base64url without padding")),
            },
        }
    }

    /// An object member.
    pub(crate) fn members(&mut self, name: &'static str) -> Result<Object, FieldError> {
        match self.value(name)? {
            Value::Object(members) => Ok(members),
            _ => Err(self.error(name, "expected an object")),
        }
    }

    /// An array member.
    pub(crate) fn items(&mut self, name: &'static str) -> Result<Array, FieldError> {
        match self.value(name)? {
            Value::Array(items) => Ok(items),
            _ => Err(self.error(name, "expected an array")),
        }
    }

    /// A member that is the number of an agent.
    pub(crate) fn account(&mut self, name: &'static str) -> Result<AgentId, FieldError> {
        let number =
            u32::try_from(self.u64(name)?).map_err(|_| self.error(name, "expected a number of an agent"))?;
        Ok(AgentId::from_number(number))
    }

    /// A member that is an array of strings.
    pub(crate) fn texts(&mut self, name: &'static str) -> Result<Vec<Text>, FieldError> {
        let items = self.items(name)?;
        let texts: Option<Vec<Text>> = items.iter().map(|item| item.as_text().cloned()).collect();
        texts.ok_or_else(|| self.error(name, "expected strings"))
    }

    /// A member that is a digest: 64 hexadecimal digits.
    pub(crate) fn digest(&mut self, name: &'static str) -> Result<Digest, FieldError> {
        let text = self.text(name)?;
        text.parse().map_err(|_| self.error(name, "expected 64 hexadecimal digits"))
    }

    /// The object with all its members, for another reader; every member counts as read.
    pub(crate) fn rest(&mut self) -> Object {
        core::mem::take(&mut self.object)
    }

    /// Ends the reading. A member that was not read is an error.
    pub(crate) fn finish(self) -> Result<(), FieldError> {
        match self.object.iter().find(|(key, _)| !self.taken.contains(&&***key)) {
            None => Ok(()),
            Some((key, _)) => Err(self.error(key, "is not known here")),
        }
    }
}

/// Bytes in their wire form: base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> Value {
    Value::from(URL_SAFE_NO_PAD.encode(bytes))
}

pub(crate) fn insert_some<V: Into<Value>>(object: &mut Object, name: &str, value: Option<V>) {
    if let Some(value) = value {
        object.insert(name, value);
    }
}

/// Content in its wire form: a JSON object under `value`, bytes under `bytes`.
pub(crate) fn content_members(content: &Content) -> Object {
    let mut members = Object::new();
    match content {
        Content::Json(value) => members.insert("value", value.clone()),
        Content::Raw(bytes) => members.insert("bytes", base64url(bytes)),
    };
    members
}

pub(crate) fn content_field(fields: &mut Fields<'_>) -> Result<Content, FieldError> {
    match fields.member("value") {
        Some(value) => Ok(Content::Json(value)),
        None => Ok(Content::Raw(fields.bytes("bytes")?)),
    }
}

pub(crate) fn handle_field(fields: &mut Fields<'_>) -> Result<Handle, FieldError> {
    let text = fields.text("handle")?;
    text.parse().map_err(|_| fields.error("handle", "expected a handle such as 0x100000000"))
}

pub(crate) fn env_field(fields: &mut Fields<'_>) -> Result<Vec<(Text, Text)>, FieldError> {
    let wrong = || FieldError::new("args.env", "expected names and values that are strings");
    match fields.optional("env") {
        None => Ok(Vec::new()),
        Some(Value::Object(members)) => {
            let pairs = members.iter().map(|(name, value)| Some((name.clone(), value.as_text()?.clone())));
            pairs.collect::<Option<_>>().ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

/// Upper bound of the length of bytes in base64url: four characters for three bytes.
pub(crate) const fn encoded_bytes(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 3).saturating_add(4)
}

/// Reads headers: an object, or an array of `[name, value]` if a name occurs twice.
pub(crate) fn headers_field(fields: &mut Fields<'_>) -> Result<Vec<(Text, Text)>, FieldError> {
    let wrong = || FieldError::new("args.headers", "expected names and values that are strings");
    let pair = |name: &Value, value: &Value| match (name, value) {
        (Value::String(name), Value::String(value)) => Ok((name.clone(), value.clone())),
        _ => Err(wrong()),
    };
    match fields.optional("headers") {
        None => Ok(Vec::new()),
        Some(Value::Object(members)) => {
            members.iter().map(|(name, value)| pair(&Value::from(name.clone()), value)).collect()
        }
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item.as_array() {
                Some(both) if both.len() == 2 => match (both.get(0), both.get(1)) {
                    (Some(name), Some(value)) => pair(name, value),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}
