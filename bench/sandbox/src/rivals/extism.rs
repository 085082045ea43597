//! Extism through its Python package, timed in Python during the same run.

use std::process::Command;

/// Nanoseconds of a call on a new plugin, and on a plugin that is kept; NaN if there is no Python with `extism`.
pub(crate) struct Measured {
    pub(crate) fresh_ns: f64,
    pub(crate) warm_ns: f64,
}

const SCRIPT: &str = r#"
import statistics, sys, time
import extism
module = open(sys.argv[1], "rb").read()
def fresh():
    with extism.Plugin(module) as plugin:
        plugin.call("run", b"{}")
def measure(work, iterations):
    work()
    samples = []
    for _ in range(15):
        started = time.thread_time_ns()
        for _ in range(iterations):
            work()
        samples.append((time.thread_time_ns() - started) / iterations)
    return statistics.median(samples)
plugin = extism.Plugin(module)
print(measure(fresh, 5), measure(lambda: plugin.call("run", b"{}"), 200))
"#;

/// Runs the script on a plugin that does nothing.
pub(crate) fn measure() -> Measured {
    let missing = Measured { fresh_ns: f64::NAN, warm_ns: f64::NAN };
    let Some(python) = std::env::var_os("AK_BENCH_PYTHON") else { return missing };
    let plugin = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "run") (result i32) (i32.const 0)))"#,
    )
    .expect("the text is right");
    let file = std::env::temp_dir().join(format!("ak-bench-plugin-{}.wasm", std::process::id()));
    std::fs::write(&file, plugin).expect("the plugin is written");
    let output = Command::new(python).args(["-c", SCRIPT]).arg(&file).output().expect("Python runs");
    let _ = std::fs::remove_file(&file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = printed.split_whitespace().map(|word| word.parse().expect("a number"));
    let mut next = || numbers.next().expect("two numbers");
    Measured { fresh_ns: next(), warm_ns: next() }
}
