//! Modules and manifests that are refused before anything runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use ak_json::Value;
use ak_sandbox::{
    ARGS_BYTES_MAX, Abi, LISTED_BYTES_MAX, LISTED_MAX, Manifest, ManifestError, Position, SandboxConfig,
    Tool, ToolError,
};
use proptest::prelude::*;
use support::{cases, json, load_bytes, manifest, native, native_run, wasi};

#[track_caller]
fn refused(abi: Abi, wat: &str) -> ToolError {
    load_bytes(abi, &wat::parse_str(wat).unwrap()).expect_err(wat)
}

#[track_caller]
fn invalid(wat: &str) {
    let error = refused(Abi::Native, wat);
    assert!(matches!(error, ToolError::Invalid { .. }), "{error}: {wat}");
}

#[test]
fn exports_are_demanded() {
    let alloc = r#"(func (export "ak_alloc") (param i32) (result i32) (i32.const 0))"#;
    let run = r#"(func (export "ak_run") (param i32 i32) (result i64) (i64.const 0))"#;
    let memory = r#"(memory (export "memory") 1)"#;
    for (abi, fields, missing) in [
        (Abi::Native, format!("{alloc} {run}"), "memory"),
        (Abi::Native, format!("{memory} {run}"), "ak_alloc"),
        (Abi::Native, format!("{memory} {alloc}"), "ak_run"),
        (Abi::Native, r#"(memory (export "Memory") 1)"#.to_string(), "memory"),
        (Abi::Wasi, r#"(func (export "_start"))"#.to_string(), "memory"),
        (Abi::Wasi, memory.to_string(), "_start"),
        (Abi::Wasi, format!("{memory} {alloc} {run}"), "_start"),
    ] {
        assert_eq!(refused(abi, &format!("(module {fields})")), ToolError::MissingExport { name: missing });
    }
    for (abi, fields) in [
        (Abi::Native, r#"(func (export "memory"))"#.to_string()),
        (
            Abi::Native,
            format!(r#"{memory} {run} (func (export "ak_alloc") (param i64) (result i32) (i32.const 0))"#),
        ),
        (Abi::Native, format!(r#"{memory} {run} (func (export "ak_alloc"))"#)),
        (Abi::Native, format!(r#"{memory} {run} (global (export "ak_alloc") i32 (i32.const 0))"#)),
        (
            Abi::Native,
            format!(r#"{memory} {alloc} (func (export "ak_run") (param i32) (result i64) (i64.const 0))"#),
        ),
        (
            Abi::Native,
            format!(
                r#"{memory} {alloc} (func (export "ak_run") (param i32 i32) (result i32) (i32.const 0))"#
            ),
        ),
        (Abi::Wasi, format!(r#"{memory} (func (export "_start") (param i32))"#)),
        (Abi::Wasi, format!(r#"{memory} (func (export "_start") (result i32) (i32.const 0))"#)),
    ] {
        let error = refused(abi, &format!("(module {fields})"));
        assert!(matches!(error, ToolError::WrongType { .. }), "{error}: {fields}");
    }
}

#[test]
fn imports_are_known_or_refused() {
    for (abi, module, name) in [
        (Abi::Native, "env", "abort"),
        (Abi::Native, "ak", "shell"),
        (Abi::Native, "ak", ""),
        (Abi::Native, "AK", "log"),
        (Abi::Native, "wasi_snapshot_preview1", "fd_write"),
        (Abi::Wasi, "wasi_unstable", "fd_write"),
        (Abi::Wasi, "wasi_snapshot_preview1", "sock_open"),
        (Abi::Wasi, "env", "fd_write"),
    ] {
        let import = format!(r#"(import "{module}" "{name}" (func (param i32)))"#);
        let wat = if abi == Abi::Wasi { wasi(&import, "") } else { native_run(&import, "(i64.const 0)") };
        let (module, name) = (module.to_string(), name.to_string());
        assert_eq!(refused(abi, &wat), ToolError::UnknownImport { module, name });
    }
    for import in [
        r#"(import "ak" "log" (func (param i32)))"#,
        r#"(import "ak" "log" (func (param i32 i32) (result i32)))"#,
        r#"(import "ak" "fs_read" (func (param i64 i32) (result i32)))"#,
        r#"(import "ak" "fs_read" (func (param i32 i32)))"#,
        r#"(import "ak" "log" (global i32))"#,
        r#"(import "ak" "log" (table 1 funcref))"#,
    ] {
        let error = refused(Abi::Native, &native_run(import, "(i64.const 0)"));
        assert!(matches!(error, ToolError::WrongType { .. }), "{error}: {import}");
    }
    let memory = r#"(module (import "ak" "memory" (memory 1)) (export "memory" (memory 0)))"#;
    assert!(matches!(refused(Abi::Native, memory), ToolError::UnknownImport { .. }));
}

#[test]
fn modules_beyond_the_limits_are_refused() {
    invalid(&native(&"(table 0 funcref)".repeat(101)));
    invalid("(module (memory 1) (memory 1))");
    invalid(&native("(memory i64 1)"));
    invalid(&native("(func $f (return_call $f))"));
    invalid(&native("(table 1 funcref) (func (return_call_indirect (i32.const 0)))"));
    let module = vec![0; 9 << 20];
    let error = load_bytes(Abi::Native, &module).unwrap_err();
    assert_eq!(error, ToolError::TooLarge { bytes: 9 << 20, bytes_max: 8 << 20 });
}

/// A module may have any number of them, within the work that loading takes.
#[test]
fn toolchains_may_write_many_parts() {
    for part in [
        "(func)",
        "(func (nop))",
        "(global i32 (i32.const 0))",
        "(global (mut i64) (i64.const 0))",
        r#"(data "")"#,
        r#"(data (i32.const 0) "x")"#,
        "(elem func)",
    ] {
        let wat = native_run(&part.repeat(20_000), "(i64.const 0)");
        load_bytes(Abi::Native, &wat::parse_str(wat).unwrap()).expect(part);
    }
    let wat = native_run(&format!("(func (param {}))", "i32 ".repeat(1_000)), "(i64.const 0)");
    load_bytes(Abi::Native, &wat::parse_str(wat).unwrap()).unwrap();
}

/// They are moved for a unit of fuel, however many there are.
#[test]
fn blocks_that_take_many_values_and_functions_that_give_many_are_refused() {
    let row = |count: usize| {
        let (types, values) = ("i32 ".repeat(count), "(i32.const 0) ".repeat(count));
        [
            native_run(&format!("(func (result {types}) {values})"), "(i64.const 0)"),
            native_run(&format!("(func {values} (loop (param {types}) unreachable))"), "(i64.const 0)"),
            native_run(&format!("(func (block (result {types}) {values}) unreachable)"), "(i64.const 0)"),
        ]
    };
    for wat in row(32) {
        load_bytes(Abi::Native, &wat::parse_str(wat).unwrap()).unwrap();
    }
    for (wat, what) in row(33).iter().zip(["a function gives", "a block takes", "a function gives"]) {
        let error = refused(Abi::Native, wat);
        assert_eq!(error, ToolError::TooWide { what, values: 33, values_max: 32 });
    }
}

/// The engine evaluates a constant expression by calls within calls: a long one ended the process.
#[test]
fn long_constant_expressions_are_refused() {
    let sum = |terms: usize| {
        let mut sum = "(i32.const 0)".to_string();
        (1..terms).for_each(|_| sum = format!("(i32.add {sum} (i32.const 0))"));
        sum
    };
    for (fields, wat) in [
        ("a global", "(global i32 @)"),
        ("data", "(data (offset @))"),
        ("elements", "(table 1 funcref) (elem (offset @) func)"),
    ] {
        let load = |terms: usize| {
            let wat = native_run(&wat.replace('@', &sum(terms)), "(i64.const 0)");
            load_bytes(Abi::Native, &wat::parse_str(wat).unwrap())
        };
        load(50).expect(fields);
        let error = load(51).expect_err(fields);
        assert_eq!(error, ToolError::ConstantTooLong { instructions_max: 100 }, "{fields}");
    }
}

#[test]
fn vectors_are_taken_and_what_depends_on_the_machine_is_not() {
    load_bytes(
        Abi::Native,
        &wat::parse_str(native_run("(func (drop (v128.const i64x2 0 0)))", "(i64.const 0)")).unwrap(),
    )
    .unwrap();
    for (wat, reason) in [
        (
            "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            "relaxed SIMD",
        ),
        ("(func (drop (i32.atomic.load (i32.const 0))))", "threads"),
    ] {
        let error = refused(Abi::Native, &native_run(wat, "(i64.const 0)"));
        assert!(matches!(&error, ToolError::Invalid { reason: said } if said.contains(reason)), "{error}");
    }
    let shared = r#"(module (memory (export "memory") 1 1 shared))"#;
    let error = refused(Abi::Native, shared);
    assert!(matches!(&error, ToolError::Invalid { reason } if reason.contains("threads")), "{error}");
    // A vector is two values long.
    let locals =
        |count: usize| native_run(&format!("(func (local {}))", "v128 ".repeat(count)), "(i64.const 0)");
    load_bytes(Abi::Native, &wat::parse_str(locals(1_000)).unwrap()).unwrap();
    let error = refused(Abi::Native, &locals(1_001));
    assert_eq!(error, ToolError::TooManyLocals { function: 0, locals: 2_002, locals_max: 2_000 });
}

#[test]
fn a_function_too_long_to_be_translated_at_once_is_refused() {
    let config = SandboxConfig { function_bytes_max: 1_000, ..SandboxConfig::default() };
    let load = |nops: usize| {
        let module =
            wat::parse_str(native_run(&format!("(func {})", "nop ".repeat(nops)), "(i64.const 0)")).unwrap();
        Tool::new(manifest(Abi::Native, &module), module.into(), &config)
    };
    // Besides what it does, a function has a count of locals and an end.
    load(998).unwrap();
    let error = load(999).unwrap_err();
    assert_eq!(error, ToolError::FunctionTooLarge { bytes: 1_001, bytes_max: 1_000 });
}

#[test]
fn a_function_of_many_locals_is_refused() {
    let load = |locals: usize| {
        let import = r#"(import "ak" "log" (func (param i32 i32)))"#;
        let function = format!("(func (local i32 {}))", "i64 ".repeat(locals - 1));
        let module = wat::parse_str(native_run(&format!("{import} (func) {function}"), "(i64.const 0)"));
        load_bytes(Abi::Native, &module.unwrap())
    };
    load(2_000).unwrap();
    let error = load(2_001).unwrap_err();
    assert_eq!(error, ToolError::TooManyLocals { function: 2, locals: 2_001, locals_max: 2_000 });
    assert_eq!(error.to_string(), "function 2 has 2001 locals: the limit is 2000");
}

/// Validation and translation look at every value of every label that a branch names: few bytes may ask for much.
#[test]
fn branches_of_too_many_values_are_refused_before_validation() {
    let wide = |targets: usize, end: &str| {
        let (types, values, drops) = ("i32 ".repeat(32), "(i32.const 1) ".repeat(32), "drop ".repeat(32));
        let table = "$b ".repeat(targets);
        let body =
            format!("(block $b (result {types}) {values} (i32.const 0) br_table {table}) {drops} {end}");
        native_run(&format!("(func {body})"), "(i64.const 0)")
    };
    // The block and the table, the last of whose targets is its default.
    load_bytes(Abi::Native, &wat::parse_str(wide(62_499, "")).unwrap()).unwrap();
    let too_many = |values| ToolError::TooManyBranches { function: 0, values, values_max: 2_000_000 };
    assert_eq!(refused(Abi::Native, &wide(62_500, "")), too_many(2_000_032));
    // A branch counts for as many as the widest before it, and in another function for one at least.
    assert_eq!(refused(Abi::Native, &wide(62_499, "(br 0)")), too_many(2_000_032));
    load_bytes(Abi::Native, &wat::parse_str(wide(62_499, ") (func (br 0)")).unwrap()).unwrap();
    // A call takes its parameters and gives its results.
    let call = |params: usize, wat: &str| {
        wat.replacen("(func", &format!("(func $f (param {})) (func", "i32 ".repeat(params)), 1)
    };
    let calls = wide(62_498, "unreachable (call $f)");
    load_bytes(Abi::Native, &wat::parse_str(call(32, &calls)).unwrap()).unwrap();
    let error = refused(Abi::Native, &call(33, &calls));
    assert_eq!(error, ToolError::TooManyBranches { function: 1, values: 2_000_001, values_max: 2_000_000 });
    // What is malformed further on, or imports what nobody has, is counted as far as it goes.
    let mut cut = wat::parse_str(wide(62_500, "")).unwrap();
    cut.extend_from_slice(b"\x01\x01\0");
    assert_eq!(load_bytes(Abi::Native, &cut).unwrap_err(), too_many(2_000_032));
    let memory = wide(62_500, "").replace("(module", r#"(module (import "ak" "x" (global i32))"#);
    assert_eq!(refused(Abi::Native, &memory), too_many(2_000_032));
}

#[test]
fn schemas_are_read_when_the_tool_is() {
    let module: Arc<[u8]> = wat::parse_str(support::echo()).unwrap().into();
    for (which, schema) in [("input", r#"{"type":"strnig"}"#), ("output", r#"{"$ref":"other.json"}"#)] {
        let mut manifest = manifest(Abi::Native, &module);
        *(if which == "input" { &mut manifest.input } else { &mut manifest.output }) = json(schema);
        let error = Tool::new(manifest, module.clone(), &SandboxConfig::default()).unwrap_err();
        assert!(matches!(&error, ToolError::Schema { which: at, .. } if *at == which), "{error}");
    }
}

#[test]
fn malformed_modules_are_refused() {
    let good = wat::parse_str(native_run("(start 0) (func)", "(i64.const 0)")).unwrap();
    load_bytes(Abi::Native, &good).unwrap();
    for length in 0..good.len() {
        assert!(load_bytes(Abi::Native, &good[..length]).is_err(), "cut to {length}");
    }
    for (name, module) in [
        ("empty", &b""[..]),
        ("text", b"(module)"),
        ("version 2", b"\0asm\x02\0\0\0"),
        ("component", b"\0asm\x0d\0\x01\0"),
        ("endless section length", b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f"),
        ("length of six bytes", b"\0asm\x01\0\0\0\x01\x80\x80\x80\x80\x80\0"),
        ("start without functions", b"\0asm\x01\0\0\0\x08\x01\x00"),
        ("two start sections", b"\0asm\x01\0\0\0\x08\x01\x00\x08\x01\x00"),
        ("sections out of order", b"\0asm\x01\0\0\0\x03\x01\x00\x01\x01\x00"),
        ("four billion types", b"\0asm\x01\0\0\0\x01\x05\xff\xff\xff\xff\x0f"),
        ("four billion functions", b"\0asm\x01\0\0\0\x03\x05\xff\xff\xff\xff\x0f"),
    ] {
        let error = load_bytes(Abi::Native, module).unwrap_err();
        assert!(matches!(error, ToolError::Invalid { .. }), "{name}: {error}");
    }
    // A name that only the sandbox itself gives.
    invalid(&native(r#"(start $s) (func $s (export "\00ak start")) (func (export "ak_run"))"#));
}

#[test]
fn a_changed_module_or_an_absent_schema_is_refused() {
    let module: Arc<[u8]> = wat::parse_str(support::echo()).unwrap().into();
    let config = SandboxConfig::default();
    let good = manifest(Abi::Native, &module);
    let tool = Tool::new(good.clone(), module.clone(), &config).unwrap();
    assert_eq!(tool.digest(), good.to_value().digest());

    let mut changed = module.to_vec();
    changed.extend_from_slice(b"\0\x02\x01x");
    let error = Tool::new(good.clone(), changed.into(), &config).unwrap_err();
    assert!(matches!(error, ToolError::Changed { .. }), "{error}");

    let mut described = good.clone();
    described.input = json(r#"{"type":"object"}"#);
    assert_ne!(Tool::new(described, module.clone(), &config).unwrap().digest(), tool.digest());

    let mut elsewhere = good;
    elsewhere.output = json(r#""output.schema.json""#);
    let error = Tool::new(elsewhere, module, &config).unwrap_err();
    assert_eq!(error, ToolError::SchemaNotLoaded { which: "output", path: "output.schema.json".to_string() });
}

const MINIMAL: &str = "name = \"t\"\nversion = \"1.0.0\"\nabi = \"wasi\"\nsha256 = \"";

fn minimal(rest: &str) -> String {
    format!("{MINIMAL}{}\"\n{rest}", "0".repeat(64))
}

#[test]
fn a_whole_manifest_is_read() {
    let text = minimal(
        r#"
        description = "…"
        needs = ["fs.read:/data/**", "infer:gpt-4*"]
        args = ["--unit", "é m", ""]
        env = ["LANG"]
        output = { type = "string", maxLength = 0x10, minimum = 1.5, nullable = true, enum = ["b", "a"] }
        [input]
        type = "object"
        properties.b = { type = "number" }
        properties.a = { type = "number" }
        [limits]
        fuel = 50_000_000
        wall_ms = 5_000"#,
    );
    let manifest = Manifest::parse(&text).unwrap();
    assert_eq!(manifest.args, ["--unit", "é m", ""]);
    assert_eq!(manifest.needs, ["fs.read:/data/**", "infer:gpt-4*"]);
    assert_eq!(
        manifest.input.to_json(),
        r#"{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"number"}}}"#,
        "members stand as written"
    );
    assert_eq!(
        manifest.output.to_json(),
        r#"{"type":"string","maxLength":16,"minimum":1.5,"nullable":true,"enum":["b","a"]}"#
    );
    assert_eq!((manifest.limits.fuel, manifest.limits.output_bytes), (Some(50_000_000), None));
    assert_eq!(Manifest::from_value(&manifest.to_value()).unwrap(), manifest, "both forms say the same");
    for name in ["a", "_a", "tools/a-b.c", "a..", "a...b"] {
        let text = minimal("").replace("\"t\"", &format!("{name:?}"));
        assert_eq!(Manifest::parse(&text).unwrap().name, name);
    }
    assert_eq!(Manifest::parse(&minimal("input = \"schema.json\"")).unwrap().input, json(r#""schema.json""#));
    for (manifest, _) in ak_sandbox::builtin() {
        Manifest::parse(manifest).unwrap();
    }
}

#[test]
fn arguments_are_bounded_and_part_of_the_digest() {
    let with = |args: &[String]| {
        let args: Vec<_> = args.iter().map(|text| Value::from(text.as_str())).collect();
        let Value::Object(mut manifest) = Manifest::parse(&minimal("")).unwrap().to_value() else { panic!() };
        assert!(
            manifest.get("args").is_none(),
            "a manifest without arguments is what it was before there were any"
        );
        manifest.insert("args", args);
        Manifest::from_value(&Value::Object(manifest))
    };
    let plain = Manifest::parse(&minimal("")).unwrap();
    assert_eq!(with(&[]).unwrap(), plain);
    assert_ne!(with(&["a".into()]).unwrap().to_value().digest(), plain.to_value().digest());
    for (args, refused) in [
        (vec!["x".repeat(LISTED_BYTES_MAX); 16], vec!["x".repeat(LISTED_BYTES_MAX + 1)]),
        (vec![String::new(); LISTED_MAX], vec![String::new(); LISTED_MAX + 1]),
        (vec!["x".repeat(ARGS_BYTES_MAX / 32); 32], vec!["x".repeat(ARGS_BYTES_MAX / 32 + 1); 32]),
    ] {
        assert_eq!(with(&args).unwrap().args, args);
        assert!(with(&refused).unwrap_err().at().starts_with("/args"));
    }
    // A native module has nothing to ask for them with.
    let native = minimal("args = ['x']").replace("wasi", "native");
    assert_eq!(Manifest::parse(&native).unwrap_err().at(), "/args");
    Manifest::parse(&minimal("args = []").replace("wasi", "native")).unwrap();
}

#[track_caller]
fn refuse(text: &str, line: usize, column: usize, message: &str) {
    let error: ManifestError = Manifest::parse(text).expect_err(text);
    assert_eq!(error.position(), Some(Position { line, column }), "{error}: {text}");
    assert!(error.to_string().ends_with(message), "{error}");
}

#[test]
fn a_manifest_is_refused_with_its_place() {
    refuse(&minimal("\n colour = 1"), 6, 2, "at /colour: unknown key");
    refuse(&minimal("[limits]\nfeul = 1"), 6, 1, "at /limits/feul: unknown key");
    refuse(&minimal("limits.fuel = -1"), 5, 8, "at /limits/fuel: must be an integer that is not negative");
    refuse(&minimal("limits.fuel = 1.0"), 5, 8, "must be an integer that is not negative");
    refuse(&minimal("limits = 3"), 5, 1, "at /limits: must be an object");
    refuse(&minimal("env = ['A', 'B=C']"), 5, 13, "at /env/1: must be the name of an environment variable");
    refuse(
        &minimal("args = ['-a', 3]"),
        5,
        15,
        "at /args/1: must be a text of at most 4096 bytes, none of them zero",
    );
    refuse(&minimal("args = \"a\\u0000\""), 5, 1, "at /args: must be an array");
    refuse(
        &minimal("args = [\"a\\u0000\"]"),
        5,
        9,
        "at /args/0: must be a text of at most 4096 bytes, none of them zero",
    );
    refuse(&minimal("needs = ['everything']"), 5, 10, "at /needs/0: must be `operation:target`");
    refuse(&minimal("needs = 'fs.read:/x'"), 5, 1, "at /needs: must be an array");
    refuse(&minimal("description = 1"), 5, 1, "at /description: must be a string");
    refuse(&minimal("input = 3"), 5, 1, "at /input: must be a JSON Schema or the path of one");
    refuse(&minimal("input = { at = 2026-01-01 }"), 5, 16, "must be a JSON type, found a date");
    refuse(&minimal("input = { minimum = nan }"), 5, 21, "must be a finite number");
    refuse(&minimal("input = { minimum = 9223372036854775808 }"), 5, 21, "must be an integer of 64 bits");
    let unique = Manifest::parse(&minimal("name = 'twice'")).unwrap_err();
    assert_eq!(unique.position().map(|position| position.line), Some(5), "{unique}");
    let broken = Manifest::parse("name = ").unwrap_err();
    assert_eq!(broken.position().map(|position| position.line), Some(1), "{broken}");
    refuse("version = '1.0.0'", 1, 1, "at /name: missing key");

    for (key, values) in [
        (
            "name",
            &[
                "",
                "a b",
                "a@1",
                "*",
                "-a",
                "é",
                "a\\n",
                "a/",
                "a//b",
                "a/./b",
                "a/..",
                "a/../b",
                "/a",
                &"a".repeat(65),
            ][..],
        ),
        (
            "version",
            &[
                "",
                "1",
                "1.0",
                "1.0.0.0",
                "v1.0.0",
                "1.0.x",
                "1.0.0-",
                "1.0.0-a b",
                "1.0.0@2",
                "01.0.0",
                "1.0.0+build",
            ],
        ),
        ("abi", &["", "WASI", "component"]),
        ("sha256", &["", "00", &"g".repeat(64), &"A".repeat(64)]),
    ] {
        for value in values {
            let text: String = minimal("")
                .lines()
                .map(|line| {
                    if line.starts_with(key) { format!("{key} = \"{value}\"\n") } else { format!("{line}\n") }
                })
                .collect();
            let error = Manifest::parse(&text).expect_err(&text);
            assert_eq!(error.at(), format!("/{key}"), "{error}");
        }
    }
    for value in ["null", "[]", "3", "{}", r#"{"name":"t"}"#, r#"{"a/b~c":1}"#] {
        Manifest::from_value(&json(value)).unwrap_err();
    }
    assert_eq!(Manifest::from_value(&json(r#"{"a/b~c":1}"#)).unwrap_err().at(), "/a~1b~0c");
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn no_bytes_make_the_loader_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend(tail);
        let _ = load_bytes(Abi::Native, &module);
    }

    #[test]
    fn no_text_makes_the_manifest_panic(rest in "[a-z=\\[\\]{}\"'0-9.\n# -]{0,80}") {
        let _ = Manifest::parse(&rest);
        let _ = Manifest::parse(&minimal(&rest));
    }
}
