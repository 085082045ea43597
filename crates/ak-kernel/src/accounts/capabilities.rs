//! Capabilities: who holds which, and what a request rests on.
//!
//! A request passes if the policy permits it and the capability that came with it covers it, or else the agent's own. An
//! agent holds all that the policy permits until the owner grants it something; from then on it reaches outside (files,
//! network, tools, models, agents) only as far as one of its grants does. `main` holds everything.

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

/// What a permitted request rests on beside the policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cover {
    /// The capabilities that cover it, each of which pays; none where the agent holds everything.
    pub(crate) by: Vec<CapId>,
    /// The name of the asking agent's.
    pub(crate) name: Option<Text>,
    /// When the first of them ends, in kernel time.
    pub(crate) expires_us: Option<u64>,
}

/// All capabilities, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    table: CapTable,
    root: Option<CapId>,
    by_id: BTreeMap<CapId, HeldCapability>,
    /// The grants of each agent that ever got one, be they revoked since: it holds these and no more.
    own: BTreeMap<AgentId, Vec<CapId>>,
}

/// What the kernel knows of a capability beside its caveats.
#[derive(Clone, Debug)]
pub(crate) struct HeldCapability {
    /// Who may derive from it, make tokens of it, and take it back.
    pub(crate) holder: AgentId,
    /// The name of the grant: a tool, or `fs`, `http`, `net`, `infer`, `spawn`.
    pub(crate) name: Text,
}

impl Capabilities {
    /// Gives an agent a capability, which counts as its own.
    ///
    /// # Errors
    /// QUOTA where the agent holds as many as it may, or the table is full.
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

    /// Makes a capability of another: what that allows, and every caveat too.
    ///
    /// # Errors
    /// CAP_REVOKED; LIMIT for too many caveats or too long a line; QUOTA.
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
            // What is of no use any more makes room first.
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

    /// Takes a capability away with everything derived from it, at once. Gives how many there were.
    pub(crate) fn revoke(&mut self, id: CapId) -> usize {
        let revoked = self.table.revoke(id);
        self.by_id.retain(|id, _| self.table.contains(*id));
        for grants in self.own.values_mut() {
            grants.retain(|id| self.table.contains(*id));
        }
        revoked
    }

    /// The capability, if it is there and the session's to dispose of: the owner's, or its holder's.
    ///
    /// # Errors
    /// CAP_REVOKED, the same for one of somebody else as for one that never was.
    pub(crate) fn of(&self, account: AgentId, id: CapId) -> Result<&HeldCapability, Failure> {
        let held = self.by_id.get(&id).filter(|held| account.is_main() || held.holder == account);
        held.ok_or_else(|| refusal(CapDenial::Revoked))
    }

    /// Whether an agent ever got a grant, and so holds its grants and no more.
    pub(crate) fn has_any(&self, account: AgentId) -> bool {
        self.own.contains_key(&account)
    }

    /// Forgets an agent that has ended, and takes back all that it holds.
    pub(crate) fn forget(&mut self, agent: AgentId) {
        let held = self.by_id.iter().filter(|(_, held)| held.holder == agent).map(|(id, _)| *id);
        for id in held.collect::<Vec<_>>() {
            self.revoke(id);
        }
        self.own.remove(&agent);
    }

    /// Whether the owner granted it, as opposed to an agent deriving it.
    pub(crate) fn is_grant(&self, id: CapId) -> bool {
        self.own.values().any(|grants| grants.contains(&id))
    }

    /// When a capability ends, in kernel time.
    pub(crate) fn expires_us(&self, id: CapId) -> Option<u64> {
        self.table.authority(id).as_ref().and_then(end_of)
    }

    /// What a request rests on. `line` are the asking agent and its ancestors, those that there are.
    ///
    /// # Errors
    /// Why the presented capability does not cover it, or the agent's own do not.
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
            // What a token says by itself are wall times; the table's are kernel times.
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

    /// The grants that count a connection: those of each agent of the line that cover it. An agent none of whose grants speaks
    /// of the connection makes it on the strength of what it asks for there.
    ///
    /// # Errors
    /// CAP_RATE, CAP_EXPIRED where a grant speaks of it and is used up or over.
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

    /// Takes one use from each capability that covers a request, and sets the amounts aside.
    ///
    /// # Errors
    /// As for [`cover`](Self::cover); nothing is set aside then.
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

    /// Ends what was set aside: `actual` is what was used.
    pub(crate) fn settle(&mut self, reservation: CapReservation, actual: &[(Dimension, u64)]) {
        self.table.settle(reservation, actual);
    }

    /// Ends what was set aside, of which nothing was used.
    pub(crate) fn release(&mut self, reservation: CapReservation) {
        self.table.release(reservation);
    }

    /// All that is visible, for the state digest.
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

    /// Takes up again what a snapshot says was set aside.
    pub(crate) fn reservation(&self, value: &Value) -> Option<CapReservation> {
        self.table.reservation(value).ok()
    }
}

/// Whether grants speak of an operation. One's own objects and entries are the policy's matter alone.
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

/// Whether the caveats in a token's own blocks allow a request. Those of the table tell it themselves.
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

/// The earliest end that an authority's caveats name: kernel time in the table, wall time in a token's own blocks.
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

/// Why an agent's own capabilities do not cover a request that none of them speaks of.
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
