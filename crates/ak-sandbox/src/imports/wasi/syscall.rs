//! The common frame of WASI functions: each gives an error number, or makes a host call first.

use wasmi::{Caller, Error};

use crate::failure::Failure;
use crate::files::errno::SUCCESS;
use crate::files::pending::Pending;
use crate::guest::{Delivery, Guest, Interrupt, enter, range_mut};
use crate::host_call::HostCall;

pub(super) const STDIN: u32 = 0;
pub(super) const STDOUT: u32 = 1;
pub(super) const STDERR: u32 = 2;

/// What a function gives to the engine: a WASI error number, or the end of the run.
pub(super) type Answer = Result<i32, Error>;

/// How a function of WASI goes on: with an error number for the guest, or with a host call.
pub(crate) enum SyscallOutcome {
    Errno(i32),
    Ask(HostCall, Pending),
}

/// The outcome of a function of WASI, or the failure that ends the run.
pub(super) type SyscallResult = Result<SyscallOutcome, Failure>;

/// A function that gives an error number, and may ask the world outside first.
pub(super) fn syscall(
    caller: Caller<'_, Guest>,
    function: impl FnOnce(&mut [u8], &mut Guest) -> Result<SyscallOutcome, Failure>,
) -> Answer {
    enter(caller, |memory, guest| match function(memory, guest)? {
        SyscallOutcome::Errno(number) => Ok(number),
        SyscallOutcome::Ask(call, pending) => Err(Interrupt::HostCall(call, Delivery::File(pending))),
    })
}

pub(super) fn write_u32(memory: &mut [u8], call: &'static str, at: u32, value: u32) -> Result<(), Failure> {
    range_mut(memory, call, at, 4).map(|target| target.copy_from_slice(&value.to_le_bytes()))
}

pub(super) fn read_u32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

/// Lengths within one guest memory always fit; a larger one is reported as the largest.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Hands bytes to the guest.
pub(super) fn put(
    memory: &mut [u8],
    call: &'static str,
    at: u32,
    bytes: &[u8],
) -> Result<SyscallOutcome, Failure> {
    range_mut(memory, call, at, length(bytes.len()))?.copy_from_slice(bytes);
    Ok(SyscallOutcome::Errno(SUCCESS))
}
