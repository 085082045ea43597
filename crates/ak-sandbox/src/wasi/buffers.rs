//! The buffers of reads and writes, and the standard streams at their other end.

use wasmi::{Caller, Error};

use super::calls::{Act, Then};
use super::contents::with_content;
use super::{Answer, STDERR, STDIN, STDOUT, SUCCESS, act, errno, length, read_u32, write_u32};
use crate::Failure;
use crate::guest::{Guest, Interrupt, charge, memory, range, range_mut, stop};

/// Most buffers of one read or write, as on Linux.
const BUFFERS_MAX: u32 = 1024;
/// Bytes of one buffer's address and length.
const BUFFER_BYTES: u32 = 8;

/// The buffers of a read or write, and where the number of bytes belongs that went through them.
#[derive(Clone, Copy)]
pub(crate) struct Buffers {
    pub(super) call: &'static str,
    pub(super) list: u32,
    pub(super) count: u32,
    pub(super) moved: u32,
}

/// Address and length of one buffer.
fn buffer(memory: &[u8], buffers: &Buffers, index: u32) -> Result<(u32, u32), Failure> {
    let at = buffers.list.saturating_add(index.saturating_mul(BUFFER_BYTES));
    let (address, bytes) = range(memory, buffers.call, at, BUFFER_BYTES)?.split_at(4);
    Ok((read_u32(address), read_u32(bytes)))
}

/// Each buffer's bytes, in order.
pub(super) fn each_buffer(
    memory: &mut [u8],
    buffers: Buffers,
    mut visit: impl FnMut(&mut [u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    (0..buffers.count).try_for_each(|index| {
        let (address, bytes) = buffer(memory, &buffers, index)?;
        visit(range_mut(memory, buffers.call, address, bytes)?)
    })
}

/// Checks the buffers of a read or write, and charges for them.
fn admit_buffers(caller: &mut Caller<'_, Guest>, buffers: Buffers) -> Result<(), Error> {
    let (memory, _) = memory(caller);
    let mut total = 0u64;
    let checked = each_buffer(memory, buffers, |bytes| {
        total = total.saturating_add(bytes.len() as u64);
        Ok(())
    });
    match checked {
        Ok(()) => charge(caller, total),
        Err(failure) => Err(stop(caller, Interrupt::Failure(failure))),
    }
}

pub(super) fn read(mut caller: Caller<'_, Guest>, file: u32, buffers: Buffers, at: Option<u64>) -> Answer {
    if buffers.count > BUFFERS_MAX {
        return Ok(errno::INVALID);
    }
    if file == STDOUT || file == STDERR {
        return Ok(errno::BAD_FILE);
    }
    if file == STDIN && at.is_some() {
        return Ok(errno::NOT_SEEKABLE);
    }
    admit_buffers(&mut caller, buffers)?;
    act(caller, |memory, guest| {
        if file != STDIN {
            return with_content(memory, guest, file, Then::Read(buffers, at));
        }
        let mut total = 0u32;
        each_buffer(memory, buffers, |target| {
            total = total.saturating_add(length(guest.stdin.read(target)));
            Ok(())
        })?;
        write_u32(memory, buffers.call, buffers.moved, total)?;
        Ok(Act::Errno(SUCCESS))
    })
}

pub(super) fn write(mut caller: Caller<'_, Guest>, file: u32, buffers: Buffers, at: Option<u64>) -> Answer {
    if buffers.count > BUFFERS_MAX {
        return Ok(errno::INVALID);
    }
    if file == STDIN {
        return Ok(errno::BAD_FILE);
    }
    if file <= STDERR && at.is_some() {
        return Ok(errno::NOT_SEEKABLE);
    }
    admit_buffers(&mut caller, buffers)?;
    act(caller, |memory, guest| {
        if file > STDERR {
            return with_content(memory, guest, file, Then::Write(buffers, at));
        }
        let mut total = 0u32;
        each_buffer(memory, buffers, |source| {
            if file == STDERR {
                // What does not fit into the log is dropped.
                let _fits = guest.log.write(source);
            } else if !guest.stdout.write(source) {
                return Err(Failure::OutputTooLarge { bytes_max: guest.stdout.bytes_max() });
            }
            total = total.saturating_add(length(source.len()));
            Ok(())
        })?;
        write_u32(memory, buffers.call, buffers.moved, total)?;
        Ok(Act::Errno(SUCCESS))
    })
}
