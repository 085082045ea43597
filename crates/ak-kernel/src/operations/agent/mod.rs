//! Agents: sessions, budgets and capabilities.

pub(crate) mod capabilities;

use alloc::{format, vec::Vec};

use ak_heap::Handle;
use ak_json::{Object, Text, Value, object};
use ak_policy::{budget::Dimension, did_you_mean};

use super::{
    Amounts, Completed, EffectSize, FORM_BYTES_MAX, Family, Permitted, Started, VALUE_BYTES_MAX, length,
    members, subject_named,
};
use crate::{
    api::{
        capability_spec::{CapabilitySpec, capability_field, capability_text},
        code::Code,
        config::Config,
        effect::Completion,
        fields::{FieldError, Fields, insert_some},
        operation::AgentOperation,
        reply::{Failure, Reply},
        request::AgentRequest,
        session::{AgentId, GUEST, MAIN, SessionId},
    },
    authz::{
        gate::DecisionRecord,
        query::{InvalidTarget, PolicyQuery, QueryContext},
    },
    effects::pending::PendingEffect,
    state::{Caller, Kernel},
};

impl Family for AgentRequest {
    type Row = AgentOperation;

    fn row(&self) -> AgentOperation {
        match self {
            Self::BudgetSet { .. } => AgentOperation::BudgetSet,
            Self::BudgetStatus { .. } => AgentOperation::BudgetStatus,
            Self::CapGrant { .. } => AgentOperation::CapGrant,
            Self::CapAttenuate { .. } => AgentOperation::CapAttenuate,
            Self::CapRevoke { .. } => AgentOperation::CapRevoke,
            Self::CapToken { .. } => AgentOperation::CapToken,
            Self::SessionOpen { .. } => AgentOperation::SessionOpen,
            Self::SessionClose => AgentOperation::SessionClose,
        }
    }

    fn decode(row: AgentOperation, fields: &mut Fields<'_>) -> Result<AgentRequest, FieldError> {
        Ok(match row {
            AgentOperation::BudgetSet => Self::BudgetSet {
                dimension: dimension_field(fields)?.ok_or_else(|| fields.error("kind", "is missing"))?,
                limit: fields.optional_u64("limit")?,
                agent: fields.optional_text("agent")?,
            },
            AgentOperation::BudgetStatus => Self::BudgetStatus {
                dimension: dimension_field(fields)?,
                agent: fields.optional_text("agent")?,
            },
            AgentOperation::CapGrant => {
                Self::CapGrant { agent: fields.text("agent")?, terms: CapabilitySpec::from_fields(fields)? }
            }
            AgentOperation::CapAttenuate => Self::CapAttenuate {
                capability: capability_field(fields)?,
                terms: CapabilitySpec::from_fields(fields)?,
            },
            AgentOperation::CapRevoke => Self::CapRevoke { capability: capability_field(fields)? },
            AgentOperation::CapToken => Self::CapToken { capability: capability_field(fields)? },
            AgentOperation::SessionOpen => Self::SessionOpen { agent: fields.text("agent")? },
            AgentOperation::SessionClose => Self::SessionClose,
        })
    }

    fn args(&self) -> Value {
        let mut args = Object::new();
        match self {
            Self::BudgetSet { dimension, limit, agent } => {
                args.insert("kind", dimension.as_str());
                insert_some(&mut args, "limit", *limit);
                insert_some(&mut args, "agent", agent.clone());
            }
            Self::BudgetStatus { dimension, agent } => {
                insert_some(&mut args, "kind", dimension.map(Dimension::as_str));
                insert_some(&mut args, "agent", agent.clone());
            }
            Self::CapGrant { agent, terms } => {
                args.insert("agent", agent.clone());
                terms.insert_into(&mut args);
            }
            Self::CapAttenuate { capability, terms } => {
                args.insert("capability", capability_text(*capability));
                terms.insert_into(&mut args);
            }
            Self::CapRevoke { capability } | Self::CapToken { capability } => {
                args.insert("capability", capability_text(*capability));
            }
            Self::SessionOpen { agent } => {
                args.insert("agent", agent.clone());
            }
            Self::SessionClose => {}
        }
        args.into()
    }

    fn size(&self) -> u64 {
        match self {
            Self::BudgetSet { agent, .. } | Self::BudgetStatus { agent, .. } => length(agent),
            Self::CapGrant { agent, terms } => terms.size().saturating_add(agent.len() as u64),
            Self::CapAttenuate { terms, .. } => terms.size(),
            Self::SessionOpen { agent } => agent.len() as u64,
            Self::CapRevoke { .. } | Self::CapToken { .. } | Self::SessionClose => 0,
        }
    }

