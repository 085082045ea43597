//! What was used, and when: enough of it to answer for every period, in bounded room.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use ak_json::Value;

use crate::state::{Part, Read};

/// Within a period that is in force amounts are kept apart by at least this fraction of it.
const PARTS: u64 = 60;
/// The most entries that are read. There are at most 128 for a period in force, of which there are at most
/// [`PERIODS_MAX`](crate::budget::PERIODS_MAX), and about three for each doubling of the time before; more only
/// where several states were put together, until the next use.
pub(crate) const ENTRIES_MAX: usize = 1 << 16;
/// Where no period is in force, amounts within this time are not told apart.
const COARSE_US: u64 = 1 << 26;

/// Amounts and their times, oldest first.
///
/// An entry stands for everything that was used after the entry before it, as of the last such use. So an
/// amount may count too long, by a sixtieth of a period that was in force all the time, and never too short.
/// Nothing is ever dropped: what is older than every period in force is summed up more and more coarsely, by at
/// most half of its age, so that a longer period that comes into force later still counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage(VecDeque<Entry>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    last_us: u64,
    amount: u64,
}

/// The largest power of two that is not above the number; cells of such widths nest.
fn power_of_two_below(number: u64) -> u64 {
    1 << number.checked_ilog2().unwrap_or(0)
}

/// How wide a cell of time is in which amounts so old are not told apart.
fn cell_us(age_us: u64, periods_us: &[u64]) -> u64 {
    match periods_us.iter().filter(|per_us| **per_us >= age_us).min() {
        Some(per_us) => power_of_two_below(per_us / PARTS),
        None if periods_us.is_empty() => power_of_two_below(age_us / 2).max(COARSE_US),
        None => power_of_two_below(age_us / 2),
    }
}

impl Usage {
    /// What was used within the period that ends now, at least: `last + per > now`.
    pub(crate) fn within(&self, per_us: u64, now_us: u64) -> u64 {
        let counts = |entry: &&Entry| u128::from(entry.last_us) + u128::from(per_us) > u128::from(now_us);
        self.0.iter().rev().take_while(counts).fold(0, |sum: u64, entry| sum.saturating_add(entry.amount))
    }

    /// What was ever used.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.amount))
    }

    /// Adds an amount as of now, or as of the last one where that is later.
    pub(crate) fn add(&mut self, amount: u64, now_us: u64, periods_us: &[u64]) {
        if amount == 0 {
            return;
        }
        let last_us = self.0.back().map_or(now_us, |last| last.last_us.max(now_us));
        let cell_us = cell_us(0, periods_us);
        match self.0.back_mut() {
            Some(last) if last.last_us / cell_us == last_us / cell_us => {
                last.last_us = last_us;
                last.amount = last.amount.saturating_add(amount);
            }
            Some(_) | None => {
                self.0.push_back(Entry { last_us, amount });
                self.compact(last_us, periods_us);
            }
        }
    }

    /// Sums up neighbours that fall into one cell.
    fn compact(&mut self, now_us: u64, periods_us: &[u64]) {
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(self.0.len());
        for entry in self.0.drain(..) {
            let cell_us = cell_us(now_us - entry.last_us, periods_us);
            match kept.back_mut() {
                Some(last) if last.last_us / cell_us == entry.last_us / cell_us => {
                    last.last_us = entry.last_us;
                    last.amount = last.amount.saturating_add(entry.amount);
                }
                Some(_) | None => kept.push_back(entry),
            }
        }
        self.0 = kept;
    }

    /// Adds what another kept count of.
    pub(crate) fn merge(&mut self, other: Usage) {
        let mut entries: Vec<_> = self.0.drain(..).chain(other.0).collect();
        entries.sort_by_key(|entry| entry.last_us);
        for Entry { last_us, amount } in entries {
            match self.0.back_mut() {
                Some(last) if last.last_us == last_us => last.amount = last.amount.saturating_add(amount),
                Some(_) | None => self.0.push_back(Entry { last_us, amount }),
            }
        }
    }

    /// Times and amounts, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|entry| (entry.last_us, entry.amount))
    }

    /// Times and amounts in turn.
    pub(crate) fn to_value(&self) -> Value {
        let numbers = self.entries().flat_map(|(last_us, amount)| [Value::from(last_us), amount.into()]);
        Value::from(numbers.collect::<Vec<_>>())
    }

    /// Reads what [`to_value`](Self::to_value) gave.
    pub(crate) fn read(part: &Part<'_>) -> Read<Self> {
        let mut items = part.items()?;
        let mut usage = Self::default();
        while let (Some(time), Some(number)) = (items.next(), items.next()) {
            let entry = Entry { last_us: time.number()?, amount: number.number()? };
            let last = usage.0.back();
            time.demand(
                last.is_none_or(|last| last.last_us < entry.last_us),
                "not behind the time before it",
            )?;
            number.demand(entry.amount > 0, "an amount of nothing")?;
            usage.0.push_back(entry);
            part.demand(usage.0.len() <= ENTRIES_MAX, "more amounts than are kept apart")?;
        }
        part.demand(part.items()?.len() == 2 * usage.0.len(), "not pairs of time and amount")?;
        Ok(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Against the list of everything: never less, and not more than what the precision allows.
        #[test]
        fn usage_is_never_forgotten_early(
            steps in prop::collection::vec((0u64..200_000_000, 1u64..10), 1..200),
            per_us in 1_000u64..10_000_000_000,
            other_us in 1_000u64..10_000_000_000,
        ) {
            let (mut usage, mut all, mut now_us) = (Usage::default(), Vec::new(), 0);
            for (gap_us, amount) in steps {
                now_us += gap_us;
                usage.add(amount, now_us, &[per_us]);
                all.push((now_us, amount));
                for asked_us in [per_us, other_us] {
                    let within = |per_us: u64| -> u64 {
                        all.iter().filter(|(at, _)| at + per_us > now_us).map(|(_, amount)| amount).sum()
                    };
                    let told = usage.within(asked_us, now_us);
                    prop_assert!(told >= within(asked_us));
                    if asked_us == per_us {
                        prop_assert!(told <= within(per_us + per_us / PARTS + 1));
                    } else {
                        prop_assert!(told <= within((asked_us + asked_us / 2 + 1).max(asked_us + per_us / PARTS + 1)));
                    }
                }
                prop_assert_eq!(usage.total(), all.iter().map(|(_, amount)| amount).sum::<u64>());
                prop_assert!(usage.0.len() <= 128 + 3 * 64);
            }
        }
    }

    #[test]
    fn usage_takes_bounded_room() {
        let mut usage = Usage::default();
        // Once a minute for a year.
        for minute in 0..525_600u64 {
            if minute % 7 == 0 {
                usage.add(1, minute * 60_000_000, &[]);
            }
        }
        assert!(usage.0.len() < 60, "{}", usage.0.len());
        assert_eq!(usage.total(), 525_600u64.div_ceil(7));
    }
}
