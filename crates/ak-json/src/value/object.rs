//! Objects.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter::Zip;

use crate::value::Value;
use crate::value::names::Names;
use crate::value::text::Text;
use crate::value::tree::{self, Tree, WIDTH};
use crate::work;

/// A JSON object: members in the order written, with distinct names.
///
/// Clones share the members; a change copies the chunk of 32 that it touches. Look-up scans up to 32 names, and
/// bisects a sorted index beyond that, so no choice of names makes it slow.
#[derive(Clone, Default)]
pub struct Object {
    /// The names, separate from the values because objects of the same shape share them. `None` only without
    /// members.
    names: Option<Arc<Names>>,
    /// The values, in the order of the names.
    pub(crate) values: Tree<Value>,
}

impl Object {
    /// An empty object.
    pub const fn new() -> Self {
        Self { names: None, values: Tree::new() }
    }

    /// An object of names and values, which must be equally many.
    pub(crate) fn of(names: Arc<Names>, values: Tree<Value>) -> Self {
        Self { names: Some(names), values }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the member with this name; `None` when there is none.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.position(name)?)
    }

    /// Units of work for looking up a name.
    pub(crate) fn lookup_work(&self, name: &str) -> u64 {
        // Names are compared one by one within a chunk, and by bisection beyond it.
        let compared = if self.len() <= WIDTH { self.len() as u64 / 4 } else { 3 * work::log2(self.len()) };
        2 + compared * (1 + work::bytes(name.len()))
    }

    /// Whether there is a member with this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// The members in the order written.
    pub fn iter(&self) -> Members<'_> {
        Members(self.names().unwrap_or(const { &Tree::new() }).iter().zip(self.values.iter()))
    }

    /// The names in the order written.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Text> + Clone {
        self.iter().map(|(name, _)| name)
    }

    /// The values in the order written.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + Clone {
        self.values.iter()
    }

    /// Replaces the value of the member with this name, in its place, and returns the old value; or appends a new
    /// member.
    pub fn insert(&mut self, name: impl Into<Text>, value: impl Into<Value>) -> Option<Value> {
        let name = name.into();
        if let Some(position) = self.position(&name) {
            return self.values.set(position, value.into());
        }
        Arc::make_mut(self.names.get_or_insert_default()).push(name);
        self.values.insert(usize::MAX, value.into());
        None
    }

    /// Removes the member with this name and returns its value; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let names = self.names.as_mut()?;
        let position = names.position(name)?;
        Arc::make_mut(names).remove(position);
        self.values.remove(position)
    }

    pub(crate) fn into_parts(self) -> (Option<Arc<Names>>, Tree<Value>) {
        (self.names, self.values)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.names.as_ref()?.position(name)
    }

    pub(crate) fn names(&self) -> Option<&Tree<Text>> {
        self.names.as_deref().map(Names::list)
    }

    /// Whether both share the same names; `false` does not mean that the names differ.
    pub(crate) fn has_names_of(&self, other: &Self) -> bool {
        match (&self.names, &other.names) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Iterator over the members of an [`Object`], in the order written.
#[derive(Clone)]
pub struct Members<'a>(Zip<tree::Iter<'a, Text>, tree::Iter<'a, Value>>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a Text, &'a Value);

    fn next(&mut self) -> Option<(&'a Text, &'a Value)> {
        self.0.next()
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

/// A name that occurs again replaces the value of its first occurrence.
impl<K: Into<Text>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let members = members.into_iter();
        let mut builder = ObjectBuilder::with_capacity(members.size_hint().0);
        for (name, value) in members {
            builder.insert(name, value);
        }
        builder.finish()
    }
}

/// Collects the members of an object and builds it at once, which saves a copy for each member.
///
/// ```
/// let mut builder = ak_json::ObjectBuilder::default();
/// builder.insert("a", 1u64);
/// builder.insert("b", "two");
/// assert_eq!(ak_json::Value::from(builder.finish()).to_json(), r#"{"a":1,"b":"two"}"#);
/// ```
#[derive(Debug, Default)]
pub struct ObjectBuilder {
    names: Vec<Text>,
    values: Vec<Value>,
}

impl ObjectBuilder {
    /// A builder with capacity for this many members.
    pub fn with_capacity(members: usize) -> Self {
        Self { names: Vec::with_capacity(members), values: Vec::with_capacity(members) }
    }

    /// Appends a member. A name that occurs again replaces the value of its first occurrence.
    pub fn insert(&mut self, name: impl Into<Text>, value: impl Into<Value>) {
        self.names.push(name.into());
        self.values.push(value.into());
    }

    /// Builds the object.
    pub fn finish(self) -> Object {
        if self.names.is_empty() {
            return Object::new();
        }
        match Names::build(self.names) {
            Ok(names) => Object::of(Arc::new(names), self.values.into()),
            Err((_, names)) => {
                let mut object = Object::new();
                for (name, value) in names.into_iter().zip(self.values) {
                    object.insert(name, value);
                }
                object
            }
        }
    }
}

impl From<&Object> for Object {
    fn from(shared: &Self) -> Self {
        shared.clone()
    }
}
