//! Modules made to keep the loader busy: whatever 8 MB hold, they load within a second or are refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use ak_sandbox::{Abi, Failure, LOAD_WORK_MAX, ModulePart, RunLimits, ToolError};
use support::bulk::{Bulk, Section, leb128, sized};
use support::{call, drive, json, limits, load_bytes};

/// A module of at most so many bytes that holds as many of these as there is room for.
fn filled(bytes_max: usize, mut add: impl FnMut(&mut Bulk, u32)) -> Bulk {
    let mut bulk = Bulk::new();
    let (mut index, mut largest) = (0, 0);
    while bulk.len() + largest + 5_000 < bytes_max {
        let before = bulk.len();
        add(&mut bulk, index);
        largest = largest.max(bulk.len() - before);
        index += 1;
    }
    bulk
}

/// A module that holds so many of these.
fn counted(count: u32, mut add: impl FnMut(&mut Bulk, u32)) -> Bulk {
    let mut bulk = Bulk::new();
    (0..count).for_each(|index| add(&mut bulk, index));
    bulk
}

fn repeated(items: &[u8], bytes: usize) -> Vec<u8> {
    items.iter().copied().cycle().take(bytes / items.len() * items.len()).collect()
}

/// Every way known to ask much of the loader with few bytes.
fn hostile(bytes: usize) -> Vec<(&'static str, Vec<u8>)> {
    let body = bytes.min(1_000_000) - 100;
    let mut all = Vec::new();
    let mut add = |name, bulk: Bulk| all.push((name, bulk.module()));
    add("segments of nothing", filled(bytes, |bulk, _| bulk.data += &[0, 0x41, 0, 0x0b, 0]));
    add("segments of one byte, apart", {
        let mut bulk = filled(bytes, |bulk, index| {
            let segment = bulk.segment(index * 100 % (1 << 29), b"x");
            bulk.data += &segment;
        });
        bulk.memories = Section { count: 1, bytes: vec![0, 0x80, 0x80, 0x01] };
        bulk
    });
    add("segments backwards", {
        let mut bulk = filled(bytes, |bulk, index| {
            let segment = bulk.segment((1 << 29) - index * 100 % (1 << 29) - 1, b"x");
            bulk.data += &segment;
        });
        bulk.memories = Section { count: 1, bytes: vec![0, 0x80, 0x80, 0x01] };
        bulk
    });
    add("passive segments", filled(bytes, |bulk, _| bulk.data += &[1, 0]));
    add("data that is counted beforehand", {
        let mut bulk = filled(bytes, |bulk, _| bulk.data += &[1, 0]);
        bulk.data_count = Some(bulk.data.count);
        bulk
    });
    add("functions of nothing", filled(bytes, |bulk, _| bulk.function(2, &[], &[])));
    add("functions of a few instructions", filled(bytes, |bulk, _| bulk.function(2, &[], &[0x01; 40])));
    add("types alike", filled(bytes, |bulk, _| bulk.types += &[0x60, 0, 0]));
    add("types apart", {
        filled(bytes, |bulk, index| {
            let digit = |place: u32| 0x7c + (index >> (2 * place) & 3) as u8;
            let mut ty = vec![0x60, 10];
            ty.extend((0..10).map(digit));
            ty.push(0);
            bulk.types += &ty;
        })
    });
    add("types of 1,000 parameters", {
        filled(bytes, |bulk, index| {
            let digit = |place: u32| 0x7c + (index >> (2 * place) & 3) as u8;
            let mut ty = vec![0x60, 0xe8, 0x07];
            ty.extend((0..10).map(digit));
            ty.extend([0x7f; 990]);
            ty.push(0);
            bulk.types += &ty;
        })
    });
    add("exports", {
        filled(bytes, |bulk, index| {
            let mut export = sized(format!("{index}").as_bytes());
            export.extend([0, 0]);
            bulk.exports += &export;
        })
    });
    add("exports of long names", {
        filled(bytes, |bulk, index| {
            let mut export = sized(format!("{}{index:09}", "x".repeat(99_990)).as_bytes());
            export.extend([0, 0]);
            bulk.exports += &export;
        })
    });
    add("exports of long names that are nearly alike", {
        filled(bytes, |bulk, index| {
            let mut export = sized(format!("{index:02000}").as_bytes());
            export.extend([0, 0]);
            bulk.exports += &export;
        })
    });
    // As many as the engine takes at most, or half.
    for (count, names) in [
        (
            99_000,
            [
                "99,000 exports",
                "99,000 mutable globals",
                "99,000 passive segments",
                "99,000 element segments",
                "99,000 imports",
                "99,000 segments apart",
            ],
        ),
        (
            240_000,
            [
                "240,000 exports",
                "240,000 mutable globals",
                "240,000 passive segments",
                "240,000 element segments",
                "240,000 imports",
                "240,000 segments apart",
            ],
        ),
    ] {
        add(
            names[0],
            counted(count, |bulk, index| {
                let mut export = sized(format!("{index}").as_bytes());
                export.extend([0, 0]);
                bulk.exports += &export;
            }),
        );
        add(names[1], counted(count, |bulk, _| bulk.globals += &[0x7f, 1, 0x41, 0, 0x0b]));
        add(names[2], counted(count, |bulk, _| bulk.data += &[1, 1, b'x']));
        add(names[3], counted(count, |bulk, _| bulk.elements += &[1, 0, 1, 0]));
        add(names[4], {
            let mut bulk = counted(count, |bulk, _| bulk.imports += b"\x02ak\x03log\x00\x03");
            bulk.types += &[0x60, 2, 0x7f, 0x7f, 0]; // 3
            bulk
        });
        add(names[5], {
            let mut bulk = counted(count, |bulk, index| {
                let segment = bulk.segment(5_000 + index * 258, b"x");
                bulk.data += &segment;
            });
            bulk.memories = Section { count: 1, bytes: vec![0, 0x80, 0x08] };
            bulk
        });
    }
    let table = |bulk: &mut Bulk, elements: u32| {
        let mut table = vec![0x70, 0];
        table.extend(leb128(elements));
        bulk.tables += &table;
    };
    add("element segments of nothing", {
        let mut bulk = filled(bytes, |bulk, _| bulk.elements += &[0, 0x41, 0, 0x0b, 0]);
        table(&mut bulk, 1);
        bulk
    });
    add("element segments of one function", {
        let mut bulk = filled(bytes, |bulk, _| bulk.elements += &[0, 0x41, 0, 0x0b, 1, 0]);
        table(&mut bulk, 1);
        bulk
    });
    add("passive element segments", filled(bytes, |bulk, _| bulk.elements += &[1, 0, 0]));
    add("declared element segments", filled(bytes, |bulk, _| bulk.elements += &[3, 0, 0]));
    add("a segment of very many elements", {
        let mut bulk = Bulk::new();
        let elements = bytes as u32 - 1000;
        table(&mut bulk, 1);
        let mut segment = vec![0, 0x41, 0, 0x0b];
        segment.extend(leb128(elements));
        segment.extend(vec![0; elements as usize]);
        bulk.elements += &segment;
        bulk
    });
    add("segments of elements by expressions", {
        let mut bulk = Bulk::new();
        table(&mut bulk, 1);
        let count = bytes as u32 / 3 - 1000;
        let mut segment = vec![5, 0x70];
        segment.extend(leb128(count));
        segment.extend(repeated(&[0xd2, 0, 0x0b], count as usize * 3));
        bulk.elements += &segment;
        bulk
    });
    add("globals", filled(bytes, |bulk, _| bulk.globals += &[0x7f, 0, 0x41, 0, 0x0b]));
    add("mutable globals", filled(bytes, |bulk, _| bulk.globals += &[0x7f, 1, 0x41, 0, 0x0b]));
    add("a global of a long expression", {
        let mut bulk = Bulk::new();
        let mut global = vec![0x7f, 0, 0x41, 0];
        global.extend(repeated(&[0x41, 1, 0x6a], bytes - 1000));
        global.push(0x0b);
        bulk.globals += &global;
        bulk
    });
    add("a segment at a long expression", {
        let mut bulk = Bulk::new();
        let mut segment = vec![0, 0x41, 0];
        segment.extend(repeated(&[0x41, 1, 0x6a], bytes - 1000));
        segment.extend([0x0b, 0]);
        bulk.data += &segment;
        bulk
    });
    add("globals of expressions", {
        let mut global = vec![0x7f, 0, 0x41, 0];
        global.extend(repeated(&[0x41, 1, 0x6a], 90));
        global.push(0x0b);
        filled(bytes, |bulk, _| bulk.globals += &global)
    });
    add("imports", {
        let mut bulk = filled(bytes, |bulk, _| bulk.imports += b"\x02ak\x03log\x00\x03");
        bulk.types += &[0x60, 2, 0x7f, 0x7f, 0]; // 3
        bulk
    });
    add("imports of long names", {
        let mut import = sized(b"ak");
        import.extend(sized(&[b'x'; 99_999]));
        import.extend([0, 2]);
        filled(bytes, |bulk, _| bulk.imports += &import)
    });
    add("tables", filled(bytes, |bulk, _| bulk.tables += &[0x70, 0, 0]));
    add("a hundred tables", {
        let mut bulk = Bulk::new();
        (0..100).for_each(|_| table(&mut bulk, 600));
        bulk
    });
    add("memories", filled(bytes, |bulk, _| bulk.memories += &[0, 1]));
    add("custom sections", {
        let mut bulk = Bulk::new();
        bulk.custom = repeated(&[0, 1, 0], bytes - 1000);
        bulk
    });
    add("a custom section of names", {
        let mut bulk = Bulk::new();
        let mut section = sized(b"name");
        section.push(1);
        section.extend(sized(&repeated(b"\0\x01x", bytes - 1000)));
        bulk.custom = vec![0];
        bulk.custom.extend(sized(&section));
        bulk
    });
    let code = |instructions: &[u8], end: &[u8]| {
        let mut code = repeated(instructions, body);
        code.extend_from_slice(end);
        code
    };
    let functions = |code: &[u8]| filled(bytes, |bulk, _| bulk.function(2, &[(1, 0x7f)], code));
    add("nothing but instructions", functions(&code(&[0x01], &[])));
    add("values pushed", functions(&code(&[0x41, 0], &[0x00])));
    add("locals read and written", functions(&code(&[0x20, 0, 0x21, 0], &[])));
    add("blocks after blocks", functions(&code(&[0x02, 0x40, 0x0b], &[])));
    add("blocks in blocks", {
        let depth = body / 3;
        let mut code = repeated(&[0x02, 0x40], depth * 2);
        code.extend(vec![0x0b; depth]);
        functions(&code)
    });
    add("ifs in ifs", {
        let depth = body / 5;
        let mut code = repeated(&[0x41, 0, 0x04, 0x40], depth * 4);
        code.extend(vec![0x0b; depth]);
        functions(&code)
    });
    add("branches", functions(&code(&[0x41, 0, 0x0d, 0], &[])));
    add("tables of branches", {
        let mut code = vec![0x41, 0, 0x0e];
        let targets = body.min(120_000) - 10;
        code.extend(leb128(targets as u32));
        code.extend(vec![0; targets + 1]);
        functions(&code)
    });
    add("small tables of branches", functions(&code(&[0x41, 0, 0x0e, 4, 0, 0, 0, 0, 0], &[])));
    add("locals by the thousand", filled(bytes, |bulk, _| bulk.function(2, &[(2_000, 0x7e)], &[])));
    add("locals one by one", {
        let locals: Vec<_> = (0..2_000).map(|index| (1, 0x7c + (index % 4) as u8)).collect();
        filled(bytes, |bulk, _| bulk.function(2, &locals, &[]))
    });
    add("locals by 50,000", filled(bytes, |bulk, _| bulk.function(2, &[(50_000, 0x7e)], &[])));
    for width in [30, 1_000] {
        let wide = |code: &[u8]| {
            let mut bulk = Bulk::new();
            let values = vec![0x7f; width as usize];
            let mut ty = vec![0x60, 0];
            ty.extend(sized(&values));
            bulk.types += &ty; // 3
            let mut ty = vec![0x60];
            ty.extend(sized(&values));
            ty.push(0);
            bulk.types += &ty; // 4
            let mut ty = vec![0x60];
            ty.extend(sized(&values));
            ty.extend(sized(&values));
            bulk.types += &ty; // 5
            table(&mut bulk, 1);
            bulk.function(3, &[], &[0x00]); // 2
            bulk.function(4, &[], &[]); // 3
            bulk.function(5, &[], &[0x00]); // 4
            while bulk.len() + code.len() + 5_000 < bytes {
                bulk.function(2, &[], code);
            }
            bulk
        };
        let name = |narrow, wide| if width == 30 { narrow } else { wide };
        add(name("calls of 30 values", "calls of 1,000 values"), wide(&code(&[0x10, 2, 0x10, 3], &[])));
        let through = code(&[0x10, 4], &[0x10, 3]);
        let through = [&[0x10, 2][..], &through].concat();
        add(name("calls of 30 values, handed on", "calls of 1,000 values, handed on"), wide(&through));
        let indirect = code(&[0x41, 0, 0x11, 3, 0, 0x41, 0, 0x11, 4, 0], &[]);
        add(name("indirect calls of 30 values", "indirect calls of 1,000 values"), wide(&indirect));
        let blocks = code(&[0x02, 3, 0x00, 0x0b, 0x10, 3], &[]);
        add(name("blocks of 30 values", "blocks of 1,000 values"), wide(&blocks));
        let handed = [&[0x10, 2][..], &code(&[0x02, 5, 0x0b], &[0x10, 3])].concat();
        add(name("blocks that 30 values go through", "blocks that 1,000 values go through"), wide(&handed));
        let ifs = [&[0x10, 2][..], &code(&[0x41, 0, 0x04, 5, 0x05, 0x0b], &[0x10, 3])].concat();
        add(name("ifs that 30 values go through", "ifs that 1,000 values go through"), wide(&ifs));
        let branches = [&[0x02, 3, 0x10, 2][..], &code(&[0x41, 0, 0x0d, 0], &[0x0b, 0x10, 3])].concat();
        add(name("branches of 30 values", "branches of 1,000 values"), wide(&branches));
    }
    // As many values as one function may have, in as many functions as there may be work.
    for (functions, names) in [
        (20, ["few functions of wide calls", "few functions of wide branches"]),
        (40, ["functions of wide calls", "functions of wide branches"]),
        (100, ["many functions of wide calls", "many functions of wide branches"]),
    ] {
        let room = bytes / functions - 1_000;
        let mut bulk = Bulk::new();
        bulk.types += &[&[0x60], &*sized(&[0x7f; 1_000]), &[0]].concat(); // 3
        bulk.function(3, &[], &[]); // 2
        let calls = repeated(&[0x10, 2], room.min(2 * 1_990));
        (0..functions).for_each(|_| bulk.function(2, &[], &[&[0x00][..], &calls].concat()));
        add(names[0], bulk);

        let mut bulk = Bulk::new();
        bulk.types += &[&[0x60, 0], &*sized(&[0x7f; 30])].concat(); // 3
        let targets = room.min(60_000);
        let branches = [
            &[0x02, 3, 0x00, 0x0e][..],
            &leb128(targets as u32),
            &vec![0; targets + 1],
            &[0x0b],
            &[0x1a; 30],
        ];
        (0..functions).for_each(|_| bulk.function(2, &[], &branches.concat()));
        add(names[1], bulk);
    }
    add("stores that the engine must be helped over", {
        let store = [&[0x20, 0, 0x20, 0, 0x36, 2][..], &leb128(70_000)].concat();
        functions(&code(&store, &[]))
    });
    all
}

