//! What follows from the answers to a guest's host calls about files.

use alloc::string::String;
use alloc::vec::Vec;

use ak_json::Value;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::calls::{
    Act, Acted, OPEN_CREATE, OPEN_DIRECTORY, OPEN_EXCLUSIVE, OPEN_TRUNCATE, Opening, Pending, create,
    fd_readdir,
};
use super::contents::with_content;
use super::files::{Directory, File, Kind, Open, Stat, serial};
use super::{errno, layout, put, write_u32};
use crate::Failure;
use crate::guest::Guest;

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
            guest.meter.spend_bytes(bytes)?;
            or_errno!(guest.files.file(number)).content = Some(content);
            with_content(memory, guest, number, then)
        }
        Pending::Entries(number, listing) => {
            let entries = entries(&result).ok_or_else(|| bad("expected `entries` with `name` and `kind`"))?;
            let bytes = entries.iter().map(|(name, _)| name.len() as u64).sum();
            if !guest.files.admits(bytes) {
                return Ok(Act::Errno(errno::TOO_BIG));
            }
            guest.meter.spend_bytes(bytes)?;
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
