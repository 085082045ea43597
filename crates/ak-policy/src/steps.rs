//! A limit on the work of all decisions on one request.

use core::cell::Cell;

/// A budget of steps that all decisions on one request may take together. A batch needs many decisions, and a search
/// one for each object. Once the steps are used up, a decision that needs more is to forbid, and
/// [`is_spent`](Self::is_spent) returns true.
#[derive(Debug)]
pub struct Steps {
    left: Cell<usize>,
    is_spent: Cell<bool>,
}

impl Steps {
    /// A budget of this many steps; one step takes about ten nanoseconds.
    pub const fn new(steps: usize) -> Self {
        Self { left: Cell::new(steps), is_spent: Cell::new(false) }
    }

    /// Whether a decision stopped early because the steps were used up.
    pub fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// How many steps are left.
    pub fn left(&self) -> usize {
        self.left.get()
    }

    pub(crate) fn take(&self, steps: usize, is_spent: bool) {
        self.left.set(self.left.get().saturating_sub(steps));
        self.is_spent.set(self.is_spent.get() || is_spent);
    }
}
