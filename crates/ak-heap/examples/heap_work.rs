//! Prints how many nanoseconds a unit of work takes in hostile requests on a heap: about 10 is right, 30 is the most
//! there may be.
//!
//! `cargo run --release -p ak-heap --example heap_work`

use std::time::Instant;

use ak_heap::{
    BatchOp, Content, Filter, Handle, Heap, HeapConfig, LabelMap, Labels, Order, Patch, PatchOp, Query,
    REQUEST_WORK, Scope, Test, Work,
};
use ak_json::{Limits, Pointer, Value, array, object};

fn main() {
    println!("{:>9} {:>10} {:>8}  case", "ns/unit", "units", "ms");
    let worst = patches().max(batches()).max(queries()).max(types());
    println!("worst: {worst:.1} ns per unit");
}

/// The best of some runs, since the machine may be busy with other things.
fn measure(name: &str, mut run: impl FnMut(&mut Work) -> Result<(), String>) -> f64 {
    let (mut best, mut used, mut done) = (f64::MAX, 0, String::new());
    for _ in 0..3 {
        let mut work = Work::new(REQUEST_WORK);
        let started = Instant::now();
        done = run(&mut work).err().unwrap_or_else(|| "done".into());
        best = best.min(started.elapsed().as_nanos() as f64);
        used = work.used();
    }
    let rate = best / used.max(1) as f64;
    println!("{rate:>9.2} {used:>10} {:>8.2}  {name} ({})", best / 1e6, done);
    // What is over at once tells nothing.
    if best > 50_000.0 { rate } else { 0.0 }
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap_or_default()
}

fn add(path: &str, value: impl Into<Value>) -> PatchOp {
    PatchOp::Add { path: pointer(path), value: value.into() }
}

fn copy(from: &str, path: &str) -> PatchOp {
    PatchOp::Copy { from: pointer(from), path: pointer(path) }
}

fn numbers(count: usize) -> Value {
    (0..count).map(Value::from).collect::<Vec<_>>().into()
}

fn members(count: usize, name: impl Fn(usize) -> String) -> Value {
    let members = (0..count).map(|n| (name(n), Value::from(n)));
    Value::Object(members.collect())
}

fn nested(levels: usize, inner: Value) -> Value {
    (0..levels).fold(inner, |inner, _| array![1, inner])
}

fn patch(name: &str, document: Value, ops: Vec<PatchOp>) -> f64 {
    patch_labelled(name, document, LabelMap::default(), Patch::new(ops))
}

fn patch_labelled(name: &str, document: Value, labels: LabelMap, patch: Patch) -> f64 {
    let mut heap = Heap::new(HeapConfig::default());
    let content = Content::Json(document);
    let created = heap
        .plan_alloc("main", "t", content, labels, &mut Work::unlimited())
        .map(|plan| plan.commit().handle);
    let handle = created.unwrap_or(Handle::from_raw(0));
    measure(name, |work| {
        heap.plan_write(handle, &patch, None, work).map(drop).map_err(|error| error.to_string())
    })
}

