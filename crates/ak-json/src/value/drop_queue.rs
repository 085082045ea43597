//! Drops large values in steps.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::value::Value;
use crate::value::names::Names;
use crate::value::text::Text;
use crate::value::tree::Node;

/// Values that are dropped in steps, because dropping a large one at once takes long.
///
/// ```
/// use ak_json::{Value, DropQueue};
///
/// let mut queue = DropQueue::default();
/// queue.add(Value::from(vec![ak_json::object! { "a": 1 }; 1_000]));
/// queue.drop_some(100);
/// assert!(!queue.is_empty());
/// queue.drop_some(usize::MAX);
/// assert!(queue.is_empty());
/// ```
#[derive(Default)]
pub struct DropQueue {
    values: Vec<Value>,
    nodes: Vec<Node<Value>>,
    names: Vec<Node<Text>>,
}

impl DropQueue {
    /// Adds a value to the queue; a scalar is dropped at once.
    pub fn add(&mut self, value: Value) {
        if value.depth() > 0 {
            self.values.push(value);
        }
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.nodes.is_empty() && self.names.is_empty()
    }

    /// Drops about this many items and members. A shared value counts as one item, and lives on elsewhere.
    pub fn drop_some(&mut self, items: usize) {
        let mut left = items;
        while left > 0 {
            let dropped = if let Some(node) = self.nodes.pop() {
                let values = &mut self.values;
                node.take_apart(
                    |value| values.extend(Some(value).filter(|value| value.depth() > 0)),
                    &mut self.nodes,
                )
            } else if let Some(node) = self.names.pop() {
                node.take_apart(drop, &mut self.names)
            } else {
                match self.values.pop() {
                    Some(Value::Array(array)) => self.nodes.extend(array.items.into_root()),
                    Some(Value::Object(object)) => {
                        let (names, values) = object.into_parts();
                        self.nodes.extend(values.into_root());
                        let names = names.and_then(Arc::into_inner).and_then(Names::into_root);
                        self.names.extend(names);
                    }
                    Some(_) => {}
                    None => return,
                }
                1
            };
            left = left.saturating_sub(dropped);
        }
    }
}

impl fmt::Debug for DropQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DropQueue").field("is_empty", &self.is_empty()).finish_non_exhaustive()
    }
}
