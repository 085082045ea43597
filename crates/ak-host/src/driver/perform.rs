//! Performs the effects that the kernel permits, and tells the kernel how they ended.

use std::{pin::pin, time::Instant};

use ak_kernel::{Code, Completion, Effect, FileAction, LogWork, Step, Ticket};

use crate::{
    call::{self, Patience, Place, Sink},
    driver::{Driver, HostConfig, context::DriverContext, group_commit::kernel_stopped, log_work},
    effects::{
        http::{self, HttpJob},
        infer::{self, Around, outgoing::InferJob},
        tools::{self, ToolJob},
    },
    runtime::{Home, Work, drive},
};

impl Driver {
    /// Performs an effect, and tells the kernel how it ended.
    pub(super) async fn perform(
        self,
        ticket: Ticket,
        effect: Effect,
        due: Option<Instant>,
        patience: &mut Patience<'_>,
    ) {
        let home = match Home::get() {
            Ok(home) => home,
            Err(error) => {
                let failure = call::no_runtime(&error);
                let completion = Completion::failed(failure.code, failure.message);
                return self.finish(ticket, completion, patience.place);
            }
        };
        // Whatever becomes of it, it ends.
        let ending = Ending { driver: &self, ticket, place: patience.place };
        let work = home.within(self.carry_out(home, ticket, effect, due, patience));
        let done = self.shared.closing.run_until_cancelled(work).await;
        ending.end(done.unwrap_or(Completion::Unknown));
    }

    async fn carry_out(
        &self,
        home: &Home,
        ticket: Ticket,
        effect: Effect,
        agent_due: Option<Instant>,
        patience: &mut Patience<'_>,
    ) -> Completion {
        let HostConfig { net, secrets, filter, routes, .. } = &self.shared.config;
        match effect {
            Effect::File { root, path, action, follows_links } => {
                let driver = self.clone();
                let work = move || driver.file(ticket, &root, path.as_str(), &action, follows_links);
                self.elsewhere(home, Work::File, work, patience).await
            }
            Effect::Log(work) => {
                let driver = self.clone();
                let verifies = matches!(work, LogWork::Verify { .. });
                let kind = if verifies { Work::Verification } else { Work::Log };
                self.elsewhere(home, kind, move || driver.log_work(work), patience).await
            }
            Effect::RunTool { tool, env, input, limits } => {
                let job = ToolJob { tool, env, input, limits, agent_due };
                tools::run(home, ticket, &job, patience, self).await
            }
            Effect::Http { hop, response_bytes_max, timeout_ms } => {
                let job = HttpJob { hop, response_bytes_max, timeout_ms };
                let asker = self.asker(ticket, agent_due, patience);
                let done = http::perform(job, &http::Around { net, secrets, filter }, &asker).await;
                self.look_at_time(agent_due);
                done
            }
            Effect::Infer { model, request, stream, response_bytes_max } => match routes.find(&model) {
                None => Completion::failed(Code::NotConfigured, routes.why_not(&model)),
                Some(route) => {
                    let job = InferJob { request, stream, response_bytes_max };
                    let asker = self.asker(ticket, agent_due, patience);
                    let done = infer::perform(&route, job, &Around { net, filter, asker: &asker }).await;
                    self.look_at_time(agent_due);
                    done
                }
            },
        }
    }

    /// What performs an effect that waits for others: until its agent's wall time is over, or the patience of whoever asked.
    fn asker<'p, 's: 'p>(
        &'p self,
        ticket: Ticket,
        agent_due: Option<Instant>,
        patience: &mut Patience<'s>,
    ) -> DriverContext<'p> {
        DriverContext {
            ledger: &self.shared.ledger,
            ticket,
            sink: tokio::sync::Mutex::new(std::mem::replace(&mut patience.sink, Sink::Nobody)),
            stop: patience.stop.clone(),
            due: patience.due.into_iter().chain(agent_due).min(),
            place: patience.place,
        }
    }

    /// Where the wall time of an agent is over, the kernel should see it.
    fn look_at_time(&self, agent_due: Option<Instant>) {
        if agent_due.is_some_and(|due| Instant::now() >= due) {
            self.tick();
        }
    }

    /// Does what holds a thread: on the caller's own where that waits for nothing else. Of what is given up, or died, nobody knows
    /// what it did.
    async fn elsewhere(
        &self,
        home: &Home,
        kind: Work,
        work: impl FnOnce() -> Completion + Send + 'static,
        patience: &mut Patience<'_>,
    ) -> Completion {
        match patience.place {
            Place::Caller => work(),
            Place::Watched | Place::Task => {
                let done = patience.stop.run_until_cancelled(home.elsewhere(kind, work)).await;
                done.flatten().unwrap_or(Completion::Unknown)
            }
        }
    }

    fn file(
        &self,
        ticket: Ticket,
        root: &str,
        path: &str,
        action: &FileAction,
        follows_links: bool,
    ) -> Completion {
        // Whoever reads files on this thread waits on it for the kernel too.
        let ask = |path: &str| {
            let verdict = self.shared.ledger.ask(ticket, Step::Link { path: path.into() }, Place::Caller);
            drive(pin!(verdict), None).unwrap_or_else(kernel_stopped)
        };
        self.shared.config.files.perform(root, path, action, follows_links.then_some(&ask))
    }

    fn log_work(&self, work: LogWork) -> Completion {
        let done = match work {
            // Where it got as far as the log and failed, the kernel has stopped and said so to whoever waits.
            LogWork::Erase { subject, objects, entries } => self.erase(subject, objects, entries),
            work => log_work::perform(&self.shared.ledger, &self.shared.config.checkpoint_key, work),
        };
        match done {
            Ok(done) => Completion::Value(done),
            Err(failure) => Completion::failed(failure.code, failure.message),
        }
    }
}

/// The end of an effect under way. One that dies, or is dropped, ends too: nobody knows what it did.
struct Ending<'d> {
    driver: &'d Driver,
    ticket: Ticket,
    place: Place,
}

impl Ending<'_> {
    fn end(self, completion: Completion) {
        let (driver, ticket, place) = (self.driver, self.ticket, self.place);
        std::mem::forget(self);
        driver.finish(ticket, completion, place);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // Wherever it is dropped, that is no place to wait in.
        self.driver.finish(self.ticket, Completion::Unknown, Place::Caller);
    }
}
