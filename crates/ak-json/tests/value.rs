//! Values as their users see them.

use ak_json::{Array, Limits, Object, Pointer, Value, array, object};

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn text_survives_a_round_trip() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "18446744073709551615",
        "-9223372036854775808",
        "1.0",
        "-0.0",
        "1e+300",
        "0.1",
        "\"\"",
        r#""a\"\\\n\u0001é""#,
        "[]",
        "{}",
        "[1,[2,[]],{}]",
        r#"{"b":1,"a":[true,null],"":{"x":"y"}}"#,
    ] {
        let parsed = value(text);
        assert_eq!(parsed.to_json(), text);
        assert_eq!(parsed.json_len(), text.len());
    }
}

#[test]
fn a_deep_value_needs_little_stack() {
    let build = || (0..1_000_000).fold(Value::Null, |inner, _| Value::from(vec![inner]));
    let (a, b) = (build(), build());
    assert_eq!(a.depth(), 1_000_000);
    assert_eq!(a.json_len(), 2_000_004);
    assert_eq!(a.to_json().len(), 2_000_004);
    assert_eq!(a, b);
    assert_eq!(a.digest(), b.digest());
}

#[test]
fn large_containers_are_edited_in_place() {
    let mut array: Array = (0..5000u64).collect();
    let mut object: Object = (0..5000u64).map(|n| (n.to_string(), n)).collect();
    for n in (0..4980).rev() {
        assert_eq!(array.remove(n), Some(Value::from(n)));
        assert_eq!(object.remove(&n.to_string()), Some(Value::from(n)));
    }
    assert_eq!(array, (4980..5000u64).collect::<Array>());
    assert_eq!(object.get("4999"), Some(&Value::from(4999u64)));
    assert_eq!(Value::Array(array.clone()).digest(), Value::Array((4980..5000u64).collect()).digest());
    let pointer = Pointer::parse("/x/1").unwrap();
    assert_eq!(object! { "x": array![1, "two"] }.pointer(&pointer).and_then(Value::as_str), Some("two"));
}
