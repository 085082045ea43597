//! Walks values that nest too deep for recursion.

use alloc::vec::Vec;

use crate::value::Value;
use crate::value::tree::SHALLOW_DEPTH_MAX;

impl Value {
    /// Calls `visit` on every deep value within this one, innermost first, unless `is_done` holds for it. A later
    /// recursion from this value then soon reaches what the visits have cached.
    pub(crate) fn deepest_first(&self, is_done: impl Fn(&Self) -> bool, visit: impl Fn(&Self)) {
        let mut stack = Vec::new();
        self.push_deep(&mut stack);
        while let Some((value, is_expanded)) = stack.pop() {
            // A shared value comes up at each of its places, but is done after the first.
            if is_done(value) {
                continue;
            }
            if is_expanded {
                visit(value);
            } else {
                stack.push((value, true));
                value.push_deep(&mut stack);
            }
        }
    }

    fn push_deep<'a>(&'a self, stack: &mut Vec<(&'a Self, bool)>) {
        if self.depth() <= SHALLOW_DEPTH_MAX {
            return;
        }
        let deep = |value: &&Self| value.depth() > SHALLOW_DEPTH_MAX;
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => {}
            Self::Array(array) => stack.extend(array.iter().filter(deep).map(|value| (value, false))),
            Self::Object(object) => stack.extend(object.values().filter(deep).map(|value| (value, false))),
        }
    }
}
