//! Tells those who wait for it that a kernel has stopped, and why.

use std::sync::{Condvar, Mutex};

use ak_kernel::Failure;

/// Set once, when a kernel stops that ran before.
#[derive(Default)]
pub(crate) struct StopSignal {
    reason: Mutex<Option<Failure>>,
    is_set: Condvar,
}

impl StopSignal {
    /// Sets the reason, unless there is one already, and wakes everyone who waits.
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
