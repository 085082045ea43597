//! One call of a tool: started, run in slices, suspended by host calls, resumed by replies.

mod reply;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use ak_json::{Limits, Schema, Value, Violation, Work};
use wasmi::{Func, ResumableCall, ResumableCallHostTrap, ResumableCallOutOfFuel, Val};

use crate::failure::{Failure, RunError};
use crate::guest::streams::zero_terminated;
use crate::guest::{Delivery, Guest, Interrupt, range, range_mut};
use crate::host_call::HostCall;
use crate::imports::ak::MESSAGE_BYTES_MAX;
use crate::imports::wasi;
use crate::limits::RunLimits;
use crate::manifest::Abi;
use crate::tool::machine::Machine;
use crate::tool::{SCHEMA_WORK, Tool};

const RUN_FINISHED: Failure = Failure::OutOfOrder("the run is over");

/// One call of a tool, on an instance of its own.
///
/// 1. [`Run::start`] makes the instance.
/// 2. [`Run::step`] runs it for a slice of fuel; call it again while it yields.
/// 3. On [`Step::HostCall`] decide on the call, perform it, pass the outcome to [`Run::reply`], and continue with 2.
/// 4. [`Step::Done`] or an error ends the run. Dropping a run at any point aborts it.
pub struct Run {
    tool: Tool,
    pub(crate) limits: RunLimits,
    /// `None` once the run is over.
    machine: Option<Box<Machine>>,
    input: Arc<[u8]>,
    stage: Stage,
    pub(crate) state: State,
    fuel: u64,
    host_calls: u32,
    /// The guest's log, once the guest has ended.
    log: Vec<u8>,
}

/// How a slice of a run ended: it yields, waits for a host call, or is done.
#[derive(Debug)]
pub enum Step {
    /// The slice of fuel is spent; the tool has not finished.
    Yield,
    /// The tool waits for [`Run::reply`].
    HostCall(HostCall),
    /// The tool has finished.
    Done(RunOutput),
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOutput {
    /// The tool's result: JSON within the limits that satisfies the output schema.
    pub output: Value,
    /// Fuel spent; always the same for the same module, input and replies.
    pub fuel: u64,
    /// The end of the guest's log, written by `ak.log` or to stderr.
    pub log: Vec<u8>,
}

/// The function of the module that is running.
#[derive(Clone, Copy)]
enum Stage {
    /// The start function, if there is one.
    Start,
    /// `ak_alloc`, which allocates memory for the input.
    Alloc,
    /// `ak_run` or `_start`.
    Main,
}

pub(crate) enum State {
    /// About to call a function.
    Call(Func, Vec<Val>),
    /// Interrupted between two instructions.
    OutOfFuel(ResumableCallOutOfFuel),
    /// A host function of the suspended guest returns these values.
    Resume(ResumableCallHostTrap, Vec<Val>),
    /// The reply to a host call led to another host call, which comes with the next step.
    Ask(Option<ResumableCallHostTrap>, HostCall, Delivery),
    /// A reply is due: to the suspended guest, or, without a trap, to a write after the guest has ended.
    Waiting(Option<ResumableCallHostTrap>, HostCall, Delivery),
    /// A WASI command has ended successfully.
    Ended,
    /// The run is over, with or without a result.
    Over,
}

impl Run {
    /// Makes an instance for a call with these arguments. Runs none of the guest's code.
    ///
    /// # Errors
    ///
    /// [`RunError`] when the arguments do not satisfy the input schema, or the instance cannot be made within the
    /// limits.
    pub fn start(tool: &Tool, input: &Value, limits: RunLimits) -> Result<Self, RunError> {
        let manifest = tool.manifest();
        let lower = |own: Option<u64>, limit: u64| own.map_or(limit, |own| own.min(limit));
        let limits = RunLimits {
            fuel: lower(manifest.limits.fuel, limits.fuel),
            memory_bytes_max: lower(manifest.limits.memory_bytes, limits.memory_bytes_max),
            output_bytes_max: lower(manifest.limits.output_bytes, limits.output_bytes_max),
            ..limits
        };
        let fail = |failure| RunError { failure, fuel: 0, log: Vec::new() };
        if let Err(violation) = tool.input_schema().validate(input, &mut Work::new(SCHEMA_WORK)) {
            return Err(fail(Failure::InvalidInput { reason: told(tool.input_schema(), &violation, input) }));
        }
        let fuel = tool.instance_fuel();
        if fuel > limits.fuel {
            let failure = Failure::OutOfFuel { fuel_max: limits.fuel };
            return Err(RunError { failure, fuel: limits.fuel, log: Vec::new() });
        }
        let input: Arc<[u8]> = input.to_json().into_bytes().into();
        let argv = core::iter::once(&manifest.name).chain(&manifest.args).map(String::as_str);
        let guest = Guest::new(input.clone(), argv, tool.preopens(), &limits);
        let machine = tool.machine(guest).map_err(|failure| RunError { failure, fuel, log: Vec::new() })?;
        let start = machine.start;
        let mut run = Self {
            tool: tool.clone(),
            limits,
            machine: Some(machine),
            input,
            stage: Stage::Start,
            state: State::Over,
            fuel,
            host_calls: 0,
            log: Vec::new(),
        };
        match start {
            Some(start) => run.state = State::Call(start, Vec::new()),
            None => run.enter().map_err(|failure| run.error(failure))?,
        }
        Ok(run)
    }

