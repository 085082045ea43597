//! The registered types of heap objects.

use alloc::{collections::BTreeMap, format, vec::Vec};

use ak_json::{Object, Schema, Text, Unjudged, Value, object};

use crate::api::{
    fields::{FieldError, Fields},
    session::AgentId,
};

/// The registered types by scope and name: the agent that registered each, and the bytes that its memory budget is
/// charged.
#[derive(Debug, Default)]
pub(crate) struct Types(pub(crate) BTreeMap<(Text, Text), (AgentId, u64)>);

impl Types {
    /// The types in the form of the state digest.
    pub(crate) fn to_value(&self) -> Value {
        let rows = self.0.iter().map(|((scope, name), (account, bytes))| {
            let account = u64::from(account.number());
            object! { "scope": scope.clone(), "type": name.clone(), "session": account, "bytes": *bytes }
        });
        rows.collect::<Vec<Value>>().into()
    }

    pub(crate) fn from_value(value: &Value) -> Result<Types, FieldError> {
        let rows = value.as_array().ok_or_else(|| FieldError::new("types", "expected an array"))?;
        let row = |row: &Value| {
            let mut fields = Fields::new("types", row)?;
            // In version 8 all types applied to all agents.
            let scope = fields.optional_text("scope")?.unwrap_or_default();
            let entry = ((scope, fields.text("type")?), (fields.account("session")?, fields.u64("bytes")?));
            fields.finish()?;
            Ok(entry)
        };
        rows.iter().map(row).collect::<Result<_, _>>().map(Types)
    }
}

/// The patterns of a schema that cannot be judged. `at` is the schema's own path in the document that contains it.
pub(crate) fn unjudged(at: &str, schema: &Schema) -> Vec<Value> {
    let row = |it: &Unjudged| object! { "path": format!("{at}{}", it.at), "pattern": it.pattern.clone() };
    schema.unjudged().iter().map(row).collect()
}

/// Adds the patterns that cannot be judged to a reply, if there are any.
pub(crate) fn insert_unjudged(reply: &mut Object, rows: Vec<Value>) {
    if !rows.is_empty() {
        reply.insert("unjudged", rows);
    }
}
