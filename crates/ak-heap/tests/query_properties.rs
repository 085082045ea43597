//! Queries find what a walk over all objects finds, in order, page by page.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;

use std::cmp::Ordering;

use ak_heap::{Content, Cursor, Filter, Handle, Heap, HeapConfig, Labels, Order, Page, Query, Scope, Test};
use ak_json::{Pointer, Value, Work, array, object};
use documents::{document, json, labels, pointer, replace, scalar};
use proptest::prelude::*;

fn test() -> impl Strategy<Value = Test> {
    let word = prop::sample::select(vec!["", "a", "~", "é", "\u{10ffff}"]);
    prop_oneof![
        4 => document().prop_map(Test::Equal),
        1 => document().prop_map(Test::NotEqual),
        2 => scalar().prop_map(Test::Less),
        2 => scalar().prop_map(Test::AtMost),
        2 => scalar().prop_map(Test::Greater),
        2 => scalar().prop_map(Test::AtLeast),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(Test::In),
        1 => any::<bool>().prop_map(Test::Exists),
        2 => word.prop_map(|word| Test::Prefix(word.into())),
        1 => scalar().prop_map(Test::Contains),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let short =
        || prop_oneof![2 => Just(Pointer::root()), 2 => Just(Pointer::parse("/a").unwrap()), 1 => pointer()];
    let filter = (short(), test()).prop_map(|(pointer, test)| Filter { pointer, test });
    let order = prop_oneof![
        Just(Order::Place),
        (short(), any::<bool>()).prop_map(|(pointer, descending)| Order::Value { pointer, descending }),
    ];
    (
        prop::option::of(prop::sample::select(vec!["t", "u"])),
        prop::option::of(Just("main")),
        prop::collection::vec(filter, 0..3),
        order,
        prop::option::of(labels()),
        (0u64..2, 1usize..4),
    )
        .prop_map(|(type_name, owner, filters, order, labels_max, (version_min, limit))| Query {
            type_name: type_name.map(Into::into),
            owner: owner.map(Into::into),
            filters,
            order,
            labels_max,
            version_min,
            limit,
            ..Query::default()
        })
}

fn objects() -> impl Strategy<Value = Vec<(&'static str, &'static str, Content, Labels)>> {
    let content = prop_oneof![
        5 => document().prop_map(Content::Json),
        3 => scalar().prop_map(|value| Content::Json(object! { "a": value })),
        1 => Just(Content::Raw([1, 2, 3].into())),
    ];
    let object = (
        prop::sample::select(vec!["main", "other"]),
        prop::sample::select(vec!["t", "u"]),
        content,
        labels(),
    );
    prop::collection::vec(object, 0..20)
}

fn fill(objects: Vec<(&str, &str, Content, Labels)>, config: HeapConfig) -> Heap {
    let mut heap = Heap::new(config);
    for (number, (owner, type_name, content, labels)) in objects.into_iter().enumerate() {
        let handle = heap.alloc(owner, type_name, content, labels).unwrap();
        match number % 5 {
            1 => drop(heap.write(handle, &replace("", number), None)),
            3 => heap.delete(handle, None).unwrap(),
            _ => {}
        }
    }
    heap
}

/// The order of values in results, once more.
fn order(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let rank = |value: Option<&Value>| match value {
        Some(Value::Null) => 0,
        Some(Value::Bool(_)) => 1,
        Some(Value::Number(_)) => 2,
        Some(Value::String(_)) => 3,
        Some(Value::Array(_) | Value::Object(_)) | None => 4,
    };
    match (a, b) {
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.cmp(b),
        (Some(Value::String(a)), Some(Value::String(b))) => a.as_str().cmp(b.as_str()),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// All that the query finds, by walking over everything.
fn walk(heap: &Heap, query: &Query) -> Vec<Handle> {
    let mut found: Vec<_> =
        heap.iter().filter(|(_, object)| query.matches(object, &mut Work::unlimited()).unwrap()).collect();
    if let Order::Value { pointer, descending } = &query.order {
        let value =
            |content: &'_ Content| content.as_json().and_then(|value| value.pointer(pointer).cloned());
        found.sort_by(|(_, a), (_, b)| order(value(a.content()).as_ref(), value(b.content()).as_ref()));
        if *descending {
            found.reverse();
            // Equals are to stand in descending places too, which reversing a stable sort gives.
        }
    }
    found.into_iter().map(|(handle, _)| handle).collect()
}

/// All that the query finds, page by page, with something happening in between.
fn pages(heap: &mut Heap, query: &Query, mut between: impl FnMut(&mut Heap)) -> Vec<Handle> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = heap.query(&query).unwrap();
        assert!(page.objects.len() <= query.limit);
        found.extend(page.objects.iter().map(|(handle, _)| *handle));
        let Some(next) = page.next else { return found };
        query.cursor = Some(next.to_string().parse::<Cursor>().unwrap());
        between(heap);
    }
}

proptest! {
    #![proptest_config(documents::cases(1_000))]

    #[test]
    fn pages_are_what_a_walk_finds(objects in objects(), query in query(), scan_objects_max in 1usize..30) {
        // A query that sorts without an index must be able to look at everything.
        let sorts = matches!(query.order, Order::Value { .. });
        let scan_objects_max = if sorts { 30 } else { scan_objects_max };
        let mut heap = fill(objects, HeapConfig { scan_objects_max, ..HeapConfig::default() });
        let expected = walk(&heap, &query);
        prop_assert_eq!(pages(&mut heap, &query, |_| {}), expected);
    }

    #[test]
    fn an_index_changes_no_result(objects in objects(), query in query(), before in any::<bool>(),
                                  scan_objects_max in 1usize..30) {
        let mut heap = Heap::new(HeapConfig::default());
        let index = |heap: &mut Heap| {
            let ordered_by = match &query.order {
                Order::Value { pointer, .. } => Some(pointer),
                Order::Place => None,
            };
            for pointer in query.filters.iter().map(|filter| &filter.pointer).chain(ordered_by) {
                heap.create_index("t", pointer, &mut Work::unlimited()).unwrap();
            }
        };
        if before {
            index(&mut heap);
        }
        for (number, (owner, type_name, content, labels)) in objects.into_iter().enumerate() {
            let handle = heap.alloc(owner, type_name, content, labels).unwrap();
            match number % 4 {
                1 => drop(heap.write(handle, &replace("", number), None)),
                2 => drop(heap.write(handle, &replace("/a", "é"), None)),
                3 => heap.delete(handle, None).unwrap(),
                _ => {}
            }
        }
        if !before {
            index(&mut heap);
        }
        let expected = walk(&heap, &query);
        prop_assert_eq!(pages(&mut heap, &query, |_| {}), expected.clone());
        // Where the index gives the order, no page needs to look at everything.
        if query.type_name.as_deref() == Some("t") {
            let bytes = heap.snapshot();
            let config = HeapConfig { scan_objects_max, ..HeapConfig::default() };
            let mut heap = Heap::restore(&bytes, config).unwrap();
            prop_assert_eq!(pages(&mut heap, &query, |_| {}), expected);
        }
    }

    #[test]
    fn what_stays_comes_exactly_once_whatever_is_written(objects in objects(), query in query(),
                                                         victims in prop::collection::vec(0usize..20, 8)) {
        let mut heap = fill(objects, HeapConfig::default());
        let handles: Vec<Handle> = heap.iter().map(|(handle, _)| handle).collect();
        let before = walk(&heap, &query);
        let mut touched = Vec::new();
        let mut victims = victims.into_iter();
        let found = pages(&mut heap, &query, |heap| {
            let Some(victim) = victims.next() else { return };
            heap.alloc("main", "t", Content::Json(object! { "a": victim }), Labels::default()).unwrap();
            if let Some(handle) = handles.get(victim) {
                touched.push(*handle);
                let _ = heap.write(*handle, &replace("", victim), None);
                let _ = heap.delete(*handle, None);
            }
        });
        for handle in before.iter().filter(|handle| !touched.contains(handle)) {
            prop_assert_eq!(found.iter().filter(|other| *other == handle).count(), 1);
        }
    }

    #[test]
    fn a_scope_finds_what_a_walk_over_its_owners_finds(objects in objects(), query in query(), indexed in any::<bool>(),
                                                       scope in prop::sample::subsequence(vec!["main", "none", "other"], 0..4),
                                                       admitted in 0u64..3) {
        let mut heap = fill(objects, HeapConfig::default());
        if indexed {
            for pointer in query.filters.iter().map(|filter| &filter.pointer) {
                heap.create_index("t", pointer, &mut Work::unlimited()).unwrap();
            }
        }
        // What nobody may see is not there: not in pages, cursors, errors or work.
        let admits = |handle: Handle| handle.raw() % 3 != admitted;
        let mut alone = heap.clone();
        for handle in heap.iter().map(|(handle, _)| handle).collect::<Vec<_>>() {
            let object = heap.read(handle).unwrap();
            if !scope.contains(&&**object.owner()) {
                alone.delete(handle, None).unwrap();
            }
        }
        let (mut query, mut used) = (query, 0);
        let expected: Vec<Handle> = walk(&alone, &query).into_iter().filter(|handle| admits(*handle)).collect();
        let mut found = Vec::new();
        loop {
            let run = |heap: &Heap| {
                let mut work = Work::unlimited();
                let page = heap.query_in_scope(&query, Scope::Owners(&scope), |handle, _| admits(handle), &mut work).unwrap();
                let handles: Vec<Handle> = page.objects.iter().map(|(handle, _)| *handle).collect();
                (handles, page.next, work.used())
            };
            let (page, next, work) = run(&heap);
            prop_assert_eq!((page.clone(), next.clone(), work), run(&alone));
            found.extend(page);
            used += work;
            let Some(next) = next else { break };
            query.cursor = Some(next);
        }
        prop_assert_eq!(found, expected);
        prop_assert!(used > 0);
    }

    #[test]
    fn a_page_that_ends_with_the_work_goes_on_where_it_ended(objects in objects(), query in query(), units in 500u64..3_000) {
        let heap = fill(objects, HeapConfig::default());
        let query = Query { order: Order::Place, ..query };
        let (mut rest, mut found) = (query.clone(), Vec::new());
        loop {
            match heap.query_in_scope(&rest, Scope::All, |_, _| true, &mut Work::new(units)) {
                Ok(page) => {
                    found.extend(page.objects.iter().map(|(handle, _)| *handle));
                    let Some(next) = page.next else { break };
                    prop_assert_ne!(Some(&next), rest.cursor.as_ref(), "no progress");
                    rest.cursor = Some(next);
                }
                Err(error) => {
                    prop_assert_eq!(error.reason, "takes more than the limit of work");
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(found, walk(&heap, &query));
    }

    #[test]
    fn no_text_but_its_own_is_a_cursor(text in ".{0,40}") {
        prop_assert!(text.parse::<Cursor>().is_err());
    }
}

/// Which of `values` pass the condition.
fn check(condition: &str, values: &str, expected: &str) {
    let query = Query::parse(&object! { "where": object! { "/v": json(condition) } }).unwrap();
    let mut heap = Heap::new(HeapConfig::default());
    for value in json(values).as_array().unwrap() {
        heap.alloc("main", "t", Content::Json(object! { "v": value }), Labels::default()).unwrap();
    }
    heap.alloc("main", "t", Content::Json(object! {}), Labels::default()).unwrap();
    let page = heap.query(&query).unwrap();
    let value = |content: &Content| content.as_json().unwrap().get("v").cloned().unwrap_or("absent".into());
    let found: Vec<Value> = page.objects.iter().map(|(_, object)| value(object.content())).collect();
    assert_eq!(Value::from(found).to_json(), expected, "{condition}");
}

#[test]
fn conditions_hold_as_documented() {
    let values = r#"[null,true,1,1.5,2,"1","ab","b",[1,"b"],{"b":1}]"#;
    check(r#"{"=":1.0}"#, values, "[1]");
    check("1", values, "[1]");
    check("null", values, "[null]");
    check(r#"{"=":[1.0,"b"]}"#, values, r#"[[1,"b"]]"#);
    check(r#"{"!=":1}"#, values, r#"[null,true,1.5,2,"1","ab","b",[1,"b"],{"b":1}]"#);
    check(r#"{"<":2}"#, values, "[1,1.5]");
    check(r#"{">":1,"<=":2}"#, values, "[1.5,2]");
    check(r#"{">=":"ab"}"#, values, r#"["ab","b"]"#);
    check(r#"{"in":[true,"b",7]}"#, values, r#"[true,"b"]"#);
    check(r#"{"exists":false}"#, values, r#"["absent"]"#);
    check(r#"{"exists":true,"<":"b"}"#, values, r#"["1","ab"]"#);
    check(r#"{"prefix":"a"}"#, values, r#"["ab"]"#);
    check(r#"{"contains":"b"}"#, values, r#"["ab","b",[1,"b"]]"#);
}

#[test]
fn what_is_not_admitted_is_not_told_of() {
    let mut heap = Heap::new(HeapConfig::default());
    let owners = ["main", "other", "main", "other", "main", "other"];
    for (number, owner) in owners.iter().enumerate() {
        heap.alloc(owner, "t", Content::Json(object! { "n": number as u64 }), Labels::default()).unwrap();
    }
    let by_value = Order::Value { pointer: Pointer::parse("/n").unwrap(), descending: true };
    for order in [Order::Place, by_value] {
        let mut own = Query { owner: Some("main".into()), order, limit: 2, ..Query::default() };
        let mut any = Query { owner: None, ..own.clone() };
        let handles = |page: &Page<'_>| page.objects.iter().map(|(handle, _)| *handle).collect::<Vec<_>>();
        for expected in [2, 1] {
            let page = heap
                .query_in_scope(
                    &any,
                    Scope::All,
                    |_, object| &**object.owner() == "main",
                    &mut Work::unlimited(),
                )
                .unwrap();
            let same = heap.query(&own).unwrap();
            assert_eq!((handles(&page), handles(&page).len()), (handles(&same), expected));
            (any.cursor, own.cursor) = (page.next, same.next);
        }
        assert_eq!(any.cursor, None);
    }
}

#[test]
fn an_order_is_not_refused_for_what_others_hold() {
    let mut heap = Heap::new(HeapConfig { scan_objects_max: 10, ..HeapConfig::default() });
    let put = |heap: &mut Heap, owner: &str, content: Value| {
        heap.alloc(owner, "t", Content::Json(content), Labels::default()).unwrap()
    };
    for n in 0..5u32 {
        put(&mut heap, "spy", object! { "n": n });
    }
    let order = Order::Value { pointer: Pointer::parse("/n").unwrap(), descending: false };
    let query = Query { order, ..Query::default() };
    let ask = |heap: &Heap, scope: Scope<'_>| {
        let mut work = Work::unlimited();
        let seen = |_, object: &ak_heap::Object| &**object.owner() == "spy";
        let page = heap.query_in_scope(&query, scope, seen, &mut work).unwrap();
        (page.objects.len(), page.next, work.used())
    };
    let before = ask(&heap, Scope::Owners(&["spy"]));
    for n in 0..100u32 {
        put(&mut heap, "other", object! { "n": n, "secret": "x".repeat(10_000) });
    }
    assert_eq!(ask(&heap, Scope::Owners(&["spy"])), before);
    let (found, next, _) = ask(&heap, Scope::All);
    assert_eq!((found, next), (5, None));
}

/// A query that is refused, and where.
fn refuse(query: &str, path: &str) {
    assert_eq!(Query::parse(&json(query)).unwrap_err().path, path, "{query}");
}

#[test]
fn queries_of_another_form_are_refused() {
    refuse("[]", "query");
    refuse(r#"{"typ":"t"}"#, "typ");
    refuse(r#"{"type":1}"#, "type");
    refuse(r#"{"limit":-1}"#, "limit");
    refuse(r#"{"labels_max":{}}"#, "labels_max");
    refuse(r#"{"where":[]}"#, "where");
    refuse(r#"{"where":{"a":1}}"#, "where.a");
    refuse(r#"{"where":{"/a":{"~":1}}}"#, "where./a");
    refuse(r#"{"where":{"/a":{"<":null}}}"#, "where./a");
    refuse(r#"{"where":{"/a":{"in":1}}}"#, "where./a");
    refuse(r#"{"order":{}}"#, "order.pointer");
    refuse(r#"{"order":{"pointer":"/a","up":true}}"#, "order");
    refuse(r#"{"cursor":"0"}"#, "cursor");
}

#[test]
fn a_query_keeps_its_limits() {
    let mut heap = Heap::new(HeapConfig { scan_objects_max: 10, ..HeapConfig::default() });
    for number in 0..100u32 {
        heap.alloc("main", "t", Content::Json(object! { "n": number }), Labels::default()).unwrap();
    }
    let n = Pointer::parse("/n").unwrap();
    let last = Query {
        type_name: Some("t".into()),
        filters: vec![Filter { pointer: n.clone(), test: Test::Equal(99.into()) }],
        ..Query::default()
    };
    let page = heap.query(&last).unwrap();
    assert!(page.objects.is_empty() && page.next.is_some());
    let sorted = Query { order: Order::Value { pointer: n.clone(), descending: true }, ..last.clone() };
    assert_eq!(heap.query(&sorted).unwrap_err().path, "order");
    let foreign = Query { cursor: page.next, ..Query::default() };
    assert_eq!(heap.query(&foreign).unwrap_err().path, "cursor");
    let many = Test::In(vec![Value::Null; 300]);
    let large = Query { filters: vec![Filter { pointer: n.clone(), test: many }], ..Query::default() };
    assert_eq!(heap.query(&large).unwrap_err().path, "where");

    heap.create_index("t", &n, &mut Work::unlimited()).unwrap();
    assert_eq!(heap.query(&last).unwrap().objects.len(), 1);
    assert_eq!(heap.query(&sorted).unwrap().objects.len(), 1);
    assert!(heap.drop_index("t", &n) && !heap.drop_index("t", &n));
}

#[test]
fn long_strings_are_ordered_by_their_beginning() {
    let mut heap = Heap::new(HeapConfig::default());
    let text = |end: &str| Value::from("é".repeat(200) + end);
    for end in ["b", "a"] {
        heap.alloc("main", "t", Content::Json(array![text(end)]), Labels::default()).unwrap();
    }
    let pointer = Pointer::parse("/0").unwrap();
    heap.create_index("t", &pointer, &mut Work::unlimited()).unwrap();
    let order = Order::Value { pointer: pointer.clone(), descending: false };
    let filters = vec![Filter { pointer, test: Test::Equal(text("a")) }];
    let query = Query { type_name: Some("t".into()), order, limit: 1, ..Query::default() };
    assert_eq!(pages(&mut heap, &query, |_| {}).len(), 2);
    assert_eq!(pages(&mut heap, &Query { filters, ..query }, |_| {}).len(), 1);
}
