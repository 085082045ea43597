//! A dispatched request and the wait for its outcome.

use ak_kernel::{Code, Failure, Outcome};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{
    call::CallOptions,
    driver::{Driver, commit_state::Event},
    runtime::Runtime,
};

/// A request that was dispatched to the kernel, and the receiver of its events. Dropping it before its outcome cancels
/// the request and releases its reservations.
pub(super) struct DispatchedRequest {
    driver: Driver,
    receiver: UnboundedReceiver<Event>,
    /// An event that was received and is not handled yet.
    pub(super) next: Option<Event>,
    pub(super) loads_policy: bool,
    pub(super) has_ended: bool,
}

impl DispatchedRequest {
    pub(super) fn new(driver: &Driver, receiver: UnboundedReceiver<Event>) -> DispatchedRequest {
        DispatchedRequest {
            driver: driver.clone(),
            receiver,
            next: None,
            loads_policy: false,
            has_ended: false,
        }
    }

    /// Returns the outcome if it is already there, without waiting.
    pub(super) fn ready_outcome(&mut self) -> Option<Outcome> {
        match self.next.take().or_else(|| self.receiver.try_recv().ok()) {
            Some(Event::Ended(outcome)) => Some(self.finish(outcome)),
            other => {
                self.next = other;
                None
            }
        }
    }

    /// Waits for the outcome, and performs the request's effect if it has one.
    pub(super) async fn outcome(&mut self, options: &mut CallOptions<'_>) -> Outcome {
        loop {
            let event = match self.next.take() {
                None => self.receiver.recv().await,
                some => some,
            };
            match event {
                Some(Event::Lead) => options.mode.block_briefly(|| self.driver.shared.group_commit.lead()),
                Some(Event::Perform(ticket, effect, due)) => {
                    let driver = self.driver.clone();
                    // A tool's host calls are performed inside its own effect, so the future is recursive and has to be
                    // boxed.
                    Box::pin(driver.perform(ticket, effect, due, options)).await;
                }
                Some(Event::Ended(outcome)) => return self.finish(outcome),
                None => {
                    let failure = Failure::new(Code::UnknownOutcome, "the effect's driver is gone");
                    return self.finish(Err(failure));
                }
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) -> Outcome {
        self.has_ended = true;
        if outcome.is_ok() && self.loads_policy {
            self.driver.resolve_roots();
        }
        outcome
    }
}

impl Drop for DispatchedRequest {
    fn drop(&mut self) {
        if self.has_ended || !self.driver.shared.process().is_current() {
            return;
        }
        // The effect may still have to be completed, and this request may have been made leader of a commit: a task
        // handles the remaining events.
        let receiver = std::mem::replace(&mut self.receiver, unbounded_channel().1);
        let mut rest = DispatchedRequest::new(&self.driver, receiver);
        (rest.next, rest.loads_policy) = (self.next.take(), self.loads_policy);
        if let Ok(runtime) = Runtime::get() {
            runtime.spawn(async move { rest.outcome(&mut CallOptions::abandoned()).await });
        }
    }
}
