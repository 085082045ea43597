//! The JSON-Schema-Test-Suite, drafts 7 and 2020-12: passes for all that is claimed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ak_json::{Limits, Schema, Value, Work};

const REMOTE: &str = "no other document is fetched, nor are those of the drafts themselves kept";
const DYNAMIC: &str = "a dynamic reference with several anchors to lead to is refused";
const DIALECT: &str = "a $schema that names no draft is refused";
const CONTENT: &str = "what the content of a string is asserts nothing";
const FORMAT: &str = "a format asserts nothing";
const NUMBERS: &str = "integers beyond 64 bits are no values here";

/// What is not claimed: why, the file, and the groups in it, by description. They fail in each draft that has them.
const UNCLAIMED: &[(&str, &str, &[&str])] = &[
    (REMOTE, "definitions.json", &["validate definition against metaschema"]),
    (REMOTE, "defs.json", &["validate definition against metaschema"]),
    (
        REMOTE,
        "dynamicRef.json",
        &[
            "strict-tree schema, guards against misspelled properties",
            "tests for implementation dynamic anchor and reference link",
            "$ref and $dynamicAnchor are independent of order - $defs first",
            "$ref and $dynamicAnchor are independent of order - $ref first",
            "$ref to $dynamicRef finds detached $dynamicAnchor",
        ],
    ),
    (
        REMOTE,
        "optional/cross-draft.json",
        &[
            "refs to future drafts are processed as future drafts",
            "refs to historic drafts are processed as historic drafts",
        ],
    ),
    (REMOTE, "ref.json", &["remote ref, containing refs itself"]),
    (
        REMOTE,
        "refRemote.json",
        &[
            "remote ref",
            "fragment within remote ref",
            "ref within remote ref",
            "base URI change",
            "base URI change - change folder",
            "base URI change - change folder in subschema",
            "root ref in remote ref",
            "remote ref with ref to definitions",
            "Location-independent identifier in remote ref",
            "retrieved nested refs resolve relative to their URI not $id",
            "$ref to $ref finds location-independent $id",
            "anchor within remote ref",
            "remote ref with ref to defs",
            "remote HTTP ref with different $id",
            "remote HTTP ref with different URN $id",
            "remote HTTP ref with nested absolute ref",
            "$ref to $ref finds detached $anchor",
        ],
    ),
    (
        DYNAMIC,
        "dynamicRef.json",
        &[
            "A $dynamicRef resolves to the first $dynamicAnchor still in scope that is encountered when the schema is evaluated",
            "A $dynamicRef with intermediate scopes that don't include a matching $dynamicAnchor does not affect dynamic scope resolution",
            "A $dynamicRef that initially resolves to a schema with a matching $dynamicAnchor resolves to the first $dynamicAnchor in the dynamic scope",
            "multiple dynamic paths to the $dynamicRef keyword",
            "after leaving a dynamic scope, it is not used by a $dynamicRef",
            "$dynamicRef skips over intermediate resources - direct reference",
            "$dynamicRef avoids the root of each schema, but scopes are still registered",
        ],
    ),
    (
        DYNAMIC,
        "optional/dynamicRef.json",
        &["$dynamicRef skips over intermediate resources - pointer reference across resource boundary"],
    ),
    (DYNAMIC, "unevaluatedItems.json", &["unevaluatedItems with $dynamicRef"]),
    (DYNAMIC, "unevaluatedProperties.json", &["unevaluatedProperties with $dynamicRef"]),
    (
        DIALECT,
        "optional/format-assertion.json",
        &[
            "schema that uses custom metaschema with format-assertion: false",
            "schema that uses custom metaschema with format-assertion: true",
        ],
    ),
    (
        DIALECT,
        "vocabulary.json",
        &[
            "schema that uses custom metaschema with with no validation vocabulary",
            "ignore unrecognized optional vocabulary",
        ],
    ),
    (
        CONTENT,
        "optional/content.json",
        &[
            "validation of string-encoded content based on media type",
            "validation of binary string-encoding",
            "validation of binary-encoded media type documents",
        ],
    ),
    (FORMAT, "optional/format/date-time.json", &["validation of date-time strings"]),
    (FORMAT, "optional/format/date.json", &["validation of date strings"]),
    (FORMAT, "optional/format/duration.json", &["validation of duration strings"]),
    (
        FORMAT,
        "optional/format/ecmascript-regex.json",
        &[
            "\\a is not an ECMA 262 control escape",
            "Python-specific regular expression syntax is not valid ECMA 262",
            "global inline flag groups are not valid ECMA 262",
        ],
    ),
    (FORMAT, "optional/format/email.json", &["validation of e-mail addresses"]),
    (
        FORMAT,
        "optional/format/hostname.json",
        &["validation of host names", "validation of A-label (punycode) host names"],
    ),
    (FORMAT, "optional/format/idn-email.json", &["validation of an internationalized e-mail addresses"]),
    (
        FORMAT,
        "optional/format/idn-hostname.json",
        &[
            "validation of internationalized host names",
            "validation of separators in internationalized host names",
        ],
    ),
    (FORMAT, "optional/format/ipv4.json", &["validation of IP addresses"]),
    (FORMAT, "optional/format/ipv6.json", &["validation of IPv6 addresses"]),
    (FORMAT, "optional/format/iri-reference.json", &["validation of IRI References"]),
    (FORMAT, "optional/format/iri.json", &["validation of IRIs"]),
    (
        FORMAT,
        "optional/format/json-pointer.json",
        &["validation of JSON-pointers (JSON String Representation)"],
    ),
    (FORMAT, "optional/format/regex.json", &["validation of regular expressions"]),
    (FORMAT, "optional/format/relative-json-pointer.json", &["validation of Relative JSON Pointers (RJP)"]),
    (FORMAT, "optional/format/time.json", &["validation of time strings"]),
    (FORMAT, "optional/format/uri-reference.json", &["validation of URI References"]),
    (FORMAT, "optional/format/uri-template.json", &["format: uri-template"]),
    (FORMAT, "optional/format/uri.json", &["validation of URIs"]),
    (FORMAT, "optional/format/uuid.json", &["uuid format"]),
    (NUMBERS, "optional/bignum.json", &[""]),
];

