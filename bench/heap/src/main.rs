//! Compares `ak-heap` with its alternatives: `json-patch` on `serde_json` values, SQLite's `jsonb_set`, Redis over a
//! Unix socket, and Python dictionaries with `jsonpatch`.

mod documents;
mod memory;
mod python;
mod redis;
mod rivals;

use std::collections::HashMap;

use ak_heap::{Content, Handle, Heap, HeapConfig, Labels, Patch};
use ak_json::{Limits, Value};
use documents::SIZES;
use measure::{Clock, Race, Report, black_box};
use rivals::Sqlite;

const OURS: &str = "ak-heap";
const REPLACE: &str = "Replace one field, the old version kept";
const IN_PLACE: &str = "Replace one field, the old version lost";
const ALLOC: &str = "Parse and store";
const PARSE: &str = "Parse and store, and parse alone";
const READ: &str = "Read a whole document";
const MANY: &str = "So many objects of 100 B: an operation on one of them";

fn main() {
    let mut report = Report::new();
    for (case, items) in SIZES {
        let text = documents::text(items);
        let python = python::measure(&text, documents::path(items));
        let mut redis = redis::Server::start().map(|server| server.connect());
        replace(&mut report, case, items, &text, &python, redis.as_mut());
        alloc(&mut report, case, &text, &python, redis.as_mut());
        read(&mut report, case, &text, &python, redis.as_mut());
    }
    for (case, count) in [("1,000", 1_000), ("1,000,000", 1_000_000)] {
        many(&mut report, case, count);
    }
    targets(&mut report);
    report.print();
    memory::print();
}

fn heap() -> Heap {
    Heap::new(HeapConfig::default())
}

fn content(text: &str) -> Content {
    Content::Json(Value::parse(text.as_bytes(), &Limits::default()).expect("the document parses"))
}

fn store(heap: &mut Heap, text: &str) -> Handle {
    heap.alloc("main", "document", content(text), Labels::default()).expect("there is room")
}

/// Two patches that are applied in turn, so that each one changes something.
fn patches(items: usize) -> [Patch; 2] {
    [1, 2].map(|score| {
        let patch = Value::parse(documents::patch(items, score).as_bytes(), &Limits::default());
        Patch::parse(&patch.expect("the patch parses")).expect("it is a patch")
    })
}

fn rival_patches(items: usize) -> [json_patch::Patch; 2] {
    [1, 2].map(|score| serde_json::from_str(&documents::patch(items, score)).expect("it is a patch"))
}

/// Does the work with the two choices in turn.
fn in_turn<'a, T, R>(choices: &'a [T; 2], mut work: impl FnMut(&T) -> R + 'a) -> impl FnMut() -> R + 'a {
    let mut turn = 0;
    move || {
        turn = 1 - turn;
        work(&choices[turn])
    }
}

fn replace(
    report: &mut Report,
    case: &str,
    items: usize,
    text: &str,
    python: &python::Measured,
    redis: Option<&mut redis::Connection>,
) {
    let parsed: serde_json::Value = serde_json::from_str(text).expect("the document parses");
    let (ours, theirs) = (patches(items), rival_patches(items));

    let mut objects = heap();
    let handle = store(&mut objects, text);
    let (mut document, sqlite) = (parsed.clone(), Sqlite::new(text));
    let path = documents::sqlite_path(items);
    let mut race = Race::new()
        .cpu(OURS, in_turn(&ours, |patch| objects.write(handle, patch, None).expect("the patch applies")))
        .cpu(
            "json-patch: clone and apply",
            in_turn(&theirs, |patch| {
                let mut copy = document.clone();
                json_patch::patch(&mut copy, patch).expect("the patch applies");
                document = copy;
            }),
        )
        .cpu("SQLite: jsonb_set", in_turn(&[1, 2], |score| sqlite.set(&path, *score)))
        .measured("Python: deepcopy and jsonpatch", python.patch_ns);
    if let Some(redis) = redis {
        redis.set("document", text);
        race = race.wall(
            "Redis: get, json-patch, set",
            in_turn(&theirs, |patch| {
                let mut value: serde_json::Value =
                    serde_json::from_slice(&redis.get("document")).expect("the document parses");
                json_patch::patch(&mut value, patch).expect("the patch applies");
                redis.set("document", &value.to_string());
            }),
        );
    }
    report.add(REPLACE, case, race.run());

    let mut objects = heap();
    let handle = store(&mut objects, text);
    let mut document = parsed;
    let race = Race::new()
        .cpu(OURS, in_turn(&ours, |patch| objects.write(handle, patch, None).expect("the patch applies")))
        .cpu(
            "json-patch in place",
            in_turn(&theirs, |patch| json_patch::patch(&mut document, patch).expect("the patch applies")),
        );
    report.add(IN_PLACE, case, race.run());
}

/// How many bytes of documents are stored at a time while storing is measured.
const STORED_BYTES: usize = 1 << 20;

