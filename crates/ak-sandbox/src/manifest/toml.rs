use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};
use ak_json::{Number, Object, Value};

use super::Manifest;
use super::error::{ManifestError, Position, Reason};

/// Reads TOML into a [`Value`] and that into a manifest, so that both forms obey the same rules.
pub(crate) fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let document = DeTable::parse(text).map_err(|error| {
        let position = error.span().map(|span| position(text, span.start));
        ManifestError::new(String::new(), Reason::Syntax(error.message().to_string())).at_position(position)
    })?;
    let value = table(document.get_ref()).map_err(|(span, reason)| {
        ManifestError::new(String::new(), reason).at_position(Some(position(text, span.start)))
    })?;
    Manifest::from_value(&value).map_err(|error| {
        let place = locate(document.get_ref(), error.at());
        error.at_position(Some(position(text, place)))
    })
}

type Misfit = (Range<usize>, Reason);

/// The members in the order written, which the parser's own map does not keep.
fn table(table: &DeTable<'_>) -> Result<Value, Misfit> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(key, _)| key.span().start);
    let mut object = Object::new();
    for (key, item) in members {
        object.insert(key.get_ref().as_ref(), value(item)?);
    }
    Ok(Value::from(object))
}

fn value(item: &Spanned<DeValue<'_>>) -> Result<Value, Misfit> {
    let misfit = |expected| (item.span(), Reason::Wrong(expected));
    match item.get_ref() {
        DeValue::String(text) => Ok(Value::from(text.as_ref())),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::from)
            .map_err(|_| misfit("an integer of 64 bits")),
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::from)
            .ok_or_else(|| misfit("a finite number")),
        DeValue::Boolean(flag) => Ok(Value::Bool(*flag)),
        DeValue::Datetime(_) => Err(misfit("a JSON type, found a date")),
        DeValue::Array(items) => Ok(Value::from(items.iter().map(value).collect::<Result<Vec<_>, _>>()?)),
        DeValue::Table(members) => table(members),
    }
}

/// Byte offset of the key or item that `pointer` leads to; if it does not exist, that of the last one on the way that
/// does.
fn locate(document: &DeTable<'_>, pointer: &str) -> usize {
    let mut place = 0;
    let mut members = Some(document);
    let mut items: Option<&[Spanned<DeValue<'_>>]> = None;
    for token in pointer.split('/').skip(1) {
        let key = token.replace("~1", "/").replace("~0", "~");
        let next = if let Some(table) = members {
            let Some((key, next)) = table.iter().find(|(name, _)| *name.get_ref() == key) else {
                return place;
            };
            place = key.span().start;
            next
        } else {
            let index = key.parse().ok();
            let Some(next) = items.zip(index).and_then(|(items, index): (_, usize)| items.get(index)) else {
                return place;
            };
            place = next.span().start;
            next
        };
        members = next.get_ref().as_table();
        items = next.get_ref().as_array().map(|array| &**array);
    }
    place
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}
