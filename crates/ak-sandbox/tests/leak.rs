//! Ten thousand hostile calls leave nothing behind.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use ak_sandbox::{Abi, Failure, Run, RunLimits, Step};
use support::{json, limits, load, native, native_run};

/// Memory of this process that is in RAM, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn hostile_calls_leave_no_memory_behind() {
    const CALLS: usize = 10_000;
    const GROWTH_KIB_MAX: u64 = 16 << 10;
    let ask = r#"(import "ak" "now" (func $now (param i32 i32) (result i32))) (data (i32.const 0) "{}")"#;
    let tools = [
        native_run("", "(loop $l (br $l)) unreachable"),
        native_run("(func $f (local i64 i64 i64 i64) (call $f))", "(call $f) (i64.const 0)"),
        native_run("", "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (drop (memory.grow (i32.const 1))) (br $l)) unreachable"),
        native_run("(table 1000 funcref)", "unreachable"),
        native_run(ask, "(drop (call $now (i32.const 0) (i32.const 2))) unreachable"),
        // Serves to its end, so its instance is kept.
        native_run(r#"(table 100 funcref) (data (i32.const 1) "0")"#, "(memory.fill (i32.const 2) (i32.const 7) (i32.const 60000)) (i64.const 0x100000001)"),
        native(r#"(start $s) (func $s unreachable) (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0))"#),
    ]
    .map(|wat| load(Abi::Native, &wat));
    let limits = RunLimits { fuel: 20_000, ..limits() };
    let hostile_call = |number: usize| {
        let mut run = Run::start(&tools[number % tools.len()], &json("{}"), limits).unwrap();
        // Half of the runs are dropped in the middle: after one slice, or while they wait for a reply.
        loop {
            match run.step(5_000) {
                Ok(Step::Yield) if number % 4 < 2 => {}
                Ok(Step::Yield | Step::HostCall(_)) => return,
                Ok(Step::Done(done)) => return assert_eq!(done.output, json("0")),
                Err(error) => return assert_ne!(error.failure, Failure::HostMemory),
            }
        }
    };
    (0..CALLS / 10).for_each(hostile_call);
    let before = resident_kib();
    (0..CALLS).for_each(hostile_call);
    let growth = resident_kib().saturating_sub(before);
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB more after {CALLS} calls");
}