/// The largest module that is taken.
const BYTES: usize = 8 << 20;
/// How long it may take to load, where the program is built as it is shipped.
const LOAD_TIME_MAX: Duration = Duration::from_secs(1);

/// What is printed stands in `docs/performance.md`.
#[test]
fn every_hostile_module_loads_within_a_second_or_is_refused() {
    let (bytes, measured) = if cfg!(debug_assertions) { (1 << 20, false) } else { (BYTES - 1, true) };
    let mut refused = 0;
    for (name, module) in hostile(bytes) {
        assert!(
            module.len() <= BYTES && (module.len() > bytes / 2 || small(name)),
            "{name}: {}",
            module.len()
        );
        let started = Instant::now();
        let outcome = load_bytes(Abi::Native, &module);
        let load = started.elapsed();
        // It is refused for the same reason each time.
        let again = load_bytes(Abi::Native, &module);
        match (outcome, again) {
            (Ok(tool), Ok(again)) => {
                assert_eq!(tool.load_work(), again.load_work(), "{name}");
                assert!(tool.load_work() <= LOAD_WORK_MAX, "{name}");
                let started = Instant::now();
                let limits = RunLimits { fuel: 500_000_000, ..RunLimits::default() };
                let done = drive(&tool, &json("{}"), limits, 1_000_000, |_| Err(json("0")));
                let call = started.elapsed();
                let fuel = match &done {
                    Ok(done) => done.fuel,
                    Err(error) => error.fuel,
                };
                println!(
                    "{name}: loads in {load:.0?}, {} units of work; a call {call:.0?}, {fuel} fuel",
                    tool.load_work()
                );
                // A unit of fuel pays for no more than some instructions do: the parts of ordinary modules are free.
                let paid = Duration::from_millis(3) + Duration::from_nanos(fuel * 150);
                assert!(
                    !measured || call < paid.max(Duration::from_millis(20)),
                    "{name}: a call takes {call:?} for {fuel} fuel"
                );
            }
            (Err(error), Err(again)) => {
                assert_eq!(error, again, "{name}");
                refused += 1;
                let reason: String = error.to_string().chars().take(120).collect();
                println!("{name}: refused in {load:.0?}: {reason}");
            }
            (first, second) => panic!("{name}: {first:?}, then {second:?}"),
        }
        assert!(!measured || load < LOAD_TIME_MAX, "{name}: {load:?}");
    }
    assert!(refused > 10, "the limits are not met any more");
}

