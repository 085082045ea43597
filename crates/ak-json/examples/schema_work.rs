//! Prints how many nanoseconds a unit of work takes in hostile checks: about 10 is right, 30 is the most there may be.
//!
//! `cargo run --release -p ak-json --example schema_work`

use std::time::Instant;

use ak_json::{Limits, Schema, SchemaReason, Value, Violation, Work};

/// What 20 ms come to.
const UNITS: u64 = 2_000_000;

fn main() {
    println!("{:>9} {:>10} {:>8}  case", "ns/unit", "units", "ms");
    let mut worst = 0.0_f64;
    for (name, schema, value) in checks() {
        worst = worst.max(check(name, &schema, &value));
    }
    for (name, schema) in schemas() {
        worst = worst.max(compile(name, &schema));
    }
    println!("worst: {worst:.1} ns per unit");
}

/// The best of some runs, since the machine may be busy with other things.
fn measure(name: &str, mut run: impl FnMut() -> (u64, &'static str)) -> f64 {
    let (mut best, mut units, mut outcome) = (f64::MAX, 0, "");
    for _ in 0..5 {
        let started = Instant::now();
        (units, outcome) = run();
        best = best.min(started.elapsed().as_nanos() as f64);
    }
    let rate = best / units.max(1) as f64;
    println!("{rate:>9.2} {units:>10} {:>8.2}  {name} ({outcome})", best / 1e6);
    // What is over at once tells nothing.
    if best > 20_000.0 { rate } else { 0.0 }
}

fn check(name: &str, schema: &str, value: &Value) -> f64 {
    let schema = Schema::parse(&parse(schema), &mut Work::unlimited()).expect("a schema");
    measure(name, || {
        let mut work = Work::new(UNITS);
        let outcome = match schema.validate(value, &mut work) {
            Ok(()) => "holds",
            Err(Violation::Work) => "given up",
            Err(Violation::Depth) => "too deep",
            Err(Violation::Keyword { .. } | Violation::Unjudged { .. }) => "broken",
        };
        (work.used(), outcome)
    })
}

fn compile(name: &str, schema: &str) -> f64 {
    let schema = parse(schema);
    measure(name, || {
        let mut work = Work::new(UNITS);
        let outcome = match Schema::parse(&schema, &mut work).map_err(|error| error.reason) {
            Ok(_) => "taken",
            Err(SchemaReason::Work) => "given up",
            Err(_) => "refused",
        };
        (work.used(), outcome)
    })
}

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).expect("JSON")
}

fn letters(count: usize, alphabet: &[char]) -> String {
    let mut noise = 1u32;
    let mut letter = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        alphabet.get((noise >> 20) as usize % alphabet.len()).copied().unwrap_or('a')
    };
    (0..count).map(|_| letter()).collect()
}

fn list(item: impl Fn(usize) -> String, count: usize) -> Value {
    parse(&format!("[{}]", (0..count).map(item).collect::<Vec<_>>().join(",")))
}

fn members(count: usize, value: &str, name: impl Fn(usize) -> String) -> String {
    let members: Vec<String> = (0..count).map(|n| format!("\"{}\":{value}", name(n))).collect();
    format!("{{{}}}", members.join(","))
}

