//! What the host does for a guest is paid for, and not done for one that cannot pay.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/disk.rs"]
mod disk;
mod support;

use ak_sandbox::{Abi, Failure, RunError, RunLimits, RunOutput, SandboxConfig, Tool};
use disk::Disk;
use support::{drive, json, load, manifest, native_run};

const WASI: &str = "wasi_snapshot_preview1";
/// Bytes for one unit of fuel.
const MOVED: u64 = 64;
const MIB: u64 = 1 << 20;

/// A command that opens the file `x` of its directory as 4 and does this; two empty buffers lie at 0, one of a byte at 16.
fn command(body: &str) -> Tool {
    let text = format!(
        r#"(module
            (import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "{WASI}" "fd_filestat_set_size" (func $resize (param i32 i64) (result i32)))
            (import "{WASI}" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
            (import "{WASI}" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
            (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "{WASI}" "fd_sync" (func $sync (param i32) (result i32)))
            (import "{WASI}" "sched_yield" (func $yield (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "\40\00\00\00\01\00\00\00") (data (i32.const 64) "x")
            (func (export "_start")
              (drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 9)
                (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 40)))
              {body}
              ;; The result is 1.
              (i32.store (i32.const 48) (i32.const 56)) (i32.store (i32.const 52) (i32.const 1))
              (i32.store8 (i32.const 56) (i32.const 49))
              (drop (call $write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 60)))))"#
    );
    let module = wat::parse_str(text).unwrap();
    let mut manifest = manifest(Abi::Wasi, &module);
    manifest.needs = vec!["fs.write:/data/**".into()];
    Tool::new(manifest, module.into(), &SandboxConfig::default()).unwrap()
}

fn run(body: &str, fuel: u64) -> Result<RunOutput, RunError> {
    let mut disk = Disk::default();
    let limits = RunLimits { fuel, ..RunLimits::default() };
    drive(&command(body), &json("{}"), limits, 1_000, |call| disk.answer(call))
}

/// What this costs beside what every command above costs.
#[track_caller]
fn cost(body: &str) -> u64 {
    let fuel = |body| run(body, 1_000_000_000).unwrap().fuel;
    fuel(body) - fuel("")
}

fn resize(bytes: u64) -> String {
    format!("(drop (call $resize (i32.const 4) (i64.const {bytes})))")
}

fn write_at(at: u64) -> String {
    format!(
        "(drop (call $pwrite (i32.const 4) (i32.const 16) (i32.const 1) (i64.const {at}) (i32.const 40)))"
    )
}

#[test]
fn changing_the_size_of_a_file_costs_what_it_moves() {
    let once = cost(&format!("{} {}", resize(4 * MIB), resize(0)));
    assert!(once >= 2 * 4 * MIB / MOVED, "{once}");
    let gap = cost(&format!("{} {}", write_at(4 * MIB - 1), resize(0)));
    assert!(gap >= 2 * 4 * MIB / MOVED, "{gap}");
}

#[test]
fn what_goes_out_is_paid_for() {
    let sync = "(drop (call $sync (i32.const 4)))";
    let (grown, synced) = (cost(&resize(4 * MIB)), cost(&format!("{} {sync} {sync}", resize(4 * MIB))));
    let out = 4 * MIB / MOVED;
    assert!(grown >= 2 * out, "{grown}: it goes out at the end");
    assert!((grown..grown + out).contains(&synced), "{synced}: it goes out once");
}

#[test]
fn every_call_costs_something() {
    let yields = |count: usize| cost(&"(drop (call $yield))".repeat(count));
    assert!(yields(10) >= 10 * 30, "{}", yields(10));
    // A list of empty buffers is walked all the same.
    let list = |count| {
        format!("(drop (call $write (i32.const 2) (i32.const 128) (i32.const {count}) (i32.const 40)))")
    };
    let walked = cost(&list(1_024)) - cost(&list(0));
    assert!(walked >= 1_024 * 8 / MOVED, "{walked}");
}

#[test]
fn names_cost_more_than_to_move_them() {
    // A name of 4,000 bytes is looked at before anything is asked.
    let name = "(memory.fill (i32.const 1024) (i32.const 46) (i32.const 4000))
        (i32.store16 (i32.const 1024) (i32.const 0x2f61))
        (memory.copy (i32.const 1026) (i32.const 1024) (i32.const 2000))";
    let open = "(drop (call $open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4000) (i32.const 0)
        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 40)))";
    let once = cost(&format!("{name} {open}")) - cost(name);
    assert!(once >= 4_000 / 8, "{once}");
}

#[test]
fn work_that_is_not_paid_for_is_not_done() {
    let log = native_run(
        r#"(import "ak" "log" (func $log (param i32 i32)))"#,
        "(call $log (i32.const 0) (i32.const 65536)) (i64.const 0)",
    );
    for slice in [1, 100, u64::MAX] {
        let limits = RunLimits { fuel: 500, log_bytes_max: MIB, ..RunLimits::default() };
        let error =
            drive(&load(Abi::Native, &log), &json("{}"), limits, slice, |_| unreachable!()).unwrap_err();
        assert_eq!(error.failure, Failure::OutOfFuel { fuel_max: 500 });
        assert_eq!((error.fuel, error.log.len()), (500, 0), "slice {slice}");
    }
    let error = run(&resize(4 * MIB), 10_000).unwrap_err();
    assert_eq!((error.failure, error.fuel), (Failure::OutOfFuel { fuel_max: 10_000 }, 10_000));
}

/// The first buffer lies where the second one's length stands.
#[test]
fn a_list_of_buffers_that_is_overwritten_holds_as_it_was() {
    let body = format!(
        r"(i32.store8 (i32.const 64) (i32.const 1)) {} {}
          (i32.store (i32.const 48) (i32.const 60)) (i32.store (i32.const 52) (i32.const 4))
          (i32.store (i32.const 56) (i32.const 1024)) (i32.store (i32.const 60) (i32.const 0))
          (i32.store (i32.const 128) (i32.const 7))
          (drop (call $pread (i32.const 4) (i32.const 48) (i32.const 2) (i64.const 0) (i32.const 128)))
          (if (i32.ne (i32.load (i32.const 128)) (i32.const 4)) (then unreachable))",
        // A file of the bytes 0, 0, 1 is a length of 65,536.
        write_at(2),
        resize(MIB),
    );
    run(&body, 1_000_000_000).unwrap();
}
