//! Every call finds what a fresh instance shows: a tool that keeps its instances and one that keeps none cannot be told
//! apart, neither by outputs nor by failures, logs or fuel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write;

use ak_json::Value;
use ak_sandbox::{Abi, RunError, RunLimits, RunOutput, SandboxConfig, Tool};
use proptest::prelude::*;
use support::{cases, drive, json, limits, manifest};

/// Calls one after the other. The first tells least: it is fresh either way.
const CALLS: u64 = 4;

fn calls(
    abi: Abi,
    module: &[u8],
    recycled_max: usize,
    limits: RunLimits,
) -> Vec<Result<RunOutput, RunError>> {
    let config = SandboxConfig { recycled_max, ..SandboxConfig::default() };
    let tool = Tool::new(manifest(abi, module), module.into(), &config).unwrap();
    let input = |call| json(&format!("{{\"call\":{call}}}"));
    (0..CALLS).map(|call| drive(&tool, &input(call), limits, 1_000, |_| Err(Value::Null))).collect()
}

/// A change that a guest makes to its instance.
#[derive(Clone, Debug)]
enum Change {
    Global(u8, i64),
    Float(f64),
    Reference(bool),
    Store(u32, u64),
    Fill(u32, u8, u32),
    Copy(u32, u32, u32),
    TableSet(bool, u8, u8),
    TableFill(u8, u8),
    TableCopy(u8, u8, u8),
    Grow(bool),
    MemoryInit(u8),
    TableInit(u8),
    DropData,
    DropElements,
    DropPassive,
}

const PAGE: u32 = 65_536;
const TABLE: u8 = 8;

fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    prop_oneof![
        (0u8..3, any::<i64>()).prop_map(|(global, value)| Global(global, value)),
        any::<f64>().prop_map(Float),
        any::<bool>().prop_map(Reference),
        (0..2 * PAGE - 8, any::<u64>()).prop_map(|(at, value)| Store(at, value)),
        (0..PAGE, any::<u8>(), 0..PAGE).prop_map(|(at, value, length)| Fill(at, value, length)),
        (0..PAGE, 0..PAGE, 0..PAGE).prop_map(|(to, from, length)| Copy(to, from, length)),
        (any::<bool>(), 0..TABLE, 0u8..4).prop_map(|(external, at, to)| TableSet(external, at, to)),
        (0..TABLE, 0u8..4).prop_map(|(at, to)| TableFill(at, to)),
        (0..4u8, 0..4u8, 0..4u8).prop_map(|(to, from, length)| TableCopy(to, from, length)),
        any::<bool>().prop_map(Grow),
        (0u8..4).prop_map(MemoryInit),
        (0u8..4).prop_map(TableInit),
        Just(DropData),
        Just(DropElements),
        Just(DropPassive),
    ]
}

impl Change {
    /// Whether it takes passive segments, with which instances are not kept.
    fn is_passive(&self) -> bool {
        matches!(self, Self::MemoryInit(_) | Self::TableInit(_) | Self::DropPassive)
    }

    fn wat(&self) -> String {
        let reference = |to: u8| match to {
            3 => "(ref.null func)".to_string(),
            _ => format!("(ref.func $f{to})"),
        };
        match self {
            Self::Global(global, value) => format!("(global.set $g{global} (i64.const {value}))"),
            Self::Float(value) => {
                format!("(global.set $float (f64.reinterpret_i64 (i64.const {})))", value.to_bits() as i64)
            }
            Self::Reference(null) => {
                format!("(global.set $reference {})", reference(if *null { 3 } else { 1 }))
            }
            Self::Store(at, value) => format!("(i64.store (i32.const {at}) (i64.const {}))", *value as i64),
            Self::Fill(at, value, length) => {
                format!("(memory.fill (i32.const {at}) (i32.const {value}) (i32.const {length}))")
            }
            Self::Copy(to, from, length) => {
                format!("(memory.copy (i32.const {to}) (i32.const {from}) (i32.const {length}))")
            }
            Self::TableSet(false, at, to) => format!("(table.set $t (i32.const {at}) {})", reference(*to)),
            Self::TableSet(true, at, _) => format!("(table.set $x (i32.const {at}) (ref.null extern))"),
            Self::TableFill(at, to) => {
                format!("(table.fill $t (i32.const {at}) {} (i32.const {}))", reference(*to), TABLE - at)
            }
            Self::TableCopy(to, from, length) => {
                format!("(table.copy $t $t (i32.const {to}) (i32.const {from}) (i32.const {length}))")
            }
            Self::Grow(true) => "(drop (memory.grow (i32.const 1)))".to_string(),
            Self::Grow(false) => "(drop (memory.grow (i32.const 0)))".to_string(),
            Self::MemoryInit(length) => {
                format!("(memory.init $passive (i32.const 70000) (i32.const 0) (i32.const {length}))")
            }
            Self::TableInit(length) => {
                format!("(table.init $t $passive (i32.const 2) (i32.const 0) (i32.const {length}))")
            }
            Self::DropPassive => "(data.drop $passive) (elem.drop $passive)".to_string(),
            // Without passive segments what is dropped is gone already, and may be dropped again.
            Self::DropData => "(data.drop $active)".to_string(),
            Self::DropElements => "(elem.drop $active)".to_string(),
        }
    }
}

