//! Compares `ak-sandbox` with its alternatives: wasmi itself, wasmtime with its pool of instances, Extism.

mod modules;
mod ours;
mod rivals;

use ak_json::{Limits, Value};
use ak_sandbox::Tool;
use measure::{Race, Report, black_box};
use rivals::{extism, wasmi::Wasmi, wasmtime, wasmtime::Wasmtime};

const OURS: &str = "ak-sandbox";
const WASMI: &str = "wasmi, a fresh instance";
const WARM: &str = "wasmi, one instance for all calls";
const UNMETERED: &str = "wasmi, a fresh instance, not metered";
const WASMTIME: &str = "wasmtime, an instance from the pool";
const EXTISM: &str = "Extism, a fresh plugin";

const CALL: &str = "A call: state is fresh, and metered";
const COMPUTE: &str = "A loop of 200,000 rounds, call included";
const FIRST: &str = "From the bytes of a module of 500 KB to its first result";

const TRIVIAL: &str = "nothing is done";
const JSON: &str = "JSON, 2 pages";
const JSON_17: &str = "JSON, 17 pages";

fn main() {
    let mut report = Report::new();
    let extism = extism::measure();
    let trivial = modules::trivial();
    let race = calls(&trivial, ours::tool(&trivial), "{}", "0");
    let race =
        race.measured(EXTISM, extism.fresh_ns).measured("Extism, one plugin for all calls", extism.warm_ns);
    report.add(CALL, TRIVIAL, race.run());
    for (case, module) in [(JSON, modules::add()), (JSON_17, modules::add_of_17_pages())] {
        let race = calls(&module, ours::add(&module), r#"{"a":3,"b":5}"#, r#"{"result":8}"#);
        report.add(CALL, case, race.run());
    }
    compute(&mut report);
    first(&mut report);
    targets(&mut report);
    report.print();
}

/// A race of calls with this input. Every contender must give this output.
fn calls<'a>(module: &'a [u8], tool: Tool, input: &'static str, output: &'static str) -> Race<'a> {
    let value = ours::json(input);
    let (wasmi, wasmtime) = (Wasmi::new(module, true), Wasmtime::new(module));
    let mut warm = wasmi.instance();
    assert_eq!(ours::call(&tool, &value), ours::json(output));
    for bytes in [wasmi.call(input.as_bytes()), warm.call(input.as_bytes()), wasmtime.call(input.as_bytes())]
    {
        assert_eq!(bytes, output.as_bytes());
    }
    // Every contender is timed from value to value.
    let text = |value: &Value| value.to_json().into_bytes();
    let parsed = |bytes: Vec<u8>| Value::parse(&bytes, &Limits::default()).expect("the output is JSON");
    let values = [(); 4].map(|()| value.clone());
    let [first, second, third, fourth] = values;
    // The module's allocator never frees, so the instance is replaced after 1,000 calls.
    let mut left = 0;
    Race::new()
        .cpu(OURS, move || ours::call(&tool, &first))
        .cpu(WASMTIME, move || parsed(wasmtime.call(&text(&second))))
        .cpu(WASMI, {
            let wasmi = Wasmi::new(module, true);
            move || parsed(wasmi.call(&text(&third)))
        })
        .cpu(WARM, move || {
            if left == 0 {
                (warm, left) = (wasmi.instance(), 1_000);
            }
            left -= 1;
            parsed(warm.call(&text(&fourth)))
        })
}

fn compute(report: &mut Report) {
    let module = modules::compute();
    let (tool, input) = (ours::tool(&module), Value::Null);
    let (metered, unmetered) = (Wasmi::new(&module, true), Wasmi::new(&module, false));
    let wasmtime = Wasmtime::new(&module);
    let race = Race::new()
        .cpu(OURS, || ours::call(&tool, &input))
        .cpu(WASMI, || metered.call(b"null"))
        .cpu(UNMETERED, || unmetered.call(b"null"))
        .cpu(WASMTIME, || wasmtime.call(b"null"));
    report.add(COMPUTE, "", race.run());
}

fn first(report: &mut Report) {
    let module = modules::large();
    let input = Value::Null;
    let race = Race::new()
        .cpu(OURS, || ours::call(&ours::tool(&module), &input))
        .cpu("wasmi, translated at once", || Wasmi::new(&module, true).call(b"null"))
        .cpu("wasmtime, compiling alone", || black_box(wasmtime::compile(&module)));
    report.add(FIRST, "", race.run());
}

fn targets(report: &mut Report) {
    let ratio =
        |report: &Report, group, case, who| report.ns(group, case, who) / report.ns(group, case, OURS);
    let json = ratio(report, CALL, JSON, WASMI);
    report.at_least("a JSON call of 2 pages, against wasmi with a fresh instance", json, 2.0);
    let json = ratio(report, CALL, JSON, WASMTIME);
    report.at_least("a JSON call of 2 pages, against wasmtime with its pool", json, 1.0);
    let first = ratio(report, FIRST, "", "wasmtime, compiling alone");
    report.at_least("the first call of a module of 500 KB, against wasmtime's compiling", first, 50.0);
    let metering = 1.0 / ratio(report, COMPUTE, "", UNMETERED);
    report.at_most("a loop, against wasmi without a meter", metering, 1.05);
    let extism = ratio(report, CALL, TRIVIAL, EXTISM);
    report.at_least("a call, against a fresh Extism plugin", extism, 100.0);
}
