//! Work: the cost of operations, counted in units instead of time.

/// Units of work that an operation may take and has taken.
///
/// One unit is about 10 ns of a slow core: 100 units are 1 µs, 2,000,000 are 20 ms. An operation that takes longer
/// than its own text is long spends units *before* it works, and stops when they are used up. So a meter bounds the
/// time. The count depends only on the values: the same operation costs the same on every machine.
///
/// ```
/// use ak_json::{OutOfWork, Work};
///
/// let mut work = Work::new(100);
/// assert_eq!(work.spend(60), Ok(()));
/// assert_eq!((work.used(), work.left()), (60, 40));
/// // Spending more than is left uses up the rest.
/// assert_eq!(work.spend(60), Err(OutOfWork));
/// assert_eq!((work.used(), work.left()), (100, 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    given: u64,
    left: u64,
}

/// An operation would take more work than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("takes more than the limit of work")]
pub struct OutOfWork;

impl Work {
    /// A meter with this many units.
    pub const fn new(units: u64) -> Self {
        Self { given: units, left: units }
    }

    /// A meter that does not run out: for tests, and for work that was already paid for.
    pub const fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Takes units for work that is about to be done.
    ///
    /// # Errors
    /// [`OutOfWork`] when fewer units are left; then none are left.
    pub fn spend(&mut self, units: u64) -> Result<(), OutOfWork> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(OutOfWork)
            }
        }
    }

    /// The units taken so far.
    pub const fn used(&self) -> u64 {
        self.given.saturating_sub(self.left)
    }

    /// The units that may still be taken.
    pub const fn left(&self) -> u64 {
        self.left
    }
}

/// Units for reading this many adjacent bytes.
pub(crate) const fn bytes(len: usize) -> u64 {
    len as u64 / 64
}

/// The number of binary digits of `count`: its binary logarithm rounded down, plus 1.
pub(crate) const fn log2(count: usize) -> u64 {
    (usize::BITS - count.leading_zeros()) as u64
}
