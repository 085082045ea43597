//! A corpus of hostile and broken modules, each with the error it must end in. Every row runs twice and must cost the same, and an
//! honest call must work right after it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use ak_sandbox::{Abi, Failure, Trap};
use support::{builtin, call, json, limits, load, native, native_run, wasi};

/// Runs the module on `{}` and compares how it ends.
#[track_caller]
fn check(abi: Abi, wat: &str, expected: &Failure) {
    let tool = load(abi, wat);
    let first = call(&tool, &json("{}")).unwrap_err();
    assert_eq!(&first.failure, expected, "{wat}");
    assert!(first.fuel <= limits().fuel, "{wat}");
    assert_eq!(call(&tool, &json("{}")).unwrap_err(), first, "the second call differs: {wat}");
    assert_eq!(call(&builtin(0), &json(r#"{"a":3,"b":5}"#)).unwrap().output, json(r#"{"result":8}"#));
}

#[track_caller]
fn check_run(imports: &str, body: &str, expected: &Failure) {
    check(Abi::Native, &native_run(imports, body), expected);
}

#[track_caller]
fn check_trap(body: &str, trap: Trap) {
    check_run("", &format!("{body} (i64.const 0)"), &Failure::Trap(trap));
}

fn out_of_fuel() -> Failure {
    Failure::OutOfFuel { fuel_max: limits().fuel }
}

fn memory_limit() -> Failure {
    Failure::MemoryLimit { bytes_max: limits().memory_bytes_max }
}

fn table_limit() -> Failure {
    Failure::TableLimit { elements_max: limits().table_elements_max }
}

fn output_too_large() -> Failure {
    Failure::OutputTooLarge { bytes_max: limits().output_bytes_max }
}

fn bad_pointer(call: &'static str, at: u32, length: u32) -> Failure {
    Failure::BadPointer { call, at, length }
}

#[test]
fn endless_work_runs_out_of_fuel() {
    for body in [
        "(loop $l (br $l)) unreachable",
        "(loop $l (br_if $l (i32.const 1))) (i64.const 0)",
        "(loop $l (br_table $l $l (i32.const 7))) unreachable",
        "(local $i i64) (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $l (i64.ne (local.get $i) (i64.const -1)))) (i64.const 0)",
        "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l)) unreachable",
        "(loop $l (memory.copy (i32.const 0) (i32.const 1) (i32.const 65535)) (br $l)) unreachable",
        "(loop $l (drop (memory.grow (i32.const 0))) (br $l)) unreachable",
        "(loop $l (drop (f64.sqrt (f64.const 2))) (br $l)) unreachable",
    ] {
        check_run("", body, &out_of_fuel());
    }
    check_run(
        r#"(import "ak" "log" (func $log (param i32 i32)))"#,
        "(loop $l (call $log (i32.const 0) (i32.const 65536)) (br $l)) unreachable",
        &out_of_fuel(),
    );
    check_run(
        "(table 1000 funcref)",
        "(loop $l (table.fill (i32.const 0) (ref.null func) (i32.const 1000)) (br $l)) unreachable",
        &out_of_fuel(),
    );
    check_run(
        "(table 1000 funcref)",
        "(loop $l (table.copy (i32.const 0) (i32.const 1) (i32.const 999)) (br $l)) unreachable",
        &out_of_fuel(),
    );
    check(Abi::Wasi, &wasi("", "(loop $l (br $l))"), &out_of_fuel());
    check(
        Abi::Native,
        r#"(module (memory (export "memory") 1) (start $s) (func $s (loop $l (br $l)))
            (func (export "ak_alloc") (param i32) (result i32) (i32.const 0))
            (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0)))"#,
        &out_of_fuel(),
    );
    check(
        Abi::Native,
        r#"(module (memory (export "memory") 1)
            (func (export "ak_alloc") (param i32) (result i32) (loop $l (br $l)) unreachable)
            (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0)))"#,
        &out_of_fuel(),
    );
}

