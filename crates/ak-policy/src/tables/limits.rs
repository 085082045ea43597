//! The usage of cumulative limits.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Digest, Object, Value, object};

use super::legacy_limits::LegacyWindow;
use crate::budget::Dimension;
use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, RESERVATIONS_MAX, ReadResult, TableError};
use crate::counters::usage::Usage;
use crate::model::amount::Amount;
use crate::model::limit::{Charge, LimitError, LimitId, USAGE_DIMENSIONS};
use crate::policy::Policy;

/// Usage of every `[[limit]]` of a policy, with the times. Periods are measured on the lower bound of the elapsed
/// time.
///
/// As with a [`Ledger`](crate::budget::Ledger), amounts are reserved before the work, and each reservation is then
/// either [committed](Self::commit) or [released](Self::release). Until then a reserved amount counts, whatever its
/// age. Usage belongs to a limit's id and to what it counts: a reloaded policy with another `max` or `per` changes
/// what is allowed, not what was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitTable {
    counts: BTreeMap<LimitId, Count>,
    /// What earlier versions counted, by the limits' former ids.
    former: BTreeMap<LimitId, LegacyWindow>,
    open: BTreeMap<u64, Box<[Share]>>,
    last_reservation: u64,
}

/// Usage of one limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    /// The period that was last in force, in µs.
    per_us: u64,
    usage: Usage,
    /// The sum of the open reservations.
    reserved: u128,
}

/// What one reservation reserved of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    limit: LimitId,
    amount: Amount,
    /// The dimension whose actual usage replaces the amount; `None` keeps the reserved amount.
    usage: Option<Dimension>,
}

/// What a request reserved in a [`LimitTable`], to be committed or released in the same table.
#[must_use = "a reservation that is neither committed nor released blocks its amount for ever"]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitReservation(u64);

impl LimitReservation {
    /// The number of the reservation in its table, to be saved beside the table; see [`LimitTable::reservation`].
    pub fn id(&self) -> u64 {
        self.0
    }
}

impl LimitTable {
    /// Whether [`reserve`](Self::reserve) would succeed. Several charges on one limit are added up.
    ///
    /// # Errors
    /// [`LimitError::Exceeded`] for the first limit that the charges would exceed.
    pub fn check(&self, charges: &[Charge], now: Elapsed) -> Result<(), LimitError> {
        let mut asked = BTreeMap::new();
        for charge in charges {
            let asked: &mut u128 = asked.entry(charge.limit).or_default();
            *asked += u128::from(charge.amount.0);
            let used = self.used(charge.limit, charge.per_us, now);
            let room = charge.max.0.saturating_sub(used);
            if *asked > u128::from(room) {
                let requested = Amount(u64::try_from(*asked).unwrap_or(u64::MAX));
                let (max, used) = (charge.max, Amount(used));
                return Err(LimitError::Exceeded { id: charge.name.clone(), max, used, requested });
            }
        }
        Ok(())
    }

    /// What was used within the period that ends now, plus what is reserved.
    fn used(&self, limit: LimitId, per_us: u64, now: Elapsed) -> u64 {
        self.counts.get(&limit).map_or(0, |count| {
            let used = u128::from(count.usage.within(per_us, now)) + count.reserved;
            u64::try_from(used).unwrap_or(u64::MAX)
        })
    }

    /// Reserves all the charges or none of them.
    ///
    /// # Errors
    /// [`LimitError::Exceeded`] for the first limit that the charges would exceed; then nothing is reserved.
    pub fn reserve(&mut self, charges: &[Charge], now: Elapsed) -> Result<LimitReservation, LimitError> {
        self.check(charges, now)?;
        let share = |charge: &Charge| {
            let count = self.counts.entry(charge.limit).or_default();
            count.per_us = charge.per_us;
            count.reserved += u128::from(charge.amount.0);
            Share { limit: charge.limit, amount: charge.amount, usage: charge.usage }
        };
        let shares = charges.iter().map(share).collect();
        self.last_reservation = self.last_reservation.saturating_add(1);
        self.open.insert(self.last_reservation, shares);
        Ok(LimitReservation(self.last_reservation))
    }

