//! Types of heap objects: registration and removal.

use alloc::{format, string::ToString, vec::Vec};

use ak_heap::TypeError;
use ak_json::{Object, SchemaError, SchemaReason, Text, Value};
use ak_policy::budget::Dimension;

use crate::{
    accounts::agents::Charges,
    api::{
        code::Code,
        reply::{Failure, Reply},
        session::AgentId,
    },
    heap::types::{insert_unjudged, unjudged},
    operations::heap::objects::heap_failure,
    state::Kernel,
};

/// The scope of the owner's types, which apply to all agents.
const EVERYBODY: &str = "";

impl Kernel {
    /// Registers a type, or replaces its schema.
    ///
    /// The owner's types apply to all agents; an agent's types apply to the agent and its descendants. Other agents
    /// learn nothing of them, and their objects are not checked.
    pub(crate) fn register_type(
        &mut self,
        account: AgentId,
        name: &Text,
        schema: &Value,
    ) -> Result<Reply, Failure> {
        let scope = self.type_scope(account);
        let key = (scope.clone(), name.clone());
        let before = self.types.0.get(&key).copied();
        let bytes = schema.json_len() as u64;
        let freed = before.filter(|(registrar, _)| *registrar == account).map_or(0, |(_, bytes)| bytes);
        let amounts = Vec::from([(Dimension::Memory, bytes.saturating_sub(freed))]);
        self.agents.check(account, &Charges { amounts, charges: Vec::new() }, self.clock.elapsed)?;
        let mut work = self.meter();
        let registered = self.heap.register_type(&scope, name, schema, &mut work);
        self.work = self.work.saturating_add(work.used());
        registered.map_err(type_failure)?;
        if let Some((registrar, bytes)) = before {
            self.agents.credit(registrar, Dimension::Memory, bytes);
        }
        self.agents.record(account, Dimension::Memory, bytes, self.clock.elapsed);
        let mut reply = Object::new();
        if let Some(schema) = self.heap.schema(&scope, name) {
            insert_unjudged(&mut reply, unjudged("", schema));
        }
        self.types.0.insert(key, (account, bytes));
        Ok(Reply::Value(reply.into()))
    }

    /// Removes a type that the agent, or the owner, registered.
    ///
    /// # Errors
    /// NOT_FOUND if the agent registered no type of this name.
    pub(crate) fn unregister_type(&mut self, account: AgentId, name: &Text) -> Result<Reply, Failure> {
        let scope = self.type_scope(account);
        if !self.heap.unregister_type(&scope, name) {
            return Err(Failure::new(Code::NotFound, format!("no type {:?} is registered here", &**name)));
        }
        if let Some((registrar, bytes)) = self.types.0.remove(&(scope, name.clone())) {
            self.agents.credit(registrar, Dimension::Memory, bytes);
        }
        Ok(Reply::Done)
    }

    /// Removes all types of an agent that was removed.
    pub(crate) fn forget_types(&mut self, agent: &Text) {
        let own = self.types.0.keys().filter(|(scope, _)| scope == agent).cloned();
        for (scope, name) in own.collect::<Vec<_>>() {
            self.heap.unregister_type(&scope, &name);
            self.types.0.remove(&(scope, name));
        }
    }

    /// The scope in which an agent's types apply.
    fn type_scope(&self, account: AgentId) -> Text {
        // In version 8 all types applied to all agents.
        match account.is_main() || self.recorded.is_some() {
            true => Text::from(EVERYBODY),
            false => self.agents.name(account),
        }
    }
}

fn type_failure(error: TypeError) -> Failure {
    let message = error.to_string();
    match error {
        TypeError::Name => Failure::new(Code::InvalidArgument, message),
        TypeError::Limit { .. } | TypeError::Work(_) => Failure::new(Code::Limit, message),
        TypeError::Schema(SchemaError { reason, at }) => {
            let (code, keyword) = match reason {
                SchemaReason::Keyword(keyword) => (Code::SchemaUnknown, Some(keyword)),
                SchemaReason::KeywordValue(keyword) => (Code::SchemaInvalid, Some(keyword)),
                SchemaReason::Dialect(_) => (Code::SchemaUnknown, Some("$schema".into())),
                SchemaReason::Pattern => (Code::SchemaInvalid, Some("pattern".into())),
                SchemaReason::Reference(_) | SchemaReason::Remote(_) => {
                    (Code::SchemaUnknown, Some("$ref".into()))
                }
                SchemaReason::Cycle => (Code::SchemaInvalid, Some("$ref".into())),
                SchemaReason::Duplicate(_) => (Code::SchemaInvalid, Some("$id".into())),
                SchemaReason::Shape | SchemaReason::Depth | SchemaReason::Work => (Code::SchemaInvalid, None),
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
