//! JSON Merge Patch (RFC 7386), converted to a JSON Patch with the same effect.

use alloc::vec::Vec;

use ak_json::{Object, Pointer, Text, Value};

use super::{Patch, PatchOp};

impl Patch {
    /// The patch that has the same effect on `target` as the merge patch `merge` (RFC 7386).
    ///
    /// It has one operation for each member of `merge` that changes something, at any depth. Merging cannot fail.
    ///
    /// ```
    /// use ak_heap::Patch;
    /// use ak_json::{Limits, Value, Work, object};
    ///
    /// let target = object! { "title": "Goodbye!", "author": object! { "given": "John", "family": "Doe" } };
    /// let merge = object! { "title": "Hello!", "author": object! { "family": Value::Null } };
    /// let merged = Patch::merge(&target, &merge).apply(&target, &Limits::default(), &mut Work::new(10_000))?;
    /// assert_eq!(merged, object! { "title": "Hello!", "author": object! { "given": "John" } });
    /// # Ok::<(), ak_heap::PatchError>(())
    /// ```
    pub fn merge(target: &Value, merge: &Value) -> Patch {
        let mut ops = Vec::new();
        let mut waiting = Vec::from([(Pointer::root(), Some(target), merge)]);
        while let Some((path, target, merge)) = waiting.pop() {
            match (target, merge) {
                (Some(Value::Object(target)), Value::Object(members)) => {
                    for (name, value) in members {
                        let mut path = path.clone();
                        path.push(name);
                        waiting.push((path, target.get(name), value));
                    }
                }
                (None, Value::Null) => {}
                (Some(_), Value::Null) if !path.is_root() => ops.push(PatchOp::Remove { path }),
                (_, merge) => ops.push(PatchOp::Add { path, value: without_nulls(merge) }),
            }
        }
        // Members are visited last to first, but new ones must be appended in the order written.
        ops.reverse();
        Patch::new(ops)
    }
}

/// The result of a merge patch on a missing value: the patch without the null members of its objects.
fn without_nulls(merge: &Value) -> Value {
    let Value::Object(members) = merge else { return merge.clone() };
    // Objects being filled, outermost first, each with its name and the members not visited yet.
    let mut open = Vec::from([(Text::new(), Object::new(), members.iter())]);
    while let Some((_, object, members)) = open.last_mut() {
        match members.next() {
            Some((_, Value::Null)) => {}
            Some((name, Value::Object(inner))) => open.push((name.clone(), Object::new(), inner.iter())),
            Some((name, value)) => {
                object.insert(name, value);
            }
            None => {
                let Some((name, object, _)) = open.pop() else { break };
                match open.last_mut() {
                    Some((_, outer, _)) => outer.insert(name, object),
                    None => return object.into(),
                };
            }
        }
    }
    Value::Null
}
