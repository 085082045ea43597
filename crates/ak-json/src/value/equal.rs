//! Equality of values, RFC 6902 §4.6.

use alloc::vec::Vec;

use crate::value::Value;
use crate::value::array::Array;
use crate::value::object::Object;
use crate::work::{self, OutOfWork, Work};

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other, &mut Work::unlimited()).unwrap_or(false)
    }
}

impl Value {
    /// Whether the values are equal. Spends work in proportion to what is compared.
    ///
    /// # Errors
    /// [`OutOfWork`] when `work` runs out.
    pub fn equals(&self, other: &Self, work: &mut Work) -> Result<bool, OutOfWork> {
        // Nested values are kept in a list, so that no depth exhausts the stack.
        let mut waiting = Vec::new();
        let mut equal = same(self, other, &mut waiting, work)?;
        while equal && let Some((a, b)) = waiting.pop() {
            equal = same(a, b, &mut waiting, work)?;
        }
        Ok(equal)
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

/// Compares two values; containers within them are added to `waiting`.
fn same<'a>(
    a: &'a Value,
    b: &'a Value,
    waiting: &mut Vec<(&'a Value, &'a Value)>,
    work: &mut Work,
) -> Result<bool, OutOfWork> {
    let mut compare = |a: &'a Value, b: &'a Value, work: &mut Work| match (a, b) {
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {
            work.spend(2)?;
            waiting.push((a, b));
            Ok(true)
        }
        _ => scalars_equal(a, b, work),
    };
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            if a.items.is_same(&b.items) {
                return Ok(true);
            }
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b) {
                if !compare(a, b, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(a), Value::Object(b)) if a.has_names_of(b) => {
            if a.values.is_same(&b.values) {
                return Ok(true);
            }
            for (a, b) in a.values().zip(b.values()) {
                if !compare(a, b, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(a), Value::Object(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (name, a) in a {
                work.spend(b.lookup_work(name))?;
                match b.get(name) {
                    Some(b) if compare(a, b, work)? => {}
                    Some(_) | None => return Ok(false),
                }
            }
            Ok(true)
        }
        _ => scalars_equal(a, b, work),
    }
}

fn scalars_equal(a: &Value, b: &Value, work: &mut Work) -> Result<bool, OutOfWork> {
    work.spend(3)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) if a.len() == b.len() => {
            work.spend(work::bytes(a.len()))?;
            a == b
        }
        _ => false,
    })
}
