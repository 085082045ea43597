//! The community's RFC 6902 test suite, read from the directory that AK_VECTORS names. All of it is run, the
//! cases that it marks as disabled too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;

use ak_heap::{Patch, PatchError};
use ak_json::{Limits, ParseReason, Value, Work};

fn apply(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    Patch::parse(patch)?.apply(document, &Limits::default(), &mut Work::unlimited())
}

fn check(case: &str) {
    let value = match Value::parse(case.as_bytes(), &Limits::default()) {
        Ok(value) => value,
        // Two cases demand that a member given twice is an error. With us no such value comes to be.
        Err(error) if error.reason == ParseReason::Duplicate => {
            return assert!(case.contains("two 'op' members"));
        }
        Err(error) => panic!("{error}: {case}"),
    };
    // The rest are comments.
    let (Some(document), Some(patch)) = (value.get("doc"), value.get("patch")) else { return };
    let result = apply(document, patch);
    if value.get("error").is_some() {
        assert!(result.is_err(), "{case} must fail");
    } else {
        let patched = result.unwrap_or_else(|error| panic!("{case}: {error}"));
        if let Some(expected) = value.get("expected") {
            assert_eq!(&patched, expected, "{case}");
        }
    }
}

/// The texts of the items of an array of objects.
fn items(array: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0, false, false);
    for (at, byte) in array.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    items.push(&array[start..=at]);
                }
            }
            _ => {}
        }
    }
    items
}

#[test]
fn the_suite_passes() {
    let Some(vectors) = std::env::var_os("AK_VECTORS") else {
        println!("skipped: AK_VECTORS is not set");
        return;
    };
    for (file, count) in [("tests.json", 95), ("spec_tests.json", 17)] {
        let path = Path::new(&vectors).join("jsonpatch").join(file);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let items = items(&text);
        assert!(items.len() >= count, "{file} has only {} cases", items.len());
        items.iter().for_each(|case| check(case));
    }
}
