//! Work is paid for before it is done: what costs too much is refused, and nothing has changed then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;

use std::time::Instant;

use ak_heap::{
    BatchOp, Content, Filter, Handle, Heap, HeapConfig, HeapError, LabelMap, Labels, OutOfWork, Patch,
    PatchErrorKind, PatchOp, Query, REQUEST_WORK, Scope, Test,
};
use ak_json::{Pointer, Value, Work, array, object};
use documents::{document, op};
use proptest::prelude::*;

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

fn add(path: &str, value: impl Into<Value>) -> PatchOp {
    PatchOp::Add { path: pointer(path), value: value.into() }
}

/// A heap with an object in it.
fn holding(content: Value) -> (Heap, Handle) {
    let mut heap = Heap::new(HeapConfig::default());
    let content = Content::Json(content);
    let handle = heap
        .plan_alloc("main", "t", content, Labels::default(), &mut Work::unlimited())
        .unwrap()
        .commit()
        .handle;
    (heap, handle)
}

/// What a request's work does not suffice for.
fn refuse(content: Value, ops: Vec<PatchOp>) {
    let (mut heap, handle) = holding(content);
    let before = heap.digest();
    let started = Instant::now();
    let error = heap.write(handle, &Patch::new(ops), None).unwrap_err();
    // A debug build on a busy machine; what is refused took minutes.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    let HeapError::Patch(error) = error else { panic!("{error}") };
    assert_eq!((error.kind(), error.reason), (PatchErrorKind::Limit, OutOfWork.into()));
    assert_eq!(heap.digest(), before);
}

#[test]
fn a_patch_with_too_many_reference_tokens_is_refused_before_it_is_read() {
    let op = object! { "op": "remove", "path": "/a".repeat(100) };
    let patch = |ops: usize| Value::from(vec![op.clone(); ops]);
    let read =
        |ops, work| Patch::parse_within(&patch(ops), &mut Work::new(work)).map(|patch| patch.ops().len());
    assert_eq!(read(10, 100_000), Ok(10));
    let error = read(1_000, 100_000).unwrap_err();
    assert!(error.index.is_some_and(|index| index < 1_000), "{error:?}");
    assert_eq!((error.kind(), error.reason), (PatchErrorKind::Limit, OutOfWork.into()));
}

#[test]
fn hostile_patches_are_refused() {
    let numbers = |count: usize| -> Value { (0..count).map(Value::from).collect::<Vec<_>>().into() };
    let test = |value: Value| PatchOp::Test { path: pointer("/a"), value };
    refuse(numbers(100_000), vec![add("/0", 1); 10_000]);
    refuse(numbers(100_000), vec![PatchOp::Remove { path: pointer("/0") }; 10_000]);
    refuse(object! { "a": numbers(100_000) }, vec![test(numbers(100_000)); 10_000]);
    refuse(object! { "a": "x".repeat(8 << 20) }, vec![test("x".repeat(8 << 20).into()); 10_000]);
    let deep = (0..100).fold(array![0], |inner, _| array![1, inner]);
    refuse(
        deep,
        vec![PatchOp::Replace { path: pointer(&format!("{}/0", "/1".repeat(100))), value: 1.into() }; 10_000],
    );
    let names = (0..100_000).map(|n| (format!("n{n}"), Value::Null)).collect::<ak_json::Object>();
    refuse(names.into(), (0..10_000).map(|n| PatchOp::Remove { path: pointer(&format!("/n{n}")) }).collect());
    let copies = |from: &str, path: &str| PatchOp::Copy { from: pointer(from), path: pointer(path) };
    let long = object! { "a": "x".repeat(7 << 20), "b": "" };
    refuse(long, vec![copies("/a", "/b"); 10_000]);
}

#[test]
fn plain_patches_cost_little() {
    let (mut heap, handle) = holding((0..100_000usize).map(Value::from).collect::<Vec<_>>().into());
    let mut work = Work::new(REQUEST_WORK);
    let ops = vec![add("/-", 1), PatchOp::Replace { path: pointer("/50000"), value: 1.into() }];
    heap.plan_write(handle, &Patch::new(ops), None, &mut work).unwrap().commit();
    assert!(work.used() < 15_000, "{}", work.used());
    let (mut heap, handle) = holding(object! { "value": 0 });
    let mut work = Work::new(REQUEST_WORK);
    let ops = vec![PatchOp::Replace { path: pointer("/value"), value: 1.into() }];
    heap.plan_write(handle, &Patch::new(ops), None, &mut work).unwrap().commit();
    assert!(work.used() < 600, "{}", work.used());
}

#[test]
fn a_pattern_does_not_hold_the_heap() {
    let mut heap = Heap::new(HeapConfig::default());
    let schema =
        object! { "properties": object! { "s": object! { "not": object! { "pattern": "(a?b?){110}c$" } } } };
    heap.register_type("", "p", &schema, &mut Work::new(REQUEST_WORK)).unwrap();
    let content = Content::Json(object! { "s": "ab".repeat(4 << 20) });
    let started = Instant::now();
    let refused = heap.alloc("main", "p", content, Labels::default());
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    assert_eq!(refused, Err(HeapError::Work(OutOfWork)));
    assert_eq!(heap.usage().objects, 0);
}

#[test]
fn a_batch_has_one_meter() {
    let mut heap = Heap::new(HeapConfig::default());
    heap.register_type("", "t", &object! { "items": object! { "type": "integer" } }, &mut Work::unlimited())
        .unwrap();
    let large: Value = (0..50_000usize).map(Value::from).collect::<Vec<_>>().into();
    let alloc = BatchOp::Alloc {
        owner: "main".into(),
        type_name: "t".into(),
        content: Content::Json(large),
        labels: LabelMap::default(),
        links: vec![],
    };
    assert!(heap.plan_batch(std::slice::from_ref(&alloc), &mut Work::new(REQUEST_WORK)).is_ok());
    let refused = heap.plan_batch(&vec![alloc; 100], &mut Work::new(REQUEST_WORK)).unwrap_err();
    assert!(refused.index > 0 && refused.error == HeapError::Work(OutOfWork), "{refused}");
    assert_eq!(heap.usage().objects, 0);
}

