//! The ledger of one account: limits, usage and open reservations.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ak_json::{Digest, Object, Value, object};

use super::account::Account;
use super::dimension::{ByDimension, Dimension, Flow};
use super::limit::{BudgetLimit, LimitedBy, Spender};
use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, RESERVATIONS_MAX, ReadResult, TableError};

/// Limits and usage of one account in every [`Dimension`].
///
/// An account is charged for what its agent uses, and for what the agent's descendants use; see [`Spender`]. The
/// caller of a ledger also charges the ledgers of all ancestors.
///
/// A dimension can have any number of limits: those of the policy, on usage in total or over any span of a given
/// length, by the agent itself or by it and all its descendants; and one limit set by a request, on the total usage
/// of all of them. All limits hold. For each of them `used + reserved ≤ limit` after every successful reservation;
/// reserved amounts count in every span until they are settled. Only two things can break this, and both block
/// further spending: a settlement above the reservation, which is recorded in full, and a limit lowered below past
/// usage. A limit of 0 allows nothing; without a limit everything is allowed.
///
/// Usage belongs to the dimension: changing a limit or the policy never reduces it. Spans are measured on the lower
/// bound of the elapsed time.
///
/// The order of calls is [`reserve`](Self::reserve), then for that reservation exactly one of
/// [`settle`](Self::settle), [`settle_in_full`](Self::settle_in_full) and [`release`](Self::release).
///
/// ```
/// use ak_policy::Elapsed;
/// use ak_policy::budget::{BudgetLimit, Dimension, Ledger, Spender};
/// let mut ledger = Ledger::default();
/// let hour_us = 3_600_000_000;
/// ledger.set_policy_limits([(Dimension::Tokens, BudgetLimit::per(1_000, 24 * hour_us))]);
/// let (itself, begin) = (Spender::Itself, Elapsed::exactly(0));
/// let reservation = ledger.reserve(itself, &[(Dimension::Tokens, 800)], begin)?;
/// assert!(ledger.reserve(itself, &[(Dimension::Tokens, 300)], begin).is_err());
/// ledger.settle(reservation, &[(Dimension::Tokens, 500)], Elapsed::exactly(hour_us));
/// assert_eq!(ledger.status(itself, Dimension::Tokens, Elapsed::exactly(24 * hour_us)).used, 500);
/// assert_eq!(ledger.status(itself, Dimension::Tokens, Elapsed::exactly(25 * hour_us)).used, 0);
/// # Ok::<(), ak_policy::budget::BudgetExceeded>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: ByDimension<Account>,
    open: BTreeMap<u64, Open>,
    last_reservation: u64,
}

/// An open reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    spender: Spender,
    amounts: Box<[(Dimension, u64)]>,
}

/// Limit and usage of one dimension, under the limit that leaves the least; of equal ones the lowest limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The most that may be used; `None` means no limit.
    pub limit: Option<u64>,
    /// What was settled by the spenders and within the span that the limit covers.
    pub used: u64,
    /// What these spenders reserved and have not settled yet.
    pub reserved: u64,
    /// What sets the limit; `None` without a limit.
    pub limited_by: Option<LimitedBy>,
}

/// What was reserved in a [`Ledger`], to be settled or released once in the same ledger.
///
/// The ledger stores the amounts, so a lost reservation stays visible as `reserved`.
#[must_use = "a reservation that is neither settled nor released blocks its amount for ever"]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation(u64);

impl Reservation {
    /// The number of the reservation in its ledger, to be saved beside the ledger; see [`Ledger::reservation`].
    pub fn id(&self) -> u64 {
        self.0
    }

    /// The reservation of a capability that is revoked; settling it has no effect.
    pub(crate) fn of_nothing(id: u64) -> Self {
        Self(id)
    }
}

