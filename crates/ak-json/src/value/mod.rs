//! JSON values, and the shared structure that they are built on.

pub(crate) mod array;
mod deep;
pub(crate) mod drop_queue;
mod equal;
mod index;
pub(crate) mod json_len;
mod memo;
pub(crate) mod names;
pub(crate) mod number;
pub(crate) mod object;
pub(crate) mod text;
pub(crate) mod tree;

use alloc::string::String;
use alloc::vec::Vec;

use crate::value::array::Array;
use crate::value::number::Number;
use crate::value::object::Object;
use crate::value::text::Text;

/// A JSON value, which is cheap to clone: strings and containers share their contents.
///
/// Two values are equal by RFC 6902 §4.6: numbers by value, objects regardless of the order of members.
#[derive(Clone, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Text),
    /// An array.
    Array(Array),
    /// An object.
    Object(Object),
}

impl Value {
    /// The member of an object with this name; `None` when there is none, or this is not an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean; `None` for other kinds.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The number; `None` for other kinds.
    pub fn as_number(&self) -> Option<&Number> {
        if let Self::Number(value) = self { Some(value) } else { None }
    }

    /// The number as `u64`; `None` unless it is an integer, not a float, within the range of `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number()?.as_u64()
    }

    /// The number as `i64`; `None` unless it is an integer, not a float, within the range of `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number()?.as_i64()
    }

    /// The number as the nearest `f64`; `None` for other kinds.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().map(Number::as_f64)
    }

    /// The string; `None` for other kinds.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(value) = self { Some(value) } else { None }
    }

    /// The string as a [`Text`], whose clones are shared; `None` for other kinds.
    pub fn as_text(&self) -> Option<&Text> {
        if let Self::String(value) = self { Some(value) } else { None }
    }

    /// The array; `None` for other kinds.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(value) = self { Some(value) } else { None }
    }

    /// The object; `None` for other kinds.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(value) = self { Some(value) } else { None }
    }

    /// Levels of nesting: 0 for a scalar, 1 for a container that is empty or holds only scalars.
    pub fn depth(&self) -> u32 {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => 0,
            Self::Array(array) => array.items.depth(),
            Self::Object(object) => object.values.depth(),
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),* $(,)?) => {$(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool,
    Number => Number, u64 => Number, i64 => Number, u32 => Number, i32 => Number, usize => Number,
    Text => String, &Text => String, String => String, &String => String, &str => String,
    Array => Array, &Array => Array, Vec<Value> => Array,
    Object => Object, &Object => Object,
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

/// `None` becomes null.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Builds an object [`Value`] from names and values that convert to a [`Value`]. A name that is not a literal is
/// put in parentheses.
///
/// ```
/// let value = ak_json::object! { "name": "ak", "size": 3, "tags": ak_json::array!["a", 1] };
/// assert_eq!(value.to_json(), r#"{"name":"ak","size":3,"tags":["a",1]}"#);
/// ```
#[macro_export]
macro_rules! object {
    (@name $name:literal) => { $crate::Text::from_static($name) };
    (@name $name:tt) => { $name };
    ($($name:tt : $value:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "no members, nothing to insert")]
        let mut object = $crate::ObjectBuilder::with_capacity(0usize $(+ { stringify!($name); 1 })*);
        $(#[allow(unused_parens, reason = "a name that is no literal stands in parentheses")]
        object.insert($crate::object!(@name $name), $value);)*
        $crate::Value::Object(object.finish())
    }};
}

/// Builds an array [`Value`] from items that convert to a [`Value`].
#[macro_export]
macro_rules! array {
    ($($item:expr),* $(,)?) => {
        $crate::Value::Array(<$crate::Array as FromIterator<$crate::Value>>::from_iter([$($crate::Value::from($item)),*]))
    };
}
