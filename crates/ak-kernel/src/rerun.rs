//! Tools that are run again as a journal is re-executed: they get the recorded answers, and must ask the same and end the
//! same.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    format,
    string::{String, ToString},
};

use crate::{
    effect::{Completion, Effect, Step, Ticket},
    kernel::CallId,
    record::Input,
    reply::Outcome,
    tool_request::ToolRequest,
    tool_run::{ToolRun, ToolStep},
};

/// The tools that run at the moment.
#[derive(Debug, Default)]
pub(crate) struct Rerun {
    running: BTreeMap<Ticket, (ToolRun, Pause)>,
    /// Who waits for the outcome of what was asked.
    waiting: BTreeMap<CallId, Ticket>,
}

/// Where a tool stands.
#[derive(Debug)]
enum Pause {
    Asks(ToolRequest),
    /// It has asked, and the journal says so.
    Waits,
    Ended(Completion),
}

impl Rerun {
    /// Starts a tool that the kernel lets run.
    pub(crate) fn perform(&mut self, ticket: Ticket, effect: Effect) {
        if let Effect::RunTool { tool, env, input, limits } = effect {
            let mut run = ToolRun::start(&tool, &input, limits, &env);
            let pause = go_on(&mut run);
            self.running.insert(ticket, (run, pause));
        }
    }

    /// Compares what the journal says of a tool with what the tool does now. `call` is the id of the recorded input.
    ///
    /// # Errors
    /// How they differ.
    pub(crate) fn compare(&mut self, call: CallId, input: &Input) -> Result<(), String> {
        match input {
            Input::Progress { ticket, step: Step::HostCall(recorded) } => {
                let Some((_, pause)) = self.running.get_mut(ticket) else { return Ok(()) };
                match core::mem::replace(pause, Pause::Waits) {
                    Pause::Asks(asked) if asked.is_the_same_as(recorded) => {
                        self.waiting.insert(call, *ticket);
                        Ok(())
                    }
                    Pause::Asks(asked) => {
                        let [asked, recorded] =
                            [asked.to_value(), recorded.to_value()].map(|value| value.to_string());
                        Err(format!("the tool, run again, asks for {asked} and not for {recorded}"))
                    }
                    Pause::Waits | Pause::Ended(_) => {
                        Err("the tool, run again, does not ask for what was recorded".to_string())
                    }
                }
            }
            Input::Complete { ticket, completion } => {
                let Entry::Occupied(running) = self.running.entry(*ticket) else { return Ok(()) };
                // A host that gave the tool up, or lost it, may have done so at any point.
                match running.remove() {
                    _ if !completion.is_of_tool() => Ok(()),
                    (_, Pause::Ended(again)) if again == *completion => Ok(()),
                    _ => Err("the tool, run again, gives another result".to_string()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Hands an outcome to the tool that waits for it.
    pub(crate) fn reply(&mut self, call: CallId, outcome: &Outcome) {
        let Some((run, pause)) = self.waiting.remove(&call).and_then(|ticket| self.running.get_mut(&ticket))
        else {
            return;
        };
        run.reply(outcome);
        *pause = go_on(run);
    }
}

/// Runs a tool until it asks for something, or ends.
fn go_on(run: &mut ToolRun) -> Pause {
    loop {
        match run.step() {
            ToolStep::Yields => {}
            ToolStep::Asks(request) => return Pause::Asks(request),
            ToolStep::Ends(completion) => return Pause::Ended(completion),
        }
    }
}
