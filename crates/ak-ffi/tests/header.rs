//! `include/libak.h` is what the source and the kernel's tables make it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fmt::Write;
use std::path::Path;

use ak_host::ak_kernel::{AllowedCaller, Code, Operation};

/// Set to write the header instead of comparing it.
const BLESS: &str = "AK_BLESS";

fn header() -> String {
    let mut tables = String::new();
    let offered = Operation::ALL.iter().filter(|operation| operation.who() != AllowedCaller::Kernel);
    let mut offered: Vec<&Operation> = offered.collect();
    offered.sort_unstable_by_key(|operation| operation.number());
    for operation in offered {
        writeln!(tables, "#define AK_OP_{} {}", operation.name(), operation.number()).unwrap();
    }
    tables.push('\n');
    for code in Code::ALL {
        writeln!(tables, "#define AK_ERR_{} ({})", code.name(), code.number()).unwrap();
    }
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some("/* libak: the C interface of the Authority Kernel. Generated; do not edit. */".into()),
        include_guard: Some("LIBAK_H".into()),
        no_includes: true,
        sys_includes: vec!["stdint.h".into()],
        after_includes: Some(tables),
        cpp_compat: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        ..cbindgen::Config::default()
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/c_api.rs");
    let mut out = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(source)
        .with_src(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session.rs"))
        .generate()
        .unwrap()
        .write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_header_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/libak.h");
    let header = header();
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, header, "include/libak.h is stale: run this test with {BLESS}=1");
}