fn patches() -> f64 {
    let op = |op: PatchOp, count: usize| vec![op; count];
    let many = 10_000;
    let long = |n: usize| format!("{}{n}", "x".repeat(8_000));
    let deep = format!("{}/0", "/1".repeat(100));
    let swap = |n: usize| if n.is_multiple_of(2) { copy("/s", "/t/0") } else { copy("/t/1", "/t/0") };
    let grow = |n: usize| if n.is_multiple_of(2) { add("/t/-", 1) } else { copy("/t", "/u") };
    let texts = Value::from((0..32).map(|_| Value::from("x".repeat(200_000))).collect::<Vec<_>>());
    let labels = (0..250)
        .fold(LabelMap::default(), |map, n| map.with(pointer(&format!("/{n}/0")), &Labels::untrusted()));
    let remove = |path: &str| PatchOp::Remove { path: pointer(path) };
    let test = |path: &str, value: Value| PatchOp::Test { path: pointer(path), value };
    [
        patch("front inserts, long array", numbers(900_000), op(add("/0", 1), many)),
        patch("front inserts, short array", numbers(1_000), op(add("/0", 1), many)),
        patch("front removals", numbers(900_000), op(remove("/0"), many)),
        patch("appends", numbers(900_000), op(add("/-", 1), many)),
        patch(
            "replacements in a long array",
            numbers(900_000),
            op(PatchOp::Replace { path: pointer("/500000"), value: 1.into() }, many),
        ),
        patch(
            "replacements far down",
            nested(100, array![1, 2]),
            op(PatchOp::Replace { path: pointer(&deep), value: 1.into() }, many),
        ),
        patch(
            "new members in a large object",
            members(500_000, |n| format!("n{n}")),
            (0..many).map(|n| add(&format!("/m{n}"), 1)).collect(),
        ),
        patch(
            "removals from a large object",
            members(500_000, |n| format!("n{n}")),
            (0..many).map(|n| remove(&format!("/n{n}"))).collect(),
        ),
        patch(
            "removals from an object",
            members(1_000, |n| format!("n{n}")),
            (0..1_000).map(|n| remove(&format!("/n{n}"))).collect(),
        ),
        patch("members with long names", members(31, long), op(add(&format!("/{}", long(30)), 1), many)),
        patch(
            "tests of a large array",
            object! { "a": numbers(200_000) },
            op(test("/a", numbers(200_000)), 100),
        ),
        patch(
            "tests of a large object, other order",
            members(50_000, |n| format!("n{n:05}")),
            op(test("", members(50_000, |n| format!("n{:05}", 49_999 - n))), 100),
        ),
        patch(
            "tests of a long string",
            "x".repeat(8 << 20).into(),
            op(test("", "x".repeat(8 << 20).into()), many),
        ),
        patch(
            "copies of a long string",
            object! { "s": "x".repeat(7 << 20), "t": array![0, "x".repeat(4 << 20)] },
            (0..many).map(swap).collect(),
        ),
        patch(
            "copies of what has just grown",
            object! { "t": texts.clone(), "u": 0 },
            (0..many).map(grow).collect(),
        ),
        patch("appends among long strings", texts, op(add("/-", 1), many)),
        patch(
            "copies of a large array",
            object! { "a": numbers(300_000), "b": array![] },
            op(copy("/a", "/b"), many),
        ),
        patch(
            "moves back and forth",
            object! { "a": numbers(30), "b": array![] },
            (0..many)
                .map(|n| {
                    if n % 2 == 0 {
                        PatchOp::Move { from: pointer("/a/0"), path: pointer("/b/0") }
                    } else {
                        PatchOp::Move { from: pointer("/b/0"), path: pointer("/a/0") }
                    }
                })
                .collect(),
        ),
        patch_labelled(
            "labelled inserts",
            (0..300).map(|_| array![1]).collect::<Vec<_>>().into(),
            labels.clone(),
            Patch::new(op(add("/0", 1), many)),
        ),
        patch_labelled(
            "labelled writes",
            (0..300).map(|_| array![1]).collect::<Vec<_>>().into(),
            labels,
            Patch::new((0..many).map(|n| add(&format!("/{}/0", n % 300), 1)).collect())
                .with_labels(Labels::untrusted()),
        ),
    ]
    .into_iter()
    .fold(0.0, f64::max)
}

fn batches() -> f64 {
    let mut heap = Heap::new(HeapConfig::default());
    let _ = heap.create_index("t", &pointer("/a"), &mut Work::unlimited());
    let content = Content::Json(object! { "a": 1 });
    let alloc = BatchOp::Alloc {
        owner: "main".into(),
        type_name: "t".into(),
        content,
        labels: LabelMap::default(),
        links: vec![],
    };
    let handle = heap.alloc("main", "t", Content::Json(numbers(100_000)), Labels::default());
    let handle = handle.unwrap_or(Handle::from_raw(0));
    let write = BatchOp::Write {
        target: handle.into(),
        patch: Patch::new(vec![add("/-", 1)]),
        expected_version: None,
        links: vec![],
    };
    let allocs = measure("batch of allocs", |work| {
        heap.clone()
            .plan_batch(&vec![alloc.clone(); 1_000], work)
            .map(|plan| plan.commit())
            .map(drop)
            .map_err(|error| error.to_string())
    });
    let writes = measure("batch of writes to one object", |work| {
        heap.clone()
            .plan_batch(&vec![write.clone(); 1_000], work)
            .map(|plan| plan.commit())
            .map(drop)
            .map_err(|error| error.to_string())
    });
    allocs.max(writes)
}

