//! Files as a WASI command sees them, and what it may not do with them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/calls.rs"]
mod calls;
#[path = "support/command.rs"]
mod command;
#[path = "support/disk.rs"]
mod disk;
mod support;

use ak_json::Value;
use ak_sandbox::{Failure, Run, RunLimits, Step};
use arbitrary::Unstructured;
use command::*;
use disk::Disk;
use proptest::prelude::*;
use support::{cases, drive, json, limits};

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
fn a_file_is_read_as_far_as_it_is_long() {
    // What is asked for is what the file has and a little for growth, at most what a host call may move.
    let most = |call: &ak_sandbox::HostCall| call.args.get("max").and_then(Value::as_u64);
    let body = format!("{READ} {}", on("read", 4));
    let tool = tool(&command("a", &body));
    let limits = RunLimits { host_call_bytes_max: 4 << 20, file_bytes_max: 16 << 20, ..limits() };
    let mut asked = Vec::new();
    drive(&tool, &json("{}"), limits, 1_000, |call| {
        asked.extend(most(call));
        data().answer(call)
    })
    .unwrap();
    assert_eq!(asked, [9 + 4_096]);
    // One that has grown by more is looked at again, once.
    for (length, expected) in [(10_000, "[1,100,100]"), (5 << 20, "[1,100,122]")] {
        let mut grown = data();
        let mut maxima = Vec::new();
        let outcome = drive(&tool, &json("{}"), limits, 1_000, |call| {
            let answer = grown.answer(call);
            if let Some(max) = most(call) {
                maxima.push(max);
                grown.files.insert("/data/a".to_string(), vec![b'x'; length]);
                if grown.files["/data/a"].len() as u64 > max {
                    return Err(json(r#"{"name":"BUFFER_OVERFLOW"}"#));
                }
                return grown.answer(call);
            }
            answer
        });
        assert_eq!(outcome.unwrap().output, json(expected), "{length}");
        assert_eq!(maxima[0], 9 + 4_096);
        assert_eq!(maxima.get(1).copied(), (length < 4 << 20).then_some(length as u64 + 4_096));
    }
}

#[test]
fn a_file_is_no_directory_and_a_directory_is_no_file() {
    let stat = |name: &str| format!("fs_stat /data/{name}");
    let gone = |name: &str| format!("fs_delete /data/{name}");
    for (name, body, expected, asked) in [
        ("sub", of_path("unlink", 3), "[1,131]", vec![stat("sub")]),
        ("a", of_path("unlink", 1), "[1,100]", vec![stat("a"), gone("a")]),
        ("a", of_path("rmdir", 1), "[1,154]", vec![stat("a")]),
        ("none", of_path("rmdir", 4), "[1,144]", vec![stat("none")]),
        ("a/", of_path("unlink", 2), "[1,154]", vec![stat("a")]),
        ("a/", of_path("stat", 2), "[1,154]", vec![stat("a")]),
        ("sub/", of_path("stat", 4), "[1,100]", vec![stat("sub")]),
        ("a/", open(2, 0, READING, 0), "[1,154]", vec![stat("a")]),
        ("new/", open(4, CREAT, WRITING, 0), "[1,131]", vec![]),
        ("new", open(3, CREAT | DIRECTORY | TRUNC, WRITING, 0), "[1,128]", vec![]),
        ("new", open(3, CREAT | DIRECTORY, READING, 0), "[1,128]", vec![]),
        ("sub", open(3, 0, WRITING, 0), "[1,131]", vec![stat("sub")]),
        ("sub", open(3, DIRECTORY, READING, 0), "[1,100]", vec![stat("sub")]),
    ] {
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        check(name, &body, expected, &asked);
    }
    // An empty directory goes.
    let mut disk = data();
    disk.directories.insert("/data/empty".to_string());
    assert_eq!(run("empty", &of_path("rmdir", 5), &mut disk).as_deref(), Ok("[1,100]"));
    assert!(disk.directories.is_empty());
    // What a directory can is not what a file can.
    let rights = "(call $try (call $fdstat (i32.const 3) (i32.const 600)))
        (call $try (i32.wrap_i64 (i64.and (i64.load (i32.const 608)) (i64.const 66))))
        (call $try (i32.wrap_i64 (i64.and (i64.load (i32.const 616)) (i64.const 66))))";
    check("a", rights, "[1,100,100,166]", &[]);
}

#[test]
fn who_may_write_need_not_look_first() {
    let denied = || Disk { refused: vec!["fs_stat /data/x", "fs_read /data/x"], ..data() };
    for (flags, rights, expected) in [
        (CREAT | TRUNC, WRITING, "[1,100,100]"),
        (CREAT | TRUNC, BOTH, "[1,100,100]"),
        (CREAT, WRITING, "[1,102,108]"),
        (CREAT | EXCL, WRITING, "[1,102,108]"),
    ] {
        let body = format!("{} {}", open(1, flags, rights, 0), on("write", 4));
        assert_eq!(run("x", &body, &mut denied()).as_deref(), Ok(expected), "{flags} {rights}");
    }
}

#[test]
fn small_things_are_as_they_should_be() {
    let empty = "(i32.store (i32.const 12) (i32.const 0))
        (call $try (call $pwrite (i32.const 4) (i32.const 8) (i32.const 1) (i64.const 100) (i32.const 32)))";
    let body = format!("{CREATE} {empty} {}", on("size_of", 4));
    check("x", &body, "[1,100,100,100,100]", &["fs_write /data/x"]);
    let seek = |offset: i64, whence: u32| {
        format!(
            "(call $try (call $seek (i32.const 4) (i64.const {offset}) (i32.const {whence}) (i32.const 48)))"
        )
    };
    let body = [READ.to_string(), seek(i64::MAX, 0), seek(1, 1), seek(-1, 0), seek(i64::MAX, 2)].concat();
    check("a", &body, "[1,100,100,128,128,128]", &["fs_stat /data/a"]);
    check("a", "(call $try (call $set_flags (i32.const 1) (i32.const 1)))", "[1,100]", &[]);
    // A directory that is read again from its beginning is asked for again.
    let list = "(call $try (call $readdir (i32.const 3) (i32.const 700) (i32.const 200) (i64.const 0) (i32.const 32)))";
    check("a", &list.repeat(2), "[1,100,100]", &["fs_list /data"; 2]);
    let rest = list.replace("i64.const 0", "i64.const 1");
    check("a", &format!("{list} {rest}"), "[1,100,100]", &["fs_list /data"]);
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
    // The limit is 4, without the directory that stands open already.
    let body = READ.repeat(5);
    check("a", &body, "[1,100,100,100,100,133]", &["fs_stat /data/a"]);
    // What files hold together is bounded, and what one may hold.
    let grow = |bytes: u64| format!("{CREATE} (call $try (call $resize (i32.const 4) (i64.const {bytes})))");
    check("n", &grow(256), "[1,100,100]", &["fs_write /data/n"; 2]);
    check("n", &grow(257), "[1,100,151]", &["fs_write /data/n"]);
    check("n", &grow(u64::MAX >> 1), "[1,100,151]", &["fs_write /data/n"]);
    let read_other = format!("(i32.store8 (i32.const 64) (i32.const 97)) {READ} {}", on("read", 5));
    let mut disk = Disk::with(&[("/data/a", &"x".repeat(200))]);
    let two = format!("{} {read_other}", grow(256));
    assert_eq!(run("n", &two, &mut disk).as_deref(), Ok("[1,100,100,100,122]"));
    // What a directory lists is held too: a name and what is kept beside each.
    let names: Vec<String> = (0..20).map(|number| format!("/data/{number}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let list = "(call $try (call $readdir (i32.const 3) (i32.const 700) (i32.const 200) (i64.const 0) (i32.const 32)))";
    assert_eq!(run("n", list, &mut Disk::with(&files[..10])).as_deref(), Ok("[1,100]"));
    assert_eq!(run("n", list, &mut Disk::with(&files)).as_deref(), Ok("[1,122]"));
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
