//! Checks JSON files against a JSON Schema and prints their canonical digests.
//!
//! ```text
//! cargo run --example check -- schema.json order.json invoice.json
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use ak_json::{Digest, Limits, Schema, Value, Work};

fn main() -> ExitCode {
    let mut paths = env::args().skip(1);
    let Some(schema) = paths.next() else {
        eprintln!("usage: check SCHEMA FILE…");
        return ExitCode::from(2);
    };
    let schema = match read(&schema).and_then(|source| Ok(Schema::parse(&source, &mut Work::unlimited())?)) {
        Ok(schema) => schema,
        Err(error) => {
            eprintln!("{schema}: {error}");
            return ExitCode::from(2);
        }
    };
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        match check(&schema, &path) {
            Ok(digest) => println!("{digest}  {path}"),
            Err(error) => {
                eprintln!("{path}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn read(path: &str) -> Result<Value, Box<dyn Error>> {
    Ok(Value::parse(&fs::read(path)?, &Limits::default())?)
}

fn check(schema: &Schema, path: &str) -> Result<Digest, Box<dyn Error>> {
    let value = read(path)?;
    schema.validate(&value, &mut Work::unlimited())?;
    Ok(value.digest())
}
