//! What holds for all documents and patches.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;

use ak_heap::{Patch, PatchErrorKind, PatchOp};
use ak_json::{Limits, Pointer, Value, Work, array, object};
use documents::{document, document_and_patch, json, nested, op, to_serde};
use proptest::prelude::*;

/// RFC 6902 on plain trees, as naive as can be.
mod model {
    use ak_heap::PatchOp;
    use ak_json::Pointer;
    use serde_json::Value;

    pub(crate) fn apply(ops: &[PatchOp], document: &Value) -> Option<Value> {
        let mut document = document.clone();
        for op in ops {
            match op {
                PatchOp::Add { path, value } => add(&mut document, path, super::to_serde(value))?,
                PatchOp::Remove { path } => drop(remove(&mut document, path)?),
                PatchOp::Replace { path, value } => *at(&mut document, path)? = super::to_serde(value),
                PatchOp::Move { from, path } if from == path => drop(at(&mut document, from)?),
                PatchOp::Move { from, path } if path.starts_with(from) => return None,
                PatchOp::Move { from, path } => {
                    let value = remove(&mut document, from)?;
                    add(&mut document, path, value)?;
                }
                PatchOp::Copy { from, path } => {
                    let value = at(&mut document, from)?.clone();
                    add(&mut document, path, value)?;
                }
                PatchOp::Test { path, value } => {
                    if !equal(at(&mut document, path)?, &super::to_serde(value)) {
                        return None;
                    }
                }
            }
        }
        Some(document)
    }

    /// Equality of RFC 6902 §4.6, with numbers compared exactly.
    pub(crate) fn equal(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
            }
            (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => {
                let (float, integer) = if a.is_f64() { (a, b) } else { (b, a) };
                let float = float.as_f64().unwrap();
                let integer = integer.as_u64().map(i128::from).or(integer.as_i64().map(i128::from)).unwrap();
                float.fract() == 0.0 && float as i128 == integer
            }
            (a, b) => a == b,
        }
    }

    fn at<'v>(document: &'v mut Value, path: &Pointer) -> Option<&'v mut Value> {
        document.pointer_mut(&path.to_string())
    }

    fn place<'v, 'p>(document: &'v mut Value, path: &'p Pointer) -> Option<(&'v mut Value, &'p str)> {
        Some((at(document, &path.parent()?)?, path.last()?))
    }

    fn index(token: &str) -> Option<usize> {
        if token.len() > 1 && token.starts_with('0') { None } else { token.parse().ok() }
    }

    fn add(document: &mut Value, path: &Pointer, value: Value) -> Option<()> {
        if path.is_root() {
            *document = value;
            return Some(());
        }
        match place(document, path)? {
            (Value::Array(items), "-") => items.push(value),
            (Value::Array(items), token) => {
                let index = index(token).filter(|index| *index <= items.len())?;
                items.insert(index, value);
            }
            (Value::Object(members), name) => drop(members.insert(name.into(), value)),
            _ => return None,
        }
        Some(())
    }

    fn remove(document: &mut Value, path: &Pointer) -> Option<Value> {
        match place(document, path)? {
            (Value::Array(items), token) => {
                let index = index(token).filter(|index| *index < items.len())?;
                Some(items.remove(index))
            }
            (Value::Object(members), name) => members.remove(name),
            _ => None,
        }
    }
}

/// RFC 7386 §2, word for word.
fn merge_patch(target: Option<&Value>, patch: &Value) -> Value {
    let Some(patch) = patch.as_object() else { return patch.clone() };
    let mut target = target.and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let merged = merge_patch(target.get(name), value);
            target.insert(name, merged);
        }
    }
    target.into()
}

fn apply(patch: &Patch, document: &Value) -> Option<Value> {
    patch.apply(document, &Limits::default(), &mut Work::unlimited()).ok()
}

/// Whether the json-patch crate is known to deviate: where the whole document would go, a value into itself, or where a
/// whole number is tested for, which it takes for another one when written as a float.
/// (Its way of undoing a failed patch panics after a move to the root, hence `patch_unsafe` on a copy.)
fn json_patch_differs(op: &PatchOp) -> bool {
    match op {
        PatchOp::Remove { path } => path.is_root(),
        PatchOp::Move { from, path } => path.starts_with(from),
        PatchOp::Test { value, .. } => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        PatchOp::Add { .. } | PatchOp::Replace { .. } | PatchOp::Copy { .. } => false,
    }
}

