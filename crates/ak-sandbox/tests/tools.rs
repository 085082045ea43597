//! The tools in `examples/tools`, each in another language: what they give, and what they ask for on the way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/disk.rs"]
mod disk;
mod support;

use ak_sandbox::{Failure, Manifest, RunLimits, SandboxConfig, Tool};
use disk::Disk;
use support::{drive, json};

fn tool(name: &str) -> Tool {
    let base = format!("{}/../../examples/tools/{name}/{name}", env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(format!("{base}.toml")).unwrap();
    let module = std::fs::read(format!("{base}.wasm")).unwrap();
    Tool::new(Manifest::parse(&manifest).unwrap(), module.into(), &SandboxConfig::default()).unwrap()
}

/// Calls a tool three times, which must come to the same, and gives its output or message.
#[track_caller]
fn check(
    name: &str,
    input: &str,
    disk: impl Fn() -> Disk,
    expected: Result<&str, &str>,
    asked: &[&str],
) -> Disk {
    let tool = tool(name);
    let mut last = None;
    let mut first = None;
    for _ in 0..3 {
        let mut disk = disk();
        let outcome = drive(&tool, &json(input), RunLimits::default(), 10_000, |call| disk.answer(call));
        let text = outcome.clone().map(|done| done.output.to_json()).map_err(|error| match error.failure {
            Failure::ToolFailed { message, .. } => message,
            other => other.to_string(),
        });
        assert_eq!(text.as_deref().map_err(String::as_str), expected, "{name} {input}");
        assert_eq!(disk.asked, asked, "{name} {input}");
        assert_eq!(first.get_or_insert_with(|| outcome.clone()), &outcome, "a call is not like the first");
        last = Some(disk);
    }
    last.unwrap()
}

fn data() -> Disk {
    Disk::with(&[("/data/a.txt", "one two\nthree\n"), ("/data/sub/b", "é"), ("/etc/passwd", "root")])
}

#[test]
fn rust_reads_a_file() {
    let read = ["fs_stat /data/a.txt", "fs_read /data/a.txt"];
    check("count", r#"{"path":"/data/a.txt"}"#, data, Ok(r#"{"bytes":14,"lines":2,"words":3}"#), &read);
    let missing = r#"Error: Os { code: 44, kind: NotFound, message: "No such file or directory" }"#;
    check("count", r#"{"path":"/data/none"}"#, data, Err(missing), &["fs_stat /data/none"]);
    // Outside its directories nothing is even asked for.
    for path in ["/etc/passwd", "/data/../etc/passwd", "/data/sub/../../etc/passwd", "../etc/passwd"] {
        let tool = tool("count");
        let mut disk = data();
        let input = json(&format!("{{\"path\":\"{path}\"}}"));
        let outcome = drive(&tool, &input, RunLimits::default(), 10_000, |call| disk.answer(call));
        assert!(
            matches!(outcome.unwrap_err().failure, Failure::ToolFailed { exit_code: Some(1), .. }),
            "{path}"
        );
        assert_eq!(disk.asked, Vec::<String>::new(), "{path}");
    }
    let denied = || Disk { refused: vec!["fs_read /data/a.txt"], ..data() };
    let message = r#"Error: Os { code: 2, kind: PermissionDenied, message: "Permission denied" }"#;
    check("count", r#"{"path":"/data/a.txt"}"#, denied, Err(message), &read);
    let schema = "argument `path` is missing";
    check("count", "{}", data, Err(schema), &[]);
}

#[test]
fn c_lists_a_directory() {
    check(
        "list",
        r#"{"directory":"/data"}"#,
        data,
        Ok(r#"{"entries":[{"name":"a.txt","bytes":14},{"name":"sub","bytes":0}]}"#),
        &["fs_stat /data", "fs_list /data", "fs_stat /data/a.txt", "fs_stat /data/sub"],
    );
    check(
        "list",
        r#"{"directory":"/data/sub/"}"#,
        data,
        Ok(r#"{"entries":[{"name":"b","bytes":2}]}"#),
        &["fs_stat /data/sub", "fs_list /data/sub", "fs_stat /data/sub/b"],
    );
    let missing = "/data/none: No such file or directory";
    check("list", r#"{"directory":"/data/none"}"#, data, Err(missing), &["fs_stat /data/none"]);
    let file = "/data/a.txt: Not a directory";
    check("list", r#"{"directory":"/data/a.txt"}"#, data, Err(file), &["fs_stat /data/a.txt"]);
}

#[test]
fn zig_writes_a_file_by_a_host_call() {
    let input = r#"{"path":"/notes/a.txt","text":"é\n"}"#;
    let disk = check("note", input, Disk::default, Ok(r#"{"bytes":3}"#), &["fs_write /notes/a.txt"]);
    assert_eq!(disk.text("/notes/a.txt"), Some("é\n"));
    let refused = || Disk { refused: vec!["fs_write /notes/a.txt"], ..Disk::default() };
    let message = r#"{"ok":false,"error":{"name":"POLICY_DENY"}}"#;
    check("note", input, refused, Err(message), &["fs_write /notes/a.txt"]);
}

#[test]
fn assemblyscript_computes() {
    for (number, valid) in [("4539 1488 0343 6467", true), ("8273 1232 7352 0569", false), ("0", true)] {
        let output = format!("{{\"valid\":{valid}}}");
        check("luhn", &format!("{{\"number\":\"{number}\"}}"), Disk::default, Ok(&output), &[]);
    }
    let schema = r#"argument `number` does not match the pattern "^[0-9 ]+$""#;
    check("luhn", r#"{"number":"12x"}"#, Disk::default, Err(schema), &[]);
}
