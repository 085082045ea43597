//! Patterns, against what Node has them match: run by `cargo xtask peers schemas`.
//!
//! `AK_PATTERN_PEERS` is a file of rows, one a line: a pattern, whether it is valid, and texts with whether it matches them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ak_json::{Limits, Schema, SchemaReason, Value, Work, object};

#[test]
#[ignore = "needs Node"]
fn patterns_match_what_they_match_in_node() {
    let path = std::env::var_os("AK_PATTERN_PEERS").expect("run by `cargo xtask peers schemas`");
    let (mut malformed, mut unjudged, mut looking, mut compared) = (0, 0, 0, 0);
    for row in std::fs::read_to_string(path).unwrap().lines() {
        let row = Value::parse(row.as_bytes(), &Limits::default()).unwrap();
        let pattern = row.get("pattern").and_then(Value::as_str).unwrap();
        let is_valid = row.get("valid").and_then(Value::as_bool).unwrap();
        let schema = match Schema::parse(&object! { "pattern": pattern }, &mut Work::unlimited()) {
            Ok(schema) => schema,
            Err(error) => {
                assert!(!is_valid && error.reason == SchemaReason::Pattern, "{pattern}: {error}");
                malformed += 1;
                continue;
            }
        };
        if !schema.unjudged().is_empty() {
            unjudged += 1;
            continue;
        }
        assert!(is_valid, "{pattern} is none");
        looking += usize::from(["(?!", "(?=", "(?<"].iter().any(|look| pattern.contains(look)));
        for (text, expected) in row.get("matches").and_then(Value::as_object).unwrap() {
            let text = Value::from(text.as_str());
            let matches = schema.validate(&text, &mut Work::unlimited()).is_ok();
            assert_eq!(Some(matches), expected.as_bool(), "{pattern} {text:?}");
            compared += 1;
        }
    }
    println!(
        "{compared} texts compared; patterns: {malformed} malformed, {unjudged} unjudged, {looking} with look-around judged"
    );
    assert!(compared > 100_000 && looking > 1_000);
}
