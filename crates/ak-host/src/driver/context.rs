//! Implements [`EffectContext`] for one effect: puts steps to the kernel, and delivers pieces of the answer to the
//! caller.

use std::time::Instant;

use ak_kernel::{Step, StepAnswer, Ticket};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{CallMode, ChunkSink},
    driver::group_commit::GroupCommit,
    effects::context::EffectContext,
};

/// The context of one effect.
pub(crate) struct DriverContext<'p> {
    pub(crate) group_commit: &'p GroupCommit,
    pub(crate) ticket: Ticket,
    pub(crate) chunks: Mutex<ChunkSink<'p>>,
    pub(crate) stop: CancellationToken,
    pub(crate) due: Option<Instant>,
    pub(crate) mode: CallMode,
}

impl EffectContext for DriverContext<'_> {
    async fn while_wanted<T: Send>(&self, work: impl Future<Output = T> + Send) -> Option<T> {
        let work = self.stop.run_until_cancelled(work);
        match self.due {
            None => work.await,
            Some(due) => tokio::time::timeout_at(due.into(), work).await.ok().flatten(),
        }
    }

    async fn ask(&self, step: Step) -> StepAnswer {
        self.group_commit.ask(self.ticket, step, self.mode).await
    }

    /// Also checks whether the caller still waits: work that always has data ready never returns to the check in
    /// [`Self::while_wanted`].
    async fn deliver(&self, chunk: &str) -> bool {
        let wants_more = match &mut *self.chunks.lock().await {
            ChunkSink::Discard => true,
            // The callback may block or drive a runtime of its own; that is safe because it runs on the caller's own
            // thread.
            ChunkSink::Callback(take) => take(chunk),
            ChunkSink::Channel(channel) => channel.send(chunk.to_owned()).await.is_ok(),
        };
        wants_more && !self.stop.is_cancelled() && self.due.is_none_or(|due| Instant::now() < due)
    }
}
