//! Amounts, such as of money, as exact multiples of a millionth.

use core::fmt;

use ak_json::Number;

use crate::budget::Dimension;

/// A non-negative number in millionths, at most `u64::MAX` of them, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub(crate) u64);

pub(crate) const MILLION: u64 = 1_000_000;

impl Amount {
    pub(crate) const ONE: Amount = Amount(MILLION);

    /// The sum of the amounts of a dimension, saturating; `None` when `amounts` does not name the dimension.
    pub(crate) fn used(amounts: &[(Dimension, u64)], dimension: Dimension) -> Option<Self> {
        let own = amounts.iter().filter(|(own, _)| *own == dimension);
        let sum = own.map(|(_, amount)| *amount).reduce(u64::saturating_add)?;
        Some(Self(sum.saturating_mul(MILLION)))
    }

    /// The amount of a request, rounded up; `None` when the number is negative or too large to be exact.
    pub(crate) fn at_least(number: &Number) -> Option<Self> {
        Self::whole(number).or_else(|| {
            let (below, rest) = Self::scaled(number)?;
            Some(Self(if rest > 0.0 { below.checked_add(1)? } else { below }))
        })
    }

    /// The amount of a limit, rounded down; `None` when the number is negative or too large to be exact.
    pub(crate) fn at_most(number: &Number) -> Option<Self> {
        Self::whole(number).or_else(|| Some(Self(Self::scaled(number)?.0)))
    }

    fn whole(number: &Number) -> Option<Self> {
        number.as_u64()?.checked_mul(MILLION).map(Self)
    }

    /// The whole millionths in a number, and the remaining fraction of a millionth.
    fn scaled(number: &Number) -> Option<(u64, f64)> {
        let scaled = number.as_f64() * MILLION as f64;
        // Beyond 2^53 millionths a float does not tell neighbouring amounts apart.
        let countable = number.is_float() && (0.0..9.0e15).contains(&scaled);
        let below = scaled as u64;
        // A number written with up to six decimal places means exactly that many millionths, even if its float is
        // only near it.
        let written = |millionths: &u64| *millionths as f64 / MILLION as f64 == number.as_f64();
        let exactly =
            [below, below.saturating_add(1)].into_iter().find(written).map(|exactly| (exactly, 0.0));
        countable.then_some(exactly.unwrap_or((below, scaled - below as f64)))
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