    fn size_max(&self) -> u64 {
        match self {
            Self::CapGrant { .. } | Self::CapAttenuate { .. } => FORM_BYTES_MAX,
            Self::BudgetSet { .. }
            | Self::BudgetStatus { .. }
            | Self::CapRevoke { .. }
            | Self::CapToken { .. }
            | Self::SessionOpen { .. }
            | Self::SessionClose => VALUE_BYTES_MAX,
        }
    }

    fn longest_name(&self) -> usize {
        match self {
            Self::BudgetSet { agent, .. } => agent.as_ref().map_or(0, |name| name.len()),
            Self::SessionOpen { agent } => agent.len(),
            Self::BudgetStatus { .. }
            | Self::CapGrant { .. }
            | Self::CapAttenuate { .. }
            | Self::CapRevoke { .. }
            | Self::CapToken { .. }
            | Self::SessionClose => 0,
        }
    }

    fn each_value(&self, _look: &mut dyn FnMut(&Value) -> bool) -> bool {
        true
    }

    fn query(&self, _asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        Ok(None)
    }

    fn only_tells(&self) -> bool {
        match self {
            Self::BudgetStatus { .. } => true,
            Self::BudgetSet { .. }
            | Self::CapGrant { .. }
            | Self::CapAttenuate { .. }
            | Self::CapRevoke { .. }
            | Self::CapToken { .. }
            | Self::SessionOpen { .. }
            | Self::SessionClose => false,
        }
    }

    fn charges(&self, _kernel: &Kernel, _caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        Ok(Amounts::new())
    }

    fn effect_size(&self, _config: &Config) -> Option<EffectSize> {
        None
    }

    fn subjects(&self, kernel: &Kernel, agent: &Text) -> Vec<Text> {
        match self {
            // In version 8 these records could not be erased.
            Self::SessionOpen { .. }
            | Self::BudgetSet { .. }
            | Self::CapGrant { .. }
            | Self::CapAttenuate { .. }
            | Self::CapRevoke { .. }
                if kernel.recorded.is_some() =>
            {
                Vec::new()
            }
            Self::SessionOpen { agent: named }
            | Self::CapGrant { agent: named, .. }
            | Self::BudgetSet { agent: Some(named), .. }
            | Self::BudgetStatus { agent: Some(named), .. } => {
                Vec::from([agent.clone(), subject_named(named, agent)])
            }
            Self::BudgetSet { agent: None, .. }
            | Self::BudgetStatus { agent: None, .. }
            | Self::CapAttenuate { .. }
            | Self::CapRevoke { .. }
            | Self::CapToken { .. }
            | Self::SessionClose => Vec::from([agent.clone()]),
        }
    }

    fn names(&self, names: &mut Vec<Text>, _objects: &mut Vec<Handle>) {
        match self {
            Self::SessionOpen { agent }
            | Self::CapGrant { agent, .. }
            | Self::BudgetSet { agent: Some(agent), .. } => names.push(agent.clone()),
            Self::BudgetSet { agent: None, .. }
            | Self::BudgetStatus { .. }
            | Self::CapAttenuate { .. }
            | Self::CapRevoke { .. }
            | Self::CapToken { .. }
            | Self::SessionClose => {}
        }
    }

