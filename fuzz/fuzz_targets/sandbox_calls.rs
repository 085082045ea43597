//! For any arguments of a guest to host functions and any replies of a host, at most the run fails.
#![no_main]

#[path = "../../crates/ak-sandbox/tests/support/calls.rs"]
mod calls;
#[path = "../../crates/ak-sandbox/tests/support/disk.rs"]
#[allow(dead_code, reason = "shared with tests")]
mod disk;

use ak_json::{Limits, Value, sha256};
use ak_sandbox::{Manifest, Run, RunError, RunLimits, SandboxConfig, Step, Tool};
use disk::Disk;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut seed = Unstructured::new(bytes);
    let Ok(text) = calls::module(&mut seed) else { return };
    let module = wat::parse_str(text).expect("the text is right");
    let manifest = format!(
        "name='t'\nversion='1.0.0'\nabi='wasi'\nsha256='{}'\nneeds=['fs.read:/data/**', 'fs.write:/out/*']",
        sha256(&module)
    );
    let manifest = Manifest::parse(&manifest).expect("the manifest is right");
    let tool = Tool::new(manifest, module.into(), &SandboxConfig::default()).expect("the module is right");
    let _ = run(&tool, &mut seed);
});

fn run(tool: &Tool, seed: &mut Unstructured<'_>) -> Result<(), RunError> {
    let limits = RunLimits {
        fuel: 1_000_000,
        host_calls_max: 20,
        host_call_bytes_max: 4_096,
        files_max: 4,
        file_bytes_max: 10_000,
        ..RunLimits::default()
    };
    let input = Value::parse(b"{}", &Limits::default()).expect("it is JSON");
    let mut disk = Disk::with(&[("/data/a", "some text"), ("/data/sub/b", ""), ("/out/c", "more")]);
    let mut run = Run::start(tool, &input, limits)?;
    loop {
        match run.step(10_000)? {
            Step::Yield => {}
            Step::HostCall(call) => {
                let honest = disk.answer(&call);
                run.reply(calls::garble(seed, &call, honest))?;
            }
            Step::Done(_) => return Ok(()),
        }
    }
}
