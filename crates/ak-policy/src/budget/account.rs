//! One dimension of a ledger.

use alloc::vec::Vec;

use ak_json::{Value, object};

use super::dimension::Dimension;
use super::ledger::Status;
use super::limit::{BudgetLimit, LimitedBy, PERIODS_MAX};
use crate::state::{Part, Read};
use crate::usage::Usage;

/// Usage of one dimension, and all that limits it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    used: u64,
    reserved: u64,
    /// The policy's limits, by period, one for each.
    policy: Vec<BudgetLimit>,
    set: Option<u64>,
    /// When it was used, where a limit can be for a period. What is missing here was used nobody knows when.
    usage: Usage,
}

impl Account {
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved
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

    /// Adds a limit of the policy; of two for one period the lower counts.
    pub(super) fn add_policy(&mut self, limit: BudgetLimit) {
        match self.policy.binary_search_by_key(&limit.per_us, |own| own.per_us) {
            Ok(at) => {
                if let Some(own) = self.policy.get_mut(at) {
                    own.max = own.max.min(limit.max);
                }
            }
            Err(at) => self.policy.insert(at, limit),
        }
    }

    /// Drops what was set where the policy says the same.
    pub(super) fn adopt(&mut self) {
        let is_policys = |set| self.policy.contains(&BudgetLimit::ever(set));
        if self.set.is_some_and(is_policys) {
            self.set = None;
        }
    }

    /// Where it stands under the limit that leaves the least; of equals, the lowest.
    pub(super) fn status(&self, now_us: u64) -> Status {
        let reserved = self.reserved;
        let of = |max, per_us, limited_by| {
            let used = match per_us {
                Some(per_us) => self.usage.within(per_us, now_us).saturating_add(self.undated()),
                None => self.used,
            };
            Status { limit: Some(max), used, reserved, limited_by: Some(limited_by) }
        };
        let by_policy = self
            .policy
            .iter()
            .map(|BudgetLimit { per_us, max }| of(*max, *per_us, LimitedBy::Policy { per_us: *per_us }));
        let set = self.set.map(|max| of(max, None, LimitedBy::Set));
        let tightest = by_policy.chain(set).min_by_key(|status| (status.remaining(), status.limit));
        tightest.unwrap_or(Status { limit: None, used: self.used, reserved, limited_by: None })
    }

    /// What was used before times were kept: it counts until it is dated.
    fn undated(&self) -> u64 {
        self.used.saturating_sub(self.usage.total())
    }

    pub(super) fn reserve(&mut self, amount: u64) {
        self.reserved = self.reserved.saturating_add(amount);
    }

    pub(super) fn unreserve(&mut self, amount: u64) {
        self.reserved = self.reserved.saturating_sub(amount);
    }

    pub(super) fn record(&mut self, dimension: Dimension, amount: u64, now_us: u64) {
        if dimension.takes_period() {
            let dated = self.undated().saturating_add(amount);
            let periods = self.policy.iter().filter_map(|limit| limit.per_us).take(PERIODS_MAX);
            let periods: Vec<u64> = periods.collect();
            self.usage.add(dated, now_us, &periods);
        }
        self.used = self.used.saturating_add(amount);
    }

    pub(super) fn credit(&mut self, amount: u64) {
        self.used = self.used.saturating_sub(amount);
    }

    pub(super) fn to_value(&self) -> Value {
        let policy = self.policy.iter().map(|limit| ak_json::array![limit.max, limit.per_us]);
        object! {
            "policy": policy.collect::<Vec<_>>(), "set": self.set,
            "used": self.used, "reserved": self.reserved, "usage": self.usage.to_value(),
        }
    }

    /// Reads what [`to_value`](Self::to_value) gave, or what versions before 9 of the kernel gave, which kept one
    /// limit, whoever set it, and no times.
    pub(super) fn read(dimension: Dimension, part: &Part<'_>) -> Read<Self> {
        let mut account = Self::default();
        if part.has("limit") {
            let [limit, used, reserved] = part.members(["limit", "used", "reserved"])?;
            account.set = limit.optional(Part::number)?;
            (account.used, account.reserved) = (used.number()?, reserved.number()?);
        } else {
            let [policy, set, used, reserved, usage] =
                part.members(["policy", "set", "used", "reserved", "usage"])?;
            for item in policy.items()? {
                let [max, per] = item.tuple()?;
                let limit = BudgetLimit { per_us: per.optional(Part::number)?, max: max.number()? };
                per.demand(limit.per_us.is_none() || dimension.takes_period(), "this takes no period")?;
                let follows = account.policy.last().is_none_or(|last| last.per_us < limit.per_us);
                per.demand(follows, "not a longer period than the one before")?;
                account.policy.push(limit);
            }
            account.set = set.optional(Part::number)?;
            (account.used, account.reserved) = (used.number()?, reserved.number()?);
            account.usage = Usage::read(&usage)?;
            let is_dated = dimension.takes_period() || account.usage == Usage::default();
            usage.demand(is_dated, "this takes no period")?;
            usage.demand(account.usage.total() <= account.used, "more than was used")?;
        }
        part.demand(account != Self::default(), "says nothing")?;
        Ok(account)
    }
}
