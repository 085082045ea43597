//! Labels of an object and of the subtrees within it.

use alloc::collections::BTreeMap;
use core::mem;

use ak_json::{Labels, Pointer, Text, array_index};

/// The labels of a document: the root's hold for all of it, others for the subtree at their pointer.
///
/// Whoever reads a value learns what stands around it by its place and what stands within it, so it
/// carries the [join](Labels::join) of the labels on the way to it, at it and below it: [`at`](Self::at).
///
/// Under a patch labels go where their values go. What the map cannot say exactly it says too strictly, never
/// too loosely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap {
    root: Labels,
    /// Never the root's pointer, never bottom labels.
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

    /// The map of the document that the value at the pointer would be on its own.
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

    /// Puts exactly `labels` on the subtree and nothing below; what holds around it stays.
    pub(crate) fn relabel(&mut self, pointer: Pointer, labels: &Labels) {
        self.clear(&pointer);
        self.mark(pointer, labels);
    }

    /// Joins all labels into the root's if more than `labelled_max` subtrees have some.
    pub(crate) fn bound(&mut self, labelled_max: usize) {
        if self.subtrees.len() > labelled_max {
            *self = LabelMap::from(self.joined());
        }
    }

    /// Follows a value that was put at `path`, with its own labels `carried`, by a patch labelled `written`.
    /// `inserted` is its index where it pushed an array's later items back.
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

    /// Follows the removal of the value at `path` by a patch labelled `written`, which its container now carries.
    /// `removed` is its index where an array's later items moved up.
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

    /// Forgets the labels at the pointer and below.
    fn clear(&mut self, pointer: &Pointer) {
        if pointer.is_root() {
            *self = LabelMap::default();
        } else {
            self.subtrees.retain(|subtree, _| !subtree.starts_with(pointer));
        }
    }

    /// Renumbers the items of an array from `first` on.
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
