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
const WAIT: Duration = Duration::from_millis(20);

/// One call of a tool as the gate has permitted it.
pub(crate) struct ToolJob {
    pub(crate) tool: Tool,
    pub(crate) env: Vec<(Text, Text)>,
    pub(crate) input: Value,
    pub(crate) limits: RunLimits,
    /// When the wall time of its agent is over.
    pub(crate) agent_due: Option<Instant>,
}

/// Why a tool is given up before its own end.
struct GivenUp(Code, String);

impl Driver {
    /// Runs a tool to its end, or until its time is over or nobody waits for it any more.
    pub(crate) fn run_tool(&self, ticket: Ticket, job: &ToolJob, patience: &Patience<'_>) -> Completion {
        let stop = patience.stop;
        let wall_ms = job.tool.manifest().limits.wall_ms.unwrap_or(u64::MAX).min(TOOL_WALL_MS_MAX);
        let own_due = Instant::now() + Duration::from_millis(wall_ms);
        let due = patience.due.map_or(own_due, |due| due.min(own_due));
        let mut run = ToolRun::start(&job.tool, &job.input, job.limits, &job.env);
        loop {
            let given_up = if stop.is_cancelled() {
                Some(GivenUp(Code::UnknownOutcome, "stopped: nobody waits for it any more".into()))
            } else if job.agent_due.is_some_and(|due| Instant::now() >= due) {
                self.tick();
                Some(GivenUp(Code::BudgetExceeded, "the wall time of the agent is used up".into()))
            } else if Instant::now() >= due {
                Some(GivenUp(Code::ToolTimeout, format!("not finished after {wall_ms} ms")))
            } else {
                match run.step() {
                    ToolStep::Yields => None,
                    ToolStep::Asks(request) => match self.host_call(ticket, request, due, stop) {
                        Ok(outcome) => {
                            run.reply(&outcome);
                            None
                        }
                        // The time is over, or nobody waits: it shows above which.
                        Err(failure) if failure.code == Code::RateLimit => None,
                        Err(failure) => Some(GivenUp(failure.code, failure.message)),
                    },
                    ToolStep::Ends(completion) => return completion,
                }
            };
            if let Some(GivenUp(code, reason)) = given_up {
                return run.give_up(code, &reason);
            }
        }
    }

    /// Puts what a tool asks for to the kernel, and performs what comes of it. A tool that asks more often than its agent may
    /// waits.
    ///
    /// # Errors
    /// LOG_FULL, RATE_LIMIT when the time is over, or why the kernel is stopped: nothing was asked then.
    fn host_call(
        &self,
        ticket: Ticket,
        request: ToolRequest,
        due: Instant,
        stop: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let request = request.priced(|model| self.price(model));
        let (sender, receiver) = channel();
        while let Err(failure) = self.ask_for(ticket, &request, sender.clone()) {
            let wait = failure.context.get("retry_after_ms").and_then(Value::as_u64);
            let Some(wait) = wait.filter(|_| failure.code == Code::RateLimit) else { return Err(failure) };
            let until = due.min(Instant::now() + Duration::from_millis(wait));
            while Instant::now() < until && !stop.is_cancelled() {
                std::thread::sleep(WAIT.min(until - Instant::now()));
            }
            if Instant::now() >= due || stop.is_cancelled() {
                // The caller sees why.
                return Err(failure);
            }
        }
        drop(sender);
        // Nobody takes a tool's answer in pieces.
        Ok(self.wait(&receiver, &mut Patience { on_chunk: &mut |_| true, stop, due: Some(due) }))
    }
}
