//! Agents and their accounts. Everything that an agent uses is charged to each of its ancestors too, up to the root
//! agent.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use ak_json::{Object, Text, Value, array, object};
use ak_policy::budget::{
    BudgetExceeded, Dimension, Ledger, LimitedBy, Reservation as BudgetReservation, Spender,
};
use ak_policy::{
    Charge, LimitError, LimitReservation, LimitTable, Policy, Target, capability::CapReservation,
};

use crate::{
    accounts::capabilities::Capabilities,
    api::{
        code::Code,
        fields::{FieldError, Fields},
        reply::{Denial, Failure},
        session::{AGENT_NAME_BYTES_MAX, AgentId, GUEST, MAIN},
        time::Elapsed,
    },
};

/// One agent: its name, its account, and its last denial.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: Text,
    /// The agent that is charged for this agent's usage too; `None` for the root agent.
    parent: Option<AgentId>,
    ledger: Ledger,
    /// Kernel time at which the agent's wall time began (upper bound), in µs.
    since_us: u64,
    pub(crate) last_denial: Option<Denial>,
}

/// All agents by number, with the usage of the policy's cumulative limits, and the capabilities.
#[derive(Debug)]
pub(crate) struct Agents {
    all: BTreeMap<AgentId, Agent>,
    by_name: BTreeMap<Text, AgentId>,
    next: u32,
    limits: LimitTable,
    pub(crate) capabilities: Capabilities,
}

/// The reserved costs of one request: a reservation in each account of the agent's lineage up to the root, in the
/// policy's limits, and in each capability that the request rests on.
///
/// It is consumed by [`Agents::settle`] or [`Agents::release`].
#[derive(Debug, Default)]
#[must_use = "it is settled or released, exactly once"]
pub(crate) struct Reservation {
    parts: Vec<(AgentId, BudgetReservation)>,
    limits: Vec<LimitReservation>,
    pub(crate) capabilities: Vec<CapReservation>,
    /// The number of capability reservations at the front that were made for the request itself, with all that it
    /// may use. Those after them are additional costs of the same request, such as redirects.
    covers: usize,
}

impl Reservation {
    /// Sets the capability reservations of the request itself.
    pub(crate) fn cover(&mut self, capabilities: Vec<CapReservation>) {
        self.covers = capabilities.len();
        self.capabilities = capabilities;
    }

    /// Adds a reservation for additional costs of the same request.
    pub(crate) fn join(&mut self, other: Reservation) {
        self.parts.extend(other.parts);
        self.limits.extend(other.limits);
        self.capabilities.extend(other.capabilities);
    }
}

/// The most that a request may cost: amounts of budgets, and charges against the policy's cumulative limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Charges {
    pub(crate) amounts: Vec<(Dimension, u64)>,
    pub(crate) charges: Vec<Charge>,
}

impl Agents {
    /// The root agent `main`, and `guest`, the parent of all guests.
    pub(crate) fn new(now: Elapsed) -> Agents {
        let mut agents = Agents::empty();
        agents.insert(Text::from(MAIN), None, now);
        agents.insert(Text::from(GUEST), Some(AgentId::MAIN), now);
        agents
    }

    /// No agents at all.
    pub(crate) fn empty() -> Agents {
        Agents {
            all: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next: 0,
            limits: LimitTable::default(),
            capabilities: Capabilities::default(),
        }
    }

    fn insert(&mut self, name: Text, parent: Option<AgentId>, now: Elapsed) -> AgentId {
        let id = AgentId::from_number(self.next);
        self.next = self.next.saturating_add(1);
        let agent = Agent {
            name: name.clone(),
            parent,
            ledger: Ledger::default(),
            since_us: now.high_us,
            last_denial: None,
        };
        self.all.insert(id, agent);
        self.by_name.insert(name, id);
        id
    }

    pub(crate) fn get(&self, account: AgentId) -> Option<&Agent> {
        self.all.get(&account)
    }

    /// The name of an agent; empty if it does not exist.
    pub(crate) fn name(&self, account: AgentId) -> Text {
        self.get(account).map(|agent| agent.name.clone()).unwrap_or_default()
    }

