//! Typed access to a document, with errors that give the place and a suggestion.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Number, Object, Pointer, Text, Value};

pub(super) use super::document::Fault;
use super::hint::did_you_mean;
use crate::pattern::PatternError;

/// A value of the document with its place.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    at: Pointer,
}

/// A table of the document, whose keys are all allowed.
pub(crate) struct Table<'a> {
    object: &'a Object,
    at: Pointer,
}

pub(crate) type ReadResult<T> = Result<T, Fault>;

impl<'a> Node<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, at: Pointer::root() }
    }

    pub(crate) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { at: self.at.clone(), key: false, message: message.into(), hint: None }
    }

    /// A fault in the member's name.
    pub(crate) fn key_fault(&self, message: impl Into<String>) -> Fault {
        Fault { key: true, ..self.fault(message) }
    }

    fn wrong(&self, wanted: &str) -> Fault {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "a table",
        };
        self.fault(alloc::format!("expected {wanted}, found {found}"))
    }

    /// The value as a table that has only allowed keys.
    pub(crate) fn table(&self, allowed: &[&str]) -> ReadResult<Table<'a>> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("a table"))?;
        for name in object.keys() {
            if !allowed.contains(&&**name) {
                return Err(self.unknown_key(name, allowed));
            }
        }
        Ok(Table { object, at: self.at.clone() })
    }

    fn unknown_key(&self, name: &Text, allowed: &[&str]) -> Fault {
        let mut at = self.at.clone();
        at.push(name.clone());
        let hint = Some(did_you_mean(name, allowed));
        Fault { at, key: true, message: alloc::format!("unknown key '{name}'"), hint }
    }

    /// The members of a table with arbitrary keys.
    pub(crate) fn members(&self) -> ReadResult<Vec<(&'a Text, Node<'a>)>> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("a table"))?;
        Ok(object.iter().map(|(name, value)| (name, self.child(name.clone(), value))).collect())
    }

    pub(crate) fn items(&self) -> ReadResult<Vec<Node<'a>>> {
        let array = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        Ok(array.iter().enumerate().map(|(at, value)| self.child(alloc::format!("{at}"), value)).collect())
    }

    /// The items of a non-empty array, or the value itself when it is not an array.
    pub(crate) fn one_or_many(&self) -> ReadResult<Vec<Node<'a>>> {
        let items = if self.value.as_array().is_some() { self.items()? } else { alloc::vec![self.clone()] };
        if items.is_empty() { Err(self.fault("array is empty")) } else { Ok(items) }
    }

    fn child(&self, token: impl Into<Text>, value: &'a Value) -> Node<'a> {
        let mut at = self.at.clone();
        at.push(token);
        Node { value, at }
    }

    /// The value as a string that is not empty.
    pub(crate) fn text(&self) -> ReadResult<&'a str> {
        let text = self.any_text()?;
        if text.is_empty() { Err(self.fault("string is empty")) } else { Ok(text) }
    }

    /// The value as a string that may be empty.
    pub(crate) fn any_text(&self) -> ReadResult<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    pub(crate) fn boolean(&self) -> ReadResult<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub(crate) fn number(&self) -> ReadResult<Number> {
        self.value.as_number().copied().ok_or_else(|| self.wrong("a number"))
    }

    /// The value as an integer that is not negative.
    pub(crate) fn unsigned(&self) -> ReadResult<u64> {
        let number = self.number()?;
        number.as_u64().ok_or_else(|| self.fault("expected a whole number that is not negative"))
    }

    /// The option whose name the value is.
    pub(crate) fn choice<T: Copy>(&self, options: &[T], name: impl Fn(T) -> &'static str) -> ReadResult<T> {
        let text = self.text()?;
        let found = options.iter().copied().find(|option| name(*option) == text);
        found.ok_or_else(|| {
            self.unknown(text, &options.iter().map(|option| name(*option)).collect::<Vec<_>>())
        })
    }

    /// A fault about a name that is not one of the known ones.
    pub(crate) fn unknown(&self, text: &str, known: &[&str]) -> Fault {
        Fault {
            hint: Some(did_you_mean(text, known)),
            ..self.fault(alloc::format!("'{text}' is not known here"))
        }
    }
}

impl<'a> Table<'a> {
    pub(crate) fn find(&self, key: &str) -> Option<Node<'a>> {
        let value = self.object.get(key)?;
        let mut at = self.at.clone();
        at.push(key);
        Some(Node { value, at })
    }

    pub(crate) fn need(&self, key: &str) -> ReadResult<Node<'a>> {
        self.find(key).ok_or_else(|| self.fault(alloc::format!("'{key}' is missing")))
    }

    pub(crate) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { at: self.at.clone(), key: false, message: message.into(), hint: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.object.is_empty()
    }
}

impl Fault {
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }
}

/// The fault of an invalid pattern, with its hint.
pub(super) fn pattern_fault(node: &Node<'_>, error: PatternError) -> Fault {
    let fault = node.fault(error.to_string());
    let written = node.value.as_str().filter(|_| error == PatternError::NotAbsolute);
    match (written, error.hint()) {
        (Some(text), _) => fault.with_hint(&absolute_form(text)),
        (None, Some(hint)) => fault.with_hint(hint),
        (None, None) => fault,
    }
}

/// How to write a path pattern that does not begin with '/'.
fn absolute_form(text: &str) -> String {
    if text.starts_with('~') {
        "'~' is not expanded: write the home directory out".into()
    } else if text.starts_with("**/") {
        alloc::format!("write '/{text}'")
    } else if text.starts_with("../") || text.chars().count() > 40 {
        "begin with '/', or with './' for the policy file's directory".into()
    } else {
        alloc::format!(
            "write '/{text}', './{text}' for the policy file's directory, or '/**/{text}' for any depth"
        )
    }
}
