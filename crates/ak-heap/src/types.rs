//! Registered types: names whose objects must satisfy a schema.

use ak_json::{OutOfWork, Schema, SchemaError, SchemaReason, Value, Work};

use crate::catalog::{SchemaUsage, satisfies};
use crate::config::{NAME_BYTES_MAX, SCHEMA_BYTES_MAX};
use crate::error::HeapError;
use crate::handle::Handle;
use crate::heap::Heap;

/// Why a type was not registered. A type already registered under that name stays unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// The name is empty or longer than [`NAME_BYTES_MAX`] bytes, or the scope is longer than that.
    #[error("type name is not 1 to 255 bytes long")]
    Name,
    /// Parsing the schema, or checking the objects of the type, takes more than the limit of [`Work`].
    #[error(transparent)]
    Work(#[from] OutOfWork),
    /// There are too many types, or the schema is too long or takes too much memory.
    #[error("{limit} exceeds {max}")]
    Limit {
        /// The quantity that is limited.
        limit: &'static str,
        /// The limit.
        max: u64,
    },
    /// The value is not a schema, or the schema uses an unsupported feature.
    #[error(transparent)]
    Schema(SchemaError),
    /// An object of that type does not satisfy the schema.
    #[error("existing object {handle} does not satisfy the schema: {error}")]
    Object {
        /// Handle of the object.
        handle: Handle,
        /// How the object violates the schema.
        error: HeapError,
    },
}

impl From<SchemaError> for TypeError {
    fn from(error: SchemaError) -> TypeError {
        match error.reason {
            SchemaReason::Work => TypeError::Work(OutOfWork),
            _ => TypeError::Schema(error),
        }
    }
}

impl Heap {
    /// Registers a type in a scope, or replaces its schema. The schema is a JSON Schema with the keywords of
    /// [`Schema`].
    ///
    /// The scope is everybody, written as the empty string, or the name of an agent: then it is that agent and its
    /// descendants, whose names continue with `/`. From now on every object of that type whose owner is in the scope
    /// must have content that satisfies the schema. An object must satisfy the schemas of all scopes that its owner
    /// is in; a schema has no effect on owners outside its scope.
    ///
    /// Raw bytes satisfy no schema. Earlier revisions are not checked. Parsing the schema and checking each object of
    /// the type in the scope spend `work`.
    ///
    /// ```
    /// use ak_heap::{Content, Heap, HeapConfig, Labels, REQUEST_WORK, Work};
    /// use ak_json::object;
    ///
    /// let mut heap = Heap::new(HeapConfig::default());
    /// let work = &mut Work::new(REQUEST_WORK);
    /// heap.register_type("", "age", &object! { "type": "integer", "minimum": 0 }, work)?;
    /// heap.register_type("crew", "age", &object! { "maximum": 99 }, work)?;
    /// let alloc = |heap: &mut Heap, owner: &str, age: i64| {
    ///     heap.alloc(owner, "age", Content::Json(age.into()), Labels::default())
    /// };
    /// let error = alloc(&mut heap, "main", -1).unwrap_err();
    /// assert_eq!(error.to_string(), r#"content of type age breaks 'minimum' at """#);
    /// assert!(alloc(&mut heap, "main", 100).is_ok());
    /// assert!(alloc(&mut heap, "crew/cook", 100).is_err());
    /// # Ok::<(), ak_heap::TypeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TypeError`] when the schema is not accepted, an object in the scope violates it, or a limit is exceeded;
    /// nothing has changed then.
    pub fn register_type(
        &mut self,
        scope: &str,
        name: &str,
        schema: &Value,
        work: &mut Work,
    ) -> Result<(), TypeError> {
        check_names(scope, name)?;
        if schema.json_len() > SCHEMA_BYTES_MAX {
            return Err(TypeError::Limit { limit: "schema in bytes", max: SCHEMA_BYTES_MAX as u64 });
        }
        // The limits first, as checking them costs nothing.
        let room = self.room_for_types(scope, name)?;
        let schema = Schema::parse(schema, work)?;
        if schema.memory_bytes() > room {
            return Err(TypeError::Limit { limit: "bytes of schemas", max: room as u64 });
        }
        let members = self.catalog.members(name).map(|members| members.of_delegation_tree(scope));
        for index in members.into_iter().flatten() {
            work.spend(50)?;
            let Some((handle, object)) = self.slots.live_at(*index) else { continue };
            match satisfies(&schema, name, object.content(), work) {
                Ok(()) => {}
                Err(HeapError::Work(error)) => return Err(error.into()),
                Err(error) => return Err(TypeError::Object { handle, error }),
            }
        }
        self.catalog.set_schema(scope, name, schema);
        Ok(())
    }

    /// Registers a type of a snapshot. Its objects are not checked again.
    pub(crate) fn restore_type(&mut self, scope: &str, name: &str, schema: &Value) -> Result<(), TypeError> {
        check_names(scope, name)?;
        let max = self.config().types_max;
        if self.schema(scope, name).is_none() && self.catalog.schema_usage().types >= max {
            return Err(TypeError::Limit { limit: "types", max: max as u64 });
        }
        let schema = Schema::parse(schema, &mut Work::unlimited())?;
        self.catalog.set_schema(scope, name, schema);
        Ok(())
    }

    /// The bytes that the compiled schema of a type may have; fails if there may be no further type.
    fn room_for_types(&self, scope: &str, name: &str) -> Result<usize, TypeError> {
        let replaced = self.schema(scope, name).map(SchemaUsage::from).unwrap_or_default();
        let all = self.catalog.schema_usage().without(replaced);
        let own = self.catalog.usage_of_delegation_tree(scope).without(replaced);
        let agents = all.without(self.catalog.usage_of_delegation_tree(""));
        let config = self.config();
        let mut limits = alloc::vec![(all, config.types_max, config.type_bytes_max)];
        if !scope.is_empty() {
            let types = config.types_max.saturating_sub(config.types_reserved);
            limits.push((agents, types, config.type_bytes_max.saturating_sub(config.type_bytes_reserved)));
            limits.push((
                own,
                config.types_per_delegation_tree_max,
                config.type_bytes_per_delegation_tree_max,
            ));
        }
        let mut room = usize::MAX;
        for (usage, types_max, bytes_max) in limits {
            if usage.types >= types_max {
                return Err(TypeError::Limit { limit: "types", max: types_max as u64 });
            }
            room = room.min(bytes_max.saturating_sub(usage.bytes));
        }
        Ok(room)
    }

    /// Removes a type from a scope; returns whether it was registered there. Objects stay unchanged.
    pub fn unregister_type(&mut self, scope: &str, name: &str) -> bool {
        self.catalog.remove_schema(scope, name)
    }

    /// The schema of the type registered in exactly this scope; `None` if there is none.
    pub fn schema(&self, scope: &str, type_name: &str) -> Option<&Schema> {
        self.catalog.schema(scope, type_name)
    }

    /// Iterates over the registered types as scope, name and schema: those for everybody first, then by name and
    /// scope.
    pub fn types(&self) -> impl Iterator<Item = (&str, &str, &Schema)> {
        self.catalog.schemas().map(|(scope, name, schema)| (scope, &**name, schema))
    }
}

fn check_names(scope: &str, name: &str) -> Result<(), TypeError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || scope.len() > NAME_BYTES_MAX {
        return Err(TypeError::Name);
    }
    Ok(())
}
