//! Calls from running tools to the host.

use ak_kernel::{Price, Ticket, ToolRequest};
use tokio::sync::mpsc::unbounded_channel;

use crate::{
    call::Patience,
    driver::{Driver, commit_state::Pending, pending_request::PendingRequest},
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
        mut patience: Patience<'a>,
    ) -> HostCallFuture<'a> {
        Box::pin(async move {
            let (sender, receiver) = unbounded_channel();
            let mut call = PendingRequest::new(self, receiver);
            let pending = Pending::HostCall(ticket, request);
            let place = patience.place;
            if let Err(failure) =
                self.shared.ledger.hold_up(place, || self.shared.ledger.enter(&pending, sender, place))
            {
                call.has_ended = true;
                return Err(failure);
            }
            Ok(call.outcome(&mut patience).await)
        })
    }
}
