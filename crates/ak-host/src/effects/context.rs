//! The interface from a running effect to the driver.

use ak_kernel::{Step, StepAnswer};

/// Connects a running effect to the kernel and the caller.
pub(crate) trait EffectContext: Sync {
    /// Puts a step to the kernel and waits for its answer; the answer is an abort when the kernel has stopped.
    fn ask(&self, step: Step) -> impl Future<Output = StepAnswer> + Send;

    /// Delivers a piece of the answer to the caller. Returns false when the caller wants no more, or the effect's time
    /// is over.
    fn deliver(&self, chunk: &str) -> impl Future<Output = bool> + Send;

    /// Runs work while the caller waits for it. Returns `None` once the call is cancelled or its time is over.
    fn while_wanted<T: Send>(
        &self,
        work: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;
}
