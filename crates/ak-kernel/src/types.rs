//! Requests that register types.

use alloc::{collections::BTreeMap, format, string::ToString, vec::Vec};

use ak_heap::TypeError;
use ak_json::{SchemaError, SchemaReason, Text, Value, object};
use ak_policy::budget::Dimension;

use crate::{
    agents::Costs,
    code::Code,
    fields::{FieldError, Fields},
    kernel::Kernel,
    objects::heap_failure,
    reply::{Failure, Reply},
    session::AgentId,
};

/// Who registered each type, and how many bytes of their memory budget its schema takes.
#[derive(Debug, Default)]
pub(crate) struct Types(BTreeMap<Text, (AgentId, u64)>);

impl Types {
    /// All of it, for the state digest.
    pub(crate) fn to_value(&self) -> Value {
        let rows = self.0.iter().map(|(name, (account, bytes))| {
            object! { "type": name.clone(), "session": u64::from(account.number()), "bytes": *bytes }
        });
        rows.collect::<Vec<Value>>().into()
    }

    pub(crate) fn from_value(value: &Value) -> Result<Types, FieldError> {
        let rows = value.as_array().ok_or_else(|| FieldError::new("types", "expected an array"))?;
        let row = |row: &Value| {
            let mut fields = Fields::new("types", row)?;
            let entry = (fields.text("type")?, (fields.account("session")?, fields.u64("bytes")?));
            fields.finish()?;
            Ok(entry)
        };
        rows.iter().map(row).collect::<Result<_, _>>().map(Types)
    }
}

impl Kernel {
    /// Registers a type, or gives it another schema.
    ///
    /// A type binds whoever uses its name, and refusing a schema tells of the objects that break it. So an agent session
    /// registers a name only while nobody else uses it.
    pub(crate) fn register_type(
        &mut self,
        account: AgentId,
        name: &Text,
        schema: &Value,
    ) -> Result<Reply, Failure> {
        let before = self.types.0.get(name).copied();
        if !account.is_main() {
            let agent = self.agents.name(account);
            let foreign = before.is_some_and(|(registrar, _)| registrar != account)
                || self.heap.of_type(name).any(|(_, object)| *object.owner() != agent);
            if foreign {
                let message = format!("others use the type {:?} already: its schema is the owner's", &**name);
                return Err(Failure::new(Code::PolicyDeny, message));
            }
        }
        let bytes = schema.json_len() as u64;
        let freed = before.filter(|(registrar, _)| *registrar == account).map_or(0, |(_, bytes)| bytes);
        let amounts = Vec::from([(Dimension::Memory, bytes.saturating_sub(freed))]);
        self.agents.check(account, &Costs { amounts, charges: Vec::new() }, self.clock.elapsed)?;
        self.heap.register_type(name, schema).map_err(type_failure)?;
        if let Some((registrar, bytes)) = before {
            self.agents.credit(registrar, Dimension::Memory, bytes);
        }
        self.agents.record(account, Dimension::Memory, bytes, self.clock.elapsed);
        self.types.0.insert(name.clone(), (account, bytes));
        Ok(Reply::Done)
    }
}

fn type_failure(error: TypeError) -> Failure {
    let message = error.to_string();
    match error {
        TypeError::Name => Failure::new(Code::InvalidArgument, message),
        TypeError::Limit { .. } => Failure::new(Code::Limit, message),
        TypeError::Schema(SchemaError { reason, at }) => {
            let (code, keyword) = match reason {
                SchemaReason::Keyword(keyword) => (Code::SchemaUnknown, Some(keyword)),
                SchemaReason::KeywordValue(keyword) => (Code::SchemaInvalid, Some(keyword)),
                SchemaReason::Pattern => (Code::SchemaUnknown, Some("pattern".into())),
                SchemaReason::PatternSize => (Code::SchemaInvalid, Some("pattern".into())),
                SchemaReason::Reference(_) => (Code::SchemaUnknown, Some("$ref".into())),
                SchemaReason::Cycle => (Code::SchemaInvalid, Some("$ref".into())),
                SchemaReason::Anchor(_) => (Code::SchemaInvalid, Some("$anchor".into())),
                SchemaReason::Shape | SchemaReason::Depth => (Code::SchemaInvalid, None),
            };
            let failure = Failure::new(code, message).with("path", at.to_string());
            match keyword {
                Some(keyword) => failure.with("keyword", keyword),
                None => failure,
            }
        }
        TypeError::Object { handle, error } => {
            Failure { message, ..heap_failure(error) }.with("handle", handle.to_string())
        }
    }
}
