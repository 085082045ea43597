//! Finding objects by what they hold.

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

/// Objects on a page where a query does not say.
pub const PAGE_OBJECTS: usize = 100;

/// Which live objects to find, in what order, how many at once. All conditions must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Of this type.
    pub type_name: Option<Text>,
    /// Of this owner.
    pub owner: Option<Text>,
    /// Of this version or a later one.
    pub version_min: u64,
    /// Of this version or an earlier one.
    pub version_max: u64,
    /// Carrying at least these labels.
    pub labels_min: Labels,
    /// Carrying at most these labels.
    pub labels_max: Option<Labels>,
    /// With such values.
    pub filters: Vec<Filter>,
    /// In this order.
    pub order: Order,
    /// The most objects on a page.
    pub limit: usize,
    /// After the page that ended here.
    pub cursor: Option<Cursor>,
}

/// A condition on the value at a pointer.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Where the value stands.
    pub pointer: Pointer,
    /// What it must be.
    pub test: Test,
}

/// What a value must be. A place without a value passes [`Exists(false)`](Test::Exists) and nothing else.
///
/// Values are equal as in RFC 6902. Numbers have an order among themselves, and so do strings (by code points);
/// between values of other kinds no comparison holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `=`
    Equal(Value),
    /// `!=`
    NotEqual(Value),
    /// `<`
    Less(Value),
    /// `<=`
    AtMost(Value),
    /// `>`
    Greater(Value),
    /// `>=`
    AtLeast(Value),
    /// `in`: equal to one of these.
    In(Vec<Value>),
    /// `exists`: whether there is a value at all.
    Exists(bool),
    /// `prefix`: a string that begins so.
    Prefix(Text),
    /// `contains`: a string with this one in it, or an array with such an item.
    Contains(Value),
}

/// The order of results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By place in the heap's table, which for objects never deleted is the order of their creation.
    #[default]
    Place,
    /// By the value at the pointer: null, `false`, `true`, numbers, strings by their first [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX) bytes,
    /// and at last containers and objects without a value there; equals by place.
    Value {
        /// Where the value stands.
        pointer: Pointer,
        /// Whether the order is the other way round, among equals too.
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
    /// Whether the object is one of those looked for, wherever it stands in their order.
    ///
    /// # Errors
    /// [`OutOfWork`] when the work is not enough to tell.
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
    /// Whether the value, or its absence, is as it must be.
    ///
    /// # Errors
    /// [`OutOfWork`] when the work is not enough to tell.
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

/// Bytes that are compared for one unit of work.
const BYTES_PER_UNIT: u64 = 64;
/// Bytes of a string in which another is sought for one unit of work.
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
