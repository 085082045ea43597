//! One account: limits, usage, and what is in flight.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ak_json::{Digest, Object, Value, object};

use super::account::Account;
use super::dimension::{ByDimension, Dimension, Flow};
use super::limit::{BudgetLimit, LimitedBy, Spender};
use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, RESERVATIONS_MAX, ReadResult, TableError};

/// Limits and usage of one agent in every [`Dimension`].
///
/// An account is charged what the agent uses itself, and what those below it use; see [`Spender`]. Whoever keeps
/// ledgers charges every ancestor's too.
///
/// A dimension has any number of limits at a time: those of the policy, on what is ever used or on what is used
/// over any span of a length, by the agent itself or by it and all below it; and one that was set besides, on
/// what all of them ever use. All of them hold. For each
/// `used + reserved ≤ limit` holds after every successful reservation; what is reserved counts in every span
/// until it is settled. Only two things can break it, and both block further spending: a settlement above what
/// was reserved, which is recorded in full, and a limit lowered below what was already used. A limit of 0 allows
/// nothing; no limit allows everything.
///
/// Usage belongs to the dimension: no change of a limit, and no new policy, makes it less. Spans run on the lower
/// bound of what has passed.
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

/// Where one dimension stands under the limit that leaves the least of it; of equals, the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The most that may be used; `None` is unlimited.
    pub limit: Option<u64>,
    /// What was settled of what the limit is on: by whom, and in which span.
    pub used: u64,
    /// What is reserved and not yet settled.
    pub reserved: u64,
    /// What sets the limit.
    pub limited_by: Option<LimitedBy>,
}

/// A claim on a [`Ledger`], to be given back to the same ledger.
///
/// The ledger keeps what it stands for, so a lost reservation stays visible as `reserved` instead of
/// vanishing.
#[must_use = "a reservation that is neither settled nor released blocks its amount for ever"]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation(u64);

impl Reservation {
    /// Its number in its ledger, for writing it down beside the ledger; see [`Ledger::reservation`].
    pub fn id(&self) -> u64 {
        self.0
    }

    /// A reservation of a capability that is revoked; settling it has no effect.
    pub(crate) fn of_nothing(id: u64) -> Self {
        Self(id)
    }
}

/// A budget does not allow what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{dimension}: {requested} requested, {used} used and {reserved} reserved of {limit}")]
pub struct BudgetExceeded {
    /// The first dimension, in the order of the request, that has no room.
    pub dimension: Dimension,
    /// Its limit.
    pub limit: u64,
    /// What is settled already.
    pub used: u64,
    /// What is reserved already.
    pub reserved: u64,
    /// What was asked, of this dimension in total.
    pub requested: u64,
}

impl Status {
    /// What may still be reserved. Where there is no limit, counters end at `u64::MAX`.
    pub fn remaining(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX).saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

impl Ledger {
    /// Puts the limits of a policy in the place of those of the policy before; of two for one dimension and
    /// period the lower counts. What was set besides stays, and usage stays as it is.
    ///
    /// A period is for what [`takes_period`](Dimension::takes_period); on anything else such a limit is one on
    /// what is ever used.
    pub fn set_policy_limits(&mut self, limits: impl IntoIterator<Item = (Dimension, BudgetLimit)>) {
        Dimension::ALL.into_iter().for_each(|dimension| self.accounts.of_mut(dimension).clear_policy());
        for (dimension, limit) in limits {
            let per_us = limit.per_us.filter(|_| dimension.takes_period());
            self.accounts.of_mut(dimension).add_policy(BudgetLimit { per_us, ..limit });
        }
    }

    /// Like [`set_policy_limits`](Self::set_policy_limits), for a ledger that an earlier version wrote down. That
    /// did not tell the policy's limit from one that was set; so one that equals the policy's was the policy's.
    pub fn adopt(&mut self, limits: impl IntoIterator<Item = (Dimension, BudgetLimit)>) {
        self.set_policy_limits(limits);
        Dimension::ALL.into_iter().for_each(|dimension| self.accounts.of_mut(dimension).adopt());
    }

    /// Sets or lifts the limit on what is ever used that holds besides the policy's. Usage stays as it is.
    pub fn set_limit(&mut self, dimension: Dimension, limit: Option<u64>) {
        self.accounts.of_mut(dimension).set_limit(limit);
    }

    /// The limit that was set besides the policy's.
    pub fn limit_set(&self, dimension: Dimension) -> Option<u64> {
        self.accounts.of(dimension).set()
    }

    /// Limits and usage of a dimension for a spender.
    pub fn status(&self, spender: Spender, dimension: Dimension, now: Elapsed) -> Status {
        self.accounts.of(dimension).status(spender, now)
    }

