//! Performs the effects that the kernel permits, and reports their completions to the kernel.

use std::{pin::pin, time::Instant};

use ak_kernel::{Code, Completion, Effect, FileAction, LogWork, Step, Ticket};

use crate::{
    call::{self, CallMode, CallOptions, ChunkSink},
    driver::{Driver, DriverConfig, context::DriverContext, group_commit::kernel_stopped, log_work},
    effects::{
        http::{self, HttpJob},
        infer::{self, InferContext, outgoing::InferJob},
        tools::{self, ToolJob},
    },
    runtime::{Runtime, WorkKind, drive},
};

impl Driver {
    /// Performs an effect, and reports its completion to the kernel.
    pub(super) async fn perform(
        self,
        ticket: Ticket,
        effect: Effect,
        due: Option<Instant>,
        options: &mut CallOptions<'_>,
    ) {
        let runtime = match Runtime::get() {
            Ok(runtime) => runtime,
            Err(error) => {
                let failure = call::runtime_unavailable(&error);
                let completion = Completion::failed(failure.code, failure.message);
                return self.finish(ticket, completion, options.mode);
            }
        };
        // The guard completes the effect even if this future is dropped or panics.
        let guard = EffectGuard { driver: &self, ticket, mode: options.mode };
        let work = runtime.in_context(self.run_effect(runtime, ticket, effect, due, options));
        let done = self.shared.closing.run_until_cancelled(work).await;
        guard.complete(done.unwrap_or(Completion::Unknown));
    }

    async fn run_effect(
        &self,
        runtime: &Runtime,
        ticket: Ticket,
        effect: Effect,
        agent_due: Option<Instant>,
        options: &mut CallOptions<'_>,
    ) -> Completion {
        let DriverConfig { net, secrets, redactor, routes, .. } = &self.shared.config;
        match effect {
            Effect::File { root, path, action, follows_links } => {
                let driver = self.clone();
                let work = move || driver.file(ticket, &root, path.as_str(), &action, follows_links);
                self.run_blocking(runtime, WorkKind::File, work, options).await
            }
            Effect::Log(work) => {
                let driver = self.clone();
                let verifies = matches!(work, LogWork::Verify { .. });
                let kind = if verifies { WorkKind::Verification } else { WorkKind::Log };
                self.run_blocking(runtime, kind, move || driver.log_work(work), options).await
            }
            Effect::RunTool { tool, env, input, limits } => {
                let job = ToolJob { tool, env, input, limits, agent_due };
                tools::run(runtime, ticket, &job, options, self).await
            }
            Effect::Http { hop, response_bytes_max, timeout_ms } => {
                let job = HttpJob { hop, response_bytes_max, timeout_ms };
                let context = self.effect_context(ticket, agent_due, options);
                let done = http::perform(job, &http::HttpContext { net, secrets, redactor }, &context).await;
                self.tick_if_due(agent_due);
                done
            }
            Effect::Infer { model, request, stream, response_bytes_max } => match routes.find(&model) {
                None => Completion::failed(Code::NotConfigured, routes.why_not(&model)),
                Some(route) => {
                    let job = InferJob { request, stream, response_bytes_max };
                    let context = self.effect_context(ticket, agent_due, options);
                    let done =
                        infer::perform(&route, job, &InferContext { net, redactor, effect: &context }).await;
                    self.tick_if_due(agent_due);
                    done
                }
            },
        }
    }

    /// Returns the context of an effect. The effect ends with its agent's wall time or its caller's deadline, whichever
    /// is earlier.
    fn effect_context<'p, 's: 'p>(
        &'p self,
        ticket: Ticket,
        agent_due: Option<Instant>,
        options: &mut CallOptions<'s>,
    ) -> DriverContext<'p> {
        DriverContext {
            group_commit: &self.shared.group_commit,
            ticket,
            chunks: tokio::sync::Mutex::new(std::mem::replace(&mut options.chunks, ChunkSink::Discard)),
            stop: options.stop.clone(),
            due: options.due.into_iter().chain(agent_due).min(),
            mode: options.mode,
        }
    }

    /// Tells the kernel the time if the agent's wall time is over, so that the kernel notices.
    fn tick_if_due(&self, agent_due: Option<Instant>) {
        if agent_due.is_some_and(|due| Instant::now() >= due) {
            self.tick();
        }
    }

    /// Runs blocking work: on the caller's thread if that only waits for this call, else on a thread of the runtime.
    /// The outcome is unknown when the work is abandoned or panics.
    async fn run_blocking(
        &self,
        runtime: &Runtime,
        kind: WorkKind,
        work: impl FnOnce() -> Completion + Send + 'static,
        options: &mut CallOptions<'_>,
    ) -> Completion {
        match options.mode {
            CallMode::Blocking => work(),
            CallMode::Polling | CallMode::Task => {
                let done = options.stop.run_until_cancelled(runtime.run_blocking(kind, work)).await;
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
        // This thread may block: it performs file effects and waits for the kernel's answers.
        let ask = |step: Step| {
            let answer = self.shared.group_commit.ask(ticket, step, CallMode::Blocking);
            drive(pin!(answer), None).unwrap_or_else(kernel_stopped)
        };
        self.shared.config.files.perform(root, path, action, follows_links, &ask)
    }

    fn log_work(&self, work: LogWork) -> Completion {
        let done = match work {
            // When a failed erasure has reached the log, the kernel has stopped and failed all waiting callers.
            LogWork::Erase { subject, objects, entries } => self.erase(subject, objects, entries),
            work => log_work::perform(&self.shared.group_commit, &self.shared.config.checkpoint_key, work),
        };
        match done {
            Ok(done) => Completion::Value(done),
            Err(failure) => Completion::failed(failure.code, failure.message),
        }
    }
}

/// Completes a pending effect exactly once; as unknown when the effect's future panics or is dropped.
struct EffectGuard<'d> {
    driver: &'d Driver,
    ticket: Ticket,
    mode: CallMode,
}

impl EffectGuard<'_> {
    fn complete(self, completion: Completion) {
        let (driver, ticket, mode) = (self.driver, self.ticket, self.mode);
        std::mem::forget(self);
        driver.finish(ticket, completion, mode);
    }
}

impl Drop for EffectGuard<'_> {
    fn drop(&mut self) {
        // A drop may happen on any thread, so it must not use the runtime's `block_in_place`.
        self.driver.finish(self.ticket, Completion::Unknown, CallMode::Blocking);
    }
}
