//! Walking values that nest too deep for recursion.

use alloc::vec::Vec;

use crate::value::Value;
use crate::value::tree::SHALLOW_DEPTH_MAX;

impl Value {
    /// Calls `visit` on every deep value within this one, innermost first, unless it `is_done`. Recursion
    /// from any of them, and in the end from this one, then soon meets what the visits remembered.
    pub(crate) fn deepest_first(&self, is_done: impl Fn(&Self) -> bool, visit: impl Fn(&Self)) {
        let mut stack = Vec::new();
        self.push_deep(&mut stack);
        while let Some((value, is_expanded)) = stack.pop() {
            // A shared value comes up wherever it stands, and is done the second time.
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
