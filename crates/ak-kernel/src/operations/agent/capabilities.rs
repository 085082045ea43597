//! The operations on capabilities: grant, attenuate, revoke, and describe for a token.

use alloc::vec::Vec;

use ak_json::{Text, Value, object};
use ak_policy::capability::{CapId, Caveat};

use crate::{
    accounts::capabilities::HeldCapability,
    api::{
        capability_spec::{CapabilitySpec, capability_text},
        code::Code,
        reply::{Failure, Reply},
        session::AgentId,
    },
    state::Kernel,
};

impl Kernel {
    /// Grants a capability to an agent, which is created if it does not exist.
    pub(crate) fn grant(&mut self, agent: &Text, terms: &CapabilitySpec) -> Result<Reply, Failure> {
        let Some(name) = terms.name.clone() else {
            return Err(Failure::new(Code::InvalidArgument, "args.name: is missing"));
        };
        let caveats = terms.caveats(&name, self.clock.elapsed)?;
        let holder = self.agents.open(agent, &self.policy, self.clock.elapsed, self.config.agents_max)?;
        let (now, held_max) = (self.clock.elapsed, self.config.capabilities_per_agent_max);
        let id = self.agents.capabilities.grant(HeldCapability { holder, name }, caveats, now, held_max)?;
        self.described(AgentId::MAIN, id)
    }

    /// Derives a capability from one that the session holds. If the owner derives it, it belongs to the parent's
    /// holder.
    pub(crate) fn attenuate(
        &mut self,
        account: AgentId,
        parent: CapId,
        terms: &CapabilitySpec,
    ) -> Result<Reply, Failure> {
        let HeldCapability { holder, name } = self.agents.capabilities.of(account, parent)?.clone();
        let name = terms.name.clone().unwrap_or(name);
        let caveats: Vec<Caveat> = terms.caveats(&name, self.clock.elapsed)?;
        let (now, held_max) = (self.clock.elapsed, self.config.capabilities_per_agent_max);
        let id = self.agents.capabilities.derive(
            parent,
            HeldCapability { holder, name },
            caveats,
            now,
            held_max,
        )?;
        self.described(account, id)
    }

    /// Revokes a capability and everything derived from it. An agent can revoke derived ones that it holds,
    /// but not the owner's grants.
    pub(crate) fn revoke(&mut self, account: AgentId, id: CapId) -> Result<Reply, Failure> {
        self.agents.capabilities.of(account, id)?;
        if !account.is_main() && self.agents.capabilities.is_grant(id) {
            let message = "the owner granted this capability, and only the owner takes it back";
            return Err(Failure::new(Code::PolicyDeny, message));
        }
        let revoked = self.agents.capabilities.revoke(id);
        Ok(Reply::Value(object! { "revoked": revoked as u64 }))
    }

    /// Id, name, holder and expiry of a capability that the session holds. For CAP_TOKEN the host adds the token.
    pub(crate) fn described(&self, account: AgentId, id: CapId) -> Result<Reply, Failure> {
        let held = self.agents.capabilities.of(account, id)?;
        let expires_us = self.agents.capabilities.expires_us(id);
        let expires_at = expires_us.map_or(Value::Null, |until_us| self.clock.wall_at(until_us).into());
        Ok(Reply::Value(object! {
            "capability": capability_text(id), "name": held.name.clone(),
            "agent": self.agents.name(held.holder), "expires_at": expires_at,
        }))
    }
}
