//! Documents, pointers and patches that meet often: few names, few values, short arrays.
#![allow(dead_code, reason = "each test takes what it needs")]

use ak_heap::{Patch, PatchOp};
use ak_json::{Labels, Limits, Pointer, Value, Work, array};
use proptest::prelude::*;

/// Names that need escaping in pointers, look like indexes, or are empty.
const NAMES: [&str; 7] = ["a", "b", "", "0", "1", "~/", "é"];

/// So many cases, unless PROPTEST_CASES says otherwise. Failures are kept as tests of their own, not as seeds.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { ProptestConfig { cases, ..default } }
}

pub(crate) fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        prop_oneof![Just(1.0), Just(-0.0), Just(1e300), Just(0.1)]
            .prop_map(|number| ak_json::Number::from_f64(number).unwrap().into()),
        prop_oneof![Just(u64::MAX), Just(1 << 53), Just((1 << 53) + 1)].prop_map(Value::from),
        prop::sample::select(&NAMES[..]).prop_map(Value::from),
    ]
}

pub(crate) fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&NAMES[..]), inner), 0..4)
                .prop_map(|members| members.into_iter().collect::<ak_json::Object>().into()),
        ]
    })
}

pub(crate) fn pointer() -> impl Strategy<Value = Pointer> {
    let token = prop_oneof![
        6 => prop::sample::select(&NAMES[..]),
        1 => Just("-"),
        1 => Just("2"),
        1 => Just("01"),
    ];
    prop::collection::vec(token, 0..4).prop_map(|tokens| tokens.into_iter().map(Into::into).collect())
}

pub(crate) fn op() -> impl Strategy<Value = PatchOp> {
    prop_oneof![
        3 => (pointer(), document()).prop_map(|(path, value)| PatchOp::Add { path, value }),
        2 => pointer().prop_map(|path| PatchOp::Remove { path }),
        2 => (pointer(), document()).prop_map(|(path, value)| PatchOp::Replace { path, value }),
        2 => (pointer(), pointer()).prop_map(|(from, path)| PatchOp::Move { from, path }),
        2 => (pointer(), pointer()).prop_map(|(from, path)| PatchOp::Copy { from, path }),
        1 => (pointer(), scalar()).prop_map(|(path, value)| PatchOp::Test { path, value }),
    ]
}

/// A document and a patch all of whose operations but perhaps the last apply to it, one after another.
pub(crate) fn document_and_patch() -> impl Strategy<Value = (Value, Patch)> {
    (document(), prop::collection::vec(op(), 1..60), any::<bool>()).prop_map(|(document, ops, faulty)| {
        let mut patched = document.clone();
        let mut kept = Vec::new();
        let mut last = None;
        for op in ops {
            let patch = Patch::new(vec![op.clone()]);
            match patch.apply(&patched, &Limits::default(), &mut Work::unlimited()) {
                Ok(next) => {
                    patched = next;
                    kept.push(op);
                }
                Err(_) => last = Some(op),
            }
        }
        if faulty {
            kept.extend(last);
        }
        (document, Patch::new(kept))
    })
}

pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    (any::<bool>(), prop::collection::btree_set(prop::sample::select(vec!["pii", "key"]), 0..2)).prop_map(
        |(untrusted, secrecy)| {
            let mut labels = if untrusted { Labels::untrusted() } else { Labels::default() };
            labels.secrecy = secrecy.into_iter().map(Into::into).collect();
            labels
        },
    )
}

pub(crate) fn to_serde(value: &Value) -> serde_json::Value {
    serde_json::from_str(&value.to_json()).unwrap()
}

pub(crate) fn json(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A patch of one `replace`.
pub(crate) fn replace(path: &str, value: impl Into<Value>) -> Patch {
    Patch::new(vec![PatchOp::Replace { path: Pointer::parse(path).unwrap(), value: value.into() }])
}

pub(crate) fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| array![inner])
}
