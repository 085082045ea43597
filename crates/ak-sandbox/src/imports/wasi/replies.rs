//! Continues file functions of WASI after the replies to their host calls.

use alloc::string::String;
use alloc::vec::Vec;

use ak_json::Value;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::calls::{
    OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_TRUNCATE, ask, create, hand_entries, remove_found, tell,
};
use super::contents::{ask_content, with_content};
use super::layout;
use super::syscall::{SyscallOutcome, SyscallResult, write_u32};
use crate::failure::Failure;
use crate::files::names::serial;
use crate::files::pending::{Opening, Pending};
use crate::files::{Kind, Stat, entries_bytes, errno};
use crate::guest::Guest;
use crate::host_call::HostOperation;

/// Continues a file function with the reply to its host call; the function ends or makes another host call.
pub(crate) fn resume(
    memory: &mut [u8],
    guest: &mut Guest,
    call: &'static str,
    pending: Pending,
    reply: Result<Value, Value>,
) -> SyscallResult {
    let result = match reply {
        Ok(result) => result,
        Err(error) => return refused(guest, pending, &error),
    };
    let bad = |reason: &str| Failure::BadReply { call, reason: String::from(reason) };
    let stat_of =
        |path: &str| stat(path, &result).ok_or_else(|| bad("expected `kind`, `size` and `modified`"));
    match pending {
        Pending::Open(opening) => {
            let stat = stat_of(&opening.path)?;
            open_found(memory, guest, opening, stat)
        }
        Pending::Created(opening) => {
            let stat = Stat { kind: Kind::File, bytes: 0, modified_us: 0, serial: serial(&opening.path) };
            let number = or_errno!(open_file(guest, &opening, stat));
            or_errno!(guest.files.fill(number, Vec::new()));
            or_errno!(guest.files.file(number)).1.changed = false;
            opened(memory, &opening, number)
        }
        Pending::Content { file, then, .. } => {
            let content = result.get("bytes").and_then(Value::as_str);
            let content = content.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            let content = content.ok_or_else(|| bad("expected `bytes` in base64url"))?;
            let bytes = content.len() as u64;
            if bytes > guest.host_call_bytes_max || !guest.files.admits(bytes) {
                return Ok(SyscallOutcome::Errno(errno::TOO_BIG));
            }
            guest.meter.spend_bytes(bytes)?;
            or_errno!(guest.files.fill(file, content));
            with_content(memory, guest, file, then)
        }
        Pending::Grown(file, then) => {
            let (_, content) = or_errno!(guest.files.file(file));
            content.stat = stat_of(&content.path)?;
            ask_content(guest, file, then, true)
        }
        Pending::Entries(number, listing) => {
            let entries = entries(&result).ok_or_else(|| bad("expected `entries` with `name` and `kind`"))?;
            let bytes = entries_bytes(&entries);
            if !guest.files.admits(bytes) {
                return Ok(SyscallOutcome::Errno(errno::TOO_BIG));
            }
            guest.meter.spend_bytes(bytes)?;
            or_errno!(guest.files.list(number, entries));
            hand_entries(memory, guest, number, listing)
        }
        Pending::Stat(place, at) => tell(memory, &place, &stat_of(&place.path)?, at),
        Pending::Remove(removal, place) => {
            let kind = stat_of(&place.path)?.kind;
            remove_found(removal, place, kind)
        }
        Pending::Removed(path) => {
            guest.files.unlink(&path);
            Ok(SyscallOutcome::Errno(errno::SUCCESS))
        }
        Pending::Written { file, close } => {
            or_errno!(guest.files.file(file)).1.changed = false;
            if close {
                guest.files.close(file);
            }
            Ok(SyscallOutcome::Errno(errno::SUCCESS))
        }
    }
}

/// Continues a file function whose host call was rejected.
fn refused(guest: &mut Guest, pending: Pending, error: &Value) -> SyscallResult {
    let number = errno::of_refusal(error);
    match pending {
        Pending::Open(opening) if number == errno::NO_ENTRY && opening.flags & OPEN_CREATE != 0 => {
            return Ok(create(opening));
        }
        // The file has grown since it was described.
        Pending::Content { file, then, again: false } if errno::is_overflow(error) => {
            let path = or_errno!(guest.files.file(file)).1.path.clone();
            return Ok(ask(HostOperation::FsStat, &path, None, Pending::Grown(file, then)));
        }
        Pending::Written { file, close: true } => guest.files.close(file),
        _ => {}
    }
    Ok(SyscallOutcome::Errno(number))
}

/// Opens what the path names, if its kind fits the flags.
pub(super) fn open_found(
    memory: &mut [u8],
    guest: &mut Guest,
    opening: Opening,
    stat: Stat,
) -> SyscallResult {
    let writing = opening.rights & layout::RIGHT_WRITE != 0;
    let has = |flag: u32| opening.flags & flag != 0;
    match stat.kind {
        _ if has(OPEN_EXCLUSIVE) && has(OPEN_CREATE) => Ok(SyscallOutcome::Errno(errno::EXISTS)),
        // wasi-libc requests every right when it opens a path that must be a directory.
        Kind::Directory if writing && !opening.directory => Ok(SyscallOutcome::Errno(errno::IS_DIRECTORY)),
        Kind::Directory => {
            let number = or_errno!(guest.files.open_directory(opening.path.clone()));
            opened(memory, &opening, number)
        }
        Kind::File if opening.directory => Ok(SyscallOutcome::Errno(errno::NOT_DIRECTORY)),
        Kind::File if has(OPEN_TRUNCATE) => Ok(create(opening)),
        Kind::File => {
            let number = or_errno!(open_file(guest, &opening, stat));
            opened(memory, &opening, number)
        }
        Kind::Link | Kind::Unknown => Ok(SyscallOutcome::Errno(errno::ACCESS)),
    }
}

fn stat(path: &str, value: &Value) -> Option<Stat> {
    Some(Stat {
        serial: serial(path),
        kind: Kind::named(value.get("kind")?.as_str()?),
        bytes: value.get("size")?.as_u64()?,
        modified_us: value.get("modified")?.as_u64()?,
    })
}

fn entries(value: &Value) -> Option<Vec<(String, Kind)>> {
    let entry = |entry: &Value| {
        Some((String::from(entry.get("name")?.as_str()?), Kind::named(entry.get("kind")?.as_str()?)))
    };
    value.get("entries")?.as_array()?.iter().map(entry).collect()
}

/// Writes the new descriptor to the guest's memory.
fn opened(memory: &mut [u8], opening: &Opening, number: u32) -> SyscallResult {
    write_u32(memory, "path_open", opening.opened, number)?;
    Ok(SyscallOutcome::Errno(errno::SUCCESS))
}

fn open_file(guest: &mut Guest, opening: &Opening, stat: Stat) -> Result<u32, i32> {
    let has = |right: u64| opening.rights & right != 0;
    let rights = (has(layout::RIGHT_READ), has(layout::RIGHT_WRITE));
    guest.files.open_file(opening.path.clone(), stat, rights, opening.file_flags)
}
