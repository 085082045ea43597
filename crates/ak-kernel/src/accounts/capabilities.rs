//! Capabilities: their holders, and which of them cover a request.
//!
//! A request passes if the policy permits it and a capability covers it: the presented one, or else one of the
//! agent's own. An agent is bound by the policy alone until the owner grants it a capability; from then on it
//! reaches outside (files, network, tools, models, agents) only as far as one of its grants allows. `main` is bound
//! by no grants.

use alloc::{collections::BTreeMap, format, string::ToString, vec::Vec};

use ak_json::{Text, Value, object};
use ak_policy::{
    Action, Query, TargetKind,
    budget::Dimension,
    capability::{Authority, CapDenial, CapId, CapReservation, CapTable, Caveat, DeriveError},
};

use crate::api::{
    code::Code,
    fields::{FieldError, Fields},
    presented::PresentedCapability,
    reply::Failure,
    session::AgentId,
    time::Elapsed,
};

/// The capabilities that cover a request, besides the policy's permit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cover {
    /// The capabilities that cover it, each of which is charged; empty if the agent is not bound by grants.
    pub(crate) by: Vec<CapId>,
    /// The name of the presented capability, or of the asking agent's own.
    pub(crate) name: Option<Text>,
    /// Kernel time at which the first of them expires, in µs.
    pub(crate) expires_us: Option<u64>,
}

/// All capabilities and their holders.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    table: CapTable,
    root: Option<CapId>,
    by_id: BTreeMap<CapId, HeldCapability>,
    /// The grants of each agent that ever received one, even if all were revoked since. Such an agent is bound by
    /// its grants.
    own: BTreeMap<AgentId, Vec<CapId>>,
}

/// What the kernel stores about a capability besides its caveats.
#[derive(Clone, Debug)]
pub(crate) struct HeldCapability {
    /// The agent that may derive from it, make tokens of it, and revoke it unless the owner granted it.
    pub(crate) holder: AgentId,
    /// The name of the grant: a tool, or `fs`, `http`, `net`, `infer`, `spawn`.
    pub(crate) name: Text,
}

impl Capabilities {
    /// Grants a capability to an agent, which is bound by its grants from then on.
    ///
    /// # Errors
    /// QUOTA if the agent holds as many capabilities as it may, or the table is full.
    pub(crate) fn grant(
        &mut self,
        held: HeldCapability,
        caveats: Vec<Caveat>,
        now: Elapsed,
        held_max: u64,
    ) -> Result<CapId, Failure> {
        let root = match self.root {
            Some(root) => root,
            None => *self.root.insert(self.table.root().map_err(underivable)?),
        };
        let holder = held.holder;
        let id = self.derive(root, held, caveats, now, held_max)?;
        self.own.entry(holder).or_default().push(id);
        Ok(id)
    }

    /// Derives a capability: it has the parent's caveats and these.
    ///
    /// # Errors
    /// CAP_REVOKED; LIMIT for too many caveats or too long a chain of derivation; QUOTA.
    pub(crate) fn derive(
        &mut self,
        parent: CapId,
        held: HeldCapability,
        caveats: Vec<Caveat>,
        now: Elapsed,
        held_max: u64,
    ) -> Result<CapId, Failure> {
        let holder = held.holder;
        if self.held_by(holder) >= held_max {
            // Expired capabilities are removed first to make room.
            let own = self.by_id.iter().filter(|(_, held)| held.holder == holder).map(|(id, _)| *id);
            let over: Vec<CapId> = own.filter(|id| self.is_over(*id, now)).collect();
            for id in over {
                self.revoke(id);
            }
        }
        if self.held_by(holder) >= held_max {
            return Err(Failure::new(
                Code::Quota,
                format!("the agent holds {held_max} capabilities already"),
            ));
        }
        let id = self.table.derive(parent, caveats, now).map_err(underivable)?;
        self.by_id.insert(id, held);
        Ok(id)
    }

    fn held_by(&self, holder: AgentId) -> u64 {
        self.by_id.values().filter(|held| held.holder == holder).count() as u64
    }

