//! The operations on capabilities: grant, attenuate, revoke, and what a token is made of.

use alloc::vec::Vec;

use ak_json::{Text, Value, object};
use ak_policy::capability::{CapId, Caveat};

use crate::{
    capability::Held,
    code::Code,
    kernel::Kernel,
    reply::{Failure, Reply},
    session::Session,
    terms::{Terms, capability_text},
};

impl Kernel {
    /// Gives an agent a capability. The agent is made if it is not there.
    pub(crate) fn grant(&mut self, agent: &Text, terms: &Terms) -> Result<Reply, Failure> {
        let Some(name) = terms.name.clone() else {
            return Err(Failure::new(Code::InvalidArgument, "args.name: is missing"));
        };
        let caveats = terms.caveats(&name, self.clock)?;
        let holder = self.agents.open(agent, &self.policy, self.clock, self.config.agents_max)?;
        let (now_us, held_max) = (self.clock.as_micros(), self.config.capabilities_per_agent_max);
        let id = self.agents.holdings.grant(Held { holder, name }, caveats, now_us, held_max)?;
        self.described(Session::OWNER, id)
    }

    /// Derives a capability from one that the session holds. What the owner derives belongs to the parent's holder.
    pub(crate) fn attenuate(
        &mut self,
        session: Session,
        parent: CapId,
        terms: &Terms,
    ) -> Result<Reply, Failure> {
        let Held { holder, name } = self.agents.holdings.of(session, parent)?.clone();
        let name = terms.name.clone().unwrap_or(name);
        let caveats: Vec<Caveat> = terms.caveats(&name, self.clock)?;
        let (now_us, held_max) = (self.clock.as_micros(), self.config.capabilities_per_agent_max);
        let id = self.agents.holdings.derive(parent, Held { holder, name }, caveats, now_us, held_max)?;
        self.described(session, id)
    }

    /// Takes a capability back with all that was derived from it. A holder takes back only what it derived itself.
    pub(crate) fn revoke(&mut self, session: Session, id: CapId) -> Result<Reply, Failure> {
        self.agents.holdings.of(session, id)?;
        if !session.is_owner() && self.agents.holdings.is_grant(id) {
            let message = "the owner granted this capability, and only the owner takes it back";
            return Err(Failure::new(Code::PolicyDeny, message));
        }
        let revoked = self.agents.holdings.revoke(id);
        Ok(Reply::Value(object! { "revoked": revoked as u64 }))
    }

    /// What there is to say of a capability that the session holds. For CAP_TOKEN the host adds the token.
    pub(crate) fn described(&self, session: Session, id: CapId) -> Result<Reply, Failure> {
        let held = self.agents.holdings.of(session, id)?;
        let expires_at = self.agents.holdings.expires_us(id).map_or(Value::Null, Value::from);
        Ok(Reply::Value(object! {
            "capability": capability_text(id), "name": held.name.clone(),
            "agent": self.agents.name(held.holder), "expires_at": expires_at,
        }))
    }
}
