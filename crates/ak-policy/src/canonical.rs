//! Sorts JSON whose order has no meaning, for the canonical form.

use alloc::vec::Vec;

use ak_json::{Object, Value};

/// The value with the members of every object in ascending order, at any depth.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            Value::Object(members.into_iter().map(|(name, value)| (name, sorted(value))).collect::<Object>())
        }
        Value::Array(array) => Value::from(array.iter().map(sorted).collect::<Vec<_>>()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The texts of the items as a JSON array in ascending order, without duplicates.
pub(crate) fn set<T: alloc::string::ToString>(items: impl IntoIterator<Item = T>) -> Value {
    let mut texts: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    texts.sort();
    texts.dedup();
    Value::from(texts.into_iter().map(Value::from).collect::<Vec<_>>())
}
