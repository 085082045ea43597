//! Fuel for the host's work on behalf of a guest, which the engine does not count.

use crate::failure::Failure;
use crate::limits::{BYTES_PER_FUEL, NAME_BYTES_PER_FUEL};

/// Takes fuel from the engine's counter while a host function runs, and, once that is empty, from the rest of the
/// run's fuel.
pub(crate) struct Meter {
    fuel_max: u64,
    /// Fuel in the engine's counter while a host function runs; else 0.
    engine: u64,
    /// Fuel that the run has besides the engine's counter.
    reserve: u64,
    /// Fuel spent of the reserve. If it exceeds the reserve, the last work was not done.
    debt: u64,
}

impl Meter {
    pub(crate) fn new(fuel_max: u64) -> Self {
        Self { fuel_max, engine: 0, reserve: 0, debt: 0 }
    }

    /// Starts a slice, in which the run has `reserve` fuel besides the engine's counter.
    pub(crate) fn begin(&mut self, reserve: u64) {
        (self.engine, self.reserve, self.debt) = (0, reserve, 0);
    }

    /// Ends a slice; returns the fuel spent besides the engine's counter.
    pub(crate) fn end(&mut self) -> u64 {
        core::mem::take(&mut self.debt)
    }

    /// Starts a host function; `engine` is the engine's counter.
    pub(crate) fn enter(&mut self, engine: u64) {
        self.engine = engine;
    }

    /// Ends a host function; returns the new value of the engine's counter.
    pub(crate) fn leave(&mut self) -> u64 {
        core::mem::take(&mut self.engine)
    }

    /// Spends fuel for work that is about to be done.
    ///
    /// # Errors
    /// [`Failure::OutOfFuel`]; the work must not be done then.
    pub(crate) fn spend(&mut self, fuel: u64) -> Result<(), Failure> {
        let counted = self.engine.min(fuel);
        self.engine -= counted;
        self.debt = self.debt.saturating_add(fuel - counted);
        if self.debt > self.reserve { Err(Failure::OutOfFuel { fuel_max: self.fuel_max }) } else { Ok(()) }
    }

    /// [`Meter::spend`] for bytes that are about to be moved.
    pub(crate) fn spend_bytes(&mut self, bytes: u64) -> Result<(), Failure> {
        self.spend(bytes / u64::from(BYTES_PER_FUEL))
    }

    /// [`Meter::spend`] for a file name of this many bytes that is about to be processed.
    pub(crate) fn spend_name(&mut self, bytes: u64) -> Result<(), Failure> {
        self.spend(bytes / u64::from(NAME_BYTES_PER_FUEL))
    }
}
