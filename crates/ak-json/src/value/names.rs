//! The names of an object's members.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::json_len::{plain_len, string_len};
use crate::value::index::Index;
use crate::value::text::Text;
use crate::value::tree::{Item, Node, Slot, Tree, WIDTH};

/// The names of members in order, without duplicates. Objects that were parsed with the same names share them.
#[derive(Clone, Default)]
pub(crate) struct Names {
    list: Tree<Text>,
    /// Present when there are more than [`WIDTH`] names.
    index: Option<Index>,
}

impl Names {
    /// Builds the names; the error is the position of the first repeated name, with the names.
    pub(crate) fn build(names: Vec<Text>) -> Result<Self, (usize, Vec<Text>)> {
        let index = if names.len() > WIDTH {
            Index::build(&names).map(Some)
        } else {
            repeated(&names).map_or(Ok(None), Err)
        };
        match index {
            Ok(index) => Ok(Self { list: names.into(), index }),
            Err(position) => Err((position, names)),
        }
    }

    pub(crate) fn list(&self) -> &Tree<Text> {
        &self.list
    }

    pub(crate) fn into_root(self) -> Option<Node<Text>> {
        self.list.into_root()
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.position(&self.list, name),
            None => self.list.chunk_from(0).iter().position(|other| *other == *name),
        }
    }

    /// Appends a name, which must be new.
    pub(crate) fn push(&mut self, name: Text) {
        if let Some(index) = &mut self.index {
            index.append(&self.list, &name);
        }
        self.list.insert(usize::MAX, name);
        if self.index.is_none() && self.list.len() > WIDTH {
            let names: Vec<Text> = self.list.iter().cloned().collect();
            self.index = Index::build(&names).ok();
        }
    }

    pub(crate) fn remove(&mut self, position: usize) {
        self.list.remove(position);
        if self.list.len() <= WIDTH {
            self.index = None;
        }
        if let Some(index) = &mut self.index {
            index.remove(position);
        }
    }
}

impl Item for Text {
    fn clone_onto(&self, slots: &mut Vec<Slot<Self>>) {
        slots.push(Slot::Item(self.clone()));
    }

    fn depth(&self) -> u32 {
        0
    }

    fn is_measured(&self) -> bool {
        true
    }

    /// Includes the quotes and the colon.
    fn json_len(&self) -> usize {
        string_len(self).saturating_add(1)
    }

    fn take_deep(&mut self) -> Option<Self> {
        None
    }

    fn tree_mut(&mut self) -> Option<&mut Tree<Self>> {
        None
    }
}

/// The position of the first name that repeats an earlier one, in a list of at most [`WIDTH`] names.
fn repeated(names: &[Text]) -> Option<usize> {
    let mut seen = 0u64;
    names.iter().enumerate().position(|(position, name)| {
        // Most names already differ in this mark, so they need not be compared.
        let bytes = name.as_bytes();
        let ends = bytes.last().map_or(0, |last| last ^ bytes.first().map_or(0, |first| first << 3));
        let mark = 1u64 << ((usize::from(ends) + bytes.len()) % 64);
        let is_new = seen & mark == 0;
        seen |= mark;
        !is_new && names.iter().take(position).any(|other| other == name)
    })
}

/// The names of objects that were parsed before, to be tried on the next object.
///
/// Documents often repeat a few shapes. An object with the same names as an earlier one shares them; its names are
/// then neither unescaped, nor copied, nor searched for duplicates.
#[derive(Default)]
pub(crate) struct Shapes {
    /// For each hash of a first name, the latest names.
    slots: Vec<Option<Arc<Names>>>,
}

const SHAPES: usize = 16;

impl Shapes {
    /// The latest names that begin with this one.
    pub(crate) fn beginning_with(&self, first: &str) -> Option<Arc<Names>> {
        let shape = self.slots.get(Self::slot(first))?.as_ref()?;
        shape.list.get(0).filter(|name| **name == *first)?;
        Some(Arc::clone(shape))
    }

    pub(crate) fn remember(&mut self, names: &Arc<Names>) {
        let few = names.list.chunk_from(0);
        // Only names that are written without escapes can be recognised in the text.
        let (Some(first), true) = (few.get(0), few.len() == names.list.len()) else { return };
        if few.iter().all(|name| plain_len(name.as_bytes()) == name.len()) {
            self.slots.resize(SHAPES, None);
            if let Some(slot) = self.slots.get_mut(Self::slot(first)) {
                *slot = Some(Arc::clone(names));
            }
        }
    }

    fn slot(first: &str) -> usize {
        let bytes = first.as_bytes();
        let ends = bytes.last().map_or(0, |last| last ^ bytes.first().map_or(0, |first| first << 2));
        (usize::from(ends) + bytes.len()) % SHAPES
    }
}
