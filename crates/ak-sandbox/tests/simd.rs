//! Vectors: the same bits and the same fuel everywhere.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use ak_sandbox::{Abi, Failure, Trap};
use support::{call, json, load, native_run};

/// Whether a condition of 32 bits holds, which this body leaves on the stack.
fn holds(fields: &str, body: &str) -> Result<bool, Failure> {
    let wat = native_run(
        fields,
        &format!("(i32.store8 (i32.const 2048) (i32.add (i32.const 48) (i32.ne (i32.const 0) {body}))) (i64.const {})", 2048u64 << 32 | 1),
    )
    .replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 3)"#);
    let tool = load(Abi::Native, &wat);
    let first = call(&tool, &json("{}"));
    assert_eq!(call(&tool, &json("{}")), first, "{body}");
    Ok(first.map_err(|error| error.failure)?.output == json("1"))
}

const VECTOR: &str = "(v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 -1)";

/// Beyond an offset of 65,535 the engine takes parts of the instruction for each other, and writes where no guest's memory is.
#[test]
fn lanes_are_stored_far_away() {
    let operands = [
        ("", "(i32.const 5)", VECTOR.to_string()),
        ("", "(local.get $at)", "(local.get $vector)".to_string()),
        (
            "",
            "(i32.sub (local.get $at) (i32.const 0))",
            "(i8x16.neg (i8x16.neg (local.get $vector)))".to_string(),
        ),
        (
            "(local.set $vector (i8x16.neg (local.get $vector)))",
            "(i32.const 5)",
            "(i8x16.neg (local.get $vector))".to_string(),
        ),
    ];
    for (op, load, lanes) in [
        ("v128.store8_lane", "i32.load8_s", 16),
        ("v128.store16_lane", "i32.load16_s", 8),
        ("v128.store32_lane", "i32.load", 4),
        ("v128.store64_lane", "i64.load", 2),
    ] {
        for offset in [0, 65_535, 65_536, 70_001, 131_071] {
            for lane in 0..lanes {
                for (before, at, vector) in &operands {
                    // All of the vector in one place, and the lane in another.
                    let bytes = 16 / lanes;
                    let function = format!(
                        "(func $check (param $at i32) (param $vector v128) (result i32)
                           (v128.store (i32.const 4096) {VECTOR}) {before}
                           ({op} offset={offset} {lane} {at} {vector})
                           ({width}.eq ({load} offset={offset} (i32.const 5)) ({load} (i32.const {}))))",
                        4096 + lane * bytes,
                        width = &load[..3],
                    );
                    let held = holds(&function, &format!("(call $check (i32.const 5) {VECTOR})"));
                    assert_eq!(held, Ok(true), "{op} {offset} {lane} {at} {vector}");
                }
            }
        }
        for (offset, at) in [(70_000, 0x20000), (u32::MAX, 0), (u32::MAX, -1), (196_608, 0), (0, -1)] {
            let store =
                format!("(func $store (param v128) ({op} offset={offset} 1 (i32.const {at}) (local.get 0)))");
            let trapped =
                holds(&store, &format!("(block (result i32) (call $store {VECTOR}) (i32.const 1))"));
            assert_eq!(trapped, Err(Failure::Trap(Trap::MemoryOutOfBounds)), "{op} {offset} {at}");
        }
    }
    // A length of the instruction's number that no compiler writes.
    let store = b"\x20\x00\x20\x01\xfd\xd8\x80\x00\x00\xf0\xa2\x04\x07";
    let mut bulk = support::bulk::Bulk::new();
    bulk.types += &[0x60, 2, 0x7f, 0x7b, 0]; // 3
    bulk.function(3, &[], store);
    bulk.memories = support::bulk::Section { count: 1, bytes: vec![0, 3] };
    call(&support::load_bytes(Abi::Native, &bulk.module()).unwrap(), &json("{}")).unwrap();
}

/// What arithmetic makes of a number that is none has one form, whatever form it had.
#[test]
fn lanes_that_are_no_numbers_have_one_form() {
    let odd_32 = "(v128.const i32x4 0xffc12345 0x7fa00001 0x7f812345 0xffffffff)";
    let odd_64 = "(v128.const i64x2 0xfff8123456789abc 0x7ff0000000000001)";
    let one_32 = "(v128.const f32x4 1 1 1 1)";
    let one_64 = "(v128.const f64x2 1 1)";
    let canonical_32 = "(v128.const i32x4 0x7fc00000 0x7fc00000 0x7fc00000 0x7fc00000)";
    let canonical_64 = "(v128.const i64x2 0x7ff8000000000000 0x7ff8000000000000)";
    for (shape, odd, one, canonical) in
        [("f32x4", odd_32, one_32, canonical_32), ("f64x2", odd_64, one_64, canonical_64)]
    {
        // Once as the engine computes it, once as it folds constants.
        for place in ["(local.get 0)", odd] {
            let mut results: Vec<String> = ["sqrt", "ceil", "floor", "trunc", "nearest"]
                .map(|op| format!("({shape}.{op} {place})"))
                .into();
            for op in ["add", "sub", "mul", "div", "min", "max"] {
                results.push(format!("({shape}.{op} {place} {one})"));
                results.push(format!("({shape}.{op} {one} {place})"));
                results.push(format!("({shape}.{op} {place} {place})"));
            }
            for result in results {
                let function = format!(
                    "(func $check (param v128) (result i32) (i8x16.all_true (i8x16.eq {result} {canonical})))"
                );
                assert_eq!(holds(&function, &format!("(call $check {odd})")), Ok(true), "{result}");
            }
        }
    }
    for (result, odd, canonical) in [
        ("f64x2.promote_low_f32x4", odd_32, canonical_64),
        ("f32x4.demote_f64x2_zero", odd_64, "(v128.const i32x4 0x7fc00000 0x7fc00000 0 0)"),
    ] {
        let function = format!(
            "(func $check (param v128) (result i32) (i8x16.all_true (i8x16.eq ({result} (local.get 0)) {canonical})))"
        );
        assert_eq!(holds(&function, &format!("(call $check {odd})")), Ok(true), "{result}");
    }
}

#[test]
fn vectors_are_metered() {
    let fuel = |body: &str| {
        let wat = native_run(
            &format!("(func $work (param v128 i32) (result i32) {} (i32.const 1))", body.repeat(1_000)),
            &format!("(drop (call $work {VECTOR} (i32.const 3))) (i64.const 0)"),
        );
        let error = call(&load(Abi::Native, &wat), &json("{}")).unwrap_err();
        assert!(matches!(error.failure, Failure::InvalidJsonOutput { .. }), "{error}");
        error.fuel
    };
    let scalar = fuel("(drop (i32.add (local.get 1) (local.get 1)))");
    for body in [
        "(drop (i8x16.add (local.get 0) (local.get 0)))",
        "(drop (f64x2.mul (local.get 0) (local.get 0)))",
        "(drop (i8x16.swizzle (local.get 0) (local.get 0)))",
        "(v128.store (local.get 1) (local.get 0))",
        "(v128.store8_lane 3 (local.get 1) (local.get 0))",
    ] {
        assert_eq!(fuel(body), scalar, "{body}");
    }
}
