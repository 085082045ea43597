//! Snapshots come back as they were, or not at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;

use std::collections::BTreeSet;

use ak_heap::{Content, Heap, HeapConfig, LabelMap, Labels, RestoreReason};
use ak_json::{Pointer, Value, Work, object};
use documents::{json, replace};
use proptest::prelude::*;

/// A heap with one of everything.
fn heap() -> Heap {
    let mut heap = Heap::new(HeapConfig { history_max: 1, tombstones_max: 1, ..HeapConfig::default() });
    heap.register_type("", "t", &object! { "type": "object" }, &mut Work::unlimited()).unwrap();
    heap.create_index("t", &Pointer::parse("/a~1b").unwrap(), &mut Work::unlimited()).unwrap();
    let labels = LabelMap::from(Labels::untrusted()).with(
        Pointer::parse("/s").unwrap(),
        &Labels { secrecy: BTreeSet::from(["pii".into()]), ..Labels::default() },
    );
    let object = heap.alloc("main", "t", Content::Json(json(r#"{"s":1.5,"a/b":-1}"#)), labels).unwrap();
    heap.write(object, &replace("/a~1b", "é"), None).unwrap();
    let gone = heap.alloc("main", "u", Content::Json(Value::Null), Labels::default()).unwrap();
    let raw = heap.alloc("main/worker", "u", Content::Raw([0, 255].into()), Labels::default()).unwrap();
    heap.delete(gone, None).unwrap();
    heap.delete(raw, None).unwrap();
    heap
}

#[test]
fn the_format_stays_as_it_is() {
    let bytes = heap().snapshot();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden/snapshot.hex").split_whitespace().collect::<String>());
}

/// The bytes of a hexadecimal file.
fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Snapshots that were written before types had scopes, and the digest that each heap had then.
#[test]
fn old_snapshots_are_read_and_keep_their_digest() {
    let bytes = unhex(include_str!("golden/snapshot.hex"));
    let mut heap = Heap::restore(&bytes, HeapConfig::default()).unwrap();
    assert_eq!(
        heap.digest().to_string(),
        bytes[bytes.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    );
    assert_eq!(heap.digest().to_string(), include_str!("golden/snapshot.digest").trim());
    assert_eq!(heap.snapshot(), bytes);
    let many = unhex(include_str!("golden/snapshot_types.hex"));
    let mut heap = Heap::restore(&many, HeapConfig::default()).unwrap();
    assert_eq!(heap.digest().to_string(), include_str!("golden/snapshot_types.digest").trim());
    assert_eq!(heap.snapshot(), many);
}

#[test]
fn no_damage_goes_unnoticed() {
    let bytes = heap().snapshot();
    let config = heap().config().clone();
    assert!(Heap::restore(&bytes, config.clone()).is_ok());
    for end in 0..bytes.len() {
        assert!(Heap::restore(&bytes[..end], config.clone()).is_err(), "cut at {end}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(Heap::restore(&damaged, config.clone()).is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Heap::restore(&longer, config).unwrap_err().reason, RestoreReason::Trailing);
}

/// What a restore under smaller limits says.
fn check(limit: &'static str, config: HeapConfig) {
    let error = Heap::restore(&heap().snapshot(), config).unwrap_err();
    assert_eq!(error.reason, RestoreReason::Limit(limit));
}

#[test]
fn a_restore_keeps_the_limits() {
    let config = || heap().config().clone();
    check("objects", HeapConfig { objects_max: 0, ..config() });
    check("bytes", HeapConfig { bytes_max: 10, ..config() });
    check("history", HeapConfig { history_max: 0, ..config() });
    check("tombstones", HeapConfig { tombstones_max: 0, ..config() });
    check("bytes of tombstones", HeapConfig { tombstone_bytes_max: 1, ..config() });
    check("labelled subtrees", HeapConfig { labelled_max: 0, ..config() });
    check("types", HeapConfig { types_max: 0, ..config() });
    check("indexes", HeapConfig { indexes_max: 0, ..config() });
    let mut content = config().content;
    content.bytes_max = 4;
    check("content in bytes", HeapConfig { content, ..config() });
}

/// Changes that must show in the digest, each made to a heap of its own.
#[test]
fn every_visible_difference_changes_the_digest() {
    type Make = fn(&mut Heap);
    fn put(heap: &mut Heap, owner: &str, name: &str, content: Content, labels: Labels) -> ak_heap::Handle {
        heap.alloc(owner, name, content, labels).unwrap()
    }
    fn one(heap: &mut Heap, value: impl Into<Value>) -> ak_heap::Handle {
        put(heap, "a", "t", Content::Json(value.into()), Labels::default())
    }
    let heaps: [Make; 18] = [
        |_| {},
        |heap| {
            one(heap, 1);
        },
        |heap| {
            one(heap, 2);
        },
        |heap| {
            one(heap, ak_json::Number::from_f64(1.0).unwrap());
        },
        |heap| {
            put(heap, "b", "t", Content::Json(1.into()), Labels::default());
        },
        |heap| {
            put(heap, "a", "u", Content::Json(1.into()), Labels::default());
        },
        |heap| {
            put(heap, "a", "t", Content::Json(1.into()), Labels::untrusted());
        },
        |heap| {
            put(heap, "a", "t", Content::Raw(b"1"[..].into()), Labels::default());
        },
        |heap| {
            let handle = one(heap, 1);
            heap.write(handle, &replace("", 1), None).unwrap();
        },
        |heap| {
            let handle = one(heap, 2);
            heap.write(handle, &replace("", 1), None).unwrap();
        },
        |heap| {
            let handle = one(heap, 1);
            heap.delete(handle, None).unwrap();
        },
        |heap| {
            let handle = one(heap, 1);
            heap.erase(handle).unwrap();
        },
        |heap| {
            let handle = one(heap, 1);
            heap.erase(handle).unwrap();
            one(heap, 1);
        },
        |heap| {
            one(heap, 1);
            one(heap, 1);
        },
        |heap| {
            one(heap, object! { "a": 1, "b": 2 });
        },
        |heap| {
            one(heap, object! { "b": 2, "a": 1 });
        },
        |heap| heap.create_index("t", &Pointer::root(), &mut Work::unlimited()).unwrap(),
        |heap| heap.register_type("", "t", &true.into(), &mut Work::unlimited()).unwrap(),
    ];
    let digests: BTreeSet<_> = heaps
        .iter()
        .map(|make| {
            let mut heap = Heap::new(HeapConfig::default());
            make(&mut heap);
            heap.digest()
        })
        .collect();
    assert_eq!(digests.len(), heaps.len());
}

proptest! {
    #![proptest_config(documents::cases(2_000))]

    #[test]
    fn no_bytes_make_restoring_panic(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..4),
                                     width in prop::sample::select(vec![1usize, 2, 4])) {
        let mut bytes = heap().snapshot();
        for (at, value) in cuts {
            let at = at.index(bytes.len() - width);
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        if let Ok(mut heap) = Heap::restore(&bytes, HeapConfig::default()) {
            prop_assert_eq!(heap.snapshot(), bytes);
        }
    }
}
