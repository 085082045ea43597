//! The common frame of WASI functions: each returns an error number, after a host call if it needs one.

use wasmi::{Caller, Error};

use crate::failure::Failure;
use crate::files::errno::SUCCESS;
use crate::files::pending::Pending;
use crate::guest::{Delivery, Guest, Interrupt, enter, range_mut};
use crate::host_call::HostCall;

pub(super) const STDIN: u32 = 0;
pub(super) const STDOUT: u32 = 1;
pub(super) const STDERR: u32 = 2;

/// The result for the engine: a WASI error number, or the error that stops the guest.
pub(super) type Answer = Result<i32, Error>;

/// How a WASI function continues: with an error number for the guest, or with a host call.
pub(crate) enum SyscallOutcome {
    Errno(i32),
    Ask(HostCall, Pending),
}

/// The outcome of a WASI function, or the failure that ends the run.
pub(super) type SyscallResult = Result<SyscallOutcome, Failure>;

/// Runs a WASI function, and stops the guest if the function makes a host call.
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

/// A length as 32 bits. Lengths within a guest's memory always fit; a larger one becomes the largest.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Writes bytes to the guest's memory and returns success.
pub(super) fn put(
    memory: &mut [u8],
    call: &'static str,
    at: u32,
    bytes: &[u8],
) -> Result<SyscallOutcome, Failure> {
    range_mut(memory, call, at, length(bytes.len()))?.copy_from_slice(bytes);
    Ok(SyscallOutcome::Errno(SUCCESS))
}
