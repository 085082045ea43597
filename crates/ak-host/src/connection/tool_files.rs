//! Tools in files: the client that registers a tool reads the schema files that its manifest names.

use std::{path::Path, sync::Arc};

use ak_json::{Limits, Value};
use ak_kernel::{Code, Failure, Request, ToolsRequest};
use ak_sandbox::Manifest;

/// Returns the request that registers a tool. Where the manifest gives a schema as a string, that string is the path of
/// a schema file, relative to `directory`, which is read.
///
/// # Errors
/// When such a file cannot be read or is not JSON.
pub fn tool_request(manifest: Value, module: Arc<[u8]>, directory: &Path) -> Result<Request, Failure> {
    let parsed = match &manifest {
        Value::String(text) => Manifest::parse(text),
        other => Manifest::from_value(other),
    };
    // An invalid manifest or inline schema is passed on: the kernel refuses it.
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