/// Those that are as large as they can be with fewer bytes.
fn small(name: &str) -> bool {
    ["a hundred tables", ",000 ", "wide"].iter().any(|small| name.contains(small))
}

/// What is refused is named, with the limit.
#[test]
fn a_refusal_names_what_there_is_too_much_of() {
    let mut bulk = Bulk::new();
    (0..500_000).for_each(|_| bulk.types += &[0x60, 0, 0]);
    let error = load_bytes(Abi::Native, &bulk.module()).unwrap_err();
    let ToolError::TooMuchWork { part: ModulePart::Types, count, work, work_max: LOAD_WORK_MAX } = error
    else {
        panic!("{error}");
    };
    assert_eq!((count, work / 1_000), (394_000, 400_000));
    let said = format!(
        "too much work to load: 394000 types, the largest part of {work} units and more; the limit is 400000000: strip or divide the module"
    );
    assert_eq!(error.to_string(), said);
}

/// The parts of an instance are paid for by each call, and the first 20,000 functions are free.
#[test]
fn very_many_parts_cost_fuel_at_each_call() {
    let fuel = |functions: u32| {
        let mut bulk = Bulk::new();
        (0..functions).for_each(|_| bulk.function(2, &[], &[]));
        let tool = load_bytes(Abi::Native, &bulk.module()).unwrap();
        let call = || call(&tool, &json("{}")).unwrap().fuel;
        assert_eq!(call(), call());
        call()
    };
    let free = fuel(1_000);
    assert_eq!(fuel(19_000), free);
    assert_eq!(fuel(30_000) - fuel(25_000), 5_000);
    let mut bulk = Bulk::new();
    (0..100_000).for_each(|_| bulk.function(2, &[], &[]));
    let tool = load_bytes(Abi::Native, &bulk.module()).unwrap();
    let limits = RunLimits { fuel: 50_000, ..limits() };
    let error = drive(&tool, &json("{}"), limits, 1_000, |_| Err(json("0"))).unwrap_err();
    assert_eq!((error.failure, error.fuel), (Failure::OutOfFuel { fuel_max: 50_000 }, 50_000));
}
