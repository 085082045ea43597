//! The file functions of WASI. Whatever a guest wants of a file beyond what it has been given becomes a host call, and
//! what follows from the answer is in [`answered`](super::answered).

use alloc::string::String;
use alloc::vec::Vec;

use ak_json::{Object, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::files::{Directory, Kind, Open, PATH_BYTES_MAX, Stat, join, resolve, serial};
use super::{Buffers, errno, layout, length, put, write_u32};
use crate::Failure;
use crate::guest::{Guest, admit, range, range_mut};
use crate::host::{HostCall, HostOperation};

pub(super) const OPEN_CREATE: u32 = 1;
pub(super) const OPEN_DIRECTORY: u32 = 2;
pub(super) const OPEN_EXCLUSIVE: u32 = 4;
pub(super) const OPEN_TRUNCATE: u32 = 8;
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
    pub(super) path: String,
    pub(super) flags: u32,
    pub(super) rights: u64,
    pub(super) append: bool,
    pub(super) opened: u32,
}

pub(super) type Acted = Result<Act, Failure>;

pub(super) fn ask(
    operation: HostOperation,
    path: &str,
    more: Option<(&'static str, Value)>,
    pending: Pending,
) -> Act {
    let mut args = Object::new();
    args.insert("path", Value::from(path));
    if let Some((key, value)) = more {
        args.insert(key, value);
    }
    Act::Ask(HostCall { operation, args: Value::from(args) }, pending)
}

pub(super) fn ask_to_write(path: &str, content: &[u8], pending: Pending) -> Act {
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
    admit(memory, guest, call, at, bytes)?;
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

pub(super) fn create(opening: Opening) -> Act {
    let path = opening.path.clone();
    ask_to_write(&path, &[], Pending::Created(opening))
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