#[test]
fn a_query_looks_at_no_more_than_it_may() {
    let mut heap = Heap::new(HeapConfig::default());
    for _ in 0..100 {
        let content = Content::Json(object! { "s": "ab".repeat(50_000) });
        heap.plan_alloc("main", "t", content, Labels::default(), &mut Work::unlimited()).unwrap().commit();
    }
    let test = Test::Contains("abc".into());
    let query = Query { filters: vec![Filter { pointer: pointer("/s"), test }], ..Query::default() };
    let mut work = Work::new(REQUEST_WORK);
    let page = heap.query_in_scope(&query, Scope::All, |_, _| true, &mut work).unwrap();
    assert!(page.next.is_some() && work.left() == 0);
    let error = heap.query_in_scope(&query, Scope::All, |_, _| true, &mut Work::new(1_000)).unwrap_err();
    assert_eq!(error.to_string(), "query: takes more than the limit of work");
}

#[test]
fn allocs_and_deletes_leave_bounded_traces() {
    let config = HeapConfig { tombstones_max: 50, tombstone_bytes_max: 1_000, ..HeapConfig::default() };
    let mut heap = Heap::new(config);
    let mut sizes = Vec::new();
    for round in 0..3_000u32 {
        let content = Content::Json(object! { "n": 1, "text": "some text" });
        let handle = heap
            .alloc(&format!("agent{round}"), &format!("type{round}"), content, Labels::default())
            .unwrap();
        heap.delete(handle, None).unwrap();
        assert!(heap.tombstones().objects <= 50 && heap.tombstones().bytes <= 1_000);
        if round % 500 == 499 {
            sizes.push(heap.snapshot().len());
        }
    }
    // Names grow by a digit; nothing else does.
    assert!(sizes.iter().all(|size| size.abs_diff(sizes[0]) < 200), "{sizes:?}");
    assert_eq!((heap.usage().objects, heap.usage_of("agent7").objects), (0, 0));
}

#[test]
fn one_deletion_pushes_out_few_tombstones() {
    let config = HeapConfig { tombstone_bytes_max: 1_000, ..HeapConfig::default() };
    let mut heap = Heap::new(config);
    let put = |heap: &mut Heap, text: &str| {
        heap.alloc("main", "t", Content::Json(text.into()), Labels::default()).unwrap()
    };
    let small: Vec<Handle> = (0..100).map(|_| put(&mut heap, "12345678")).collect();
    let large = put(&mut heap, &"x".repeat(900));
    small.iter().for_each(|handle| heap.delete(*handle, None).unwrap());
    assert_eq!((heap.tombstones().objects, heap.tombstones().bytes), (100, 1_000));
    heap.delete(large, None).unwrap();
    assert!(heap.any(large).is_none());
    assert_eq!((heap.tombstones().objects, heap.tombstones().bytes), (92, 920));
    assert!(heap.any(small[7]).is_none() && heap.any(small[8]).is_some());
}

#[test]
fn large_contents_are_given_up_bit_by_bit() {
    let mut heap = Heap::new(HeapConfig { history_max: 0, tombstones_max: 0, ..HeapConfig::default() });
    let large = || Value::from(vec![object! { "a": array![1, object! {}] }; 50_000]);
    let (all, before) = (large(), heap.digest());
    for round in 0..20 {
        let content = Content::Json(if round % 2 == 0 { all.clone() } else { large() });
        let handle = heap.alloc("main", "t", content, Labels::default()).unwrap();
        heap.write(handle, &Patch::new(vec![add("", 1)]), None).unwrap();
        heap.delete(handle, None).unwrap();
    }
    // What others hold stays as it is.
    assert_eq!(all, large());
    assert_eq!(heap.usage().objects, 0);
    assert_ne!(heap.digest(), before);
    let kept = heap.alloc("main", "t", Content::Json(all.clone()), Labels::default()).unwrap();
    heap.erase(kept).unwrap();
    assert_eq!(all, large());
}

proptest! {
    #![proptest_config(documents::cases(500))]

    /// The work that an operation takes is what it needs: with one unit less it is refused, and nothing has changed.
    #[test]
    fn an_operation_takes_all_its_work_or_changes_nothing(content in document(), ops in prop::collection::vec(op(), 0..4),
                                                          typed in any::<bool>(), missing in 1u64..50) {
        let (mut heap, handle) = holding(content);
        if typed {
            let schema = object! { "uniqueItems": true, "propertyNames": object! { "pattern": "^.*$" } };
            let _ = heap.register_type("main", "t", &schema, &mut Work::unlimited());
        }
        let before = heap.digest();
        let patch = Patch::new(ops);
        let mut work = Work::unlimited();
        let result = heap.plan_write(handle, &patch, None, &mut work).map(drop);
        let used = work.used();
        let again = heap.plan_write(handle, &patch, None, &mut Work::new(used)).map(drop);
        prop_assert_eq!(&again, &result);
        let less = heap.plan_write(handle, &patch, None, &mut Work::new(used.saturating_sub(missing))).map(drop);
        match less {
            Err(HeapError::Work(OutOfWork)) => {}
            Err(HeapError::Patch(error)) if error.reason == OutOfWork.into() => {}
            other => prop_assert!(used == 0 && other == result, "{:?} with {} units less", other, missing),
        }
        prop_assert_eq!(heap.digest(), before);
    }
}
