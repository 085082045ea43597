//! The file functions of WASI. Everything that a guest needs from the host becomes a host call;
//! [`resume`](super::resume) continues with the reply.

use alloc::vec::Vec;

use ak_json::{Object, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::layout;
use super::replies::open_found;
use super::syscall::{STDERR, STDIN, SyscallOutcome, SyscallResult, length, put, write_u32};
use crate::failure::Failure;
use crate::files::names::{PATH_BYTES_MAX, ResolvedPath, join, resolve, serial};
use crate::files::pending::{Listing, Opening, Pending, Removal};
use crate::files::{Directory, Kind, Open, Stat, errno};
use crate::guest::{Guest, admit, range, range_mut};
use crate::host_call::{HostCall, HostOperation};

pub(super) const OPEN_CREATE: u32 = 1;
pub(super) const OPEN_DIRECTORY: u32 = 2;
pub(super) const OPEN_EXCLUSIVE: u32 = 4;
pub(super) const OPEN_TRUNCATE: u32 = 8;
pub(super) const FLAG_APPEND: u16 = 1;
const FLAG_DATA_SYNC: u16 = 2;
const FLAG_SYNC: u16 = 16;
/// Flags with which every write to a descriptor goes to the host at once.
pub(super) const FLAGS_SYNC: u16 = FLAG_DATA_SYNC | FLAG_SYNC;
/// All `fdflags` of preview 1.
const FLAGS_ALL: u32 = 31;

pub(super) fn ask(
    operation: HostOperation,
    path: &str,
    more: Option<(&'static str, Value)>,
    pending: Pending,
) -> SyscallOutcome {
    let mut args = Object::new();
    args.insert("path", Value::from(path));
    if let Some((key, value)) = more {
        args.insert(key, value);
    }
    SyscallOutcome::Ask(HostCall { operation, args: Value::from(args) }, pending)
}

pub(super) fn ask_to_write(path: &str, content: &[u8], pending: Pending) -> SyscallOutcome {
    let data = Value::from(URL_SAFE_NO_PAD.encode(content));
    ask(HostOperation::FsWrite, path, Some(("data", data)), pending)
}

/// Reads a name from the guest's memory and resolves it relative to one of the guest's directories.
fn place(
    memory: &[u8],
    guest: &mut Guest,
    call: &'static str,
    directory: u32,
    (at, bytes): (u32, u32),
) -> Result<Result<ResolvedPath, i32>, Failure> {
    admit(memory, guest, call, at, bytes)?;
    let name = range(memory, call, at, bytes)?;
    if bytes > PATH_BYTES_MAX {
        return Ok(Err(errno::NAME_TOO_LONG));
    }
    guest.meter.spend_name(bytes.into())?;
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
) -> SyscallResult {
    range(memory, "path_open", opened, 4)?;
    let ResolvedPath { path, directory } = or_errno!(place(memory, guest, "path_open", directory, name)?);
    let has = |flag: u32| flags & flag != 0;
    if has(OPEN_DIRECTORY) && has(OPEN_CREATE | OPEN_TRUNCATE) || file_flags > FLAGS_ALL {
        return Ok(SyscallOutcome::Errno(errno::INVALID));
    }
    if directory && has(OPEN_CREATE) {
        return Ok(SyscallOutcome::Errno(errno::IS_DIRECTORY));
    }
    if !guest.files.has_room() {
        return Ok(SyscallOutcome::Errno(errno::TOO_MANY_FILES));
    }
    let directory = directory || has(OPEN_DIRECTORY);
    let opening = Opening { path, directory, flags, rights, file_flags: file_flags as u16, opened };
    // Replacing a file needs no description of it, so a guest may write without the right to look.
    if has(OPEN_CREATE) && has(OPEN_TRUNCATE) && !has(OPEN_EXCLUSIVE) {
        return Ok(create(opening));
    }
    if let Some(stat) = guest.files.known(&opening.path) {
        return open_found(memory, guest, opening, stat);
    }
    let path = opening.path.clone();
    Ok(ask(HostOperation::FsStat, &path, None, Pending::Open(opening)))
}

pub(super) fn create(opening: Opening) -> SyscallOutcome {
    let path = opening.path.clone();
    ask_to_write(&path, &[], Pending::Created(opening))
}

pub(super) fn path_filestat_get(
    memory: &mut [u8],
    guest: &mut Guest,
    directory: u32,
    name: (u32, u32),
    at: u32,
) -> SyscallResult {
    range(memory, "path_filestat_get", at, layout::FILESTAT_BYTES as u32)?;
    let place = or_errno!(place(memory, guest, "path_filestat_get", directory, name)?);
    match guest.files.known(&place.path) {
        Some(stat) => tell(memory, &place, &stat, at),
        None => Ok(ask(HostOperation::FsStat, &place.path.clone(), None, Pending::Stat(place, at))),
    }
}

/// Writes the result of `path_filestat_get`.
pub(super) fn tell(memory: &mut [u8], place: &ResolvedPath, stat: &Stat, at: u32) -> SyscallResult {
    if place.directory && stat.kind != Kind::Directory {
        return Ok(SyscallOutcome::Errno(errno::NOT_DIRECTORY));
    }
    put(memory, "path_filestat_get", at, &layout::filestat(stat))
}

/// `path_unlink_file` and `path_remove_directory`. The host's delete removes both kinds, so the kind is checked
/// first.
pub(super) fn remove(
    memory: &mut [u8],
    guest: &mut Guest,
    removal: Removal,
    directory: u32,
    name: (u32, u32),
) -> SyscallResult {
    let place = or_errno!(place(memory, guest, removal.call, directory, name)?);
    match guest.files.known(&place.path) {
        Some(stat) => remove_found(removal, place, stat.kind),
        None => Ok(ask(HostOperation::FsStat, &place.path.clone(), None, Pending::Remove(removal, place))),
    }
}

/// Removes what the path names, if its kind fits the call.
pub(super) fn remove_found(removal: Removal, place: ResolvedPath, kind: Kind) -> SyscallResult {
    let is_directory = kind == Kind::Directory;
    if is_directory && removal.of != Kind::Directory {
        return Ok(SyscallOutcome::Errno(errno::IS_DIRECTORY));
    }
    if !is_directory && (place.directory || removal.of == Kind::Directory) {
        return Ok(SyscallOutcome::Errno(errno::NOT_DIRECTORY));
    }
    Ok(ask(HostOperation::FsDelete, &place.path.clone(), None, Pending::Removed(place.path)))
}

pub(super) fn fd_filestat_get(memory: &mut [u8], guest: &mut Guest, number: u32, at: u32) -> SyscallResult {
    let stat = match guest.files.at(number) {
        Some(Open::File(_)) => {
            let (_, content) = or_errno!(guest.files.file(number));
            Stat { bytes: content.size(), ..content.stat }
        }
        Some(Open::Directory(directory)) => {
            Stat { kind: Kind::Directory, bytes: 0, modified_us: 0, serial: serial(&directory.path) }
        }
        None if number <= STDERR => {
            Stat { kind: Kind::Unknown, bytes: 0, modified_us: 0, serial: u64::from(number) + 1 }
        }
        None => return Ok(SyscallOutcome::Errno(errno::BAD_FILE)),
    };
    put(memory, "fd_filestat_get", at, &layout::filestat(&stat))
}

pub(super) fn fd_fdstat_get(memory: &mut [u8], guest: &mut Guest, number: u32, at: u32) -> SyscallResult {
    let stream = |right| layout::fdstat(Kind::Unknown, 0, right, right);
    let stat = match guest.files.at(number) {
        Some(Open::File(file)) => {
            let rights = [(file.readable, layout::RIGHT_READ), (file.writable, layout::RIGHT_WRITE)];
            let denied = rights.iter().filter(|(has, _)| !has).fold(0, |bits, (_, bit)| bits | bit);
            let rights = layout::RIGHTS_ALL & !denied;
            layout::fdstat(Kind::File, file.flags, rights, rights)
        }
        Some(Open::Directory(_)) => {
            layout::fdstat(Kind::Directory, 0, layout::RIGHTS_DIRECTORY, layout::RIGHTS_ALL)
        }
        // A stream of unknown kind: neither a terminal nor a file.
        None if number == STDIN => stream(layout::RIGHT_READ),
        None if number <= STDERR => stream(layout::RIGHT_WRITE),
        None => return Ok(SyscallOutcome::Errno(errno::BAD_FILE)),
    };
    put(memory, "fd_fdstat_get", at, &stat)
}

pub(super) fn fd_fdstat_set_flags(guest: &mut Guest, number: u32, flags: u32) -> SyscallResult {
    if flags > FLAGS_ALL {
        return Ok(SyscallOutcome::Errno(errno::INVALID));
    }
    // The flags make no difference to a standard stream.
    if number > STDERR {
        or_errno!(guest.files.file(number)).0.flags = flags as u16;
    }
    Ok(SyscallOutcome::Errno(errno::SUCCESS))
}

pub(super) fn fd_prestat_get(memory: &mut [u8], guest: &mut Guest, number: u32, at: u32) -> SyscallResult {
    match guest.files.at(number) {
        Some(Open::Directory(Directory { path, preopened: true, .. })) => {
            put(memory, "fd_prestat_get", at, &layout::prestat(length(path.len())))
        }
        Some(_) | None => Ok(SyscallOutcome::Errno(errno::BAD_FILE)),
    }
}

pub(super) fn fd_prestat_dir_name(
    memory: &mut [u8],
    guest: &mut Guest,
    number: u32,
    name: (u32, u32),
) -> SyscallResult {
    match guest.files.at(number) {
        Some(Open::Directory(Directory { path, preopened: true, .. })) => {
            if length(path.len()) > name.1 {
                return Ok(SyscallOutcome::Errno(errno::NAME_TOO_LONG));
            }
            put(memory, "fd_prestat_dir_name", name.0, path.as_bytes())
        }
        Some(_) | None => Ok(SyscallOutcome::Errno(errno::BAD_FILE)),
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
) -> SyscallResult {
    if number <= STDERR {
        return Ok(SyscallOutcome::Errno(errno::NOT_SEEKABLE));
    }
    let (file, content) = or_errno!(guest.files.file(number));
    let from = match whence {
        0 => Some(0),
        1 => Some(file.position),
        2 => Some(content.size()),
        _ => None,
    };
    // The guest sees a position as a signed number.
    let position = from.and_then(|from| from.checked_add_signed(offset));
    let Some(position) = position.filter(|&position| i64::try_from(position).is_ok()) else {
        return Ok(SyscallOutcome::Errno(errno::INVALID));
    };
    file.position = position;
    put(memory, call, at, &position.to_le_bytes())
}

pub(super) fn fd_readdir(
    memory: &mut [u8],
    guest: &mut Guest,
    number: u32,
    listing: Listing,
) -> SyscallResult {
    range(memory, READDIR, listing.used, 4)?;
    let directory = or_errno!(guest.files.directory(number));
    // Reading from the start lists the directory again, to show its present entries.
    if listing.cookie == 0 || directory.entries().is_none() {
        let path = directory.path.clone();
        return Ok(ask(HostOperation::FsList, &path, None, Pending::Entries(number, listing)));
    }
    hand_entries(memory, guest, number, listing)
}

const READDIR: &str = "fd_readdir";

/// Writes the entries of a directory to the guest's buffer, as far as they fit.
pub(super) fn hand_entries(
    memory: &mut [u8],
    guest: &mut Guest,
    number: u32,
    listing: Listing,
) -> SyscallResult {
    let Listing { at, bytes, cookie, used } = listing;
    let target = range_mut(memory, READDIR, at, bytes)?;
    let directory = or_errno!(guest.files.directory(number));
    let entries = directory.entries().unwrap_or_default().iter().enumerate();
    let mut out = Vec::new();
    for (index, (name, kind)) in entries.skip(usize::try_from(cookie).unwrap_or(usize::MAX)) {
        let path = join(&directory.path, name);
        guest.meter.spend_name(path.len() as u64)?;
        let serial = serial(&path);
        out.extend_from_slice(&layout::dirent(index as u64 + 1, serial, length(name.len()), *kind));
        out.extend_from_slice(name.as_bytes());
        // The last entry may be cut: the guest then reads again from there.
        if out.len() >= target.len() {
            break;
        }
    }
    let count = out.len().min(target.len());
    if let (Some(target), Some(out)) = (target.get_mut(..count), out.get(..count)) {
        target.copy_from_slice(out);
    }
    write_u32(memory, READDIR, used, length(count))?;
    Ok(SyscallOutcome::Errno(errno::SUCCESS))
}
