//! Values as their users see them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Ordering;

use ak_json::{
    Array, Digest, Limits, Number, Object, Pointer, PointerError, Text, Value, array, object, sha256,
};

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn a_deep_value_needs_little_stack() {
    let array = || (0..100_000).fold(Value::Null, |inner, _| array![inner, 1]);
    let object = || (0..100_000).fold(Value::Null, |inner, n| object! { "a": inner, "b": n });
    for (a, b) in [(array(), array()), (object(), object())] {
        assert_eq!(a.depth(), 100_000);
        assert_eq!(a.json_len(), a.to_json().len());
        assert_eq!(a, b);
        assert_eq!(a.digest(), b.digest());
        assert_ne!(a, array![b]);
    }
}

#[test]
fn a_value_doubled_often_is_measured_without_being_written() {
    let twice = |value: Value, _| array![value.clone(), value];
    let vast = (0..100).fold(Value::from("x"), twice);
    assert_eq!(vast.json_len(), usize::MAX);
    assert_eq!(vast, vast.clone());
    assert_ne!(vast.digest(), array![vast.clone()].digest());
}

#[test]
fn a_vast_value_stays_vast_until_it_is_not() {
    let twice = |value: Value, _| array![value.clone(), value];
    let vast = (0..40).fold(Value::from("x"), twice);
    let Value::Array(mut items) = array![vast.clone(), 1, "xyz"] else { unreachable!() };
    assert_eq!(Value::from(items.clone()).json_len(), usize::MAX);
    // Its length is known no more exactly than that: nothing may be taken from it, or added to it.
    items.set(2, 1).unwrap();
    assert_eq!(Value::from(items.clone()).json_len(), usize::MAX);
    items.set(0, 2).unwrap();
    assert_eq!(Value::from(items.clone()).json_len(), "[2,1,1]".len());
    items.set(1, vast).unwrap();
    assert_eq!(Value::from(items).json_len(), usize::MAX);
}

