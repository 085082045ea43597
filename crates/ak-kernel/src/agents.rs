//! Agents and their accounts. What an agent spends is spent by the root agent too.

use alloc::{format, vec::Vec};

use ak_json::{Object, Text, Value, array, object};
use ak_policy::budget::{BudgetExceeded, Dimension, Ledger, Reservation};
use ak_policy::{
    Charge, LimitError, LimitReservation, LimitTable, Policy, Target, capability::CapReservation,
};

use crate::{
    capability::Holdings,
    code::Code,
    fields::{FieldError, Fields},
    reply::{Denial, Failure},
    session::Session,
    time::Time,
};

/// The root agent's name.
pub const MAIN: &str = "main";
/// Longest agent name, in bytes.
pub const AGENT_NAME_BYTES_MAX: usize = 255;

/// One agent: its name, its account, and what it was last refused.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: Text,
    ledger: Ledger,
    /// When its wall time began.
    since: Time,
    pub(crate) last_denial: Option<Denial>,
}

/// All agents, by number. Number 0 is `main`. With them, what was used of the policy's cumulative limits, and the
/// capabilities.
#[derive(Debug)]
pub(crate) struct Agents {
    list: Vec<Agent>,
    limits: LimitTable,
    pub(crate) holdings: Holdings,
}

/// What is set aside for one request: a reservation in each account on the way to the root, and in each capability
/// that it rests on.
///
/// It ends in [`Agents::settle`] or [`Agents::release`], by value.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Hold {
    parts: Vec<(Session, Reservation)>,
    limits: Vec<LimitReservation>,
    pub(crate) capabilities: Vec<CapReservation>,
}

impl Hold {
    /// Adds what was set aside for something else.
    pub(crate) fn join(&mut self, other: Hold) {
        self.parts.extend(other.parts);
        self.limits.extend(other.limits);
        self.capabilities.extend(other.capabilities);
    }
}

/// What a request may cost at most: budgets, and the policy's cumulative limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) amounts: Vec<(Dimension, u64)>,
    pub(crate) charges: Vec<Charge>,
}

impl Agents {
    pub(crate) fn new(since: Time) -> Agents {
        let main = Agent { name: Text::from(MAIN), ledger: Ledger::default(), since, last_denial: None };
        Agents { list: Vec::from([main]), limits: LimitTable::default(), holdings: Holdings::default() }
    }

    pub(crate) fn get(&self, session: Session) -> Option<&Agent> {
        self.list.get(usize::try_from(session.number()).ok()?)
    }

    /// The name of the session's agent; empty where there is none.
    pub(crate) fn name(&self, session: Session) -> Text {
        self.get(session).map(|agent| agent.name.clone()).unwrap_or_default()
    }

    pub(crate) fn get_mut(&mut self, session: Session) -> Option<&mut Agent> {
        self.list.get_mut(usize::try_from(session.number()).ok()?)
    }

    /// The session of the agent with this name, which is made if it is not there.
    pub(crate) fn open(
        &mut self,
        name: &Text,
        policy: &Policy,
        now: Time,
        agents_max: u64,
    ) -> Result<Session, Failure> {
        if let Some(session) = self.find(name) {
            return Ok(session);
        }
        let refuse =
            |reason: &str| Failure::new(Code::InvalidArgument, format!("agent {:?}: {reason}", &**name));
        if name.len() > AGENT_NAME_BYTES_MAX {
            return Err(refuse("the name is longer than 255 bytes"));
        }
        Target::agent(name).map_err(|error| refuse(&format!("{error}")))?;
        match u32::try_from(self.list.len()) {
            Ok(number) if u64::from(number) < agents_max => {
                let mut ledger = Ledger::default();
                for (dimension, limit) in policy.budgets_of(name) {
                    ledger.set_limit(dimension, Some(limit));
                }
                self.list.push(Agent { name: name.clone(), ledger, since: now, last_denial: None });
                Ok(Session::from_number(number))
            }
            _ => Err(Failure::new(Code::Quota, format!("there are {agents_max} agents already"))),
        }
    }

    /// The session and those of its agent's ancestors that there are; nobody where the root agent asks.
    pub(crate) fn line(&self, session: Session) -> Vec<Session> {
        let name = self.name(session);
        let own = Some(session).filter(|session| !session.is_owner());
        let ancestors = name.match_indices('/').filter_map(|(at, _)| self.find(name.get(..at)?));
        own.into_iter().chain(ancestors).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Session> {
        let number = self.list.iter().position(|agent| *agent.name == *name)?;
        u32::try_from(number).ok().map(Session::from_number)
    }
}

/// Accounts. Whatever is charged is charged to the agent and to the root, so the root's limit holds for all together.
impl Agents {
    /// The accounts that `session` spends from, its own first.
    fn accounts(session: Session) -> impl Iterator<Item = Session> {
        [session, Session::OWNER].into_iter().take(if session.is_owner() { 1 } else { 2 })
    }

