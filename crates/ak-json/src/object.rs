//! Objects.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use crate::index::Index;
use crate::print;
use crate::text::Text;
use crate::tree::{self, Item, Tree, WIDTH};
use crate::value::Value;

/// A JSON object: members in the order written, no name twice.
///
/// Clones share the members, and a change copies only the chunk of 32 it touches. Look-up scans up to 32
/// members and bisects a sorted index beyond that, so that no choice of names makes it slow.
#[derive(Clone, Default)]
pub struct Object {
    pub(crate) tree: Tree<Member>,
}

#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) name: Text,
    pub(crate) value: Value,
}

impl Object {
    /// An empty object.
    pub const fn new() -> Self {
        Self { tree: Tree::new() }
    }

    /// Takes the members over; gives the position of a repeated name when there is one.
    pub(crate) fn build(members: Vec<Member>) -> Result<Self, usize> {
        let index = Index::build(&members)?;
        let mut tree = Tree::build(members);
        tree.put_index(index.map(Arc::new));
        Ok(Self { tree })
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the member with the name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self.tree.index() {
            Some(index) => self.tree.get(index.position(&self.tree, name)?),
            None => self.tree.chunk_from(0).iter().find(|member| member.name == *name),
        }
        .map(|member| &member.value)
    }

    /// Whether there is a member with the name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The members in the order written.
    pub fn iter(&self) -> Members<'_> {
        Members(self.tree.iter())
    }

    /// The names in the order written.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Text> + Clone {
        self.tree.iter().map(|member| &member.name)
    }

    /// The values in the order written.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + Clone {
        self.tree.iter().map(|member| &member.value)
    }

    /// Replaces the value of the name where it stands and returns the old one, or appends a member.
    pub fn insert(&mut self, name: impl Into<Text>, value: impl Into<Value>) -> Option<Value> {
        let member = Member { name: name.into(), value: value.into() };
        if let Some(position) = self.position(&member.name) {
            return self.tree.set(position, member).map(|old| old.value);
        }
        let mut index = self.tree.take_index();
        if let Some(index) = &mut index {
            Arc::make_mut(index).append(&self.tree, &member.name);
        }
        self.tree.insert(usize::MAX, member);
        if index.is_none() && self.len() > WIDTH {
            let members: Vec<Member> = self.tree.iter().cloned().collect();
            index = Index::build(&members).ok().flatten().map(Arc::new);
        }
        self.tree.put_index(index);
        None
    }

    /// Takes the member with the name out and returns its value; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let position = self.position(name)?;
        let mut index = self.tree.take_index().filter(|_| self.len() > WIDTH + 1);
        let removed = self.tree.remove(position);
        if let Some(index) = &mut index {
            Arc::make_mut(index).remove(position);
        }
        self.tree.put_index(index);
        removed.map(|member| member.value)
    }

    fn position(&self, name: &str) -> Option<usize> {
        match self.tree.index() {
            Some(index) => index.position(&self.tree, name),
            None => self.tree.chunk_from(0).iter().position(|member| member.name == *name),
        }
    }
}

impl Item for Member {
    fn value(&self) -> &Value {
        &self.value
    }

    fn take(&mut self) -> Value {
        mem::take(&mut self.value)
    }

    fn json_len(&self) -> usize {
        print::string_len(&self.name).saturating_add(1).saturating_add(self.value.json_len_shallow())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        self.value.encode_shallow(out);
    }
}

/// The members of an [`Object`] in the order written.
#[derive(Clone)]
pub struct Members<'a>(tree::Iter<'a, Member>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a Text, &'a Value);

    fn next(&mut self) -> Option<(&'a Text, &'a Value)> {
        self.0.next().map(|member| (&member.name, &member.value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Members<'_> {}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a Text, &'a Value);
    type IntoIter = Members<'a>;

    fn into_iter(self) -> Members<'a> {
        self.iter()
    }
}

/// A name that comes again replaces the value where it stood first.
impl<K: Into<Text>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let mut object = Self::new();
        for (name, value) in members {
            object.insert(name, value);
        }
        object
    }
}

impl From<&Object> for Object {
    fn from(shared: &Self) -> Self {
        shared.clone()
    }
}
