//! Arrays.

use alloc::vec::Vec;
use core::mem;

use crate::value::Value;
use crate::value::tree::{self, Item, SHALLOW_DEPTH_MAX, Slot, Tree};

/// A JSON array, whose clones share its items; a change copies the chunk of 32 that it touches.
///
/// Reading, replacing and appending an item take time logarithmic in the length; inserting and removing an item
/// also move the items after it.
#[derive(Clone, Default)]
pub struct Array {
    pub(crate) items: Tree<Value>,
}

impl Array {
    /// An empty array.
    pub const fn new() -> Self {
        Self { items: Tree::new() }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at `index`; `None` beyond the end.
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.items.get(index)
    }

    /// The last item; `None` for an empty array.
    pub fn last(&self) -> Option<&Value> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The items in order.
    pub fn iter(&self) -> Items<'_> {
        Items(self.items.iter())
    }

    /// Appends an item.
    pub fn push(&mut self, item: impl Into<Value>) {
        self.items.insert(usize::MAX, item.into());
    }

    /// Inserts an item before the one at `index`, or at the end when `index` is the length. A greater index changes
    /// nothing and returns false.
    pub fn insert(&mut self, index: usize, item: impl Into<Value>) -> bool {
        let fits = index <= self.len();
        if fits {
            self.items.insert(index, item.into());
        }
        fits
    }

    /// Replaces the item at `index` and returns the old one; `None`, without a change, beyond the end.
    pub fn set(&mut self, index: usize, item: impl Into<Value>) -> Option<Value> {
        self.items.set(index, item.into())
    }

    /// Removes the item at `index` and returns it; `None` beyond the end.
    pub fn remove(&mut self, index: usize) -> Option<Value> {
        self.items.remove(index)
    }
}

const _: () = assert!(size_of::<Slot<Value>>() == size_of::<Value>(), "a slot costs nothing");

impl Item for Value {
    /// Clones each kind separately, so that the clone is built in its slot instead of elsewhere and moved.
    #[inline]
    fn clone_onto(&self, slots: &mut Vec<Slot<Self>>) {
        match self {
            Self::Null => slots.push(Slot::Item(Self::Null)),
            Self::Bool(value) => slots.push(Slot::Item(Self::Bool(*value))),
            Self::Number(value) => slots.push(Slot::Item(Self::Number(*value))),
            Self::String(value) => slots.push(Slot::Item(Self::String(value.clone()))),
            Self::Array(value) => slots.push(Slot::Item(Self::Array(value.clone()))),
            Self::Object(value) => slots.push(Slot::Item(Self::Object(value.clone()))),
        }
    }

    fn depth(&self) -> u32 {
        self.depth()
    }

    fn is_measured(&self) -> bool {
        self.is_measured()
    }

    fn json_len(&self) -> usize {
        self.json_len_shallow()
    }

    fn take_deep(&mut self) -> Option<Self> {
        (self.depth() > SHALLOW_DEPTH_MAX).then(|| mem::take(self))
    }

    fn tree_mut(&mut self) -> Option<&mut Tree<Self>> {
        match self {
            Self::Array(array) => Some(&mut array.items),
            Self::Object(object) => Some(&mut object.values),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => None,
        }
    }
}

/// Iterator over the items of an [`Array`], in order.
#[derive(Clone)]
pub struct Items<'a>(tree::Iter<'a, Value>);

impl<'a> Iterator for Items<'a> {
    type Item = &'a Value;

    fn next(&mut self) -> Option<&'a Value> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Items<'_> {}

impl<'a> IntoIterator for &'a Array {
    type Item = &'a Value;
    type IntoIter = Items<'a>;

    fn into_iter(self) -> Items<'a> {
        self.iter()
    }
}

impl From<Vec<Value>> for Array {
    fn from(items: Vec<Value>) -> Self {
        Self { items: items.into() }
    }
}

impl<T: Into<Value>> FromIterator<T> for Array {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().map(Into::into).collect::<Vec<Value>>().into()
    }
}

impl From<&Array> for Array {
    fn from(shared: &Self) -> Self {
        shared.clone()
    }
}
