//! The tools of public MCP servers, against what our schemas accept: run by `cargo xtask peers schemas`.
//!
//! `AK_SCHEMA_PEERS` is a file of rows, one for each tool: its schema, and calls that are accepted and refused, as its server
//! and another implementation of JSON Schema have it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use ak_json::{Limits, Value, Work};
use ak_sandbox::{Abi, Manifest, SandboxConfig, Tool};

const MODULE: &str = r#"(module (memory (export "memory") 1)
    (func (export "ak_alloc") (param i32) (result i32) (i32.const 0))
    (func (export "ak_run") (param i32 i32) (result i64) (i64.const 0)))"#;

#[test]
#[ignore = "needs public servers"]
fn tools_of_public_servers_take_what_their_servers_take() {
    let path = std::env::var_os("AK_SCHEMA_PEERS").expect("run by `cargo xtask peers schemas`");
    let rows = Value::parse(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
    let module = wat::parse_str(MODULE).unwrap();
    let mut wrong = Vec::new();
    // Tools, calls and calls that the server was asked about, by server.
    let mut tally: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for row in rows.as_array().unwrap() {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap();
        let name = format!("{} {}", text("server"), text("tool"));
        let manifest =
            Manifest { input: row.get("schema").unwrap().clone(), ..support::manifest(Abi::Native, &module) };
        let tool = match Tool::new(manifest, module.clone().into(), &SandboxConfig::default()) {
            Ok(tool) => tool,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        if !tool.input_schema().unjudged().is_empty() {
            println!("{name}: {:?}", tool.input_schema().unjudged());
        }
        let [tools, calls, asked] = tally.entry(text("server")).or_default();
        (*tools, *asked) = (*tools + 1, *asked + row.get("asked").and_then(Value::as_u64).unwrap() as usize);
        for (kind, expected) in [("accepted", true), ("refused", false)] {
            let made = row.get(kind).and_then(Value::as_array).unwrap();
            if made.is_empty() {
                wrong.push(format!("{name}: no call is {kind}"));
            }
            for call in made {
                *calls += 1;
                let outcome = tool.input_schema().validate(call, &mut Work::new(2_000_000));
                if outcome.is_ok() != expected {
                    wrong.push(format!("{name}: {} is {kind}: {outcome:?}", call.to_json()));
                }
            }
        }
    }
    for (server, [tools, calls, asked]) in &tally {
        println!("{server}: {tools} tools, {calls} calls, {asked} of them sent to the server");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tally.len() >= 7, "{tally:?}");
}
