//! Nothing lowers labels but a declassification, and it lowers what it names.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::BTreeSet;

use ak_json::{Integrity, LABEL_BYTES_MAX, Labels, Text};
use ak_policy::{DECLASSIFICATION_NAME_BYTES_MAX, Declassification, DeclassificationError};
use proptest::prelude::*;

fn secrets() -> impl Strategy<Value = BTreeSet<Text>> {
    prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(Text::from), 0..4)
}

fn labels() -> impl Strategy<Value = Labels> {
    (any::<bool>(), secrets()).prop_map(|(untrusted, secrecy)| Labels {
        integrity: if untrusted { Integrity::Untrusted } else { Integrity::Trusted },
        secrecy,
    })
}

fn grant() -> impl Strategy<Value = (Declassification, BTreeSet<Text>, bool)> {
    (secrets(), any::<bool>()).prop_filter_map("it lowers nothing", |(secrecy, vouches)| {
        Some((Declassification::new("reviewed", secrecy.clone(), vouches).ok()?, secrecy, vouches))
    })
}

proptest! {
    #[test]
    fn only_what_is_named_is_lowered((grant, named, vouches) in grant(), labels in labels()) {
        let lowered = grant.lower(&labels);
        prop_assert!(lowered.after().flows_to(&labels));
        for secret in &labels.secrecy {
            prop_assert_eq!(lowered.after().secrecy.contains(secret), !named.contains(secret));
        }
        prop_assert_eq!(lowered.after().integrity == labels.integrity, !vouches || labels.integrity == Integrity::Trusted);
    }

    #[test]
    fn what_is_mixed_in_later_is_not_lowered((grant, ..) in grant(), before in labels(), later in labels()) {
        let mixed = grant.lower(&before).after().join(&later);
        prop_assert!(later.flows_to(&mixed));
    }

    #[test]
    fn the_log_can_tell_what_was_lowered((grant, ..) in grant(), labels in labels()) {
        let lowered = grant.lower(&labels);
        let kept = lowered.to_value();
        prop_assert_eq!(kept.get("by").and_then(|by| by.as_str()), Some("reviewed"));
        prop_assert_eq!(Labels::from_value(kept.get("before").unwrap()), Ok(labels));
        let after = Labels::from_value(kept.get("after").unwrap()).unwrap();
        prop_assert_eq!(&after, lowered.after());
    }
}

#[test]
fn a_declassification_has_a_name_and_lowers_something() {
    let check = |name: &str, secrets: &[&str], vouches, expected| {
        let made = Declassification::new(name, secrets.iter().map(|secret| Text::from(*secret)), vouches);
        assert_eq!(made.err(), expected, "{name:?} {secrets:?}");
    };
    let long = |bytes: usize| "x".repeat(bytes + 1);
    check("reviewed", &["pii"], false, None);
    check("reviewed", &[], true, None);
    check("reviewed", &[], false, Some(DeclassificationError::Nothing));
    check("", &["pii"], false, Some(DeclassificationError::Name));
    check(&long(DECLASSIFICATION_NAME_BYTES_MAX), &["pii"], false, Some(DeclassificationError::Name));
    check("reviewed", &[""], true, Some(DeclassificationError::Label));
    check("reviewed", &[&long(LABEL_BYTES_MAX)], false, Some(DeclassificationError::Label));
}