    /// Sets the environment of a WASI command. It sees only the variables that its manifest lists; one whose value
    /// has a zero byte is left out.
    #[must_use]
    pub fn with_env<'a>(mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let listed = &self.tool.manifest().env;
        let variables = variables
            .into_iter()
            .filter(|(name, value)| listed.iter().any(|listed| listed == name) && !value.contains('\0'))
            .map(|(name, value)| zero_terminated(&alloc::format!("{name}={value}")));
        if let Some(machine) = &mut self.machine {
            machine.store.data_mut().env = variables.collect();
        }
        self
    }

    /// Fuel spent so far, in units of [`RunLimits::fuel`].
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// Fuel left, in units of [`RunLimits::fuel`].
    pub fn fuel_left(&self) -> u64 {
        self.limits.fuel.saturating_sub(self.fuel)
    }

    /// Charges the run for work that the host did for the guest, such as the run of another tool. If more is charged
    /// than is left, the next step fails.
    pub fn charge(&mut self, fuel: u64) {
        self.fuel = self.fuel.saturating_add(fuel);
    }

    /// Runs for about `fuel_slice` units of fuel, and at least for one block of instructions.
    ///
    /// How a run is sliced changes neither its result nor its fuel.
    ///
    /// # Errors
    ///
    /// [`RunError`] ends the run.
    pub fn step(&mut self, fuel_slice: u64) -> Result<Step, RunError> {
        let spent_before = self.fuel;
        loop {
            let slice = fuel_slice.saturating_sub(self.fuel - spent_before);
            match self.resume(slice) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(failure) => return Err(self.error(failure)),
            }
        }
    }

    /// Ends the run with a failure. The machine is not used again.
    pub(crate) fn error(&mut self, failure: Failure) -> RunError {
        self.state = State::Over;
        let log = match self.machine.take() {
            Some(mut machine) => machine.store.data_mut().log.take(),
            None => core::mem::take(&mut self.log),
        };
        RunError { failure, fuel: self.fuel.min(self.limits.fuel), log }
    }

    pub(crate) fn machine(&mut self) -> Result<&mut Machine, Failure> {
        self.machine.as_deref_mut().ok_or(RUN_FINISHED)
    }

    /// Runs the guest until it stops; `None` if it reached the next stage and can continue at once.
    fn resume(&mut self, slice: u64) -> Result<Option<Step>, Failure> {
        let mut results = match self.stage {
            Stage::Start => Vec::new(),
            Stage::Alloc => alloc::vec![Val::I32(0)],
            Stage::Main => match self.tool.manifest().abi {
                Abi::Native => alloc::vec![Val::I64(0)],
                Abi::Wasi => Vec::new(),
            },
        };
        if self.fuel > self.limits.fuel {
            return Err(self.out_of_fuel());
        }
        let left = self.fuel_left();
        let state = match core::mem::replace(&mut self.state, State::Over) {
            State::Ask(trap, call, delivery) => return self.ask(trap, call, delivery),
            State::Ended => return self.exited(0),
            state => state,
        };
        let needed = match &state {
            State::OutOfFuel(call) => call.required_fuel(),
            _ => 0,
        };
        if needed > left {
            self.fuel = self.limits.fuel;
            return Err(self.out_of_fuel());
        }
        let given = slice.max(needed).min(left);
        let store = &mut self.machine()?.store;
        store.data_mut().meter.begin(left - given);
        store.set_fuel(given)?;
        let outcome = match state {
            State::Call(function, args) => function.call_resumable(store, &args, &mut results),
            State::OutOfFuel(call) => call.resume(store, &mut results),
            State::Resume(call, values) => call.resume(store, &values, &mut results),
            State::Waiting(..) => return Err(Failure::OutOfOrder("a reply is due")),
            State::Ask(..) | State::Ended | State::Over => return Err(RUN_FINISHED),
        };
        self.count_fuel(given)?;
        match outcome {
            Ok(ResumableCall::Finished) => self.finished(results.first()),
            Ok(ResumableCall::OutOfFuel(call)) => {
                self.state = State::OutOfFuel(call);
                Ok(Some(Step::Yield))
            }
            Ok(ResumableCall::HostTrap(call)) => self.interrupted(call),
            Err(error) => {
                let breach = self.machine()?.store.data_mut().limiter.breach.take();
                Err(breach.unwrap_or_else(|| error.into()))
            }
        }
    }

    /// Adds the fuel spent of `given`, and the meter's debt, to the run's fuel.
    fn count_fuel(&mut self, given: u64) -> Result<(), Failure> {
        let store = &mut self.machine()?.store;
        let used = given.saturating_sub(store.get_fuel()?);
        let debt = store.data_mut().meter.end();
        self.fuel = self.fuel.saturating_add(used).saturating_add(debt);
        if self.fuel > self.limits.fuel { Err(self.out_of_fuel()) } else { Ok(()) }
    }

    /// Runs host code on the waiting guest's memory and state, and adds its cost to the fuel.
    pub(crate) fn with_host<T>(
        &mut self,
        work: impl FnOnce(&mut [u8], &mut Guest) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let left = self.fuel_left();
        let (memory, guest) = self.machine()?.memory();
        guest.meter.begin(left);
        let outcome = work(memory, guest);
        let debt = guest.meter.end();
        self.fuel = self.fuel.saturating_add(debt);
        outcome
    }

    fn out_of_fuel(&self) -> Failure {
        Failure::OutOfFuel { fuel_max: self.limits.fuel }
    }

    /// Enters the stage after the start function.
    fn enter(&mut self) -> Result<(), Failure> {
        (self.stage, self.state) = match self.tool.manifest().abi {
            Abi::Native => {
                let length = Val::I32(self.input_length()?.cast_signed());
                let alloc = self.machine()?.alloc;
                let alloc = alloc.ok_or_else(|| Failure::Unrunnable("no `ak_alloc`".to_string()))?;
                (Stage::Alloc, State::Call(alloc, alloc::vec![length]))
            }
            Abi::Wasi => (Stage::Main, State::Call(self.machine()?.main, Vec::new())),
        };
        Ok(())
    }

    fn input_length(&self) -> Result<u32, Failure> {
        u32::try_from(self.input.len()).map_err(|_| Failure::MemoryLimit { bytes_max: u32::MAX.into() })
    }

    /// Handles the return of a stage's function.
    fn finished(&mut self, result: Option<&Val>) -> Result<Option<Step>, Failure> {
        match (self.stage, result) {
            (Stage::Start, _) => self.enter().map(|()| None),
            (Stage::Alloc, result) => {
                let at = result.and_then(Val::i32).unwrap_or_default().cast_unsigned();
                let length = self.input_length()?;
                let input = self.input.clone();
                range_mut(self.machine()?.memory().0, "ak_alloc", at, length)?.copy_from_slice(&input);
                let args = alloc::vec![Val::I32(at.cast_signed()), Val::I32(length.cast_signed())];
                (self.stage, self.state) = (Stage::Main, State::Call(self.machine()?.main, args));
                Ok(None)
            }
            (Stage::Main, Some(packed)) => {
                let packed = packed.i64().unwrap_or_default().cast_unsigned();
                let (at, length) = ((packed >> 32) as u32, packed as u32);
                let bytes_max = self.limits.output_bytes_max;
                let bytes = range(self.machine()?.memory().0, "ak_run", at, length)?;
                if u64::from(length) > bytes_max {
                    return Err(Failure::OutputTooLarge { bytes_max });
                }
                let output = parse_output(bytes, bytes_max);
                self.done(output).map(Some)
            }
            (Stage::Main, None) => self.exited(0),
        }
    }

    /// Handles the end of a WASI command: writes its files back, and then takes its output.
    fn exited(&mut self, exit_code: u32) -> Result<Option<Step>, Failure> {
        let bytes_max = self.limits.output_bytes_max;
        if exit_code != 0 {
            let log = self.machine()?.store.data_mut().log.bytes();
            let tail = log.get(log.len().saturating_sub(MESSAGE_BYTES_MAX)..).unwrap_or(log);
            let message = match String::from_utf8_lossy(tail).trim() {
                "" => alloc::format!("exit code {exit_code}"),
                said => said.to_string(),
            };
            return Err(Failure::ToolFailed { message, exit_code: Some(exit_code) });
        }
        if let Some((call, pending)) = self.with_host(|_, guest| wasi::unwritten(guest))? {
            return self.ask(None, call, Delivery::File(pending));
        }
        let output = parse_output(&self.machine()?.store.data_mut().stdout.take(), bytes_max);
        self.done(output).map(Some)
    }

    /// Ends the run with an output. The guest has ended, so the machine can be reused even if the output is invalid.
    fn done(&mut self, output: Result<Value, Failure>) -> Result<Step, Failure> {
        self.log = self.machine()?.store.data_mut().log.take();
        if let Some(machine) = self.machine.take() {
            self.tool.recycle(machine);
        }
        let output = output?;
        if let Err(violation) = self.tool.output_schema().validate(&output, &mut Work::new(SCHEMA_WORK)) {
            let reason = told(self.tool.output_schema(), &violation, &output);
            return Err(Failure::InvalidOutput { reason });
        }
        Ok(Step::Done(RunOutput { output, fuel: self.fuel, log: core::mem::take(&mut self.log) }))
    }

    /// Gives a host call to the driver of the run.
    fn ask(
        &mut self,
        trap: Option<ResumableCallHostTrap>,
        call: HostCall,
        delivery: Delivery,
    ) -> Result<Option<Step>, Failure> {
        let calls_max = self.limits.host_calls_max;
        if self.host_calls >= calls_max {
            return Err(Failure::HostCallLimit { calls_max });
        }
        self.host_calls += 1;
        self.state = State::Waiting(trap, call.clone(), delivery);
        Ok(Some(Step::HostCall(call)))
    }

    /// Handles the stop of the guest in a host function.
    fn interrupted(&mut self, trap: ResumableCallHostTrap) -> Result<Option<Step>, Failure> {
        match self.machine()?.store.data_mut().interrupt.take() {
            Some(Interrupt::HostCall(call, delivery)) => self.ask(Some(trap), call, delivery),
            Some(Interrupt::Fail(message)) => Err(Failure::ToolFailed { message, exit_code: None }),
            Some(Interrupt::Exit(code)) => self.exited(code),
            Some(Interrupt::Failure(failure)) => Err(failure),
            None => Err(trap.into_host_error().into()),
        }
    }
}

/// What a violation is about, and what is wrong there: `` `b` is missing ``.
fn told(schema: &Schema, violation: &Violation, value: &Value) -> String {
    let (place, what) = schema.explain(violation, value);
    match place.is_root() {
        true => format!("value {what}"),
        false => format!("`{}` {what}", place.tokens().join("/")),
    }
}

fn parse_output(bytes: &[u8], bytes_max: u64) -> Result<Value, Failure> {
    let limits = Limits { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), ..Limits::default() };
    Value::parse(bytes, &limits).map_err(|error| Failure::InvalidJsonOutput { reason: error.to_string() })
}