/// Which budget does not cover a charge, with its limit and usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{dimension}: {requested} requested, {used} used and {reserved} reserved of {limit}")]
pub struct BudgetExceeded {
    /// The first dimension, in the order of the request, whose budget does not suffice.
    pub dimension: Dimension,
    /// The limit of that dimension.
    pub limit: u64,
    /// What is already used.
    pub used: u64,
    /// What is already reserved.
    pub reserved: u64,
    /// The total amount requested in this dimension.
    pub requested: u64,
}

impl Status {
    /// What may still be reserved; without a limit, what is left up to `u64::MAX`.
    pub fn remaining(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX).saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

impl Ledger {
    /// Replaces the limits of the previous policy by those of a policy; of two limits with the same dimension,
    /// period and scope the lower counts. The limit set by a request and the usage stay.
    ///
    /// A limit with a period on a dimension that does not [take periods](Dimension::takes_period) becomes a limit
    /// on the total.
    pub fn set_policy_limits(&mut self, limits: impl IntoIterator<Item = (Dimension, BudgetLimit)>) {
        Dimension::ALL.into_iter().for_each(|dimension| self.accounts.of_mut(dimension).clear_policy());
        for (dimension, limit) in limits {
            let per_us = limit.per_us.filter(|_| dimension.takes_period());
            self.accounts.of_mut(dimension).add_policy(BudgetLimit { per_us, ..limit });
        }
    }

    /// Like [`set_policy_limits`](Self::set_policy_limits), for a ledger saved by an earlier version. Earlier
    /// versions did not tell the policy's limit from one set by a request, so a set limit that equals one of the
    /// policy's is taken for the policy's, and dropped.
    pub fn adopt(&mut self, limits: impl IntoIterator<Item = (Dimension, BudgetLimit)>) {
        self.set_policy_limits(limits);
        Dimension::ALL.into_iter().for_each(|dimension| self.accounts.of_mut(dimension).adopt());
    }

    /// Sets or removes the limit on the total that holds besides the policy's. Usage stays.
    pub fn set_limit(&mut self, dimension: Dimension, limit: Option<u64>) {
        self.accounts.of_mut(dimension).set_limit(limit);
    }

    /// The limit set by [`set_limit`](Self::set_limit), if any.
    pub fn limit_set(&self, dimension: Dimension) -> Option<u64> {
        self.accounts.of(dimension).set()
    }

    /// Limit and usage of a dimension for a spender.
    pub fn status(&self, spender: Spender, dimension: Dimension, now: Elapsed) -> Status {
        self.accounts.of(dimension).status(spender, now)
    }

    /// The total that the spender used: what was ever settled, less what was credited.
    pub fn used(&self, spender: Spender, dimension: Dimension) -> u64 {
        self.accounts.of(dimension).used(spender)
    }

    /// Whether [`reserve`](Self::reserve) would succeed.
    ///
    /// # Errors
    /// [`BudgetExceeded`] for the first dimension whose budget does not suffice.
    pub fn check(
        &self,
        spender: Spender,
        amounts: &[(Dimension, u64)],
        now: Elapsed,
    ) -> Result<(), BudgetExceeded> {
        for &(dimension, _) in amounts {
            let requested = total(amounts, dimension);
            let status = self.status(spender, dimension, now);
            // A request for 0 passes even when the budget is overdrawn.
            if requested > u128::from(status.remaining()) {
                let Status { used, reserved, .. } = status;
                let limit = status.limit.unwrap_or(u64::MAX);
                let requested = u64::try_from(requested).unwrap_or(u64::MAX);
                return Err(BudgetExceeded { dimension, limit, used, reserved, requested });
            }
        }
        Ok(())
    }

    /// Reserves all the amounts or none of them. Amounts of a dimension that occurs twice are added up.
    ///
    /// # Errors
    /// [`BudgetExceeded`] for the first dimension whose budget does not suffice; then nothing is reserved.
    pub fn reserve(
        &mut self,
        spender: Spender,
        amounts: &[(Dimension, u64)],
        now: Elapsed,
    ) -> Result<Reservation, BudgetExceeded> {
        self.check(spender, amounts, now)?;
        for &(dimension, amount) in amounts {
            self.accounts.of_mut(dimension).reserve(spender, amount);
        }
        self.last_reservation = self.last_reservation.saturating_add(1);
        self.open.insert(self.last_reservation, Open { spender, amounts: amounts.into() });
        Ok(Reservation(self.last_reservation))
    }