#[test]
fn endless_depth_overflows_the_stack() {
    check_run("(func $f (call $f))", "(call $f) (i64.const 0)", &Failure::StackOverflow);
    check_run("(func $f (call $g)) (func $g (call $f))", "(call $f) (i64.const 0)", &Failure::StackOverflow);
    check_run(
        "(type $v (func)) (table funcref (elem $f $g))
         (func $f (call_indirect (type $v) (i32.const 1))) (func $g (call_indirect (type $v) (i32.const 0)))",
        "(call $f) (i64.const 0)",
        &Failure::StackOverflow,
    );
    // Few frames, each huge.
    let locals = "i64 ".repeat(2_000);
    check_run(
        &format!("(func $f (local {locals}) (call $f))"),
        "(call $f) (i64.const 0)",
        &Failure::StackOverflow,
    );
    check(Abi::Wasi, &wasi("(func $f (call $f))", "(call $f)"), &Failure::StackOverflow);
    check(
        Abi::Native,
        &native(
            r#"(start $s) (func $s (call $s))
               (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0))"#,
        ),
        &Failure::StackOverflow,
    );
}

#[test]
fn what_cannot_be_translated_is_said_in_the_same_words_every_time() {
    let (gets, drops) = ("local.get 0 ".repeat(100_000), "drop ".repeat(100_000));
    check_run(
        &format!("(func $f (param i32) {gets} {drops})"),
        "(call $f (i32.const 0)) (i64.const 0)",
        &Failure::Unrunnable("a function cannot be translated".to_string()),
    );
}

#[test]
fn memory_bombs_meet_the_memory_limit() {
    check_run("", "(drop (memory.grow (i32.const 16))) (i64.const 0)", &memory_limit());
    check_run("", "(drop (memory.grow (i32.const 65535))) (i64.const 0)", &memory_limit());
    check_run("", "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) unreachable", &memory_limit());
    let big = |pages: &str| {
        format!(
            r#"(module (memory (export "memory") {pages})
                (func (export "ak_alloc") (param i32) (result i32) (i32.const 0))
                (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0)))"#
        )
    };
    check(Abi::Native, &big("17"), &memory_limit());
    check(Abi::Native, &big("65536"), &memory_limit());
    check(Abi::Native, &big("17 17"), &memory_limit());
    check(Abi::Wasi, r#"(module (memory (export "memory") 17) (func (export "_start")))"#, &memory_limit());
}

#[test]
fn table_bombs_meet_the_table_limit() {
    check_run("(table 1001 funcref)", "(i64.const 0)", &table_limit());
    check_run("(table 4294967295 funcref)", "(i64.const 0)", &table_limit());
    check_run("(table 600 funcref) (table 600 externref)", "(i64.const 0)", &table_limit());
    check_run(
        "(table $t 1 funcref)",
        "(drop (table.grow $t (ref.null func) (i32.const 1))) (i64.const 0)",
        &table_limit(),
    );
    check_run(
        "(table $t 1 externref)",
        "(loop $l (drop (table.grow $t (ref.null extern) (i32.const 1000000))) (br $l)) unreachable",
        &table_limit(),
    );
}

