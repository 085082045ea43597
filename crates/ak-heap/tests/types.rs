//! Registered types refuse what breaks their schema, and change nothing then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;

use ak_heap::{Content, Heap, HeapConfig, HeapError, Labels, Patch, SCHEMA_BYTES_MAX, TypeError};
use ak_json::{Value, Work, object};
use documents::{json, replace};

const USER: &str = r#"{
    "type": "object",
    "properties": { "age": { "type": "integer", "minimum": 0 }, "tags": { "items": { "type": "string" } } },
    "required": ["age"],
    "additionalProperties": false
}"#;

fn heap() -> Heap {
    let mut heap = Heap::new(HeapConfig { types_max: 2, ..HeapConfig::default() });
    heap.register_type("", "user", &json(USER), &mut Work::unlimited()).unwrap();
    heap
}

fn breaks(instance_path: &str, keyword: &str) -> HeapError {
    HeapError::Schema {
        type_name: "user".into(),
        instance_path: instance_path.into(),
        keyword: keyword.into(),
    }
}

/// What comes of allocating a user, and of making a user this by a patch.
fn check(content: &str, expected: Result<(), HeapError>) {
    let mut heap = heap();
    let user = heap.alloc("main", "user", Content::Json(object! { "age": 1 }), Labels::default()).unwrap();
    let before = heap.snapshot();
    let result = heap.alloc("main", "user", Content::Json(json(content)), Labels::default());
    assert_eq!(result.map(|_| ()), expected, "{content}");
    if expected.is_err() {
        assert_eq!(heap.snapshot(), before, "{content}");
    }
    assert_eq!(heap.write(user, &replace("", json(content)), None).map(|_| ()), expected, "{content}");
    assert_eq!(heap.snapshot() == before, expected.is_err(), "{content}");
}

#[test]
fn a_type_refuses_what_breaks_its_schema() {
    check(r#"{"age":0}"#, Ok(()));
    check(r#"{"age":7.0,"tags":["a"]}"#, Ok(()));
    check("{}", Err(breaks("", "required")));
    check("[]", Err(breaks("", "type")));
    check(r#"{"age":-1}"#, Err(breaks("/age", "minimum")));
    check(r#"{"age":1,"tags":["a",2]}"#, Err(breaks("/tags/1", "type")));
    check(r#"{"age":1,"name":"x"}"#, Err(breaks("/name", "additionalProperties")));
}

#[test]
fn raw_bytes_are_of_no_registered_type() {
    let raw = Content::Raw([1, 2].into());
    let error = heap().alloc("main", "user", raw.clone(), Labels::default()).unwrap_err();
    assert_eq!(error, breaks("", "type"));
    assert!(heap().alloc("main", "other", raw, Labels::default()).is_ok());
}

/// What comes of registering a schema when a user of age 1 is there.
fn register(name: &str, schema: &Value) -> Result<(), TypeError> {
    let mut heap = heap();
    heap.alloc("main", "user", Content::Json(object! { "age": 1 }), Labels::default()).unwrap();
    let before = heap.digest();
    let result = heap.register_type("", name, schema, &mut Work::unlimited());
    assert_eq!(heap.digest() == before, result.is_err());
    result
}

#[test]
fn a_schema_is_refused_whole() {
    assert!(register("user", &json(r#"{"required":["age"]}"#)).is_ok());
    assert!(register("post", &json(r#"{"required":["title"]}"#)).is_ok());
    assert!(matches!(register("user", &json(r#"{"format":"email"}"#)), Err(TypeError::Schema(_))));
    assert!(matches!(register("user", &json(r#"{"minimum":"0"}"#)), Err(TypeError::Schema(_))));
    assert!(matches!(register("user", &json(r#"{"required":["name"]}"#)), Err(TypeError::Object { .. })));
    assert_eq!(register("", &json("true")), Err(TypeError::Name));
    let long = object! { "title": "x".repeat(SCHEMA_BYTES_MAX) };
    assert!(matches!(register("user", &long), Err(TypeError::Limit { .. })));
}

#[test]
fn types_are_limited_in_number_and_survive_a_snapshot() {
    let mut heap = heap();
    heap.register_type("", "a", &json("true"), &mut Work::unlimited()).unwrap();
    heap.register_type("", "a", &json("{}"), &mut Work::unlimited()).unwrap();
    assert!(matches!(
        heap.register_type("", "b", &json("true"), &mut Work::unlimited()),
        Err(TypeError::Limit { max: 2, .. })
    ));
    let mut copy = Heap::restore(&heap.snapshot(), heap.config().clone()).unwrap();
    assert_eq!(copy.schema("", "user").map(|schema| schema.source().clone()), Some(json(USER)));
    let error = copy.alloc("main", "user", Content::Json(json("{}")), Labels::default()).unwrap_err();
    assert_eq!(error, breaks("", "required"));
    assert_eq!(
        copy.write(ak_heap::Handle::from_raw(7), &Patch::default(), None).unwrap_err().to_string(),
        "no object 0x7: never allocated"
    );
}