proptest! {
    #![proptest_config(documents::cases(500))]

    #[test]
    fn a_patch_does_what_the_model_does((document, patch) in document_and_patch()) {
        let expected = model::apply(patch.ops(), &to_serde(&document));
        let patched = apply(&patch, &document);
        prop_assert_eq!(patched.is_some(), expected.is_some());
        if let (Some(patched), Some(expected)) = (patched, expected) {
            prop_assert_eq!(to_serde(&patched), expected);
        }
    }

    #[test]
    fn a_patch_does_what_the_json_patch_crate_does((document, patch) in document_and_patch()) {
        let patch = Patch::new(patch.ops().iter().filter(|op| !json_patch_differs(op)).cloned().collect());
        let mut expected = to_serde(&document);
        let ops: json_patch::Patch = serde_json::from_value(to_serde(&patch.to_value())).unwrap();
        let result = json_patch::patch_unsafe(&mut expected, &ops);
        let patched = apply(&patch, &document);
        prop_assert_eq!(patched.is_some(), result.is_ok(), "{:?}", result);
        if let Some(patched) = patched {
            prop_assert_eq!(to_serde(&patched), expected);
        }
    }

    #[test]
    fn operations_one_by_one_give_what_the_patch_gives((document, patch) in document_and_patch()) {
        let one_by_one = patch.ops().iter().try_fold(document.clone(), |document, op| {
            apply(&Patch::new(vec![op.clone()]), &document)
        });
        prop_assert_eq!(apply(&patch, &document), one_by_one);
    }

    #[test]
    fn a_patch_survives_its_text(ops in prop::collection::vec(op(), 0..8)) {
        let patch = Patch::new(ops);
        prop_assert_eq!(Patch::parse(&json(&patch.to_value().to_json())).unwrap(), patch);
    }

    #[test]
    fn a_diff_leads_from_one_to_the_other(a in document(), b in document()) {
        let patch = Patch::diff(&a, &b);
        prop_assert_eq!(apply(&patch, &a), Some(b.clone()));
        prop_assert_eq!(patch.ops().is_empty(), a == b);
    }

    #[test]
    fn a_diff_finds_what_a_patch_did((document, patch) in document_and_patch()) {
        if let Some(patched) = apply(&patch, &document) {
            prop_assert_eq!(apply(&Patch::diff(&document, &patched), &document), Some(patched));
        }
    }

    #[test]
    fn a_merge_does_what_rfc_7386_says(target in document(), merge in document()) {
        let merged = apply(&Patch::merge(&target, &merge), &target).unwrap();
        prop_assert_eq!(merged.to_json(), merge_patch(Some(&target), &merge).to_json());
    }

    #[test]
    fn what_comes_out_keeps_the_limits((document, patch) in document_and_patch(), depth_max in 0usize..6,
                                       bytes_max in 0usize..80, members_max in 0usize..5) {
        let limits = Limits { depth_max, bytes_max, members_max, ..Limits::default() };
        // A document that was let in keeps the limits.
        if Value::parse(document.to_json().as_bytes(), &limits).is_ok()
            && let Ok(patched) = patch.apply(&document, &limits, &mut Work::unlimited())
            && patch.ops().iter().all(|op| match op {
                PatchOp::Add { value, .. } | PatchOp::Replace { value, .. } => {
                    Value::parse(value.to_json().as_bytes(), &limits).is_ok()
                }
                _ => true,
            })
        {
            prop_assert!(Value::parse(patched.to_json().as_bytes(), &limits).is_ok());
        }
    }
}

/// The error of a patch on a document: which operation, where, of what kind.
fn check(
    document: &str,
    patch: &str,
    index: impl Into<Option<usize>>,
    path: &str,
    kind: PatchErrorKind,
    message: &str,
) {
    let error = Patch::parse(&json(patch))
        .and_then(|patch| patch.apply(&json(document), &Limits::default(), &mut Work::unlimited()));
    let error = error.expect_err(patch);
    assert_eq!((error.index, &*error.path, error.kind()), (index.into(), path, kind), "{patch}");
    assert!(error.to_string().ends_with(message), "{error}");
}

