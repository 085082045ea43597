//! A circuit breaker: suspends requests to a server that keeps failing.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Number of consecutive failures that opens a circuit.
pub const CIRCUIT_FAILURES_MAX: u32 = 5;
/// How long an open circuit refuses requests before one request tests the server again, in milliseconds.
pub const CIRCUIT_OPEN_MS: u64 = 10_000;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CircuitState {
    /// Requests are sent.
    Closed,
    /// The server failed too often: requests are refused for a while.
    Open,
    /// One request tests whether the server answers again.
    HalfOpen,
}

impl CircuitState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "trying",
        }
    }
}

/// The circuit of one route.
#[derive(Debug, Default)]
pub(crate) struct Circuit(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    failures: u32,
    /// When the circuit last opened; `None` while it is closed.
    opened: Option<Instant>,
    is_half_open: bool,
}

/// Permission for one attempt. Dropping it unreported counts as neither success nor failure, and lets the next attempt
/// test the server.
#[derive(Debug)]
pub(crate) struct CircuitPermit<'c> {
    circuit: &'c Circuit,
    is_reported: bool,
}

impl Circuit {
    /// Permits one attempt, or returns how long to wait before the next one.
    pub(crate) fn admit(&self, now: Instant) -> Result<CircuitPermit<'_>, Duration> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = count.opened {
            let open = Duration::from_millis(CIRCUIT_OPEN_MS);
            match open.checked_sub(now.saturating_duration_since(opened)) {
                Some(left) if !left.is_zero() => return Err(left),
                _ if count.is_half_open => return Err(open),
                _ => count.is_half_open = true,
            }
        }
        Ok(CircuitPermit { circuit: self, is_reported: false })
    }

    pub(crate) fn state(&self) -> CircuitState {
        let count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (count.opened, count.is_half_open) {
            (None, _) => CircuitState::Closed,
            (Some(_), false) => CircuitState::Open,
            (Some(_), true) => CircuitState::HalfOpen,
        }
    }

    /// Counts a failure after the server had begun to answer.
    pub(crate) fn fail(&self, now: Instant) {
        self.report(false, now);
    }

    fn report(&self, good: bool, now: Instant) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.is_half_open = false;
        if good {
            *count = Count::default();
            return;
        }
        count.failures = count.failures.saturating_add(1);
        if count.failures >= CIRCUIT_FAILURES_MAX {
            count.opened = Some(now);
        }
    }
}

impl CircuitPermit<'_> {
    /// Records that the response has started: other requests may be sent too, though its end is not known yet.
    pub(crate) fn response_started(&mut self) {
        self.circuit.0.lock().unwrap_or_else(PoisonError::into_inner).is_half_open = false;
    }

    /// Reports whether the server answered; a rejection counts as an answer.
    pub(crate) fn report(mut self, good: bool, now: Instant) {
        self.is_reported = true;
        self.circuit.report(good, now);
    }
}

impl Drop for CircuitPermit<'_> {
    fn drop(&mut self) {
        if !self.is_reported {
            self.circuit.0.lock().unwrap_or_else(PoisonError::into_inner).is_half_open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_opens_and_closes_again() {
        let (circuit, start) = (Circuit::default(), Instant::now());
        let later = |ms| start + Duration::from_millis(ms);
        for _ in 0..CIRCUIT_FAILURES_MAX {
            assert_eq!(circuit.state(), CircuitState::Closed);
            circuit.admit(start).unwrap().report(false, start);
        }
        assert_eq!(circuit.state(), CircuitState::Open);
        assert_eq!(circuit.admit(later(1)).unwrap_err(), Duration::from_millis(CIRCUIT_OPEN_MS - 1));
        // One request tests the server; others are refused meanwhile.
        let first = circuit.admit(later(CIRCUIT_OPEN_MS)).unwrap();
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert!(circuit.admit(later(CIRCUIT_OPEN_MS)).is_err());
        first.report(false, later(CIRCUIT_OPEN_MS));
        assert!(circuit.admit(later(CIRCUIT_OPEN_MS + 1)).is_err(), "open again, for as long");
        // A dropped permit reports nothing, and the next request tests the server.
        drop(circuit.admit(later(2 * CIRCUIT_OPEN_MS)).unwrap());
        circuit.admit(later(2 * CIRCUIT_OPEN_MS)).unwrap().report(true, later(2 * CIRCUIT_OPEN_MS));
        assert_eq!(circuit.state(), CircuitState::Closed);
        circuit.admit(start).unwrap().report(false, start);
        assert_eq!(circuit.state(), CircuitState::Closed, "one failure is not too many");
    }
}
