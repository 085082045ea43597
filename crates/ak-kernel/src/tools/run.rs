//! One run of a tool, as host, image and replay drive it.

use alloc::{boxed::Box, format, string::String};

use ak_json::{Object, Text, Value};
use ak_sandbox::{Failure as RunFailure, HostOperation, Run, RunError, RunLimits, Step, Tool};

use crate::api::{
    code::Code,
    effect::{Completion, FUEL, Spent},
    reply::{Failure, Outcome, Reply},
    tool_request::ToolRequest,
};

/// Bytes of a tool's log that are recorded, from its end.
pub const TOOL_LOG_BYTES_MAX: usize = 4 << 10;

/// Fuel that a tool uses in one slice; between slices its driver can check the time.
const SLICE_FUEL: u64 = 1_000_000;

/// A running tool, as a deterministic state machine: the same tool, input, limits and replies give the same host
/// calls and the same completion everywhere.
///
/// ```
/// use ak_kernel::ak_json::object;
/// use ak_kernel::ak_sandbox::{Manifest, RunLimits, SandboxConfig, Tool, builtin};
/// use ak_kernel::{Code, Completion, Failure, ToolRun, ToolStep};
///
/// let [(manifest, module), _] = builtin(); // add {a, b}
/// let tool = Tool::new(Manifest::parse(manifest)?, module.into(), &SandboxConfig::default())?;
/// let mut run = ToolRun::start(&tool, &object! { "a": 3u64, "b": 5u64 }, RunLimits::default(), &[]);
/// let completion = loop {
///     match run.step() {
///         ToolStep::Yields => {} // a driver looks at its clock here
///         ToolStep::Asks(_) => run.reply(&Err(Failure::new(Code::PolicyDeny, "nothing is granted"))),
///         ToolStep::Ends(completion) => break completion,
///     }
/// };
/// assert!(matches!(completion, Completion::Tool { output, .. } if output == object! { "result": 8u64 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ToolRun {
    tool: String,
    state: State,
    /// Whether it waits for a tool that it called.
    called: bool,
}

#[derive(Debug)]
enum State {
    Running(Guest),
    Ended(Completion),
}

struct Guest(Box<Run>);

impl core::fmt::Debug for Guest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Run({} fuel)", self.0.fuel())
    }
}

/// The result of one step of a running tool.
#[derive(Debug)]
pub enum ToolStep {
    /// A slice of fuel is used up; call `step` again to continue.
    Yields,
    /// The tool waits for the outcome of this host call: pass it to [`ToolRun::reply`].
    Asks(ToolRequest),
    /// The run has ended.
    Ends(Completion),
}

impl ToolRun {
    /// Starts one call of a tool. `env` is the environment of a WASI command.
    pub fn start(tool: &Tool, input: &Value, limits: RunLimits, env: &[(Text, Text)]) -> ToolRun {
        let name = tool.manifest().name.clone();
        let env = env.iter().map(|(name, value)| (&**name, &**value));
        let state = match Run::start(tool, input, limits) {
            Ok(run) => State::Running(Guest(Box::new(run.with_env(env)))),
            Err(error) => State::Ended(failed(&name, &error)),
        };
        ToolRun { tool: name, state, called: false }
    }

    /// Runs the tool for a slice of fuel, or until its next host call. After the end it returns the same completion
    /// again.
    pub fn step(&mut self) -> ToolStep {
        let run = match &mut self.state {
            State::Running(Guest(run)) => run,
            State::Ended(completion) => return ToolStep::Ends(completion.clone()),
        };
        let completion = match run.step(SLICE_FUEL) {
            Ok(Step::Yield) => return ToolStep::Yields,
            Ok(Step::HostCall(call)) => {
                self.called = call.operation == HostOperation::Call;
                match ToolRequest::of(call, run.fuel_left()) {
                    Ok(request) => return ToolStep::Asks(request),
                    // A malformed host call is answered here and not recorded.
                    Err(failure) => self.reply(&Err(failure)),
                }
                return ToolStep::Yields;
            }
            Ok(Step::Done(done)) => {
                Completion::Tool { output: done.output, fuel: done.fuel, log: end_of(&done.log) }
            }
            Err(error) => failed(&self.tool, &error),
        };
        self.state = State::Ended(completion.clone());
        ToolStep::Ends(completion)
    }

    /// Passes the tool the outcome of its host call.
    pub fn reply(&mut self, outcome: &Outcome) {
        let State::Running(Guest(run)) = &mut self.state else { return };
        let reply = outcome.as_ref().map(Reply::to_value).map_err(Failure::to_tool_value);
        if core::mem::take(&mut self.called) {
            // The fuel that a called tool used is charged to this run.
            let said = reply.as_ref().unwrap_or_else(|error| error.get("context").unwrap_or(&Value::Null));
            run.charge(said.get(FUEL).and_then(Value::as_u64).unwrap_or(0));
        }
        if let Err(error) = run.reply(reply) {
            self.state = State::Ended(failed(&self.tool, &error));
        }
    }

    /// The completion of a run that is stopped before its end.
    pub fn give_up(&self, code: Code, reason: &str) -> Completion {
        let spent = match &self.state {
            State::Running(Guest(run)) => run.fuel(),
            State::Ended(_) => 0,
        };
        let message = format!("tool {}: {reason}", self.tool);
        Completion::Failed { code, message, context: Object::new(), spent: Spent::from(spent) }
    }
}

fn failed(tool: &str, error: &RunError) -> Completion {
    let message = format!("tool {tool}: {error}");
    // A lack of memory on this machine is not the tool's fault.
    let code = if error.failure == RunFailure::HostMemory { Code::Quota } else { Code::ToolFail };
    let log = (!error.log.is_empty()).then(|| end_of(&error.log));
    let spent = Spent { log, ..Spent::from(error.fuel) };
    Completion::Failed { code, message, context: Object::new(), spent }
}

/// The end of a tool's log as text.
fn end_of(log: &[u8]) -> Text {
    let end = log.get(log.len().saturating_sub(TOOL_LOG_BYTES_MAX)..).unwrap_or(log);
    // A character that was cut off leaves continuation bytes at the start.
    let cut = end.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    let whole = if end.len() == log.len() { end } else { end.get(cut..).unwrap_or(end) };
    Text::from(&*String::from_utf8_lossy(whole))
}