fn checks() -> Vec<(&'static str, String, Value)> {
    let all_of = |inner: &str, count: usize| format!(r#"{{"allOf":[{}]}}"#, vec![inner; count].join(","));
    let mut doubling: Vec<String> = (0..40)
        .map(|n| {
            format!(r##""a{n}":{{"allOf":[{{"$ref":"#/$defs/a{0}"}},{{"$ref":"#/$defs/a{0}"}}]}}"##, n + 1)
        })
        .collect();
    doubling.push(r#""a40":{"type":"null"}"#.into());
    let number = |n: usize| n.to_string();
    let names: Vec<String> = (0..30).map(|n| format!("\"{}{n:02}\"", "x".repeat(8000))).collect();
    let shared: String =
        format!("{{{}}}", names.iter().map(|name| format!("{name}:0")).collect::<Vec<_>>().join(","));
    let name = |n: usize| format!("n{n}");
    vec![
        ("pattern, 8 MB of ab", r#"{"not":{"pattern":"(a?b?){110}c$"}}"#.into(), "ab".repeat(4 << 20).into()),
        (
            "pattern, many states",
            r#"{"not":{"pattern":"(a|b)*a(a|b){200}c$"}}"#.into(),
            letters(1 << 20, &['a', 'b']).into(),
        ),
        (
            "pattern, few states each new",
            r#"{"not":{"pattern":"a[ab]{12}c$"}}"#.into(),
            letters(1 << 20, &['a', 'b']).into(),
        ),
        (
            "pattern, largest automaton",
            r#"{"not":{"pattern":"((a|b)?(b|c)?){1000}d$"}}"#.into(),
            letters(1 << 20, &['a', 'b', 'c']).into(),
        ),
        (
            "pattern, wide alternation",
            format!(
                r#"{{"not":{{"pattern":"({})$"}}}}"#,
                (0..400).map(|n| format!("a*{n}")).collect::<Vec<_>>().join("|")
            ),
            letters(1 << 20, &['a', '1', '2', '3']).into(),
        ),
        (
            "pattern, classes of letters",
            r#"{"not":{"pattern":"\\p{L}{20}0$"}}"#.into(),
            letters(1 << 20, &['é', 'ж', '中', '𝄞', 'a']).into(),
        ),
        (
            "pattern on many short texts",
            r#"{"items":{"pattern":"(a?b?){110}c$|."}}"#.into(),
            list(|n| format!("\"{n}\""), 200_000),
        ),
        (
            "patternProperties, 40 patterns",
            format!(r#"{{"patternProperties":{}}}"#, members(40, "true", |n| format!("a?{n}"))),
            parse(&members(20_000, "0", name)),
        ),
        ("pattern on one long text", r#"{"pattern":"^[a-z]+$"}"#.into(), "a".repeat(8 << 20).into()),
        (
            "doubling references",
            format!(r##"{{"$defs":{{{}}},"$ref":"#/$defs/a0"}}"##, doubling.join(",")),
            Value::Null,
        ),
        ("items of nothing", r#"{"items":{}}"#.into(), list(number, 300_000)),
        ("items of one type", r#"{"items":{"type":"integer"}}"#.into(), list(number, 300_000)),
        (
            "many keywords",
            format!(
                r#"{{"items":{}}}"#,
                all_of(r#"{"type":"integer","minimum":0,"maximum":1e9,"exclusiveMinimum":-1.5}"#, 50)
            ),
            list(number, 30_000),
        ),
        (
            "anyOf that fails",
            format!(r#"{{"items":{{"anyOf":[{}]}}}}"#, vec![r#"{"type":"null"}"#; 100].join(",") + ",true"),
            list(number, 30_000),
        ),
        ("tree by reference", r##"{"items":{"$ref":"#"}}"##.into(), list(|_| "[[],[[]]]".into(), 100_000)),
        (
            "enum of numbers",
            format!(r#"{{"items":{{"enum":{}}}}}"#, list(number, 20_000)),
            list(|_| "19999".into(), 1_000),
        ),
        (
            "enum of equally long strings",
            format!(
                r#"{{"items":{{"enum":{}}}}}"#,
                list(|n| format!("\"{}{n:04}\"", "x".repeat(200)), 1_000)
            ),
            list(|_| format!("\"{}0999\"", "x".repeat(200)), 1_000),
        ),
        (
            "const of an array",
            format!(r#"{{"items":{{"const":{}}}}}"#, list(number, 1_000)),
            list(|_| list(number, 1_000).to_json(), 500),
        ),
        (
            "const of an object, other order",
            format!(r#"{{"items":{{"const":{}}}}}"#, members(1_000, "0", name)),
            list(|_| members(1_000, "0", |n| format!("n{}", 999 - n)), 1_000),
        ),
        (
            "const of small objects",
            format!(r#"{{"items":{{"const":{}}}}}"#, members(32, "0", name)),
            list(|_| members(32, "0", |n| format!("n{}", 31 - n)), 20_000),
        ),
        (
            "multipleOf, far exponents",
            r#"{"items":{"multipleOf":1.7e-300}}"#.into(),
            list(|n| format!("1.{n}e300"), 100_000),
        ),
        (
            "multipleOf, integers",
            r#"{"items":{"multipleOf":7}}"#.into(),
            list(|n| (n * 7).to_string(), 100_000),
        ),
        ("maxLength", r#"{"maxLength":1}"#.into(), "é".repeat(4 << 20).into()),
        ("maxLength of many", r#"{"items":{"maxLength":9}}"#.into(), list(|n| format!("\"{n}\""), 200_000)),
        ("uniqueItems of numbers", r#"{"uniqueItems":true}"#.into(), list(number, 15_000)),
        (
            "uniqueItems of long strings",
            r#"{"uniqueItems":true}"#.into(),
            list(|n| format!("\"{}{n}\"", "x".repeat(1_000)), 2_000),
        ),
        (
            "uniqueItems of empty arrays in arrays",
            r#"{"uniqueItems":true}"#.into(),
            list(|n| format!("[[],[],{n}]"), 5_000),
        ),
        (
            "uniqueItems of objects",
            r#"{"uniqueItems":true}"#.into(),
            list(|n| format!(r#"{{"b":{n},"a":1}}"#), 5_000),
        ),
        (
            "uniqueItems of large objects",
            r#"{"uniqueItems":true}"#.into(),
            list(|n| members(500, &n.to_string(), |n| format!("n{}", 999 - n)), 20),
        ),
        (
            "required, long names",
            format!(r#"{{"items":{{"required":[{}]}}}}"#, names.join(",")),
            list(|_| shared.clone(), 60),
        ),
        (
            "required in a large object",
            format!(r#"{{"items":{{"required":{}}}}}"#, list(|n| format!("\"n{n}\""), 20_000)),
            list(|_| members(20_000, "0", name), 10),
        ),
        (
            "required in small objects",
            format!(r#"{{"items":{{"required":{}}}}}"#, list(|n| format!("\"n{n}\""), 32)),
            list(|_| members(32, "0", name), 10_000),
        ),
        (
            "dependentRequired",
            format!(r#"{{"items":{{"dependentRequired":{}}}}}"#, members(1_000, r#"["n1"]"#, name)),
            list(|_| members(40, "0", name), 2_000),
        ),
        (
            "properties",
            format!(r#"{{"items":{{"properties":{}}}}}"#, members(10_000, "true", name)),
            list(|n| format!("{{\"n{}\":0}}", n % 10_000), 50_000),
        ),
        ("propertyNames", r#"{"propertyNames":{"minLength":1}}"#.into(), parse(&members(100_000, "0", name))),
        ("contains", r#"{"contains":{"const":-1},"minContains":0}"#.into(), list(number, 200_000)),
        (
            "contains over contains",
            format!(r#"{{"items":{}}}"#, all_of(r#"{"contains":{"type":"null"},"minContains":0}"#, 50)),
            list(|_| "[1,2,3,4]".into(), 5_000),
        ),
        (
            "unevaluatedItems",
            r#"{"allOf":[{"contains":{"type":"integer"}}],"unevaluatedItems":false}"#.into(),
            list(number, 50_000),
        ),
        (
            "unevaluatedProperties",
            format!(
                r#"{{"allOf":[{{"properties":{}}}],"unevaluatedProperties":false}}"#,
                members(8_000, "true", name)
            ),
            parse(&members(8_000, "0", name)),
        ),
        (
            "unevaluated within unevaluated",
            (0..12).fold("true".to_owned(), |inner, _| {
                format!(r#"{{"anyOf":[{inner},{inner}],"unevaluatedProperties":true}}"#)
            }),
            parse(&members(20, "0", name)),
        ),
        (
            "unevaluatedProperties that may be evaluated",
            format!(
                r#"{{"allOf":[{{"properties":{},"patternProperties":{{"a(?=b)":true}}}}],"unevaluatedProperties":true}}"#,
                members(8_000, "true", name)
            ),
            parse(&members(8_000, "0", name)),
        ),
        (
            "dependentSchemas",
            format!(r#"{{"items":{{"dependentSchemas":{}}}}}"#, members(1_000, "true", name)),
            list(|_| members(40, "0", name), 1_000),
        ),
        (
            "if, then, else",
            r#"{"items":{"if":{"minimum":5},"then":{"maximum":1e9},"else":{"minimum":0}}}"#.into(),
            list(number, 200_000),
        ),
    ]
}

fn schemas() -> Vec<(&'static str, String)> {
    let deep = |levels: usize, inner: &str| {
        (0..levels).fold(inner.to_owned(), |inner, _| format!(r#"{{"allOf":[{inner}]}}"#))
    };
    let trues = |count: usize| format!(r#"{{"anyOf":[{}]}}"#, vec!["true"; count].join(","));
    let patterns = |pattern: &str, count: usize| {
        format!(r#"{{"anyOf":[{}]}}"#, vec![format!(r#"{{"pattern":"{pattern}"}}"#); count].join(","))
    };
    vec![
        ("schema of many trues", trues(50_000)),
        ("schema of many trues, deep", deep(30, &trues(50_000))),
        (
            "schema below a long name",
            format!(r#"{{"properties":{{"{}":{}}}}}"#, "x".repeat(100_000), trues(30_000)),
        ),
        (
            "schema of many names",
            format!(r#"{{"properties":{}}}"#, members(20_000, "true", |n| format!("n{n}"))),
        ),
        (
            "schema of many references",
            format!(
                r##"{{"$defs":{{"a":true}},"anyOf":[{}]}}"##,
                vec![r##"{"$ref":"#/$defs/a"}"##; 10_000].join(",")
            ),
        ),
        (
            "schema of references that lead nowhere deep",
            format!(
                r##"{{"$defs":{{"a":true}},"anyOf":[{}]}}"##,
                vec![format!(r##"{{"$ref":"#{}"}}"##, "/a".repeat(1_000)); 100].join(",")
            ),
        ),
        (
            "schema of many identifiers",
            format!(
                r#"{{"$id":"http://a.example/{}/","anyOf":{}}}"#,
                "x".repeat(1_000),
                list(|n| format!(r#"{{"$id":"{n}"}}"#), 5_000)
            ),
        ),
        (
            "schema of one identifier over and over",
            format!(
                r#"{{"anyOf":{}}}"#,
                list(|_| format!(r#"{{"$id":"a","enum":[{}]}}"#, "0,".repeat(50) + "1"), 5_000)
            ),
        ),
        (
            "schema of references by identifier",
            format!(
                r##"{{"$id":"http://a.example/{}/","anyOf":{}}}"##,
                "x".repeat(1_000),
                list(|n| format!(r#"{{"$id":"b/../{n}","items":{{"$ref":"../{n}"}}}}"#), 2_000)
            ),
        ),
        (
            "schema of references into annotations",
            format!(
                r##"{{"a":{},"anyOf":{}}}"##,
                list(|n| format!(r#"{{"b":{{"{n}":{{"c":true}}}}}}"#), 5_000),
                list(|n| format!(r##"{{"$ref":"#/a/{n}/b/{n}/c"}}"##), 5_000)
            ),
        ),
        (
            "schema of patterns that cannot be judged",
            format!(r#"{{"properties":{{"{}":{}}}}}"#, "x".repeat(1_000), patterns("a(?=b)", 5_000)),
        ),
        ("patterns of look-ahead", patterns(&format!("^{}a", "(?!b.*c)".repeat(400)), 10)),
        ("schema of required names", format!(r#"{{"required":{}}}"#, list(|n| format!("\"n{n}\""), 25_000))),
        ("schema of an enum", format!(r#"{{"enum":{}}}"#, list(|n| n.to_string(), 40_000))),
        (
            "schema of keywords",
            format!(
                r#"{{"anyOf":[{}]}}"#,
                vec![r#"{"type":["null","integer"],"minimum":0,"maximum":1,"title":""}"#; 4_000].join(",")
            ),
        ),
        ("pattern too large", patterns("(a{1000}){1000}", 1)),
        ("pattern as large as can be", patterns("([a-z]{30}){1000}", 1)),
        ("patterns, small, many", patterns("a", 8_000)),
        ("patterns, 1 kB each", patterns(&"abcdefgh".repeat(128), 200)),
        ("pattern of letters", patterns(r"\\p{L}{40}", 1)),
        ("pattern of other letters", patterns(r"\\P{L}{40}", 10)),
        ("pattern of classes", patterns(&r"\\p{L}".repeat(800), 1)),
        ("pattern of spaces", patterns(&r"\\S".repeat(2_000), 1)),
        ("pattern of negated classes", patterns(&r"[^\\s\\d]".repeat(500), 1)),
        ("pattern of unions of classes", patterns(&format!("[{}]", r"\\p{L}\\P{N}".repeat(380)), 1)),
        (
            "pattern of one class of many letters",
            patterns(&format!("[{}]", ('\u{400}'..'\u{480}').step_by(2).collect::<String>().repeat(30)), 10),
        ),
        ("pattern of alternatives", patterns(&vec!["a|b"; 1_300].join("|"), 1)),
        ("pattern of nested groups", patterns(&format!("{}a{}", "(".repeat(240), ")*".repeat(240)), 10)),
    ]
}
