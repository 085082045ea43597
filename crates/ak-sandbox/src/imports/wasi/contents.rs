//! The contents of open files.
//!
//! An open file is one copy, shared by all descriptors of its path. The first read fetches the whole file; a changed
//! copy is written back as a whole when the file is synced or closed, or when the command ends successfully. So a
//! tool sees one state of a file, and never leaves a half-written one.

use ak_json::Value;

use super::calls::{FLAG_APPEND, FLAGS_SYNC, ask, ask_to_write};
use super::syscall::{SyscallOutcome, SyscallResult, length, write_u32};
use crate::failure::Failure;
use crate::files::pending::{Buffers, ContentUse, Pending};
use crate::files::{Open, errno};
use crate::guest::Guest;
use crate::host_call::{HostCall, HostOperation};

/// Bytes by which a file may have grown since it was described and still be read in one go.
const GROWTH_BYTES: u64 = 4096;

/// Uses the content of a file, after fetching it if it is not there yet.
pub(super) fn with_content(
    memory: &mut [u8],
    guest: &mut Guest,
    number: u32,
    then: ContentUse,
) -> SyscallResult {
    let (file, content) = or_errno!(guest.files.file(number));
    let allowed = match then {
        ContentUse::Read(..) => file.readable,
        ContentUse::Write(..) | ContentUse::Resize(_) => file.writable,
    };
    if !allowed {
        return Ok(SyscallOutcome::Errno(errno::BAD_FILE));
    }
    if content.bytes().is_none() {
        return ask_content(guest, number, then, false);
    }
    match then {
        ContentUse::Read(buffers, at) => read(memory, guest, number, &buffers, at),
        ContentUse::Write(buffers, at) => write(memory, guest, number, &buffers, at),
        ContentUse::Resize(bytes) => resize(guest, number, bytes),
    }
}

/// Requests the content of a file, and little more than its known size: the requested bytes are reserved from a
/// budget.
pub(super) fn ask_content(guest: &mut Guest, number: u32, then: ContentUse, again: bool) -> SyscallResult {
    let bytes_max = guest.host_call_bytes_max;
    let (_, content) = or_errno!(guest.files.file(number));
    // The path names another file by now, or none.
    if content.is_unlinked() {
        return Ok(SyscallOutcome::Errno(errno::NO_ENTRY));
    }
    if content.stat.bytes > bytes_max {
        return Ok(SyscallOutcome::Errno(errno::TOO_BIG));
    }
    let max = content.stat.bytes.saturating_add(GROWTH_BYTES).min(bytes_max);
    let pending = Pending::Content { file: number, then, again };
    Ok(ask(HostOperation::FsRead, &content.path, Some(("max", Value::from(max))), pending))
}

fn read(
    memory: &mut [u8],
    guest: &mut Guest,
    number: u32,
    buffers: &Buffers,
    at: Option<u64>,
) -> SyscallResult {
    let (file, content) = or_errno!(guest.files.file(number));
    let content = content.bytes().unwrap_or_default();
    let mut position = usize::try_from(at.unwrap_or(file.position)).unwrap_or(usize::MAX);
    let mut total = 0u32;
    buffers.each(memory, |target| {
        let rest = content.get(position..).unwrap_or_default();
        let count = rest.len().min(target.len());
        if let (Some(target), Some(rest)) = (target.get_mut(..count), rest.get(..count)) {
            target.copy_from_slice(rest);
        }
        position = position.saturating_add(count);
        total = total.saturating_add(length(count));
        Ok(())
    })?;
    if at.is_none() {
        file.position = file.position.saturating_add(total.into());
    }
    write_u32(memory, buffers.call, buffers.moved, total)?;
    Ok(SyscallOutcome::Errno(errno::SUCCESS))
}

