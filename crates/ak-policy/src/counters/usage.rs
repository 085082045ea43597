//! Usage over time, kept precisely enough to answer for every period, in bounded space.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use ak_json::Value;

use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, ReadResult};

/// Within a period in force, amounts are kept apart by at least this fraction of the period.
const PARTS: u64 = 60;
/// The most entries that are read from a state. In use there are at most 128 for each bound and period in force, of
/// which there are at most [`PERIODS_MAX`](crate::budget::PERIODS_MAX), and about three for each bound and doubling of
/// the time before. There can be more only after states were merged, until the next use.
pub(crate) const ENTRIES_MAX: usize = 1 << 16;
/// While no period is in force, amounts within this time are not kept apart.
const COARSE_US: u64 = 1 << 26;

/// Amounts and their times, oldest first.
///
/// An entry stands for everything used after the previous entry, dated at its last use. So an amount may count too
/// long, by at most a sixtieth of a period that was in force all the time, and never too short. Nothing is ever
/// dropped: what is older than every period in force is summed up more coarsely the older it is, by at most half of
/// its age, so that a longer period that comes into force later still counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage(VecDeque<Entry>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    last: Elapsed,
    amount: u64,
}

/// The largest power of two that is at most `number`, or 1; cells of such widths nest.
fn power_of_two_below(number: u64) -> u64 {
    1 << number.checked_ilog2().unwrap_or(0)
}

/// The width in µs of the cells of time for amounts of this age; amounts in one cell are summed up.
fn cell_us(age_us: u64, periods_us: &[u64]) -> u64 {
    match periods_us.iter().filter(|per_us| **per_us >= age_us).min() {
        Some(per_us) => power_of_two_below(per_us / PARTS),
        None if periods_us.is_empty() => power_of_two_below(age_us / 2).max(COARSE_US),
        None => power_of_two_below(age_us / 2),
    }
}

/// Whether two times are in one cell, on both bounds.
///
/// Both must be of an age for cells of the same width: otherwise an amount that was summed up coarsely could join a
/// finely kept one, and count as long as that one does.
fn are_in_one_cell(earlier: Elapsed, later: Elapsed, now: Elapsed, periods_us: &[u64]) -> bool {
    let same = |earlier_us: u64, later_us: u64, now_us: u64| {
        let cell_us = |then_us: u64| cell_us(now_us.saturating_sub(then_us), periods_us);
        let own_us = cell_us(later_us);
        own_us == cell_us(earlier_us) && earlier_us / own_us == later_us / own_us
    };
    same(earlier.low_us, later.low_us, now.low_us) && same(earlier.high_us, later.high_us, now.high_us)
}

impl Usage {
    /// The sum of all amounts for which the period has not certainly passed; never less than what was used within
    /// the period that ends now.
    pub(crate) fn within(&self, per_us: u64, now: Elapsed) -> u64 {
        let counts = |entry: &&Entry| now.since_at_least(entry.last) < per_us;
        self.0.iter().rev().take_while(counts).fold(0, |sum: u64, entry| sum.saturating_add(entry.amount))
    }

