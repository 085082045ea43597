//! The file functions of WASI. Whatever a guest wants of a file beyond what it has been given becomes a host call, and
//! what follows from the answer is in [`answered`].
//!
//! An open file is a copy: the first read asks for all of it, and what was written goes back as a whole when the file
//! is synced or closed, or when the command ends well. So a tool sees one state of a file, and leaves a whole one.

use alloc::string::String;
use alloc::vec::Vec;

use ak_json::{Object, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::files::{Directory, File, Kind, Open, PATH_BYTES_MAX, Stat, join, resolve, serial};
use super::{Buffers, each_buffer, errno, layout, length, put, write_u32};
use crate::Failure;
use crate::guest::{Guest, range, range_mut};
use crate::host::{HostCall, HostOperation};
use crate::limits::BYTES_PER_FUEL;

const OPEN_CREATE: u32 = 1;
const OPEN_DIRECTORY: u32 = 2;
const OPEN_EXCLUSIVE: u32 = 4;
const OPEN_TRUNCATE: u32 = 8;
const FLAG_APPEND: u32 = 1;

/// What a file function comes to: an error number, or a question to the world outside.
pub(crate) enum Act {
    Errno(i32),
    Ask(HostCall, Pending),
}

/// What waits for the answer to a host call.
pub(crate) enum Pending {
    /// `path_open` has asked what is there.
    Open(Opening),
    /// `path_open` has asked for an empty file.
    Created(Opening),
    /// The content of a file, for what was to be done with it.
    Content(u32, Then),
    /// The entries of a directory, for `fd_readdir`.
    Entries(u32, Listing),
    /// `path_filestat_get`: the path, and where the answer belongs.
    Stat(String, u32),
    /// A file's content has gone out; whether the file is to be closed.
    Written { file: u32, close: bool },
    /// Nothing but whether it worked.
    Worked,
}

/// What is done with a file's content.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    Read(Buffers, Option<u64>),
    Write(Buffers, Option<u64>),
    Resize(u64),
}

/// The arguments of `fd_readdir`.
#[derive(Clone, Copy)]
pub(crate) struct Listing {
    pub(super) at: u32,
    pub(super) bytes: u32,
    pub(super) cookie: u64,
    pub(super) used: u32,
}

/// The arguments of `path_open`.
pub(crate) struct Opening {
    path: String,
    flags: u32,
    rights: u64,
    append: bool,
    opened: u32,
}

type Acted = Result<Act, Failure>;

/// Leaves with an error number.
macro_rules! or_errno {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(number) => return Ok(Act::Errno(number)),
        }
    };
}

