//! Patterns that cannot be judged: a schema with one accepts nothing that the pattern might refuse.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ak_json::{Limits, Schema, Value, Violation, Work};
use proptest::prelude::*;

/// Nothing linear matches these.
const UNJUDGED: [&str; 2] = ["a(?=b)c?", "(a|b)x?\\1"];
/// What they might have been: matching everything, nothing, or some.
const OUTCOMES: [&str; 5] = ["", "[]", "^a", "b", "^(ab)*$"];

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn schema(source: &Value) -> Schema {
    Schema::parse(source, &mut Work::unlimited()).unwrap_or_else(|error| panic!("{error}: {source:?}"))
}

fn accepts(schema: &Schema, instance: &Value) -> bool {
    schema.validate(instance, &mut Work::unlimited()).is_ok()
}

/// The schema with other patterns in place of those that cannot be judged.
fn replaced(source: &Value, outcomes: [&str; 2]) -> Value {
    let mut text = source.to_json();
    for (pattern, outcome) in UNJUDGED.iter().zip(outcomes) {
        text = text.replace(&Value::from(*pattern).to_json(), &Value::from(outcome).to_json());
    }
    value(&text)
}

#[test]
fn an_unjudged_pattern_narrows_what_is_accepted() {
    let check = |text: &str, instance: &str, expected: bool| {
        let source = value(&text.replace('~', r"\\b(?=a)"));
        assert_eq!(accepts(&schema(&source), &value(instance)), expected, "{text} {instance}");
    };
    check(r#"{"pattern":"~"}"#, r#""a""#, false);
    check(r#"{"pattern":"~"}"#, "1", true);
    check(r#"{"not":{"pattern":"~"}}"#, r#""a""#, false);
    check(r#"{"not":{"pattern":"~"}}"#, "1", false);
    check(r#"{"not":{"pattern":"~","minLength":3}}"#, r#""a""#, true);
    check(r#"{"not":{"not":{"pattern":"~"}}}"#, r#""a""#, false);
    check(r#"{"anyOf":[{"pattern":"~"},{"maxLength":3}]}"#, r#""a""#, true);
    check(r#"{"anyOf":[{"pattern":"~"},{"maxLength":0}]}"#, r#""a""#, false);
    check(r#"{"oneOf":[{"pattern":"~"},{"maxLength":3}]}"#, r#""a""#, false);
    check(r#"{"oneOf":[{"pattern":"~"},{"type":"integer"}]}"#, "1", false);
    check(r#"{"oneOf":[{"type":"string","pattern":"~"},{"type":"integer"}]}"#, "1", true);
    check(r#"{"if":{"pattern":"~"},"then":{"minLength":1},"else":{"maxLength":2}}"#, r#""a""#, true);
    check(r#"{"if":{"pattern":"~"},"then":{"minLength":1},"else":{"maxLength":2}}"#, r#""abc""#, false);
    check(r#"{"if":{"pattern":"~"},"then":{"minLength":1},"else":{"maxLength":2}}"#, r#""""#, false);
    check(r#"{"contains":{"pattern":"~"}}"#, r#"["a",1]"#, true);
    check(r#"{"contains":{"pattern":"~"}}"#, r#"["a"]"#, false);
    check(r#"{"contains":{"pattern":"~"},"maxContains":1}"#, r#"["a",1]"#, false);
    check(r#"{"contains":{"pattern":"~"},"maxContains":2}"#, r#"["a",1]"#, true);
    check(r#"{"patternProperties":{"~":{"type":"null"}}}"#, r#"{"a":null}"#, true);
    check(r#"{"patternProperties":{"~":{"type":"null"}}}"#, r#"{"a":1}"#, false);
    check(r#"{"patternProperties":{"~":true},"additionalProperties":false}"#, r#"{"a":1}"#, false);
    check(
        r#"{"patternProperties":{"~":true},"additionalProperties":{"type":"integer"}}"#,
        r#"{"a":1}"#,
        true,
    );
    check(r#"{"propertyNames":{"pattern":"~"}}"#, r#"{"a":1}"#, false);
    check(r#"{"propertyNames":{"pattern":"~"}}"#, "{}", true);
    check(r#"{"patternProperties":{"~":true},"unevaluatedProperties":false}"#, r#"{"a":1}"#, false);
    check(r#"{"contains":{"pattern":"~"},"minContains":0,"unevaluatedItems":false}"#, r#"["a"]"#, false);
    check(
        r#"{"anyOf":[{"pattern":"~"},{"properties":{"a":true}}],"unevaluatedProperties":false}"#,
        r#"{"a":1}"#,
        true,
    );
}

#[test]
fn an_unjudged_pattern_is_named() {
    let source = r##"{"properties":{"a/b":{"pattern":"(?<=x)y"},"c":{"pattern":"^c"}},
        "patternProperties":{"x(?=y)":{"pattern":"(a)\\1"}},"$defs":{"d":{"pattern":"(?i)d"}}}"##;
    let schema = schema(&value(source));
    let named: Vec<_> = schema.unjudged().iter().map(|it| format!("{} {}", it.at, &*it.pattern)).collect();
    let expected = [
        "/properties/a~1b/pattern (?<=x)y",
        r"/patternProperties/x(?=y)/pattern (a)\1",
        "/patternProperties/x(?=y) x(?=y)",
        "/$defs/d/pattern (?i)d",
    ];
    assert_eq!(named, expected);
    let violation = schema.validate(&value(r#"{"a/b":"xy"}"#), &mut Work::unlimited()).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "'/a~1b' cannot be judged by 'pattern' at '/properties/a~1b' of the schema"
    );
    // What is broken anyhow says so.
    let both = r#"{"properties":{"a":{"pattern":"(?<=x)y"},"b":{"type":"null"}}}"#;
    let broken = self::schema(&value(both)).validate(&value(r#"{"a":"","b":1}"#), &mut Work::unlimited());
    assert!(matches!(broken, Err(Violation::Keyword { keyword: "type", .. })), "{broken:?}");
}

fn pattern() -> impl Strategy<Value = String> {
    prop::sample::select(vec![UNJUDGED[0], UNJUDGED[0], UNJUDGED[1], "^a", "b$"]).prop_map(String::from)
}

fn schemas() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => pattern().prop_map(|pattern| format!(r#"{{"pattern":{}}}"#, Value::from(pattern).to_json())),
        3 => prop::sample::select(vec![
            "true", "false", r#"{"type":"string"}"#, r#"{"type":["integer","object"]}"#, r#"{"maxLength":1}"#,
            r#"{"required":["a"]}"#, r#"{"minItems":2}"#, r#"{"const":"ab"}"#, r#"{"maxProperties":1}"#,
        ]).prop_map(String::from),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let name = prop::sample::select(vec!["a", "b", "ab"]);
        prop_oneof![
            inner.clone().prop_map(|a| format!(r#"{{"not":{a}}}"#)),
            (prop::sample::select(vec!["allOf", "anyOf", "oneOf", "prefixItems"]), inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(keyword, a, b, c)| format!(r#"{{"{keyword}":[{a},{b},{c}]}}"#)),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!(r#"{{"if":{a},"then":{b},"else":{c}}}"#)),
            (inner.clone(), 0..3, 0..3)
                .prop_map(|(a, min, max)| format!(r#"{{"contains":{a},"minContains":{min},"maxContains":{max}}}"#)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r#"{{"contains":{a},"minContains":0,"unevaluatedItems":{b}}}"#)),
            (prop::sample::select(vec!["items", "propertyNames"]), inner.clone()).prop_map(|(keyword, a)| format!(r#"{{"{keyword}":{a}}}"#)),
            (pattern(), inner.clone(), inner.clone(), name.clone()).prop_map(|(pattern, a, b, name)| format!(
                r#"{{"patternProperties":{{{}:{a}}},"properties":{{"{name}":true}},"additionalProperties":{b}}}"#,
                Value::from(pattern).to_json()
            )),
            (pattern(), inner.clone(), inner.clone(), inner.clone()).prop_map(|(pattern, a, b, c)| format!(
                r#"{{"anyOf":[{{"patternProperties":{{{}:{a}}}}},{{"properties":{{"a":true}},"allOf":[{b}]}}],"unevaluatedProperties":{c}}}"#,
                Value::from(pattern).to_json()
            )),
            (name, inner.clone(), inner).prop_map(|(name, a, b)| format!(
                r#"{{"if":{a},"then":{{"properties":{{"{name}":{b}}}}},"unevaluatedProperties":false,"dependentSchemas":{{"b":{b}}}}}"#
            )),
        ]
    })
}

fn values() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec!["", "a", "b", "ab", "ba"]);
    let leaf = prop_oneof![3 => text.clone().prop_map(|text| format!("{text:?}")), 1 => Just("1".to_owned())];
    leaf.prop_recursive(3, 8, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map(text.clone(), inner, 0..3).prop_map(|members| {
                let members = members.into_iter().map(|(name, value)| format!("{name:?}:{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_accepted_is_accepted_whatever_the_pattern_matches(text in schemas(), instances in prop::collection::vec(values(), 4)) {
        let source = value(&text);
        let (holds, fails) = (schema(&source), schema(&value(&format!(r#"{{"not":{text}}}"#))));
        let instances: Vec<Value> = instances.iter().map(|text| value(text)).collect();
        for first in OUTCOMES {
            for second in OUTCOMES {
                let truth = schema(&replaced(&source, [first, second]));
                for instance in &instances {
                    let is_true = accepts(&truth, instance);
                    let context = || format!("{text} {instance:?} {first:?} {second:?}");
                    prop_assert!(is_true || !accepts(&holds, instance), "{}", context());
                    prop_assert!(!is_true || !accepts(&fails, instance), "not {}", context());
                }
            }
        }
    }
}
