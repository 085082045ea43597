//! `uniqueItems`, in time linear in the size of the items.

use alloc::vec::Vec;

use crate::array::Array;
use crate::object::Object;
use crate::text::Text;
use crate::value::Value;

/// Whether no two items are equal. The items must not be deep.
pub(super) fn are_unique(array: &Array) -> bool {
    // Comparing each with each would let a short text keep the processor busy for long.
    let mut digests: Vec<_> = array.iter().map(|item| canonical(item).digest()).collect();
    digests.sort_unstable();
    digests.is_sorted_by(|a, b| a < b)
}

/// The same for all equal values: numbers in one form, members in one order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
        Value::Number(number) => number.canonical().into(),
        Value::Array(array) => Value::Array(array.iter().map(canonical).collect()),
        Value::Object(object) => {
            let mut members: Vec<(&Text, &Value)> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            let members = members.into_iter().map(|(name, value)| (name, canonical(value)));
            Value::Object(members.collect::<Object>())
        }
    }
}