    fn decision_details(&self, _ruling: &DecisionRecord) -> Object {
        match self {
            Self::BudgetSet { dimension, limit, .. } => members(object! {
                "budget": dimension.as_str(), "limit": limit.map_or(Value::Null, Value::from),
            }),
            Self::CapGrant { agent, terms } => {
                members(object! { "granted_to": agent.clone(), "name": terms.name.clone() })
            }
            Self::CapAttenuate { capability, .. } => {
                members(object! { "parent": capability_text(*capability) })
            }
            Self::CapRevoke { capability } | Self::CapToken { capability } => {
                members(object! { "capability": capability_text(*capability) })
            }
            Self::SessionOpen { agent } => members(object! { "opened": agent.clone() }),
            Self::BudgetStatus { .. } | Self::SessionClose => Object::new(),
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let caller = permitted.caller;
        let account = caller.account;
        let reply = match self {
            Self::BudgetSet { dimension, limit, agent } => {
                kernel.set_budget(account, dimension, limit, agent)?
            }
            Self::BudgetStatus { dimension, agent } => {
                let account = kernel.account_of(account, agent.as_ref())?;
                Reply::Value(kernel.agents.status(account, dimension, kernel.clock.elapsed))
            }
            Self::CapGrant { agent, terms } => kernel.grant(&agent, &terms)?,
            Self::CapAttenuate { capability, terms } => kernel.attenuate(account, capability, &terms)?,
            Self::CapRevoke { capability } => kernel.revoke(account, capability)?,
            Self::CapToken { capability } => kernel.described(account, capability)?,
            Self::SessionOpen { agent } => Reply::Session(kernel.open_session(caller, &agent)?),
            Self::SessionClose => {
                kernel.close_session(caller);
                Reply::Done
            }
        };
        Ok(Started::Reply(reply))
    }

    fn complete(
        &self,
        _kernel: &mut Kernel,
        _pending: &PendingEffect,
        _completion: Completion,
    ) -> Option<Completed> {
        None
    }
}

impl Kernel {
    /// Opens a session for an agent, or for a new guest.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a reserved or invalid name; QUOTA if there are too many agents or sessions.
    fn open_session(&mut self, caller: &Caller, name: &Text) -> Result<SessionId, Failure> {
        if self.recorded.is_some() {
            return self.open_session_as_recorded(name);
        }
        let guest = !caller.is_owner();
        let first = name.split('/').next().unwrap_or_default();
        let name = match (guest, first) {
            // A `seq` is unique, so no guest gets the name of an earlier guest.
            (true, _) => Text::from(format!("{GUEST}/{}", self.chain.next_seq())),
            (false, MAIN) => {
                let message =
                    "'main' is the owner's own agent: the owner's session acts as it, and no other may";
                return Err(Failure::new(Code::InvalidArgument, message));
            }
            (false, GUEST) => {
                let message = "'guest' is reserved for connections without a credential";
                return Err(Failure::new(Code::InvalidArgument, message));
            }
            (false, _) => name.clone(),
        };
        let agent = self.agents.open(&name, &self.policy, self.clock.elapsed, self.config.agents_max)?;
        let opened = self.sessions.open(agent, self.config.sessions_max);
        opened.inspect_err(|_| {
            if guest {
                self.agents.remove(agent);
            }
        })
    }

    /// Closes the caller's session. A guest without another session or pending effect is removed with all that it
    /// has.
    fn close_session(&mut self, caller: &Caller) {
        let Some(agent) = self.sessions.close(caller.session) else { return };
        let busy = self.pending.values().any(|open| open.account == agent);
        if !self.agents.is_guest(agent) || self.sessions.count(agent) > 0 || busy {
            return;
        }
        let name = self.agents.name(agent);
        for handle in self.heap.owned_by(&name) {
            let live = self.heap.read(handle).is_ok();
            if let Ok(change) = self.heap.erase(handle)
                && live
            {
                self.agents.follow(agent, &change, self.clock.elapsed);
            }
            self.subjects.forget_object(handle);
        }
        self.forget_types(&name);
        self.agents.capabilities.forget(agent);
        self.admission.forget(agent);
        self.agents.remove(agent);
    }

    fn set_budget(
        &mut self,
        by: AgentId,
        dimension: Dimension,
        limit: Option<u64>,
        agent: Option<Text>,
    ) -> Result<Reply, Failure> {
        let account = self.account_of(by, agent.as_ref())?;
        self.agents.set_limit(account, dimension, limit, !by.is_main())?;
        Ok(Reply::Done)
    }

    /// The account of the named agent, or the caller's own.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such agent, or if an agent names another one.
    fn account_of(&self, by: AgentId, agent: Option<&Text>) -> Result<AgentId, Failure> {
        let Some(name) = agent else { return Ok(by) };
        let found = self.agents.find(name).filter(|found| by.is_main() || *found == by);
        found.ok_or_else(|| Failure::new(Code::NotFound, format!("no agent {:?}", &**name)))
    }
}

fn dimension_field(fields: &mut Fields<'_>) -> Result<Option<Dimension>, FieldError> {
    match fields.optional_text("kind")? {
        None => Ok(None),
        Some(name) => match Dimension::from_name(&name) {
            Some(dimension) => Ok(Some(dimension)),
            None => {
                let known: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.as_str()).collect();
                let hint = did_you_mean(&name, &known);
                Err(fields.error("kind", format!("no budget is called '{}': {hint}", &*name)))
            }
        },
    }
}
