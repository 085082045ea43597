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

use crate::{clock, driver::Driver};

/// Longest run of a tool, in milliseconds, what it waits for included. A manifest's `wall_ms` can only lower it.
pub const TOOL_WALL_MS_MAX: u64 = 300_000;

/// One call of a tool as the gate has permitted it.
pub(crate) struct ToolJob {
    pub(crate) tool: Tool,
    pub(crate) env: Vec<(Text, Text)>,
    pub(crate) input: Value,
    pub(crate) limits: RunLimits,
}

/// Why a tool is given up before its own end.
struct GivenUp(Code, String);

impl Driver {
    /// Runs a tool to its end, or until its time is over or `stop` says that nobody waits for it.
    pub(crate) fn run_tool(&self, ticket: Ticket, job: &ToolJob, stop: &CancellationToken) -> Completion {
        let wall_ms = job.tool.manifest().limits.wall_ms.unwrap_or(u64::MAX).min(TOOL_WALL_MS_MAX);
        let due = Instant::now() + Duration::from_millis(wall_ms);
        let agent_due = self.deadline(ticket).map(|due| Instant::now() + clock::until(due));
        // What it asked for ends with it.
        let asked = stop.child_token();
        let _stop_asked = asked.clone().drop_guard();
        let mut run = ToolRun::start(&job.tool, &job.input, job.limits, &job.env);
        loop {
            let given_up = if stop.is_cancelled() {
                Some(GivenUp(Code::UnknownOutcome, "stopped: nobody waits for it any more".into()))
            } else if agent_due.is_some_and(|due| Instant::now() >= due) {
                self.tick();
                Some(GivenUp(Code::BudgetExceeded, "the wall time of the agent is used up".into()))
            } else if Instant::now() >= due {
                Some(GivenUp(Code::ToolTimeout, format!("not finished after {wall_ms} ms")))
            } else {
                match run.step() {
                    ToolStep::Yields => None,
                    ToolStep::Asks(request) => match self.host_call(ticket, request, due, &asked) {
                        Ok(outcome) => {
                            run.reply(&outcome);
                            None
                        }
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

    /// Puts what a tool asks for to the kernel, and performs what comes of it.
    ///
    /// # Errors
    /// LOG_FULL, or why the kernel is stopped: nothing was asked then.
    fn host_call(
        &self,
        ticket: Ticket,
        request: ToolRequest,
        due: Instant,
        stop: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let request = request.priced(|model| self.price(model));
        let (sender, receiver) = channel();
        self.ask_for(ticket, request, sender)?;
        Ok(self.wait_until(&receiver, due, stop))
    }
}
