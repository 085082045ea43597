//! A notebook with an index and an undo: notes are filed and changed, found again, taken back and carried to another
//! heap.
//!
//! `cargo run -p ak-heap --example notebook`

use std::error::Error;

use ak_heap::{BatchOp, Content, Created, Heap, HeapConfig, LabelMap, Labels, Patch, Query};
use ak_json::{Pointer, Value, Work, array, object};

fn main() -> Result<(), Box<dyn Error>> {
    let mut heap = Heap::new(HeapConfig::default());
    let due = Pointer::parse("/due")?;
    heap.create_index("note", &due, &mut Work::unlimited())?;

    // A batch: two notes and a list that refers to them, or nothing at all.
    let alloc = |type_name: &str, content: Value, links: Vec<(Pointer, Created)>| BatchOp::Alloc {
        owner: "main".into(),
        type_name: type_name.into(),
        content: Content::Json(content),
        labels: LabelMap::default(),
        links,
    };
    let created = heap
        .plan_batch(
            &[
                alloc("note", object! { "text": "buy bread", "due": 3 }, vec![]),
                alloc("note", object! { "text": "call home", "due": 1 }, vec![]),
                alloc(
                    "list",
                    object! { "notes": array![] },
                    vec![
                        (Pointer::parse("/notes/-")?, Created(0)),
                        (Pointer::parse("/notes/-")?, Created(1)),
                    ],
                ),
            ],
            &mut Work::unlimited(),
        )?
        .commit();
    let [bread, _, list] = created.as_slice() else { return Err("three objects were asked for".into()) };
    println!("list: {}", show(heap.read(list.handle)?.content()));

    // What a web page said is untrusted; the note now is too, but only there.
    let patch = Patch::parse(&array![object! { "op": "add", "path": "/price", "value": "2.40" }])?;
    let plan = heap.plan_write(
        bread.handle,
        &patch.with_labels(Labels::untrusted()),
        Some(0),
        &mut Work::unlimited(),
    )?;
    println!("the price costs {} bytes", plan.bytes_delta());
    plan.commit();
    let note = heap.read(bread.handle)?;
    println!("note: {} {:?}", show(note.content()), note.labels().integrity);
    println!("its text: {:?}", note.label_map().at(&Pointer::parse("/text")?).integrity);

    // The most urgent first.
    let query = Query::parse(&object! {
        "type": "note",
        "where": object! { "/due": object! { "<": 10 } },
        "order": object! { "pointer": "/due" },
    })?;
    for (handle, note) in heap.query(&query)?.objects {
        println!("{handle} {}", show(note.content()));
    }

    // Undo: the difference back to version 0.
    let (now, before) = (heap.read(bread.handle)?.current(), heap.read_at(bread.handle, 0)?);
    let (Content::Json(now), Content::Json(before)) = (now.content(), before.content()) else {
        return Err("notes are JSON".into());
    };
    let undo = Patch::diff(now, before);
    println!("undo: {}", undo.to_value());
    heap.write(bread.handle, &undo, Some(1))?;

    // Elsewhere, it is the same heap.
    let bytes = heap.snapshot();
    let mut copy = Heap::restore(&bytes, HeapConfig::default())?;
    assert_eq!(copy.digest(), heap.digest());
    println!("{} bytes, digest {}", bytes.len(), copy.digest());
    Ok(())
}

fn show(content: &Content) -> String {
    match content {
        Content::Json(value) => value.to_json(),
        Content::Raw(bytes) => format!("{} bytes", bytes.len()),
    }
}
