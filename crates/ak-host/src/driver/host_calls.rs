//! Handles host calls of running tools.

use ak_kernel::{Price, Ticket, ToolRequest};
use tokio::sync::mpsc::unbounded_channel;

use crate::{
    call::CallOptions,
    driver::{Driver, commit_state::Submission, dispatched::DispatchedRequest},
    effects::tools::{HostCallFuture, HostCalls},
};

impl HostCalls for Driver {
    fn price(&self, model: &str) -> Option<Price> {
        Driver::price(self, model)
    }

    fn tick(&self) {
        Driver::tick(self);
    }

    fn call<'a>(
        &'a self,
        ticket: Ticket,
        request: &'a ToolRequest,
        mut options: CallOptions<'a>,
    ) -> HostCallFuture<'a> {
        Box::pin(async move {
            let (sender, receiver) = unbounded_channel();
            let mut call = DispatchedRequest::new(self, receiver);
            let submission = Submission::HostCall(ticket, request);
            let mode = options.mode;
            if let Err(failure) = self
                .shared
                .group_commit
                .block_briefly(mode, || self.shared.group_commit.dispatch(&submission, sender, mode))
            {
                call.has_ended = true;
                return Err(failure);
            }
            Ok(call.outcome(&mut options).await)
        })
    }
}
