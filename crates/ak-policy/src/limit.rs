//! Cumulative limits: `[[limit]]`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use ak_json::{Digest, Number, Object, Text, Value, object};

use crate::canonical;
use crate::condition::Found;
use crate::condition::Selector;
use crate::rate::Period;
use crate::rule::{Rule, targets_to_value};

/// A window is counted in so many slices, so that a limit holds over every span of its length.
const SLICES: u64 = 60;

/// A limit's identity: the digest of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(Digest);

/// An amount in millionths, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u64);

const MILLION: u64 = 1_000_000;

impl Amount {
    const ONE: Amount = Amount(MILLION);

    /// The amount of a request, rounded up; `None` when negative or beyond what can be counted.
    pub(crate) fn at_least(number: &Number) -> Option<Self> {
        Self::whole(number).or_else(|| {
            let (below, rest) = Self::scaled(number)?;
            Some(Self(if rest > 0.0 { below.checked_add(1)? } else { below }))
        })
    }

    /// The amount of a limit, rounded down; `None` when negative or beyond what can be counted.
    pub(crate) fn at_most(number: &Number) -> Option<Self> {
        Self::whole(number).or_else(|| Some(Self(Self::scaled(number)?.0)))
    }

    fn whole(number: &Number) -> Option<Self> {
        number.as_u64()?.checked_mul(MILLION).map(Self)
    }

    /// Millionths below the number, and what is left.
    fn scaled(number: &Number) -> Option<(u64, f64)> {
        let scaled = number.as_f64() * MILLION as f64;
        // Beyond 2^53 millionths a float no longer tells amounts apart.
        let countable = number.is_float() && (0.0..9.0e15).contains(&scaled);
        countable.then_some((scaled as u64, scaled - (scaled as u64) as f64))
    }

    /// The amount in millionths.
    pub fn millionths(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / MILLION, self.0 % MILLION);
        write!(f, "{whole}")?;
        if rest == 0 { Ok(()) } else { write!(f, ".{}", alloc::format!("{rest:06}").trim_end_matches('0')) }
    }
}

/// What a request adds to a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// One.
    Count,
    /// The sum of the numbers that a pointer selects.
    Sum(Selector),
}

/// A compiled `[[limit]]`.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    id: LimitId,
    /// Which requests count.
    pub(crate) scope: Rule,
    measure: Measure,
    max: Amount,
    per_us: u64,
    pub(crate) table: Value,
}

/// What one request adds to one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    limit: LimitId,
    name: Text,
    amount: Amount,
    max: Amount,
    per_us: u64,
}

/// Why a request does not pass a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The limit would be exceeded.
    #[error("limit '{id}': {requested} requested, {used} used of {max}")]
    Exceeded {
        /// The limit's id.
        id: Text,
        /// The most that may be used in its period.
        max: Amount,
        /// What is used or reserved.
        used: Amount,
        /// What was asked.
        requested: Amount,
    },
    /// What the limit sums up is missing, no number, negative or too large to count.
    #[error("limit '{id}': '{pointer}' is not an amount")]
    NotAnAmount {
        /// The limit's id.
        id: Text,
        /// Where the amount should stand.
        pointer: String,
    },
}

impl Limit {
    pub(crate) fn new(scope: Rule, measure: Measure, max: Amount, per_us: u64) -> Self {
        let table = to_table(&scope, &measure, max, per_us);
        Self { id: LimitId(table.digest()), scope, measure, max, per_us, table }
    }

    pub(crate) fn id_text(&self) -> &Text {
        &self.scope.id
    }

    /// What a request with these arguments adds.
    pub(crate) fn charge(&self, args: Option<&Value>) -> Result<Charge, LimitError> {
        let amount = match &self.measure {
            Measure::Count => Some(Amount::ONE),
            Measure::Sum(selector) => sum(selector, args),
        };
        let amount = amount.ok_or_else(|| LimitError::NotAnAmount {
            id: self.scope.id.clone(),
            pointer: match &self.measure {
                Measure::Count => String::new(),
                Measure::Sum(selector) => selector.to_text(),
            },
        })?;
        Ok(Charge { limit: self.id, name: self.scope.id.clone(), amount, max: self.max, per_us: self.per_us })
    }
}