/// A module that looks at all its state, changes it, and gives what it saw as a number: memory, globals, which function
/// each element of the table is.
fn module(changes: &[Change], start: &[Change]) -> String {
    let passive = changes.iter().chain(start).any(Change::is_passive);
    let segments = if passive { "(data $passive \"abc\") (elem $passive func $f2 $f1 $f0)" } else { "" };
    let body = |changes: &[Change]| {
        changes.iter().fold(String::new(), |mut text, change| {
            let _ = writeln!(text, "{}", change.wat());
            text
        })
    };
    let mix = |value: &str| {
        format!("(local.set $h (i64.mul (i64.xor (local.get $h) {value}) (i64.const 1099511628211)))")
    };
    let (word, float) = (mix("(i64.load (local.get $i))"), mix("(i64.reinterpret_f64 (global.get $float))"));
    let globals: String = (0..3).map(|global| mix(&format!("(global.get $g{global})"))).collect();
    let element = mix("(call_indirect $t (type $answer) (local.get $i))");
    let null = mix("(i64.extend_i32_u (ref.is_null (global.get $reference)))");
    let size = mix("(i64.extend_i32_u (memory.size))");
    format!(
        r#"(module
            (type $answer (func (result i64)))
            (import "ak" "log" (func $log (param i32 i32)))
            (memory (export "memory") 2)
            (global $g0 (mut i64) (i64.const 5)) (global $fixed i64 (i64.const 9)) (global $g1 (mut i64) (i64.const -1))
            (global $g2 (mut i64) (i64.const 77)) (global $float (mut f64) (f64.const 1.5))
            (global $reference (mut funcref) (ref.func $f0))
            (table $t {TABLE} funcref) (table $x {TABLE} externref)
            (elem $active (table $t) (i32.const 0) func $f0 $f1 $f2 $f0)
            (data $active (i32.const 100) "some data") (data (i32.const 70000) "\01\02\03") {segments}
            (elem declare func $f0 $f1 $f2)
            (func $f0 (type $answer) (i64.const 10)) (func $f1 (type $answer) (i64.const 20))
            (func $f2 (type $answer) (i64.const 30))
            (func $start {start}) (start $start)
            (func $look (result i64) (local $h i64) (local $i i32)
              (local.set $h (i64.const -3750763034362895579))
              (loop $words {word}
                (local.set $i (i32.add (local.get $i) (i32.const 8)))
                (br_if $words (i32.lt_u (local.get $i) (i32.mul (memory.size) (i32.const 65536)))))
              {globals} {float} {null} {size}
              (local.set $i (i32.const 0))
              (loop $elements
                (if (i32.eqz (ref.is_null (table.get $t (local.get $i)))) (then {element}))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $elements (i32.lt_u (local.get $i) (i32.const {TABLE}))))
              (local.get $h))
            (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "ak_run") (param i32 i32) (result i64) (local $h i64) (local $at i32)
              (local.set $h (call $look))
              {changes}
              (local.set $h (i64.xor (call $look) (local.get $h)))
              ;; As 16 letters and quotation marks.
              (i32.store8 (i32.const 2048) (i32.const 34))
              (loop $digits
                (i32.store8 offset=2049 (local.get $at)
                  (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $h) (i64.const 15)))))
                (local.set $h (i64.shr_u (local.get $h) (i64.const 4)))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $digits (i32.lt_u (local.get $at) (i32.const 16))))
              (i32.store8 (i32.const 2065) (i32.const 34))
              (call $log (i32.const 2048) (i32.const 18))
              (i64.const {output})))"#,
        start = body(start),
        changes = body(changes),
        output = 2048u64 << 32 | 18,
    )
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn every_call_is_the_first_whatever_the_ones_before_changed(
        changes in proptest::collection::vec(change(), 0..12),
        start in proptest::collection::vec(change(), 0..3),
    ) {
        let module = wat::parse_str(module(&changes, &start)).unwrap();
        let limits = RunLimits { fuel: 100_000_000, memory_bytes_max: 1 << 20, ..limits() };
        let (kept, fresh) = (calls(Abi::Native, &module, 4, limits), calls(Abi::Native, &module, 0, limits));
        prop_assert!(fresh.iter().all(Result::is_ok) || fresh.iter().all(Result::is_err), "{:?}", fresh);
        prop_assert_eq!(kept, fresh);
    }

    #[test]
    fn no_module_can_tell_whether_it_is_the_first(seed in proptest::collection::vec(any::<u8>(), 2_000)) {
        let Some(module) = smith::module(&seed) else { return Ok(()) };
        let limits = RunLimits { fuel: 200_000, memory_bytes_max: 4 << 20, table_elements_max: 10_000, ..limits() };
        prop_assert_eq!(calls(Abi::Wasi, &module, 4, limits), calls(Abi::Wasi, &module, 0, limits));
    }
}

#[path = "support/smith.rs"]
mod smith;

/// The tests above would say nothing if no instance were ever used again.
#[test]
fn instances_are_used_again() {
    let wat = module(&[Change::Store(0, 7), Change::Global(0, 7), Change::TableSet(false, 1, 2)], &[]);
    let module = wat::parse_str(wat).unwrap();
    let limits = RunLimits { fuel: 100_000_000, ..limits() };
    let took = |recycled_max| {
        let config = SandboxConfig { recycled_max, ..SandboxConfig::default() };
        let tool = Tool::new(manifest(Abi::Native, &module), module.as_slice().into(), &config).unwrap();
        drive(&tool, &json("{}"), limits, u64::MAX, |_| Err(Value::Null)).unwrap();
        tool.idle()
    };
    assert_eq!((took(4), took(0)), (1, 0));
}
