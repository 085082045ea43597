//! What was used of the limits.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Digest, Object, Value, object};

use super::{Amount, Charge, LimitError, LimitId};
use crate::state::{Part, RESERVATIONS_MAX, Read, TableError};

/// A window is counted in so many slices, so that a limit holds over every span of its length.
const SLICES: u64 = 60;
/// The most slices that count at a time: a slice is a whole number of µs, so that a period has up to twice as
/// many as it should.
const SLICES_MAX: usize = 2 * SLICES as usize;

/// What was used of each limit, and when.
///
/// Like a [`Ledger`](crate::budget::Ledger) it is reserved from before the work; then each reservation is
/// either [kept](Self::commit) or [given back](Self::release). Usage survives reloading the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitTable {
    windows: BTreeMap<LimitId, Window>,
    open: BTreeMap<u64, Box<[Share]>>,
    last_reservation: u64,
}

/// What one reservation added to one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    limit: LimitId,
    slice: u64,
    amount: Amount,
}

/// Amounts by slice of time, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Window(VecDeque<(u64, Amount)>);

/// A claim on a [`LimitTable`], to be given back to the same table.
#[must_use = "a reservation that is neither committed nor released stays open"]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitReservation(u64);

impl LimitReservation {
    /// Its number in its table, for writing it down beside the table; see [`LimitTable::reservation`].
    pub fn id(&self) -> u64 {
        self.0
    }
}

impl LimitTable {
    /// Whether [`reserve`](Self::reserve) would succeed. Charges on one limit count together.
    ///
    /// # Errors
    /// [`LimitError::Exceeded`] names the first limit without room.
    pub fn check(&self, charges: &[Charge], now_us: u64) -> Result<(), LimitError> {
        let mut asked = BTreeMap::new();
        for charge in charges {
            let asked: &mut u128 = asked.entry(charge.limit).or_default();
            *asked += u128::from(charge.amount.0);
            let used = self.windows.get(&charge.limit).map_or(0, |window| window.used(charge.per_us, now_us));
            let room = charge.max.0.saturating_sub(used);
            if *asked > u128::from(room) {
                let requested = Amount(u64::try_from(*asked).unwrap_or(u64::MAX));
                let (max, used) = (charge.max, Amount(used));
                return Err(LimitError::Exceeded { id: charge.name.clone(), max, used, requested });
            }
        }
        Ok(())
    }

    /// Reserves all the charges or none of them.
    ///
    /// # Errors
    /// [`LimitError::Exceeded`] names the first limit without room; nothing is reserved then.
    pub fn reserve(&mut self, charges: &[Charge], now_us: u64) -> Result<LimitReservation, LimitError> {
        self.check(charges, now_us)?;
        let mut shares = Vec::with_capacity(charges.len());
        for charge in charges {
            let window = self.windows.entry(charge.limit).or_default();
            let slice = window.add(charge.amount, charge.per_us, now_us);
            shares.push(Share { limit: charge.limit, slice, amount: charge.amount });
        }
        self.last_reservation = self.last_reservation.saturating_add(1);
        self.open.insert(self.last_reservation, shares.into());
        Ok(LimitReservation(self.last_reservation))
    }

    /// Keeps what was reserved: the work was done, or may have been.
    pub fn commit(&mut self, reservation: LimitReservation) {
        self.open.remove(&reservation.0);
    }

    /// Gives back what was reserved: the work was not done.
    pub fn release(&mut self, reservation: LimitReservation) {
        for share in self.open.remove(&reservation.0).unwrap_or_default() {
            if let Some(window) = self.windows.get_mut(&share.limit) {
                window.subtract(share.slice, share.amount);
            }
        }
    }

    /// The open reservation of this number; `None` when there is none.
    ///
    /// For restoring, and for nothing else: whoever brings a table back takes up each claim that was written
    /// down beside it, once.
    pub fn reservation(&self, id: u64) -> Option<LimitReservation> {
        self.open.contains_key(&id).then_some(LimitReservation(id))
    }

    /// The whole state as JSON.
    pub fn to_value(&self) -> Value {
        let windows = self.windows.iter().map(|(id, window)| {
            let slices =
                window.0.iter().flat_map(|(slice, amount)| [Value::from(*slice), Value::from(amount.0)]);
            (id.0.to_string(), Value::from(slices.collect::<Vec<_>>()))
        });
        let open = self.open.iter().map(|(id, shares)| {
            let shares = shares
                .iter()
                .map(|share| ak_json::array![share.limit.0.to_string(), share.slice, share.amount.0]);
            ak_json::array![*id, shares.collect::<Vec<_>>()]
        });
        object! {
            "windows": windows.collect::<Object>(),
            "open": open.collect::<Vec<_>>(),
            "last": self.last_reservation,
        }
    }

