//! Equality as RFC 6902 §4.6 defines it.

use alloc::vec::Vec;

use crate::array::Array;
use crate::object::Object;
use crate::value::Value;

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        // Nested values wait in a list, so that no depth exhausts the stack.
        let mut waiting = Vec::new();
        let mut equal = same(self, other, &mut waiting);
        while equal && let Some((a, b)) = waiting.pop() {
            equal = same(a, b, &mut waiting);
        }
        equal
    }
}

impl Eq for Value {}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        Value::Array(self.clone()) == Value::Array(other.clone())
    }
}

impl Eq for Array {}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        Value::Object(self.clone()) == Value::Object(other.clone())
    }
}

impl Eq for Object {}

/// Whether two values are equal as far as they are not containers, whose contents are put on the list.
fn same<'a>(a: &'a Value, b: &'a Value, waiting: &mut Vec<(&'a Value, &'a Value)>) -> bool {
    let mut compare = |a: &'a Value, b: &'a Value| match (a, b) {
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {
            waiting.push((a, b));
            true
        }
        _ => scalars_equal(a, b),
    };
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.items.is_same(&b.items) || a.len() == b.len() && a.iter().zip(b).all(|(a, b)| compare(a, b))
        }
        (Value::Object(a), Value::Object(b)) if a.has_names_of(b) => {
            a.values.is_same(&b.values) || a.values().zip(b.values()).all(|(a, b)| compare(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| compare(a, b)))
        }
        _ => scalars_equal(a, b),
    }
}

fn scalars_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        _ => false,
    }
}