/// What came of the groups, by file and description.
#[derive(Default)]
struct Tally {
    passed: usize,
    /// Those that are not claimed, and fail.
    unclaimed: BTreeSet<(String, String)>,
    surprises: Vec<String>,
}

/// The number of tests of a group, which all turn out as they should.
fn run_group(group: &Value, draft: &str) -> Result<usize, String> {
    let mut schema = group.get("schema").unwrap().clone();
    // What names no draft is that of the folder.
    if let Value::Object(object) = &mut schema
        && draft == "draft7"
        && !object.contains_key("$schema")
    {
        object.insert("$schema", "http://json-schema.org/draft-07/schema#");
    }
    let schema = Schema::parse(&schema, &mut Work::unlimited()).map_err(|error| error.to_string())?;
    if !schema.unjudged().is_empty() {
        return Err(format!("{:?}", schema.unjudged()));
    }
    let tests = group.get("tests").unwrap().as_array().unwrap();
    for test in tests {
        let outcome = schema.validate(test.get("data").unwrap(), &mut Work::unlimited());
        if outcome.is_ok() != test.get("valid").unwrap().as_bool().unwrap() {
            return Err(format!("{:?}: {outcome:?}", test.get("description").unwrap()));
        }
    }
    Ok(tests.len())
}

fn run_folder(suite: &Path, draft: &str, folder: &str, tally: &mut Tally) {
    let files = fs::read_dir(suite.join(draft).join(folder)).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|file| file.is_file()) {
        let name = format!("{folder}{}", file.file_name().unwrap().to_str().unwrap());
        let mut note = |description: &str, outcome: Result<usize, String>| {
            let is_it =
                |(_, file, groups): &(_, &str, &[&str])| *file == name && groups.contains(&description);
            let is_claimed = !UNCLAIMED.iter().any(is_it);
            match outcome {
                Ok(count) if is_claimed => tally.passed += count,
                Ok(_) => tally.surprises.push(format!("{draft} {name} {description:?} passes: claim it")),
                Err(reason) if is_claimed => {
                    tally.surprises.push(format!("{draft} {name} {description:?}: {reason}"));
                }
                Err(_) => drop(tally.unclaimed.insert((name.clone(), description.into()))),
            }
        };
        match Value::parse(&fs::read(&file).unwrap(), &Limits::default()) {
            Ok(groups) => {
                for group in groups.as_array().unwrap() {
                    note(group.get("description").unwrap().as_str().unwrap(), run_group(group, draft));
                }
            }
            // The whole file goes by no description.
            Err(error) => note("", Err(error.to_string())),
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
    let mut tally = Tally::default();
    for draft in ["draft7", "draft2020-12"] {
        for folder in ["", "optional/", "optional/format/"] {
            run_folder(&suite, draft, folder, &mut tally);
        }
    }
    println!("{} tests pass, {} groups are not claimed", tally.passed, tally.unclaimed.len());
    assert!(tally.surprises.is_empty(), "{}", tally.surprises.join("\n"));
    let groups =
        UNCLAIMED.iter().flat_map(|(_, file, groups)| groups.iter().map(move |group| (*file, *group)));
    let is_stale =
        |(file, group): &(&str, &str)| !tally.unclaimed.contains(&((*file).into(), (*group).into()));
    let stale: Vec<_> = groups.filter(is_stale).collect();
    assert!(stale.is_empty(), "not in the suite: {stale:?}");
    assert!(tally.passed > 2_000);
}
