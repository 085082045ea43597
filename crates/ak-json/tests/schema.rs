//! Schemas beyond the suite: what is refused, what an error names, and hostile schemas.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use ak_json::{Limits, Schema, SchemaReason, Value, Violation, Work, array, object};
use proptest::prelude::*;

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn schema(text: &str) -> Schema {
    Schema::parse(&value(text), &mut Work::unlimited()).unwrap()
}

#[test]
fn schemas_that_are_refused() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            Schema::parse(&value(text), &mut Work::unlimited()).unwrap_err().to_string(),
            expected,
            "{text}"
        );
    };
    check("null", "neither a boolean nor an object at '' of the schema");
    check(r#"{"items":3}"#, "neither a boolean nor an object at '/items' of the schema");
    check(r#"{"type":"int"}"#, "wrong value of 'type' at '' of the schema");
    check(r#"{"type":["null","null"]}"#, "wrong value of 'type' at '' of the schema");
    check(r#"{"type":[]}"#, "wrong value of 'type' at '' of the schema");
    check(r#"{"minLength":-1}"#, "wrong value of 'minLength' at '' of the schema");
    check(r#"{"maxItems":1.5}"#, "wrong value of 'maxItems' at '' of the schema");
    check(r#"{"multipleOf":0}"#, "wrong value of 'multipleOf' at '' of the schema");
    check(r#"{"required":["a","a"]}"#, "wrong value of 'required' at '' of the schema");
    check(r#"{"required":[1]}"#, "wrong value of 'required' at '' of the schema");
    check(r#"{"anyOf":[]}"#, "wrong value of 'anyOf' at '' of the schema");
    check(r#"{"enum":1}"#, "wrong value of 'enum' at '' of the schema");
    check(r#"{"$ref":"other.json"}"#, "reference 'other.json' leads to another document at '' of the schema");
    check(
        r##"{"$ref":"#/$defs/a"}"##,
        "reference '#/$defs/a' leads to no schema in this document at '' of the schema",
    );
    check(
        r##"{"required":[],"$ref":"#/required"}"##,
        "reference '#/required' leads to no schema in this document at '' of the schema",
    );
    check(r##"{"$ref":"#a%2"}"##, "reference '#a%2' leads to no schema in this document at '' of the schema");
    check(r#"{"$anchor":"a","not":{"$anchor":"a"}}"#, "duplicate identifier 'a' at '/not' of the schema");
    check(r##"{"$ref":"#"}"##, "reference cycle at '' of the schema");
    check(
        r##"{"$defs":{"a":{"not":{"$ref":"#/$defs/b"}},"b":{"anyOf":[true,{"$ref":"#/$defs/a"}]}}}"##,
        "reference cycle at '/$defs/a' of the schema",
    );
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(64), "}".repeat(64));
    check(&deep, "schema nests too deep at '' of the schema");
}

#[test]
fn a_violation_names_value_and_keyword() {
    let check = |text: &str, instance: &str, expected: &str| {
        assert_eq!(
            schema(text).validate(&value(instance), &mut Work::unlimited()).unwrap_err().to_string(),
            expected
        );
    };
    let order = r##"{"$defs":{"id":{"type":"string","pattern":"^[a-z]+$"}},"properties":{"to":{"$ref":"#/$defs/id"},
        "items":{"items":{"properties":{"n":{"minimum":1}},"additionalProperties":false}}},"required":["to"]}"##;
    check(order, r#"{"to":1}"#, "'/to' breaks 'type' at '/$defs/id' of the schema");
    check(order, r#"{"to":"A"}"#, "'/to' breaks 'pattern' at '/$defs/id' of the schema");
    check(order, "{}", "'' breaks 'required' at '' of the schema");
    check(
        order,
        r#"{"to":"a","items":[{"n":2},{"n":0}]}"#,
        "'/items/1/n' breaks 'minimum' at '/properties/items/items/properties/n' of the schema",
    );
    check(
        order,
        r#"{"to":"a","items":[{"m/":2}]}"#,
        "'/items/0/m~1' breaks 'additionalProperties' at '/properties/items/items/additionalProperties' of the schema",
    );
    check(r#"{"anyOf":[{"type":"null"},{"items":false}]}"#, "[1]", "'' breaks 'anyOf' at '' of the schema");
    check(r#"{"oneOf":[true,true]}"#, "1", "'' breaks 'oneOf' at '' of the schema");
    check(r#"{"not":{"items":{"type":"null"}}}"#, "[null]", "'' breaks 'not' at '' of the schema");
    check(
        r#"{"if":{"minimum":0},"then":{"maximum":9},"else":false}"#,
        "10",
        "'' breaks 'maximum' at '/then' of the schema",
    );
    check(
        r#"{"if":{"minimum":0},"then":{"maximum":9},"else":false}"#,
        "-1",
        "'' breaks 'else' at '/else' of the schema",
    );
    check(
        r#"{"contains":{"const":1},"minContains":2}"#,
        "[1,2]",
        "'' breaks 'minContains' at '' of the schema",
    );
    check(
        r#"{"unevaluatedItems":false,"prefixItems":[true]}"#,
        "[1,2]",
        "'/1' breaks 'unevaluatedItems' at '/unevaluatedItems' of the schema",
    );
    check(
        r#"{"propertyNames":{"maxLength":1}}"#,
        r#"{"ab":1}"#,
        "'' breaks 'propertyNames' at '' of the schema",
    );
    check("false", "1", "'' breaks 'schema' at '' of the schema");
}

#[test]
fn patterns_are_those_of_ecma_262() {
    let check = |pattern: &str, text: &str, expected: bool| {
        let schema = Schema::parse(&object! { "pattern": pattern }, &mut Work::unlimited()).unwrap();
        assert_eq!(
            schema.validate(&text.into(), &mut Work::unlimited()).is_ok(),
            expected,
            "{pattern} {text:?}"
        );
    };
    check("b", "abc", true);
    check("^b", "abc", false);
    check("c$", "abc\n", false);
    check("^a.c$", "a\u{2028}c", false);
    check("^.$", "𝄞", true);
    check(r"^\uD834\uDD1E$", "𝄞", true);
    check(r"^\u{1d11e}\x41\t\cJ\0$", "𝄞A\t\n\0", true);
    check(r"^\d$", "٣", false);
    check(r"^\w$", "é", false);
    check(r"^\s$", "\u{feff}", true);
    check(r"^\S$", "\u{a0}", false);
    check(r"^[\w-]+$", "a-b", true);
    check(r"^[a&&b]+$", "a&b", true);
    check(r"^[a~~b[]+$", "~[", true);
    check(r"^[+--]+$", "+,-", true);
    check(r"^[^\d\s]+$", "ab", true);
    check(r"^[^\d\s]+$", "a1", false);
    check(r"^[\b]$", "\u{8}", true);
    check(r"^[^]$", "\n", true);
    check(r"[]", "a", false);
    check(r"\bcat\b", "a cat.", true);
    check(r"\bcat\b", "concat", false);
    check(r"\Bcat", "concat", true);
    check(r"^(?:ab){2,3}$", "abab", true);
    check(r"^(?<year>\d{4})-(\d{2})$", "2026-11", true);
    check(r"^a+?b*?c??$", "aabb", true);
    check(r"^\p{Lu}\P{Lu}$", "Éé", true);
    check(r"^a#b $", "a#b ", true);
    check(r"^\/\.\-\@$", "/.-@", true);
    check("", "anything", true);
    check("a|", "", true);
    check(r"^(a|b)*$", "abba", true);
    // Errors with the flag u, but nowhere something else.
    check(r"^[\w-.]+$", "a-b.c", true);
    check(r"^[a-\d]+$", "a-1", true);
    check(r"^[a-\d]+$", "b", false);
    check(r"^{[^}]*}]$", "{a}]", true);
    check(r"^a{$", "a{", true);
    check(r"^a{x}$", "a{x}", true);
    check(r"^\ \_\é$", " _é", true);
}

#[test]
fn look_around_at_the_start_and_the_end_is_judged() {
    let check = |pattern: &str, text: &str, expected: bool| {
        let schema = Schema::parse(&object! { "pattern": pattern }, &mut Work::unlimited()).unwrap();
        assert!(schema.unjudged().is_empty(), "{pattern}");
        let outcome = schema.validate(&text.into(), &mut Work::unlimited());
        assert_eq!(outcome.is_ok(), expected, "{pattern} {text:?}");
    };
    check("^(?!.*X).*$", "abc", true);
    check("^(?!.*X).*$", "abXc", false);
    check("^(?=.*[a-z])(?=.*[0-9]).{4,}$", "abc1", true);
    check("^(?=.*[a-z])(?=.*[0-9]).{4,}$", "abcd", false);
    check("^(?=.*[a-z])(?=.*[0-9]).{4,}$", "a1", false);
    check("^(?!a|b$)", "b", false);
    check("^(?!a|b$)", "bc", true);
    check("^(?!a|b$)", "ca", true);
    check("^[a-z-]+(?<!-)$", "a-b", true);
    check("^[a-z-]+(?<!-)$", "ab-", false);
    check("(?<=ab|c)$", "xab", true);
    check("(?<=ab|c)$", "xb", false);
    check(r"^(?!-)[a-z-]{1,63}(?<!-)$", "a-b", true);
    check(r"^(?!-)[a-z-]{1,63}(?<!-)$", "-ab", false);
    check("^(?!)", "a", false);
}

#[test]
fn patterns_that_cannot_be_judged() {
    let (large, long) = ("(?:a{1000}){1000}", "a".repeat(5000));
    for pattern in [
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "a(?=b)",
        "^a(?!b)",
        "^(?!a)b|c",
        "a|^(?!b)",
        "(^(?!a))",
        "^(?!(?=a)b)",
        "(?<=a)b$",
        "(?i)a",
        "(?i:a)",
        "(?P<n>a)",
        "(?<>a)",
        "(?#a)",
        r"(a)\1",
        r"(?<n>a)\k<n>",
        r"\q",
        r"\u12",
        r"\uD834",
        r"\x1",
        r"\c1",
        r"\p{Nonsense}",
        r"\pL",
        r"\u{110000}",
        r"\Z",
        r"\A",
        r"\00",
        "a*+",
        "a{,2}",
        "a{99999999999}",
        large,
        &long,
    ] {
        let schema = Schema::parse(&object! { "pattern": pattern }, &mut Work::unlimited()).unwrap();
        assert_eq!(schema.unjudged().len(), 1, "{pattern}");
    }
    // Together they may take as much memory, and no more.
    let many = Value::from(vec![object! { "pattern": r"\p{L}{5}" }; 200]);
    let schema = Schema::parse(&object! { "anyOf": many }, &mut Work::unlimited()).unwrap();
    assert!((1..199).contains(&schema.unjudged().len()) && schema.memory_bytes() < 5 << 20);
}

#[test]
fn patterns_that_are_malformed() {
    for pattern in [
        "(", ")", "a)", "[", "[b-a]", "*", "a**", "^*", "(?=a)*", "a{2,1}", r"\", "(?=a", "(?<!a))",
        r"(a)\1(",
    ] {
        let refused = Schema::parse(&object! { "pattern": pattern }, &mut Work::unlimited()).map(|_| ());
        assert_eq!(refused.map_err(|error| error.reason), Err(SchemaReason::Pattern), "{pattern}");
    }
}

#[test]
fn hostile_schemas_end() {
    let started = Instant::now();
    // Each level applies the next twice.
    let mut definitions: Vec<String> = (0..60)
        .map(|n| {
            format!(r##""a{n}":{{"allOf":[{{"$ref":"#/$defs/a{0}"}},{{"$ref":"#/$defs/a{0}"}}]}}"##, n + 1)
        })
        .collect();
    definitions.push(r#""a60":{"type":"null"}"#.into());
    let doubling = schema(&format!(r##"{{"$defs":{{{}}},"$ref":"#/$defs/a0"}}"##, definitions.join(",")));
    assert_eq!(doubling.validate(&Value::Null, &mut Work::new(10_000_000)), Err(Violation::Work));
    // A chain of references longer than the stack.
    let mut chain: Vec<String> =
        (0..9999).map(|n| format!(r##""a{n}":{{"$ref":"#/$defs/a{}"}}"##, n + 1)).collect();
    chain.push(r#""a9999":true"#.into());
    let chain = schema(&format!(r##"{{"$defs":{{{}}},"$ref":"#/$defs/a0"}}"##, chain.join(",")));
    assert_eq!(chain.validate(&Value::Null, &mut Work::unlimited()), Err(Violation::Depth));
    // A value that nests deeper than any schema may follow.
    let tree = schema(r##"{"type":"array","items":{"$ref":"#"}}"##);
    let nested = |levels| (0..levels).fold(array![], |inner, _| array![inner]);
    assert_eq!(tree.validate(&nested(200), &mut Work::unlimited()), Ok(()));
    assert_eq!(tree.validate(&nested(100_000), &mut Work::unlimited()), Err(Violation::Depth));
    assert_eq!(
        schema(r#"{"uniqueItems":true}"#).validate(&nested(100_000), &mut Work::unlimited()),
        Err(Violation::Depth)
    );
    // Comparing each item with each would take minutes.
    let many = Value::from((0..100_000u64).map(Value::from).collect::<Vec<_>>());
    assert_eq!(schema(r#"{"uniqueItems":true}"#).validate(&many, &mut Work::unlimited()), Ok(()));
    // A backtracking engine would not return.
    let backtracking = schema(r#"{"pattern":"^(a+)+$"}"#);
    assert!(backtracking.validate(&Value::from("a".repeat(50_000) + "b"), &mut Work::unlimited()).is_err());
    let wide = schema(r#"{"pattern":"(?:[a-z]{30}){30}$"}"#);
    assert_eq!(wide.validate(&Value::from("a".repeat(5_000_000)), &mut Work::unlimited()), Ok(()));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// The units that a check takes, if it takes no more than those of 20 ms.
fn work_of(schema: &str, instance: &Value) -> Result<u64, Violation> {
    let schema = self::schema(schema);
    let mut work = Work::new(2_000_000);
    match schema.validate(instance, &mut work) {
        Err(Violation::Work) => Err(Violation::Work),
        Ok(()) | Err(Violation::Keyword { .. } | Violation::Unjudged { .. } | Violation::Depth) => {
            Ok(work.used())
        }
    }
}

#[test]
fn hostile_checks_are_given_up() {
    let started = Instant::now();
    // Forms of all words of two letters: many states, each as large as the pattern.
    let mut noise = 1u32;
    let mut letters = |count: usize| -> String {
        let mut letter = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if noise >> 31 == 0 { 'a' } else { 'b' }
        };
        (0..count).map(|_| letter()).collect()
    };
    let states = r#"{"not":{"pattern":"(a|b)*a(a|b){200}c$"}}"#;
    assert_eq!(work_of(states, &letters(8 << 20).into()), Err(Violation::Work));
    let ab = object! { "s": "ab".repeat(4 << 20) };
    assert_eq!(
        work_of(r#"{"properties":{"s":{"not":{"pattern":"(a?b?){110}c$"}}}}"#, &ab),
        Err(Violation::Work)
    );
    // Short texts in great number start the automaton anew each time.
    let many: Vec<Value> = (0..200_000u32).map(|n| n.to_string().into()).collect();
    assert!(work_of(r#"{"items":{"pattern":"(a?b?){110}c$"}}"#, &many.clone().into()).is_ok());
    assert_eq!(work_of(r#"{"uniqueItems":true}"#, &many.clone().into()), Err(Violation::Work));
    assert_eq!(work_of(r#"{"items":{"minLength":1}}"#, &many.into()), Ok(1_000_005));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn plain_checks_cost_little() {
    let order = r#"{"type":"object","properties":{"to":{"type":"string","pattern":"^[a-z]+@[a-z.]+$"}},"required":["to"]}"#;
    let order = work_of(order, &object! { "to": "ada@example.com" }).unwrap();
    assert!(order < 3_000, "{order}");
    let letters = work_of(r#"{"pattern":"^\\p{L}{1,20}( \\p{L}{1,5})?$"}"#, &"Ада Лавлейс".into()).unwrap();
    assert!(letters < 100_000, "{letters}");
    let long = work_of(r#"{"pattern":"^[a-z]+$"}"#, &"a".repeat(1 << 20).into()).unwrap();
    assert!(long < 1_000_000, "{long}");
}

#[test]
fn hostile_schemas_are_given_up() {
    let refused = |schema: &Value, units| {
        Schema::parse(schema, &mut Work::new(units)).map(|_| ()).map_err(|error| error.reason)
    };
    let large = object! { "pattern": "(a{1000}){1000}" };
    assert_eq!(refused(&large, 2_000_000), Ok(()));
    assert_eq!(refused(&large, 100_000), Err(SchemaReason::Work));
    let classes = object! { "pattern": r"\p{L}".repeat(800) };
    assert!(refused(&classes, 2_000_000).is_err());
    // A long name around many schemas is compared again for each.
    let many = Value::from(vec![Value::from(true); 30_000]);
    let nested = object! { "properties": object! { ("x".repeat(100_000)): object! { "allOf": many } } };
    assert_eq!(refused(&nested, 2_000_000), Err(SchemaReason::Work));
}

/// A decimal of few digits as `digits × 10^-places`.
fn decimal(digits: i64, places: u32) -> (Value, i128) {
    let scale = 10i64.pow(places);
    let text = if places == 0 {
        digits.to_string()
    } else {
        format!(
            "{}{}.{:0width$}",
            if digits < 0 { "-" } else { "" },
            digits.abs() / scale,
            digits.abs() % scale,
            width = places as usize
        )
    };
    (value(&text), i128::from(digits) * 10i128.pow(6 - places))
}

proptest! {
    #[test]
    fn multiples_are_exact_in_decimal(a in -100_000_000i64..100_000_000, p in 0u32..6, b in 1i64..10_000, q in 0u32..6, k in -1000i64..1000) {
        let (divisor, units) = decimal(b, q);
        let schema = Schema::parse(&object! { "multipleOf": divisor }, &mut Work::unlimited()).unwrap();
        let (number, number_units) = decimal(a, p);
        prop_assert_eq!(schema.validate(&number, &mut Work::unlimited()).is_ok(), number_units % units == 0);
        prop_assert!(schema.validate(&decimal(b * k, q).0, &mut Work::unlimited()).is_ok());
    }

    #[test]
    fn any_schema_is_answered(keyword in prop::sample::select(vec!["type", "items", "pattern", "$ref", "enum", "required",
        "$id", "$schema", "$dynamicRef", "$recursiveAnchor", "dependencies", "additionalItems", "patternProperties", "x",
        "properties", "allOf", "minimum", "$defs", "if", "dependentRequired"]), pattern in ".{0,12}", n in any::<i64>()) {
        for operand in [Value::from(&pattern), Value::from(n), array![&*pattern], object! { (&*pattern): n }, object! { (&*pattern): true }] {
            if let Ok(schema) = Schema::parse(&object! { keyword: operand }, &mut Work::unlimited()) {
                let _ = schema.validate(&array![&*pattern, n], &mut Work::unlimited());
            }
        }
    }
}
