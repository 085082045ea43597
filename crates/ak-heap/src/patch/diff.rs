//! The patch that turns one document into another.

use alloc::format;
use alloc::vec::Vec;

use ak_json::{Array, Object, Pointer, Text, Value};

use super::{Patch, PatchOp};

impl Patch {
    /// The patch that turns `a` into `b`.
    ///
    /// It names only what differs. In arrays it skips the common beginning and end, and compares the items between
    /// them one by one, so the patch is not always the shortest one.
    ///
    /// ```
    /// use ak_heap::Patch;
    /// use ak_json::{array, object};
    ///
    /// let patch = Patch::diff(&object! { "a": array![1, 3] }, &object! { "a": array![1, 2, 3] });
    /// assert_eq!(patch.to_value(), array![object! { "op": "add", "path": "/a/1", "value": 2 }]);
    /// ```
    pub fn diff(a: &Value, b: &Value) -> Patch {
        let mut ops = Vec::new();
        let mut waiting = Vec::from([(Pointer::root(), a, b)]);
        while let Some((path, a, b)) = waiting.pop() {
            match (a, b) {
                (Value::Object(a), Value::Object(b)) => objects(&path, a, b, &mut ops, &mut waiting),
                (Value::Array(a), Value::Array(b)) => arrays(&path, a, b, &mut ops, &mut waiting),
                _ if a == b => {}
                _ => ops.push(PatchOp::Replace { path, value: b.clone() }),
            }
        }
        Patch::new(ops)
    }
}

/// Pairs of values still to be compared. No operation recorded so far changes their paths.
type Waiting<'a> = Vec<(Pointer, &'a Value, &'a Value)>;

fn objects<'a>(
    path: &Pointer,
    a: &'a Object,
    b: &'a Object,
    ops: &mut Vec<PatchOp>,
    waiting: &mut Waiting<'a>,
) {
    for (name, old) in a {
        match b.get(name) {
            Some(new) => waiting.push((below(path, name), old, new)),
            None => ops.push(PatchOp::Remove { path: below(path, name) }),
        }
    }
    for (name, value) in b {
        if !a.contains_key(name) {
            ops.push(PatchOp::Add { path: below(path, name), value: value.clone() });
        }
    }
}

fn arrays<'a>(path: &Pointer, a: &'a Array, b: &'a Array, ops: &mut Vec<PatchOp>, waiting: &mut Waiting<'a>) {
    let shorter = a.len().min(b.len());
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let from_end = |array: &'a Array, back: usize| array.get(array.len().checked_sub(back + 1)?);
    let end = (0..shorter - start).take_while(|back| from_end(a, *back) == from_end(b, *back)).count();
    let paired = shorter - end;
    for (index, (old, new)) in a.iter().zip(b).enumerate().take(paired).skip(start) {
        waiting.push((item(path, index), old, new));
    }
    // The remaining items come after all pairs and before the common end.
    for _ in paired..a.len() - end {
        ops.push(PatchOp::Remove { path: item(path, paired) });
    }
    for (index, value) in b.iter().enumerate().take(b.len() - end).skip(paired) {
        ops.push(PatchOp::Add { path: item(path, index), value: value.clone() });
    }
}

fn below(path: &Pointer, token: impl Into<Text>) -> Pointer {
    let mut path = path.clone();
    path.push(token);
    path
}

fn item(path: &Pointer, index: usize) -> Pointer {
    below(path, format!("{index}"))
}
