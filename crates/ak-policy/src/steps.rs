//! What all decisions on one request may cost together.

use core::cell::Cell;

/// Steps that the decisions on one request may take together: a batch asks for many, a search for one on each object.
/// Once they are over, whatever is asked is forbidden, and [`is_spent`](Self::is_spent) tells why.
#[derive(Debug)]
pub struct Steps {
    left: Cell<usize>,
    is_spent: Cell<bool>,
}

impl Steps {
    /// So many; one takes about ten nanoseconds.
    pub const fn new(steps: usize) -> Self {
        Self { left: Cell::new(steps), is_spent: Cell::new(false) }
    }

    /// Whether something could not be looked at any more.
    pub fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.left.get()
    }

    pub(crate) fn take(&self, steps: usize, is_spent: bool) {
        self.left.set(self.left.get().saturating_sub(steps));
        self.is_spent.set(self.is_spent.get() || is_spent);
    }
}
