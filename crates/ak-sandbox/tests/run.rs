//! What honest tools can rely on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use ak_json::Value;
use ak_sandbox::{Abi, Failure, HostCall, HostOperation, Run, RunLimits, Step, Tool};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use support::{builtin, call, cases, drive, echo, json, limits, load, load_bytes, native, native_run, wasi};

#[test]
fn tools_and_runs_travel_between_threads() {
    fn travels<T: Send + Sync>() {}
    fn moves<T: Send>() {}
    travels::<Tool>();
    moves::<Run>();
}

#[track_caller]
fn check(tool: usize, input: &str, expected: Result<&str, &str>) {
    let outcome = call(&builtin(tool), &json(input));
    let actual = outcome.map(|done| done.output.to_json()).map_err(|error| match error.failure {
        Failure::ToolFailed { message, exit_code: None } => message,
        failure @ Failure::InvalidInput { .. } => failure.to_string(),
        other => panic!("{input}: {other}"),
    });
    assert_eq!(actual.as_deref().map_err(String::as_str), expected, "{input}");
}

#[test]
fn add_adds() {
    for (a, b, sum) in [
        ("3", "5", "8"),
        ("0", "0", "0"),
        ("-0", "0", "0"),
        ("-7", "3", "-4"),
        ("9223372036854775806", "1", "9223372036854775807"),
        ("9223372036854775807", "1", "9.223372036854776e18"),
        ("-9223372036854775808", "-1", "-9.223372036854776e18"),
        ("18446744073709551615", "0", "1.8446744073709552e19"),
        ("1.5", "2", "3.5"),
        ("0.1", "0.2", "0.30000000000000004"),
        ("1.0", "1", "2.0"),
        ("1e2", "1", "101.0"),
        ("-0.0", "-0.0", "-0.0"),
        ("5e-324", "0", "5e-324"),
        ("1.7976931348623157e308", "0", "1.7976931348623157e308"),
    ] {
        let output = call(&builtin(0), &json(&format!(r#"{{"a":{a},"b":{b}}}"#))).unwrap().output;
        let expected = json(&format!(r#"{{"result":{sum}}}"#));
        assert_eq!(output.to_json(), expected.to_json(), "{a} + {b}");
    }
    check(0, r#"{"b":5,"a":3}"#, Ok(r#"{"result":8}"#));
    check(0, r#"{"a":1e308,"b":1e308}"#, Err("the sum is out of range"));
    check(0, r#"{"a":1}"#, Err("argument `b` is missing"));
    check(0, r#"{}"#, Err("argument `a` is missing"));
    check(0, r#"{"a":1,"b":2,"c":3}"#, Err("argument `c` is not known here"));
    check(0, r#"{"a":"1","b":2}"#, Err("argument `a` is a string, expected number"));
    check(0, r#"{"a":1,"b":null}"#, Err("argument `b` is null, expected number"));
    for input in ["[1,2]", "null", "3", r#""a""#] {
        let outcome = call(&builtin(0), &json(input)).unwrap_err().to_string();
        assert!(
            outcome.starts_with("argument value is ") && outcome.ends_with(", expected object"),
            "{outcome}"
        );
    }
}

#[test]
fn concat_joins() {
    for (input, result) in [
        (r#"{"str1":"Hello, ","str2":"World!"}"#, r#"{"result":"Hello, World!"}"#),
        (r#"{"str1":"","str2":""}"#, r#"{"result":""}"#),
        (r#"{"str1":"\"\\/","str2":"\n\u0000\u001f"}"#, r#"{"result":"\"\\/\n\u0000\u001f"}"#),
        (r#"{"str1":"é😀","str2":"\u007f\u2028"}"#, "{\"result\":\"é😀\u{7f}\u{2028}\"}"),
    ] {
        let output = call(&builtin(1), &json(input)).unwrap().output;
        assert_eq!(output, json(result), "{input}");
    }
    check(1, r#"{"str1":"a"}"#, Err("argument `str2` is missing"));
    check(1, r#"{"str1":"a","str2":1}"#, Err("argument `str2` is an integer, expected string"));
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn add_is_exact_on_integers(a: i64, b: i64) {
        let input = json(&format!(r#"{{"a":{a},"b":{b}}}"#));
        let output = call(&builtin(0), &input).unwrap().output;
        let result = output.get("result").unwrap();
        match a.checked_add(b) {
            Some(sum) => prop_assert_eq!(result.to_json(), sum.to_string()),
            None => prop_assert_eq!(result.as_f64(), Some(a as f64 + b as f64)),
        }
    }

    #[test]
    fn add_is_ieee_on_floats(a in -1e300f64..1e300, b in proptest::num::f64::NORMAL) {
        prop_assume!((a + b).is_finite());
        let input = json(&format!(r#"{{"a":{a:e},"b":{b:e}}}"#));
        let output = call(&builtin(0), &input).unwrap().output;
        prop_assert_eq!(output.get("result").unwrap().as_f64().unwrap().to_bits(), (a + b).to_bits());
    }

    #[test]
    fn concat_keeps_every_character(a in "\\PC{0,20}", b in any::<String>()) {
        let input = Value::from(ak_json::Object::from_iter([("str1", Value::from(a.as_str())), ("str2", Value::from(b.as_str()))]));
        let output = drive(&builtin(1), &input, RunLimits::default(), u64::MAX, |_| unreachable!()).unwrap().output;
        let expected = Value::from(format!("{a}{b}"));
        prop_assert_eq!(output.get("result"), Some(&expected));
    }
}

/// The module packs what it has got at `at` into its result, an array, and so shows what it saw.
fn asking(operation: &str, args: &str) -> String {
    native_run(
        &format!(
            r#"(import "ak" "{operation}" (func $ask (param i32 i32) (result i32)))
               (import "ak" "take" (func $take (param i32)))
               (data (i32.const 0) "{}")"#,
            args.replace('"', "\\22")
        ),
        &format!(
            "(local $length i32)
             (local.set $length (call $ask (i32.const 0) (i32.const {})))
             (call $take (i32.const 4096))
             (i64.or (i64.const {}) (i64.extend_i32_u (local.get $length)))",
            args.len(),
            4096u64 << 32
        ),
    )
}

#[test]
fn host_calls_suspend_and_resume() {
    for operation in HostOperation::ALL {
        let tool = load(Abi::Native, &asking(operation.name(), r#"{"path":"/x"}"#));
        let seen = |call: &HostCall| {
            assert_eq!(call, &HostCall { operation, args: json(r#"{"path":"/x"}"#) });
        };
        let done = drive(&tool, &json("{}"), limits(), 10, |call| {
            seen(call);
            Ok(json(r#"[1,"two"]"#))
        });
        assert_eq!(done.unwrap().output.to_json(), r#"{"ok":true,"result":[1,"two"]}"#);
        let refused = drive(&tool, &json("{}"), limits(), 10, |_| Err(json(r#"{"code":-4201}"#)));
        assert_eq!(refused.unwrap().output.to_json(), r#"{"ok":false,"error":{"code":-4201}}"#);
    }
}

#[test]
fn replies_are_bounded_and_paid_for() {
    let tool = load(Abi::Native, &asking("http", "{}"));
    let with = |length: usize| {
        let body = Value::from("x".repeat(length));
        drive(&tool, &json("{}"), limits(), u64::MAX, move |_| Ok(body.clone()))
    };
    let cheap = with(0).unwrap().fuel;
    assert_eq!(with(192).unwrap().fuel, cheap + 3, "64 bytes a unit");
    // {"ok":true,"result":"…"} takes 23 bytes besides the text; the limit is 256.
    assert_eq!(with(233).unwrap().output.get("ok"), Some(&Value::Bool(true)));
    let too_long = r#"{"ok":false,"error":{"name":"LIMIT","message":"the reply is longer than 256 bytes"}}"#;
    assert_eq!(with(234).unwrap().output, json(too_long));
}

#[test]
fn no_more_is_asked_for_than_a_reply_may_hold() {
    let limits = RunLimits { host_call_bytes_max: 1 << 20, ..limits() };
    let asked = |operation, args| {
        let mut asked = None;
        let tool = load(Abi::Native, &asking(operation, args));
        drive(&tool, &json("{}"), limits, u64::MAX, |call| {
            asked = Some(call.args.to_json());
            Ok(Value::Null)
        })
        .unwrap();
        asked.unwrap()
    };
    let most = ((1 << 20) - 1_024) / 4 * 3;
    for operation in ["fs_read", "http"] {
        let capped = asked(operation, r#"{"max":4194304,"path":"/x"}"#);
        assert_eq!(capped, format!("{{\"max\":{most},\"path\":\"/x\"}}"));
        assert_eq!(asked(operation, r#"{"max":5}"#), r#"{"max":5}"#);
        assert_eq!(asked(operation, r#"{"max":"x"}"#), r#"{"max":"x"}"#);
    }
    assert_eq!(asked("call", r#"{"max":4194304}"#), r#"{"max":4194304}"#);
}

#[test]
fn a_run_driven_out_of_order_ends() {
    let tool = load(Abi::Native, &asking("http", "{}"));
    let waiting = || {
        let mut run = Run::start(&tool, &json("{}"), limits()).unwrap();
        assert!(matches!(run.step(u64::MAX).unwrap(), Step::HostCall(_)));
        run
    };
    let mut run = waiting();
    assert!(matches!(run.step(1).unwrap_err().failure, Failure::OutOfOrder(_)));
    let mut run = waiting();
    run.reply(Ok(Value::Null)).unwrap();
    assert!(matches!(run.reply(Ok(Value::Null)).unwrap_err().failure, Failure::OutOfOrder(_)));
    let mut run = waiting();
    run.reply(Ok(Value::Null)).unwrap();
    assert!(matches!(run.step(u64::MAX), Ok(Step::Done(_))));
    assert!(matches!(run.step(1).unwrap_err().failure, Failure::OutOfOrder(_)));
    assert!(matches!(run.reply(Ok(Value::Null)).unwrap_err().failure, Failure::OutOfOrder(_)));
}

#[test]
fn every_call_is_the_first() {
    let tool = load(
        Abi::Native,
        &native(
            r#"(global $calls (mut i32) (i32.const 0))
               (func (export "ak_run") (param i32 i32) (result i64)
                 (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                 (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
                 (i32.store8 (i32.const 1) (i32.add (i32.const 48)
                   (i32.add (global.get $calls) (i32.load8_u (i32.const 0)))))
                 (i64.const 0x100000001))"#,
        ),
    );
    let first = call(&tool, &json("{}")).unwrap();
    assert_eq!(first.output, json("2"));
    for _ in 0..3 {
        assert_eq!(call(&tool, &json("{}")).unwrap(), first);
    }
}

#[test]
fn a_start_function_runs_first_and_may_ask() {
    let wat = r#"(module (import "ak" "log" (func $log (param i32 i32)))
        (memory (export "memory") 1) (data (i32.const 0) "start")
        (func $s (call $log (i32.const 0) (i32.const 5)) (i32.store8 (i32.const 99) (i32.const 55)))
        (start $s)
        (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0x6300000001)))"#;
    let done = call(&load(Abi::Native, wat), &json("{}")).unwrap();
    assert_eq!((done.output, done.log), (json("7"), b"start\n".to_vec()));
    // Custom sections and an absent export section do not mislead the rewriting.
    let mut module = wat::parse_str(wat).unwrap();
    module.splice(8..8, *b"\0\x03\x01xy");
    assert_eq!(call(&load_bytes(Abi::Native, &module).unwrap(), &json("{}")).unwrap().output, json("7"));
}

#[test]
fn an_export_is_no_start_function_for_its_name() {
    let wat = wasi(
        &format!(
            r#"(import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
               (data (i32.const 0) "\08\00\00\00\01\00\00\001")
               (func (export "\00ak start") (param i32) unreachable)"#
        ),
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))",
    );
    assert_eq!(call(&load(Abi::Wasi, &wat), &json("{}")).unwrap().output, json("1"));
}

#[test]
fn limits_of_the_manifest_only_lower() {
    let module = wat::parse_str(native_run("", "(loop $l (br $l)) unreachable")).unwrap();
    for (own, effective) in [(500, 500), (5_000_000, 1_000_000)] {
        let mut manifest = support::manifest(Abi::Native, &module);
        manifest.limits.fuel = Some(own);
        let tool = Tool::new(manifest, module.as_slice().into(), &Default::default()).unwrap();
        let error = call(&tool, &json("{}")).unwrap_err();
        assert_eq!(error.failure, Failure::OutOfFuel { fuel_max: effective });
        assert_eq!(error.fuel, effective);
    }
}

#[test]
fn arguments_and_results_obey_the_schemas() {
    let module = wat::parse_str(echo()).unwrap();
    let mut manifest = support::manifest(Abi::Native, &module);
    manifest.input = json(r#"{"type":"object"}"#);
    manifest.output = json(r#"{"required":["a"]}"#);
    let tool = Tool::new(manifest, module.as_slice().into(), &Default::default()).unwrap();
    assert_eq!(call(&tool, &json(r#"{"a":1}"#)).unwrap().output, json(r#"{"a":1}"#));
    let input = call(&tool, &json("[]")).unwrap_err();
    let reason = "value is an array, expected object".to_string();
    assert_eq!((input.failure, input.fuel), (Failure::InvalidInput { reason }, 0));
    let output = call(&tool, &json("{}")).unwrap_err();
    let reason = "`a` is missing".to_string();
    assert_eq!(output.failure, Failure::InvalidOutput { reason });
    assert!(output.fuel > 0);
}

#[test]
fn limits_of_a_call_hold_for_an_instance_that_served_before() {
    let zero = native_run("(table 10 funcref) (data (i32.const 1) \"0\")", "(i64.const 0x100000001)");
    let zero = load(Abi::Native, &zero);
    assert_eq!(call(&zero, &json("{}")).unwrap().output, json("0"));
    assert_eq!(zero.idle(), 1);
    let memory = RunLimits { memory_bytes_max: 65_535, ..limits() };
    let failure = drive(&zero, &json("{}"), memory, u64::MAX, |_| unreachable!()).unwrap_err().failure;
    assert_eq!(failure, Failure::MemoryLimit { bytes_max: 65_535 });
    let table = RunLimits { table_elements_max: 9, ..limits() };
    let failure = drive(&zero, &json("{}"), table, u64::MAX, |_| unreachable!()).unwrap_err().failure;
    assert_eq!(failure, Failure::TableLimit { elements_max: 9 });
    assert_eq!(zero.idle(), 1, "the instance is kept all the same");
    assert_eq!(call(&zero, &json("{}")).unwrap().output, json("0"));
}

#[test]
fn instances_are_kept_up_to_a_number_and_a_size() {
    let zero = r#"(module (memory (export "memory") 2) (data (i32.const 1) "0")
        (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0x100000001)))"#;
    let module = wat::parse_str(zero).unwrap();
    let kept = |recycled_max, pages: usize| {
        let config =
            ak_sandbox::SandboxConfig { recycled_max, recycled_bytes_max: pages << 16, ..Default::default() };
        let tool =
            Tool::new(support::manifest(Abi::Native, &module), module.as_slice().into(), &config).unwrap();
        let runs: Vec<Run> = (0..6).map(|_| Run::start(&tool, &json("{}"), limits()).unwrap()).collect();
        for mut run in runs {
            assert!(matches!(run.step(u64::MAX), Ok(Step::Done(_))));
        }
        tool.idle()
    };
    assert_eq!((kept(4, 32), kept(4, 7), kept(4, 2), kept(4, 1), kept(0, 32)), (4, 3, 1, 0, 0));
}

#[test]
fn the_log_is_cut_and_kept_on_failure() {
    let logging = r#"(import "ak" "log" (func $log (param i32 i32))) (data (i32.const 0) "0123456789")"#;
    let line = "(call $log (i32.const 0) (i32.const 10))".repeat(9);
    let error = call(&load(Abi::Native, &native_run(logging, &format!("{line} unreachable"))), &json("{}"));
    let log = error.unwrap_err().log;
    assert_eq!(log.len() as u64, limits().log_bytes_max);
    assert!(log.ends_with(b"0123456789\n0123456789\n"));
}

const WASI: &str = "wasi_snapshot_preview1";

/// Copies stdin to stdout in pieces of 7 bytes, by two buffers a time.
fn cat() -> String {
    wasi(
        &format!(
            r#"(import "{WASI}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
               (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
               (data (i32.const 0) "\00\04\00\00\03\00\00\00\03\04\00\00\04\00\00\00")"#
        ),
        "(loop $more
           (drop (call $read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 32)))
           (if (i32.load (i32.const 32)) (then
             (i32.store (i32.const 40) (i32.const 1024))
             (i32.store (i32.const 44) (i32.load (i32.const 32)))
             (drop (call $write (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 48)))
             (br $more))))",
    )
}

#[test]
fn a_command_reads_stdin_and_writes_stdout() {
    let input = json(r#"{"some":["arguments",1,2.5,null,"é"]}"#);
    assert_eq!(call(&load(Abi::Wasi, &cat()), &input).unwrap().output, input);
}

/// Calls a WASI function and writes its error number, two digits, to stdout.
fn errno(name: &str, params: &str, args: &str) -> Value {
    let wat = wasi(
        &format!(
            r#"(import "{WASI}" "{name}" (func $f (param {params}) (result i32)))
               (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
               (data (i32.const 0) "\10\00\00\00\03\00\00\00") (data (i32.const 16) "1")"#
        ),
        &format!(
            "(local $e i32) (local.set $e (call $f {args}))
             (i32.store8 (i32.const 17) (i32.add (i32.const 48) (i32.div_u (local.get $e) (i32.const 10))))
             (i32.store8 (i32.const 18) (i32.add (i32.const 48) (i32.rem_u (local.get $e) (i32.const 10))))
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
        ),
    );
    call(&load(Abi::Wasi, &wat), &json("{}")).unwrap_or_else(|error| panic!("{name}: {error}")).output
}

#[test]
fn wasi_answers_with_its_error_numbers() {
    let i32s = |count: usize| vec!["i32"; count].join(" ");
    let zeros = |count: usize| "(i32.const 0)".repeat(count);
    for (name, count, error) in [
        ("fd_close", 1, 0),
        ("fd_datasync", 1, 8),
        ("fd_renumber", 2, 52),
        ("path_create_directory", 3, 52),
        ("path_symlink", 5, 52),
        ("path_rename", 6, 52),
        ("poll_oneoff", 4, 52),
        ("proc_raise", 1, 52),
        ("sock_recv", 6, 52),
        ("sock_send", 5, 52),
        ("sock_shutdown", 2, 52),
        ("fd_prestat_get", 2, 8),
        ("fd_prestat_dir_name", 3, 8),
    ] {
        assert_eq!(errno(name, &i32s(count), &zeros(count)), json(&format!("1{error:02}")), "{name}");
    }
    for (name, params, args, error) in [
        ("sched_yield", "", "", 0),
        ("fd_close", "i32", "(i32.const 3)", 8),
        ("fd_seek", "i32 i64 i32 i32", "(i32.const 1) (i64.const 0) (i32.const 0) (i32.const 64)", 70),
        ("fd_read", "i32 i32 i32 i32", "(i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)", 8),
        ("fd_read", "i32 i32 i32 i32", "(i32.const 0) (i32.const 0) (i32.const 1025) (i32.const 64)", 28),
        ("clock_res_get", "i32 i32", "(i32.const 0) (i32.const 64)", 0),
        ("clock_res_get", "i32 i32", "(i32.const 99) (i32.const 64)", 28),
        ("clock_time_get", "i32 i64 i32", "(i32.const 2) (i64.const 0) (i32.const 64)", 28),
        ("clock_time_get", "i32 i64 i32", "(i32.const 0) (i64.const 0) (i32.const 64)", 76),
        ("random_get", "i32 i32", "(i32.const 64) (i32.const 8)", 76),
        ("fd_fdstat_get", "i32 i32", "(i32.const 2) (i32.const 64)", 0),
        ("fd_fdstat_get", "i32 i32", "(i32.const 3) (i32.const 64)", 8),
        ("fd_filestat_get", "i32 i32", "(i32.const 1) (i32.const 64)", 0),
        ("fd_filestat_get", "i32 i32", "(i32.const 3) (i32.const 64)", 8),
    ] {
        assert_eq!(errno(name, params, args), json(&format!("1{error:02}")), "{name}");
    }
}

/// Runs a command whose function fills memory at 64, and prints these bytes of it as they are.
fn print_after(imports: &str, body: &str, at: u32, length: u32, host: Value) -> Value {
    let wat = wasi(
        &format!(
            r#"{imports} (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#
        ),
        &format!(
            "{body} (i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {length}))
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
        ),
    );
    let tool = load(Abi::Wasi, &wat);
    let mut run =
        Run::start(&tool, &json("{}"), limits()).unwrap().with_env([("LANG", "\"C\""), ("SECRET", "1")]);
    loop {
        match run.step(u64::MAX).unwrap() {
            Step::Yield => {}
            Step::HostCall(_) => run.reply(Ok(host.clone())).unwrap(),
            Step::Done(done) => return done.output,
        }
    }
}

#[test]
fn clock_and_random_come_from_the_host() {
    // 0x3131313131313131 ns is the text 11111111.
    let time = 0x3131_3131_3131_3131_u64 / 1_000;
    let clock = format!(r#"(import "{WASI}" "clock_time_get" (func $f (param i32 i64 i32) (result i32)))"#);
    let body = "(drop (call $f (i32.const 0) (i64.const 1) (i32.const 64)))";
    // The low bytes are lost to the resolution; the high ones are text.
    assert_eq!(print_after(&clock, body, 67, 5, Value::from(time)), json("11111"));
    let random = format!(r#"(import "{WASI}" "random_get" (func $f (param i32 i32) (result i32)))"#);
    let body = "(drop (call $f (i32.const 64) (i32.const 3)))";
    assert_eq!(print_after(&random, body, 64, 3, Value::from("NDU2")), json("456"));
}

#[test]
fn many_random_bytes_are_asked_for_in_pieces() {
    let random = wasi(
        &format!(
            r#"(import "{WASI}" "random_get" (func $f (param i32 i32) (result i32)))
               (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#
        ),
        // Pieces of 1, 2 and 3 make 1 + 2 + 3.
        "(drop (memory.grow (i32.const 3)))
         (if (call $f (i32.const 64) (i32.const 131172)) (then unreachable))
         (i32.store8 (i32.const 0) (i32.add (i32.const 48) (i32.add (i32.load8_u (i32.const 65599))
           (i32.add (i32.load8_u (i32.const 65600)) (i32.load8_u (i32.const 131235))))))
         (i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 1))
         (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))",
    );
    let limits = RunLimits { host_call_bytes_max: 1 << 20, ..limits() };
    let mut asked = Vec::new();
    let done = drive(&load(Abi::Wasi, &random), &json("{}"), limits, 1_000, |call| {
        asked.push(call.args.get("bytes").and_then(Value::as_u64).unwrap());
        let bytes = vec![asked.len() as u8; *asked.last().unwrap() as usize];
        Ok(Value::from(URL_SAFE_NO_PAD.encode(bytes)))
    });
    assert_eq!((done.unwrap().output, asked), (json("6"), vec![65_536, 65_536, 100]));
}

#[test]
fn a_host_reply_of_the_wrong_shape_is_the_hosts_fault() {
    let random = wasi(
        &format!(r#"(import "{WASI}" "random_get" (func $f (param i32 i32) (result i32)))"#),
        "(drop (call $f (i32.const 64) (i32.const 3)))",
    );
    let tool = load(Abi::Wasi, &random);
    for reply in ["3", r#""NDU""#, r#""NDU2NA""#, r#""%%%%""#, "null"] {
        let error = drive(&tool, &json("{}"), limits(), u64::MAX, |call| {
            assert_eq!(call, &HostCall { operation: HostOperation::Random, args: json(r#"{"bytes":3}"#) });
            Ok(json(reply))
        });
        let failure = error.unwrap_err().failure;
        assert!(matches!(failure, Failure::BadReply { call: "random", .. }), "{reply}: {failure}");
    }
}

#[test]
fn a_command_sees_its_name_and_the_listed_environment() {
    let strings = |name: &str| {
        format!(
            r#"(import "{WASI}" "{name}_get" (func $get (param i32 i32) (result i32)))
               (import "{WASI}" "{name}_sizes_get" (func $sizes (param i32 i32) (result i32)))"#
        )
    };
    let get = "(drop (call $sizes (i32.const 64) (i32.const 68))) (drop (call $get (i32.const 72) (i32.const 128)))";
    assert_eq!(print_after(&strings("environ"), get, 133, 3, Value::Null), json("\"C\""));
    // One variable of nine bytes: the count as a digit.
    let count = "(i32.store8 (i32.const 200) (i32.add (i32.const 48) (i32.load (i32.const 64))))
                 (i32.store8 (i32.const 201) (i32.add (i32.const 48) (i32.load (i32.const 68))))";
    assert_eq!(print_after(&strings("environ"), &format!("{get} {count}"), 200, 2, Value::Null), json("19"));
    assert_eq!(print_after(&strings("args"), &format!("{get} {count}"), 200, 2, Value::Null), json("15"));
}

/// Work of every kind that costs fuel, with a host call in the middle.
fn busy() -> String {
    native_run(
        r#"(import "ak" "now" (func $now (param i32 i32) (result i32)))
           (import "ak" "take" (func $take (param i32)))
           (import "ak" "log" (func $log (param i32 i32)))
           (start $start) (func $start (drop (call $fib (i32.const 5))))
           (data (i32.const 0) "{}") (data $passive "abcdefghijklmnop") (elem $functions func $fib)
           (table 100 funcref)
           (func $fib (param i32) (result i32)
             (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0)) (else (i32.add
               (call $fib (i32.sub (local.get 0) (i32.const 1)))
               (call $fib (i32.sub (local.get 0) (i32.const 2)))))))"#,
        "(local $i i32) (local $x f64) (local.set $x (f64.const 1.5))
         (loop $l
           (memory.fill (i32.const 2048) (local.get $i) (i32.const 1000))
           (memory.copy (i32.const 4096) (i32.const 2048) (i32.const 3000))
           (memory.init $passive (i32.const 8192) (i32.const 0) (i32.const 16))
           (table.fill (i32.const 0) (ref.null func) (i32.const 90))
           (table.init $functions (i32.const 3) (i32.const 0) (i32.const 1))
           (table.copy (i32.const 10) (i32.const 0) (i32.const 80))
           (drop (memory.grow (i32.const 1)))
           (drop (call_indirect (param i32) (result i32) (i32.const 6) (i32.const 13)))
           (call $log (i32.const 2048) (i32.const 300))
           (drop (call $now (i32.const 0) (i32.const 2)))
           (call $take (i32.const 1024))
           (local.set $x (f64.div (f64.mul (local.get $x) (f64.const 1.1)) (f64.const 0.3)))
           (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
         (i32.store8 (i32.const 0) (i32.sub (i32.trunc_f64_u (local.get $x)) (i32.const 20)))
         (i64.const 1)",
    )
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn slicing_changes_neither_result_nor_fuel(slices in proptest::collection::vec(0u64..200, 1..8), fuel in 0u64..3_000) {
        let tool = load(Abi::Native, &busy());
        let host = |_: &HostCall| Ok(Value::from(7u64));
        let limits = RunLimits { fuel, log_bytes_max: 1 << 20, ..limits() };
        let whole = drive(&tool, &json("{}"), limits, u64::MAX, host);

        let mut slices = slices.into_iter().cycle();
        let sliced = (|| {
            let mut run = Run::start(&tool, &json("{}"), limits)?;
            loop {
                match run.step(slices.next().unwrap())? {
                    Step::Yield => {}
                    Step::HostCall(call) => run.reply(host(&call))?,
                    Step::Done(done) => return Ok(done),
                }
            }
        })();
        prop_assert_eq!(sliced, whole);
    }

    #[test]
    fn a_run_costs_exactly_what_it_needs(extra in 0u64..100) {
        let tool = load(Abi::Native, &busy());
        let with = |fuel| drive(&tool, &json("{}"), RunLimits { fuel, ..limits() }, u64::MAX, |_| Ok(Value::Null));
        let needed = with(1_000_000).unwrap().fuel;
        prop_assert_eq!(with(needed + extra).unwrap().fuel, needed);
        prop_assert_eq!(with(needed - 1 - extra).unwrap_err().failure, Failure::OutOfFuel { fuel_max: needed - 1 - extra });
    }

    #[test]
    fn no_pointer_given_to_a_host_call_makes_it_panic(at: u32, length: u32, which in 0usize..12) {
        let names = ["fail", "log", "fs_read", "http", "call", "random"];
        let (abi, name, result) = if which < 6 {
            (Abi::Native, names[which], if which < 2 { "" } else { "(result i32)" })
        } else {
            (Abi::Wasi, ["args_get", "args_sizes_get", "environ_get", "clock_res_get", "random_get", "fd_fdstat_get"][which - 6], "(result i32)")
        };
        let module = if abi == Abi::Native { "ak" } else { WASI };
        let imports = format!(r#"(import "{module}" "{name}" (func $f (param i32 i32) {result}))"#);
        let drop = if result.is_empty() { "" } else { "drop" };
        let body = format!("(call $f (i32.const {at}) (i32.const {length})) {drop}");
        let wat = if abi == Abi::Native { native_run(&imports, &format!("{body} (i64.const 0)")) } else { wasi(&imports, &body) };
        let _ = call(&load(abi, &wat), &json("{}"));
    }

    #[test]
    fn no_changed_byte_makes_a_run_panic(position in 8usize..26_000, byte: u8) {
        let (_, module) = ak_sandbox::builtin()[1];
        let mut module = module.to_vec();
        let length = module.len();
        module[position % length] = byte;
        if let Ok(tool) = load_bytes(Abi::Native, &module) {
            let limits = RunLimits { memory_bytes_max: 4 << 20, ..limits() };
            let _ = drive(&tool, &json(r#"{"str1":"a","str2":"b"}"#), limits, u64::MAX, |_| Err(Value::Null));
        }
    }
}

/// The engine cannot translate a store far from its pointer where pointer and value are one register: the loader helps it.
#[test]
fn a_value_may_be_stored_far_from_itself() {
    for (store, extend) in [
        ("i32.store", ""),
        ("i32.store8", ""),
        ("i32.store16", ""),
        ("i64.store", "i64.extend_i32_u"),
        ("i64.store8", "i64.extend_i32_u"),
        ("i64.store16", "i64.extend_i32_u"),
        ("i64.store32", "i64.extend_i32_u"),
    ] {
        for operands in [
            "local.get $p local.get $p",
            "i32.const 8 i32.load8_u local.tee $p local.get $p",
            "local.get $p nop local.get $p",
            "local.get $p local.get $q",
            "local.get $p local.set $q local.get $p local.get $q",
            "local.get $p local.tee $q local.get $p",
            "i32.const 8 i32.load8_u local.tee $p local.set $q local.get $p local.get $q",
            "i32.const 8 i32.load8_u local.tee $p local.tee $q local.get $p",
            "local.get $p i32.const 49",
            "local.get $p i32.const 8 i32.load8_u",
            "local.get $p local.get $p local.get $p i32.const 1 select",
            "local.get $p block (result i32) local.get $p end",
            "local.get $p local.get $p i32.const 0 i32.add",
            "local.get $p local.get $q drop local.get $p",
            "local.get $p i64.extend_i32_u i32.wrap_i64 local.get $p",
        ] {
            // The value is the digit 1, and so is its address.
            let wat = format!(
                r#"(module (memory (export "memory") 2) (data (i32.const 8) "1")
                    (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024))
                    (func $f (local $p i32) (local $q i32)
                      i32.const 8 i32.load8_u local.set $q i32.const 8 i32.load8_u local.set $p
                      {operands} {extend} {store} offset=65536)
                    (func (export "ak_run") (param i32 i32) (result i64)
                      (call $f) (i64.const {})))"#,
                (65_536 + 49) << 32 | 1u64,
            );
            assert_eq!(call(&load(Abi::Native, &wat), &json("{}")).unwrap().output, json("1"), "{wat}");
        }
    }
}

#[test]
fn nan_has_one_form() {
    let bits = |a: &str, b: &str| {
        let wat = native_run(
            "",
            &format!(
                "(local $n i64) (local.set $n (i64.reinterpret_f64 (f64.add (f64.reinterpret_i64 (i64.const {a})) (f64.reinterpret_i64 (i64.const {b})))))
                 (i32.store8 (i32.const 0) (i32.add (i32.const 48) (i64.eq (local.get $n) (i64.const 0x7ff8000000000000))))
                 (i64.const 1)"
            ),
        );
        call(&load(Abi::Native, &wat), &json("{}")).unwrap().output
    };
    for (a, b) in [
        ("0xfff8000000000001", "0"),
        ("0", "0x7ff0000000000001"),
        ("0x7ff0000000000000", "0xfff0000000000000"),
    ] {
        assert_eq!(bits(a, b), json("1"), "{a} {b}");
    }
}

#[test]
fn input_comes_back_from_the_echo() {
    let input = json(r#"{"a":[1,2,{"b":"c"}]}"#);
    assert_eq!(call(&load(Abi::Native, &echo()), &input).unwrap().output, input);
}
