//! Modules as toolchains write them. One program in each language, in `tests/modules`: it adds up the numbers of its input and
//! gives its arguments back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::Instant;

use ak_json::{Value, sha256};
use ak_sandbox::{
    Abi, Failure, HostCall, HostOperation, Manifest, Run, RunLimits, RunOutput, SandboxConfig, Tool,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use support::{drive, json};

const INPUT: &str = r#"{"numbers":[1,-2,43]}"#;

fn load(abi: Abi, module: &[u8], needs: &str) -> Tool {
    let args = if abi == Abi::Wasi { r#"["--unit", "é m"]"# } else { "[]" };
    let manifest = format!(
        "name = \"sum\"\nversion = \"1.0.0\"\nabi = \"{}\"\nsha256 = \"{}\"\nargs = {args}\nneeds = {needs}",
        abi.name(),
        sha256(module)
    );
    let manifest = Manifest::parse(&manifest).unwrap();
    Tool::new(manifest, module.into(), &SandboxConfig::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A command gives back what stood in its manifest.
fn expected(abi: Abi) -> &'static str {
    match abi {
        Abi::Wasi => r#"{"args":["--unit","é m"],"sum":42}"#,
        Abi::Native => r#"{"sum":42}"#,
    }
}

/// Answers as a kernel does whose clock and randomness are always the same.
fn granting(operations: &[HostOperation]) -> impl Fn(&HostCall) -> Result<Value, Value> {
    |call| match call.operation {
        HostOperation::Now if operations.contains(&HostOperation::Now) => {
            Ok(Value::from(1_700_000_000_000_000u64))
        }
        HostOperation::Random if operations.contains(&HostOperation::Random) => {
            let bytes = call.args.get("bytes").and_then(Value::as_u64).unwrap();
            Ok(Value::from(URL_SAFE_NO_PAD.encode(vec![7; bytes as usize])))
        }
        _ => Err(json(r#"{"name":"POLICY_DENY"}"#)),
    }
}

/// Calls a tool a few times, in slices of several sizes: each call is like the first.
#[track_caller]
fn run(tool: &Tool, granted: &[HostOperation]) -> Result<RunOutput, Failure> {
    let mut first = None;
    for slice in [1_000_000, 1_000_000, 10_000] {
        let started = Instant::now();
        let mut asked = 0;
        let outcome = drive(tool, &json(INPUT), RunLimits::default(), slice, |call| {
            asked += 1;
            granting(granted)(call)
        });
        println!("    a call takes {:.1?}, with {asked} host calls", started.elapsed());
        assert_eq!(first.get_or_insert_with(|| outcome.clone()), &outcome);
    }
    first.unwrap().map_err(|error| error.failure)
}

/// What stands beside the sources; `cargo xtask peers modules` builds it again.
#[test]
fn modules_of_toolchains_run() {
    for (path, abi, digest) in [
        (
            "assemblyscript/sum.wasm",
            Abi::Native,
            "fc057abb7edae71d8c52156f5b92aac4c0730bbdb3eec0a9cc0c2538636c10bd",
        ),
        ("c/sum.wasm", Abi::Wasi, "999a5be7a290273795ba65c082784966cd4c030d5c1ba97b86108a0e8afd227f"),
        ("c/sum-simd.wasm", Abi::Wasi, "6a31ba35aa00421cd9624045424519f59b79a787386bb8103ce0f12cb224582a"),
        ("rust/sum.wasm", Abi::Wasi, "b642b66736173c0a7dcc02ad9112c9d96d01e3d032f4eb9e5b47aea91ab976e5"),
        ("zig/sum.wasm", Abi::Native, "90294d61f2d88c399edd8e8ccfa5a6d56d5cb8c47061b7d2967025476b896dd0"),
    ] {
        let path = format!("{}/tests/modules/{path}", env!("CARGO_MANIFEST_DIR"));
        let module = std::fs::read(&path).unwrap();
        assert_eq!(sha256(&module).to_string(), digest, "{path}");
        println!("{path}: {} bytes", module.len());
        let done = run(&load(abi, &module, "[]"), &[]).unwrap();
        assert_eq!(done.output.to_json(), expected(abi), "{path}");
    }
}

/// A command as the Go linker writes it: tens of thousands of small segments, and these imports. It prints what its first host calls
/// gave it: error numbers, and how many arguments there are.
fn like_go() -> Vec<u8> {
    let imports: String = [
        ("sched_yield", "", "(result i32)"),
        ("proc_exit", "i32", ""),
        ("args_get", "i32 i32", "(result i32)"),
        ("args_sizes_get", "i32 i32", "(result i32)"),
        ("clock_time_get", "i32 i64 i32", "(result i32)"),
        ("environ_get", "i32 i32", "(result i32)"),
        ("environ_sizes_get", "i32 i32", "(result i32)"),
        ("fd_write", "i32 i32 i32 i32", "(result i32)"),
        ("random_get", "i32 i32", "(result i32)"),
        ("poll_oneoff", "i32 i32 i32 i32", "(result i32)"),
        ("fd_close", "i32", "(result i32)"),
        ("fd_read", "i32 i32 i32 i32", "(result i32)"),
        ("fd_fdstat_get", "i32 i32", "(result i32)"),
        ("fd_fdstat_set_flags", "i32 i32", "(result i32)"),
        ("fd_prestat_get", "i32 i32", "(result i32)"),
        ("fd_prestat_dir_name", "i32 i32 i32", "(result i32)"),
    ]
    .iter()
    .map(|(name, params, result)| {
        format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) {result}))"#)
    })
    .collect();
    // Where the output is written: `[00,00,00,0]`.
    // That linker begins in the middle.
    let segments: String = (20_000..40_000)
        .chain(0..20_000)
        .map(|index| format!(r#"(data (i32.const {}) "{index:05}")"#, 8_192 + 24 * index))
        .collect();
    let digits = |at: u32, number: &str| {
        format!(
            "(local.set $n {number})
             (i32.store8 (i32.const {at}) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 10))))
             (i32.store8 (i32.const {}) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))",
            at + 1
        )
    };
    let (yields, clock) = (
        digits(2, "(call $sched_yield)"),
        digits(7, "(call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 64))"),
    );
    let (random, poll) = (
        digits(12, "(call $random_get (i32.const 64) (i32.const 8))"),
        digits(17, "(call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192))"),
    );
    let args = digits(
        22,
        "(i32.add (call $args_sizes_get (i32.const 64) (i32.const 68)) (i32.load (i32.const 64)))",
    );
    wat::parse_str(format!(
        r#"(module {imports} (memory (export "memory") 48)
            (data (i32.const 0) "[\"00\",\"00\",\"00\",\"00\",\"00\",\"12345\"]") {segments}
            (func (export "_start") (local $n i32)
              {yields} {clock} {random} {poll} {args}
              (i32.store (i32.const 27) (i32.load (i32.const {last}))) (i32.store8 (i32.const 31) (i32.load8_u offset=4 (i32.const {last})))
              (i32.store (i32.const 72) (i32.const 0)) (i32.store (i32.const 76) (i32.const 34))
              (drop (call $fd_write (i32.const 1) (i32.const 72) (i32.const 1) (i32.const 80)))
              (call $proc_exit (i32.const 0))))"#,
        last = 8_192 + 24 * 39_999,
    ))
    .unwrap()
}