    /// Whether every account and limit has room, and time is left.
    pub(crate) fn check(&self, session: Session, costs: &Costs, now: Time) -> Result<(), Failure> {
        for account in Self::accounts(session) {
            let Some(agent) = self.get(account) else { continue };
            agent.ledger.check(&costs.amounts).map_err(|exceeded| over_budget(&agent.name, &exceeded))?;
            let wall = agent.ledger.status(Dimension::WallTimeMs);
            let used = now.millis_since(agent.since);
            if let Some(limit) = wall.limit.filter(|limit| used >= *limit) {
                let dimension = Dimension::WallTimeMs;
                let exceeded = BudgetExceeded { dimension, limit, used, reserved: 0, requested: 1 };
                return Err(over_budget(&agent.name, &exceeded));
            }
        }
        self.limits.check(&costs.charges, now.as_micros()).map_err(|error| over_limit(&error))
    }

    /// How much of a budget is left, if there is a limit anywhere.
    pub(crate) fn left(&self, session: Session, dimension: Dimension) -> Option<u64> {
        let accounts = Self::accounts(session).filter_map(|account| self.get(account));
        let left = accounts.map(|agent| agent.ledger.status(dimension));
        left.filter(|status| status.limit.is_some()).map(|status| status.remaining()).min()
    }

    /// Sets the costs aside in every account and limit, or in none.
    pub(crate) fn reserve(&mut self, session: Session, costs: &Costs, now: Time) -> Result<Hold, Failure> {
        self.check(session, costs, now)?;
        let limits = match costs.charges.as_slice() {
            [] => Vec::new(),
            charges => {
                let reserved = self.limits.reserve(charges, now.as_micros());
                Vec::from([reserved.map_err(|error| over_limit(&error))?])
            }
        };
        let mut parts = Vec::new();
        for account in Self::accounts(session) {
            let Some(agent) = self.get_mut(account) else { continue };
            // Checked above: there is room in every account.
            if let Ok(reservation) = agent.ledger.reserve(&costs.amounts) {
                parts.push((account, reservation));
            }
        }
        Ok(Hold { parts, limits, capabilities: Vec::new() })
    }

    /// Ends a hold: `actual` is what was used. What is not named there counts as used in full.
    pub(crate) fn settle(&mut self, hold: Hold, actual: &[(Dimension, u64)]) {
        for (account, reservation) in hold.parts {
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.settle(reservation, actual);
            }
        }
        hold.limits.into_iter().for_each(|limits| self.limits.commit(limits));
        hold.capabilities.into_iter().for_each(|reserved| self.holdings.settle(reserved, actual));
    }

