//! A mutex that serves threads in the order of their requests, and that reports when a thread panicked while it held
//! the lock.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A mutex that threads get in the order in which they ask for it: when it is released, the thread that has waited
/// longest gets it. With a plain mutex, a thread that asks again at once can overtake one that is still waking up, so
/// that a wait can last for many holds.
pub(crate) struct FairMutex<T> {
    queue: parking_lot::Mutex<()>,
    /// Never contended, since only the holder of `queue` locks it. It records whether a holder panicked.
    value: Mutex<T>,
}

/// A locked [`FairMutex`]. The fields are released in declaration order.
pub(crate) struct FairGuard<'t, T> {
    value: MutexGuard<'t, T>,
    _queue: parking_lot::MutexGuard<'t, ()>,
}

impl<T> FairMutex<T> {
    pub(crate) fn new(value: T) -> FairMutex<T> {
        FairMutex { queue: parking_lot::Mutex::new(()), value: Mutex::new(value) }
    }

    /// Locks the mutex if it is free and no earlier holder panicked.
    pub(crate) fn try_lock(&self) -> Option<FairGuard<'_, T>> {
        self.lock_value(self.queue.try_lock()?).ok()
    }

    /// Waits in the queue and locks the mutex.
    ///
    /// # Errors
    /// The guard, wrapped, when an earlier holder panicked.
    pub(crate) fn lock(&self) -> Result<FairGuard<'_, T>, PoisonError<FairGuard<'_, T>>> {
        self.lock_value(self.queue.lock())
    }

    fn lock_value<'t>(
        &'t self,
        queue: parking_lot::MutexGuard<'t, ()>,
    ) -> Result<FairGuard<'t, T>, PoisonError<FairGuard<'t, T>>> {
        match self.value.lock() {
            Ok(value) => Ok(FairGuard { value, _queue: queue }),
            Err(poisoned) => Err(PoisonError::new(FairGuard { value: poisoned.into_inner(), _queue: queue })),
        }
    }
}

impl<T> Deref for FairGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for FairGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
