//! Registered types refuse what breaks their schema, and change nothing then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;

use ak_heap::{
    Content, Heap, HeapConfig, HeapError, Labels, OutOfWork, Patch, REQUEST_WORK, SCHEMA_BYTES_MAX, TypeError,
};
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
    let remote = json(r#"{"$ref":"http://a.example"}"#);
    assert!(matches!(register("user", &remote), Err(TypeError::Schema(_))));
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

/// Registers a schema in a scope.
fn declare(heap: &mut Heap, scope: &str, name: &str, schema: &str) -> Result<(), TypeError> {
    heap.register_type(scope, name, &json(schema), &mut Work::new(REQUEST_WORK))
}

fn put(heap: &mut Heap, owner: &str, value: i64) -> Result<ak_heap::Handle, HeapError> {
    heap.alloc(owner, "n", Content::Json(value.into()), Labels::default())
}

#[test]
fn a_schema_binds_its_scope_alone() {
    let mut heap = Heap::new(HeapConfig::default());
    put(&mut heap, "other", 1).unwrap();
    declare(&mut heap, "crew", "n", r#"{"not":{}}"#).unwrap();
    for owner in ["crew", "crew/w", "crew/w/x"] {
        assert!(matches!(put(&mut heap, owner, 1), Err(HeapError::Schema { .. })), "{owner}");
    }
    for owner in ["main", "other", "crew2", "crew-w", "crewmate/crew", "main/crew"] {
        assert!(put(&mut heap, owner, 1).is_ok(), "{owner}");
    }
    assert!(heap.unregister_type("crew", "n"));
    assert!(!heap.unregister_type("crew", "n"));
    assert!(put(&mut heap, "crew/w", 1).is_ok());
}

#[test]
fn every_schema_of_the_lineage_holds() {
    let mut heap = Heap::new(HeapConfig::default());
    declare(&mut heap, "", "n", r#"{"minimum":0}"#).unwrap();
    declare(&mut heap, "a", "n", r#"{"maximum":100}"#).unwrap();
    declare(&mut heap, "a/b", "n", r#"{"multipleOf":5}"#).unwrap();
    let mut check = |owner: &str, value: i64, expected: Option<&str>| {
        let broken = put(&mut heap, owner, value).err().map(|error| match error {
            HeapError::Schema { keyword, .. } => keyword,
            error => panic!("{error}"),
        });
        assert_eq!(broken.as_deref(), expected, "{owner} {value}");
    };
    check("c", 1_003, None);
    check("c", -5, Some("minimum"));
    check("a", 103, Some("maximum"));
    check("a", 3, None);
    check("a/c", 3, None);
    check("a/b", 3, Some("multipleOf"));
    check("a/b/c", 105, Some("maximum"));
    check("a/b/c", -5, Some("minimum"));
    check("a/b/c", 95, None);
    // Writes are checked like allocs.
    let n = put(&mut heap, "a/b", 5).unwrap();
    assert!(heap.write(n, &replace("", 6), None).is_err());
    assert!(heap.write(n, &replace("", 10), None).is_ok());
}

#[test]
fn registering_looks_at_the_scope_alone() {
    let mut heap = Heap::new(HeapConfig::default());
    for owner in ["a", "a-b", "ab", "b", "a0"] {
        put(&mut heap, owner, -1).unwrap();
    }
    put(&mut heap, "a/b", 1).unwrap();
    let positive = r#"{"minimum":0}"#;
    assert!(declare(&mut heap, "a/b", "n", positive).is_ok());
    assert!(declare(&mut heap, "a/b/c", "n", positive).is_ok());
    assert!(matches!(declare(&mut heap, "a", "n", positive), Err(TypeError::Object { .. })));
    assert!(matches!(declare(&mut heap, "", "n", positive), Err(TypeError::Object { .. })));
    // Objects of others cost nothing.
    let cost = |heap: &mut Heap, scope: &str| {
        let mut work = Work::new(REQUEST_WORK);
        heap.register_type(scope, "n", &json("true"), &mut work).unwrap();
        work.used()
    };
    let before = cost(&mut heap, "z");
    for n in 0..1_000 {
        put(&mut heap, "z-", n).unwrap();
    }
    assert_eq!(cost(&mut heap, "z"), before);
    assert!(cost(&mut heap, "") > before + 1_000);
}

#[test]
fn registering_over_many_objects_is_given_up() {
    let mut heap = Heap::new(HeapConfig::default());
    for n in 0..1_000 {
        put(&mut heap, "main", n).unwrap();
    }
    let before = heap.snapshot();
    let refused = heap.register_type("", "n", &json(r#"{"minimum":0}"#), &mut Work::new(20_000));
    assert_eq!(refused, Err(TypeError::Work(OutOfWork)));
    let refused =
        heap.register_type("", "m", &json(r#"{"pattern":"(a{1000}){1000}"}"#), &mut Work::new(20_000));
    assert_eq!(refused, Err(TypeError::Work(OutOfWork)));
    assert_eq!(heap.snapshot(), before);
}

#[test]
fn nobody_fills_the_types_of_others() {
    let config = HeapConfig {
        types_max: 10,
        types_reserved: 4,
        types_per_delegation_tree_max: 3,
        ..HeapConfig::default()
    };
    let mut heap = Heap::new(config);
    let limit = |max| Err(TypeError::Limit { limit: "types", max });
    for n in 0..3 {
        declare(&mut heap, if n == 0 { "a" } else { "a/b" }, &format!("t{n}"), "true").unwrap();
    }
    // A delegation tree has one quota, whichever agent of it registers.
    assert_eq!(declare(&mut heap, "a/c", "t9", "true"), limit(3));
    declare(&mut heap, "a/b", "t1", "{}").unwrap();
    for n in 0..3 {
        declare(&mut heap, "b", &format!("t{n}"), "true").unwrap();
    }
    assert_eq!(declare(&mut heap, "c", "t0", "true"), limit(6));
    for n in 0..4 {
        declare(&mut heap, "", &format!("t{n}"), "true").unwrap();
    }
    assert_eq!(declare(&mut heap, "", "t9", "true"), limit(10));
    assert_eq!(heap.types().count(), 10);
    assert!(heap.unregister_type("b", "t0"));
    declare(&mut heap, "c", "t0", "true").unwrap();
    let bytes = HeapConfig { type_bytes_per_delegation_tree_max: 20_000, ..HeapConfig::default() };
    let mut heap = Heap::new(bytes);
    let pattern = r#"{"pattern":"a{100}"}"#;
    declare(&mut heap, "a", "t0", pattern).unwrap();
    let mut held = 1;
    while declare(&mut heap, "a/b", &format!("t{held}"), pattern).is_ok() {
        held += 1;
    }
    assert!((2..20).contains(&held), "{held}");
    assert!(declare(&mut heap, "b", "t0", pattern).is_ok());
}

#[test]
fn scopes_survive_a_snapshot() {
    let mut heap = Heap::new(HeapConfig::default());
    declare(&mut heap, "", "user", USER).unwrap();
    let plain = (heap.digest(), heap.snapshot());
    declare(&mut heap, "a/b", "n", r#"{"minimum":0}"#).unwrap();
    let scoped = (heap.digest(), heap.snapshot());
    assert_ne!(plain.0, scoped.0);
    let mut copy = Heap::restore(&scoped.1, heap.config().clone()).unwrap();
    assert_eq!((copy.digest(), copy.snapshot()), scoped);
    assert!(put(&mut copy, "a/b", -1).is_err());
    let types: Vec<(&str, &str)> = copy.types().map(|(scope, name, _)| (scope, name)).collect();
    assert_eq!(types, [("", "user"), ("a/b", "n")]);
    // Once only everybody's types are left, it is the heap that it was.
    heap.unregister_type("a/b", "n");
    assert_eq!((heap.digest(), heap.snapshot()), plain);
    assert_eq!(declare(&mut heap, &"x".repeat(256), "n", "true"), Err(TypeError::Name));
}
