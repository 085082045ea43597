//! Tools, run slice by slice on the thread of whoever called. What one asks for goes through the kernel as any request does,
//! and the tool waits for it.

use std::{
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use ak_json::{Text, Value};
use ak_kernel::{Code, Completion, Failure, Outcome, Ticket, ToolRequest, ToolRun, ToolStep};
use ak_sandbox::{RunLimits, Tool};
use tokio_util::sync::CancellationToken;

use crate::driver::{Driver, Patience};

/// Longest run of a tool, in milliseconds, what it waits for included. A manifest's `wall_ms` can only lower it.
pub const TOOL_WALL_MS_MAX: u64 = 300_000;

/// How long a tool that asks too often sleeps between two looks at whether anybody still waits for it.
const LOOK: Duration = Duration::from_millis(20);

/// One call of a tool as the gate has permitted it.
pub(crate) struct ToolJob {
    pub(crate) tool: Tool,
    pub(crate) env: Vec<(Text, Text)>,
    pub(crate) input: Value,
    pub(crate) limits: RunLimits,
    /// When the wall time of its agent is over.
    pub(crate) agent_due: Option<Instant>,
}

/// How long a tool may run.
struct TimeLeft<'t> {
    stop: &'t CancellationToken,
    wall_ms: u64,
    own_due: Instant,
    /// Of whoever called it: the tool that did, if one did.
    callers_due: Option<Instant>,
    agent_due: Option<Instant>,
}

impl TimeLeft<'_> {
    /// When the first of all this is over.
    fn due(&self) -> Instant {
        self.callers_due.into_iter().chain(self.agent_due).fold(self.own_due, Instant::min)
    }

    /// Why the tool is to be given up, if it is.
    fn over(&self) -> Option<(Code, String)> {
        let now = Instant::now();
        if self.stop.is_cancelled() {
            Some((Code::UnknownOutcome, "stopped: nobody waits for it any more".into()))
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

impl Driver {
    /// Runs a tool to its end, or until its time is over or nobody waits for it any more.
    pub(crate) fn run_tool(&self, ticket: Ticket, job: &ToolJob, patience: &Patience<'_>) -> Completion {
        let wall_ms = job.tool.manifest().limits.wall_ms.unwrap_or(u64::MAX).min(TOOL_WALL_MS_MAX);
        let time = TimeLeft {
            stop: patience.stop,
            wall_ms,
            own_due: Instant::now() + Duration::from_millis(wall_ms),
            callers_due: patience.due,
            agent_due: job.agent_due,
        };
        let mut run = ToolRun::start(&job.tool, &job.input, job.limits, &job.env);
        loop {
            if let Some((code, reason)) = time.over() {
                if code == Code::BudgetExceeded {
                    self.tick();
                }
                return run.give_up(code, &reason);
            }
            match run.step() {
                ToolStep::Yields => {}
                ToolStep::Asks(request) => match self.host_call(ticket, request, &time) {
                    Ok(Some(outcome)) => run.reply(&outcome),
                    // It is over: the next look tells why.
                    Ok(None) => {}
                    Err(failure) => return run.give_up(failure.code, &failure.message),
                },
                ToolStep::Ends(completion) => return completion,
            }
        }
    }

    /// Puts what a tool asks for to the kernel, and performs what comes of it. A tool that asks more often than its agent may
    /// waits; none when its time is over meanwhile.
    ///
    /// # Errors
    /// LOG_FULL, or why the kernel is stopped: nothing was asked then.
    fn host_call(
        &self,
        ticket: Ticket,
        request: ToolRequest,
        time: &TimeLeft<'_>,
    ) -> Result<Option<Outcome>, Failure> {
        let request = request.priced(|model| self.price(model));
        let receiver = loop {
            let (sender, receiver) = channel();
            match self.ask_for(ticket, &request, sender) {
                Ok(()) => break receiver,
                Err(failure) if failure.code == Code::RateLimit => {
                    let wait = failure.context.get("retry_after_ms").and_then(Value::as_u64);
                    let again = Instant::now() + Duration::from_millis(wait.unwrap_or(0));
                    while Instant::now() < again {
                        if time.over().is_some() {
                            return Ok(None);
                        }
                        std::thread::sleep(LOOK.min(again.saturating_duration_since(Instant::now())));
                    }
                }
                Err(failure) => return Err(failure),
            }
        };
        // Nobody takes a tool's answer in pieces.
        let mut patience = Patience { on_chunk: &mut |_| true, stop: time.stop, due: Some(time.due()) };
        Ok(Some(self.wait(&receiver, &mut patience)))
    }
}
