//! The state of a guest in one run: its memory, its streams, its meter.

pub(crate) mod limiter;
pub(crate) mod meter;
pub(crate) mod streams;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use wasmi::{Caller, Error, Memory};

use self::limiter::Limiter;
use self::meter::Meter;
use self::streams::{Log, Stdin, Stream, zero_terminated};
use crate::failure::Failure;
use crate::files::Files;
use crate::files::pending::Pending;
use crate::host_call::HostCall;
use crate::limits::{HOST_CALL_FUEL, RunLimits};

/// The data in the engine's store for one run.
pub(crate) struct Guest {
    pub(crate) limiter: Limiter,
    /// Set once the module is instantiated, before any of its code runs.
    pub(crate) memory: Option<Memory>,
    /// Why a host function has stopped the guest.
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) meter: Meter,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Stream,
    pub(crate) log: Log,
    /// The reply to the last host call, until the guest takes it with `ak.take`.
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) host_call_bytes_max: u64,
    /// `NAME\0` and the arguments, and `KEY=VALUE\0`, in the byte form and order that WASI uses.
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) files: Files,
}

impl Guest {
    /// `argv` is the tool's name and its arguments.
    pub(crate) fn new<'a>(
        input: Arc<[u8]>,
        argv: impl IntoIterator<Item = &'a str>,
        preopens: &[String],
        limits: &RunLimits,
    ) -> Self {
        Self {
            limiter: Limiter::new(limits),
            memory: None,
            interrupt: None,
            meter: Meter::new(limits.fuel),
            stdin: Stdin::new(input),
            stdout: Stream::new(limits.output_bytes_max),
            log: Log::new(limits.log_bytes_max),
            reply: None,
            host_call_bytes_max: limits.host_call_bytes_max,
            args: argv.into_iter().map(zero_terminated).collect(),
            env: Vec::new(),
            files: Files::new(preopens, limits),
        }
    }
}

impl Guest {
    /// Discards everything that belongs to the finished call.
    pub(crate) fn clear(&mut self) {
        self.interrupt = None;
        self.stdin = Stdin::new(Arc::from([]));
        self.stdout = Stream::new(0);
        self.log = Log::new(0);
        self.reply = None;
        self.args = Vec::new();
        self.env = Vec::new();
        self.files.clear();
    }
}

/// Why a host function stopped the guest.
pub(crate) enum Interrupt {
    /// The guest makes a host call; the reply resumes it.
    HostCall(HostCall, Delivery),
    /// The guest called `ak.fail`, with this message.
    Fail(String),
    /// The guest called WASI's `proc_exit`, with this code.
    Exit(u32),
    /// The run ends with this failure.
    Failure(Failure),
}

impl From<Failure> for Interrupt {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// How the reply to a host call is delivered to the guest.
pub(crate) enum Delivery {
    /// Kept until `ak.take`; the call returns its length in bytes.
    Taken,
    /// For WASI's `clock_time_get`: the time in nanoseconds, written to this address.
    ClockAt(u32),
    /// For WASI's `random_get`: `bytes` bytes, written to the address `at`; `rest` more are requested afterwards.
    RandomAt { at: u32, bytes: u32, rest: u32 },
    /// A file function of WASI continues with the reply.
    File(Pending),
}

/// The engine's error for a guest that was stopped; the reason is in [`Guest::interrupt`].
#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by the host")
    }
}

impl wasmi::errors::HostError for Stopped {}

/// Runs a host function and charges the guest for it; an interrupt stops the guest inside the function.
pub(crate) fn enter<T>(
    mut caller: Caller<'_, Guest>,
    function: impl FnOnce(&mut [u8], &mut Guest) -> Result<T, Interrupt>,
) -> Result<T, Error> {
    let fuel = caller.get_fuel()?;
    let (memory, guest) = memory(&mut caller);
    guest.meter.enter(fuel);
    let paid = guest.meter.spend(HOST_CALL_FUEL).map_err(Interrupt::from);
    let outcome = paid.and_then(|()| function(memory, guest));
    let fuel = guest.meter.leave();
    let outcome = outcome.map_err(|interrupt| {
        guest.interrupt = Some(interrupt);
        Error::host(Stopped)
    });
    caller.set_fuel(fuel)?;
    outcome
}

/// Checks a range of the guest's memory and charges the guest for its bytes.
pub(crate) fn admit(
    memory: &[u8],
    guest: &mut Guest,
    call: &'static str,
    at: u32,
    length: u32,
) -> Result<(), Failure> {
    range(memory, call, at, length)?;
    guest.meter.spend_bytes(length.into())
}

/// The guest's memory together with its state.
fn memory<'a>(caller: &'a mut Caller<'_, Guest>) -> (&'a mut [u8], &'a mut Guest) {
    match caller.data().memory {
        Some(memory) => memory.data_and_store_mut(caller),
        None => (&mut [], caller.data_mut()),
    }
}

/// The bytes of a range of the guest's memory; `call`, which was given the pointer, is named in the failure.
pub(crate) fn range<'a>(
    memory: &'a [u8],
    call: &'static str,
    at: u32,
    length: u32,
) -> Result<&'a [u8], Failure> {
    let bytes = (at as usize).checked_add(length as usize).and_then(|end| memory.get(at as usize..end));
    bytes.ok_or(Failure::BadPointer { call, at, length })
}

/// As [`range`], but mutable.
pub(crate) fn range_mut<'a>(
    memory: &'a mut [u8],
    call: &'static str,
    at: u32,
    length: u32,
) -> Result<&'a mut [u8], Failure> {
    let bytes = (at as usize).checked_add(length as usize).and_then(|end| memory.get_mut(at as usize..end));
    bytes.ok_or(Failure::BadPointer { call, at, length })
}
