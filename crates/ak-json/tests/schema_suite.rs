//! The JSON-Schema-Test-Suite, drafts 7 and 2020-12: passes for all that is claimed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ak_json::{Limits, Schema, Value, Work};

/// A group of the suite by draft, file and description, and why it is not claimed. A description that ends with `…` is
/// that of all groups that begin so.
type Unclaimed = (&'static str, &'static str, &'static str, &'static str);

const REMOTE: &str = "no other document is fetched, nor are those of the drafts themselves kept";
const DYNAMIC: &str = "a dynamic reference with several anchors to lead to is refused";
const FORMAT: &str = "format is an annotation";
const VOCABULARY: &str = "a $schema that names no draft is refused";
const CONTENT: &str = "contents of strings are annotations";
const NUMBERS: &str = "integers beyond 64 bits are no values here";

const UNCLAIMED: &[Unclaimed] = &[
];

struct Tally {
    passed: usize,
    unclaimed: BTreeSet<usize>,
    surprises: Vec<String>,
}

/// Whether all tests of a group turn out as they should, or what does not.
fn group(group: &Value, draft: &str) -> Result<usize, String> {
    let mut schema = group.get("schema").unwrap().clone();
    // The suite's own default for what names no draft.
    if draft == "draft7"
        && let Value::Object(object) = &mut schema
        && !object.contains_key("$schema")
    {
        object.insert("$schema", "http://json-schema.org/draft-07/schema#");
    }
    let schema = Schema::parse(&schema, &mut Work::unlimited()).map_err(|error| error.to_string())?;
    assert!(schema.unjudged().is_empty(), "{group:?}");
    let tests = group.get("tests").unwrap().as_array().unwrap();
    for test in tests {
        let outcome = schema.validate(test.get("data").unwrap(), &mut Work::unlimited());
        if outcome.is_ok() != test.get("valid").unwrap().as_bool().unwrap() {
            return Err(format!("{}: {outcome:?}", test.get("description").unwrap()));
        }
    }
    Ok(tests.len())
}

fn run(suite: &Path, draft: &str, folder: &str, tally: &mut Tally) {
    let mut files: Vec<_> = fs::read_dir(suite.join(draft).join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let name = format!("{folder}{}", file.file_name().unwrap().to_str().unwrap());
        let groups = match Value::parse(&fs::read(file).unwrap(), &Limits::default()) {
            Ok(groups) => groups,
            Err(error) => { tally.surprises.push(format!("{draft} {name} {error}")); continue }
        };
        for tests in groups.as_array().unwrap() {
            let description = tests.get("description").unwrap().as_str().unwrap();
            let is_it = |(a, b, c, _): &Unclaimed| {
                let is_described = match c.strip_suffix('…') {
                    Some(start) => description.starts_with(start),
                    None => description == *c,
                };
                *a == draft && *b == name && is_described
            };
            let unclaimed = UNCLAIMED.iter().position(is_it);
            match (group(tests, draft), unclaimed) {
                (Ok(count), None) => tally.passed += count,
                (Err(_), Some(index)) => drop(tally.unclaimed.insert(index)),
                (Err(reason), None) => {
                    tally.surprises.push(format!("{draft} {name} {description:?}: {reason}"))
                }
                (Ok(_), Some(_)) => {
                    tally.surprises.push(format!("{draft} {name} {description:?} passes: claim it"));
                }
            }
        }
    }
}

#[test]
fn the_suites_pass_for_all_that_is_claimed() {
    let Some(vectors) = std::env::var_os("AK_VECTORS") else {
        println!("skipped: AK_VECTORS is not set");
        return;
    };
    let suite = Path::new(&vectors).join("jsonschema/tests");
    let mut tally = Tally { passed: 0, unclaimed: BTreeSet::new(), surprises: Vec::new() };
    for draft in ["draft7", "draft2020-12"] {
        for folder in ["", "optional/", "optional/format/"] {
            run(&suite, draft, folder, &mut tally);
        }
    }
    println!("{} tests passed, {} groups are not claimed", tally.passed, UNCLAIMED.len());
    assert!(tally.surprises.is_empty(), "{}", tally.surprises.join("\n"));
    let stale: Vec<_> = (0..UNCLAIMED.len()).filter(|index| !tally.unclaimed.contains(index)).collect();
    assert!(stale.is_empty(), "not in the suite: {:?}", stale.iter().map(|index| UNCLAIMED[*index]).collect::<Vec<_>>());
}
