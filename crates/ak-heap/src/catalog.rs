//! The catalog: the declarations of types, the objects of each type, and the order of their values.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{CHECK_DEPTH_MAX, OutOfWork, Pointer, Schema, Text, Violation, Work};

use crate::error::HeapError;
use crate::key::Key;
use crate::object::{Content, Object};
use crate::owned::Owned;

/// A secondary index: the objects of one type, ordered by the value at one pointer, then by index in the table.
pub(crate) type Index = Owned<(Key, u32)>;

/// The declared types, and the live objects by type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    /// Indexes of the live objects.
    objects: Owned<u32>,
    /// Indexes of the live objects of each type that has any.
    members: BTreeMap<Text, Owned<u32>>,
    /// The types with a schema for everybody or with secondary indexes.
    declared: BTreeMap<Text, Declared>,
    /// The schemas that agents registered for themselves and their descendants, by type name, then by agent.
    scoped: BTreeMap<Text, BTreeMap<Text, Schema>>,
    /// The size of the schemas of each delegation tree; those for everybody are under the empty name.
    delegation_trees: BTreeMap<Text, SchemaUsage>,
    schema_usage: SchemaUsage,
}

/// The number of schemas and their memory, which the limits on types count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SchemaUsage {
    pub(crate) types: usize,
    pub(crate) bytes: usize,
}

impl SchemaUsage {
    fn add(&mut self, schema: &Schema) {
        self.types = self.types.saturating_add(1);
        self.bytes = self.bytes.saturating_add(schema.memory_bytes());
    }

    pub(crate) fn without(self, other: SchemaUsage) -> SchemaUsage {
        SchemaUsage {
            types: self.types.saturating_sub(other.types),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl From<&Schema> for SchemaUsage {
    fn from(schema: &Schema) -> SchemaUsage {
        SchemaUsage { types: 1, bytes: schema.memory_bytes() }
    }
}

/// The name of the root agent of a scope's delegation tree.
fn delegation_tree(scope: &str) -> &str {
    scope.split_once('/').map_or(scope, |(first, _)| first)
}

/// The declarations of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// The schema for everybody.
    pub(crate) schema: Option<Schema>,
    pub(crate) indexes: BTreeMap<Pointer, Index>,
}

/// The declarations of all types, without the contents of their indexes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declarations {
    /// Type name, schema for everybody, pointers of the secondary indexes; ascending.
    pub(crate) types: Vec<(Text, Option<Schema>, Vec<Pointer>)>,
    /// Schemas of agents: scope, type name, schema; ascending by type name, then by scope.
    pub(crate) scoped: Vec<(Text, Text, Schema)>,
}

impl Catalog {
    /// A copy of all declarations.
    pub(crate) fn declarations(&self) -> Declarations {
        let types = self.declared.iter().map(|(name, declared)| {
            (name.clone(), declared.schema.clone(), declared.indexes.keys().cloned().collect())
        });
        let scoped = self.scoped().map(|(scope, name, schema)| (scope.into(), name.clone(), schema.clone()));
        Declarations { types: types.collect(), scoped: scoped.collect() }
    }

    /// Indexes of all live objects.
    pub(crate) fn objects(&self) -> &Owned<u32> {
        &self.objects
    }

    /// Indexes of the live objects of a type.
    pub(crate) fn members(&self, type_name: &str) -> Option<&Owned<u32>> {
        self.members.get(type_name)
    }

    pub(crate) fn index(&self, type_name: &str, pointer: &Pointer) -> Option<&Index> {
        self.declared.get(type_name)?.indexes.get(pointer)
    }

    /// The schema registered in exactly this scope.
    pub(crate) fn schema(&self, scope: &str, type_name: &str) -> Option<&Schema> {
        match scope {
            "" => self.declared.get(type_name)?.schema.as_ref(),
            scope => self.scoped.get(type_name)?.get(scope),
        }
    }

    /// All schemas with scope and type name: those for everybody first, then by type name, then by scope.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = (&str, &Text, &Schema)> {
        let global =
            self.declared.iter().filter_map(|(name, declared)| Some(("", name, declared.schema.as_ref()?)));
        global.chain(self.scoped())
    }

    /// The schemas that agents registered.
    pub(crate) fn scoped(&self) -> impl Iterator<Item = (&str, &Text, &Schema)> {
        self.scoped
            .iter()
            .flat_map(|(name, scopes)| scopes.iter().map(move |(scope, schema)| (&**scope, name, schema)))
    }

    /// The schemas that an owner's objects of a type must satisfy: the one for everybody, then those of the owner's
    /// lineage, root first.
    pub(crate) fn applicable(&self, owner: &str, type_name: &str) -> impl Iterator<Item = &Schema> {
        let global = self.declared.get(type_name).and_then(|declared| declared.schema.as_ref());
        let scopes = self.scoped.get(type_name);
        let lineage = scopes.map(|scopes| {
            let ends = owner.match_indices('/').map(|(end, _)| end).chain([owner.len()]);
            ends.filter_map(|end| scopes.get(owner.get(..end)?))
        });
        global.into_iter().chain(lineage.into_iter().flatten())
    }

    pub(crate) fn set_schema(&mut self, scope: &str, type_name: &str, schema: Schema) {
        self.remove_schema(scope, type_name);
        self.schema_usage.add(&schema);
        self.delegation_trees.entry(delegation_tree(scope).into()).or_default().add(&schema);
        let name = self.shared_name(type_name);
        if scope.is_empty() {
            self.declared.entry(name).or_default().schema = Some(schema);
        } else {
            self.scoped.entry(name).or_default().insert(scope.into(), schema);
        }
    }

