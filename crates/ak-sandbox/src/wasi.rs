//! WASI preview 1, as far as a command without files needs it: standard streams, arguments, environment,
//! clock, random, exit. Everything else is there to link against and answers `ENOSYS`.

use ak_json::{Object, Value};
use wasmi::{Caller, Error, Func, FuncType, Store, Val, ValType};

use crate::Failure;
use crate::guest::{Delivery, Guest, Interrupt, admit, charge, memory, range, range_mut, stop};
use crate::host::{HostCall, HostOperation};

/// The import module of this table.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Error numbers of `wasi_snapshot_preview1`.
pub(crate) const SUCCESS: i32 = 0;
const BAD_FILE: i32 = 8;
const INVALID: i32 = 28;
const NOT_SUPPORTED: i32 = 52;
const NOT_SEEKABLE: i32 = 70;
/// Answered to a clock or random call that the host refuses.
pub(crate) const NOT_CAPABLE: i32 = 76;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// Most buffers of one read or write, as on Linux.
const BUFFERS_MAX: u32 = 1024;
/// Bytes of one buffer's address and length.
const BUFFER_BYTES: u32 = 8;

/// What a host function gives: a WASI error number, or the end of the run.
type Answer = Result<i32, Error>;

/// The host function of this name, if WASI has one.
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
        "fd_read" => Func::wrap(store, fd_read),
        "fd_write" => Func::wrap(store, fd_write),
        "fd_close" => Func::wrap(store, |file: u32| if file <= STDERR { SUCCESS } else { BAD_FILE }),
        "fd_seek" => Func::wrap(
            store,
            |file: u32, _offset: i64, _whence: i32, _at: u32| {
                if file <= STDERR { NOT_SEEKABLE } else { BAD_FILE }
            },
        ),
        "fd_fdstat_get" => Func::wrap(store, fd_fdstat_get),
        // There are no preopened directories; this is how a C library learns it.
        "fd_prestat_get" => Func::wrap(store, |_file: u32, _at: u32| BAD_FILE),
        "fd_prestat_dir_name" => Func::wrap(store, |_file: u32, _at: u32, _length: u32| BAD_FILE),
        "sched_yield" => Func::wrap(store, || SUCCESS),
        "proc_exit" => Func::wrap(store, |mut caller: Caller<'_, Guest>, code: u32| -> Result<(), Error> {
            Err(stop(&mut caller, Interrupt::Exit(code)))
        }),
        _ => return unsupported(store, name),
    };
    Some(function)
}

/// The functions that answer `ENOSYS`, with their parameters: `i` is 32 bits, `l` 64.
const UNSUPPORTED: [(&str, &str); 30] = [
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_pwrite", "iiili"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
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
    Some(Func::new(store, ty, |_caller, _params, results| {
        results.fill(Val::I32(NOT_SUPPORTED));
        Ok(())
    }))
}

/// Ends the run if a pointer was bad.
fn answer(caller: &mut Caller<'_, Guest>, outcome: Result<i32, Failure>) -> Answer {
    outcome.map_err(|failure| stop(caller, Interrupt::Failure(failure)))
}

fn write_u32(memory: &mut [u8], call: &'static str, at: u32, value: u32) -> Result<(), Failure> {
    range_mut(memory, call, at, 4).map(|target| target.copy_from_slice(&value.to_le_bytes()))
}

fn read_u32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

/// Lengths within one guest memory always fit; a larger one is reported as the largest.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// `args_get`, `environ_get`: the texts one after the other at `text`, their addresses at `list`.
fn strings(
    mut caller: Caller<'_, Guest>,
    call: &'static str,
    of: fn(&Guest) -> &[alloc::vec::Vec<u8>],
    list: u32,
    text: u32,
) -> Answer {
    let bytes = of(caller.data()).iter().map(|item| item.len() as u64 + 4).sum();
    charge(&mut caller, bytes)?;
    let (memory, guest) = memory(&mut caller);
    let (mut list, mut text) = (list, text);
    let outcome = of(guest).iter().try_for_each(|item| {
        write_u32(memory, call, list, text)?;
        range_mut(memory, call, text, length(item.len()))?.copy_from_slice(item);
        list = list.saturating_add(4);
        text = text.saturating_add(length(item.len()));
        Ok(())
    });
    answer(&mut caller, outcome.map(|()| SUCCESS))
}

/// `args_sizes_get`, `environ_sizes_get`.
fn string_sizes(
    mut caller: Caller<'_, Guest>,
    call: &'static str,
    of: fn(&Guest) -> &[alloc::vec::Vec<u8>],
    count: u32,
    bytes: u32,
) -> Answer {
    let (memory, guest) = memory(&mut caller);
    let items = of(guest);
    let outcome = write_u32(memory, call, count, length(items.len()))
        .and_then(|()| write_u32(memory, call, bytes, length(items.iter().map(|item| item.len()).sum())));
    answer(&mut caller, outcome.map(|()| SUCCESS))
}

/// Microseconds, the kernel's own resolution.
fn clock_res_get(mut caller: Caller<'_, Guest>, _clock: u32, at: u32) -> Answer {
    let target = range_mut(memory(&mut caller).0, "clock_res_get", at, 8);
    let outcome = target.map(|target| target.copy_from_slice(&1_000u64.to_le_bytes()));
    answer(&mut caller, outcome.map(|()| SUCCESS))
}

