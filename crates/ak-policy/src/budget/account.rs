//! One dimension of a ledger.

use alloc::vec::Vec;

use ak_json::{Value, object};

use super::dimension::Dimension;
use super::ledger::Status;
use super::limit::{BudgetLimit, LimitedBy, PERIODS_MAX, Spender};
use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, ReadResult};
use crate::counters::usage::Usage;

/// Usage of one dimension, and all its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Usage by the agent itself.
    itself: Tally,
    /// Usage by the agent's descendants.
    below: Tally,
    /// The policy's limits in ascending order, at most one for each scope (`each` or not) and period.
    policy: Vec<BudgetLimit>,
    set: Option<u64>,
}

/// The amounts used and the amounts reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    used: u64,
    reserved: u64,
    /// The times of usage, for dimensions that can have a period. Usage that is missing here has no known time.
    usage: Usage,
}

impl Account {
    fn tally(&self, spender: Spender) -> &Tally {
        match spender {
            Spender::Itself => &self.itself,
            Spender::Below => &self.below,
        }
    }

    fn tally_mut(&mut self, spender: Spender) -> &mut Tally {
        match spender {
            Spender::Itself => &mut self.itself,
            Spender::Below => &mut self.below,
        }
    }

    pub(super) fn used(&self, spender: Spender) -> u64 {
        self.tally(spender).used
    }

    pub(super) fn reserved(&self, spender: Spender) -> u64 {
        self.tally(spender).reserved
    }

    pub(super) fn set(&self) -> Option<u64> {
        self.set
    }

    pub(super) fn has_policy(&self) -> bool {
        !self.policy.is_empty()
    }

    pub(super) fn set_limit(&mut self, limit: Option<u64>) {
        self.set = limit;
    }

    pub(super) fn clear_policy(&mut self) {
        self.policy.clear();
    }

    /// Adds a limit of the policy; of two with the same scope and period the lower counts.
    pub(super) fn add_policy(&mut self, limit: BudgetLimit) {
        match self.policy.binary_search_by_key(&limit_key(&limit), limit_key) {
            Ok(at) => {
                if let Some(own) = self.policy.get_mut(at) {
                    own.max = own.max.min(limit.max);
                }
            }
            Err(at) => self.policy.insert(at, limit),
        }
    }

    /// Drops the set limit if it equals a limit of the policy.
    pub(super) fn adopt(&mut self) {
        let is_policys = |set| self.policy.iter().any(|limit| limit.per_us.is_none() && limit.max == set);
        if self.set.is_some_and(is_policys) {
            self.set = None;
        }
    }

    /// Limit and usage under the limit that leaves the spender the least; of equal ones the lowest limit.
    pub(super) fn status(&self, spender: Spender, now: Elapsed) -> Status {
        let of = |max, each: bool, per_us, limited_by| {
            let tallies: &[&Tally] = if each { &[&self.itself] } else { &[&self.itself, &self.below] };
            let sum = |count: &dyn Fn(&Tally) -> u64| {
                tallies.iter().fold(0u64, |sum, tally| sum.saturating_add(count(tally)))
            };
            let used = sum(&|tally| tally.used_within(per_us, now));
            Status { limit: max, used, reserved: sum(&|tally| tally.reserved), limited_by }
        };
        let is_about = |limit: &&BudgetLimit| !limit.each || spender == Spender::Itself;
        let by_policy = self.policy.iter().filter(is_about).map(|BudgetLimit { each, per_us, max }| {
            let limited_by = LimitedBy::Policy { per_us: *per_us, each: *each };
            of(Some(*max), *each, *per_us, Some(limited_by))
        });
        let set = self.set.map(|max| of(Some(max), false, None, Some(LimitedBy::Set)));
        let tightest = by_policy.chain(set).min_by_key(|status| (status.remaining(), status.limit));
        tightest.unwrap_or_else(|| of(None, false, None, None))
    }

    pub(super) fn reserve(&mut self, spender: Spender, amount: u64) {
        let tally = self.tally_mut(spender);
        tally.reserved = tally.reserved.saturating_add(amount);
    }

    pub(super) fn unreserve(&mut self, spender: Spender, amount: u64) {
        let tally = self.tally_mut(spender);
        tally.reserved = tally.reserved.saturating_sub(amount);
    }

