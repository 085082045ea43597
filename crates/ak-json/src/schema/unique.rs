//! `uniqueItems`, in time nearly linear in the size of the items.

use alloc::vec::Vec;

use crate::value::Value;
use crate::value::array::Array;
use crate::value::object::Object;
use crate::value::text::Text;
use crate::work::{self, OutOfWork, Work};

/// Units of work for copying a value and hashing it into a digest.
const VALUE: u64 = 12;
/// Units of work for a digest.
const DIGEST: u64 = 40;

/// Whether no two items are equal. The items must not be deeply nested.
pub(super) fn are_unique(array: &Array, work: &mut Work) -> Result<bool, OutOfWork> {
    // Comparing all pairs would take quadratic time.
    let mut digests = Vec::new();
    for item in array {
        work.spend(DIGEST + work::log2(array.len()) * 2)?;
        digests.push(canonical(item, work)?.digest());
    }
    digests.sort_unstable();
    Ok(digests.is_sorted_by(|a, b| a < b))
}

/// The same form for all equal values: one form of each number, one order of members.
fn canonical(value: &Value, work: &mut Work) -> Result<Value, OutOfWork> {
    work.spend(VALUE)?;
    Ok(match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(text) => {
            work.spend(text.len() as u64 / 4)?;
            value.clone()
        }
        Value::Number(number) => number.canonical().into(),
        Value::Array(array) => {
            work.spend(DIGEST)?;
            let items = array.iter().map(|item| canonical(item, work));
            Value::Array(items.collect::<Result<Array, _>>()?)
        }
        Value::Object(object) => {
            let ordering = 8 * work::log2(object.len());
            work.spend(DIGEST)?;
            for name in object.keys() {
                work.spend(VALUE + ordering * (1 + work::bytes(name.len())) + name.len() as u64 / 4)?;
            }
            let mut members: Vec<(&Text, &Value)> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            let members = members.into_iter().map(|(name, value)| Ok((name, canonical(value, work)?)));
            Value::Object(members.collect::<Result<Object, OutOfWork>>()?)
        }
    })
}
