//! The JSON-Schema-Test-Suite, draft 2020-12: passes wherever the schema is accepted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ak_json::{Limits, Schema, SchemaReason, Value, Work};

/// For what the suite's schemas are refused: keywords, places and dialects that are documented as unsupported.
const REFUSED: [&str; 8] = [
    "$dynamicAnchor",
    "$dynamicRef",
    // Below the root.
    "$id",
    "contentEncoding",
    "contentMediaType",
    "format",
    // To another document.
    "reference",
    // A dialect of its own.
    "wrong value of '$schema'",
];

/// What is supported of the suite's optional part.
const OPTIONAL: [&str; 3] = ["ecmascript-regex.json", "float-overflow.json", "non-bmp-regex.json"];

struct Tally {
    passed: usize,
    refused: BTreeMap<String, usize>,
}

fn run(directory: &Path, only: Option<&[&str]>) -> Tally {
    let mut tally = Tally { passed: 0, refused: BTreeMap::new() };
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".json") || only.is_some_and(|only| !only.contains(&name)) {
            continue;
        }
        let groups = Value::parse(&fs::read(&file).unwrap(), &Limits::default()).unwrap();
        for group in groups.as_array().unwrap() {
            let schema = match Schema::parse(group.get("schema").unwrap(), &mut Work::unlimited()) {
                Ok(schema) => schema,
                Err(error) => {
                    let kind = match &error.reason {
                        SchemaReason::Keyword(keyword) => keyword.to_string(),
                        SchemaReason::Reference(_) => "reference".into(),
                        reason => reason.to_string(),
                    };
                    assert!(REFUSED.contains(&kind.as_str()), "{name}: {error}: {group:?}");
                    *tally.refused.entry(kind).or_default() += 1;
                    continue;
                }
            };
            for case in group.get("tests").unwrap().as_array().unwrap() {
                let outcome = schema.validate(case.get("data").unwrap(), &mut Work::unlimited());
                let expected = case.get("valid").unwrap().as_bool().unwrap();
                assert_eq!(outcome.is_ok(), expected, "{name}: {group:?}\n{case:?}\n{outcome:?}");
                tally.passed += 1;
            }
        }
    }
    tally
}

#[test]
fn the_suite_passes_for_what_is_supported() {
    let Some(vectors) = std::env::var_os("AK_VECTORS") else {
        println!("skipped: AK_VECTORS is not set");
        return;
    };
    let suite = Path::new(&vectors).join("jsonschema/tests/draft2020-12");
    let mandatory = run(&suite, None);
    let optional = run(&suite.join("optional"), Some(&OPTIONAL));
    println!("passed {} and {}, refused {:?}", mandatory.passed, optional.passed, mandatory.refused);
    assert!(mandatory.passed > 1000 && mandatory.refused.values().sum::<usize>() < 90);
    assert!(optional.passed > 70 && optional.refused.is_empty());
}
