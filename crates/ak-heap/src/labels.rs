//! Labels of an object and of its subtrees.

use alloc::collections::BTreeMap;
use core::mem;

use ak_json::{Labels, Pointer, Text, array_index};

/// The labels of a document: the root's hold for all of it, others for the subtree at their pointer.
///
/// Reading a value reveals something of what contains it, by its position, and everything in it. So [`at`](Self::at)
/// gives the [join](Labels::join) of the labels on the path to the value, at it and below it.
///
/// Under a patch, labels move with their values. Where the map cannot be exact, it is too strict, never too
/// permissive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap {
    root: Labels,
    /// Holds neither the root's pointer nor bottom labels.
    subtrees: BTreeMap<Pointer, Labels>,
}

impl From<Labels> for LabelMap {
    fn from(root: Labels) -> LabelMap {
        LabelMap { root, subtrees: BTreeMap::new() }
    }
}

impl LabelMap {
    /// The same map with `labels` joined to those of the subtree.
    #[must_use]
    pub fn with(mut self, pointer: Pointer, labels: &Labels) -> LabelMap {
        self.mark(pointer, labels);
        self
    }

    /// The join of all labels of the document.
    pub fn joined(&self) -> Labels {
        self.subtrees.values().fold(self.root.clone(), |whole, labels| whole.join(labels))
    }

    /// The labels of the value at the pointer.
    pub fn at(&self, pointer: &Pointer) -> Labels {
        self.subtrees
            .iter()
            .filter(|(subtree, _)| pointer.starts_with(subtree) || subtree.starts_with(pointer))
            .fold(self.root.clone(), |carried, (_, labels)| carried.join(labels))
    }

    /// The labels that hold for the whole document.
    pub fn root(&self) -> &Labels {
        &self.root
    }

    /// The subtrees with labels of their own, in the order of their pointers.
    pub fn subtrees(&self) -> impl ExactSizeIterator<Item = (&Pointer, &Labels)> {
        self.subtrees.iter()
    }

    /// Whether every value is trusted and without secrets.
    pub fn is_bottom(&self) -> bool {
        self.root.is_bottom() && self.subtrees.is_empty()
    }

    /// The label map of the value at the pointer, as a document of its own.
    pub fn subtree(&self, pointer: &Pointer) -> LabelMap {
        let depth = pointer.tokens().len();
        let mut map = LabelMap::from(self.root.clone());
        for (subtree, labels) in &self.subtrees {
            if pointer.starts_with(subtree) {
                map.root.absorb(labels);
            } else if subtree.starts_with(pointer) {
                map.mark(subtree.tokens().iter().skip(depth).cloned().collect(), labels);
            }
        }
        map
    }

    /// Sets the labels of the subtree and removes those below it; labels of containers around it still hold.
    pub(crate) fn relabel(&mut self, pointer: Pointer, labels: &Labels) {
        self.clear(&pointer);
        self.mark(pointer, labels);
    }

    /// Joins all labels into the root's if more than `labelled_max` subtrees have labels.
    pub(crate) fn bound(&mut self, labelled_max: usize) {
        if self.subtrees.len() > labelled_max {
            *self = LabelMap::from(self.joined());
        }
    }

    /// Updates the map for a value, with its own labels `carried`, that a patch with the labels `written` put at
    /// `path`. `inserted` is its index if it moved an array's later items back by one.
    pub(crate) fn put(
        &mut self,
        path: &Pointer,
        inserted: Option<usize>,
        mut carried: LabelMap,
        written: &Labels,
    ) {
        carried.root.absorb(written);
        let mut place = path.clone();
        if let Some(index) = inserted {
            place.pop();
            self.shift(&place, index, |index| index.checked_add(1));
            place.push(decimal(index));
        } else {
            self.clear(path);
        }
        self.mark(place.clone(), &carried.root);
        for (subtree, labels) in &carried.subtrees {
            self.mark(place.tokens().iter().chain(subtree.tokens()).cloned().collect(), labels);
        }
    }

    /// Updates the map for the removal of the value at `path` by a patch with the labels `written`, which its
    /// container gets. `removed` is its index if an array's later items moved up by one.
    pub(crate) fn take(&mut self, path: &Pointer, removed: Option<usize>, written: &Labels) {
        self.clear(path);
        let Some(container) = path.parent() else { return };
        if let Some(index) = removed {
            self.shift(&container, index, |index| index.checked_sub(1));
        }
        self.mark(container, written);
    }

    fn mark(&mut self, pointer: Pointer, labels: &Labels) {
        if pointer.is_root() {
            self.root.absorb(labels);
        } else if !labels.flows_to(&self.root) {
            self.subtrees.entry(pointer).or_default().absorb(labels);
        }
    }

    /// Removes the labels at the pointer and below it.
    fn clear(&mut self, pointer: &Pointer) {
        if pointer.is_root() {
            *self = LabelMap::default();
        } else {
            self.subtrees.retain(|subtree, _| !subtree.starts_with(pointer));
        }
    }

    /// Renumbers the items of an array from index `first` on.
    fn shift(&mut self, array: &Pointer, first: usize, renumber: impl Fn(usize) -> Option<usize>) {
        let depth = array.tokens().len();
        let renumbered = |token: &Text| {
            let index = array_index(token).filter(|index| *index >= first)?;
            renumber(index).map(decimal)
        };
        for (subtree, labels) in mem::take(&mut self.subtrees) {
            let token = subtree.tokens().get(depth).filter(|_| subtree.starts_with(array));
            let subtree = match token.and_then(renumbered) {
                None => subtree,
                Some(renumbered) => {
                    let (before, after) = subtree.tokens().split_at(depth);
                    let after = after.iter().skip(1).cloned();
                    before.iter().cloned().chain([renumbered]).chain(after).collect()
                }
            };
            self.subtrees.insert(subtree, labels);
        }
    }
}

fn decimal(index: usize) -> Text {
    alloc::format!("{index}").into()
}
