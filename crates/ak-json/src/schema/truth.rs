//! Three-valued logic, after Kleene: a schema with a pattern that cannot be judged holds for a value, does not
//! hold, or may hold.

/// Whether something holds. The conjunction of several truths is their minimum, the disjunction their maximum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Maybe,
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl core::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

/// The least and the most number of things that hold.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) least: u64,
    most: u64,
}

impl Count {
    pub(super) fn add(&mut self, holds: Truth) {
        self.least += u64::from(holds == Truth::Yes);
        self.most += u64::from(holds != Truth::No);
    }

    pub(super) fn is_at_least(self, min: u64) -> Truth {
        match (self.least >= min, self.most >= min) {
            (true, _) => Truth::Yes,
            (false, true) => Truth::Maybe,
            (false, false) => Truth::No,
        }
    }

    pub(super) fn is_at_most(self, max: u64) -> Truth {
        max.checked_add(1).map_or(Truth::Yes, |more| !self.is_at_least(more))
    }
}
