use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use ak_json::{Limits, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wasmi::{
    Extern, Func, Instance, ResumableCall, ResumableCallHostTrap, ResumableCallOutOfFuel, Store, Val,
};

use crate::guest::{Delivery, Guest, Interrupt, range, range_mut, zero_terminated};
use crate::host::{HostCall, MESSAGE_BYTES_MAX, envelope};
use crate::limits::BYTES_PER_FUEL;
use crate::module::START_EXPORT;
use crate::{Abi, Failure, RunError, RunLimits, Tool, tool, wasi};

/// One call of a tool, on an instance of its own.
///
/// 1. [`Run::start`] instantiates the module.
/// 2. [`Run::step`] runs it for a slice of fuel, again and again while it yields.
/// 3. On [`Step::HostCall`] decide, perform, and give the outcome to [`Run::reply`]; then go on with 2.
/// 4. [`Step::Done`] or an error is the end. Dropping a run at any point aborts it.
pub struct Run {
    tool: Tool,
    limits: RunLimits,
    store: Store<Guest>,
    instance: Instance,
    input: Arc<[u8]>,
    stage: Stage,
    state: State,
    fuel: u64,
    host_calls: u32,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// The slice is used up; the tool wants to go on.
    Yield,
    /// The tool waits for [`Run::reply`].
    HostCall(HostCall),
    /// The tool has finished.
    Done(Done),
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The tool's result: parsed, so known to be JSON within the limits.
    pub output: Value,
    /// Fuel spent: the same for the same module, input and replies.
    pub fuel: u64,
    /// The guest's log: `ak.log` or stderr.
    pub log: Vec<u8>,
}

/// Which of the module's functions is running.
#[derive(Clone, Copy)]
enum Stage {
    /// The start function, if there is one.
    Start,
    /// `ak_alloc`, for the input.
    Alloc,
    /// `ak_run` or `_start`.
    Main,
}

enum State {
    /// About to call a function.
    Call(Func, Vec<Val>),
    /// Interrupted between two instructions.
    OutOfFuel(ResumableCallOutOfFuel),
    /// A host function is to return these values.
    Resume(ResumableCallHostTrap, Vec<Val>),
    /// A reply is due.
    Waiting(ResumableCallHostTrap, HostCall, Delivery),
    /// Over, with or without a result.
    Over,
}

impl Run {
    /// Instantiates the tool with these arguments. Nothing of the guest runs yet.
    ///
    /// # Errors
    ///
    /// [`RunError`] when the module cannot be instantiated within the limits.
    pub fn start(tool: &Tool, input: &Value, limits: RunLimits) -> Result<Self, RunError> {
        let manifest = tool.manifest();
        let lower = |own: Option<u64>, limit: u64| own.map_or(limit, |own| own.min(limit));
        let limits = RunLimits {
            fuel: lower(manifest.limits.fuel, limits.fuel),
            memory_bytes_max: lower(manifest.limits.memory_bytes, limits.memory_bytes_max),
            output_bytes_max: lower(manifest.limits.output_bytes, limits.output_bytes_max),
            ..limits
        };
        let input: Arc<[u8]> = input.to_json().into_bytes().into();
        let mut store = Store::new(tool.engine(), Guest::new(input.clone(), &manifest.name, &limits));
        store.limiter(|guest| &mut guest.limiter);
        let instance = instantiate(&mut store, tool).map_err(|failure| RunError {
            failure,
            fuel: 0,
            log: Vec::new(),
        })?;
        let guest = store.data_mut();
        guest.limiter.running = true;
        let mut run = Self {
            tool: tool.clone(),
            limits,
            store,
            instance,
            input,
            stage: Stage::Start,
            state: State::Over,
            fuel: 0,
            host_calls: 0,
        };
        run.store.data_mut().memory = run.instance.get_memory(&run.store, "memory");
        match run.instance.get_func(&run.store, START_EXPORT) {
            Some(start) => run.state = State::Call(start, Vec::new()),
            None => run.enter().map_err(|failure| run.error(failure))?,
        }
        Ok(run)
    }

    /// Sets the environment of a WASI command: of these variables it sees the ones that its manifest lists.
    #[must_use]
    pub fn with_env<'a>(mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let listed = &self.tool.manifest().env;
        self.store.data_mut().env = variables
            .into_iter()
            .filter(|(name, value)| listed.iter().any(|listed| listed == name) && !value.contains('\0'))
            .map(|(name, value)| zero_terminated(&alloc::format!("{name}={value}")))
            .collect();
        self
    }

    /// Fuel spent so far.
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// Runs for about `fuel_slice` units, at least for one block of instructions.
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

    /// Gives the outcome of a host call: its result, or the error object that the guest shall see.
    ///
    /// # Errors
    ///
    /// [`RunError`] ends the run: the reply is too long, does not fit the call, or nobody waits for one.
    pub fn reply(&mut self, reply: Result<Value, Value>) -> Result<(), RunError> {
        let delivered = match core::mem::replace(&mut self.state, State::Over) {
            State::Waiting(trap, call, delivery) => self
                .deliver(&call, delivery, reply)
                .map(|value| self.state = State::Resume(trap, alloc::vec![value])),
            State::Call(..) | State::OutOfFuel(_) | State::Resume(..) | State::Over => {
                Err(Failure::OutOfOrder("no reply is due"))
            }
        };
        delivered.map_err(|failure| self.error(failure))
    }

    /// Ends the run.
    fn error(&mut self, failure: Failure) -> RunError {
        self.state = State::Over;
        let fuel = self.fuel.min(self.limits.fuel);
        RunError { failure, fuel, log: self.store.data_mut().log.take() }
    }

    /// Lets the guest run once; `None` when it got to the next stage and may go on at once.
    fn resume(&mut self, slice: u64) -> Result<Option<Step>, Failure> {
        let mut results = match self.stage {
            Stage::Start => Vec::new(),
            Stage::Alloc => alloc::vec![Val::I32(0)],
            Stage::Main => match self.tool.manifest().abi {
                Abi::Native => alloc::vec![Val::I64(0)],
                Abi::Wasi => Vec::new(),
            },
        };
        let left = self.limits.fuel.saturating_sub(self.fuel);
        let state = core::mem::replace(&mut self.state, State::Over);
        let needed = match &state {
            State::OutOfFuel(call) => call.required_fuel(),
            State::Call(..) | State::Resume(..) | State::Waiting(..) | State::Over => 0,
        };
        if needed > left {
            self.fuel = self.limits.fuel;
            return Err(self.out_of_fuel());
        }
        let given = slice.max(needed).min(left);
        self.store.set_fuel(given)?;
        let outcome = match state {
            State::Call(function, args) => function.call_resumable(&mut self.store, &args, &mut results),
            State::OutOfFuel(call) => call.resume(&mut self.store, &mut results),
            State::Resume(call, values) => call.resume(&mut self.store, &values, &mut results),
            State::Waiting(..) => return Err(Failure::OutOfOrder("a reply is due")),
            State::Over => return Err(Failure::OutOfOrder("the run is over")),
        };
        self.settle(given)?;
        match outcome {
            Ok(ResumableCall::Finished) => self.finished(results.first()),
            Ok(ResumableCall::OutOfFuel(call)) => {
                self.state = State::OutOfFuel(call);
                Ok(Some(Step::Yield))
            }
            Ok(ResumableCall::HostTrap(call)) => self.interrupted(call),
            Err(error) => Err(self.store.data_mut().limiter.breach.take().unwrap_or_else(|| error.into())),
        }
    }

    /// Adds up what was spent of the fuel `given`.
    fn settle(&mut self, given: u64) -> Result<(), Failure> {
        let used = given.saturating_sub(self.store.get_fuel()?);
        let debt = core::mem::take(&mut self.store.data_mut().fuel_debt);
        self.fuel = self.fuel.saturating_add(used).saturating_add(debt);
        if self.fuel > self.limits.fuel { Err(self.out_of_fuel()) } else { Ok(()) }
    }

    fn out_of_fuel(&self) -> Failure {
        Failure::OutOfFuel { fuel_max: self.limits.fuel }
    }

    /// Leaves the start function behind.
    fn enter(&mut self) -> Result<(), Failure> {
        (self.stage, self.state) = match self.tool.manifest().abi {
            Abi::Native => {
                let length = Val::I32(self.input_length()?.cast_signed());
                (Stage::Alloc, State::Call(self.export("ak_alloc")?, alloc::vec![length]))
            }
            Abi::Wasi => (Stage::Main, State::Call(self.export("_start")?, Vec::new())),
        };
        Ok(())
    }

    fn export(&self, name: &'static str) -> Result<Func, Failure> {
        let missing = || Failure::Unrunnable(alloc::format!("export {name:?} is missing"));
        self.instance.get_func(&self.store, name).ok_or_else(missing)
    }

    fn input_length(&self) -> Result<u32, Failure> {
        u32::try_from(self.input.len()).map_err(|_| Failure::MemoryLimit { bytes_max: u32::MAX.into() })
    }

    fn memory(&mut self) -> (&mut [u8], &mut Guest) {
        match self.store.data().memory {
            Some(memory) => memory.data_and_store_mut(&mut self.store),
            None => (&mut [], self.store.data_mut()),
        }
    }

    /// A stage's function has returned.
    fn finished(&mut self, result: Option<&Val>) -> Result<Option<Step>, Failure> {
        match (self.stage, result) {
            (Stage::Start, _) => self.enter().map(|()| None),
            (Stage::Alloc, result) => {
                let at = result.and_then(Val::i32).unwrap_or_default().cast_unsigned();
                let length = self.input_length()?;
                let input = self.input.clone();
                range_mut(self.memory().0, "ak_alloc", at, length)?.copy_from_slice(&input);
                let args = alloc::vec![Val::I32(at.cast_signed()), Val::I32(length.cast_signed())];
                (self.stage, self.state) = (Stage::Main, State::Call(self.export("ak_run")?, args));
                Ok(None)
            }
            (Stage::Main, Some(packed)) => {
                let packed = packed.i64().unwrap_or_default().cast_unsigned();
                let (at, length) = ((packed >> 32) as u32, packed as u32);
                let bytes_max = self.limits.output_bytes_max;
                let bytes = range(self.memory().0, "ak_run", at, length)?;
                if u64::from(length) > bytes_max {
                    return Err(Failure::OutputTooLarge { bytes_max });
                }
                let output = parse_output(bytes, bytes_max)?;
                Ok(Some(self.done(output)))
            }
            (Stage::Main, None) => self.exited(0),
        }
    }

    /// A WASI command has ended.
    fn exited(&mut self, exit_code: u32) -> Result<Option<Step>, Failure> {
        let guest = self.store.data_mut();
        if exit_code != 0 {
            let log = guest.log.bytes();
            let tail = log.get(log.len().saturating_sub(MESSAGE_BYTES_MAX)..).unwrap_or(log);
            let message = String::from_utf8_lossy(tail).trim().to_string();
            return Err(Failure::ToolFailed { message, exit_code: Some(exit_code) });
        }
        let output = parse_output(&guest.stdout.take(), self.limits.output_bytes_max)?;
        Ok(Some(self.done(output)))
    }

    fn done(&mut self, output: Value) -> Step {
        self.state = State::Over;
        Step::Done(Done { output, fuel: self.fuel, log: self.store.data_mut().log.take() })
    }

    /// A host function has stopped the guest.
    fn interrupted(&mut self, trap: ResumableCallHostTrap) -> Result<Option<Step>, Failure> {
        match self.store.data_mut().interrupt.take() {
            Some(Interrupt::HostCall(call, delivery)) => {
                let calls_max = self.limits.host_calls_max;
                if self.host_calls >= calls_max {
                    return Err(Failure::HostCallLimit { calls_max });
                }
                self.host_calls += 1;
                self.state = State::Waiting(trap, call.clone(), delivery);
                Ok(Some(Step::HostCall(call)))
            }
            Some(Interrupt::Fail(message)) => Err(Failure::ToolFailed { message, exit_code: None }),
            Some(Interrupt::Exit(code)) => self.exited(code),
            Some(Interrupt::Failure(failure)) => Err(failure),
            None => Err(trap.into_host_error().into()),
        }
    }

    /// Puts a reply where the guest expects it; gives the value that its call returns.
    fn deliver(
        &mut self,
        call: &HostCall,
        delivery: Delivery,
        reply: Result<Value, Value>,
    ) -> Result<Val, Failure> {
        let call = call.operation.name();
        let bad = |reason: &str| Failure::BadReply { call, reason: reason.to_string() };
        let bytes_max = self.limits.host_call_bytes_max;
        let (memory, guest) = self.memory();
        let (at, bytes) = match (delivery, reply) {
            (Delivery::Taken, reply) => {
                let reply = envelope(reply).to_json().into_bytes();
                let length = u32::try_from(reply.len()).ok().filter(|&length| u64::from(length) <= bytes_max);
                let length = length.ok_or_else(|| bad("it is too long"))?;
                guest.fuel_debt = guest.fuel_debt.saturating_add(u64::from(length / BYTES_PER_FUEL));
                guest.reply = Some(reply);
                return Ok(Val::I32(length.cast_signed()));
            }
            (Delivery::ClockAt(_) | Delivery::RandomAt(..), Err(_)) => {
                return Ok(Val::I32(wasi::NOT_CAPABLE));
            }
            (Delivery::ClockAt(at), Ok(time)) => {
                let micros = time.as_u64().ok_or_else(|| bad("expected an integer"))?;
                (at, micros.saturating_mul(1_000).to_le_bytes().to_vec())
            }
            (Delivery::RandomAt(at, length), Ok(text)) => {
                let bytes = text.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                let bytes = bytes.filter(|bytes| bytes.len() == length as usize);
                (at, bytes.ok_or_else(|| bad("expected that many bytes in base64url"))?)
            }
        };
        let length = u32::try_from(bytes.len()).map_err(|_| bad("it is too long"))?;
        range_mut(memory, call, at, length)?.copy_from_slice(&bytes);
        Ok(Val::I32(wasi::SUCCESS))
    }
}

fn instantiate(store: &mut Store<Guest>, tool: &Tool) -> Result<Instance, Failure> {
    let abi = tool.manifest().abi;
    let mut imports = Vec::new();
    for item in tool.module().imports() {
        let Some(function) = tool::import(store, abi, item.module(), item.name()) else {
            return Err(Failure::Unrunnable(alloc::format!("unknown import {:?}", item.name())));
        };
        imports.push(Extern::Func(function));
    }
    let instance = Instance::new(&mut *store, tool.module(), &imports);
    instance.map_err(|error| store.data_mut().limiter.breach.take().unwrap_or_else(|| error.into()))
}

fn parse_output(bytes: &[u8], bytes_max: u64) -> Result<Value, Failure> {
    let limits = Limits { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), ..Limits::default() };
    Value::parse(bytes, &limits).map_err(|error| Failure::InvalidJsonOutput { reason: error.to_string() })
}