#[test]
fn traps_are_named() {
    check_trap("unreachable", Trap::Unreachable);
    check_trap("(drop (i32.load (i32.const 65536)))", Trap::MemoryOutOfBounds);
    check_trap("(drop (i64.load (i32.const -1)))", Trap::MemoryOutOfBounds);
    check_trap("(drop (i32.load offset=4294967295 (i32.const -1)))", Trap::MemoryOutOfBounds);
    check_trap("(i32.store8 (i32.const 65536) (i32.const 1))", Trap::MemoryOutOfBounds);
    check_trap("(memory.fill (i32.const 1) (i32.const 0) (i32.const -1))", Trap::MemoryOutOfBounds);
    check_trap("(memory.copy (i32.const -1) (i32.const 0) (i32.const 2))", Trap::MemoryOutOfBounds);
    check_trap("(drop (i32.div_s (i32.const 1) (i32.const 0)))", Trap::DivisionByZero);
    check_trap("(drop (i64.rem_u (i64.const 1) (i64.const 0)))", Trap::DivisionByZero);
    check_trap("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", Trap::IntegerOverflow);
    check_trap("(drop (i32.trunc_f64_s (f64.const nan)))", Trap::BadConversion);
    check_trap("(drop (i32.trunc_f64_s (f64.const 1e10)))", Trap::IntegerOverflow);
    let table = "(type $v (func)) (table 2 funcref) (elem (i32.const 0) $run) (func $run (param i32))";
    let indirect = |index: i32| format!("(call_indirect (type $v) (i32.const {index})) (i64.const 0)");
    check_run(table, &indirect(0), &Failure::Trap(Trap::BadSignature));
    check_run(table, &indirect(1), &Failure::Trap(Trap::IndirectCallToNull));
    check_run(table, &indirect(2), &Failure::Trap(Trap::TableOutOfBounds));
    check_run(table, &indirect(-1), &Failure::Trap(Trap::TableOutOfBounds));
    check_run(
        "(table 1 funcref)",
        "(table.set (i32.const 1) (ref.null func)) (i64.const 0)",
        &Failure::Trap(Trap::TableOutOfBounds),
    );
}

