//! Modules as toolchains write them. One program in each language, in `tests/modules`: it adds up the numbers of its input and
//! gives its arguments back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use ak_json::{Value, sha256};
use ak_sandbox::{Done, HostCall, HostOperation, Manifest, RunLimits, SandboxConfig, Tool};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use support::{drive, json};

const INPUT: &str = r#"{"numbers":[1,-2,43]}"#;

fn load(abi: &str, module: &[u8], args: &str) -> Tool {
    let manifest = format!(
        "name = \"sum\"\nversion = \"1.0.0\"\nabi = \"{abi}\"\nsha256 = \"{}\"\nargs = {args}\nneeds = [\"now:*\", \"random:*\"]",
        sha256(module)
    );
    let manifest = Manifest::parse(&manifest).unwrap();
    Tool::new(manifest, module.into(), &SandboxConfig::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A host with a clock and randomness that are always the same.
fn grants(call: &HostCall) -> Result<Value, Value> {
    match call.operation {
        HostOperation::Now => Ok(Value::from(1_700_000_000_000_000u64)),
        HostOperation::Random => {
            let bytes = call.args.get("bytes").and_then(Value::as_u64).unwrap();
            Ok(Value::from(URL_SAFE_NO_PAD.encode(vec![7; bytes as usize])))
        }
        _ => Err(Value::from("refused")),
    }
}

/// Calls the tool a few times, granting clock and randomness or not; whichever it is, each call is like the first.
fn run(tool: &Tool, input: &str, host: fn(&HostCall) -> Result<Value, Value>) -> Done {
    let mut first = None;
    for slice in [1_000_000, 1_000_000, 10_000] {
        let started = Instant::now();
        let mut asked = 0;
        let done = drive(tool, &json(input), RunLimits::default(), slice, |call| {
            asked += 1;
            host(call)
        });
        println!("    {:.1?}, {asked} host calls", started.elapsed());
        let done = done.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&error.log)));
        assert_eq!(first.get_or_insert_with(|| done.clone()), &done);
    }
    first.unwrap()
}

/// `cargo xtask peers modules` builds what it finds toolchains for, and names it as `LANGUAGE:ABI=PATH`, with commas between.
#[test]
#[ignore = "needs modules in AK_MODULE_PEERS: cargo xtask peers modules"]
fn what_toolchains_build_runs_as_a_tool() {
    let peers = std::env::var("AK_MODULE_PEERS").expect("AK_MODULE_PEERS");
    for peer in peers.split(',') {
        let (language, path) = peer.split_once('=').unwrap();
        let (language, abi) = language.split_once(':').unwrap();
        let module: Arc<[u8]> = std::fs::read(path).unwrap().into();
        println!("{language}: {} bytes", module.len());
        let started = Instant::now();
        let args = if abi == "wasi" { r#"["--unit", "é m"]"# } else { "[]" };
        let tool = load(abi, &module, args);
        println!("    loaded in {:.1?}, {} units of work", started.elapsed(), tool.load_work());
        for host in [grants as fn(&HostCall) -> _, |call| {
            if call.operation == HostOperation::Now { grants(call) } else { Err(Value::from("refused")) }
        }] {
            let done = run(&tool, INPUT, host);
            let expected =
                if abi == "wasi" { r#"{"args":["--unit","é m"],"sum":42}"# } else { r#"{"sum":42}"# };
            assert_eq!(done.output.to_json(), expected, "{language}");
            println!("    {} fuel", done.fuel);
        }
    }
}
