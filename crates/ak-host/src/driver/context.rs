//! Through this an effect under way asks the kernel what it may do next, and hands over what comes of it.

use std::time::Instant;

use ak_kernel::{Step, Ticket, Verdict};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Place, Sink},
    driver::Driver,
};

/// An effect under way, to those who perform it.
pub(crate) struct Asker<'p> {
    pub(crate) driver: &'p Driver,
    pub(crate) ticket: Ticket,
    pub(crate) sink: Mutex<Sink<'p>>,
    pub(crate) stop: CancellationToken,
    pub(crate) due: Option<Instant>,
    pub(crate) place: Place,
}

impl Asker<'_> {
    /// Does the work as long as somebody waits for it; none when it is given up.
    pub(crate) async fn while_wanted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let work = self.stop.run_until_cancelled(work);
        match self.due {
            None => work.await,
            Some(due) => tokio::time::timeout_at(due.into(), work).await.ok().flatten(),
        }
    }

    /// Puts a step to the kernel. Without an answer the effect stops.
    pub(crate) async fn ask(&self, step: Step) -> Verdict {
        self.driver.put(self.ticket, step, self.place).await
    }

    /// Hands a piece of the answer to the caller; false when the caller wants no more.
    ///
    /// Work that always has something at hand gives [`Self::while_wanted`] no turn to look: it is done here too.
    pub(crate) async fn deliver(&self, chunk: &str) -> bool {
        let wants_more = match &mut *self.sink.lock().await {
            Sink::Nobody => true,
            // The caller's own code may do anything, even drive a runtime of its own: it runs on the caller's own thread.
            Sink::Callback(take) => take(chunk),
            Sink::Channel(channel) => channel.send(chunk.to_owned()).await.is_ok(),
        };
        wants_more && !self.stop.is_cancelled() && self.due.is_none_or(|due| Instant::now() < due)
    }
}