    pub(crate) fn get_mut(&mut self, account: AgentId) -> Option<&mut Agent> {
        self.all.get_mut(&account)
    }

    /// The agent with this name. It is created if it does not exist, and so is each of its ancestors, since an
    /// ancestor's account is charged for its descendants even if it never sends a request itself.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if the name is not a valid agent name; QUOTA if there are `agents_max` agents already.
    pub(crate) fn open(
        &mut self,
        name: &Text,
        policy: &Policy,
        now: Elapsed,
        agents_max: u64,
    ) -> Result<AgentId, Failure> {
        if let Some(account) = self.find(name) {
            return Ok(account);
        }
        let refuse =
            |reason: &str| Failure::new(Code::InvalidArgument, format!("agent {:?}: {reason}", &**name));
        if name.len() > AGENT_NAME_BYTES_MAX {
            return Err(refuse("the name is longer than 255 bytes"));
        }
        Target::agent(name).map_err(|error| refuse(&format!("{error}")))?;
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        let missing: Vec<Text> = ends
            .filter_map(|end| name.get(..end))
            .filter(|name| self.find(name).is_none())
            .map(Text::from)
            .collect();
        // `guest`, the parent of guests, always exists and does not count.
        let count = self.all.len().saturating_add(missing.len()).saturating_sub(1) as u64;
        if count > agents_max
            || self.next.checked_add(u32::try_from(missing.len()).unwrap_or(u32::MAX)).is_none()
        {
            return Err(Failure::new(Code::Quota, format!("there are {agents_max} agents already")));
        }
        for name in missing {
            let parent = name.rsplit_once('/').and_then(|(parent, _)| self.find(parent));
            let id = self.insert(name.clone(), Some(parent.unwrap_or(AgentId::MAIN)), now);
            if let Some(agent) = self.get_mut(id) {
                agent.adopt(policy);
            }
        }
        self.find(name).ok_or_else(|| refuse("it is gone"))
    }

    /// The agent with this name as an earlier version created it: without its ancestors.
    pub(crate) fn open_alone(&mut self, name: &Text, policy: &Policy, now: Elapsed) -> AgentId {
        if let Some(account) = self.find(name) {
            return account;
        }
        let parent = (**name != *MAIN).then_some(AgentId::MAIN);
        let id = self.insert(name.clone(), parent, now);
        if let Some(agent) = self.get_mut(id) {
            agent.adopt(policy);
        }
        id
    }

    /// Creates the missing ancestors of every agent, and the parent of guests, which an earlier version did not
    /// create.
    pub(crate) fn complete_lineages(&mut self, policy: &Policy, now: Elapsed) {
        let names: Vec<Text> = self.by_name.keys().cloned().chain([Text::from(GUEST)]).collect();
        for name in &names {
            for (end, _) in name.match_indices('/').chain([(name.len(), "")]) {
                if let Some(ancestor) = name.get(..end) {
                    self.open_alone(&Text::from(ancestor), policy, now);
                }
            }
        }
        self.adopt_parents();
        // An earlier version charged the agent itself and the root agent, but not the ancestors between them.
        let used: Vec<_> = self
            .all
            .iter()
            .flat_map(|(id, agent)| {
                Dimension::ALL
                    .map(|dimension| (*id, dimension, agent.ledger.used(Spender::Itself, dimension)))
            })
            .collect();
        for (by, dimension, amount) in used {
            for account in self.accounts(by).into_iter().skip(1).filter(|account| !account.is_main()) {
                if let Some(agent) = self.get_mut(account) {
                    agent.ledger.record(Spender::Below, dimension, amount, now);
                }
            }
        }
    }

    /// Stores the usage of limits under the names that this version uses.
    pub(crate) fn migrate_limits(&mut self, policy: &Policy) {
        self.limits.migrate(policy);
        for agent in self.all.values_mut() {
            agent.ledger.adopt(policy.budget_limits(&agent.name));
        }
    }

    /// Removes an agent. Its name can be used again by a new agent.
    pub(crate) fn remove(&mut self, account: AgentId) {
        if let Some(agent) = self.all.remove(&account) {
            self.by_name.remove(&agent.name);
        }
    }

