//! Segments of data are merged when a module is loaded: memory is what it would be if each were written in turn.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;

use ak_sandbox::{Abi, Failure, RunLimits, Trap};
use proptest::prelude::*;
use support::{call, cases, drive, json, limits, load, native_run};

/// A segment: its address and its bytes.
type Segment = (u32, Vec<u8>);

const PAGE: usize = 64 << 10;

fn segments(segments: &[Segment]) -> String {
    segments.iter().fold(String::new(), |mut wat, (at, bytes)| {
        let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = write!(wat, "(data (i32.const {}) \"{text}\")", at.cast_signed());
        wat
    })
}

/// What is in the memory's page once an instance is made of these segments.
fn memory(fields: &str, body: &str) -> Result<Vec<u8>, Failure> {
    let wat = native_run(
        &format!(r#"(import "ak" "log" (func $log (param i32 i32))) {fields}"#),
        &format!(
            "{body} (call $log (i32.const 0) (i32.const {PAGE})) (i32.store8 (i32.const 0) (i32.const 49)) (i64.const 1)"
        ),
    );
    let tool = load(Abi::Native, &wat);
    let limits = RunLimits { log_bytes_max: PAGE as u64 + 1, ..limits() };
    // The second call is on the first one's instance, put back.
    let memory = || drive(&tool, &json("0"), limits, 100_000, |_| Ok(json("0")));
    let first = memory();
    assert_eq!(memory(), first);
    let mut log = first.map_err(|error| error.failure)?.log;
    assert_eq!(log.pop(), Some(b'\n'));
    Ok(log)
}

/// One after the other.
fn model(segments: &[Segment]) -> Option<Vec<u8>> {
    let mut memory = vec![0; PAGE];
    for (at, bytes) in segments {
        let end = *at as usize + bytes.len();
        memory.get_mut(*at as usize..end)?.copy_from_slice(bytes);
    }
    // Where the arguments are put.
    memory[1024] = b'0';
    Some(memory)
}

#[track_caller]
fn check(all: &[Segment]) {
    let expected = model(all).ok_or(Failure::Trap(Trap::MemoryOutOfBounds));
    let actual = memory(&segments(all), "");
    assert!(actual == expected, "{all:?}: {:?}", actual.map(|memory| memory.len()));
}

#[test]
fn segments_are_written_in_their_order() {
    let bytes = |count| vec![7; count];
    let end = PAGE as u32;
    for all in [
        vec![],
        vec![(0, bytes(0))],
        vec![(5, bytes(3)), (8, bytes(3)), (264, bytes(1)), (265 + 256, bytes(1)), (522 + 257, bytes(1))],
        // A later one before, within, over and behind an earlier one.
        vec![(500, bytes(9)), (490, vec![1; 5]), (497, vec![2; 2]), (499, vec![3; 20]), (521, vec![4; 3])],
        // Zeros of the second gap would be written over what stands there.
        vec![(520, bytes(9)), (500, bytes(1)), (530, bytes(1))],
        vec![(520, bytes(9)), (500, bytes(1)), (501, bytes(1)), (510, bytes(1))],
        vec![(500, bytes(9)), (500, vec![0; 9])],
        // As the Go linker does: first what lies above.
        vec![
            (900, bytes(9)),
            (920, bytes(9)),
            (500, bytes(9)),
            (520, bytes(9)),
            (700, bytes(1)),
            (890, bytes(1)),
            (940, bytes(1)),
        ],
        vec![(100, bytes(100)), (150, bytes(5)), (400, bytes(1)), (165, bytes(5)), (180, bytes(5))],
        vec![(150, bytes(5)), (100, bytes(100)), (400, bytes(1)), (165, bytes(5)), (180, bytes(5))],
        vec![(100, bytes(100)), (150, bytes(5)), (160, bytes(5)), (190, bytes(5)), (210, bytes(1))],
        vec![(end - 1, bytes(1)), (end, bytes(0))],
        // What is not within the memory cannot be there, not even if it is empty.
        vec![(end - 1, bytes(2))],
        vec![(end + 1, bytes(0))],
        vec![(u32::MAX, bytes(2))],
        vec![(1, bytes(1)), (u32::MAX, bytes(0)), (5, bytes(1))],
        vec![(1, bytes(1)), (end, bytes(1)), (end - 1, bytes(1))],
    ] {
        check(&all);
    }
}

/// Where an instruction names a segment, all stay what they are.
#[test]
fn segments_that_code_names_keep_their_numbers() {
    let expected = model(&[(3, b"ab".to_vec()), (5, b"cd".to_vec()), (9, b"yz".to_vec())]).unwrap();
    let fields = r#"(data (i32.const 3) "ab") (data (i32.const 5) "cd") (data "xyz")"#;
    let copy = "(memory.init 2 (i32.const 9) (i32.const 1) (i32.const 2))";
    assert!(memory(fields, copy).unwrap() == expected);
    // An active segment is empty once it is written.
    let trapped = memory(fields, "(memory.init 0 (i32.const 9) (i32.const 0) (i32.const 1))");
    assert_eq!(trapped, Err(Failure::Trap(Trap::MemoryOutOfBounds)));
    let none = memory(fields, "(data.drop 0) (memory.init 1 (i32.const 9) (i32.const 0) (i32.const 0))");
    assert!(none.unwrap() == model(&[(3, b"abcd".to_vec())]).unwrap());
    let active = r#"(data (i32.const 3) "ab") (data (i32.const 5) "cd")"#;
    let none = memory(active, "(data.drop 1) (memory.init 1 (i32.const 9) (i32.const 0) (i32.const 0))");
    assert!(none.unwrap() == model(&[(3, b"abcd".to_vec())]).unwrap());
    // An address that is no mere number.
    let sum = r#"(data (offset (i32.add (i32.const 2) (i32.const 3))) "cd") (data (i32.const 7) "e")"#;
    assert!(memory(sum, "").unwrap() == model(&[(5, b"cde".to_vec())]).unwrap());
}

/// A number of segments that is said beforehand, and wrong, stays wrong.
#[test]
fn a_wrong_count_of_segments_is_refused() {
    let module = |count: u32| {
        let mut bulk = support::bulk::Bulk::new();
        let segment = bulk.segment(5, b"x");
        bulk.data += &segment;
        bulk.data_count = Some(count);
        support::load_bytes(Abi::Native, &bulk.module())
    };
    assert_eq!(call(&module(2).unwrap(), &json("{}")).unwrap().output, json("1"));
    module(1).unwrap_err();
    module(3).unwrap_err();
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn merged_segments_are_the_segments_one_after_the_other(
        all in proptest::collection::vec((prop_oneof![0u32..60, 0u32..3_000, 65_500u32..65_560], proptest::collection::vec(any::<u8>(), 0..20)), 0..12),
        ascending: bool,
    ) {
        let mut all = all;
        if ascending {
            all.sort_by_key(|(at, _)| *at);
        }
        check(&all);
    }
}