#[test]
fn what_fails_before_the_call_is_named_too() {
    let start = |body: &str| {
        native(&format!(
            r#"(start $s) (func $s {body}) (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0))"#
        ))
    };
    check(Abi::Native, &start("unreachable"), &Failure::Trap(Trap::Unreachable));
    check(Abi::Native, &start("(drop (memory.grow (i32.const 999)))"), &memory_limit());
    check_run(r#"(data (i32.const 65535) "ab")"#, "(i64.const 0)", &Failure::Trap(Trap::MemoryOutOfBounds));
    check_run(r#"(data (i32.const -1) "a")"#, "(i64.const 0)", &Failure::Trap(Trap::MemoryOutOfBounds));
    check_run(
        "(table 1 funcref) (elem (i32.const 1) $f) (func $f)",
        "(i64.const 0)",
        &Failure::Trap(Trap::TableOutOfBounds),
    );
}

#[test]
fn lying_pointers_are_caught() {
    for (at, length) in
        [(65_536, 1), (65_535, 2), (0, 65_537), (u32::MAX, u32::MAX), (u32::MAX, 1), (1, u32::MAX)]
    {
        let packed = u64::from(at) << 32 | u64::from(length);
        check_run("", &format!("(i64.const {packed})"), &bad_pointer("ak_run", at, length));
        for name in ["log", "fail"] {
            check_run(
                &format!(r#"(import "ak" "{name}" (func $f (param i32 i32)))"#),
                &format!("(call $f (i32.const {at}) (i32.const {length})) (i64.const 0)"),
                &bad_pointer(name, at, length),
            );
        }
        for operation in ak_sandbox::HostOperation::ALL {
            let name = operation.name();
            check_run(
                &format!(r#"(import "ak" "{name}" (func $f (param i32 i32) (result i32)))"#),
                &format!("(drop (call $f (i32.const {at}) (i32.const {length}))) (i64.const 0)"),
                &bad_pointer(name, at, length),
            );
        }
        check(
            Abi::Wasi,
            &wasi(
                r#"(import "wasi_snapshot_preview1" "random_get" (func $f (param i32 i32) (result i32)))"#,
                &format!("(drop (call $f (i32.const {at}) (i32.const {length})))"),
            ),
            &bad_pointer("random_get", at, length),
        );
    }
    for at in [65_535, 65_536, u32::MAX] {
        check(
            Abi::Native,
            &format!(
                r#"(module (memory (export "memory") 1)
                    (func (export "ak_alloc") (param i32) (result i32) (i32.const {at}))
                    (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0)))"#
            ),
            &bad_pointer("ak_alloc", at, 2),
        );
        check_run(
            r#"(import "ak" "now" (func $now (param i32 i32) (result i32)))
               (import "ak" "take" (func $take (param i32))) (data (i32.const 0) "{}")"#,
            &format!(
                "(drop (call $now (i32.const 0) (i32.const 2))) (call $take (i32.const {at})) (i64.const 0)"
            ),
            &bad_pointer("take", at, r#"{"ok":false,"error":"refused"}"#.len() as u32),
        );
    }
}

/// Each WASI function that takes an address is given one outside the memory.
#[test]
fn lying_pointers_are_caught_by_wasi() {
    let far = 65_536;
    for (name, params, args, at, length) in [
        ("args_sizes_get", "i32 i32", "(i32.const 65536) (i32.const 0)", far, 4),
        ("args_sizes_get", "i32 i32", "(i32.const 0) (i32.const 65533)", 65_533, 4),
        ("args_get", "i32 i32", "(i32.const 65536) (i32.const 0)", far, 4),
        ("args_get", "i32 i32", "(i32.const 0) (i32.const 65536)", far, 5),
        ("environ_sizes_get", "i32 i32", "(i32.const -1) (i32.const 0)", u32::MAX, 4),
        ("clock_res_get", "i32 i32", "(i32.const 0) (i32.const 65529)", 65_529, 8),
        ("clock_time_get", "i32 i64 i32", "(i32.const 0) (i64.const 0) (i32.const 65529)", 65_529, 8),
        ("fd_fdstat_get", "i32 i32", "(i32.const 1) (i32.const 65513)", 65_513, 24),
        (
            "fd_write",
            "i32 i32 i32 i32",
            "(i32.const 1) (i32.const 65536) (i32.const 1) (i32.const 0)",
            far,
            8,
        ),
        (
            "fd_write",
            "i32 i32 i32 i32",
            "(i32.const 1) (i32.const 16) (i32.const 1) (i32.const 0)",
            8,
            u32::MAX,
        ),
        (
            "fd_write",
            "i32 i32 i32 i32",
            "(i32.const 1) (i32.const 32) (i32.const 1) (i32.const 65536)",
            far,
            4,
        ),
        (
            "fd_write",
            "i32 i32 i32 i32",
            "(i32.const 1) (i32.const -1) (i32.const 1024) (i32.const 0)",
            u32::MAX,
            8,
        ),
        ("fd_read", "i32 i32 i32 i32", "(i32.const 0) (i32.const 65536) (i32.const 1) (i32.const 0)", far, 8),
        (
            "fd_read",
            "i32 i32 i32 i32",
            "(i32.const 0) (i32.const 16) (i32.const 1) (i32.const 0)",
            8,
            u32::MAX,
        ),
    ] {
        let imports = format!(
            r#"(import "wasi_snapshot_preview1" "{name}" (func $f (param {params}) (result i32)))
               (data (i32.const 16) "\08\00\00\00\ff\ff\ff\ff")"#
        );
        check(
            Abi::Wasi,
            &wasi(&imports, &format!("(drop (call $f {args}))")),
            &bad_pointer(name, at, length),
        );
    }
}

#[test]
fn output_is_bounded_and_is_json() {
    let giving = |text: &[u8]| {
        let hex: String = text.iter().map(|byte| format!("\\{byte:02x}")).collect();
        native_run(&format!(r#"(data (i32.const 0) "{hex}")"#), &format!("(i64.const {})", text.len()))
    };
    check_run("", "(i64.const 1025)", &output_too_large());
    check_run("", "(i64.const 65536)", &output_too_large());
    let reason = |wat: &str| {
        let Failure::InvalidJsonOutput { reason } =
            call(&load(Abi::Native, wat), &json("{}")).unwrap_err().failure
        else {
            panic!("{wat}");
        };
        reason
    };
    for text in [
        &b"\0\0\0\0"[..],
        b"",
        b" ",
        b"\"\xff\xfe\"",
        b"\"\xed\xa0\x80\"",
        b"\"\\ud800\"",
        b"{",
        b"1 2",
        b"NaN",
        b"[1]\0",
        b"\xef\xbb\xbf{}",
        b"01",
        b"'a'",
        b"{\"a\":1,\"a\":2}",
        b"1e999",
        b"99999999999999999999",
    ] {
        assert!(!reason(&giving(text)).is_empty());
    }
    assert!(!reason(&giving(&[b'['; 1024])).is_empty());
    let write = r#"(import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 0) "\10\00\00\00\00\02\00\00")"#;
    let call_write = "(drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
    check(Abi::Wasi, &wasi(write, &format!("(loop $l {call_write} (br $l))")), &output_too_large());
}

#[test]
fn host_calls_are_bounded() {
    let imports = r#"(import "ak" "now" (func $now (param i32 i32) (result i32)))
        (import "ak" "take" (func $take (param i32))) (data (i32.const 0) "{}")"#;
    let now = "(drop (call $now (i32.const 0) (i32.const 2)))";
    check_run(
        imports,
        &format!("(loop $l {now} (br $l)) unreachable"),
        &Failure::HostCallLimit { calls_max: 4 },
    );
    let no_reply = Failure::BadHostCall { call: "take", reason: "no reply is waiting".into() };
    check_run(imports, "(call $take (i32.const 0)) (i64.const 0)", &no_reply);
    let twice = "(call $take (i32.const 0)) (call $take (i32.const 0)) (i64.const 0)";
    check_run(imports, &format!("{now} {twice}"), &no_reply);
    for (length, data) in [(2, "{x"), (257, "{}"), (0, ""), (1, r"\ff")] {
        let wat = native_run(
            &format!(
                r#"(import "ak" "http" (func $http (param i32 i32) (result i32))) (data (i32.const 0) "{data}")"#
            ),
            &format!("(drop (call $http (i32.const 0) (i32.const {length}))) (i64.const 0)"),
        );
        let failure = call(&load(Abi::Native, &wat), &json("{}")).unwrap_err().failure;
        assert!(matches!(failure, Failure::BadHostCall { call: "http", .. }), "{failure}");
    }
}

#[test]
fn a_tool_that_fails_says_why() {
    let failed = |message: &str, exit_code| Failure::ToolFailed { message: message.into(), exit_code };
    check_run(
        r#"(import "ak" "fail" (func $fail (param i32 i32))) (data (i32.const 0) "too \22bad\22")"#,
        "(call $fail (i32.const 0) (i32.const 9)) unreachable",
        &failed("too \"bad\"", None),
    );
    check_run(
        r#"(import "ak" "fail" (func $fail (param i32 i32))) (data (i32.const 0) "\ff")"#,
        "(call $fail (i32.const 0) (i32.const 1)) unreachable",
        &failed("\u{fffd}", None),
    );
    let imports = r#"(import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (data (i32.const 0) "\08\00\00\00\05\00\00\00oh no\n")"#;
    let complain = "(drop (call $w (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 32)))";
    check(
        Abi::Wasi,
        &wasi(imports, &format!("{complain} (call $exit (i32.const 3))")),
        &failed("oh no", Some(3)),
    );
    check(
        Abi::Wasi,
        &wasi(imports, "(call $exit (i32.const -1))"),
        &failed("exit code 4294967295", Some(u32::MAX)),
    );
}

/// What a failing command says last is what matters.
#[test]
fn the_end_of_the_log_is_kept() {
    let wat = wasi(
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
           (data (i32.const 0) "\10\00\00\00\07\00\00\00") (data (i32.const 16) "noise\n\n")"#,
        "(local $i i32)
         (loop $l (drop (call $w (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 32)))
           (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
         (i32.store8 (i32.const 16) (i32.const 78))
         (drop (call $w (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 32)))
         (call $exit (i32.const 1))",
    );
    let error = call(&load(Abi::Wasi, &wat), &json("{}")).unwrap_err();
    assert_eq!(error.log.len() as u64, limits().log_bytes_max);
    assert!(error.log.ends_with(b"noise\n\nNoise\n\n"), "{:?}", error.log);
    let Failure::ToolFailed { message, .. } = error.failure else { panic!("{}", error.failure) };
    assert!(message.ends_with("noise\n\nNoise"), "{message:?}");
}