    /// Whether an agent has no children and is not one of the two that always exist.
    pub(crate) fn is_leaf(&self, account: AgentId) -> bool {
        let fixed = account.is_main() || self.get(account).is_some_and(|agent| *agent.name == *GUEST);
        !fixed && self.all.values().all(|agent| agent.parent != Some(account))
    }

    /// Whether an agent is a guest, as opposed to one to which the owner gave a session.
    pub(crate) fn is_guest(&self, account: AgentId) -> bool {
        self.get(account).is_some_and(|agent| agent.name.starts_with("guest/"))
    }

    /// The agent and its ancestors without the root agent; empty for the root agent.
    pub(crate) fn lineage(&self, account: AgentId) -> Vec<AgentId> {
        self.accounts(account).into_iter().filter(|account| !account.is_main()).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<AgentId> {
        self.by_name.get(name).copied()
    }
}

impl Agent {
    /// Takes over the limits that a policy sets for this agent.
    fn adopt(&mut self, policy: &Policy) {
        self.ledger.set_policy_limits(policy.budget_limits(&self.name));
    }
}

/// Charges and limits. Every charge applies to the agent and to each of its ancestors, so an ancestor's limit holds
/// for all its descendants together.
impl Agents {
    /// The accounts that an agent's usage is charged to, from its own to the root's.
    fn accounts(&self, account: AgentId) -> Vec<AgentId> {
        let parent = |account: &AgentId| self.get(*account).and_then(|agent| agent.parent);
        core::iter::successors(Some(account), parent).collect()
    }

    /// Checks that every account and limit has room for the costs, and that no wall time is used up.
    pub(crate) fn check(&self, by: AgentId, costs: &Charges, now: Elapsed) -> Result<(), Failure> {
        for account in self.accounts(by) {
            let Some(agent) = self.get(account) else { continue };
            let checked = agent.ledger.check(spender(account == by), &costs.amounts, now);
            checked.map_err(|exceeded| over_budget(&agent.name, &exceeded))?;
            let used = agent.wall_time_ms(now);
            if let Some(limit) = agent.wall_time_limit(by == account, now).filter(|limit| used >= *limit) {
                let dimension = Dimension::WallTimeMs;
                let exceeded = BudgetExceeded { dimension, limit, used, reserved: 0, requested: 1 };
                return Err(over_budget(&agent.name, &exceeded));
            }
        }
        self.limits.check(&costs.charges, now).map_err(|error| over_limit(&error))
    }

    /// How much of a budget the agent has left, its ancestors' limits included; `None` if there is no limit.
    pub(crate) fn left(&self, by: AgentId, dimension: Dimension, now: Elapsed) -> Option<u64> {
        let accounts = self.accounts(by).into_iter();
        let accounts = accounts.filter_map(|account| Some((account == by, self.get(account)?)));
        let left = accounts.map(|(itself, agent)| agent.ledger.status(spender(itself), dimension, now));
        left.filter(|status| status.limit.is_some()).map(|status| status.remaining()).min()
    }

    /// Reserves the costs in every account and limit, or in none.
    pub(crate) fn reserve(
        &mut self,
        by: AgentId,
        costs: &Charges,
        now: Elapsed,
    ) -> Result<Reservation, Failure> {
        self.check(by, costs, now)?;
        let limits = match costs.charges.as_slice() {
            [] => Vec::new(),
            charges => {
                let reserved = self.limits.reserve(charges, now);
                Vec::from([reserved.map_err(|error| over_limit(&error))?])
            }
        };
        let mut parts = Vec::new();
        for account in self.accounts(by) {
            let Some(agent) = self.get_mut(account) else { continue };
            // Checked above: every account has room.
            if let Ok(reservation) = agent.ledger.reserve(spender(account == by), &costs.amounts, now) {
                parts.push((account, reservation));
            }
        }
        Ok(Reservation { parts, limits, ..Reservation::default() })
    }

    /// Reserves the costs without checking limits, since an earlier version has checked them.
    pub(crate) fn reserve_beyond(&mut self, by: AgentId, costs: &Charges, now: Elapsed) -> Reservation {
        let limits = self.limits.reserve(&costs.charges, now).into_iter().collect();
        let mut parts = Vec::new();
        for account in self.accounts(by) {
            let Some(agent) = self.get_mut(account) else { continue };
            if let Ok(reservation) = agent.ledger.reserve(spender(account == by), &costs.amounts, now) {
                parts.push((account, reservation));
            }
        }
        Reservation { parts, limits, ..Reservation::default() }
    }

