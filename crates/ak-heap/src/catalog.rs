//! The catalog: what is declared of types, which objects are of them, and in what order their values are.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};

use ak_json::{CHECK_DEPTH_MAX, Pointer, Schema, Text, Violation};

use crate::query::Key;
use crate::{Content, HeapError, Object};

/// A secondary index: the objects of one type by the value at one pointer, then by place.
pub(crate) type Index = BTreeSet<(Key, u32)>;

/// What is known of types.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    /// The live objects of each type that has any.
    members: BTreeMap<Text, BTreeSet<u32>>,
    /// The types of which anything is declared.
    declared: BTreeMap<Text, Declared>,
}

/// What is declared of a type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// What its objects' contents must satisfy.
    pub(crate) schema: Option<Schema>,
    pub(crate) indexes: BTreeMap<Pointer, Index>,
}

impl Catalog {
    /// The live objects of a type.
    pub(crate) fn members(&self, type_name: &str) -> Option<&BTreeSet<u32>> {
        self.members.get(type_name)
    }

    pub(crate) fn index(&self, type_name: &str, pointer: &Pointer) -> Option<&Index> {
        self.declared.get(type_name)?.indexes.get(pointer)
    }

    pub(crate) fn declared(&self) -> impl ExactSizeIterator<Item = (&Text, &Declared)> {
        self.declared.iter()
    }

    pub(crate) fn schema(&self, type_name: &str) -> Option<&Schema> {
        self.declared.get(type_name)?.schema.as_ref()
    }

    pub(crate) fn schema_count(&self) -> usize {
        self.declared.values().filter(|declared| declared.schema.is_some()).count()
    }

    pub(crate) fn set_schema(&mut self, type_name: &str, schema: Schema) {
        let name = self.shared_name(type_name);
        self.declared.entry(name).or_default().schema = Some(schema);
    }

    pub(crate) fn index_count(&self) -> usize {
        self.declared.values().map(|declared| declared.indexes.len()).sum()
    }

    /// The type's name, shared with the objects of the type.
    pub(crate) fn shared_name(&self, name: &str) -> Text {
        self.members.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    /// Takes up a new object.
    pub(crate) fn add(&mut self, index: u32, object: &Object) {
        match self.members.get_mut(&**object.type_name()) {
            Some(members) => members.insert(index),
            None => self.members.entry(object.type_name().clone()).or_default().insert(index),
        };
        for (pointer, entries) in self.indexes_of(object) {
            entries.insert((key(object.content(), pointer), index));
        }
    }

    /// Gives up an object that is live no more.
    pub(crate) fn remove(&mut self, index: u32, object: &Object) {
        if let Some(members) = self.members.get_mut(&**object.type_name()) {
            members.remove(&index);
            if members.is_empty() {
                self.members.remove(&**object.type_name());
            }
        }
        for (pointer, entries) in self.indexes_of(object) {
            entries.remove(&(key(object.content(), pointer), index));
        }
    }

    /// Follows a write to an object that still has its old content.
    pub(crate) fn update(&mut self, index: u32, object: &Object, after: &Content) {
        for (pointer, entries) in self.indexes_of(object) {
            let (before, after) = (key(object.content(), pointer), key(after, pointer));
            if before != after {
                entries.remove(&(before, index));
                entries.insert((after, index));
            }
        }
    }

    fn indexes_of(&mut self, object: &Object) -> impl Iterator<Item = (&Pointer, &mut Index)> {
        self.declared.get_mut(&**object.type_name()).into_iter().flat_map(|declared| &mut declared.indexes)
    }

    pub(crate) fn add_index(&mut self, type_name: &str, pointer: &Pointer, entries: Index) {
        let name = self.shared_name(type_name);
        self.declared.entry(name).or_default().indexes.insert(pointer.clone(), entries);
    }

    /// Drops an index; returns whether there was one.
    pub(crate) fn remove_index(&mut self, type_name: &str, pointer: &Pointer) -> bool {
        let Some(declared) = self.declared.get_mut(type_name) else { return false };
        let removed = declared.indexes.remove(pointer).is_some();
        if declared.indexes.is_empty() && declared.schema.is_none() {
            self.declared.remove(type_name);
        }
        removed
    }
}

/// Whether the content satisfies the schema. Raw bytes satisfy none.
pub(crate) fn satisfies(schema: &Schema, type_name: &str, content: &Content) -> Result<(), HeapError> {
    let breaks = |instance_path: String, keyword: &str| HeapError::Schema {
        type_name: type_name.into(),
        instance_path,
        keyword: keyword.into(),
    };
    let document = content.as_json().ok_or_else(|| breaks(String::new(), "type"))?;
    schema.validate(document).map_err(|violation| match violation {
        Violation::Keyword { instance, keyword, .. } => breaks(instance.to_string(), keyword),
        Violation::Depth => {
            HeapError::Limit { limit: "depth of content and schema together", max: CHECK_DEPTH_MAX as u64 }
        }
        Violation::Steps => {
            HeapError::Limit { limit: "work of checking content, for its bytes,", max: content.size() }
        }
    })
}

/// What an object is ordered by.
pub(crate) fn key(content: &Content, pointer: &Pointer) -> Key {
    Key::of(content.as_json().and_then(|document| document.pointer(pointer)))
}