#[test]
fn equality() {
    let check = |a: &str, b: &str, equal: bool| {
        assert_eq!(value(a) == value(b), equal, "{a} {b}");
        assert_eq!(value(b) == value(a), equal, "{b} {a}");
    };
    check("1", "1.0", true);
    check("0", "-0.0", true);
    check("10", "1e1", true);
    check("-5", "-5.0", true);
    check("9007199254740993", "9007199254740992.0", false);
    check("18446744073709551615", "18446744073709551616.0", false);
    check("-9223372036854775808", "-9223372036854775808.0", true);
    check("1", "true", false);
    check("1", "\"1\"", false);
    check("null", "false", false);
    check("[]", "{}", false);
    check("[1,2]", "[2,1]", false);
    check("[1,[2.0]]", "[1.0,[2]]", true);
    check(r#"{"a":1,"b":[{"c":null}]}"#, r#"{"b":[{"c":null}],"a":1.0}"#, true);
    check(r#"{"a":null}"#, r#"{"b":null}"#, false);
    check(r#"{"a":null}"#, "{}", false);
}

#[test]
fn numbers_are_ordered_by_value() {
    let ascending = [
        "-1.7976931348623157e308",
        "-9223372036854777856.0",
        "-9223372036854775808",
        "-9223372036854775807",
        "-1.5",
        "-1",
        "-0.5",
        "0",
        "5e-324",
        "0.5",
        "1",
        "1.5",
        "9007199254740992",
        "9007199254740993",
        "9007199254740994.0",
        "9223372036854775807",
        "9223372036854775808.0",
        "18446744073709551615",
        "18446744073709551616.0",
        "1e300",
    ];
    let numbers: Vec<Number> = ascending.iter().map(|text| *value(text).as_number().unwrap()).collect();
    for (i, a) in numbers.iter().enumerate() {
        for (j, b) in numbers.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a} {b}");
        }
    }
    assert_eq!(Number::from(0u64).cmp(&Number::from_f64(-0.0).unwrap()), Ordering::Equal);
    assert!(Number::from_f64(f64::NAN).is_none() && Number::from_f64(f64::INFINITY).is_none());
}

#[test]
fn a_scalar_is_what_it_is_and_nothing_else() {
    let max = value("18446744073709551615");
    assert_eq!((max.as_u64(), max.as_i64(), max.as_f64()), (Some(u64::MAX), None, Some(u64::MAX as f64)));
    let negative = value("-1");
    assert_eq!((negative.as_u64(), negative.as_i64(), negative.as_f64()), (None, Some(-1), Some(-1.0)));
    let float = value("1.0");
    assert_eq!((float.as_u64(), float.as_i64(), float.as_f64()), (None, None, Some(1.0)));
    assert_eq!((value("\"1\"").as_f64(), value("1").as_str(), value("[]").as_bool()), (None, None, None));
    assert!(Value::default().is_null() && Value::from(None::<u64>).is_null());
}

#[test]
fn pointers_name_values() {
    // RFC 6901 §5.
    let document = value(
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"01":[9]}"#,
    );
    let check = |text: &str, expected: Option<&str>| {
        let pointer = Pointer::parse(text).unwrap();
        assert_eq!(document.pointer(&pointer).map(Value::to_json).as_deref(), expected, "{text}");
        assert_eq!(pointer.to_string(), text);
    };
    check("/foo", Some(r#"["bar","baz"]"#));
    check("/foo/0", Some("\"bar\""));
    check("/", Some("0"));
    check("/a~1b", Some("1"));
    check("/c%d", Some("2"));
    check("/e^f", Some("3"));
    check("/g|h", Some("4"));
    check("/i\\j", Some("5"));
    check("/k\"l", Some("6"));
    check("/ ", Some("7"));
    check("/m~0n", Some("8"));
    check("/01/0", Some("9"));
    check("/foo/00", None);
    check("/foo/01", None);
    check("/foo/-", None);
    check("/foo/+1", None);
    check("/foo/2", None);
    check("/foo/", None);
    check("/foo/99999999999999999999999", None);
    check("/foo/0/x", None);
    check("//", None);
    check("/~01", None);
    assert_eq!(document.pointer(&Pointer::root()), Some(&document));
}

#[test]
fn pointers_in_another_form_are_refused() {
    let check = |text: &str, expected| assert_eq!(Pointer::parse(text).err(), Some(expected), "{text}");
    check("foo", PointerError::Start);
    check("#/foo", PointerError::Start);
    check("/~", PointerError::Escape { offset: 1 });
    check("/a/b~2c", PointerError::Escape { offset: 4 });
    check("/~0~1~", PointerError::Escape { offset: 5 });
    check(&"/".repeat(5000), PointerError::Tokens);
}

#[test]
fn pointers_are_walked() {
    let mut pointer = Pointer::root();
    assert_eq!(pointer.parent(), None);
    pointer.push("a/b");
    pointer.push("~");
    assert_eq!(pointer.to_string(), "/a~1b/~0");
    assert_eq!(pointer.last().map(Text::as_str), Some("~"));
    let parent = pointer.parent().unwrap();
    assert!(pointer.starts_with(&parent) && !parent.starts_with(&pointer));
    assert_eq!(pointer.pop().as_deref(), Some("~"));
    assert_eq!(pointer, parent);
}

#[test]
fn containers_are_built_in_place() {
    let built =
        object! { "n": 1, "list": array![true, "x", 2.5f64.to_string(), None::<bool>], "empty": object! {} };
    assert_eq!(built.to_json(), r#"{"n":1,"list":[true,"x","2.5",null],"empty":{}}"#);
    let array: Array = [1u64, 2].into_iter().collect();
    assert_eq!(Value::from(array), value("[1,2]"));
    let object: Object = [("a", 1u64), ("b", 2), ("a", 3)].into_iter().collect();
    assert_eq!(format!("{object}"), r#"{"a":3,"b":2}"#);
    assert_eq!(format!("{:?}", value("[1,\"a\"]")), r#"[1,"a"]"#);
}

#[test]
fn digests_are_written_in_hexadecimal() {
    let digest = sha256(b"");
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(digest.to_string(), text);
    assert_eq!(text.parse(), Ok(digest));
    assert_eq!(Digest::of_parts([&b"a"[..], b"", b"bc"]), sha256(b"abc"));
    for wrong in ["", "e3", &text.to_uppercase(), &text[..63], &format!("{text}0"), &text.replace('e', "g")] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}

#[test]
fn waste_is_given_up_whatever_its_shape_and_leaves_what_is_shared() {
    let wide = Value::from(
        (0..5_000u32).map(|n| object! { (format!("n{n}")): ak_json::array![n] }).collect::<Vec<_>>(),
    );
    let names: ak_json::Object =
        (0..2_000u32).map(|n| (format!("a rather long name, number {n}"), n)).collect();
    let deep = (0..50_000).fold(Value::Null, |inner, _| ak_json::array![inner]);
    for value in [wide.clone(), names.into(), deep, Value::Null, ak_json::array![], wide.clone()] {
        let copy = value.clone();
        for step in [1, 7, usize::MAX] {
            let mut drop_queue = ak_json::DropQueue::default();
            drop_queue.add(value.clone());
            let mut rounds = 0;
            while !drop_queue.is_empty() {
                drop_queue.drop_some(step);
                rounds += 1;
            }
            assert!(rounds < 2_000_000);
        }
        assert_eq!(value, copy);
        let mut drop_queue = ak_json::DropQueue::default();
        drop_queue.add(value);
        drop(copy);
        drop_queue.drop_some(100);
        drop(drop_queue);
    }
    assert_eq!(wide.as_array().unwrap().len(), 5_000);
}
