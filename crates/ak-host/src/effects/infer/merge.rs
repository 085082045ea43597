//! Merges the deltas of a message by the path of each part.

use ak_json::{Array, Object, Text, Value, object};

/// Maximum number of choices, and of items in a list of a choice, such as tool calls; further ones are ignored.
pub(crate) const CHOICES_MAX: usize = 128;
/// Maximum length of a name that is joined from pieces, in bytes; further pieces are ignored.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;

/// Members whose value replaces the earlier one. All other texts may be streamed in pieces.
pub(super) const REPLACED_FIELDS: [&str; 6] = ["finish_reason", "format", "id", "name", "role", "type"];
/// A path within a choice.
pub(super) type Path = Vec<PathSegment>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathSegment {
    Member(Text),
    Item(usize),
}

/// Merges a delta into a message, except for texts that are streamed in pieces: they are left empty here.
pub(super) fn merge(message: &mut Object, delta: &Value) {
    for (name, value) in delta.as_object().into_iter().flatten() {
        let merged = match (value, message.get(name)) {
            (Value::Null, Some(_)) => continue,
            (Value::String(text), Some(Value::String(before))) if &**name == "name" => {
                if text == before || before.len().saturating_add(text.len()) > NAME_BYTES_MAX {
                    continue;
                }
                Value::from(format!("{before}{text}"))
            }
            (Value::String(text), _) if !REPLACED_FIELDS.contains(&&**name) || text.is_empty() => {
                if message.contains_key(name) {
                    continue;
                }
                Value::from("")
            }
            (Value::Object(_), before) => {
                let mut members = before.and_then(Value::as_object).cloned().unwrap_or_default();
                merge(&mut members, value);
                members.into()
            }
            (Value::Array(items), _) if items.iter().any(|item| item.as_object().is_none()) => blank(value),
            (Value::Array(items), before) if comes_by_item(name, items) => {
                let mut list = before.and_then(Value::as_array).cloned().unwrap_or_default();
                items.iter().for_each(|item| list.push(blank(item)));
                list.into()
            }
            (Value::Array(items), before) => {
                let mut list = before.and_then(Value::as_array).cloned().unwrap_or_default();
                for (at, item) in items.iter().enumerate() {
                    let at = index_of(item).map_or(at, |index| usize::try_from(index).unwrap_or(usize::MAX));
                    merge_item(&mut list, at, item);
                }
                list.into()
            }
            (value, _) => value.clone(),
        };
        message.insert(name, merged);
    }
}

/// Whether a list is streamed item by item: its items are objects without `index`, and are not parts of a text.
pub(super) fn comes_by_item(name: &str, items: &Array) -> bool {
    let is_part = |item: &Value| item.get("text").is_some_and(|text| text.as_str().is_some());
    let stands_alone =
        |item: &Value| item.as_object().is_some() && index_of(item).is_none() && !is_part(item);
    name != "content" && items.iter().all(stands_alone)
}

/// Returns a value with the texts left empty that are joined elsewhere.
pub(super) fn blank(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::from(""),
        Value::Array(items) => Value::Array(items.iter().map(blank).collect()),
        Value::Object(members) => {
            let keep = |name: &Text, value: &Value| match value {
                Value::String(_) if REPLACED_FIELDS.contains(&&**name) => value.clone(),
                _ => blank(value),
            };
            members.iter().map(|(name, value)| (name.clone(), keep(name, value))).collect::<Object>().into()
        }
        _ => value.clone(),
    }
}

pub(super) fn merge_item(list: &mut Array, at: usize, item: &Value) {
    while list.len() <= at && at < CHOICES_MAX {
        list.push(Object::new());
    }
    let mut members = list.get(at).and_then(Value::as_object).cloned().unwrap_or_default();
    merge(&mut members, item);
    list.set(at, members);
}

/// Appends to the text at a path, which is created if it does not exist.
pub(super) fn append(value: &mut Value, path: &[PathSegment], text: &str) {
    match (path.split_first(), &*value) {
        // A text for a list of parts becomes a part.
        (None, Value::Array(parts)) => {
            let mut parts = parts.clone();
            parts.push(object! { "type": "text", "text": text });
            *value = parts.into();
        }
        (None, Value::Null | Value::String(_)) => {
            *value = Value::from(format!("{}{text}", value.as_str().unwrap_or_default()));
        }
        // A value of another kind stays as it is.
        (None, _) => {}
        (Some((PathSegment::Member(_), _)), Value::Array(_)) => {}
        (Some(_), Value::String(before)) if !before.is_empty() => {}
        (Some((PathSegment::Member(name), rest)), _) => {
            let mut members = value.as_object().cloned().unwrap_or_default();
            let mut member = members.get(name).cloned().unwrap_or_default();
            append(&mut member, rest, text);
            members.insert(name, member);
            *value = members.into();
        }
        (Some((PathSegment::Item(_), _)), Value::Object(_)) => {}
        (Some((PathSegment::Item(index), rest)), _) => {
            let mut list = value.as_array().cloned().unwrap_or_default();
            let own = u64::try_from(*index).ok();
            let is_it = |item: &Value| index_of(item).is_none_or(|index| Some(index) == own);
            let here = list.get(*index).is_some_and(is_it).then_some(*index);
            let at = here.or_else(|| list.iter().position(|item| index_of(item) == own));
            let at = at.unwrap_or_else(|| {
                list.push(object! { "index": *index as u64 });
                list.len() - 1
            });
            let mut item = list.get(at).cloned().unwrap_or_default();
            append(&mut item, rest, text);
            list.set(at, item);
            *value = list.into();
        }
    }
}

/// Changes each tool call of a message. An empty list of tool calls, which some servers send with every piece, is
/// removed.
pub(crate) fn change_calls(message: &mut Object, change: impl Fn(&mut Object, usize)) {
    let Some(Value::Array(calls)) = message.get("tool_calls") else { return };
    let changed = calls.iter().enumerate().map(|(index, call)| {
        let mut call = call.as_object().cloned().unwrap_or_default();
        change(&mut call, index);
        Value::from(call)
    });
    let changed: Array = changed.collect();
    match changed.is_empty() {
        true => message.remove("tool_calls"),
        false => message.insert("tool_calls", changed),
    };
}

pub(crate) fn index_of(item: &Value) -> Option<u64> {
    item.get("index").and_then(Value::as_u64)
}

pub(crate) fn slot<T: Default>(list: &mut Vec<T>, index: usize) -> Option<&mut T> {
    if index < CHOICES_MAX && list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    list.get_mut(index)
}
