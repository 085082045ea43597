//! Python's dictionaries, timed in Python during the same run.

use std::process::Command;

/// Nanoseconds per operation; NaN if there is no Python with `jsonpatch`.
pub(crate) struct Measured {
    pub(crate) patch_ns: f64,
    pub(crate) parse_ns: f64,
    pub(crate) copy_ns: f64,
}

const SCRIPT: &str = r#"
import copy, json, statistics, sys, time
import jsonpatch
text, path = sys.stdin.read(), sys.argv[1]
patches = [jsonpatch.JsonPatch([{"op": "replace", "path": path, "value": score}]) for score in (1, 2)]
document = json.loads(text)
turn = 0
def patch():
    global document, turn
    turn = 1 - turn
    document = patches[turn].apply(document)
def measure(work):
    samples, iterations = [], max(1, 20_000 // len(text))
    for _ in range(7):
        started = time.thread_time_ns()
        for _ in range(iterations):
            work()
        samples.append((time.thread_time_ns() - started) / iterations)
    return statistics.median(samples)
objects = {}
def parse():
    objects[1] = json.loads(text)
print(measure(patch), measure(parse), measure(lambda: copy.deepcopy(objects[1])))
"#;

/// Runs the script on a document.
pub(crate) fn measure(text: &str, path: String) -> Measured {
    let missing = Measured { patch_ns: f64::NAN, parse_ns: f64::NAN, copy_ns: f64::NAN };
    let Some(python) = std::env::var_os("AK_BENCH_PYTHON") else { return missing };
    let file = std::env::temp_dir().join(format!("ak-bench-document-{}", std::process::id()));
    std::fs::write(&file, text).expect("the document is written");
    let input = std::fs::File::open(&file).expect("the document is there");
    let output = Command::new(python).args(["-c", SCRIPT, &path]).stdin(input).output().expect("Python runs");
    let _ = std::fs::remove_file(&file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = printed.split_whitespace().map(|word| word.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    Measured { patch_ns: next(), parse_ns: next(), copy_ns: next() }
}