    /// Removes a schema; returns whether there was one.
    pub(crate) fn remove_schema(&mut self, scope: &str, type_name: &str) -> bool {
        let removed = if scope.is_empty() {
            let removed = self.declared.get_mut(type_name).and_then(|declared| declared.schema.take());
            self.forget_empty(type_name);
            removed
        } else {
            let scopes = self.scoped.get_mut(type_name);
            let removed = scopes.and_then(|scopes| scopes.remove(scope));
            if self.scoped.get(type_name).is_some_and(BTreeMap::is_empty) {
                self.scoped.remove(type_name);
            }
            removed
        };
        let Some(schema) = removed else { return false };
        self.schema_usage = self.schema_usage.without(SchemaUsage::from(&schema));
        if let Some(usage) = self.delegation_trees.get_mut(delegation_tree(scope)) {
            *usage = usage.without(SchemaUsage::from(&schema));
            if usage.types == 0 {
                self.delegation_trees.remove(delegation_tree(scope));
            }
        }
        true
    }

    /// The size of all schemas.
    pub(crate) fn schema_usage(&self) -> SchemaUsage {
        self.schema_usage
    }

    /// The size of the schemas in all scopes of a scope's delegation tree.
    pub(crate) fn usage_of_delegation_tree(&self, scope: &str) -> SchemaUsage {
        self.delegation_trees.get(delegation_tree(scope)).copied().unwrap_or_default()
    }

    fn forget_empty(&mut self, type_name: &str) {
        let is_empty = |declared: &Declared| declared.indexes.is_empty() && declared.schema.is_none();
        if self.declared.get(type_name).is_some_and(is_empty) {
            self.declared.remove(type_name);
        }
    }

    /// Units of work for keeping the indexes of a type up to date with one change.
    pub(crate) fn index_work(&self, type_name: &str) -> u64 {
        let indexes = self.declared.get(type_name).into_iter().flat_map(|declared| declared.indexes.keys());
        indexes.map(|pointer| 100 + 140 * pointer.tokens().len() as u64).sum()
    }

    pub(crate) fn index_count(&self) -> usize {
        self.declared.values().map(|declared| declared.indexes.len()).sum()
    }

    /// The type's name, sharing memory with the objects of that type.
    pub(crate) fn shared_name(&self, name: &str) -> Text {
        self.members.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    /// Adds a new object.
    pub(crate) fn add(&mut self, index: u32, object: &Object) {
        self.objects.add(object.owner(), index);
        match self.members.get_mut(&**object.type_name()) {
            Some(members) => members.add(object.owner(), index),
            None => self.members.entry(object.type_name().clone()).or_default().add(object.owner(), index),
        }
        for (pointer, entries) in self.indexes_of(object) {
            entries.add(object.owner(), (key(object.content(), pointer), index));
        }
    }

    /// Removes an object that is no longer live.
    pub(crate) fn remove(&mut self, index: u32, object: &Object) {
        self.objects.remove(object.owner(), &index);
        if let Some(members) = self.members.get_mut(&**object.type_name()) {
            members.remove(object.owner(), &index);
            if members.is_empty() {
                self.members.remove(&**object.type_name());
            }
        }
        for (pointer, entries) in self.indexes_of(object) {
            entries.remove(object.owner(), &(key(object.content(), pointer), index));
        }
    }

    /// Updates the secondary indexes for a write to an object that still has its old content.
    pub(crate) fn update(&mut self, index: u32, object: &Object, after: &Content) {
        for (pointer, entries) in self.indexes_of(object) {
            let (before, after) = (key(object.content(), pointer), key(after, pointer));
            if before != after {
                entries.remove(object.owner(), &(before, index));
                entries.add(object.owner(), (after, index));
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

    /// Removes a secondary index; returns whether there was one.
    pub(crate) fn remove_index(&mut self, type_name: &str, pointer: &Pointer) -> bool {
        let Some(declared) = self.declared.get_mut(type_name) else { return false };
        let removed = declared.indexes.remove(pointer).is_some();
        self.forget_empty(type_name);
        removed
    }
}

/// Checks that the content satisfies the schema. Raw bytes satisfy none.
pub(crate) fn satisfies(
    schema: &Schema,
    type_name: &str,
    content: &Content,
    work: &mut Work,
) -> Result<(), HeapError> {
    let breaks = |instance_path: String, keyword: &str| HeapError::Schema {
        type_name: type_name.into(),
        instance_path,
        keyword: keyword.into(),
    };
    let document = content.as_json().ok_or_else(|| breaks(String::new(), "type"))?;
    schema.validate(document, work).map_err(|violation| match violation {
        Violation::Keyword { instance, keyword, .. } => breaks(instance.to_string(), keyword),
        Violation::Unjudged { instance, keyword, .. } => HeapError::Unjudged {
            type_name: type_name.into(),
            instance_path: instance.to_string(),
            keyword: keyword.into(),
        },
        Violation::Depth => {
            HeapError::Limit { limit: "depth of content and schema together", max: CHECK_DEPTH_MAX as u64 }
        }
        Violation::Work => OutOfWork.into(),
    })
}

/// The key by which an index orders an object.
pub(crate) fn key(content: &Content, pointer: &Pointer) -> Key {
    Key::of(content.as_json().and_then(|document| document.pointer(pointer)))
}