    /// The sum of all amounts ever used.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.amount))
    }

    /// Adds an amount as of now, or as of the last entry where that is later.
    pub(crate) fn add(&mut self, amount: u64, now: Elapsed, periods_us: &[u64]) {
        if amount == 0 {
            return;
        }
        let now = self.0.back().map_or(now, |last| last.last.latest(now));
        match self.0.back_mut() {
            Some(last) if are_in_one_cell(last.last, now, now, periods_us) => last.join(now, amount),
            Some(_) | None => {
                self.0.push_back(Entry { last: now, amount });
                self.compact(now, periods_us);
            }
        }
    }

    /// Joins neighbouring entries that fall into one cell.
    fn compact(&mut self, now: Elapsed, periods_us: &[u64]) {
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(self.0.len());
        for entry in self.0.drain(..) {
            match kept.back_mut() {
                Some(last) if are_in_one_cell(last.last, entry.last, now, periods_us) => {
                    last.join(entry.last, entry.amount);
                }
                Some(_) | None => kept.push_back(entry),
            }
        }
        self.0 = kept;
    }

    /// Adds the entries of another usage.
    pub(crate) fn merge(&mut self, other: Usage) {
        let mut entries: Vec<_> = self.0.drain(..).chain(other.0).collect();
        entries.sort_by_key(|entry| (entry.last.low_us, entry.last.high_us));
        for Entry { last, amount } in entries {
            match self.0.back_mut() {
                Some(own) if own.last.latest(last) == own.last => own.join(last, amount),
                Some(own) => {
                    let last = own.last.latest(last);
                    self.0.push_back(Entry { last, amount });
                }
                None => self.0.push_back(Entry { last, amount }),
            }
        }
    }

    /// Times and amounts, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Elapsed, u64)> {
        self.0.iter().map(|entry| (entry.last, entry.amount))
    }

    /// A flat array of lower bound, upper bound and amount of each entry.
    pub(crate) fn to_value(&self) -> Value {
        let numbers =
            self.entries().flat_map(|(last, amount)| [last.low_us, last.high_us, amount].map(Value::from));
        Value::from(numbers.collect::<Vec<_>>())
    }

    /// Reads the value that [`to_value`](Self::to_value) returned.
    pub(crate) fn read(part: &Part<'_>) -> ReadResult<Self> {
        let mut items = part.items()?;
        let mut usage = Self::default();
        while let (Some(low), Some(high), Some(number)) = (items.next(), items.next(), items.next()) {
            let last = Elapsed { low_us: low.number()?, high_us: high.number()? };
            let entry = Entry { last, amount: number.number()? };
            high.demand(last.low_us <= last.high_us, "the lower bound exceeds the upper bound")?;
            let follows = |before: &Entry| before.last != last && before.last.latest(last) == last;
            low.demand(usage.0.back().is_none_or(follows), "not behind the time before it")?;
            number.demand(entry.amount > 0, "the amount is 0")?;
            usage.0.push_back(entry);
            part.demand(usage.0.len() <= ENTRIES_MAX, "more amounts than are kept apart")?;
        }
        part.demand(part.items()?.len() == 3 * usage.0.len(), "not times and amounts in turn")?;
        Ok(usage)
    }
}

impl Entry {
    /// Adds an amount that was used until a later time.
    fn join(&mut self, last: Elapsed, amount: u64) {
        self.last = self.last.latest(last);
        self.amount = self.amount.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Checks against the list of all uses: never less, and not more than the precision allows.
        #[test]
        fn usage_is_never_forgotten_early(
            steps in prop::collection::vec((0u64..200_000_000, 1u64..10), 1..200),
            per_us in 1_000u64..10_000_000_000,
            other_us in 1_000u64..10_000_000_000,
        ) {
            let (mut usage, mut all, mut now_us) = (Usage::default(), Vec::new(), 0);
            for (gap_us, amount) in steps {
                now_us += gap_us;
                usage.add(amount, Elapsed::exactly(now_us), &[per_us]);
                all.push((now_us, amount));
                for asked_us in [per_us, other_us] {
                    let within = |per_us: u64| -> u64 {
                        all.iter().filter(|(at, _)| at + per_us > now_us).map(|(_, amount)| amount).sum()
                    };
                    let told = usage.within(asked_us, Elapsed::exactly(now_us));
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
        // Once every seven minutes for a year.
        for minute in 0..525_600u64 {
            if minute % 7 == 0 {
                usage.add(1, Elapsed::exactly(minute * 60_000_000), &[]);
            }
        }
        assert!(usage.0.len() < 60, "{}", usage.0.len());
        assert_eq!(usage.total(), 525_600u64.div_ceil(7));
    }
}
