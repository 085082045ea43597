//! Containers against naive models: a `Vec` of what they hold, and the encoding as its page spells it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use ak_json::{Array, Digest, Limits, Object, Value, sha256};
use proptest::prelude::*;

/// The canonical encoding, word for word as in decision 0002.
fn encode(value: &Value) -> Vec<u8> {
    let number = |tag: u8, bytes: [u8; 8]| [&[tag][..], &bytes].concat();
    let sized = |tag: u8, len: usize, rest: &[u8]| [&[tag][..], &(len as u32).to_le_bytes(), rest].concat();
    match value {
        Value::Null => vec![0],
        Value::Bool(value) => vec![1 + u8::from(*value)],
        Value::Number(value) => match (value.as_u64(), value.as_i64()) {
            (Some(value), _) => number(3, value.to_le_bytes()),
            (_, Some(value)) => number(4, value.to_le_bytes()),
            (None, None) => number(5, value.as_f64().to_bits().to_le_bytes()),
        },
        Value::String(text) if text.len() <= 128 => sized(0x06, text.len(), text.as_bytes()),
        Value::String(text) => sized(0x16, text.len(), sha256(text.as_bytes()).as_bytes()),
        Value::Array(array) => container(0x07, &array.iter().map(encode).collect::<Vec<_>>()),
        Value::Object(object) => {
            let member = |(name, value): (&ak_json::Text, &Value)| {
                [&(name.len() as u32).to_le_bytes()[..], name.as_bytes(), &encode(value)].concat()
            };
            container(0x08, &object.iter().map(member).collect::<Vec<_>>())
        }
    }
}

fn container(tag: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let count = (items.len() as u32).to_le_bytes();
    if items.concat().len() <= 128 {
        return [&[tag][..], &count, &items.concat()].concat();
    }
    let hash = |prefix: u8, parts: Vec<u8>| *sha256(&[&[prefix][..], &parts].concat()).as_bytes();
    let mut hashes: Vec<_> = items.chunks(32).map(|chunk| hash(0x20, chunk.concat())).collect();
    while hashes.len() > 1 {
        hashes = hashes.chunks(32).map(|hashes| hash(0x21, hashes.concat())).collect();
    }
    [&[tag | 0x10][..], &count, &hashes[0]].concat()
}

/// Everything that is remembered about a value is what a fresh look at it gives.
fn check(value: &Value) {
    assert_eq!(value.digest(), sha256(&encode(value)));
    let text = value.to_json();
    assert_eq!(value.json_len(), text.len());
    let fresh = Value::parse(text.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(&fresh, value);
    assert_eq!(fresh.depth(), value.depth());
    assert_eq!(fresh.digest(), value.digest());
}

#[test]
fn golden_digests() {
    let golden = include_str!("golden/digests.txt");
    assert!(golden.lines().count() > 40);
    for line in golden.lines() {
        let (digest, text) = line.split_once(' ').unwrap();
        let value = Value::parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(value.digest(), digest.parse::<Digest>().unwrap(), "{text}");
        check(&value);
    }
}

/// A chunk's hash is remembered where the chunk becomes a root whose items stand in place again.
#[test]
fn a_shrinking_array_forgets() {
    let mut array = Array::from(vec![Value::Null; 200]);
    while let Some(last) = array.len().checked_sub(1) {
        check(&Value::from(&array));
        array.remove(last);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", ak_json::Number::from_f64).prop_map(Value::from),
        "[a-z\"\\\\é]{0,30}".prop_map(Value::from),
        (100..200usize).prop_map(|len| Value::from("x".repeat(len))),
    ];
    leaf.prop_recursive(4, 80, 40, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            prop::collection::vec(("[a-f]{0,2}", inner), 0..40)
                .prop_map(|members| Value::from(members.into_iter().collect::<Object>())),
        ]
    })
}

