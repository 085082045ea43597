//! Runs tools slice by slice. A host call of a tool passes through the kernel like any request, while the tool waits.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use ak_json::{Text, Value};
use ak_kernel::{Code, Completion, Failure, Outcome, Price, Ticket, ToolRequest, ToolRun, ToolStep};
use ak_sandbox::{RunLimits, Tool};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{CallMode, CallOptions, ChunkSink},
    runtime::{Runtime, WorkKind, yield_once},
};

/// Maximum duration of a tool run, in milliseconds, including the time of its host calls. `wall_ms` of a manifest can
/// only lower it.
pub const TOOL_WALL_MS_MAX: u64 = 300_000;

/// One permitted run of a tool.
pub(crate) struct ToolJob {
    pub(crate) tool: Tool,
    pub(crate) env: Vec<(Text, Text)>,
    pub(crate) input: Value,
    pub(crate) limits: RunLimits,
    /// When the wall time of the tool's agent ends; `None` without a limit.
    pub(crate) agent_due: Option<Instant>,
}

/// The deadlines of a tool run.
struct TimeLeft {
    stop: CancellationToken,
    mode: CallMode,
    wall_ms: u64,
    own_due: Instant,
    /// The deadline of the tool that called this one; `None` when a session called it.
    callers_due: Option<Instant>,
    agent_due: Option<Instant>,
}

impl TimeLeft {
    /// The earliest deadline.
    fn due(&self) -> Instant {
        self.callers_due.into_iter().chain(self.agent_due).fold(self.own_due, Instant::min)
    }

    /// Returns why the tool has to be stopped; `None` while it may run.
    fn over(&self) -> Option<(Code, String)> {
        let now = Instant::now();
        if self.stop.is_cancelled() {
            Some((Code::UnknownOutcome, "stopped: the caller stopped waiting".into()))
        } else if self.agent_due.is_some_and(|due| now >= due) {
            Some((Code::BudgetExceeded, "the wall time of the agent is used up".into()))
        } else if now >= self.own_due {
            Some((Code::ToolTimeout, format!("not finished after {} ms", self.wall_ms)))
        } else if self.callers_due.is_some_and(|due| now >= due) {
            Some((Code::ToolTimeout, "not finished when the time of the tool that called it was over".into()))
        } else {
            None
        }
    }
}

/// The run after one slice, with the result of the slice; `None` when it panicked.
type Sliced = Option<(ToolRun, ToolStep)>;

/// The future of a host call; its output is the call's outcome, or why the call was not dispatched.
pub(crate) type HostCallFuture<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>>;

/// The part of the kernel's driver that a running tool uses.
pub(crate) trait HostCalls: Sync {
    /// Returns the price of a model's tokens; `None` when the operator set none.
    fn price(&self, model: &str) -> Option<Price>;

    /// Tells the kernel the time, so that it notices that an agent's wall time is over.
    fn tick(&self);

    /// Dispatches a host call of a running tool to the kernel, and performs its effect.
    ///
    /// # Errors
    /// LOG_FULL, RATE_LIMIT, or why the kernel is stopped; the call was not dispatched then.
    fn call<'a>(
        &'a self,
        ticket: Ticket,
        request: &'a ToolRequest,
        options: CallOptions<'a>,
    ) -> HostCallFuture<'a>;
}

/// Runs a tool until it ends, a deadline passes, or the caller no longer waits.
pub(crate) async fn run(
    runtime: &Runtime,
    ticket: Ticket,
    job: &ToolJob,
    options: &mut CallOptions<'_>,
    calls: &dyn HostCalls,
) -> Completion {
    let wall_ms = job.tool.manifest().limits.wall_ms.unwrap_or(u64::MAX).min(TOOL_WALL_MS_MAX);
    let time = TimeLeft {
        stop: options.stop.clone(),
        mode: options.mode,
        wall_ms,
        own_due: Instant::now() + Duration::from_millis(wall_ms),
        callers_due: options.due,
        agent_due: job.agent_due,
    };
    let mut run = ToolRun::start(&job.tool, &job.input, job.limits, &job.env);
    loop {
        if let Some((code, reason)) = time.over() {
            if code == Code::BudgetExceeded {
                calls.tick();
            }
            return run.give_up(code, &reason);
        }
        let Some((stepped, step)) = slice(runtime, run, time.mode).await else {
            return Completion::Unknown;
        };
        run = stepped;
        match step {
            ToolStep::Yields => {}
            ToolStep::Asks(request) => match host_call(calls, ticket, request, &time).await {
                Ok(Some(outcome)) => run.reply(&outcome),
                // A deadline passed: the check at the top of the loop says which.
                Ok(None) => {}
                Err(failure) => return run.give_up(failure.code, &failure.message),
            },
            ToolStep::Ends(completion) => return completion,
        }
    }
}

/// Makes one host call. A tool above its agent's rate waits until it may call; returns `None` when a deadline passes
/// meanwhile.
///
/// # Errors
/// As for [`HostCalls::call`].
async fn host_call(
    calls: &dyn HostCalls,
    ticket: Ticket,
    request: ToolRequest,
    time: &TimeLeft,
) -> Result<Option<Outcome>, Failure> {
    let request = request.priced(|model| calls.price(model));
    loop {
        // A tool does not read streamed answers.
        let stop = time.stop.clone();
        let options =
            CallOptions { chunks: ChunkSink::Discard, stop, due: Some(time.due()), mode: time.mode };
        match calls.call(ticket, &request, options).await {
            Err(failure) if failure.code == Code::RateLimit => {
                let wait = failure.context.get("retry_after_ms").and_then(Value::as_u64);
                let again = Instant::now() + Duration::from_millis(wait.unwrap_or(0));
                let sleep = tokio::time::sleep_until(again.min(time.due()).into());
                if time.stop.run_until_cancelled(sleep).await.is_none() || time.over().is_some() {
                    return Ok(None);
                }
            }
            ended => return ended.map(Some),
        }
    }
}

/// Runs one slice of a tool, then yields to other tasks.
async fn slice(runtime: &Runtime, mut run: ToolRun, mode: CallMode) -> Sliced {
    match mode {
        CallMode::Blocking | CallMode::Polling => {
            let step = run.step();
            if matches!(step, ToolStep::Yields) {
                yield_once().await;
            }
            Some((run, step))
        }
        CallMode::Task => {
            let work = move || {
                let step = run.step();
                (run, step)
            };
            runtime.run_blocking(WorkKind::Tool, work).await
        }
    }
}
