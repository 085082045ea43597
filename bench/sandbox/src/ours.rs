//! `ak-sandbox` as a program would use it: JSON values in and out, checked against schemas.

use ak_json::{Limits, Value, sha256};
use ak_sandbox::{Manifest, Run, RunLimits, SandboxConfig, Step, Tool, builtin};

pub(crate) fn json(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).expect("the text is JSON")
}

/// A tool with a minimal manifest.
pub(crate) fn tool(module: &[u8]) -> Tool {
    let digest = sha256(module);
    let text = format!("name = \"bench\"\nversion = \"1.0.0\"\nabi = \"native\"\nsha256 = \"{digest}\"");
    let manifest = Manifest::parse(&text).expect("the manifest is right");
    Tool::new(manifest, module.into(), &SandboxConfig::default()).expect("the module is right")
}

/// A tool with the manifest of `add`, which has schemas.
pub(crate) fn add(module: &[u8]) -> Tool {
    let mut manifest = Manifest::parse(builtin()[0].0).expect("the manifest is right");
    manifest.sha256 = sha256(module);
    Tool::new(manifest, module.into(), &SandboxConfig::default()).expect("the module is right")
}

/// Makes one call and returns its output.
pub(crate) fn call(tool: &Tool, input: &Value) -> Value {
    let mut run = Run::start(tool, input, RunLimits::default()).expect("it starts");
    loop {
        match run.step(10_000_000).expect("it runs") {
            Step::Done(done) => return done.output,
            Step::Yield | Step::HostCall(_) => {}
        }
    }
}
