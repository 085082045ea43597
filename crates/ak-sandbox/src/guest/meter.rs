//! Fuel for what the host does on a guest's behalf, which the engine does not count.

use crate::failure::Failure;
use crate::limits::{BYTES_PER_FUEL, NAME_BYTES_PER_FUEL};

/// Pays from the engine's counter while a host function runs, and beyond it from what the run has left.
pub(crate) struct Meter {
    fuel_max: u64,
    /// The engine's counter, while a host function runs.
    engine: u64,
    /// What the run has besides.
    reserve: u64,
    /// What was spent of the reserve. More than that means that something was not done.
    debt: u64,
}

impl Meter {
    pub(crate) fn new(fuel_max: u64) -> Self {
        Self { fuel_max, engine: 0, reserve: 0, debt: 0 }
    }

    /// Begins a slice: the run has so much besides what the engine counts.
    pub(crate) fn begin(&mut self, reserve: u64) {
        (self.engine, self.reserve, self.debt) = (0, reserve, 0);
    }

    /// Ends a slice; gives what was spent besides what the engine counted.
    pub(crate) fn end(&mut self) -> u64 {
        core::mem::take(&mut self.debt)
    }

    /// A host function begins, when the engine's counter says so.
    pub(crate) fn enter(&mut self, engine: u64) {
        self.engine = engine;
    }

    /// A host function ends; gives what the engine's counter has to say.
    pub(crate) fn leave(&mut self) -> u64 {
        core::mem::take(&mut self.engine)
    }

    /// Pays for work that is about to be done.
    ///
    /// # Errors
    /// [`Failure::OutOfFuel`], and then it must not be done.
    pub(crate) fn spend(&mut self, fuel: u64) -> Result<(), Failure> {
        let counted = self.engine.min(fuel);
        self.engine -= counted;
        self.debt = self.debt.saturating_add(fuel - counted);
        if self.debt > self.reserve { Err(Failure::OutOfFuel { fuel_max: self.fuel_max }) } else { Ok(()) }
    }

    /// As [`Meter::spend`], for bytes that are about to be moved.
    pub(crate) fn spend_bytes(&mut self, bytes: u64) -> Result<(), Failure> {
        self.spend(bytes / u64::from(BYTES_PER_FUEL))
    }

    /// As [`Meter::spend`], for a name of so many bytes that is about to be looked at.
    pub(crate) fn spend_name(&mut self, bytes: u64) -> Result<(), Failure> {
        self.spend(bytes / u64::from(NAME_BYTES_PER_FUEL))
    }
}