    /// Ends a reservation. `actual` are the amounts that were used; a dimension that is missing there counts as
    /// used in full.
    pub(crate) fn settle(&mut self, reservation: Reservation, actual: &[(Dimension, u64)], now: Elapsed) {
        // If costs were reserved in several parts, as for redirects, `actual` is charged once.
        let nothing: Vec<_> = actual.iter().map(|(dimension, _)| (*dimension, 0)).collect();
        let mut settled = BTreeSet::new();
        for (account, reservation) in reservation.parts {
            let actual = if settled.insert(account) { actual } else { &nothing };
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.settle(reservation, actual, now);
            }
        }
        reservation.limits.into_iter().for_each(|limits| self.limits.commit(limits, actual, now));
        for (index, reserved) in reservation.capabilities.into_iter().enumerate() {
            let first = index < reservation.covers;
            self.capabilities.settle(reserved, if first { actual } else { &nothing });
        }
    }

    /// Ends a reservation of which nothing was used.
    pub(crate) fn release(&mut self, reservation: Reservation) {
        for (account, reservation) in reservation.parts {
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.release(reservation);
            }
        }
        reservation.limits.into_iter().for_each(|limits| self.limits.release(limits));
        reservation.capabilities.into_iter().for_each(|reserved| self.capabilities.release(reserved));
    }

    /// Charges an amount without checking limits.
    pub(crate) fn record(&mut self, by: AgentId, dimension: Dimension, amount: u64, now: Elapsed) {
        for account in self.accounts(by) {
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.record(spender(account == by), dimension, amount, now);
            }
        }
    }

    /// Credits an amount that a gauge no longer measures.
    pub(crate) fn credit(&mut self, by: AgentId, dimension: Dimension, amount: u64) {
        for account in self.accounts(by) {
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.credit(spender(account == by), dimension, amount);
            }
        }
    }

    /// Sets a limit besides the policy's; the lower of the two applies. With `lower_only`, a limit that was set
    /// before cannot be raised or removed, whoever set it. A number above the policy's limit is allowed: it applies
    /// when the policy's limit rises.
    pub(crate) fn set_limit(
        &mut self,
        account: AgentId,
        dimension: Dimension,
        limit: Option<u64>,
        lower_only: bool,
    ) -> Result<(), Failure> {
        let Some(agent) = self.get_mut(account) else {
            return Err(Failure::new(Code::NotFound, "there is no such agent"));
        };
        let before = agent.ledger.limit_set(dimension);
        let lowers = limit.unwrap_or(u64::MAX) <= before.unwrap_or(u64::MAX) && limit.is_some();
        if lower_only && !lowers {
            let message = format!("an agent session can only lower its {dimension} budget");
            return Err(Failure::new(Code::PolicyDeny, message));
        }
        agent.ledger.set_limit(dimension, limit);
        Ok(())
    }

    /// Replaces the budget limits of the earlier policy by those of this one. Limits that were set by requests
    /// stay, and so does all usage.
    pub(crate) fn adopt(&mut self, policy: &Policy) {
        self.limits.migrate(policy);
        for agent in self.all.values_mut() {
            agent.adopt(policy);
        }
    }

    /// Limit, usage and reservations of each dimension, or of one.
    pub(crate) fn status(&self, account: AgentId, dimension: Option<Dimension>, now: Elapsed) -> Value {
        let asked = Dimension::ALL.into_iter().filter(|each| dimension.is_none_or(|only| only == *each));
        let rows = asked.map(|dimension| {
            let status = self.effective(account, dimension, now);
            let limit = status.limit.map_or(Value::Null, Value::from);
            let remaining = status.limit.map_or(Value::Null, |_| status.remaining.into());
            let row = object! {
                "limit": limit, "used": status.used, "reserved": status.reserved, "remaining": remaining,
                "limited_by": status.limited_by,
            };
            (dimension.as_str(), row)
        });
        rows.collect::<Object>().into()
    }

    /// An agent's own usage, and the limit that leaves it the least: its own or an ancestor's.
    fn effective(&self, by: AgentId, dimension: Dimension, now: Elapsed) -> Effective {
        let mut effective = Effective::default();
        for account in self.accounts(by) {
            let Some(agent) = self.get(account) else { continue };
            let itself = account == by;
            let mut status = agent.ledger.status(spender(itself), dimension, now);
            if dimension == Dimension::WallTimeMs {
                status.used = agent.wall_time_ms(now);
            }
            let remaining = status.remaining();
            if itself {
                (effective.used, effective.reserved) = (status.used, status.reserved);
            }
            let tighter = effective.limit.is_none() || remaining < effective.remaining;
            if let (Some(limit), true) = (status.limit, tighter) {
                // The amount that an ancestor leaves, expressed as a limit of the agent's own.
                let used = effective.used.saturating_add(effective.reserved);
                effective.limit = Some(if itself { limit } else { used.saturating_add(remaining) });
                effective.remaining = remaining;
                let how = match status.limited_by {
                    Some(LimitedBy::Set) => "set_budget",
                    Some(LimitedBy::Policy { .. }) | None => "policy",
                };
                effective.limited_by =
                    Some(if itself { how.into() } else { format!("{how}:{}", &*agent.name) });
            }
        }
        effective
    }

    /// Kernel time at which the wall time of the agent or of an ancestor is first used up (upper bound, in µs);
    /// `None` if there is no limit.
    pub(crate) fn deadline(&self, by: AgentId) -> Option<u64> {
        let accounts = self.accounts(by).into_iter();
        let accounts = accounts.filter_map(|account| Some((account == by, self.get(account)?)));
        let ends = accounts.filter_map(|(itself, agent)| {
            let limit_ms = agent.wall_time_limit(itself, Elapsed::default())?;
            Some(agent.since_us.saturating_add(limit_ms.saturating_mul(1000)))
        });
        ends.min()
    }

    /// The agents in the form of the state digest, without texts for people.
    pub(crate) fn to_value(&self) -> Value {
        let rows = self.all.iter().map(|(id, agent)| {
            let denial = agent.last_denial.as_ref().map_or(Value::Null, Denial::facts);
            object! {
                "id": u64::from(id.number()), "name": agent.name.clone(), "since": agent.since_us,
                "ledger": agent.ledger.to_value(), "last_denial": denial,
            }
        });
        object! {
            "agents": rows.collect::<Vec<Value>>(), "next": u64::from(self.next), "limits": self.limits.to_value(),
            "capabilities": self.capabilities.to_value(),
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Agents, FieldError> {
        let mut fields = Fields::new("agents", value)?;
        let mut agents = Agents::empty();
        for row in fields.items("agents")?.iter() {
            let mut fields = Fields::new("agents.agents", row)?;
            let ledger = Ledger::from_value(&fields.value("ledger")?);
            let (id, name) = (fields.account("id")?, fields.text("name")?);
            let agent = Agent {
                name: name.clone(),
                parent: None,
                ledger: ledger.map_err(|error| fields.error("ledger", format!("{error}")))?,
                since_us: fields.u64("since")?,
                last_denial: fields.optional("last_denial").as_ref().map(Denial::from_facts).transpose()?,
            };
            fields.finish()?;
            agents.by_name.insert(name, id);
            agents.all.insert(id, agent);
        }
        let next = fields.u64("next")?;
        agents.next = u32::try_from(next).map_err(|_| fields.error("next", "is out of range"))?;
        let limits = LimitTable::from_value(&fields.value("limits")?);
        agents.limits = limits.map_err(|error| fields.error("limits", format!("{error}")))?;
        agents.capabilities = Capabilities::from_value(&fields.value("capabilities")?)?;
        fields.finish()?;
        if agents.find(MAIN) != Some(AgentId::MAIN) {
            return Err(FieldError::new("agents.agents", "does not begin with the root agent"));
        }
        agents.adopt_parents();
        Ok(agents)
    }

    /// Sets the parent of every agent by its name.
    fn adopt_parents(&mut self) {
        for agent in self.all.values_mut() {
            agent.parent = match agent.name.rsplit_once('/') {
                Some((parent, _)) => self.by_name.get(parent).copied().or(Some(AgentId::MAIN)),
                None if *agent.name == *MAIN => None,
                None => Some(AgentId::MAIN),
            };
        }
    }
}

/// An agent's usage in one dimension, and the tightest limit of its lineage.
#[derive(Default)]
struct Effective {
    limit: Option<u64>,
    used: u64,
    reserved: u64,
    remaining: u64,
    /// `policy` or `set_budget`; for an ancestor's limit with the ancestor's name, as in `policy:crew`.
    limited_by: Option<String>,
}

/// How an account is charged: for its own agent, or for a descendant.
const fn spender(itself: bool) -> Spender {
    if itself { Spender::Itself } else { Spender::Below }
}

impl Agent {
    /// The limit on its wall time in ms, as it applies to the agent itself or to a descendant.
    fn wall_time_limit(&self, itself: bool, now: Elapsed) -> Option<u64> {
        self.ledger.status(spender(itself), Dimension::WallTimeMs, now).limit
    }

    /// The time since its creation, in ms.
    fn wall_time_ms(&self, now: Elapsed) -> u64 {
        now.high_us.saturating_sub(self.since_us) / 1000
    }
}

/// A reservation in a snapshot: the ids of its parts.
impl Reservation {
    pub(crate) fn to_value(&self) -> Value {
        let parts = self.parts.iter().map(|(account, part)| array![u64::from(account.number()), part.id()]);
        let limits = self.limits.iter().map(|limit| Value::from(limit.id()));
        let capabilities = self.capabilities.iter().map(CapReservation::to_value);
        object! {
            "parts": parts.collect::<Vec<Value>>(), "limits": limits.collect::<Vec<Value>>(),
            "capabilities": capabilities.collect::<Vec<Value>>(), "covers": self.covers as u64,
        }
    }
}

impl Agents {
    /// Restores a reservation from a snapshot.
    pub(crate) fn restore_reservation(&self, value: &Value) -> Result<Reservation, FieldError> {
        let mut fields = Fields::new("hold", value)?;
        let mut reservation = Reservation::default();
        for part in fields.items("parts")?.iter() {
            let number = |index| part.as_array()?.iter().nth(index)?.as_u64();
            let account = number(0).and_then(|number| u32::try_from(number).ok()).map(AgentId::from_number);
            let claim = account
                .and_then(|account| Some((account, self.get(account)?.ledger.reservation(number(1)?)?)));
            reservation.parts.push(claim.ok_or_else(|| fields.error("parts", "names no open reservation"))?);
        }
        for limit in fields.items("limits")?.iter() {
            let claim = limit.as_u64().and_then(|id| self.limits.reservation(id));
            reservation
                .limits
                .push(claim.ok_or_else(|| fields.error("limits", "names no open reservation"))?);
        }
        for capability in fields.items("capabilities")?.iter() {
            let claim = self.capabilities.reservation(capability);
            reservation
                .capabilities
                .push(claim.ok_or_else(|| fields.error("capabilities", "names no open reservation"))?);
        }
        let covers = fields.optional_u64("covers")?.and_then(|covers| usize::try_from(covers).ok());
        reservation.covers = covers.unwrap_or(reservation.capabilities.len());
        fields.finish()?;
        Ok(reservation)
    }
}

fn over_budget(agent: &str, exceeded: &BudgetExceeded) -> Failure {
    Failure::new(Code::BudgetExceeded, format!("the budget of agent {agent} is used up: {exceeded}"))
        .with("agent", agent)
        .with("kind", exceeded.dimension.as_str())
        .with("limit", exceeded.limit)
        .with("used", exceeded.used)
        .with("reserved", exceeded.reserved)
        .with("requested", exceeded.requested)
}

pub(crate) fn over_limit(error: &LimitError) -> Failure {
    let code = match error {
        LimitError::Exceeded { .. } => Code::BudgetExceeded,
        LimitError::NotAnAmount { .. } | LimitError::TooManySteps => Code::PolicyDeny,
    };
    Failure::new(code, format!("{error}"))
}