    fn is_over(&self, id: CapId, now: Elapsed) -> bool {
        self.expires_us(id).is_some_and(|until| until <= now.high_us)
    }

    /// Revokes a capability and everything derived from it. Returns how many were revoked.
    pub(crate) fn revoke(&mut self, id: CapId) -> usize {
        let revoked = self.table.revoke(id);
        self.by_id.retain(|id, _| self.table.contains(*id));
        for grants in self.own.values_mut() {
            grants.retain(|id| self.table.contains(*id));
        }
        revoked
    }

    /// The capability, if the session may manage it: the owner may manage all, an agent those that it holds.
    ///
    /// # Errors
    /// CAP_REVOKED, for another agent's capability as for one that never existed.
    pub(crate) fn of(&self, account: AgentId, id: CapId) -> Result<&HeldCapability, Failure> {
        let held = self.by_id.get(&id).filter(|held| account.is_main() || held.holder == account);
        held.ok_or_else(|| refusal(CapDenial::Revoked))
    }

    /// Whether the agent ever received a grant, and so is bound by its grants.
    pub(crate) fn has_any(&self, account: AgentId) -> bool {
        self.own.contains_key(&account)
    }

    /// Removes an agent, and revokes all capabilities that it holds.
    pub(crate) fn forget(&mut self, agent: AgentId) {
        let held = self.by_id.iter().filter(|(_, held)| held.holder == agent).map(|(id, _)| *id);
        for id in held.collect::<Vec<_>>() {
            self.revoke(id);
        }
        self.own.remove(&agent);
    }

    /// Whether the owner granted the capability, rather than an agent deriving it.
    pub(crate) fn is_grant(&self, id: CapId) -> bool {
        self.own.values().any(|grants| grants.contains(&id))
    }

    /// Kernel time at which a capability expires, in µs; `None` if never.
    pub(crate) fn expires_us(&self, id: CapId) -> Option<u64> {
        self.table.authority(id).as_ref().and_then(end_of)
    }

    /// The capabilities that cover a request. `line` are the asking agent and its ancestors; each of them that is
    /// bound by grants must have one that covers it.
    ///
    /// # Errors
    /// Why the presented capability, or an agent's own ones, do not cover the request.
    pub(crate) fn cover(
        &self,
        presented: Option<&PresentedCapability>,
        line: &[AgentId],
        query: &Query<'_>,
        run: &[u8; 16],
        amounts: &[(Dimension, u64)],
    ) -> Result<Cover, Failure> {
        let check = |id| self.table.check(id, query, run, amounts);
        if let Some(PresentedCapability { capability, authority }) = presented {
            let checked = check(*capability).and_then(|()| covers(authority, query, run));
            checked.map_err(|denial| refusal(denial).presented())?;
            let name = self.by_id.get(capability).map(|held| held.name.clone());
            // The times in a token's own blocks are wall times, those in the table kernel times.
            let by_token = end_of(authority)
                .map(|until_us| query.elapsed.high_us.saturating_add(until_us.saturating_sub(query.now_us)));
            let ends = [self.expires_us(*capability), by_token];
            let expires_us = ends.into_iter().flatten().min();
            return Ok(Cover { by: Vec::from([*capability]), name, expires_us });
        }
        let mut cover = Cover::default();
        if !reaches_outside(query.action) {
            return Ok(cover);
        }
        for agent in line {
            let Some(grants) = self.own.get(agent) else { continue };
            let mut closest: Option<CapDenial> = None;
            let covering = grants.iter().copied().find(|id| match check(*id) {
                Ok(()) => true,
                Err(CapDenial::Scope) => false,
                Err(denial) => {
                    closest.get_or_insert(denial);
                    false
                }
            });
            let Some(id) = covering else {
                return Err(closest.map_or_else(|| uncovered(grants.is_empty()), refusal));
            };
            cover.by.push(id);
            cover.name = cover.name.or_else(|| self.by_id.get(&id).map(|held| held.name.clone()));
            cover.expires_us = [cover.expires_us, self.expires_us(id)].into_iter().flatten().min();
        }
        Ok(cover)
    }

