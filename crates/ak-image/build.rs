//! Links the image by `linker.ld` and without any library. The arguments apply to the binary alone, so the rest of the
//! workspace is unaffected and RUSTFLAGS need not be set.

use std::env;
use std::path::PathBuf;

const LINK_ARGS: [&str; 10] = [
    "-nostdlib",
    "-nostartfiles",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none",
    "-Wl,--gc-sections",
    "-Wl,-z,max-page-size=4096",
    "-Wl,-z,norelro",
    "-Wl,--no-eh-frame-hdr",
    "-Wl,--fatal-warnings",
];

fn main() {
    println!("cargo:rerun-if-changed=linker.ld");
    if env::var_os("CARGO_FEATURE_BOOT").is_none() {
        return;
    }
    let directory = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    for arg in LINK_ARGS {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", directory.join("linker.ld").display());
}
