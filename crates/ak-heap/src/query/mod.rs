//! Finding objects by their type, owner, version, labels and values.

mod cursor;
mod form;
mod run;

use alloc::vec::Vec;
use core::cmp::Ordering;

use ak_json::{Labels, OutOfWork, Pointer, Text, Value, Work};

pub use self::cursor::{Cursor, CursorError};
pub use self::form::QueryError;
pub use self::run::{Page, QUERY_TERMS_MAX, Scope};
use crate::object::Object;

/// Default of [`Query::limit`], in objects.
pub const PAGE_OBJECTS: usize = 100;

/// A search for live objects: the conditions, which must all hold, the order and the size of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Only objects of this type.
    pub type_name: Option<Text>,
    /// Only objects of this owner.
    pub owner: Option<Text>,
    /// Only objects of this version or a later one.
    pub version_min: u64,
    /// Only objects of this version or an earlier one.
    pub version_max: u64,
    /// Only objects with at least these labels.
    pub labels_min: Labels,
    /// Only objects with at most these labels.
    pub labels_max: Option<Labels>,
    /// Only objects whose values satisfy all of these conditions.
    pub filters: Vec<Filter>,
    /// The order of the results.
    pub order: Order,
    /// The most objects on a page; at most [`HeapConfig::page_objects_max`](crate::HeapConfig::page_objects_max).
    pub limit: usize,
    /// Continues after the page that gave this cursor; `None` for the first page.
    pub cursor: Option<Cursor>,
}

/// A condition on the value at a pointer.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Pointer to the value.
    pub pointer: Pointer,
    /// The condition.
    pub test: Test,
}

/// The conditions that a filter can test a value for. A missing value passes [`Exists(false)`](Test::Exists) and
/// nothing else.
///
/// Values are equal as in RFC 6902. Numbers are ordered, and so are strings (by code points); between other kinds of
/// values no comparison holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `=`: equal to this value.
    Equal(Value),
    /// `!=`: not equal to this value.
    NotEqual(Value),
    /// `<`: less than this value.
    Less(Value),
    /// `<=`: at most this value.
    AtMost(Value),
    /// `>`: greater than this value.
    Greater(Value),
    /// `>=`: at least this value.
    AtLeast(Value),
    /// `in`: equal to one of these values.
    In(Vec<Value>),
    /// `exists`: whether there is a value.
    Exists(bool),
    /// `prefix`: a string that begins with this text.
    Prefix(Text),
    /// `contains`: a string that contains this string, or an array with an item equal to this value.
    Contains(Value),
}

/// The order of the results of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By index in the heap's table; as long as no object is deleted, this is the order of creation.
    #[default]
    Place,
    /// By the value at the pointer: null, `false`, `true`, numbers, strings by their first
    /// [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX) bytes, and last containers and missing values; equal values by index
    /// in the table.
    Value {
        /// Pointer to the value.
        pointer: Pointer,
        /// Whether the order is reversed, among equal values too.
        descending: bool,
    },
}

impl Default for Query {
    fn default() -> Query {
        Query {
            type_name: None,
            owner: None,
            version_min: 0,
            version_max: u64::MAX,
            labels_min: Labels::default(),
            labels_max: None,
            filters: Vec::new(),
            order: Order::default(),
            limit: PAGE_OBJECTS,
            cursor: None,
        }
    }
}

impl Query {
    /// Whether the object matches all conditions; order and cursor are not among them.
    ///
    /// # Errors
    /// [`OutOfWork`] when the work is not enough.
    pub fn matches(&self, object: &Object, work: &mut Work) -> Result<bool, OutOfWork> {
        let secrets = self.labels_min.secrecy.len().saturating_add(object.labels().secrecy.len());
        work.spend(4 + 10 * secrets as u64)?;
        let matches = self.type_name.as_ref().is_none_or(|name| name == object.type_name())
            && self.owner.as_ref().is_none_or(|owner| owner == object.owner())
            && (self.version_min..=self.version_max).contains(&object.version())
            && self.labels_min.flows_to(object.labels())
            && self.labels_max.as_ref().is_none_or(|max| object.labels().flows_to(max));
        if !matches {
            return Ok(false);
        }
        for filter in &self.filters {
            if !filter.matches(object, work)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Filter {
    fn matches(&self, object: &Object, work: &mut Work) -> Result<bool, OutOfWork> {
        work.spend(2)?;
        let document = object.content().as_json();
        let value = match document {
            Some(document) => document.find(&self.pointer, work)?,
            None => None,
        };
        self.test.passes(value, work)
    }
}

impl Test {
    /// Whether the value, or its absence, passes the test.
    ///
    /// # Errors
    /// [`OutOfWork`] when the work is not enough.
    pub fn passes(&self, value: Option<&Value>, work: &mut Work) -> Result<bool, OutOfWork> {
        let Some(value) = value else { return Ok(*self == Test::Exists(false)) };
        Ok(match self {
            Test::Equal(other) => value.equals(other, work)?,
            Test::NotEqual(other) => !value.equals(other, work)?,
            Test::Less(other) => compare(value, other, work)?.is_some_and(Ordering::is_lt),
            Test::AtMost(other) => compare(value, other, work)?.is_some_and(Ordering::is_le),
            Test::Greater(other) => compare(value, other, work)?.is_some_and(Ordering::is_gt),
            Test::AtLeast(other) => compare(value, other, work)?.is_some_and(Ordering::is_ge),
            Test::In(others) => any_equals(others, value, work)?,
            Test::Exists(wanted) => *wanted,
            Test::Prefix(prefix) => {
                work.spend(1 + prefix.len() as u64 / BYTES_PER_UNIT)?;
                value.as_str().is_some_and(|text| text.starts_with(&**prefix))
            }
            Test::Contains(part) => match (value, part) {
                (Value::String(text), Value::String(part)) => {
                    work.spend(10 + (text.len() as u64 + part.len() as u64) / SEARCHED_BYTES_PER_UNIT)?;
                    text.contains(&**part)
                }
                (Value::Array(items), part) => any_equals(items, part, work)?,
                _ => false,
            },
        })
    }
}

/// Bytes compared for one unit of work.
const BYTES_PER_UNIT: u64 = 64;
/// Bytes of a string searched for one unit of work.
const SEARCHED_BYTES_PER_UNIT: u64 = 3;

fn any_equals<'a>(
    values: impl IntoIterator<Item = &'a Value>,
    wanted: &Value,
    work: &mut Work,
) -> Result<bool, OutOfWork> {
    for value in values {
        if value.equals(wanted, work)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compare(a: &Value, b: &Value, work: &mut Work) -> Result<Option<Ordering>, OutOfWork> {
    Ok(match (a, b) {
        (Value::Number(a), Value::Number(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => {
            work.spend(1 + a.len().min(b.len()) as u64 / BYTES_PER_UNIT)?;
            Some(a.cmp(b))
        }
        _ => None,
    })
}
