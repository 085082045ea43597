//! Labels are a lattice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ak_json::{Integrity, Labels, LabelsError, Limits, Text, Value};
use proptest::prelude::*;

fn labels() -> impl Strategy<Value = Labels> {
    (any::<bool>(), prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c", "d"]), 0..4))
        .prop_map(|(untrusted, names)| Labels {
            integrity: if untrusted { Integrity::Untrusted } else { Integrity::Trusted },
            secrecy: names.into_iter().map(Text::from).collect(),
        })
}

proptest! {
    #[test]
    fn join_is_the_least_upper_bound(a in labels(), b in labels(), c in labels()) {
        let joined = a.join(&b);
        prop_assert!(a.flows_to(&joined) && b.flows_to(&joined));
        prop_assert_eq!(&joined, &b.join(&a));
        prop_assert_eq!(joined.join(&c), a.join(&b.join(&c)));
        prop_assert_eq!(&a.join(&a), &a);
        prop_assert!(!(a.flows_to(&c) && b.flows_to(&c)) || joined.flows_to(&c));
        prop_assert!(!(a.flows_to(&b) && b.flows_to(&a)) || a == b);
        prop_assert!(Labels::default().flows_to(&a));
        prop_assert_eq!(a.is_bottom(), a == Labels::default());
    }

    #[test]
    fn labels_survive_as_values(labels in labels()) {
        prop_assert_eq!(Labels::from_value(&labels.to_value()), Ok(labels));
    }
}

#[test]
fn values_of_another_shape_are_refused() {
    let check = |text: &str, expected| {
        let value = Value::parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(Labels::from_value(&value).err(), expected, "{text}");
    };
    check(r#"{"secrecy":["b","a"],"integrity":"untrusted"}"#, None);
    check("[]", Some(LabelsError::Shape));
    check(r#"{"integrity":"trusted"}"#, Some(LabelsError::Shape));
    check(r#"{"integrity":"trusted","secrecy":[],"more":1}"#, Some(LabelsError::Shape));
    check(r#"{"integrity":"Trusted","secrecy":[]}"#, Some(LabelsError::Integrity));
    check(r#"{"integrity":true,"secrecy":[]}"#, Some(LabelsError::Integrity));
    check(r#"{"integrity":"trusted","secrecy":"a"}"#, Some(LabelsError::Secrecy));
    check(r#"{"integrity":"trusted","secrecy":[1]}"#, Some(LabelsError::Secrecy));
    check(r#"{"integrity":"trusted","secrecy":[""]}"#, Some(LabelsError::Label));
    check(
        &format!(r#"{{"integrity":"trusted","secrecy":["{}"]}}"#, "x".repeat(256)),
        Some(LabelsError::Label),
    );
}
