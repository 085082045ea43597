//! Calls a tool from the command line: `cargo run --example call -- MANIFEST.toml MODULE.wasm '{"a":3,"b":5}'`.
//! Without arguments it calls the built-in `add`. Host calls are refused, time and random included.

use std::error::Error;
use std::{env, fs};

use ak_json::{Limits, Value};
use ak_sandbox::{Manifest, Run, RunLimits, SandboxConfig, Step, Tool, builtin};

/// Between two slices a host would look at its clock.
const FUEL_SLICE: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (manifest, module, input) = match args.as_slice() {
        [manifest, module, input] => (fs::read_to_string(manifest)?, fs::read(module)?, input.clone()),
        [] => {
            let [(manifest, module), _] = builtin();
            (manifest.to_string(), module.to_vec(), r#"{"a":3,"b":5}"#.to_string())
        }
        _ => return Err("usage: call MANIFEST.toml MODULE.wasm JSON".into()),
    };
    let tool = Tool::new(Manifest::parse(&manifest)?, module.into(), &SandboxConfig::default())?;
    let input = Value::parse(input.as_bytes(), &Limits::default())?;

    let mut run = Run::start(&tool, &input, RunLimits::default())?;
    let done = loop {
        match run.step(FUEL_SLICE)? {
            Step::Yield => {}
            Step::HostCall(call) => {
                eprintln!("refused: {} {}", call.operation.name(), call.args.to_json());
                run.reply(Err(Value::from("nothing is granted here")))?;
            }
            Step::Done(done) => break done,
        }
    };
    eprint!("{}", String::from_utf8_lossy(&done.log));
    println!("{}", done.output.to_json());
    eprintln!("{} fuel", done.fuel);
    Ok(())
}
