//! Signals the threads that wait for it that a kernel has stopped, and why.

use std::sync::{Condvar, Mutex};

use ak_kernel::Failure;

/// Holds the reason once a running kernel has stopped. A kernel that was opened stopped never sets it.
#[derive(Default)]
pub(crate) struct StopSignal {
    reason: Mutex<Option<Failure>>,
    is_set: Condvar,
}

impl StopSignal {
    /// Sets the reason, unless it is already set, and wakes all waiting threads.
    pub(crate) fn set(&self, failure: &Failure) {
        if let Ok(mut reason) = self.reason.lock() {
            reason.get_or_insert_with(|| failure.clone());
            self.is_set.notify_all();
        }
    }

    /// Waits until the reason is set, and returns it; `None` when a thread panicked while it held the signal.
    pub(crate) fn wait(&self) -> Option<Failure> {
        let reason = self.reason.lock().ok()?;
        self.is_set.wait_while(reason, |reason| reason.is_none()).ok()?.clone()
    }
}