#[test]
fn errors_name_operation_place_and_reason() {
    use PatchErrorKind::{Invalid, Missing, TestFailed};
    check("{}", r#"{"op":"add"}"#, None, "", Invalid, "a patch is an array of operations");
    check("{}", r#"[{"op":"test","path":"","value":{}},7]"#, 1, "", Invalid, "an operation is an object");
    check("{}", r#"[{"path":"/a","value":1}]"#, 0, "/a", Invalid, "'op' is missing");
    check("{}", r#"[{"op":"add","path":7,"value":1}]"#, 0, "", Invalid, "'path' is not a string");
    check("{}", r#"[{"op":"add","path":"/a~2","value":1}]"#, 0, "/a~2", Invalid, "neither '0' nor '1'");
    check("{}", r#"[{"op":"spam","path":"/a"}]"#, 0, "/a", Invalid, "copy or test");
    check("{}", r#"[{"op":"remove","path":""}]"#, 0, "", Invalid, "cannot be removed");
    check(r#"{"a":{}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#, 0, "/a/b", Invalid, "into itself");
    check(
        "{}",
        r#"[{"op":"add","path":"/a/b","value":1}]"#,
        0,
        "/a/b",
        Missing,
        "the parent is missing or is neither array nor object",
    );
    check("{}", r#"[{"op":"copy","from":"/x","path":"/a"}]"#, 0, "/x", Missing, "no value at this pointer");
    check("[1]", r#"[{"op":"add","path":"/3","value":1}]"#, 0, "/3", Missing, "beyond the end of 1 items");
    check(
        "[1]",
        r#"[{"op":"replace","path":"/-","value":1}]"#,
        0,
        "/-",
        Missing,
        "beyond the end of 1 items",
    );
    check("[1]", r#"[{"op":"remove","path":"/00"}]"#, 0, "/00", Missing, "not an array index");
    check("[1]", r#"[{"op":"test","path":"/0","value":"1"}]"#, 0, "/0", TestFailed, "not as expected");
    check("[1]", r#"[{"op":"test","path":"/7","value":1}]"#, 0, "/7", TestFailed, "not as expected");
}

#[test]
fn numbers_are_equal_by_value() {
    let patch = Patch::parse(&json(r#"[{"op":"test","path":"","value":[1,1e0,100,-0.0]}]"#)).unwrap();
    assert!(apply(&patch, &json("[1.0,1,1e2,0]")).is_some());
    let patch = Patch::parse(&json(r#"[{"op":"test","path":"","value":9007199254740993}]"#)).unwrap();
    assert!(apply(&patch, &json("9007199254740992.0")).is_none());
}

#[test]
fn copies_of_copies_stop_at_the_limit() {
    let copy = |from: &str| PatchOp::Copy {
        from: Pointer::parse(from).unwrap(),
        path: Pointer::parse("/-").unwrap(),
    };
    let error = Patch::new(vec![copy(""); 1_000])
        .apply(&array![1], &Limits::default(), &mut Work::unlimited())
        .unwrap_err();
    assert_eq!(error.kind(), PatchErrorKind::Limit);
    let doubling: Vec<PatchOp> = (0..1_000).map(|n| copy(if n % 2 == 0 { "/0" } else { "" })).collect();
    let error = Patch::new(doubling)
        .apply(&array!["x".repeat(100)], &Limits::default(), &mut Work::unlimited())
        .unwrap_err();
    assert_eq!(error.kind(), PatchErrorKind::Limit);
}

#[test]
fn a_patch_cannot_move_a_large_array_for_ever() {
    let array = Value::from(vec![Value::Null; 50_000]);
    let limits = Limits { members_max: 60_000, ..Limits::default() };
    let front = PatchOp::Add { path: Pointer::parse("/0").unwrap(), value: Value::Null };
    let end = PatchOp::Add { path: Pointer::parse("/-").unwrap(), value: Value::Null };
    let work = &mut Work::new(ak_heap::REQUEST_WORK);
    let error = Patch::new(vec![front; 100]).apply(&array, &limits, work).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.index), (PatchErrorKind::Limit, Some(6)));
    assert!(
        Patch::new(vec![end; 3_000]).apply(&array, &limits, &mut Work::new(ak_heap::REQUEST_WORK)).is_ok()
    );
}

#[test]
fn no_depth_exhausts_the_stack() {
    let deep = nested(100_000);
    let limits = Limits { depth_max: 100_000, ..Limits::default() };
    let patch = Patch::new(vec![PatchOp::Replace { path: Pointer::root(), value: deep.clone() }]);
    assert_eq!(patch.apply(&Value::Null, &limits, &mut Work::unlimited()), Ok(deep.clone()));
    assert_eq!(
        patch.apply(&Value::Null, &Limits::default(), &mut Work::unlimited()).unwrap_err().kind(),
        PatchErrorKind::Limit
    );
    assert_eq!(Patch::diff(&deep, &deep).ops(), []);
    let object = (0..10_000).fold(Value::Null, |inner, _| object! { "a": inner });
    assert_eq!(apply(&Patch::merge(&Value::Null, &object), &Value::Null), None);
    assert!(Patch::merge(&object, &object).ops().len() <= 1);
}
