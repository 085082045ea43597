//! The import module `wasi_snapshot_preview1`.
//!
//! A command reads its arguments from stdin and writes its result to stdout and its log to stderr. Clock and random
//! are host calls, and so are all file operations, which reach the directories in the manifest's needs. All other
//! functions can be linked and return `ENOSYS`.

/// Returns early with an error number.
macro_rules! or_errno {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(number) => return Ok($crate::imports::wasi::SyscallOutcome::Errno(number)),
        }
    };
}

mod buffers;
mod calls;
mod contents;
mod layout;
mod replies;
mod syscall;

use ak_json::{Object, Value};
use wasmi::{Caller, Error, Func, FuncType, Store, Val, ValType};

use self::buffers::{List, read, write};
pub(crate) use self::contents::unwritten;
pub(crate) use self::replies::resume;
pub(crate) use self::syscall::SyscallOutcome;
use self::syscall::{Answer, STDERR, length, put, syscall, write_u32};
use crate::files::Kind;
use crate::files::errno::{self, SUCCESS};
use crate::files::pending::{ContentUse, Listing, Removal};
use crate::guest::{Delivery, Guest, Interrupt, admit, enter, range, range_mut};
use crate::host_call::{HostCall, HostOperation};

/// The import module of this table.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// The host function with this name; `None` if WASI has none.
pub(crate) fn function(store: &mut Store<Guest>, name: &str) -> Option<Func> {
    let function = match name {
        "args_get" => Func::wrap(store, |caller: Caller<'_, Guest>, list: u32, text: u32| {
            strings(caller, "args_get", |guest| &guest.args, list, text)
        }),
        "args_sizes_get" => Func::wrap(store, |caller: Caller<'_, Guest>, count: u32, bytes: u32| {
            string_sizes(caller, "args_sizes_get", |guest| &guest.args, count, bytes)
        }),
        "environ_get" => Func::wrap(store, |caller: Caller<'_, Guest>, list: u32, text: u32| {
            strings(caller, "environ_get", |guest| &guest.env, list, text)
        }),
        "environ_sizes_get" => Func::wrap(store, |caller: Caller<'_, Guest>, count: u32, bytes: u32| {
            string_sizes(caller, "environ_sizes_get", |guest| &guest.env, count, bytes)
        }),
        "clock_res_get" => Func::wrap(store, clock_res_get),
        "clock_time_get" => Func::wrap(store, clock_time_get),
        "random_get" => Func::wrap(store, random_get),
        "fd_read" => Func::wrap(store, |caller: Caller<'_, Guest>, file, list, count, moved| {
            read(caller, file, List { call: "fd_read", list, count, moved }, None)
        }),
        "fd_pread" => Func::wrap(store, |caller: Caller<'_, Guest>, file, list, count, at: u64, moved| {
            read(caller, file, List { call: "fd_pread", list, count, moved }, Some(at))
        }),
        "fd_write" => Func::wrap(store, |caller: Caller<'_, Guest>, file, list, count, moved| {
            write(caller, file, List { call: "fd_write", list, count, moved }, None)
        }),
        "fd_pwrite" => Func::wrap(store, |caller: Caller<'_, Guest>, file, list, count, at: u64, moved| {
            write(caller, file, List { call: "fd_pwrite", list, count, moved }, Some(at))
        }),
        "fd_close" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32| {
            // The standard streams stay open, whatever the guest closes.
            syscall(caller, |_, guest| match file {
                ..=STDERR => Ok(SyscallOutcome::Errno(SUCCESS)),
                _ => contents::close(guest, file),
            })
        }),
        "fd_sync" | "fd_datasync" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32| {
            syscall(caller, |_, guest| contents::sync(guest, file))
        }),
        "fd_seek" => {
            Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, offset: i64, whence: u32, at: u32| {
                syscall(caller, |memory, guest| {
                    calls::seek(memory, guest, "fd_seek", file, (offset, whence), at)
                })
            })
        }
        "fd_tell" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, at: u32| {
            syscall(caller, |memory, guest| calls::seek(memory, guest, "fd_tell", file, (0, 1), at))
        }),
        "fd_readdir" => Func::wrap(
            store,
            |caller: Caller<'_, Guest>, file: u32, at: u32, bytes: u32, cookie: u64, used: u32| {
                let listing = Listing { at, bytes, cookie, used };
                syscall(caller, |memory, guest| {
                    admit(memory, guest, "fd_readdir", at, bytes)?;
                    calls::fd_readdir(memory, guest, file, listing)
                })
            },
        ),
        "fd_fdstat_get" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, at: u32| {
            syscall(caller, |memory, guest| calls::fd_fdstat_get(memory, guest, file, at))
        }),
        "fd_fdstat_set_flags" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, flags: u32| {
            syscall(caller, |_, guest| calls::fd_fdstat_set_flags(guest, file, flags))
        }),
        "fd_filestat_get" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, at: u32| {
            syscall(caller, |memory, guest| calls::fd_filestat_get(memory, guest, file, at))
        }),
        "fd_filestat_set_size" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, bytes: u64| {
            syscall(caller, |memory, guest| {
                contents::with_content(memory, guest, file, ContentUse::Resize(bytes))
            })
        }),
        // A C library uses this to find the preopened directories.
        "fd_prestat_get" => Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, at: u32| {
            syscall(caller, |memory, guest| calls::fd_prestat_get(memory, guest, file, at))
        }),
        "fd_prestat_dir_name" => {
            Func::wrap(store, |caller: Caller<'_, Guest>, file: u32, at: u32, length: u32| {
                syscall(caller, |memory, guest| calls::fd_prestat_dir_name(memory, guest, file, (at, length)))
            })
        }
        "path_open" => Func::wrap(store, path_open),
        "path_filestat_get" => Func::wrap(
            store,
            |caller: Caller<'_, Guest>, directory: u32, _follow: u32, name: u32, length: u32, at: u32| {
                let name = (name, length);
                syscall(caller, |memory, guest| calls::path_filestat_get(memory, guest, directory, name, at))
            },
        ),
        "path_unlink_file" => {
            Func::wrap(store, |caller: Caller<'_, Guest>, directory: u32, name: u32, length: u32| {
                let removal = Removal { call: "path_unlink_file", of: Kind::File };
                syscall(caller, |memory, guest| {
                    calls::remove(memory, guest, removal, directory, (name, length))
                })
            })
        }
        "path_remove_directory" => {
            Func::wrap(store, |caller: Caller<'_, Guest>, directory: u32, name: u32, length: u32| {
                let removal = Removal { call: "path_remove_directory", of: Kind::Directory };
                syscall(caller, |memory, guest| {
                    calls::remove(memory, guest, removal, directory, (name, length))
                })
            })
        }
        "sched_yield" => Func::wrap(store, |caller: Caller<'_, Guest>| {
            syscall(caller, |_, _| Ok(SyscallOutcome::Errno(SUCCESS)))
        }),
        "proc_exit" => Func::wrap(store, |caller: Caller<'_, Guest>, code: u32| -> Result<(), Error> {
            enter(caller, |_, _| Err(Interrupt::Exit(code)))
        }),
        _ => return unsupported(store, name),
    };
    Some(function)
}