    /// The table that [`to_value`](Self::to_value) wrote down.
    ///
    /// # Errors
    /// [`TableError`] when no table is written so.
    pub fn from_value(value: &Value) -> Result<Self, TableError> {
        let whole = Part::whole("limits", value);
        let [windows, open, last] = whole.members(["windows", "open", "last"])?;
        let mut table = Self { last_reservation: last.number()?, ..Self::default() };
        last.demand(table.last_reservation <= RESERVATIONS_MAX, "too many reservations")?;
        for (name, part) in windows.entries()? {
            let id = name.parse().map_err(|_| part.wrong("the name is no digest"))?;
            table.windows.insert(LimitId(id), Window::read(&part)?);
        }
        let mut claimed = BTreeMap::new();
        for item in open.items()? {
            let [id, shares] = item.tuple()?;
            let number = id.number()?;
            let follows = table.open.last_key_value().map_or(number > 0, |(before, _)| *before < number);
            id.demand(follows && number <= table.last_reservation, "not the number of an open reservation")?;
            let shares = shares.items()?.map(|part| {
                let share = Share::read(&part)?;
                let claimed: &mut u128 = claimed.entry((share.limit, share.slice)).or_default();
                *claimed += u128::from(share.amount.0);
                let window = table.windows.get(&share.limit);
                part.demand(
                    window.is_some_and(|window| window.holds(share.slice, *claimed)),
                    "more than the limit's window holds",
                )?;
                Ok(share)
            });
            let shares = shares.collect::<Read<_>>()?;
            table.open.insert(number, shares);
        }
        Ok(table)
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}

fn slice_us(per_us: u64) -> u64 {
    (per_us / SLICES).max(1)
}

impl Share {
    fn read(part: &Part<'_>) -> Read<Self> {
        let [limit, slice, amount] = part.tuple()?;
        let id = limit.text()?.parse().map_err(|_| limit.wrong("not a digest"))?;
        Ok(Self { limit: LimitId(id), slice: slice.number()?, amount: Amount(amount.number()?) })
    }
}

impl Window {
    /// Reads slices and amounts in turn.
    fn read(part: &Part<'_>) -> Read<Self> {
        let mut items = part.items()?;
        let mut window = Self::default();
        let mut sum = 0u64;
        while let (Some(slice), Some(amount)) = (items.next(), items.next()) {
            let (number, counted) = (slice.number()?, amount.number()?);
            let last = window.0.back();
            slice.demand(last.is_none_or(|(last, _)| *last < number), "not behind the slice before it")?;
            sum = sum.checked_add(counted).ok_or_else(|| amount.wrong("more than can be counted"))?;
            window.0.push_back((number, Amount(counted)));
        }
        let is_whole = part.items()?.len() == 2 * window.0.len() && !window.0.is_empty();
        part.demand(is_whole, "not pairs of slice and amount")?;
        part.demand(window.0.len() <= SLICES_MAX, "more slices than a period has")?;
        Ok(window)
    }

    /// Whether so much may be reserved of a slice: it holds as much, or has left the window.
    fn holds(&self, slice: u64, amount: u128) -> bool {
        match self.0.iter().find(|(own, _)| *own == slice) {
            Some((_, sum)) => amount <= u128::from(sum.0),
            None => self.0.front().is_some_and(|(first, _)| slice < *first),
        }
    }

    /// What was used in the period before `now_us`; a slice counts until its end has left the period.
    fn used(&self, per_us: u64, now_us: u64) -> u64 {
        let slices = self.0.iter().filter(|(slice, _)| Self::counts(*slice, per_us, now_us));
        slices.fold(0u64, |sum, (_, amount)| sum.saturating_add(amount.0))
    }

    fn counts(slice: u64, per_us: u64, now_us: u64) -> bool {
        // Too wide to overflow, so that the slice of now always counts.
        let end_us = (u128::from(slice) + 1) * u128::from(slice_us(per_us));
        end_us + u128::from(per_us) > u128::from(now_us)
    }

    /// Adds to the slice of now, or to the last when the clock went back. Gives which it was.
    fn add(&mut self, amount: Amount, per_us: u64, now_us: u64) -> u64 {
        let slice = now_us / slice_us(per_us);
        self.0.retain(|(slice, _)| Self::counts(*slice, per_us, now_us));
        match self.0.back_mut() {
            Some((last, sum)) if *last >= slice => {
                sum.0 = sum.0.saturating_add(amount.0);
                *last
            }
            Some(_) | None => {
                self.0.push_back((slice, amount));
                slice
            }
        }
    }

    fn subtract(&mut self, slice: u64, amount: Amount) {
        if let Some((_, sum)) = self.0.iter_mut().find(|(own, _)| *own == slice) {
            sum.0 = sum.0.saturating_sub(amount.0);
        }
    }
}
