//! Files as a WASI command sees them, and what it may not do with them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/calls.rs"]
mod calls;
#[path = "support/disk.rs"]
mod disk;
mod support;

use ak_json::Value;
use ak_sandbox::{Abi, Failure, Run, RunLimits, SandboxConfig, Step, Tool};
use arbitrary::Unstructured;
use disk::Disk;
use proptest::prelude::*;
use support::{cases, drive, json, limits, manifest};

const WASI: &str = "wasi_snapshot_preview1";

/// What the modules below share: functions, a name at 64, two buffers at 0 and 8, and numbers to print with.
///
/// `$try` adds the error number that it is given to what is printed at the end, two digits each.
fn command(name: &str, body: &str) -> Vec<u8> {
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

fn tool(module: &[u8]) -> Tool {
    let mut manifest = manifest(Abi::Wasi, module);
    manifest.needs = vec!["fs.read:/data/**".into()];
    Tool::new(manifest, module.into(), &SandboxConfig::default()).unwrap()
}

fn data() -> Disk {
    Disk::with(&[("/data/a", "some text"), ("/data/sub/b", "")])
}

/// Runs a command; gives the error numbers that it printed, or the failure.
#[track_caller]
fn run(name: &str, body: &str, disk: &mut Disk) -> Result<String, Failure> {
    let tool = tool(&command(name, body));
    let limits = RunLimits { host_calls_max: 10, ..limits() };
    let outcome = drive(&tool, &json("{}"), limits, 1_000, |call| disk.answer(call));
    outcome.map(|done| done.output.to_json()).map_err(|error| error.failure)
}

#[track_caller]
fn check(name: &str, body: &str, expected: &str, asked: &[&str]) -> Disk {
    let mut disk = data();
    assert_eq!(run(name, body, &mut disk).as_deref(), Ok(expected), "{name}: {body}");
    assert_eq!(disk.asked, asked, "{name}: {body}");
    disk
}

const READ: &str = "(call $open_it (i32.const 0) (i64.const 2))";
const WRITE: &str = "(call $open_it (i32.const 0) (i64.const 66))";
const CREATE: &str = "(call $open_it (i32.const 9) (i64.const 64))";

#[test]
fn a_file_is_asked_for_once_and_read_in_pieces() {
    let body = format!(
        "{READ} (call $read_it) (call $read_it) (call $read_it) (call $try (call $close (i32.const 4)))"
    );
    check("a", &body, "[1,100,100,100,100,100]", &["fs_stat /data/a", "fs_read /data/a"]);
    check(
        "sub/../a",
        &format!("{READ} (call $read_it)"),
        "[1,100,100]",
        &["fs_stat /data/a", "fs_read /data/a"],
    );
    // Opened for reading, it is not written.
    check("a", &format!("{READ} (call $write_it)"), "[1,100,108]", &["fs_stat /data/a"]);
}

#[test]
fn what_is_written_goes_out_when_it_is_closed_synced_or_left() {
    let write = ["fs_write /data/new", "fs_write /data/new"];
    let close = format!("{CREATE} (call $write_it) (call $write_it) (call $try (call $close (i32.const 4)))");
    let disk = check("new", &close, "[1,100,100,100,100]", &write);
    assert_eq!(disk.text("/data/new"), Some("hellohello"));
    let sync = format!("{CREATE} (call $write_it) (call $try (call $sync (i32.const 4)))");
    assert_eq!(check("new", &sync, "[1,100,100,100]", &write).text("/data/new"), Some("hello"));
    let left = format!("{CREATE} (call $write_it)");
    assert_eq!(check("new", &left, "[1,100,100]", &write).text("/data/new"), Some("hello"));
    // In the middle, at the end, beyond it, and cut.
    let asked = ["fs_stat /data/a", "fs_read /data/a", "fs_write /data/a"];
    let at = |at: u32| {
        format!(
            "{WRITE} (call $try (call $pwrite (i32.const 4) (i32.const 8) (i32.const 1) (i64.const {at}) (i32.const 32)))"
        )
    };
    assert_eq!(check("a", &at(2), "[1,100,100]", &asked).text("/data/a"), Some("sohelloxt"));
    assert_eq!(check("a", &at(9), "[1,100,100]", &asked).text("/data/a"), Some("some texthello"));
    assert_eq!(check("a", &at(11), "[1,100,100]", &asked).text("/data/a"), Some("some text\0\0hello"));
    let cut = format!("{WRITE} (call $try (call $resize (i32.const 4) (i64.const 4)))");
    assert_eq!(check("a", &cut, "[1,100,100]", &asked).text("/data/a"), Some("some"));
    let end = format!(
        "{WRITE} (call $try (call $seek (i32.const 4) (i64.const -4) (i32.const 2) (i32.const 48))) (call $write_it)"
    );
    assert_eq!(check("a", &end, "[1,100,100,100]", &asked).text("/data/a"), Some("some hello"));
    // A command that fails leaves what it did not close or sync.
    let mut disk = data();
    let failing = format!("{CREATE} (call $write_it) (call $exit (i32.const 1))");
    assert!(matches!(run("new", &failing, &mut disk), Err(Failure::ToolFailed { exit_code: Some(1), .. })));
    assert_eq!(disk.text("/data/new"), Some(""));
}

#[test]
fn refusals_are_error_numbers() {
    for (refused, name, body, expected) in [
        ("fs_stat /data/a", "a", READ.to_string(), "[1,102]"),
        ("fs_read /data/a", "a", format!("{READ} (call $read_it)"), "[1,100,102]"),
        ("fs_write /data/new", "new", CREATE.to_string(), "[1,102]"),
        (
            "fs_delete /data/a",
            "a",
            "(call $try (call $unlink (i32.const 3) (i32.const 64) (i32.const 1)))".to_string(),
            "[1,102]",
        ),
        (
            "fs_list /data/sub",
            "sub",
            format!(
                "{READ} (call $try (call $readdir (i32.const 4) (i32.const 512) (i32.const 64) (i64.const 0) (i32.const 32)))"
            ),
            "[1,100,102]",
        ),
    ] {
        let mut disk = Disk { refused: vec![refused], ..data() };
        assert_eq!(run(name, &body, &mut disk).as_deref(), Ok(expected), "{refused}");
    }
    // Nobody is left to look at an error number.
    let mut disk = Disk { refused: vec!["fs_write /data/a"], ..data() };
    let failure = run("a", &format!("{WRITE} (call $write_it)"), &mut disk).unwrap_err();
    let reason = r#"{"name":"POLICY_DENY"}"#.to_string();
    assert_eq!(failure, Failure::FileNotWritten { path: "/data/a".to_string(), reason });
}

#[test]
fn names_stay_beneath_their_directory() {
    for name in ["..", "../etc/passwd", "sub/../../etc", "/data/a", "/etc/passwd"] {
        check(name, READ, "[1,176]", &[]);
    }
    check("", READ, "[1,144]", &[]);
    check("\\ff", "(call $open_it (i32.const 0) (i64.const 2))", "[1,125]", &[]);
    check("a\\00b", READ, "[1,128]", &[]);
    check("none", READ, "[1,144]", &["fs_stat /data/none"]);
    check("a", "(call $open_it (i32.const 2) (i64.const 2))", "[1,154]", &["fs_stat /data/a"]);
    check("a", "(call $open_it (i32.const 5) (i64.const 66))", "[1,120]", &["fs_stat /data/a"]);
    check(
        "a",
        "(call $try (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 32)))",
        "[1,131]",
        &[],
    );
    check("a", "(call $try (call $close (i32.const 9)))", "[1,108]", &[]);
}

#[test]
fn open_files_are_bounded() {
    // One directory stands open already; the limit is 4.
    let body = READ.repeat(4);
    let asked = ["fs_stat /data/a"; 3];
    check("a", &body, "[1,100,100,100,133]", &asked);
    // What files hold together is bounded, and what one may hold.
    let grow = |bytes: u64| format!("{CREATE} (call $try (call $resize (i32.const 4) (i64.const {bytes})))");
    check("n", &grow(256), "[1,100,100]", &["fs_write /data/n"; 2]);
    check("n", &grow(257), "[1,100,151]", &["fs_write /data/n"]);
    check("n", &grow(u64::MAX >> 1), "[1,100,151]", &["fs_write /data/n"]);
    let two = format!("{} {CREATE} (call $try (call $resize (i32.const 5) (i64.const 200)))", grow(256));
    check("n", &two, "[1,100,100,100,151]", &["fs_write /data/n"; 3]);
    let mut disk = Disk::with(&[("/data/a", &"x".repeat(257))]);
    assert_eq!(run("a", &format!("{READ} (call $read_it)"), &mut disk).as_deref(), Ok("[1,100,122]"));
    assert_eq!(disk.asked, ["fs_stat /data/a"], "too long, and known to be");
    let mut disk = data();
    let failure = run(
        "a",
        &"(drop (call $stat (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 512)))"
            .repeat(11),
        &mut disk,
    );
    assert_eq!(failure, Err(Failure::HostCallLimit { calls_max: 10 }));
}

#[test]
fn lying_pointers_are_caught_before_anything_is_asked() {
    for (body, call, at, length) in [
        (
            "(call $stat (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 65500))",
            "path_filestat_get",
            65_500,
            64,
        ),
        (
            "(call $stat (i32.const 3) (i32.const 0) (i32.const 65536) (i32.const 1) (i32.const 512))",
            "path_filestat_get",
            65_536,
            1,
        ),
        (
            "(call $unlink (i32.const 3) (i32.const -1) (i32.const -1))",
            "path_unlink_file",
            u32::MAX,
            u32::MAX,
        ),
        (
            "(call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 65533))",
            "path_open",
            65_533,
            4,
        ),
        (
            "(call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 65536) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0))",
            "path_open",
            64,
            65_536,
        ),
        (
            "(call $readdir (i32.const 3) (i32.const 65535) (i32.const 2) (i64.const 0) (i32.const 0))",
            "fd_readdir",
            65_535,
            2,
        ),
        (
            "(call $readdir (i32.const 3) (i32.const 0) (i32.const 2) (i64.const 0) (i32.const -4))",
            "fd_readdir",
            4_294_967_292,
            4,
        ),
    ] {
        let mut disk = data();
        let failure = run("a", &format!("(drop {body})"), &mut disk);
        assert_eq!(failure, Err(Failure::BadPointer { call, at, length }), "{body}");
        assert_eq!(disk.asked, Vec::<String>::new(), "{body}");
    }
}

#[test]
fn a_host_that_answers_nonsense_is_at_fault() {
    for body in [READ.to_string(), format!("{READ} (call $read_it)")] {
        let tool = tool(&command("a", &body));
        let mut answered = 0;
        let outcome = drive(&tool, &json("{}"), limits(), 1_000, |call| {
            answered += 1;
            let honest = data().answer(call);
            if answered == body.matches("call").count() { Ok(json("[]")) } else { honest }
        });
        assert!(matches!(outcome.unwrap_err().failure, Failure::BadReply { .. }), "{body}");
    }
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn no_arguments_and_no_replies_do_more_than_end_the_run(bytes in proptest::collection::vec(any::<u8>(), 400)) {
        let mut seed = Unstructured::new(&bytes);
        let Ok(text) = calls::module(&mut seed) else { return Ok(()) };
        let tool = tool(&wat::parse_str(text).unwrap());
        let mut disk = data();
        let Ok(mut run) = Run::start(&tool, &json("{}"), limits()) else { return Ok(()) };
        loop {
            match run.step(1_000) {
                Ok(Step::Yield) => {}
                Ok(Step::Done(_)) | Err(_) => break,
                Ok(Step::HostCall(call)) => {
                    let honest: Result<Value, Value> = disk.answer(&call);
                    if run.reply(calls::garble(&mut seed, &call, honest)).is_err() {
                        break;
                    }
                }
            }
        }
        prop_assert!(run.fuel() <= limits().fuel);
    }
}