    /// Records the reserved amounts as used now: the work was done, or may have been.
    ///
    /// A limit on `usage:…` is charged what `actual` gives for its dimension, in full even beyond the limit; if
    /// `actual` does not give the dimension, the reserved amount.
    pub fn commit(&mut self, reservation: LimitReservation, actual: &[(Dimension, u64)], now: Elapsed) {
        for share in self.close(reservation) {
            let settled = share.usage.and_then(|dimension| Amount::used(actual, dimension));
            let count = self.counts.entry(share.limit).or_default();
            let per_us = Some(count.per_us).filter(|per_us| *per_us > 0);
            count.usage.add(settled.unwrap_or(share.amount).0, now, per_us.as_slice());
        }
    }

    /// Drops the reserved amounts: the work was not done.
    pub fn release(&mut self, reservation: LimitReservation) {
        self.close(reservation);
    }

    fn close(&mut self, reservation: LimitReservation) -> Box<[Share]> {
        let shares = self.open.remove(&reservation.0).unwrap_or_default();
        for share in &shares {
            if let Some(count) = self.counts.get_mut(&share.limit) {
                count.reserved = count.reserved.saturating_sub(share.amount.0.into());
            }
        }
        shares
    }

    /// The open reservation of this number; `None` when there is none.
    ///
    /// Only for restoring a table: call it exactly once for each number that was saved beside the table.
    pub fn reservation(&self, id: u64) -> Option<LimitReservation> {
        self.open.contains_key(&id).then_some(LimitReservation(id))
    }

    /// Moves what earlier versions counted for this policy's limits to the limits' present ids. Earlier versions
    /// identified a limit by its whole table, numbers included, so only a policy tells which limit an entry belongs
    /// to; entries for limits that this policy does not contain stay, for another policy. Call it for every policy
    /// that comes into force; it does nothing unless the state came from an earlier version.
    pub fn migrate(&mut self, policy: &Policy) {
        for limit in policy.limits() {
            let (former, id) = (limit.former(), limit.id);
            let window = self.former.remove(&former);
            let settled = self.counts.remove(&former);
            if window.is_none() && settled.is_none() {
                continue;
            }
            let settled = settled.unwrap_or_default();
            let count = self.counts.entry(id).or_default();
            count.usage.merge(window.map(|window| window.usage(limit.per_us)).unwrap_or_default());
            count.usage.merge(settled.usage);
            count.per_us = limit.per_us;
            count.reserved += settled.reserved;
            let shares = self.open.values_mut().flat_map(|shares| &mut **shares);
            shares.filter(|share| share.limit == former).for_each(|share| share.limit = id);
        }
    }

    /// The whole state as JSON.
    pub fn to_value(&self) -> Value {
        let counts = self.counts.iter().map(|(id, count)| {
            let count = object! { "per_us": count.per_us, "usage": count.usage.to_value() };
            (id.0.to_string(), count)
        });
        let former = self.former.iter().map(|(id, window)| (id.0.to_string(), window.to_value()));
        let open = self.open.iter().map(|(id, shares)| {
            let shares = shares.iter().copied().map(Share::to_value);
            ak_json::array![*id, shares.collect::<Vec<_>>()]
        });
        object! {
            "counts": counts.collect::<Object>(),
            "former": former.collect::<Object>(),
            "open": open.collect::<Vec<_>>(),
            "last": self.last_reservation,
        }
    }

