use wasmi::ResourceLimiter;
use wasmi::errors::MemoryError;
use wasmi_core::LimiterError;

use crate::failure::Failure;
use crate::limits::RunLimits;

/// Enforces the limits on memory and tables, and records which limit was exceeded.
pub(crate) struct Limiter {
    memory_bytes_max: u64,
    table_elements_max: u64,
    table_elements: u64,
    /// Set once the module is instantiated.
    pub(crate) running: bool,
    pub(crate) breach: Option<Failure>,
}

impl Limiter {
    pub(crate) fn new(limits: &RunLimits) -> Self {
        Self {
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: limits.table_elements_max,
            table_elements: 0,
            running: false,
            breach: None,
        }
    }

    /// A limiter for objects that the sandbox itself makes beside an instance.
    pub(crate) fn unlimited() -> Self {
        Self {
            memory_bytes_max: u64::MAX,
            table_elements_max: u64::MAX,
            table_elements: 0,
            running: false,
            breach: None,
        }
    }

    /// Elements of all tables made so far.
    pub(crate) fn table_elements(&self) -> u64 {
        self.table_elements
    }

    /// Whether an instance of this size is within the limits.
    pub(crate) fn admits(&self, memory_bytes: u64, table_elements: u64) -> bool {
        memory_bytes <= self.memory_bytes_max && table_elements <= self.table_elements_max
    }

    fn refuse(&mut self, breach: Failure) -> Result<bool, LimiterError> {
        self.breach = Some(breach);
        Err(LimiterError::ResourceLimiterDeniedAllocation)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        if desired as u64 > self.memory_bytes_max {
            return self.refuse(Failure::MemoryLimit { bytes_max: self.memory_bytes_max });
        }
        // Beyond the module's own maximum `memory.grow` gives -1, as the specification requires.
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: &MemoryError) -> Result<(), LimiterError> {
        match error {
            // The guest's results must not depend on how much memory the host has left.
            MemoryError::OutOfSystemMemory => self.refuse(Failure::HostMemory).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        let added = desired.saturating_sub(current) as u64;
        self.table_elements = self.table_elements.saturating_add(added);
        // A table must keep its size: the engine cannot resume a `table.grow` that ran out of fuel.
        if self.table_elements > self.table_elements_max || (self.running && added > 0) {
            return self.refuse(Failure::TableLimit { elements_max: self.table_elements_max });
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        // As many as a valid module may have, and a copy of each.
        2 * 100
    }

    fn memories(&self) -> usize {
        1
    }
}
