//! Tools in files: a manifest's schemas, read by whoever registers the tool.

use std::{path::Path, sync::Arc};

use ak_json::{Limits, Value};
use ak_kernel::{Code, Failure, Request, ToolsRequest};
use ak_sandbox::Manifest;

/// The request that registers a tool. A schema that its manifest names by the path of a file is read, relative to
/// `directory`.
///
/// # Errors
/// When such a file cannot be read, or is no JSON.
pub fn tool_request(manifest: Value, module: Arc<[u8]>, directory: &Path) -> Result<Request, Failure> {
    let parsed = match &manifest {
        Value::String(text) => Manifest::parse(text),
        other => Manifest::from_value(other),
    };
    // What is wrong with a manifest, or with a schema that is in it, is the kernel's to say.
    let manifest = match parsed {
        Ok(mut parsed) if parsed.input.as_str().is_some() || parsed.output.as_str().is_some() => {
            for (which, schema) in [("input", &mut parsed.input), ("output", &mut parsed.output)] {
                if let Some(path) = schema.as_str() {
                    *schema = read_schema(which, &directory.join(path))?;
                }
            }
            parsed.to_value()
        }
        Ok(_) | Err(_) => manifest,
    };
    Ok(Request::Tools(ToolsRequest::Register { manifest, module, env: Vec::new() }))
}

fn read_schema(which: &str, path: &Path) -> Result<Value, Failure> {
    let wrong = |code, error: &dyn std::fmt::Display| {
        Failure::new(code, format!("the tool's {which} schema {}: {error}", path.display()))
    };
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(Code::NotFound, &error),
        _ => wrong(Code::Io, &error),
    })?;
    Value::parse(&text, &Limits::default()).map_err(|error| wrong(Code::InvalidArgument, &error))
}
