//! The buffers of reads and writes, and reads and writes of the standard streams.

use alloc::vec::Vec;

use wasmi::Caller;

use super::contents::with_content;
use super::syscall::{Answer, STDERR, STDIN, STDOUT, SyscallOutcome, length, read_u32, syscall, write_u32};
use crate::failure::Failure;
use crate::files::errno::{self, SUCCESS};
use crate::files::pending::{Buffers, ContentUse};
use crate::guest::{Guest, range, range_mut};

/// Most buffers of one read or write, as on Linux.
const BUFFERS_MAX: u32 = 1024;
/// Bytes of one buffer's address and length.
const BUFFER_BYTES: u32 = 8;

/// The arguments of a read or write: the address of its list of buffers, and where the number of bytes moved belongs.
#[derive(Clone, Copy)]
pub(super) struct List {
    pub(super) call: &'static str,
    pub(super) list: u32,
    pub(super) count: u32,
    pub(super) moved: u32,
}

impl Buffers {
    /// Reads and checks the guest's list, and charges the guest for the list and for the bytes.
    fn admit(memory: &[u8], guest: &mut Guest, list: List) -> Result<Self, Failure> {
        let List { call, list, count, moved } = list;
        guest.meter.spend_bytes(u64::from(count) * u64::from(BUFFER_BYTES))?;
        let mut buffers = Vec::with_capacity(count as usize);
        let mut total = 0u64;
        for index in 0..count {
            let at = list.saturating_add(index.saturating_mul(BUFFER_BYTES));
            let (address, bytes) = range(memory, call, at, BUFFER_BYTES)?.split_at(4);
            let (address, bytes) = (read_u32(address), read_u32(bytes));
            range(memory, call, address, bytes)?;
            total = total.saturating_add(bytes.into());
            buffers.push((address, bytes));
        }
        guest.meter.spend_bytes(total)?;
        Ok(Self { call, list: buffers, moved })
    }

    /// Bytes of all buffers together.
    pub(super) fn bytes(&self) -> u64 {
        self.list.iter().map(|&(_, bytes)| u64::from(bytes)).sum()
    }

    /// Visits each buffer's bytes, in order.
    pub(super) fn each(
        &self,
        memory: &mut [u8],
        mut visit: impl FnMut(&mut [u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.list
            .iter()
            .try_for_each(|&(address, bytes)| visit(range_mut(memory, self.call, address, bytes)?))
    }
}

pub(super) fn read(caller: Caller<'_, Guest>, file: u32, list: List, at: Option<u64>) -> Answer {
    syscall(caller, |memory, guest| {
        if list.count > BUFFERS_MAX {
            return Ok(SyscallOutcome::Errno(errno::INVALID));
        }
        if file == STDOUT || file == STDERR {
            return Ok(SyscallOutcome::Errno(errno::BAD_FILE));
        }
        if file == STDIN && at.is_some() {
            return Ok(SyscallOutcome::Errno(errno::NOT_SEEKABLE));
        }
        let buffers = Buffers::admit(memory, guest, list)?;
        if file != STDIN {
            return with_content(memory, guest, file, ContentUse::Read(buffers, at));
        }
        let mut total = 0u32;
        buffers.each(memory, |target| {
            total = total.saturating_add(length(guest.stdin.read(target)));
            Ok(())
        })?;
        write_u32(memory, buffers.call, buffers.moved, total)?;
        Ok(SyscallOutcome::Errno(SUCCESS))
    })
}

pub(super) fn write(caller: Caller<'_, Guest>, file: u32, list: List, at: Option<u64>) -> Answer {
    syscall(caller, |memory, guest| {
        if list.count > BUFFERS_MAX {
            return Ok(SyscallOutcome::Errno(errno::INVALID));
        }
        if file == STDIN {
            return Ok(SyscallOutcome::Errno(errno::BAD_FILE));
        }
        if file <= STDERR && at.is_some() {
            return Ok(SyscallOutcome::Errno(errno::NOT_SEEKABLE));
        }
        let buffers = Buffers::admit(memory, guest, list)?;
        if file > STDERR {
            return with_content(memory, guest, file, ContentUse::Write(buffers, at));
        }
        let mut total = 0u32;
        buffers.each(memory, |source| {
            if file == STDERR {
                guest.log.write(source);
            } else if !guest.stdout.write(source) {
                return Err(Failure::OutputTooLarge { bytes_max: guest.stdout.bytes_max() });
            }
            total = total.saturating_add(length(source.len()));
            Ok(())
        })?;
        write_u32(memory, buffers.call, buffers.moved, total)?;
        Ok(SyscallOutcome::Errno(SUCCESS))
    })
}