/// Whoever only imports clock and randomness needs neither; whoever calls them without leave gets an error number, 76.
#[test]
fn a_module_like_those_of_go_runs() {
    let module = like_go();
    let tool = load(Abi::Wasi, &module, r#"["now:*", "random:*"]"#);
    for (granted, output) in [
        (&[HostOperation::Now, HostOperation::Random][..], r#"["00","00","00","52","03","39999"]"#),
        (&[HostOperation::Now], r#"["00","00","76","52","03","39999"]"#),
        (&[], r#"["00","76","76","52","03","39999"]"#),
    ] {
        let done = run(&tool, granted).unwrap();
        assert_eq!(done.output.to_json(), output);
        // Each segment by itself would cost 800,000.
        assert!(done.fuel < 50_000, "{}", done.fuel);
    }
}

/// `cargo xtask peers modules` builds what it finds toolchains for, and names it as `LANGUAGE:ABI=PATH`, with commas between.
#[test]
#[ignore = "needs modules in AK_MODULE_PEERS: cargo xtask peers modules"]
fn what_toolchains_build_runs_as_a_tool() {
    let peers = std::env::var("AK_MODULE_PEERS").expect("AK_MODULE_PEERS");
    for peer in peers.split(',') {
        let (language, path) = peer.split_once('=').unwrap();
        let (language, abi) = language.split_once(':').unwrap();
        let abi = if abi == Abi::Wasi.name() { Abi::Wasi } else { Abi::Native };
        let module = std::fs::read(path).unwrap();
        let started = Instant::now();
        let tool = load(abi, &module, r#"["now:*", "random:*"]"#);
        println!("{language}: {} bytes, loaded in {:.1?}", module.len(), started.elapsed());
        let started = Instant::now();
        let runs: Vec<_> = (0..10).map(|_| Run::start(&tool, &json(INPUT), RunLimits::default())).collect();
        println!("    an instance takes {:.1?}", started.elapsed() / runs.len() as u32);
        // The runtime of Go asks for the time before anything else, and gives up without it; it does without randomness.
        let granted: &[_] = if language == "go" { &[HostOperation::Now] } else { &[] };
        let done = run(&tool, granted).unwrap_or_else(|failure| panic!("{language}: {failure}"));
        // Javy has no arguments to show.
        let expected = if language == "javy" { expected(Abi::Native) } else { expected(abi) };
        assert_eq!(done.output.to_json(), expected, "{language}");
        println!("    {} units of fuel", done.fuel);
        if language == "go" {
            let failure = run(&tool, &[]).unwrap_err();
            assert!(matches!(failure, Failure::ToolFailed { exit_code: Some(2), .. }), "{failure}");
            run(&tool, &[HostOperation::Now, HostOperation::Random]).unwrap();
        }
    }
}