fn write(
    memory: &mut [u8],
    guest: &mut Guest,
    number: u32,
    buffers: &Buffers,
    at: Option<u64>,
) -> SyscallResult {
    let (file, content) = or_errno!(guest.files.file(number));
    let (size, flags) = (content.size(), file.flags);
    let position = at.unwrap_or(if flags & FLAG_APPEND != 0 { size } else { file.position });
    let bytes = buffers.bytes();
    let end = position.saturating_add(bytes);
    // A write of no bytes does not extend the file.
    if bytes > 0 {
        if end > guest.host_call_bytes_max || !guest.files.admits(end.saturating_sub(size)) {
            return Ok(SyscallOutcome::Errno(errno::NO_SPACE));
        }
        // A gap before the position is filled with zeros.
        guest.meter.spend_bytes(position.saturating_sub(size))?;
        let index = |position| usize::try_from(position).unwrap_or(usize::MAX);
        if end > size {
            or_errno!(guest.files.resize(number, index(end)));
        }
        let (file, content) = or_errno!(guest.files.file(number));
        let mut rest = content.bytes_mut().get_mut(index(position)..).unwrap_or_default();
        buffers.each(memory, |source| {
            if let Some((target, behind)) = core::mem::take(&mut rest).split_at_mut_checked(source.len()) {
                target.copy_from_slice(source);
                rest = behind;
            }
            Ok(())
        })?;
        content.changed = true;
        if at.is_none() {
            file.position = end;
        }
    }
    write_u32(memory, buffers.call, buffers.moved, length(usize::try_from(bytes).unwrap_or(usize::MAX)))?;
    written(guest, number, flags)
}

fn resize(guest: &mut Guest, number: u32, bytes: u64) -> SyscallResult {
    let (file, content) = or_errno!(guest.files.file(number));
    let (size, flags) = (content.size(), file.flags);
    if bytes > guest.host_call_bytes_max || !guest.files.admits(bytes.saturating_sub(size)) {
        return Ok(SyscallOutcome::Errno(errno::NO_SPACE));
    }
    // Shrinking the allocation may copy the rest.
    guest.meter.spend_bytes(bytes.max(size))?;
    or_errno!(guest.files.resize(number, usize::try_from(bytes).unwrap_or(usize::MAX)));
    or_errno!(guest.files.file(number)).1.changed = true;
    written(guest, number, flags)
}

/// Ends a change: with a synchronous descriptor, the content is written back at once.
fn written(guest: &mut Guest, number: u32, flags: u16) -> SyscallResult {
    if flags & FLAGS_SYNC != 0 { sync(guest, number) } else { Ok(SyscallOutcome::Errno(errno::SUCCESS)) }
}

/// `fd_sync`, `fd_datasync`.
pub(super) fn sync(guest: &mut Guest, number: u32) -> SyscallResult {
    write_back(guest, number, false)
}

/// `fd_close`.
pub(super) fn close(guest: &mut Guest, number: u32) -> SyscallResult {
    write_back(guest, number, true)
}

/// Writes the content back if it has changed, and closes the descriptor, if `close`, afterwards.
fn write_back(guest: &mut Guest, number: u32, close: bool) -> SyscallResult {
    match guest.files.at(number) {
        None => return Ok(SyscallOutcome::Errno(errno::BAD_FILE)),
        Some(Open::Directory(_)) => {}
        Some(Open::File(_)) => {
            let (_, content) = or_errno!(guest.files.file(number));
            if content.is_unwritten() {
                guest.meter.spend_bytes(content.size())?;
                let bytes = content.bytes().unwrap_or_default();
                return Ok(ask_to_write(&content.path, bytes, Pending::Written { file: number, close }));
            }
        }
    }
    if close {
        guest.files.close(number);
    }
    Ok(SyscallOutcome::Errno(errno::SUCCESS))
}

/// The next write-back of a command that has ended; `None` if nothing is left to write.
pub(crate) fn unwritten(guest: &mut Guest) -> Result<Option<(HostCall, Pending)>, Failure> {
    let Some(number) = guest.files.unwritten() else { return Ok(None) };
    Ok(match close(guest, number)? {
        SyscallOutcome::Ask(call, pending) => Some((call, pending)),
        SyscallOutcome::Errno(_) => None,
    })
}