/// An edit at a place between 0 and 1 of the way through.
#[derive(Debug, Clone)]
enum Edit {
    Push(Value),
    Insert(f64, Value),
    Set(f64, Value),
    Remove(f64),
    Truncate(f64),
    Digest,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let value = || (0..1000u64).prop_map(Value::from);
    let edit = prop_oneof![
        2 => value().prop_map(Edit::Push),
        2 => (0.0..1.1, value()).prop_map(|(at, value)| Edit::Insert(at, value)),
        2 => (0.0..1.1, value()).prop_map(|(at, value)| Edit::Set(at, value)),
        3 => (0.0..1.1).prop_map(Edit::Remove),
        1 => (0.0..1.0).prop_map(Edit::Truncate),
        2 => Just(Edit::Digest),
    ];
    prop::collection::vec(edit, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_value_is_what_its_text_says(value in value()) {
        check(&value);
    }

    #[test]
    fn equality_ignores_the_order_of_members(members in prop::collection::btree_map("[a-z]{1,3}", 0..9u64, 0..60)) {
        let forth: Object = members.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let back: Object = members.iter().rev().map(|(name, value)| (name.as_str(), *value as i64)).collect();
        prop_assert_eq!(&forth, &back);
        prop_assert_eq!(members.len() < 2, Value::from(forth).digest() == Value::from(back).digest());
    }

    #[test]
    fn an_array_is_a_vec(start in prop::sample::select(vec![0, 1, 31, 32, 33, 64, 200, 1024, 1025, 1100]), edits in edits()) {
        let mut model: Vec<Value> = (0..start as u64).map(Value::from).collect();
        let mut array = Array::from(model.clone());
        for edit in edits {
            let before = (array.clone(), model.clone());
            let place = |at: f64, len: usize| (at * len as f64) as usize;
            match edit {
                Edit::Push(value) => {
                    array.push(value.clone());
                    model.push(value);
                }
                Edit::Insert(at, value) => {
                    let at = place(at, model.len());
                    prop_assert_eq!(array.insert(at, value.clone()), at <= model.len());
                    if at <= model.len() {
                        model.insert(at, value);
                    }
                }
                Edit::Set(at, value) => {
                    let at = place(at, model.len());
                    let old = model.get_mut(at).map(|place| std::mem::replace(place, value.clone()));
                    prop_assert_eq!(array.set(at, value), old);
                }
                Edit::Remove(at) => {
                    let at = place(at, model.len());
                    let old = (at < model.len()).then(|| model.remove(at));
                    prop_assert_eq!(array.remove(at), old);
                }
                Edit::Truncate(at) => {
                    let keep = place(at, model.len());
                    while array.len() > keep {
                        prop_assert_eq!(array.remove(array.len() - 1), model.pop());
                    }
                }
                Edit::Digest => check(&Value::from(&before.0)),
            }
            prop_assert!(array.iter().eq(&model));
            prop_assert_eq!(array.iter().len(), model.len());
            prop_assert!(before.0.iter().eq(&before.1), "an edit reached an older version");
        }
        prop_assert!((0..=model.len()).all(|at| array.get(at) == model.get(at)));
        check(&array.into());
    }

    #[test]
    fn an_object_is_a_list_of_pairs(start in prop::sample::select(vec![0usize, 5, 31, 32, 33, 400, 1100]), edits in edits()) {
        let name = |n: u64| format!("{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
        let mut model: Vec<(String, Value)> = (0..start as u64).map(|n| (name(n), Value::from(n))).collect();
        let mut object: Object = model.iter().cloned().collect();
        for edit in edits {
            let before = (object.clone(), model.clone());
            let place = |at: f64, len: usize| (at * len as f64) as usize;
            match edit {
                Edit::Push(value) | Edit::Insert(_, value) => {
                    let name = name(value.as_u64().unwrap() * 3);
                    let known = model.iter_mut().find(|(other, _)| *other == name);
                    let old = known.map(|(_, place)| std::mem::replace(place, value.clone()));
                    if old.is_none() {
                        model.push((name.clone(), value.clone()));
                    }
                    prop_assert_eq!(object.insert(name, value), old);
                }
                Edit::Set(at, value) => {
                    if let Some((name, place)) = model.get_mut(place(at, before.1.len())) {
                        prop_assert_eq!(object.insert(&*name, &value), Some(std::mem::replace(place, value)));
                    }
                }
                Edit::Remove(at) => {
                    let at = place(at, model.len());
                    let name = model.get(at).map_or("absent".into(), |(name, _)| name.clone());
                    let old = (at < model.len()).then(|| model.remove(at).1);
                    prop_assert_eq!(object.remove(&name), old);
                }
                Edit::Truncate(at) => {
                    let keep = place(at, model.len());
                    for (name, value) in model.drain(keep..) {
                        prop_assert_eq!(object.remove(&name), Some(value));
                    }
                }
                Edit::Digest => check(&Value::from(&before.0)),
            }
            let pairs = |model: &[(String, Value)], object: &Object| {
                object.len() == model.len()
                    && object.iter().zip(model).all(|((a, x), (b, y))| a.as_str() == b && x == y)
            };
            prop_assert!(pairs(&model, &object));
            prop_assert!(pairs(&before.1, &before.0), "an edit reached an older version");
        }
        prop_assert!(model.iter().all(|(name, value)| object.get(name) == Some(value)));
        prop_assert!(!object.contains_key("absent"));
        check(&object.into());
    }
}