    /// Reserves and settles at once, for work whose cost is known beforehand.
    ///
    /// # Errors
    /// [`BudgetExceeded`] for the first dimension whose budget does not suffice; then nothing is spent.
    pub fn spend(
        &mut self,
        spender: Spender,
        amounts: &[(Dimension, u64)],
        now: Elapsed,
    ) -> Result<(), BudgetExceeded> {
        self.check(spender, amounts, now)?;
        for &(dimension, amount) in amounts {
            self.record(spender, dimension, amount, now);
        }
        Ok(())
    }

    /// Records the actual usage as of now in place of what was reserved.
    ///
    /// A reserved dimension that `actual` does not name is recorded at its reserved amount; a dimension of `actual`
    /// that was not reserved is recorded too. An amount above the reservation is recorded in full, even beyond the
    /// limit.
    pub fn settle(&mut self, reservation: Reservation, actual: &[(Dimension, u64)], now: Elapsed) {
        // Without an open reservation `actual` is recorded all the same.
        let nothing = || Open { spender: Spender::Itself, amounts: Box::default() };
        let Open { spender, amounts } = self.close(reservation).unwrap_or_else(nothing);
        for &(dimension, amount) in &amounts {
            if !actual.iter().any(|&(settled, _)| settled == dimension) {
                self.record(spender, dimension, amount, now);
            }
        }
        for &(dimension, amount) in actual {
            self.record(spender, dimension, amount, now);
        }
    }

    /// Settles at the reserved amounts, for work whose outcome is unknown.
    pub fn settle_in_full(&mut self, reservation: Reservation, now: Elapsed) {
        self.settle(reservation, &[], now);
    }

    /// Drops the reserved amounts: the work was not done.
    pub fn release(&mut self, reservation: Reservation) {
        self.close(reservation);
    }

    /// Subtracts a freed amount from the usage of a [`Flow::Gauge`]. Does nothing for a [`Flow::Meter`].
    pub fn credit(&mut self, spender: Spender, dimension: Dimension, amount: u64) {
        match dimension.flow() {
            Flow::Gauge => self.accounts.of_mut(dimension).credit(spender, amount),
            Flow::Meter => {}
        }
    }

    /// Records usage that was not reserved, even beyond the limit.
    pub fn record(&mut self, spender: Spender, dimension: Dimension, amount: u64, now: Elapsed) {
        self.accounts.of_mut(dimension).record(spender, dimension, amount, now);
    }

    /// Whether the dimension has exactly this set limit and none of a policy, and is unused when it has no limit.
    pub(crate) fn is_limited_by(&self, dimension: Dimension, set: Option<u64>) -> bool {
        let account = self.accounts.of(dimension);
        account.set() == set && !account.has_policy() && (set.is_some() || *account == Account::default())
    }

    /// Whether there are open reservations.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The open reservation of this number; `None` when there is none.
    ///
    /// Only for restoring a ledger: call it exactly once for each number that was saved beside the ledger. Two
    /// reservations of one number would let one holder settle what the other reserved.
    pub fn reservation(&self, id: u64) -> Option<Reservation> {
        self.open.contains_key(&id).then_some(Reservation(id))
    }

    fn close(&mut self, reservation: Reservation) -> Option<Open> {
        let open = self.open.remove(&reservation.0)?;
        for &(dimension, amount) in &open.amounts {
            self.accounts.of_mut(dimension).unreserve(open.spender, amount);
        }
        Some(open)
    }

