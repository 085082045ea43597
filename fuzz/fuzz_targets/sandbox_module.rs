//! Any module runs within its limits, and a call on an instance that has served other calls gives the same result as
//! one on a fresh instance.
#![no_main]

#[path = "../../crates/ak-sandbox/tests/support/smith.rs"]
mod smith;

use ak_json::{Limits, Value, sha256};
use ak_sandbox::{Manifest, Run, RunError, RunLimits, RunOutput, SandboxConfig, Step, Tool};
use libfuzzer_sys::fuzz_target;

const CALLS: usize = 3;

fuzz_target!(|bytes: &[u8]| {
    let Some(module) = smith::module(bytes) else { return };
    let [kept, fresh] = [4, 0].map(|recycled_max| calls(&module, recycled_max));
    assert_eq!(kept, fresh);
});

fn calls(module: &[u8], recycled_max: usize) -> Option<Vec<Result<RunOutput, RunError>>> {
    let text = format!("name='t'\nversion='1.0.0'\nabi='wasi'\nsha256='{}'", sha256(module));
    let manifest = Manifest::parse(&text).expect("the manifest is right");
    let config = SandboxConfig { recycled_max, ..SandboxConfig::default() };
    let tool = Tool::new(manifest, module.into(), &config).ok()?;
    Some((0..CALLS).map(|_| call(&tool)).collect())
}

fn call(tool: &Tool) -> Result<RunOutput, RunError> {
    let limits = RunLimits {
        fuel: 200_000,
        memory_bytes_max: 4 << 20,
        table_elements_max: 10_000,
        output_bytes_max: 1_024,
        ..RunLimits::default()
    };
    let input = Value::parse(b"{}", &Limits::default()).expect("it is JSON");
    let mut run = Run::start(tool, &input, limits)?;
    loop {
        match run.step(10_000)? {
            Step::Yield => {}
            Step::HostCall(_) => run.reply(Err(Value::Null))?,
            Step::Done(done) => return Ok(done),
        }
    }
}
