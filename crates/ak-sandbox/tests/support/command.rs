//! Commands that try file functions one after the other, and print what each gives.
#![allow(dead_code, reason = "each test file uses its own part")]

use ak_sandbox::{Abi, Failure, RunLimits, SandboxConfig, Tool};

use crate::disk::Disk;
use crate::support::{drive, json, limits, manifest};

pub(crate) const WASI: &str = "wasi_snapshot_preview1";

/// What these modules share: functions, a name at 64, two buffers at 0 and 8, and numbers to print with.
///
/// `$try` adds the error number that it is given to what is printed at the end, two digits each.
pub(crate) fn command(name: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "{WASI}" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
            (import "{WASI}" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
            (import "{WASI}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "{WASI}" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
            (import "{WASI}" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
            (import "{WASI}" "fd_filestat_set_size" (func $resize (param i32 i64) (result i32)))
            (import "{WASI}" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
            (import "{WASI}" "fd_tell" (func $tell (param i32 i32) (result i32)))
            (import "{WASI}" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
            (import "{WASI}" "fd_fdstat_set_flags" (func $set_flags (param i32 i32) (result i32)))
            (import "{WASI}" "fd_filestat_get" (func $fstat (param i32 i32) (result i32)))
            (import "{WASI}" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
            (import "{WASI}" "fd_sync" (func $sync (param i32) (result i32)))
            (import "{WASI}" "fd_close" (func $close (param i32) (result i32)))
            (import "{WASI}" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            ;; One buffer of 5 bytes at 512, one of 5 bytes with text at 528, and what is printed at 1024.
            (data (i32.const 0) "\00\02\00\00\05\00\00\00") (data (i32.const 8) "\10\02\00\00\05\00\00\00")
            (data (i32.const 64) "{name}") (data (i32.const 528) "hello") (data (i32.const 1024) "[1")
            (global $end (mut i32) (i32.const 1026))
            (func $print (param i32)
              (i32.store8 (global.get $end) (local.get 0))
              (global.set $end (i32.add (global.get $end) (i32.const 1))))
            (func $try (param i32)
              (call $print (i32.const 44)) (call $print (i32.const 49))
              (call $print (i32.add (i32.const 48) (i32.div_u (local.get 0) (i32.const 10))))
              (call $print (i32.add (i32.const 48) (i32.rem_u (local.get 0) (i32.const 10)))))
            (func $done
              (call $print (i32.const 93))
              (i32.store (i32.const 16) (i32.const 1024))
              (i32.store (i32.const 20) (i32.sub (global.get $end) (i32.const 1024)))
              (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32))))
            ;; A number below 100 and one that is above, as if it were an error number.
            (func $size_of (param i32) (call $try (call $fstat (local.get 0) (i32.const 600)))
              (call $try (i32.load (i32.const 632))))
            ;; Opens the name with flags and rights (2 read, 64 write).
            (func $open_it (param i32 i64)
              (call $try (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const {length}) (local.get 0)
                (local.get 1) (i64.const 0) (i32.const 0) (i32.const 40))))
            (func $read_it (call $try (call $read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 32))))
            (func $write_it (call $try (call $write (i32.const 4) (i32.const 8) (i32.const 1) (i32.const 32))))
            (func (export "_start") {body} (call $done)))"#,
        length = name.len(),
    );
    wat::parse_str(text).unwrap()
}

pub(crate) fn tool(module: &[u8]) -> Tool {
    let mut manifest = manifest(Abi::Wasi, module);
    manifest.needs = vec!["fs.read:/data/**".into()];
    Tool::new(manifest, module.into(), &SandboxConfig::default()).unwrap()
}

pub(crate) fn data() -> Disk {
    Disk::with(&[("/data/a", "some text"), ("/data/sub/b", "")])
}

/// Opens the name of so many bytes at 64, with these flags, rights and flags of the descriptor.
pub(crate) fn open(length: usize, flags: u32, rights: u64, descriptor: u32) -> String {
    format!(
        "(call $try (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const {length}) (i32.const {flags})
           (i64.const {rights}) (i64.const 0) (i32.const {descriptor}) (i32.const 40)))"
    )
}

pub(crate) fn on(function: &str, file: u32) -> String {
    let buffer = if function == "write" { 8 } else { 0 };
    match function {
        "read" | "write" => format!(
            "(call $try (call ${function} (i32.const {file}) (i32.const {buffer}) (i32.const 1) (i32.const 32)))"
        ),
        "size_of" => format!("(call $size_of (i32.const {file}))"),
        _ => format!("(call $try (call ${function} (i32.const {file})))"),
    }
}

/// A function of a path, for the name of so many bytes at 64.
pub(crate) fn of_path(function: &str, length: usize) -> String {
    let stat = if function == "stat" { ("(i32.const 0)", "(i32.const 600)") } else { ("", "") };
    format!(
        "(call $try (call ${function} (i32.const 3) {} (i32.const 64) (i32.const {length}) {}))",
        stat.0, stat.1
    )
}

/// Runs a command; gives the error numbers that it printed, or the failure.
#[track_caller]
pub(crate) fn run(name: &str, body: &str, disk: &mut Disk) -> Result<String, Failure> {
    let tool = tool(&command(name, body));
    let limits = RunLimits { host_calls_max: 10, ..limits() };
    let outcome = drive(&tool, &json("{}"), limits, 1_000, |call| disk.answer(call));
    outcome.map(|done| done.output.to_json()).map_err(|error| error.failure)
}

#[track_caller]
pub(crate) fn check(name: &str, body: &str, expected: &str, asked: &[&str]) -> Disk {
    let mut disk = data();
    assert_eq!(run(name, body, &mut disk).as_deref(), Ok(expected), "{name}: {body}");
    assert_eq!(disk.asked, asked, "{name}: {body}");
    disk
}

pub(crate) const READ: &str = "(call $open_it (i32.const 0) (i64.const 2))";
pub(crate) const WRITE: &str = "(call $open_it (i32.const 0) (i64.const 66))";
pub(crate) const CREATE: &str = "(call $open_it (i32.const 9) (i64.const 64))";

/// Flags of `path_open`, and of a descriptor.
pub(crate) const CREAT: u32 = 1;
pub(crate) const DIRECTORY: u32 = 2;
pub(crate) const EXCL: u32 = 4;
pub(crate) const TRUNC: u32 = 8;
pub(crate) const APPEND: u32 = 1;
pub(crate) const SYNC: u32 = 16;
pub(crate) const READING: u64 = 2;
pub(crate) const WRITING: u64 = 64;
pub(crate) const BOTH: u64 = READING | WRITING;
