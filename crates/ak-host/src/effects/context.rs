//! What an effect under way may ask of whoever performs it.

use ak_kernel::{Step, StepAnswer};

/// The way from an effect under way back to the kernel and to the caller.
pub(crate) trait EffectContext: Sync {
    /// Puts a step to the kernel and waits for its answer: an abort when the kernel has stopped.
    fn ask(&self, step: Step) -> impl Future<Output = StepAnswer> + Send;

    /// Hands a piece of the answer to the caller; false when the caller wants no more, or its time is over.
    fn deliver(&self, chunk: &str) -> impl Future<Output = bool> + Send;

    /// Does work as long as somebody waits for it; `None` once it is cancelled or its time is over.
    fn while_wanted<T: Send>(
        &self,
        work: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;
}
