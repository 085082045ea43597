//! For any operations, the heap behaves as its naive model does.
#![no_main]

#[path = "../../crates/ak-heap/tests/documents/mod.rs"]
mod documents;
#[path = "../../crates/ak-heap/tests/model/mod.rs"]
mod model;

use ak_heap::{Content, Heap, Labels, Patch, PatchOp};
use ak_json::{Object, Pointer, Value};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use model::{Model, Op, Step, StepTarget, config};

const NAMES: [&str; 7] = ["a", "b", "", "0", "1", "~/", "-"];
const OPS_MAX: usize = 100;
const DEPTH_MAX: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Unstructured::new(bytes);
    let (mut heap, mut model) = (Heap::new(config()), Model::default());
    for _ in 0..OPS_MAX {
        if bytes.is_empty() {
            break;
        }
        let Ok(op) = op(&mut bytes) else { break };
        model.apply(&op, &mut heap);
        model.check(&heap);
    }
});

fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Op::Alloc {
            owner: u.choose(&["main", "main/worker"])?,
            type_name: u.choose(&["t", "u", ""])?,
            content: if u.ratio(1, 8)? {
                Content::Raw(u.bytes(3)?.into())
            } else {
                Content::Json(document(u, 0)?)
            },
            labels: labels(u)?,
        },
        1 | 2 => {
            let patch = patch(u)?.with_labels(labels(u)?);
            Op::Write { object: object(u)?, patch, expected: expected(u)? }
        }
        3 => Op::Delete { object: object(u)?, expected: expected(u)? },
        4 => Op::Relabel { object: object(u)?, subtree: pointer(u)?, labels: labels(u)? },
        5 => Op::Erase { object: object(u)? },
        6 => {
            let steps = (0..u.int_in_range(0..=5)?).map(|_| step(u)).collect::<Result<_>>();
            Op::Batch(steps?)
        }
        7 => Op::Register { scope: scope(u)?, strict: u.arbitrary()? },
        8 => Op::Unregister { scope: scope(u)? },
        _ => {
            if u.arbitrary()? {
                Op::Restore
            } else {
                Op::Clone
            }
        }
    })
}

fn scope(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&["", "main", "main/worker", "main/worker/x", "mai"]).copied()
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    let link = |u: &mut Unstructured<'_>| -> Result<_> {
        Ok(if u.ratio(1, 3)? { Some((pointer(u)?, u.int_in_range(0..=2)?)) } else { None })
    };
    let target = |u: &mut Unstructured<'_>| -> Result<_> {
        Ok(if u.arbitrary()? {
            StepTarget::Object(object(u)?)
        } else {
            StepTarget::Created(u.int_in_range(0..=2)?)
        })
    };
    Ok(match u.int_in_range(0..=2)? {
        0 => Step::Alloc { content: document(u, 0)?, link: link(u)? },
        1 => Step::Write { target: target(u)?, patch: patch(u)?, link: link(u)? },
        _ => Step::Delete { target: target(u)?, expected: expected(u)? },
    })
}

fn object(u: &mut Unstructured<'_>) -> Result<usize> {
    u.int_in_range(0..=9)
}

fn expected(u: &mut Unstructured<'_>) -> Result<Option<u64>> {
    Ok(if u.ratio(1, 4)? { Some(u.int_in_range(0..=4)?) } else { None })
}

fn labels(u: &mut Unstructured<'_>) -> Result<Labels> {
    Ok(if u.ratio(1, 3)? { Labels::untrusted() } else { Labels::default() })
}

fn pointer(u: &mut Unstructured<'_>) -> Result<Pointer> {
    (0..u.int_in_range(0..=3)?).map(|_| u.choose(&NAMES).map(|name| (*name).into())).collect()
}

fn patch(u: &mut Unstructured<'_>) -> Result<Patch> {
    let ops = (0..u.int_in_range(0..=4)?).map(|_| {
        let path = pointer(u)?;
        Ok(match u.int_in_range(0..=5)? {
            0 => PatchOp::Add { path, value: document(u, 0)? },
            1 => PatchOp::Remove { path },
            2 => PatchOp::Replace { path, value: document(u, 0)? },
            3 => PatchOp::Move { from: pointer(u)?, path },
            4 => PatchOp::Copy { from: pointer(u)?, path },
            _ => PatchOp::Test { path, value: document(u, 0)? },
        })
    });
    ops.collect::<Result<_>>().map(Patch::new)
}

fn document(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let kinds = if depth < DEPTH_MAX { 6 } else { 4 };
    Ok(match u.int_in_range(0..=kinds)? {
        0 => Value::Null,
        1 => Value::from(u.arbitrary::<bool>()?),
        2 => Value::from(u.arbitrary::<i64>()?),
        3 => ak_json::Number::from_f64(u.arbitrary()?).map_or(Value::Null, Value::from),
        4 => Value::from(*u.choose(&NAMES)?),
        5 => {
            let items = (0..u.int_in_range(0..=3)?).map(|_| document(u, depth + 1));
            Value::from(items.collect::<Result<Vec<Value>>>()?)
        }
        _ => {
            let members =
                (0..u.int_in_range(0..=3)?).map(|_| Ok((*u.choose(&NAMES)?, document(u, depth + 1)?)));
            members.collect::<Result<Object>>()?.into()
        }
    })
}