    /// The whole state as JSON: limits and usage of every dimension that has any, and open reservations.
    pub fn to_value(&self) -> Value {
        let accounts = self.accounts.iter().filter(|(_, account)| **account != Account::default());
        let accounts = accounts.map(|(dimension, account)| (dimension.as_str(), account.to_value()));
        let open = self.open.iter().map(|(id, open)| {
            let amounts =
                open.amounts.iter().map(|&(dimension, amount)| ak_json::array![dimension.as_str(), amount]);
            ak_json::array![*id, open.spender.as_str(), amounts.collect::<Vec<_>>()]
        });
        object! {
            "accounts": accounts.collect::<Object>(),
            "reservations": open.collect::<Vec<_>>(),
            "last": self.last_reservation,
        }
    }

    /// Reads the value that [`to_value`](Self::to_value) of this version or an earlier one returned. A limit of an
    /// earlier version counts as set by a request until [`adopt`](Self::adopt) is called; earlier usage counts in
    /// every period, as of the next use.
    ///
    /// # Errors
    /// [`TableError`] when the value is not the state of a ledger.
    pub fn from_value(value: &Value) -> Result<Self, TableError> {
        Self::read(&Part::whole("ledger", value))
    }

    pub(crate) fn read(part: &Part<'_>) -> ReadResult<Self> {
        let is_former = part.has("open");
        let reservations = if is_former { "open" } else { "reservations" };
        let [accounts, open, last] = part.members(["accounts", reservations, "last"])?;
        let mut ledger = Self { last_reservation: last.number()?, ..Self::default() };
        last.demand(ledger.last_reservation <= RESERVATIONS_MAX, "too many reservations")?;
        for (name, account) in accounts.entries()? {
            let dimension =
                Dimension::from_name(name).ok_or_else(|| account.wrong("no dimension has this name"))?;
            *ledger.accounts.of_mut(dimension) = Account::read(dimension, &account, is_former)?;
        }
        let mut claimed = ByDimension::<[u128; 2]>::default();
        for item in open.items()? {
            // Earlier versions charged only the agent itself.
            let (id, spender, amounts) = if is_former {
                let [id, amounts] = item.tuple()?;
                (id.number()?, Spender::Itself, self::amounts(&amounts)?)
            } else {
                let [id, spender, amounts] = item.tuple()?;
                let known = [Spender::Itself, Spender::Below].into_iter();
                let text = spender.text()?;
                let found = known.into_iter().find(|own| own.as_str() == text);
                let found = found.ok_or_else(|| spender.wrong("expected 'itself' or 'below'"))?;
                (id.number()?, found, self::amounts(&amounts)?)
            };
            let follows = ledger.open.last_key_value().map_or(id > 0, |(before, _)| *before < id);
            let is_open = follows && id <= ledger.last_reservation;
            item.demand(is_open, "not the number of an open reservation")?;
            for &(dimension, amount) in &amounts {
                let [itself, below] = claimed.of_mut(dimension);
                let claimed = if spender == Spender::Itself { itself } else { below };
                *claimed += u128::from(amount);
            }
            ledger.open.insert(id, Open { spender, amounts });
        }
        let adds_up = |(dimension, account): (Dimension, &Account)| {
            let reserved = |spender| u128::from(account.reserved(spender));
            [reserved(Spender::Itself), reserved(Spender::Below)] == *claimed.of(dimension)
        };
        accounts.demand(
            ledger.accounts.iter().all(adds_up),
            "reserved amounts differ from the sum of the open reservations",
        )?;
        Ok(ledger)
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}

/// Reads dimensions and amounts.
fn amounts(part: &Part<'_>) -> ReadResult<Box<[(Dimension, u64)]>> {
    let amount = |part: Part<'_>| {
        let [name, amount] = part.tuple()?;
        let dimension = Dimension::from_name(name.text()?);
        let dimension = dimension.ok_or_else(|| name.wrong("no dimension has this name"))?;
        Ok((dimension, amount.number()?))
    };
    part.items()?.map(amount).collect()
}

/// The total requested in one dimension, in a type that cannot overflow.
fn total(amounts: &[(Dimension, u64)], dimension: Dimension) -> u128 {
    amounts.iter().filter(|(other, _)| *other == dimension).map(|(_, amount)| u128::from(*amount)).sum()
}