fn alloc(
    report: &mut Report,
    case: &str,
    text: &str,
    python: &python::Measured,
    redis: Option<&mut redis::Connection>,
) {
    let stored = (STORED_BYTES / text.len()).max(1) as u64;
    let storing = |iterations: u64| {
        let (mut objects, mut took) = (heap(), std::time::Duration::ZERO);
        let mut left = iterations;
        while left > 0 {
            let count = left.min(stored);
            let mut handles = Vec::with_capacity(count as usize);
            took += Clock::Cpu.time(|| handles.extend((0..count).map(|_| store(&mut objects, text))));
            for handle in handles {
                objects.erase(handle).expect("it is there");
            }
            left -= count;
        }
        took
    };
    let parsing = |iterations: u64| {
        let (mut took, mut left) = (std::time::Duration::ZERO, iterations);
        while left > 0 {
            let count = left.min(stored);
            let mut values = Vec::with_capacity(count as usize);
            took += Clock::Cpu.time(|| values.extend((0..count).map(|_| content(text))));
            left -= count;
        }
        took
    };
    let rival = |iterations: u64| {
        let (mut took, mut left) = (std::time::Duration::ZERO, iterations);
        while left > 0 {
            let count = left.min(stored);
            let mut map = HashMap::new();
            took += Clock::Cpu.time(|| {
                for index in 0..count {
                    let value: serde_json::Value = serde_json::from_str(text).expect("the document parses");
                    map.insert(index, value);
                }
            });
            left -= count;
        }
        took
    };
    report.add(PARSE, case, Race::new().turns(OURS, storing).turns("ak-json alone", parsing).run());

    let sqlite = Sqlite::new(text);
    let mut race = Race::new()
        .turns(OURS, storing)
        .turns("serde_json and HashMap", rival)
        .cpu("SQLite: jsonb(…)", || sqlite.insert(text))
        .measured("Python: json.loads and dict", python.parse_ns);
    if let Some(redis) = redis {
        race = race.wall("Redis: set", move || redis.set("another", text));
    }
    report.add(ALLOC, case, race.run());
}

fn read(
    report: &mut Report,
    case: &str,
    text: &str,
    python: &python::Measured,
    redis: Option<&mut redis::Connection>,
) {
    let mut objects = heap();
    let handle = store(&mut objects, text);
    let parsed: serde_json::Value = serde_json::from_str(text).expect("the document parses");
    let map = HashMap::from([(1_u64, parsed)]);
    let sqlite = Sqlite::new(text);
    let mut race = Race::new()
        .cpu(OURS, || objects.read(black_box(handle)).expect("it is there").content().clone())
        .cpu("serde_json and HashMap: clone", || map.get(&black_box(1)).cloned())
        .cpu("SQLite: json(…)", || sqlite.get())
        .measured("Python: dict and deepcopy", python.copy_ns);
    if let Some(redis) = redis {
        redis.set("document", text);
        race = race.wall("Redis: get", move || redis.get("document"));
    }
    report.add(READ, case, race.run());
}

fn many(report: &mut Report, case: &str, count: u64) {
    let text = documents::text(0);
    let mut objects = heap();
    let handles: Vec<Handle> = (0..count).map(|_| store(&mut objects, &text)).collect();
    let mut order = documents::Shuffle::new(count);
    let mut inorder = 0;
    let patches = patches(0);
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("the document parses");
    let map: HashMap<u64, Box<serde_json::Value>> =
        (0..count).map(|key| (key, Box::new(parsed.clone()))).collect();

    let mut growing = objects.clone();
    let (mut again, mut elsewhere) = (order.clone(), order.clone());
    let race = Race::new()
        .cpu("look at it, in the order of handles", || {
            inorder = (inorder + 1) % handles.len();
            objects.read(handles[inorder]).expect("it is there").version()
        })
        .cpu("look at it, at random", || objects.read(handles[order.next()]).expect("it is there").version())
        .cpu("read it as JSON text, at random", || {
            let object = objects.read(handles[again.next()]).expect("it is there");
            object.content().as_json().map(Value::to_json)
        })
        .cpu("look at a boxed serde_json value in a HashMap, at random", || {
            map.get(&(elsewhere.next() as u64)).map(|value| value.is_object())
        })
        .turns("parse and alloc", {
            |iterations| {
                let mut created = Vec::new();
                let took =
                    Clock::Cpu.time(|| created.extend((0..iterations).map(|_| store(&mut growing, &text))));
                for handle in created {
                    growing.erase(handle).expect("it is there");
                }
                took
            }
        });
    let read = race.run();
    let mut order = documents::Shuffle::new(count);
    let write = Race::new()
        .cpu(
            "replace one field, at random",
            in_turn(&patches, |patch| {
                objects.write(handles[order.next()], patch, None).expect("the patch applies")
            }),
        )
        .run();
    report.add(MANY, case, read.into_iter().chain(write).collect());
}

fn targets(report: &mut Report) {
    let ns = |report: &Report, group, case, who| report.ns(group, case, who);
    let (small, large) = (SIZES[0].0, SIZES[2].0);
    let ours = ns(report, REPLACE, large, OURS);
    let clone = ns(report, REPLACE, large, "json-patch: clone and apply");
    let sqlite = ns(report, REPLACE, large, "SQLite: jsonb_set");
    report.at_least("replacing a field of 1 MB, against json-patch's clone and apply", clone / ours, 1000.0);
    report.at_least("replacing a field of 1 MB, against SQLite's jsonb_set", sqlite / ours, 40.0);
    report.at_most(
        "replacing a field of 1 MB, against one of 100 B",
        ours / ns(report, REPLACE, small, OURS),
        12.0,
    );
    let in_place = ns(report, IN_PLACE, small, OURS) / ns(report, IN_PLACE, small, "json-patch in place");
    report.at_most("replacing a field of 100 B, against json-patch in place", in_place, 1.5);
    for (case, _) in SIZES {
        let ratio = ns(report, PARSE, case, OURS) / ns(report, PARSE, case, "ak-json alone");
        report.at_most(&format!("parse and store {case}, against parsing alone"), ratio, 1.3);
    }
    let reads =
        ["look at it, in the order of handles", "look at it, at random", "read it as JSON text, at random"];
    for what in ["parse and alloc"].into_iter().chain(reads) {
        let ratio = ns(report, MANY, "1,000,000", what) / ns(report, MANY, "1,000", what);
        report.at_most(&format!("{what}: 1,000,000 objects against 1,000"), ratio, 2.0);
    }
}