    /// What was ever settled, and not credited since, of what the spender used.
    pub fn used(&self, spender: Spender, dimension: Dimension) -> u64 {
        self.accounts.of(dimension).used(spender)
    }

    /// Whether [`reserve`](Self::reserve) would succeed.
    ///
    /// # Errors
    /// [`BudgetExceeded`] names the first dimension without room.
    pub fn check(
        &self,
        spender: Spender,
        amounts: &[(Dimension, u64)],
        now: Elapsed,
    ) -> Result<(), BudgetExceeded> {
        for &(dimension, _) in amounts {
            let requested = total(amounts, dimension);
            let status = self.status(spender, dimension, now);
            // Nothing is asked where nothing is requested, even of an overdrawn budget.
            if requested > u128::from(status.remaining()) {
                let Status { used, reserved, .. } = status;
                let limit = status.limit.unwrap_or(u64::MAX);
                let requested = u64::try_from(requested).unwrap_or(u64::MAX);
                return Err(BudgetExceeded { dimension, limit, used, reserved, requested });
            }
        }
        Ok(())
    }

    /// Reserves all the amounts or none of them. A dimension named twice counts twice.
    ///
    /// # Errors
    /// [`BudgetExceeded`] names the first dimension without room; nothing is reserved then.
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

    /// Reserves and settles at once: for work whose cost is known beforehand.
    ///
    /// # Errors
    /// [`BudgetExceeded`] names the first dimension without room; nothing is spent then.
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

    /// Records what was actually used in place of what was reserved, as of now.
    ///
    /// A dimension that was reserved and is absent from `actual` counts at its reservation; one that was not
    /// reserved is recorded all the same. More than was reserved is recorded in full, beyond the limit if
    /// need be.
    pub fn settle(&mut self, reservation: Reservation, actual: &[(Dimension, u64)], now: Elapsed) {
        // What is claimed of a reservation that is not open is recorded all the same.
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

    /// Settles at what was reserved: for work whose outcome is unknown.
    pub fn settle_in_full(&mut self, reservation: Reservation, now: Elapsed) {
        self.settle(reservation, &[], now);
    }

    /// Gives back what was reserved: the work was not done.
    pub fn release(&mut self, reservation: Reservation) {
        self.close(reservation);
    }

    /// Takes back what was freed. Does nothing for a [`Flow::Meter`], whose usage only grows.
    pub fn credit(&mut self, spender: Spender, dimension: Dimension, amount: u64) {
        match dimension.flow() {
            Flow::Gauge => self.accounts.of_mut(dimension).credit(spender, amount),
            Flow::Meter => {}
        }
    }

    /// Records usage that was not reserved, beyond the limit if need be.
    pub fn record(&mut self, spender: Spender, dimension: Dimension, amount: u64, now: Elapsed) {
        self.accounts.of_mut(dimension).record(spender, dimension, amount, now);
    }

    /// Whether the dimension has this limit that was set and no other, and is not used where it has none.
    pub(crate) fn is_limited_by(&self, dimension: Dimension, set: Option<u64>) -> bool {
        let account = self.accounts.of(dimension);
        account.set() == set && !account.has_policy() && (set.is_some() || *account == Account::default())
    }

    /// Whether anything is reserved and not settled.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The open reservation of this number; `None` when there is none.
    ///
    /// For restoring, and for nothing else: whoever brings a ledger back takes up each claim that was written
    /// down beside it, once. Two claims of one number would let what one holds be settled by the other.
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

    /// The ledger that [`to_value`](Self::to_value) wrote down, of this version or an earlier one. Of the latter
    /// the limit is taken for one that was set, until [`adopt`](Self::adopt) tells; what was used counts in every
    /// period, as of the next use.
    ///
    /// # Errors
    /// [`TableError`] when no ledger is written so.
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
            // Earlier versions charged nobody but the agent itself.
            let (id, spender, amounts) = if is_former {
                let [id, amounts] = item.tuple()?;
                (id.number()?, Spender::Itself, self::amounts(&amounts)?)
            } else {
                let [id, spender, amounts] = item.tuple()?;
                let known = [Spender::Itself, Spender::Below].into_iter();
                let text = spender.text()?;
                let found = known.into_iter().find(|own| own.as_str() == text);
                let found = found.ok_or_else(|| spender.wrong("nobody who spends"))?;
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
            "what is reserved is not what the open reservations claim",
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

/// What is asked of one dimension in total; too wide to overflow.
fn total(amounts: &[(Dimension, u64)], dimension: Dimension) -> u128 {
    amounts.iter().filter(|(other, _)| *other == dimension).map(|(_, amount)| u128::from(*amount)).sum()
}