    /// Reads the value that [`to_value`](Self::to_value) of this version or an earlier one returned; after reading
    /// an earlier one call [`migrate`](Self::migrate).
    ///
    /// # Errors
    /// [`TableError`] when the value is not the state of a limit table.
    pub fn from_value(value: &Value) -> Result<Self, TableError> {
        let whole = Part::whole("limits", value);
        if whole.has("windows") {
            return Self::read_legacy(&whole);
        }
        let [counts, former, open, last] = whole.members(["counts", "former", "open", "last"])?;
        let mut table = Self::default();
        for (name, part) in counts.entries()? {
            let [per_us, usage] = part.members(["per_us", "usage"])?;
            let count = Count { per_us: per_us.number()?, usage: Usage::read(&usage)?, reserved: 0 };
            table.counts.insert(LimitId::read(name, &part)?, count);
        }
        for (name, part) in former.entries()? {
            table.former.insert(LimitId::read(name, &part)?, LegacyWindow::read(&part)?);
        }
        let known: BTreeSet<LimitId> = table.counts.keys().copied().collect();
        table.read_open(&open, &last, |part| {
            let share = Share::read(part)?;
            part.demand(known.contains(&share.limit), "the limit has no entry in 'counts'")?;
            Ok(share)
        })?;
        Ok(table)
    }

    /// Reads the form of kernel versions before 9: windows in slices, which include reserved amounts.
    fn read_legacy(whole: &Part<'_>) -> ReadResult<Self> {
        let [windows, open, last] = whole.members(["windows", "open", "last"])?;
        let mut former = BTreeMap::new();
        for (name, part) in windows.entries()? {
            former.insert(LimitId::read(name, &part)?, LegacyWindow::read(&part)?);
        }
        let mut table = Self::default();
        table.read_open(&open, &last, |part| {
            let [limit, slice, amount] = part.tuple()?;
            let (limit, amount) = (LimitId::read(limit.text()?, &limit)?, Amount(amount.number()?));
            let window: Option<&mut LegacyWindow> = former.get_mut(&limit);
            let is_held =
                window.is_some_and(|window| slice.number().is_ok_and(|at| window.take(at, amount.0)));
            part.demand(is_held, "more than the limit's window holds")?;
            Ok(Share { limit, amount, usage: None })
        })?;
        table.former = former;
        Ok(table)
    }

    /// Reads the open reservations and the number of the last one.
    fn read_open(
        &mut self,
        open: &Part<'_>,
        last: &Part<'_>,
        mut share: impl FnMut(&Part<'_>) -> ReadResult<Share>,
    ) -> ReadResult<()> {
        self.last_reservation = last.number()?;
        last.demand(self.last_reservation <= RESERVATIONS_MAX, "too many reservations")?;
        for item in open.items()? {
            let [id, shares] = item.tuple()?;
            let number = id.number()?;
            let follows = self.open.last_key_value().map_or(number > 0, |(before, _)| *before < number);
            id.demand(follows && number <= self.last_reservation, "not the number of an open reservation")?;
            let shares = shares.items()?.map(|part| share(&part)).collect::<ReadResult<Box<[Share]>>>()?;
            for share in &shares {
                self.counts.entry(share.limit).or_default().reserved += u128::from(share.amount.0);
            }
            self.open.insert(number, shares);
        }
        Ok(())
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}

impl LimitId {
    fn read(text: &str, part: &Part<'_>) -> ReadResult<Self> {
        text.parse().map(Self).map_err(|_| part.wrong("not named by a digest"))
    }
}

impl Share {
    fn to_value(self) -> Value {
        let usage = self.usage.map_or(Value::Null, |dimension| dimension.as_str().into());
        ak_json::array![self.limit.0.to_string(), self.amount.0, usage]
    }

    fn read(part: &Part<'_>) -> ReadResult<Self> {
        let [limit, amount, usage] = part.tuple()?;
        let dimension = |part: &Part<'_>| {
            let dimension = Dimension::from_name(part.text()?).filter(|own| USAGE_DIMENSIONS.contains(own));
            dimension.ok_or_else(|| part.wrong("not a dimension that a limit can sum up"))
        };
        Ok(Self {
            limit: LimitId::read(limit.text()?, &limit)?,
            amount: Amount(amount.number()?),
            usage: usage.optional(dimension)?,
        })
    }
}
