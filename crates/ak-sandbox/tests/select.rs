//! Choices by comparisons with zero, which the engine decides by what happens to be in its register.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use ak_sandbox::Abi;
use support::{call, json, load, native_run};

/// `docs/decisions/0009-engine-faults.md`: each of these gave another number before the loader kept the comparison apart.
#[test]
fn a_choice_is_made_by_its_condition() {
    let conditions = [
        ("(i32.eqz (local.get $x))", true),
        ("(i32.eqz (i32.eqz (local.get $x)))", false),
        ("(i32.eq (local.get $x) (i32.const 0))", true),
        ("(i32.ne (local.get $x) (i32.const 0))", false),
        ("(i32.eq (i32.const 0) (local.get $x))", true),
        ("(i32.eqz (local.get $x)) (nop)", true),
        ("(i32.eqz (local.get $x)) (drop (i32.const 1))", true),
        ("(block (result i32) (i32.eqz (local.get $x)))", true),
        ("(local.tee $y (i32.eqz (local.get $x)))", true),
        ("(i32.lt_u (local.get $x) (i32.const 1))", true),
        ("(i32.gt_u (local.get $x) (i32.const 0))", false),
        ("(i32.eqz (i32.and (local.get $x) (i32.const 3)))", true),
        ("(i64.eqz (local.get $long))", true),
        ("(i64.ne (local.get $long) (i64.const 0))", false),
        ("(f64.lt (local.get $float) (f64.const 1))", true),
        ("(local.get $x)", false),
    ];
    let choices = [
        ("(i32.const 2)", "(local.get $zero)", 2, 0),
        ("(local.get $zero)", "(i32.const 2)", 0, 2),
        ("(i32.const 2)", "(i32.const 3)", 2, 3),
    ];
    for below in ["(memory.size)", "(i32.add (local.get 0) (i32.const 1))", "(i32.const 1)"] {
        for (condition, holds) in conditions {
            for (yes, no, one, other) in choices {
                for select in ["select", "select (result i32)"] {
                    let function = format!(
                        "(func $choose (param i32) (result i32)
                           (local $x i32) (local $y i32) (local $zero i32) (local $long i64) (local $float f64)
                           {below} {yes} {no} {condition} {select} i32.add)"
                    );
                    let body = format!(
                        "(i32.store8 (i32.const 2048) (i32.add (i32.const 48) (call $choose (i32.const 0)))) (i64.const {})",
                        2048u64 << 32 | 1
                    );
                    let output =
                        call(&load(Abi::Native, &native_run(&function, &body)), &json("{}")).unwrap().output;
                    let expected = 1 + if holds { one } else { other };
                    assert_eq!(output.as_u64(), Some(expected), "{below} {yes} {no} {condition} {select}");
                }
            }
        }
    }
}