fn queries() -> f64 {
    let mut heap = Heap::new(HeapConfig::default());
    let long = "ab".repeat(50_000);
    let owners: Vec<String> = (0..100).map(|n| format!("agent{n}")).collect();
    for n in 0..30_000usize {
        let owner = owners.get(n % 100).map_or("", String::as_str);
        let content = object! { "n": n, "s": format!("text {n}"), "l": if n < 3_000 { long.as_str() } else { "" }, "a": array![1, 2, 3] };
        let _ = heap.alloc(owner, "t", Content::Json(content), Labels::default());
    }
    let scope: Vec<&str> = owners.iter().map(String::as_str).collect();
    let query = |path: &str, test: Test| Query {
        filters: vec![Filter { pointer: pointer(path), test }],
        limit: 1_000,
        ..Query::default()
    };
    let by = |path: &str| Order::Value { pointer: pointer(path), descending: true };
    let hard = format!("{}c", "ab".repeat(2_000));
    let cases = [
        ("query that finds nothing", query("/n", Test::Equal((-1).into())), Scope::All),
        ("query of a hundred owners", query("/n", Test::Equal((-1).into())), Scope::Owners(&scope)),
        ("query of one owner", query("/n", Test::Equal((-1).into())), Scope::Owners(&["agent7"])),
        ("contains in long strings", query("/l", Test::Contains(hard.as_str().into())), Scope::All),
        (
            "contains of a prefix",
            query("/l", Test::Contains(format!("{}x", "a".repeat(50_000)).into())),
            Scope::All,
        ),
        ("prefix of long strings", query("/l", Test::Prefix(format!("{long}x").as_str().into())), Scope::All),
        (
            "in of many",
            query("/s", Test::In((0..250).map(|n| format!("text x{n:03}").into()).collect())),
            Scope::All,
        ),
        ("contains in arrays", query("/a", Test::Contains(7.into())), Scope::All),
        (
            "sorted",
            Query { order: by("/n"), ..query("/n", Test::Exists(true)) },
            Scope::Owners(&["agent1", "agent2", "agent3"]),
        ),
        ("sorted, all", Query { order: by("/s"), ..query("/n", Test::Less(15_000.into())) }, Scope::All),
        (
            "sorted by long strings",
            Query { order: by("/l"), ..query("/n", Test::Less(3_000.into())) },
            Scope::All,
        ),
        (
            "many filters",
            Query {
                filters: vec![Filter { pointer: pointer("/n"), test: Test::AtLeast(0.into()) }; 250],
                ..Query::default()
            },
            Scope::All,
        ),
        ("a long pointer", query(&"/n".repeat(4_000), Test::Exists(true)), Scope::All),
    ];
    cases
        .into_iter()
        .map(|(name, query, scope)| {
            measure(name, |work| {
                heap.query_in_scope(&query, scope, |_, _| true, work)
                    .map(drop)
                    .map_err(|error| error.to_string())
            })
        })
        .fold(0.0, f64::max)
}

fn types() -> f64 {
    let mut heap = Heap::new(HeapConfig::default());
    for n in 0..30_000usize {
        let _ = heap.alloc("main", "t", Content::Json(object! { "n": n }), Labels::default());
    }
    let large = Value::parse(format!("[{}]", vec!["[]"; 500_000].join(",")).as_bytes(), &Limits::default());
    let large = Content::Json(large.unwrap_or_default());
    let register = measure("registering over many objects", |work| {
        heap.register_type("", "t", &object! { "required": array!["n"] }, work)
            .map(drop)
            .map_err(|error| error.to_string())
    });
    let _ =
        heap.register_type("", "u", &object! { "items": object! { "maxItems": 0 } }, &mut Work::unlimited());
    let checked = measure("alloc of many values of a type", |work| {
        heap.plan_alloc("main", "u", large.clone(), Labels::default(), work)
            .map(drop)
            .map_err(|error| error.to_string())
    });
    let indexed = measure("index over many objects", |work| {
        heap.clone().create_index("t", &pointer("/n"), work).map(drop).map_err(|error| error.to_string())
    });
    register.max(checked).max(indexed)
}