    /// The grants that count a connection: for each agent of `line`, the first one that covers it. An agent without
    /// a grant that mentions the connection may still make it, by the grant for its request.
    ///
    /// # Errors
    /// CAP_RATE or CAP_EXPIRED if a grant mentions the connection but is used up or expired.
    pub(crate) fn counted(
        &self,
        line: &[AgentId],
        query: &Query<'_>,
        run: &[u8; 16],
    ) -> Result<Vec<CapId>, Failure> {
        let mut counted = Vec::new();
        for agent in line {
            let mut closest = None;
            for id in self.own.get(agent).into_iter().flatten() {
                match self.table.check(*id, query, run, &[]) {
                    Ok(()) => {
                        closest = Some(Ok(*id));
                        break;
                    }
                    Err(CapDenial::Scope) => {}
                    Err(denial) => closest = closest.or(Some(Err(denial))),
                }
            }
            if let Some(found) = closest {
                counted.push(found.map_err(refusal)?);
            }
        }
        Ok(counted)
    }

    /// Takes one use from each capability that covers a request, and reserves the amounts.
    ///
    /// # Errors
    /// As for [`cover`](Self::cover); nothing is reserved then.
    pub(crate) fn spend(
        &mut self,
        by: &[CapId],
        query: &Query<'_>,
        run: &[u8; 16],
        amounts: &[(Dimension, u64)],
    ) -> Result<Vec<CapReservation>, Failure> {
        let mut spent = Vec::with_capacity(by.len());
        for id in by {
            match self.table.spend(*id, query, run, amounts) {
                Ok(reservation) => spent.push(reservation),
                Err(denial) => {
                    spent.into_iter().for_each(|reservation| self.release(reservation));
                    return Err(refusal(denial));
                }
            }
        }
        Ok(spent)
    }

    /// Ends a reservation. `actual` are the amounts that were used.
    pub(crate) fn settle(&mut self, reservation: CapReservation, actual: &[(Dimension, u64)]) {
        self.table.settle(reservation, actual);
    }

    /// Ends a reservation of which nothing was used.
    pub(crate) fn release(&mut self, reservation: CapReservation) {
        self.table.release(reservation);
    }

