//! Runs tools again while a journal is re-executed. They receive the recorded replies, and must make the same host
//! calls and return the same results.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};

use crate::{
    api::{
        effect::{Completion, Effect, Ticket},
        reply::Outcome,
        tool_request::ToolRequest,
    },
    codec::input::Input,
    state::CallId,
    tools::run::{ToolRun, ToolStep},
};

/// The running tools. Each is run only as far as the journal records, since the host may have stopped it at any
/// point.
#[derive(Debug, Default)]
pub(crate) struct Rerun {
    running: BTreeMap<Ticket, ToolRun>,
    /// The tool that waits for the outcome of each host call.
    waiting: BTreeMap<CallId, Ticket>,
}

impl Rerun {
    /// Starts the tool of an effect; ignores other effects.
    pub(crate) fn perform(&mut self, ticket: Ticket, effect: Effect) {
        if let Effect::RunTool { tool, env, input, limits } = effect {
            self.running.insert(ticket, ToolRun::start(&tool, &input, limits, &env));
        }
    }

    /// Compares a recorded input of a tool with what the tool does now. `call` is the id of that input.
    ///
    /// # Errors
    /// How they differ.
    pub(crate) fn compare(&mut self, call: CallId, input: &Input) -> Result<(), String> {
        match input {
            Input::HostCall { ticket, request } => {
                let Some(run) = self.running.get_mut(ticket) else { return Ok(()) };
                self.waiting.insert(call, *ticket);
                match next(run) {
                    RerunStep::Asks(again) if again.is_the_same_as(request) => Ok(()),
                    RerunStep::Asks(again) => {
                        let [again, recorded] =
                            [&again, request].map(|request| request.to_value().to_string());
                        Err(format!("the tool, run again, asks for {again} and not for {recorded}"))
                    }
                    RerunStep::Ends(_) => {
                        Err("the tool, run again, does not ask for what was recorded".to_string())
                    }
                }
            }
            Input::Complete { ticket, ended } => match self.running.remove(ticket) {
                Some(mut run) if ended.completion.is_of_tool() => match next(&mut run) {
                    RerunStep::Ends(again) if ends_the_same(&again, &ended.completion) => Ok(()),
                    RerunStep::Ends(_) | RerunStep::Asks(_) => {
                        Err("the tool, run again, gives another result".to_string())
                    }
                },
                Some(_) | None => Ok(()),
            },
            Input::Genesis { .. }
            | Input::Dispatch { .. }
            | Input::Progress { .. }
            | Input::Tick
            | Input::Snapshot { .. }
            | Input::SnapshotBegun
            | Input::SnapshotKept { .. }
            | Input::Throttled(_)
            | Input::ClockStep
            | Input::Upgrade { .. } => Ok(()),
        }
    }

    /// Passes an outcome to the tool that waits for it.
    pub(crate) fn reply(&mut self, call: CallId, outcome: &Outcome) {
        let ticket = self.waiting.remove(&call);
        if let Some(run) = ticket.and_then(|ticket| self.running.get_mut(&ticket)) {
            run.reply(outcome);
        }
    }
}

/// Whether two ends of a tool are the same. What a failure tells people may differ: another version words it otherwise.
fn ends_the_same(again: &Completion, recorded: &Completion) -> bool {
    match (again, recorded) {
        (
            Completion::Failed { code, context, spent, .. },
            Completion::Failed { code: code_then, context: context_then, spent: spent_then, .. },
        ) => {
            let facts = (spent.tell(context.clone()), spent_then.tell(context_then.clone()));
            code == code_then && spent == spent_then && facts.0 == facts.1
        }
        (again, recorded) => again == recorded,
    }
}

enum RerunStep {
    Asks(ToolRequest),
    Ends(Completion),
}

/// Runs a tool until its next host call or its end.
fn next(run: &mut ToolRun) -> RerunStep {
    loop {
        match run.step() {
            ToolStep::Yields => {}
            ToolStep::Asks(request) => return RerunStep::Asks(request),
            ToolStep::Ends(completion) => return RerunStep::Ends(completion),
        }
    }
}