/// Realtime and monotonic are one clock: the kernel's time never falls.
fn clock_time_get(mut caller: Caller<'_, Guest>, clock: u32, _precision: i64, at: u32) -> Answer {
    if clock > 1 {
        return Ok(INVALID);
    }
    let interrupt = match range(memory(&mut caller).0, "clock_time_get", at, 8) {
        Ok(_) => {
            let call = HostCall { operation: HostOperation::Now, args: Value::from(Object::new()) };
            Interrupt::HostCall(call, Delivery::ClockAt(at))
        }
        Err(failure) => Interrupt::Failure(failure),
    };
    Err(stop(&mut caller, interrupt))
}

fn random_get(mut caller: Caller<'_, Guest>, at: u32, length: u32) -> Answer {
    admit(&mut caller, "random_get", at, length)?;
    let bytes_max = caller.data().host_call_bytes_max;
    let interrupt = if u64::from(length) > bytes_max {
        let reason = alloc::format!("more than {bytes_max} bytes");
        Interrupt::Failure(Failure::BadHostCall { call: "random_get", reason })
    } else {
        let args = Value::from(Object::from_iter([("bytes", Value::from(length))]));
        Interrupt::HostCall(
            HostCall { operation: HostOperation::Random, args },
            Delivery::RandomAt(at, length),
        )
    };
    Err(stop(&mut caller, interrupt))
}

/// Address and length of one buffer of a read or write.
fn buffer(memory: &[u8], call: &'static str, list: u32, index: u32) -> Result<(u32, u32), Failure> {
    let entry = range(memory, call, list.saturating_add(index.saturating_mul(BUFFER_BYTES)), BUFFER_BYTES)?;
    let (address, bytes) = entry.split_at(4);
    Ok((read_u32(address), read_u32(bytes)))
}

/// Checks the buffers of a read or write, and charges for them.
fn admit_buffers(
    caller: &mut Caller<'_, Guest>,
    call: &'static str,
    list: u32,
    count: u32,
) -> Result<(), Error> {
    let (memory, _) = memory(caller);
    let bytes = (0..count).try_fold(0u64, |sum, index| {
        let (address, bytes) = buffer(memory, call, list, index)?;
        range(memory, call, address, bytes)?;
        Ok(sum.saturating_add(bytes.into()))
    });
    match bytes {
        Ok(bytes) => charge(caller, bytes),
        Err(failure) => Err(stop(caller, Interrupt::Failure(failure))),
    }
}

fn fd_read(mut caller: Caller<'_, Guest>, file: u32, list: u32, count: u32, read: u32) -> Answer {
    const CALL: &str = "fd_read";
    if file != STDIN {
        return Ok(BAD_FILE);
    }
    if count > BUFFERS_MAX {
        return Ok(INVALID);
    }
    admit_buffers(&mut caller, CALL, list, count)?;
    let (memory, guest) = memory(&mut caller);
    let total = (0..count).try_fold(0u32, |total, index| {
        let (address, bytes) = buffer(memory, CALL, list, index)?;
        let target = range_mut(memory, CALL, address, bytes)?;
        Ok(total.saturating_add(length(guest.stdin.read(target))))
    });
    let outcome = total.and_then(|total| write_u32(memory, CALL, read, total));
    answer(&mut caller, outcome.map(|()| SUCCESS))
}

fn fd_write(mut caller: Caller<'_, Guest>, file: u32, list: u32, count: u32, written: u32) -> Answer {
    const CALL: &str = "fd_write";
    if file != STDOUT && file != STDERR {
        return Ok(BAD_FILE);
    }
    if count > BUFFERS_MAX {
        return Ok(INVALID);
    }
    admit_buffers(&mut caller, CALL, list, count)?;
    let (memory, guest) = memory(&mut caller);
    let total = (0..count).try_fold(0u32, |total, index| {
        let (address, bytes) = buffer(memory, CALL, list, index)?;
        let source = range(memory, CALL, address, bytes)?;
        if file == STDERR {
            // What does not fit into the log is dropped.
            let _fits = guest.log.write(source);
        } else if !guest.stdout.write(source) {
            return Err(Failure::OutputTooLarge { bytes_max: guest.stdout.bytes_max() });
        }
        Ok(total.saturating_add(bytes))
    });
    let outcome = total.and_then(|total| write_u32(memory, CALL, written, total));
    answer(&mut caller, outcome.map(|()| SUCCESS))
}

/// A stream of unknown kind: neither a terminal nor a file.
fn fd_fdstat_get(mut caller: Caller<'_, Guest>, file: u32, at: u32) -> Answer {
    const RIGHTS_AT: usize = 8;
    const RIGHT_READ: u8 = 1 << 1;
    const RIGHT_WRITE: u8 = 1 << 6;
    if file > STDERR {
        return Ok(BAD_FILE);
    }
    let mut stat = [0u8; 24];
    if let Some(rights) = stat.get_mut(RIGHTS_AT) {
        *rights = if file == STDIN { RIGHT_READ } else { RIGHT_WRITE };
    }
    let target = range_mut(memory(&mut caller).0, "fd_fdstat_get", at, 24);
    let outcome = target.map(|target| target.copy_from_slice(&stat));
    answer(&mut caller, outcome.map(|()| SUCCESS))
}
