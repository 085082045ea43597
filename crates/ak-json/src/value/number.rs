//! Numbers: 64-bit integers exactly, everything else as a finite `f64`.

use core::cmp::Ordering;
use core::fmt;

/// A JSON number: an integer from `i64::MIN` to `u64::MAX`, or a finite `f64`.
///
/// A number written without fraction and exponent is an integer; any other is the nearest finite `f64`. Equality
/// and order are exact, by value: `1` equals `1.0`, and 2⁵³ + 1 differs from the `f64` nearest to it.
#[derive(Clone, Copy)]
pub struct Number(pub(crate) Repr);

#[derive(Clone, Copy)]
pub(crate) enum Repr {
    Unsigned(u64),
    /// Always below zero.
    Negative(i64),
    /// Always finite.
    Float(f64),
}

impl Number {
    /// The number of a finite float; `None` for an infinity or NaN, which JSON cannot express.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(Repr::Float(value)))
    }

    /// The number of a float known to be finite.
    pub(crate) fn finite(value: f64) -> Self {
        debug_assert!(value.is_finite());
        Self(Repr::Float(value))
    }

    /// The value as `u64`; `None` unless this is an integer, not a float, within its range.
    pub fn as_u64(&self) -> Option<u64> {
        match self.0 {
            Repr::Unsigned(value) => Some(value),
            Repr::Negative(_) | Repr::Float(_) => None,
        }
    }

    /// The value as `i64`; `None` unless this is an integer, not a float, within its range.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            Repr::Unsigned(value) => i64::try_from(value).ok(),
            Repr::Negative(value) => Some(value),
            Repr::Float(_) => None,
        }
    }

    /// The nearest `f64`.
    pub fn as_f64(&self) -> f64 {
        match self.0 {
            Repr::Unsigned(value) => value as f64,
            Repr::Negative(value) => value as f64,
            Repr::Float(value) => value,
        }
    }

    /// Whether the number is a float: it was written with a fraction or exponent, or made from an `f64`.
    pub fn is_float(&self) -> bool {
        matches!(self.0, Repr::Float(_))
    }

    /// Whether the value is a whole number, in either representation.
    pub(crate) fn is_integer(&self) -> bool {
        match self.0 {
            Repr::Unsigned(_) | Repr::Negative(_) => true,
            // From 2⁵³ on every float is whole; below, the cast is exact.
            Repr::Float(value) => value.abs() >= (1u64 << 53) as f64 || value == (value as i64) as f64,
        }
    }

    /// The same representation for all equal numbers: an integer if one has this value.
    pub(crate) fn canonical(self) -> Self {
        let Repr::Float(value) = self.0 else { return self };
        let (unsigned, negative) = (Self::from(value as u64), Self::from(value as i64));
        [unsigned, negative].into_iter().find(|integer| *integer == self).unwrap_or(self)
    }

    /// Calls `with` on the shortest text that reads back as this number.
    pub(crate) fn with_text<R>(&self, with: impl FnOnce(&str) -> R) -> R {
        match self.0 {
            Repr::Unsigned(value) => with(itoa::Buffer::new().format(value)),
            Repr::Negative(value) => with(itoa::Buffer::new().format(value)),
            Repr::Float(value) => with(zmij::Buffer::new().format_finite(value)),
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(Repr::Unsigned(value))
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(u64::try_from(value).map_or(Repr::Negative(value), Repr::Unsigned))
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self::from(u64::from(value))
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.integer(), other.integer()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(a), Err(b)) => compare(a, b),
            (Err(a), Ok(b)) => compare(b, a).reverse(),
            // Both are finite, so the partial order is total.
            (Err(a), Err(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Repr::Unsigned(a), Repr::Unsigned(b)) => a == b,
            _ => self.cmp(other) == Ordering::Equal,
        }
    }
}

impl Eq for Number {}

impl Number {
    fn integer(&self) -> Result<i128, f64> {
        match self.0 {
            Repr::Unsigned(value) => Ok(value.into()),
            Repr::Negative(value) => Ok(value.into()),
            Repr::Float(value) => Err(value),
        }
    }
}

/// Compares an integer with a float without rounding either.
fn compare(integer: i128, float: f64) -> Ordering {
    // The cast saturates far beyond 64 bits and drops the fraction, which decides when the whole parts are equal.
    let whole = float as i128;
    integer.cmp(&whole).then_with(|| {
        let fraction = float - whole as f64;
        0.0.partial_cmp(&fraction).unwrap_or(Ordering::Equal)
    })
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