fn ask(operation: HostOperation, path: &str, more: Option<(&'static str, Value)>, pending: Pending) -> Act {
    let mut args = Object::new();
    args.insert("path", Value::from(path));
    if let Some((key, value)) = more {
        args.insert(key, value);
    }
    Act::Ask(HostCall { operation, args: Value::from(args) }, pending)
}

fn ask_to_write(path: &str, content: &[u8], pending: Pending) -> Act {
    let data = Value::from(URL_SAFE_NO_PAD.encode(content));
    ask(HostOperation::FsWrite, path, Some(("data", data)), pending)
}

/// The path that a guest names beneath one of its directories.
fn path(
    memory: &[u8],
    guest: &mut Guest,
    call: &'static str,
    directory: u32,
    (at, bytes): (u32, u32),
) -> Result<Result<String, i32>, Failure> {
    let name = range(memory, call, at, bytes)?;
    if bytes > PATH_BYTES_MAX {
        return Ok(Err(errno::NAME_TOO_LONG));
    }
    let Ok(name) = core::str::from_utf8(name) else { return Ok(Err(errno::BAD_TEXT)) };
    Ok(guest.files.directory(directory).and_then(|directory| resolve(&directory.path, name)))
}

pub(super) fn path_open(
    memory: &mut [u8],
    guest: &mut Guest,
    directory: u32,
    name: (u32, u32),
    (flags, rights, file_flags): (u32, u64, u32),
    opened: u32,
) -> Acted {
    range(memory, "path_open", opened, 4)?;
    let path = or_errno!(path(memory, guest, "path_open", directory, name)?);
    if !guest.files.has_room() {
        return Ok(Act::Errno(errno::TOO_MANY_FILES));
    }
    let append = file_flags & FLAG_APPEND != 0;
    let opening = Opening { path, flags, rights, append, opened };
    // Who may write here need not be allowed to look first.
    let blind = OPEN_CREATE | OPEN_TRUNCATE;
    if flags & (blind | OPEN_EXCLUSIVE) == blind && rights & layout::RIGHT_READ == 0 {
        return Ok(create(opening));
    }
    let path = opening.path.clone();
    Ok(ask(HostOperation::FsStat, &path, None, Pending::Open(opening)))
}

fn create(opening: Opening) -> Act {
    let path = opening.path.clone();
    ask_to_write(&path, &[], Pending::Created(opening))
}

/// Hands out a number for what was opened.
fn opened(memory: &mut [u8], guest: &mut Guest, at: u32, open: Open) -> Acted {
    let number = or_errno!(guest.files.insert(open));
    write_u32(memory, "path_open", at, number)?;
    Ok(Act::Errno(errno::SUCCESS))
}

fn opened_file(
    memory: &mut [u8],
    guest: &mut Guest,
    opening: Opening,
    stat: Stat,
    content: Option<Vec<u8>>,
) -> Acted {
    let writable = opening.rights & layout::RIGHT_WRITE != 0;
    let file = File {
        path: opening.path,
        stat,
        content,
        position: 0,
        readable: opening.rights & layout::RIGHT_READ != 0,
        writable,
        append: opening.append,
        changed: false,
    };
    opened(memory, guest, opening.opened, Open::File(file))
}

/// The guest goes on after the answer to a host call; or asks for more.
pub(crate) fn answered(
    memory: &mut [u8],
    guest: &mut Guest,
    call: &'static str,
    pending: Pending,
    reply: Result<Value, Value>,
) -> Acted {
    let result = match (&pending, reply) {
        (Pending::Open(opening), Err(error)) => {
            let number = errno::of_refusal(&error);
            let missing = number == errno::NO_ENTRY && opening.flags & OPEN_CREATE != 0;
            return match pending {
                Pending::Open(opening) if missing && opening.flags & OPEN_DIRECTORY == 0 => {
                    Ok(create(opening))
                }
                _ => Ok(Act::Errno(number)),
            };
        }
        (Pending::Written { file, close }, Err(error)) => {
            if *close {
                guest.files.close(*file);
            }
            return Ok(Act::Errno(errno::of_refusal(&error)));
        }
        (_, Err(error)) => return Ok(Act::Errno(errno::of_refusal(&error))),
        (_, Ok(result)) => result,
    };
    let bad = |reason: &str| Failure::BadReply { call, reason: String::from(reason) };
    match pending {
        Pending::Open(opening) => {
            let stat = stat(&opening.path, &result);
            let stat = stat.ok_or_else(|| bad("expected `kind`, `size` and `modified`"))?;
            open_found(memory, guest, opening, stat)
        }
        Pending::Created(opening) => {
            let stat = Stat { kind: Kind::File, bytes: 0, modified_us: 0, serial: serial(&opening.path) };
            opened_file(memory, guest, opening, stat, Some(Vec::new()))
        }
        Pending::Content(number, then) => {
            let content = result.get("bytes").and_then(Value::as_str);
            let content = content.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            let content = content.ok_or_else(|| bad("expected `bytes` in base64url"))?;
            let bytes = content.len() as u64;
            if bytes > guest.host_call_bytes_max || !guest.files.admits(bytes) {
                return Ok(Act::Errno(errno::TOO_BIG));
            }
            guest.fuel_debt = guest.fuel_debt.saturating_add(bytes / u64::from(BYTES_PER_FUEL));
            or_errno!(guest.files.file(number)).content = Some(content);
            with_content(memory, guest, number, then)
        }
        Pending::Entries(number, listing) => {
            let entries = entries(&result).ok_or_else(|| bad("expected `entries` with `name` and `kind`"))?;
            let bytes = entries.iter().map(|(name, _)| name.len() as u64).sum();
            if !guest.files.admits(bytes) {
                return Ok(Act::Errno(errno::TOO_BIG));
            }
            guest.fuel_debt = guest.fuel_debt.saturating_add(bytes / u64::from(BYTES_PER_FUEL));
            or_errno!(guest.files.directory(number)).entries = Some(entries);
            fd_readdir(memory, guest, number, listing)
        }
        Pending::Stat(path, at) => {
            let stat = stat(&path, &result);
            let stat = stat.ok_or_else(|| bad("expected `kind`, `size` and `modified`"))?;
            put(memory, "path_filestat_get", at, &layout::filestat(&stat))
        }
        Pending::Written { file, close } => {
            if close {
                guest.files.close(file);
            } else if let Ok(file) = guest.files.file(file) {
                file.changed = false;
            }
            Ok(Act::Errno(errno::SUCCESS))
        }
        Pending::Worked => Ok(Act::Errno(errno::SUCCESS)),
    }
}

/// There is something under the name that was to be opened.
fn open_found(memory: &mut [u8], guest: &mut Guest, opening: Opening, stat: Stat) -> Acted {
    let writing = opening.rights & layout::RIGHT_WRITE != 0;
    match stat.kind {
        _ if opening.flags & OPEN_EXCLUSIVE != 0 && opening.flags & OPEN_CREATE != 0 => {
            Ok(Act::Errno(errno::EXISTS))
        }
        // wasi-libc asks for every right when it opens a directory.
        Kind::Directory
            if writing && opening.flags & OPEN_DIRECTORY == 0 && opening.flags & OPEN_TRUNCATE != 0 =>
        {
            Ok(Act::Errno(errno::IS_DIRECTORY))
        }
        Kind::Directory => {
            let directory = Directory { path: opening.path, preopened: false, entries: None };
            opened(memory, guest, opening.opened, Open::Directory(directory))
        }
        Kind::File if opening.flags & OPEN_DIRECTORY != 0 => Ok(Act::Errno(errno::NOT_DIRECTORY)),
        Kind::File if opening.flags & OPEN_TRUNCATE != 0 => Ok(create(opening)),
        Kind::File => opened_file(memory, guest, opening, stat, None),
        Kind::Link | Kind::Unknown => Ok(Act::Errno(errno::ACCESS)),
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
        Then::Read(buffers, at) => read(memory, guest, number, buffers, at),
        Then::Write(buffers, at) => write(memory, guest, number, buffers, at),
        Then::Resize(bytes) => resize(guest, number, bytes),
    }
}

fn read(memory: &mut [u8], guest: &mut Guest, number: u32, buffers: Buffers, at: Option<u64>) -> Acted {
    let file = or_errno!(guest.files.file(number));
    let content = file.content.as_deref().unwrap_or_default();
    let mut position = usize::try_from(at.unwrap_or(file.position)).unwrap_or(usize::MAX);
    let mut total = 0u32;
    each_buffer(memory, buffers, |target| {
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

fn write(memory: &mut [u8], guest: &mut Guest, number: u32, buffers: Buffers, at: Option<u64>) -> Acted {
    let mut bytes = Vec::new();
    let bytes_max = guest.host_call_bytes_max;
    each_buffer(memory, buffers, |source| {
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
pub(crate) fn unwritten(guest: &mut Guest) -> Option<(HostCall, Pending)> {
    let number = guest.files.changed()?;
    match let_go(guest, number, true) {
        Ok(Act::Ask(call, pending)) => Some((call, pending)),
        Ok(Act::Errno(_)) | Err(_) => None,
    }
}

pub(super) fn path_filestat_get(
    memory: &mut [u8],
    guest: &mut Guest,
    directory: u32,
    name: (u32, u32),
    at: u32,
) -> Acted {
    range(memory, "path_filestat_get", at, layout::FILESTAT_BYTES as u32)?;
    let path = or_errno!(path(memory, guest, "path_filestat_get", directory, name)?);
    Ok(ask(HostOperation::FsStat, &path.clone(), None, Pending::Stat(path, at)))
}

pub(super) fn path_unlink_file(
    memory: &mut [u8],
    guest: &mut Guest,
    directory: u32,
    name: (u32, u32),
) -> Acted {
    let path = or_errno!(path(memory, guest, "path_unlink_file", directory, name)?);
    Ok(ask(HostOperation::FsDelete, &path, None, Pending::Worked))
}

pub(super) fn fd_filestat_get(memory: &mut [u8], guest: &mut Guest, number: u32, at: u32) -> Acted {
    let stat = match guest.files.at(number) {
        Some(Open::File(file)) => Stat { bytes: file.size(), ..file.stat },
        Some(Open::Directory(directory)) => {
            Stat { kind: Kind::Directory, bytes: 0, modified_us: 0, serial: serial(&directory.path) }
        }
        None if number <= super::STDERR => {
            Stat { kind: Kind::Unknown, bytes: 0, modified_us: 0, serial: u64::from(number) + 1 }
        }
        None => return Ok(Act::Errno(errno::BAD_FILE)),
    };
    put(memory, "fd_filestat_get", at, &layout::filestat(&stat))
}

pub(super) fn fd_fdstat_get(memory: &mut [u8], guest: &mut Guest, number: u32, at: u32) -> Acted {
    let stat = match guest.files.at(number) {
        Some(Open::File(file)) => {
            let rights = [(file.readable, layout::RIGHT_READ), (file.writable, layout::RIGHT_WRITE)];
            let denied = rights.iter().filter(|(has, _)| !has).fold(0, |bits, (_, bit)| bits | bit);
            layout::fdstat(Kind::File, u16::from(file.append), layout::RIGHTS_ALL & !denied)
        }
        Some(Open::Directory(_)) => layout::fdstat(Kind::Directory, 0, layout::RIGHTS_ALL),
        // A stream of unknown kind: neither a terminal nor a file.
        None if number == super::STDIN => layout::fdstat(Kind::Unknown, 0, layout::RIGHT_READ),
        None if number <= super::STDERR => layout::fdstat(Kind::Unknown, 0, layout::RIGHT_WRITE),
        None => return Ok(Act::Errno(errno::BAD_FILE)),
    };
    put(memory, "fd_fdstat_get", at, &stat)
}

pub(super) fn fd_fdstat_set_flags(guest: &mut Guest, number: u32, flags: u32) -> Acted {
    or_errno!(guest.files.file(number)).append = flags & FLAG_APPEND != 0;
    Ok(Act::Errno(errno::SUCCESS))
}

pub(super) fn fd_prestat_get(memory: &mut [u8], guest: &mut Guest, number: u32, at: u32) -> Acted {
    match guest.files.at(number) {
        Some(Open::Directory(Directory { path, preopened: true, .. })) => {
            put(memory, "fd_prestat_get", at, &layout::prestat(length(path.len())))
        }
        Some(_) | None => Ok(Act::Errno(errno::BAD_FILE)),
    }
}

pub(super) fn fd_prestat_dir_name(
    memory: &mut [u8],
    guest: &mut Guest,
    number: u32,
    name: (u32, u32),
) -> Acted {
    match guest.files.at(number) {
        Some(Open::Directory(Directory { path, preopened: true, .. })) => {
            if length(path.len()) > name.1 {
                return Ok(Act::Errno(errno::NAME_TOO_LONG));
            }
            put(memory, "fd_prestat_dir_name", name.0, path.as_bytes())
        }
        Some(_) | None => Ok(Act::Errno(errno::BAD_FILE)),
    }
}

/// `fd_seek` and `fd_tell`.
pub(super) fn seek(
    memory: &mut [u8],
    guest: &mut Guest,
    call: &'static str,
    number: u32,
    (offset, whence): (i64, u32),
    at: u32,
) -> Acted {
    if number <= super::STDERR {
        return Ok(Act::Errno(errno::NOT_SEEKABLE));
    }
    let file = or_errno!(guest.files.file(number));
    let from = match whence {
        0 => Some(0),
        1 => Some(file.position),
        2 => Some(file.size()),
        _ => None,
    };
    let Some(position) = from.and_then(|from| from.checked_add_signed(offset)) else {
        return Ok(Act::Errno(errno::INVALID));
    };
    file.position = position;
    put(memory, call, at, &position.to_le_bytes())
}

pub(super) fn fd_readdir(memory: &mut [u8], guest: &mut Guest, number: u32, listing: Listing) -> Acted {
    let Listing { at, bytes, cookie, used } = listing;
    const CALL: &str = "fd_readdir";
    range(memory, CALL, used, 4)?;
    let target = range_mut(memory, CALL, at, bytes)?;
    let directory = or_errno!(guest.files.directory(number));
    let Some(entries) = &directory.entries else {
        let path = directory.path.clone();
        return Ok(ask(HostOperation::FsList, &path, None, Pending::Entries(number, listing)));
    };
    let mut out = Vec::new();
    for (index, (name, kind)) in
        entries.iter().enumerate().skip(usize::try_from(cookie).unwrap_or(usize::MAX))
    {
        let serial = serial(&join(&directory.path, name));
        out.extend_from_slice(&layout::dirent(index as u64 + 1, serial, length(name.len()), *kind));
        out.extend_from_slice(name.as_bytes());
        // The last one may be cut: the guest asks again from there.
        if out.len() >= target.len() {
            break;
        }
    }
    let count = out.len().min(target.len());
    if let (Some(target), Some(out)) = (target.get_mut(..count), out.get(..count)) {
        target.copy_from_slice(out);
    }
    write_u32(memory, CALL, used, length(count))?;
    Ok(Act::Errno(errno::SUCCESS))
}