/// The functions that return `ENOSYS`, with their parameters: `i` is 32 bits, `l` 64.
const UNSUPPORTED: [(&str, &str); 17] = [
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_set_times", "illi"),
    ("fd_renumber", "ii"),
    ("path_create_directory", "iii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_readlink", "iiiiii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("poll_oneoff", "iiii"),
    ("proc_raise", "i"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

fn unsupported(store: &mut Store<Guest>, name: &str) -> Option<Func> {
    let (_, params) = UNSUPPORTED.iter().find(|(known, _)| *known == name)?;
    let params = params.bytes().map(|letter| if letter == b'l' { ValType::I64 } else { ValType::I32 });
    let ty = FuncType::new(params.collect::<alloc::vec::Vec<_>>(), [ValType::I32]);
    Some(Func::new(store, ty, |caller, _params, results| {
        results.fill(Val::I32(errno::NOT_SUPPORTED));
        enter(caller, |_, _| Ok(()))
    }))
}

#[expect(clippy::too_many_arguments, reason = "WASI has them")]
fn path_open(
    caller: Caller<'_, Guest>,
    directory: u32,
    _follow: u32,
    name: u32,
    length: u32,
    flags: u32,
    rights: u64,
    _inherited: u64,
    file_flags: u32,
    opened: u32,
) -> Answer {
    syscall(caller, |memory, guest| {
        calls::path_open(memory, guest, directory, (name, length), (flags, rights, file_flags), opened)
    })
}

/// `args_get`, `environ_get`: writes the texts one after the other to `text`, and their addresses to `list`.
fn strings(
    caller: Caller<'_, Guest>,
    call: &'static str,
    of: fn(&Guest) -> &[alloc::vec::Vec<u8>],
    list: u32,
    text: u32,
) -> Answer {
    syscall(caller, |memory, guest| {
        let bytes = of(guest).iter().map(|item| item.len() as u64 + 4).sum();
        guest.meter.spend_bytes(bytes)?;
        let (mut list, mut text) = (list, text);
        for item in of(guest) {
            write_u32(memory, call, list, text)?;
            range_mut(memory, call, text, length(item.len()))?.copy_from_slice(item);
            list = list.saturating_add(4);
            text = text.saturating_add(length(item.len()));
        }
        Ok(SyscallOutcome::Errno(SUCCESS))
    })
}

/// `args_sizes_get`, `environ_sizes_get`: writes the number of the texts and their bytes.
fn string_sizes(
    caller: Caller<'_, Guest>,
    call: &'static str,
    of: fn(&Guest) -> &[alloc::vec::Vec<u8>],
    count: u32,
    bytes: u32,
) -> Answer {
    syscall(caller, |memory, guest| {
        let items = of(guest);
        write_u32(memory, call, count, length(items.len()))?;
        write_u32(memory, call, bytes, length(items.iter().map(alloc::vec::Vec::len).sum()))?;
        Ok(SyscallOutcome::Errno(SUCCESS))
    })
}

/// The resolution is a microsecond, as in the kernel.
fn clock_res_get(caller: Caller<'_, Guest>, clock: u32, at: u32) -> Answer {
    syscall(caller, |memory, _| match clock {
        ..=MONOTONIC => put(memory, "clock_res_get", at, &1_000u64.to_le_bytes()),
        _ => Ok(SyscallOutcome::Errno(errno::INVALID)),
    })
}

/// The monotonic clock, the last one supported; the one before it is realtime.
const MONOTONIC: u32 = 1;

/// Realtime and monotonic are one clock, as the kernel's time never falls.
fn clock_time_get(caller: Caller<'_, Guest>, clock: u32, _precision: i64, at: u32) -> Answer {
    enter(caller, |memory, _| {
        if clock > MONOTONIC {
            return Ok(errno::INVALID);
        }
        range(memory, "clock_time_get", at, 8)?;
        let call = HostCall { operation: HostOperation::Now, args: Value::from(Object::new()) };
        Err(Interrupt::HostCall(call, Delivery::ClockAt(at)))
    })
}

fn random_get(caller: Caller<'_, Guest>, at: u32, length: u32) -> Answer {
    enter(caller, |memory, guest| {
        admit(memory, guest, "random_get", at, length)?;
        let (call, delivery) = random(guest, at, length);
        Err(Interrupt::HostCall(call, delivery))
    })
}

/// Most random bytes of one host call.
const RANDOM_BYTES_MAX: u32 = 64 << 10;

/// The host call for random bytes, or for the first of them if there are many.
pub(crate) fn random(guest: &Guest, at: u32, length: u32) -> (HostCall, Delivery) {
    let bytes_max = u32::try_from(guest.host_call_bytes_max).unwrap_or(u32::MAX).clamp(1, RANDOM_BYTES_MAX);
    let bytes = length.min(bytes_max);
    let args = Value::from(Object::from_iter([("bytes", Value::from(bytes))]));
    let call = HostCall { operation: HostOperation::Random, args };
    (call, Delivery::RandomAt { at, bytes, rest: length - bytes })
}