/// The sum of all selected numbers; `None` when nothing is selected, or something that is no amount.
fn sum(selector: &Selector, args: Option<&Value>) -> Option<Amount> {
    let mut sum = None;
    let mut sound = true;
    selector.select(args, &mut |found| {
        let amount = match found {
            Found::Value(Value::Number(number), _) => Amount::at_least(number),
            Found::Value(_, _) | Found::Missing(_) | Found::Blocked(_) => None,
        };
        let total = amount.and_then(|amount| sum.unwrap_or(Amount(0)).0.checked_add(amount.0));
        sound = total.is_some();
        sum = total.map(Amount);
        sound
    });
    sum.filter(|_| sound)
}

fn to_table(scope: &Rule, measure: &Measure, max: Amount, per_us: u64) -> Value {
    let mut table = Object::new();
    if !scope.agents.is_empty() {
        table.insert("agent", canonical::set(&scope.agents));
    }
    if *measure == Measure::Count {
        table.insert("count", true);
    }
    table.insert("id", scope.id.clone());
    let whole = max.0.is_multiple_of(MILLION);
    let max = if whole {
        Some(Number::from(max.0 / MILLION))
    } else {
        Number::from_f64(max.0 as f64 / MILLION as f64)
    };
    table.insert("max", max.map_or(Value::Null, Value::Number));
    table.insert("operation", canonical::set(scope.actions.iter()));
    table.insert("per", Period(per_us).to_string());
    if let Measure::Sum(selector) = measure {
        table.insert("sum", selector.to_text());
    }
    table.insert("target", targets_to_value(&scope.targets));
    Value::Object(table)
}

/// What was used of each limit, and when.
///
/// Like a [`Ledger`](crate::budget::Ledger) it is reserved from before the work; then each reservation is either
/// [kept](Self::commit) or [given back](Self::release). Usage survives reloading the policy.
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

impl LimitTable {
    /// Whether [`reserve`](Self::reserve) would succeed.
    ///
    /// # Errors
    /// [`LimitError::Exceeded`] names the first limit without room.
    pub fn check(&self, charges: &[Charge], now_us: u64) -> Result<(), LimitError> {
        for charge in charges {
            let used = self.windows.get(&charge.limit).map_or(0, |window| window.used(charge.per_us, now_us));
            let room = charge.max.0.saturating_sub(used);
            if charge.amount.0 > room {
                let (max, used, requested) = (charge.max, Amount(used), charge.amount);
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
            let slice = now_us / slice_us(charge.per_us);
            self.windows.entry(charge.limit).or_default().add(slice, charge.amount, charge.per_us, now_us);
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

    /// The whole state as JSON.
    pub fn to_value(&self) -> Value {
        let windows = self.windows.iter().map(|(id, window)| {
            let slices =
                window.0.iter().flat_map(|(slice, amount)| [Value::from(*slice), Value::from(amount.0)]);
            (id.0.to_string(), Value::from(slices.collect::<Vec<_>>()))
        });
        let open = self.open.iter().flat_map(|(id, shares)| {
            shares.iter().map(move |share| {
                ak_json::array![*id, share.limit.0.to_string(), share.slice, share.amount.0]
            })
        });
        object! {
            "windows": windows.collect::<Object>(),
            "open": open.collect::<Vec<_>>(),
            "last": self.last_reservation,
        }
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}

fn slice_us(per_us: u64) -> u64 {
    (per_us / SLICES).max(1)
}

impl Window {
    /// What was used in the period before `now_us`; a slice counts until its end has left the period.
    fn used(&self, per_us: u64, now_us: u64) -> u64 {
        let slices = self.0.iter().filter(|(slice, _)| Self::counts(*slice, per_us, now_us));
        slices.fold(0u64, |sum, (_, amount)| sum.saturating_add(amount.0))
    }

    fn counts(slice: u64, per_us: u64, now_us: u64) -> bool {
        let end_us = slice.saturating_add(1).saturating_mul(slice_us(per_us));
        end_us.saturating_add(per_us) > now_us
    }

    fn add(&mut self, slice: u64, amount: Amount, per_us: u64, now_us: u64) {
        self.0.retain(|(slice, _)| Self::counts(*slice, per_us, now_us));
        match self.0.back_mut() {
            Some((last, sum)) if *last >= slice => sum.0 = sum.0.saturating_add(amount.0),
            Some(_) | None => self.0.push_back((slice, amount)),
        }
    }

    fn subtract(&mut self, slice: u64, amount: Amount) {
        if let Some((_, sum)) = self.0.iter_mut().find(|(own, _)| *own == slice) {
            sum.0 = sum.0.saturating_sub(amount.0);
        }
    }
}
