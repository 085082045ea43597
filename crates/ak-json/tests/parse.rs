//! What the parser takes and refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ak_json::ParseReason::{self, *};
use ak_json::{Limits, Value};
use proptest::prelude::*;

fn check(text: impl AsRef<[u8]>, expected: Result<&str, (ParseReason, usize)>) {
    check_within(&Limits::default(), text, expected);
}

fn check_within(limits: &Limits, text: impl AsRef<[u8]>, expected: Result<&str, (ParseReason, usize)>) {
    let text = text.as_ref();
    let parsed = Value::parse(text, limits).map(|value| value.to_json());
    let parsed = parsed.as_deref().map_err(|error| (error.reason, error.offset));
    assert_eq!(parsed, expected, "{}", String::from_utf8_lossy(text));
}

#[test]
fn values() {
    check(" null ", Ok("null"));
    check("\t\r\n[ true , false ]\n", Ok("[true,false]"));
    check("{ \"b\" : 1 , \"a\" : { } , \"\" : [ ] }", Ok(r#"{"b":1,"a":{},"":[]}"#));
    check("[[[[]]]]", Ok("[[[[]]]]"));
    check("", Err((End, 0)));
    check(" \n ", Err((End, 3)));
    check("nul", Err((End, 3)));
    check("nulL", Err((Byte, 3)));
    check("True", Err((Byte, 0)));
    check("\u{feff}1", Err((Byte, 0)));
    check("\u{a0}1", Err((Byte, 0)));
    check("1 2", Err((Trailing, 2)));
    check("{}]", Err((Trailing, 2)));
    check("null\0", Err((Trailing, 4)));
    check("[", Err((End, 1)));
    check("]", Err((Byte, 0)));
    check("[1", Err((End, 2)));
    check("[1}", Err((Byte, 2)));
    check("[1,]", Err((Byte, 3)));
    check("[,1]", Err((Byte, 1)));
    check("[1 2]", Err((Byte, 3)));
    check("[1,,2]", Err((Byte, 3)));
    check("{\"a\":1,}", Err((Byte, 7)));
    check("{\"a\"}", Err((Byte, 4)));
    check("{\"a\":}", Err((Byte, 5)));
    check("{\"a\" 1}", Err((Byte, 5)));
    check("{\"a\":1]", Err((Byte, 6)));
    check("{a:1}", Err((Byte, 1)));
    check("{1:1}", Err((Byte, 1)));
    check("{'a':1}", Err((Byte, 1)));
    check("{", Err((End, 1)));
    check("{\"a\":1", Err((End, 6)));
    check("[1] // no", Err((Trailing, 4)));
    check("NaN", Err((Byte, 0)));
    check("-Infinity", Err((Number, 1)));
}

#[test]
fn numbers() {
    check("0", Ok("0"));
    check("-0", Ok("0"));
    check("18446744073709551615", Ok("18446744073709551615"));
    check("-9223372036854775808", Ok("-9223372036854775808"));
    check("1.0", Ok("1.0"));
    check("-0.0", Ok("-0.0"));
    check("1e2", Ok("100.0"));
    check("1E+2", Ok("100.0"));
    check("123456789012345678.5", Ok("1.2345678901234568e+17"));
    check("0.1", Ok("0.1"));
    check("9007199254740993.0", Ok("9007199254740992.0"));
    check("2.2250738585072011e-308", Ok("2.225073858507201e-308"));
    check("1e-400", Ok("0.0"));
    check("1.7976931348623157e308", Ok("1.7976931348623157e+308"));
    check("18446744073709551616", Err((Integer, 0)));
    check("[99999999999999999999]", Err((Integer, 1)));
    check("-9223372036854775809", Err((Integer, 0)));
    check("1".repeat(400), Err((Integer, 0)));
    check("1e309", Err((Float, 0)));
    check("-1e400", Err((Float, 0)));
    check("01", Err((Number, 1)));
    check("-01", Err((Number, 2)));
    check("00.5", Err((Number, 1)));
    check("+1", Err((Byte, 0)));
    check("-", Err((End, 1)));
    check("--1", Err((Number, 1)));
    check("1.", Err((End, 2)));
    check("1.e1", Err((Number, 2)));
    check(".5", Err((Byte, 0)));
    check("1e", Err((End, 2)));
    check("1e+", Err((End, 3)));
    check("1e1.5", Err((Trailing, 3)));
    check("0x10", Err((Trailing, 1)));
    check("1_000", Err((Trailing, 1)));
}

#[test]
fn strings() {
    check(r#""\"\\\/\b\f\n\r\t""#, Ok(r#""\"\\/\b\f\n\r\t""#));
    check(r#""\u00e9\u0041\u0000\u001f\u007f""#, Ok("\"éA\\u0000\\u001f\u{7f}\""));
    check(r#""\uD834\uDD1e""#, Ok("\"𝄞\""));
    check("\"é日𝄞\u{2028}\"", Ok("\"é日𝄞\u{2028}\""));
    check(r#""\uD834""#, Err((Surrogate, 1)));
    check(r#""a\uDD1e""#, Err((Surrogate, 2)));
    check(r#""\uD834\uD834""#, Err((Surrogate, 1)));
    check(r#""\uD834\n""#, Err((Surrogate, 1)));
    check(r#""\uD834\u0041""#, Err((Surrogate, 1)));
    check(r#""\u12g4""#, Err((Escape, 1)));
    check(r#""\u+123""#, Err((Escape, 1)));
    check(r#""\x41""#, Err((Escape, 1)));
    check(r#""\"#, Err((End, 2)));
    check(r#""\u00"#, Err((End, 5)));
    check("\"a", Err((End, 2)));
    check("\"a\nb\"", Err((Control, 2)));
    check("\"\0\"", Err((Control, 1)));
    check("\"0123456789abcdef\x1f\"", Err((Control, 17)));
    check(b"\"\xff\"", Err((Utf8, 1)));
    check(b"[\"\xc0\x80\"]", Err((Utf8, 2)));
    check(b"\"\xed\xa0\x80\"", Err((Utf8, 1)));
    check(b"\"\xf4\x90\x80\x80\"", Err((Utf8, 1)));
    check(b"1\x80", Err((Utf8, 1)));
}

#[test]
fn duplicate_members() {
    check(r#"{"a":1,"b":2,"a":3}"#, Err((Duplicate, 13)));
    check(r#"{"a":1,"\u0061":3}"#, Err((Duplicate, 7)));
    check(r#"[{"x":{"":0,"":1}}]"#, Err((Duplicate, 12)));
    check(r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#, Ok(r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#));
    let members: Vec<String> = (0..100).map(|n| format!("\"{n}\":0")).collect();
    let many = members.join(",");
    check(format!("{{{many},\"57\":1,\"3\":1}}"), Err((Duplicate, many.len() + 2)));
    check(format!("{{{many}}}"), Ok(&format!("{{{many}}}")));
}

/// An object after one that began with the same name.
#[test]
fn repeated_shapes() {
    let check = |first: &str, second: &str, expected: Result<&str, (ParseReason, usize)>| {
        let expected = expected.map(|second| format!("[{first},{second}]"));
        let expected = expected.as_deref().map_err(|(reason, at)| (*reason, at + first.len() + 2));
        check_within(&Limits::default(), format!("[{first},{second}]"), expected);
    };
    let first = r#"{"a":1,"bc":2,"d":3}"#;
    let escaped = r#"{"a":1,"b\\n":2,"c":3}"#;
    check(escaped, escaped, Ok(escaped));
    check(first, r#"{ "a" : 4 , "bc" : 5 , "d" : 6 }"#, Ok(r#"{"a":4,"bc":5,"d":6}"#));
    check(first, r#"{"a":4,"bc":5,"d":6,"e":7}"#, Ok(r#"{"a":4,"bc":5,"d":6,"e":7}"#));
    check(first, r#"{"a":4,"bc":5}"#, Ok(r#"{"a":4,"bc":5}"#));
    check(first, r#"{"a":4,"b":5,"d":6}"#, Ok(r#"{"a":4,"b":5,"d":6}"#));
    check(first, r#"{"a":4,"bcd":5,"d":6}"#, Ok(r#"{"a":4,"bcd":5,"d":6}"#));
    check(first, r#"{"\u0061":4,"\u0062c":5,"d":6}"#, Ok(r#"{"a":4,"bc":5,"d":6}"#));
    check(first, r#"{"a":4,"bc":5,"d":6,"a":7}"#, Err((Duplicate, 20)));
    check(first, r#"{"a":4,"bc":5,"bc":6}"#, Err((Duplicate, 14)));
    check(first, r#"{"a":4,"a":5,"d":6}"#, Err((Duplicate, 7)));
    check(first, r#"{"a":4,"bc" 5}"#, Err((Byte, 12)));
    check(first, r#"{"a":4,}"#, Err((Byte, 7)));
    check(r#"{"a":1,"\u0001":2}"#, "{\"a\":1,\"\u{1}\":2}", Err((Control, 8)));
}

#[test]
fn limits() {
    let limits = Limits { depth_max: 2, bytes_max: 20, members_max: 3, values_max: 6 };
    let check = |text: &str, expected| check_within(&limits, text, expected);
    check("[[0]]", Ok("[[0]]"));
    check("[[[]]]", Err((Depth, 2)));
    check("{\"a\":[{}]}", Err((Depth, 6)));
    check("[1,2,3]", Ok("[1,2,3]"));
    check("[1,2,3,4]", Err((Members, 8)));
    check(r#"{"a":1,"b":2,"c":3}"#, Ok(r#"{"a":1,"b":2,"c":3}"#));
    check(r#"{"":1,"b":2,"c":3,""#, Err((End, 19)));
    check("[[0,1],[2]]", Ok("[[0,1],[2]]"));
    check("[[0,1],[2,3]]", Err((Values, 10)));
    check(&(" ".repeat(17) + "null"), Err((Bytes, 20)));
    check_within(&Limits { depth_max: 0, ..limits }, "1", Ok("1"));
    check_within(&Limits { depth_max: 0, ..limits }, "[]", Err((Depth, 0)));
    check_within(&Limits { members_max: 0, ..limits }, "[]", Ok("[]"));
    let deep = Limits { depth_max: usize::MAX, ..Limits::default() };
    let text = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    check_within(&deep, &text, Ok(&text));
    check_within(&deep, "[".repeat(1_000_000), Err((End, 1_000_000)));
    check_within(&Limits::default(), &text, Err((Depth, 128)));
}

#[test]
fn text_that_is_no_json_is_told_from_json_beyond_a_limit() {
    check("123456789012345678901234567890 bottles", Err((Trailing, 31)));
    check(r#"{"a":1,"a":2"#, Err((End, 12)));
    check(r#"["\ud800\u00",99999999999999999999]"#, Err((Escape, 2)));
    check(r#"["\ud800\u0041",99999999999999999999,1e999,{"a":[],"a":{}}]"#, Err((Surrogate, 2)));
    check("[".repeat(1_000_000), Err((End, 1_000_000)));
    check(b"1e999\xff", Err((Utf8, 5)));
    let limits = Limits { bytes_max: 4, ..Limits::default() };
    check_within(&limits, b"\x89PNG\r\n", Err((Utf8, 0)));
    check_within(&limits, "[true]", Err((Bytes, 4)));
    check_within(&limits, "[true, nul", Err((End, 10)));
    check_within(&limits, "{\"a\":[1,{}],\"b\":-0.5e1} ", Err((Bytes, 4)));
    check_within(&limits, "{\"a\":[1,{}],\"b\" 2}", Err((Byte, 16)));
}

#[test]
fn an_error_names_line_and_column() {
    let error = Value::parse(b"{\n  \"a\": 1,\n  \"a\": 2\n}", &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "duplicate member at line 3 column 3");
    assert!(error.reason.is_limit());
    let error = Value::parse(b"[1,\n", &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "unexpected end of text at line 2 column 1");
    assert!(!error.reason.is_limit());
}

/// Text near JSON: tokens in any order, now and then joined to a document.
fn near_json() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u00",
        "\\ud834\\udd1e",
        "\\n",
        "a",
        "é",
        "\"k\"",
        "\"\"",
        "0",
        "-",
        "1",
        "12.5",
        "e3",
        ".",
        "E-2",
        "true",
        "null",
        " ",
        "\n",
        "\u{1}",
        "{\"a\":",
        "[1,",
    ]);
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_parser_takes_what_serde_json_takes(text in near_json()) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match Value::parse(text.as_bytes(), &Limits::default()) {
            Ok(value) => {
                // Their objects are sorted and their -0 is a float: both are equal by value.
                let theirs = theirs.unwrap().to_string();
                prop_assert_eq!(Value::parse(theirs.as_bytes(), &Limits::default()).unwrap(), value);
            }
            Err(error) if matches!(error.reason, Duplicate | Integer) => prop_assert!(theirs.is_ok(), "{}", error),
            // They too refuse the other limits.
            Err(error) => prop_assert!(theirs.is_err(), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let ours = Value::parse(&bytes, &Limits::default());
        prop_assert!(ours.is_ok() <= serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
    }

    #[test]
    fn floats_are_read_as_the_standard_library_reads_them(digits in "-?(0|[1-9][0-9]{0,20})\\.[0-9]{1,20}(e-?[0-9]{1,3})?") {
        let expected: f64 = digits.parse().unwrap();
        let value = Value::parse(digits.as_bytes(), &Limits::default());
        match value {
            Ok(value) => prop_assert_eq!(value.as_f64().map(f64::to_bits), Some(expected.to_bits())),
            Err(_) => prop_assert!(expected.is_infinite()),
        }
    }

    #[test]
    fn every_float_survives(bits in any::<u64>()) {
        if let Some(number) = ak_json::Number::from_f64(f64::from_bits(bits)) {
            let text = Value::from(number).to_json();
            let value = Value::parse(text.as_bytes(), &Limits::default()).unwrap();
            prop_assert_eq!(value.as_f64().map(f64::to_bits), Some(bits));
            prop_assert!(value.as_number().unwrap().is_float());
        }
    }

    #[test]
    fn every_string_survives(text in any::<String>()) {
        let value = Value::from(&text);
        let json = value.to_json();
        prop_assert_eq!(value.json_len(), json.len());
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text.clone());
        let back = Value::parse(json.as_bytes(), &Limits::default()).unwrap();
        prop_assert_eq!(back.as_str(), Some(&*text));
    }
}