    /// The capabilities in the form of the state digest.
    pub(crate) fn to_value(&self) -> Value {
        let held = self.by_id.iter().map(|(id, held)| {
            object! { "id": id.to_u64(), "holder": u64::from(held.holder.number()), "name": held.name.clone() }
        });
        let own = self.own.iter().map(|(agent, grants)| {
            let grants: Vec<Value> = grants.iter().map(|id| id.to_u64().into()).collect();
            object! { "agent": u64::from(agent.number()), "grants": grants }
        });
        object! {
            "table": self.table.to_value(), "root": self.root.map(CapId::to_u64),
            "held": held.collect::<Vec<Value>>(), "own": own.collect::<Vec<Value>>(),
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Capabilities, FieldError> {
        let mut fields = Fields::new("capabilities", value)?;
        let table = CapTable::from_value(&fields.value("table")?);
        let table = table.map_err(|error| fields.error("table", format!("{error}")))?;
        let mut held = BTreeMap::new();
        for row in fields.items("held")?.iter() {
            let mut fields = Fields::new("capabilities.held", row)?;
            let id = CapId::from_u64(fields.u64("id")?);
            held.insert(id, HeldCapability { holder: fields.account("holder")?, name: fields.text("name")? });
            fields.finish()?;
        }
        let mut own = BTreeMap::new();
        for row in fields.items("own")?.iter() {
            let mut fields = Fields::new("capabilities.own", row)?;
            let grants = fields.items("grants")?;
            let grants: Option<Vec<CapId>> =
                grants.iter().map(|id| id.as_u64().map(CapId::from_u64)).collect();
            let grants = grants.ok_or_else(|| fields.error("grants", "expected numbers"))?;
            own.insert(fields.account("agent")?, grants);
            fields.finish()?;
        }
        let root = fields.optional_u64("root")?.map(CapId::from_u64);
        fields.finish()?;
        Ok(Capabilities { table, root, by_id: held, own })
    }

    /// Restores a reservation from a snapshot.
    pub(crate) fn reservation(&self, value: &Value) -> Option<CapReservation> {
        self.table.reservation(value).ok()
    }
}

/// Whether grants bind this action. Access to heap objects and log entries depends on the policy alone.
fn reaches_outside(action: Action) -> bool {
    match action.kind() {
        TargetKind::Path
        | TargetKind::Url
        | TargetKind::Host
        | TargetKind::Endpoint
        | TargetKind::Tool
        | TargetKind::Model => true,
        TargetKind::Agent => action == Action::Spawn,
        TargetKind::Heap | TargetKind::Type | TargetKind::Audit => false,
    }
}

/// Whether the caveats in a token's own blocks allow a request. The table checks its own caveats itself.
fn covers(authority: &Authority, query: &Query<'_>, run: &[u8; 16]) -> Result<(), CapDenial> {
    if authority.covers(query, run) {
        return Ok(());
    }
    let mut denials = authority.caveats().map(|caveat| match caveat {
        Caveat::NotBefore(from_us) if query.now_us < *from_us => CapDenial::TooEarly,
        Caveat::ExpiresAt(until_us) if query.now_us >= *until_us => CapDenial::Expired,
        Caveat::Run(own) if own != run => CapDenial::OtherRun,
        Caveat::Operations(_)
        | Caveat::Targets(_)
        | Caveat::Agent(_)
        | Caveat::NotBefore(_)
        | Caveat::ExpiresAt(_)
        | Caveat::Run(_)
        | Caveat::Rate(_)
        | Caveat::Uses(_)
        | Caveat::Budget(..) => CapDenial::Scope,
    });
    Err(denials.find(|denial| *denial != CapDenial::Scope).unwrap_or(CapDenial::Scope))
}

/// The earliest expiry in an authority's caveats, in µs: kernel time for the table, wall time for a token's own
/// blocks.
fn end_of(authority: &Authority) -> Option<u64> {
    let ends = authority.caveats().filter_map(|caveat| match caveat {
        Caveat::ExpiresAt(until_us) => Some(*until_us),
        Caveat::Operations(_)
        | Caveat::Targets(_)
        | Caveat::Agent(_)
        | Caveat::NotBefore(_)
        | Caveat::Run(_)
        | Caveat::Rate(_)
        | Caveat::Uses(_)
        | Caveat::Budget(..) => None,
    });
    ends.min()
}

/// The failure if no grant of an agent mentions the request.
fn uncovered(all_revoked: bool) -> Failure {
    match all_revoked {
        true => Failure::new(Code::CapRevoked, "every capability that the agent was granted was revoked"),
        false => {
            Failure::new(Code::CapMissing, "none of the capabilities that the agent was granted covers this")
        }
    }
}

pub(crate) fn refusal(denial: CapDenial) -> Failure {
    let code = match denial {
        CapDenial::Revoked => Code::CapRevoked,
        CapDenial::TooEarly | CapDenial::Expired | CapDenial::UsedUp => Code::CapExpired,
        CapDenial::Scope => Code::CapScope,
        CapDenial::OtherRun => Code::CapRunMismatch,
        CapDenial::Rate { .. } => Code::CapRate,
        CapDenial::Budget(_) => Code::BudgetExceeded,
    };
    let failure = Failure::new(code, denial.to_string());
    match denial {
        CapDenial::Rate { retry_after_us } => failure.retry_after(retry_after_us),
        CapDenial::Budget(exceeded) => failure.with("kind", exceeded.dimension.as_str()),
        CapDenial::Revoked
        | CapDenial::TooEarly
        | CapDenial::Expired
        | CapDenial::UsedUp
        | CapDenial::Scope
        | CapDenial::OtherRun => failure,
    }
}

fn underivable(error: DeriveError) -> Failure {
    let code = match error {
        DeriveError::Revoked => Code::CapRevoked,
        DeriveError::Full => Code::Quota,
        DeriveError::Depth | DeriveError::Caveats => Code::Limit,
    };
    Failure::new(code, error.to_string())
}