    /// Ends a hold of which nothing was used.
    pub(crate) fn release(&mut self, hold: Hold) {
        for (account, reservation) in hold.parts {
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.release(reservation);
            }
        }
        hold.limits.into_iter().for_each(|limits| self.limits.release(limits));
        hold.capabilities.into_iter().for_each(|reserved| self.holdings.release(reserved));
    }

    /// Records what was used without asking.
    pub(crate) fn record(&mut self, session: Session, dimension: Dimension, amount: u64) {
        for account in Self::accounts(session) {
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.record(dimension, amount);
            }
        }
    }

    /// Gives back what a gauge no longer measures.
    pub(crate) fn credit(&mut self, session: Session, dimension: Dimension, amount: u64) {
        for account in Self::accounts(session) {
            if let Some(agent) = self.get_mut(account) {
                agent.ledger.credit(dimension, amount);
            }
        }
    }

    /// Sets a limit. `lower_only` refuses to raise or remove one.
    pub(crate) fn set_limit(
        &mut self,
        session: Session,
        dimension: Dimension,
        limit: Option<u64>,
        lower_only: bool,
    ) -> Result<(), Failure> {
        let Some(agent) = self.get_mut(session) else {
            return Err(Failure::new(Code::NotFound, "there is no such agent"));
        };
        let before = agent.ledger.status(dimension).limit;
        let lowers = limit.unwrap_or(u64::MAX) <= before.unwrap_or(u64::MAX) && limit.is_some();
        if lower_only && !lowers {
            let message = format!("an agent session can only lower its {dimension} budget");
            return Err(Failure::new(Code::PolicyDeny, message));
        }
        agent.ledger.set_limit(dimension, limit);
        Ok(())
    }

    /// Puts the budgets of `new` in the place of those of `old`. A limit that was set by hand since stays.
    pub(crate) fn adopt(&mut self, old: &Policy, new: &Policy) {
        for agent in &mut self.list {
            let (old, new): (Vec<_>, Vec<_>) = match *agent.name == *MAIN {
                true => (old.budgets().collect(), new.budgets().collect()),
                false => (old.budgets_of(&agent.name).collect(), new.budgets_of(&agent.name).collect()),
            };
            for (dimension, limit) in old {
                if agent.ledger.status(dimension).limit == Some(limit) {
                    agent.ledger.set_limit(dimension, None);
                }
            }
            for (dimension, limit) in new {
                agent.ledger.set_limit(dimension, Some(limit));
            }
        }
    }

    /// Limit, use and reservations of each dimension asked for.
    pub(crate) fn status(&self, session: Session, dimension: Option<Dimension>, now: Time) -> Value {
        let Some(agent) = self.get(session) else { return Object::new().into() };
        let asked = Dimension::ALL.into_iter().filter(|each| dimension.is_none_or(|only| only == *each));
        let rows = asked.map(|dimension| {
            let mut status = agent.ledger.status(dimension);
            if dimension == Dimension::WallTimeMs {
                status.used = now.millis_since(agent.since);
            }
            let limit = status.limit.map_or(Value::Null, Value::from);
            let remaining = status.limit.map_or(Value::Null, |_| status.remaining().into());
            let row = object! {
                "limit": limit, "used": status.used, "reserved": status.reserved, "remaining": remaining,
            };
            (dimension.as_str(), row)
        });
        rows.collect::<Object>().into()
    }

    /// When the first agent's wall time ends.
    pub(crate) fn deadline(&self, session: Session) -> Option<Time> {
        let accounts = Self::accounts(session).filter_map(|account| self.get(account));
        let ends = accounts.filter_map(|agent| {
            agent.ledger.status(Dimension::WallTimeMs).limit.map(|limit| agent.since.plus_millis(limit))
        });
        ends.min()
    }

    /// All that is visible of the agents, for the state digest.
    pub(crate) fn to_value(&self) -> Value {
        let rows = self.list.iter().map(|agent| {
            let denial = agent.last_denial.as_ref().map_or(Value::Null, Denial::to_value);
            object! {
                "name": agent.name.clone(), "since": agent.since.as_micros(),
                "ledger": agent.ledger.to_value(), "last_denial": denial,
            }
        });
        object! {
            "agents": rows.collect::<Vec<Value>>(), "limits": self.limits.to_value(),
            "capabilities": self.holdings.to_value(),
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Agents, FieldError> {
        let mut fields = Fields::new("agents", value)?;
        let mut list = Vec::new();
        for row in fields.items("agents")?.iter() {
            let mut fields = Fields::new("agents.agents", row)?;
            let ledger = Ledger::from_value(&fields.value("ledger")?);
            list.push(Agent {
                name: fields.text("name")?,
                ledger: ledger.map_err(|error| fields.error("ledger", format!("{error}")))?,
                since: Time::from_micros(fields.u64("since")?),
                last_denial: fields.optional("last_denial").as_ref().map(Denial::from_value).transpose()?,
            });
            fields.finish()?;
        }
        let limits = LimitTable::from_value(&fields.value("limits")?);
        let limits = limits.map_err(|error| fields.error("limits", format!("{error}")))?;
        let holdings = Holdings::from_value(&fields.value("capabilities")?)?;
        fields.finish()?;
        match list.first() {
            Some(main) if *main.name == *MAIN => Ok(Agents { list, limits, holdings }),
            Some(_) | None => Err(FieldError::new("agents.agents", "does not begin with the root agent")),
        }
    }
}

/// A hold in a snapshot: the ids of its claims.
impl Hold {
    pub(crate) fn to_value(&self) -> Value {
        let parts = self.parts.iter().map(|(session, part)| array![u64::from(session.number()), part.id()]);
        let limits = self.limits.iter().map(|limit| Value::from(limit.id()));
        let capabilities = self.capabilities.iter().map(CapReservation::to_value);
        object! {
            "parts": parts.collect::<Vec<Value>>(), "limits": limits.collect::<Vec<Value>>(),
            "capabilities": capabilities.collect::<Vec<Value>>(),
        }
    }
}

impl Agents {
    /// Takes up again what a snapshot says was held.
    pub(crate) fn hold_again(&self, value: &Value) -> Result<Hold, FieldError> {
        let mut fields = Fields::new("hold", value)?;
        let mut hold = Hold::default();
        for part in fields.items("parts")?.iter() {
            let number = |index| part.as_array()?.iter().nth(index)?.as_u64();
            let session = number(0).and_then(|number| u32::try_from(number).ok()).map(Session::from_number);
            let claim = session
                .and_then(|session| Some((session, self.get(session)?.ledger.reservation(number(1)?)?)));
            hold.parts.push(claim.ok_or_else(|| fields.error("parts", "names no open reservation"))?);
        }
        for limit in fields.items("limits")?.iter() {
            let claim = limit.as_u64().and_then(|id| self.limits.reservation(id));
            hold.limits.push(claim.ok_or_else(|| fields.error("limits", "names no open reservation"))?);
        }
        for capability in fields.items("capabilities")?.iter() {
            let claim = self.holdings.reservation(capability);
            hold.capabilities
                .push(claim.ok_or_else(|| fields.error("capabilities", "names no open reservation"))?);
        }
        fields.finish()?;
        Ok(hold)
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
        LimitError::NotAnAmount { .. } => Code::PolicyDeny,
    };
    Failure::new(code, format!("{error}"))
}
