//! The windows of kernel versions before 9, which counted in slices of a sixtieth of the period.

use alloc::vec::Vec;

use ak_json::Value;

use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, ReadResult};
use crate::counters::usage::Usage;

const SLICES: u64 = 60;
/// The most slices that counted at a time. The length of a slice was rounded down to whole µs, so a period had up
/// to twice as many slices.
const SLICES_MAX: usize = 2 * SLICES as usize;

/// Amounts by slice number, oldest first. The length of a slice depends on the limit's period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LegacyWindow(Vec<(u64, u64)>);

impl LegacyWindow {
    /// The amounts with times: each slice counts as used at the slice's end.
    pub(super) fn usage(self, per_us: u64) -> Usage {
        let slice_us = (per_us / SLICES).max(1);
        let mut usage = Usage::default();
        for (slice, amount) in self.0 {
            let end_us = slice.saturating_add(1).saturating_mul(slice_us) - 1;
            usage.add(amount, Elapsed::exactly(end_us), &[per_us]);
        }
        usage
    }

    /// Subtracts a reserved amount from its slice. Returns whether the slice held that much, or has left the
    /// window.
    pub(super) fn take(&mut self, slice: u64, amount: u64) -> bool {
        match self.0.iter_mut().find(|(own, _)| *own == slice) {
            Some((_, sum)) => {
                let left = sum.checked_sub(amount);
                *sum = left.unwrap_or(*sum);
                left.is_some()
            }
            None => self.0.first().is_some_and(|(first, _)| slice < *first),
        }
    }

    /// A flat array of slice numbers and amounts.
    pub(super) fn to_value(&self) -> Value {
        let numbers = self.0.iter().flat_map(|(slice, amount)| [Value::from(*slice), Value::from(*amount)]);
        Value::from(numbers.collect::<Vec<_>>())
    }

    pub(super) fn read(part: &Part<'_>) -> ReadResult<Self> {
        let mut items = part.items()?;
        let mut window = Self::default();
        while let (Some(slice), Some(amount)) = (items.next(), items.next()) {
            let (number, counted) = (slice.number()?, amount.number()?);
            let last = window.0.last();
            slice.demand(last.is_none_or(|(last, _)| *last < number), "not behind the slice before it")?;
            window.0.push((number, counted));
        }
        let is_whole = part.items()?.len() == 2 * window.0.len() && !window.0.is_empty();
        part.demand(is_whole, "not pairs of slice and amount")?;
        part.demand(window.0.len() <= SLICES_MAX, "more slices than a period has")?;
        Ok(window)
    }
}
