//! Modules from text, and runs driven to their end.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod bulk;

use std::sync::Arc;

use ak_json::{Limits, Value, sha256};
use ak_sandbox::{
    Abi, HostCall, Manifest, Run, RunError, RunLimits, RunOutput, SandboxConfig, Step, Tool, ToolError,
};
use proptest::prelude::ProptestConfig;

/// So many cases, unless PROPTEST_CASES says otherwise. A failing case is printed; it belongs into a row of its own, not
/// into a file.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { ProptestConfig { cases, ..default } }
}

pub(crate) fn json(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

/// A native module: memory of one page, an allocator that always gives 1024, and this besides.
pub(crate) fn native(fields: &str) -> String {
    format!(
        r#"(module {fields}
            (memory (export "memory") 1)
            (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024)))"#
    )
}

/// A native module whose `ak_run` has this body; imports stand before it.
pub(crate) fn native_run(imports: &str, body: &str) -> String {
    native(&format!(r#"{imports} (func (export "ak_run") (param i32 i32) (result i64) {body})"#))
}

/// The module that gives back its input.
pub(crate) fn echo() -> String {
    native_run(
        "",
        "(i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))",
    )
}

/// A WASI command whose `_start` has this body; imports stand before it.
pub(crate) fn wasi(imports: &str, body: &str) -> String {
    format!(r#"(module {imports} (memory (export "memory") 1) (func (export "_start") {body}))"#)
}

pub(crate) fn manifest(abi: Abi, module: &[u8]) -> Manifest {
    let (name, digest) = (abi.name(), sha256(module));
    Manifest::parse(&format!(
        "name = \"test\"\nversion = \"1.0.0\"\nabi = \"{name}\"\nsha256 = \"{digest}\"\nenv = [\"LANG\"]"
    ))
    .unwrap()
}

pub(crate) fn load_bytes(abi: Abi, module: &[u8]) -> Result<Tool, ToolError> {
    Tool::new(manifest(abi, module), Arc::from(module), &SandboxConfig::default())
}

pub(crate) fn load(abi: Abi, wat: &str) -> Tool {
    load_bytes(abi, &wat::parse_str(wat).unwrap()).unwrap()
}

pub(crate) fn builtin(index: usize) -> Tool {
    let (manifest, module) = ak_sandbox::builtin()[index];
    Tool::new(Manifest::parse(manifest).unwrap(), module.into(), &SandboxConfig::default()).unwrap()
}

/// Small limits: what breaks them breaks them soon.
pub(crate) fn limits() -> RunLimits {
    RunLimits {
        fuel: 1_000_000,
        memory_bytes_max: 1 << 20,
        table_elements_max: 1_000,
        output_bytes_max: 1 << 10,
        log_bytes_max: 64,
        host_calls_max: 4,
        host_call_bytes_max: 256,
        files_max: 4,
        file_bytes_max: 400,
    }
}

/// Runs to the end in slices; host calls are answered by `host`.
pub(crate) fn drive(
    tool: &Tool,
    input: &Value,
    limits: RunLimits,
    fuel_slice: u64,
    mut host: impl FnMut(&HostCall) -> Result<Value, Value>,
) -> Result<RunOutput, RunError> {
    let mut run = Run::start(tool, input, limits)?;
    loop {
        match run.step(fuel_slice)? {
            Step::Yield => {}
            Step::HostCall(call) => run.reply(host(&call))?,
            Step::Done(done) => return Ok(done),
        }
    }
}

/// Runs without any authority.
pub(crate) fn call(tool: &Tool, input: &Value) -> Result<RunOutput, RunError> {
    drive(tool, input, limits(), 100_000, |_| Err(Value::from("refused")))
}
