//! The contents of open files.
//!
//! An open file is a copy: the first read asks for all of it, and what was written goes back as a whole when the file
//! is synced or closed, or when the command ends well. So a tool sees one state of a file, and leaves a whole one.

use alloc::vec::Vec;

use ak_json::Value;

use super::buffers::Buffers;
use super::calls::{Act, Acted, Pending, Then, ask, ask_to_write};
use super::files::{File, Open};
use super::{errno, length, write_u32};
use crate::Failure;
use crate::guest::Guest;
use crate::host::{HostCall, HostOperation};

/// Does what needs the content of a file, now or when it has come.
pub(super) fn with_content(memory: &mut [u8], guest: &mut Guest, number: u32, then: Then) -> Acted {
    let bytes_max = guest.host_call_bytes_max;
    let file = or_errno!(guest.files.file(number));
    let allowed = match then {
        Then::Read(..) => file.readable,
        Then::Write(..) | Then::Resize(_) => file.writable,
    };
    if !allowed {
        return Ok(Act::Errno(errno::BAD_FILE));
    }
    if file.content.is_none() {
        if file.stat.bytes > bytes_max {
            return Ok(Act::Errno(errno::TOO_BIG));
        }
        let (path, max) = (file.path.clone(), Some(("max", Value::from(bytes_max))));
        return Ok(ask(HostOperation::FsRead, &path, max, Pending::Content(number, then)));
    }
    match then {
        Then::Read(buffers, at) => read(memory, guest, number, &buffers, at),
        Then::Write(buffers, at) => write(memory, guest, number, &buffers, at),
        Then::Resize(bytes) => resize(guest, number, bytes),
    }
}

fn read(memory: &mut [u8], guest: &mut Guest, number: u32, buffers: &Buffers, at: Option<u64>) -> Acted {
    let file = or_errno!(guest.files.file(number));
    let content = file.content.as_deref().unwrap_or_default();
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
    Ok(Act::Errno(errno::SUCCESS))
}

fn write(memory: &mut [u8], guest: &mut Guest, number: u32, buffers: &Buffers, at: Option<u64>) -> Acted {
    let mut bytes = Vec::new();
    let bytes_max = guest.host_call_bytes_max;
    buffers.each(memory, |source| {
        // Longer than any content may be: it is refused below.
        if bytes.len() as u64 <= bytes_max {
            bytes.extend_from_slice(source);
        }
        Ok(())
    })?;
    let file = or_errno!(guest.files.file(number));
    let held = file.size();
    let position = at.unwrap_or(if file.append { held } else { file.position });
    let end = position.saturating_add(bytes.len() as u64);
    if end > bytes_max || !guest.files.admits(end.saturating_sub(held)) {
        return Ok(Act::Errno(errno::NO_SPACE));
    }
    // A gap is filled with zeros.
    guest.meter.spend_bytes(position.saturating_sub(held))?;
    let file = or_errno!(guest.files.file(number));
    let content = file.content.get_or_insert_default();
    let (from, to) =
        (usize::try_from(position).unwrap_or(usize::MAX), usize::try_from(end).unwrap_or(usize::MAX));
    if content.len() < to {
        content.resize(to, 0);
    }
    if let Some(target) = content.get_mut(from..to) {
        target.copy_from_slice(&bytes);
    }
    file.changed = true;
    if at.is_none() {
        file.position = end;
    }
    write_u32(memory, buffers.call, buffers.moved, length(bytes.len()))?;
    Ok(Act::Errno(errno::SUCCESS))
}

fn resize(guest: &mut Guest, number: u32, bytes: u64) -> Acted {
    let held = or_errno!(guest.files.file(number)).size();
    if bytes > guest.host_call_bytes_max || !guest.files.admits(bytes.saturating_sub(held)) {
        return Ok(Act::Errno(errno::NO_SPACE));
    }
    guest.meter.spend_bytes(bytes.abs_diff(held))?;
    let file = or_errno!(guest.files.file(number));
    file.content.get_or_insert_default().resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
    file.changed = true;
    Ok(Act::Errno(errno::SUCCESS))
}

/// `fd_close`, `fd_sync`, `fd_datasync`.
pub(super) fn let_go(guest: &mut Guest, number: u32, close: bool) -> Acted {
    match guest.files.at(number) {
        None => Ok(Act::Errno(errno::BAD_FILE)),
        Some(Open::File(File { path, content: Some(content), changed: true, .. })) => {
            guest.meter.spend_bytes(content.len() as u64)?;
            Ok(ask_to_write(path, content, Pending::Written { file: number, close }))
        }
        Some(Open::File(_) | Open::Directory(_)) => {
            if close {
                guest.files.close(number);
            }
            Ok(Act::Errno(errno::SUCCESS))
        }
    }
}

/// What a command that has ended has still to write, if anything.
pub(crate) fn unwritten(guest: &mut Guest) -> Result<Option<(HostCall, Pending)>, Failure> {
    let Some(number) = guest.files.changed() else { return Ok(None) };
    Ok(match let_go(guest, number, true)? {
        Act::Ask(call, pending) => Some((call, pending)),
        Act::Errno(_) => None,
    })
}