    pub(super) fn record(&mut self, spender: Spender, dimension: Dimension, amount: u64, now: Elapsed) {
        let mut periods: Vec<u64> = self.policy.iter().filter_map(|limit| limit.per_us).collect();
        periods.sort_unstable();
        periods.truncate(PERIODS_MAX);
        let tally = self.tally_mut(spender);
        if dimension.takes_period() {
            let dated = tally.undated().saturating_add(amount);
            tally.usage.add(dated, now, &periods);
        }
        tally.used = tally.used.saturating_add(amount);
    }

    pub(super) fn credit(&mut self, spender: Spender, amount: u64) {
        let tally = self.tally_mut(spender);
        tally.used = tally.used.saturating_sub(amount);
    }

    pub(super) fn to_value(&self) -> Value {
        let policy = self.policy.iter().map(|limit| ak_json::array![limit.max, limit.per_us, limit.each]);
        object! {
            "policy": policy.collect::<Vec<_>>(), "set": self.set,
            "itself": self.itself.to_value(), "below": self.below.to_value(),
        }
    }

    /// Reads the value that [`to_value`](Self::to_value) returned, or the form of kernel versions before 9, which
    /// kept one limit, without telling who set it, and no times.
    pub(super) fn read(dimension: Dimension, part: &Part<'_>, is_former: bool) -> ReadResult<Self> {
        let mut account = Self::default();
        if is_former {
            let [limit, used, reserved] = part.members(["limit", "used", "reserved"])?;
            account.set = limit.optional(Part::number)?;
            (account.itself.used, account.itself.reserved) = (used.number()?, reserved.number()?);
        } else {
            let [policy, set, itself, below] = part.members(["policy", "set", "itself", "below"])?;
            for item in policy.items()? {
                let [max, per, each] = item.tuple()?;
                let (per_us, each) = (per.optional(Part::number)?, each.boolean()?);
                let limit = BudgetLimit { each, per_us, max: max.number()? };
                per.demand(limit.per_us.is_none() || dimension.takes_period(), "this takes no period")?;
                let last = account.policy.last();
                let follows = last.is_none_or(|last| limit_key(last) < limit_key(&limit));
                item.demand(follows, "not behind the limit before it")?;
                account.policy.push(limit);
            }
            account.set = set.optional(Part::number)?;
            account.itself = Tally::read(dimension, &itself)?;
            account.below = Tally::read(dimension, &below)?;
        }
        part.demand(account != Self::default(), "says nothing")?;
        Ok(account)
    }
}

/// The scope and the period of a limit, of which there is at most one limit each.
fn limit_key(limit: &BudgetLimit) -> (bool, Option<u64>) {
    (limit.each, limit.per_us)
}

impl Tally {
    /// What was used within the period that ends now; without a period, ever.
    fn used_within(&self, per_us: Option<u64>, now: Elapsed) -> u64 {
        match per_us {
            Some(per_us) => self.usage.within(per_us, now).saturating_add(self.undated()),
            None => self.used,
        }
    }

    /// What was used before times were kept: it counts in every period until the next use dates it.
    fn undated(&self) -> u64 {
        self.used.saturating_sub(self.usage.total())
    }

    /// `None` when the tally is empty.
    fn to_value(&self) -> Option<Value> {
        let value = object! {
            "used": self.used, "reserved": self.reserved, "usage": self.usage.to_value(),
        };
        (*self != Self::default()).then_some(value)
    }

    fn read(dimension: Dimension, part: &Part<'_>) -> ReadResult<Self> {
        let tally = part.optional(|part| {
            let [used, reserved, usage] = part.members(["used", "reserved", "usage"])?;
            let tally =
                Self { used: used.number()?, reserved: reserved.number()?, usage: Usage::read(&usage)? };
            let is_dated = dimension.takes_period() || tally.usage == Usage::default();
            usage.demand(is_dated, "this takes no period")?;
            usage.demand(tally.usage.total() <= tally.used, "more than was used")?;
            part.demand(tally != Self::default(), "says nothing")?;
            Ok(tally)
        })?;
        Ok(tally.unwrap_or_default())
    }
}
