//! Registered types: names whose objects must satisfy a schema.

use ak_json::{Schema, SchemaError, Value};

use crate::catalog::satisfies;
use crate::config::{NAME_BYTES_MAX, SCHEMA_BYTES_MAX};
use crate::{Handle, Heap, HeapError};

/// Why a type was not registered. The one of that name, if there is one, stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// The name is empty or longer than [`NAME_BYTES_MAX`].
    #[error("type name is not 1 to 255 bytes long")]
    Name,
    /// There are too many types, or the schema is too long.
    #[error("{limit} exceeds {max}")]
    Limit {
        /// What is limited.
        limit: &'static str,
        /// The limit.
        max: u64,
    },
    /// It is no schema, or one that demands what is not supported.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// An object of that name does not satisfy the schema.
    #[error("object {handle} is there already: {error}")]
    Object {
        /// Which object.
        handle: Handle,
        /// What it breaks.
        error: HeapError,
    },
}

impl Heap {
    /// Registers a type: from now on no object of that name has a content that breaks the schema, which is one of
    /// JSON Schema 2020-12 with the keywords of [`Schema`]. Registering a name anew replaces its schema.
    ///
    /// Raw bytes break every schema. Earlier revisions are not checked.
    ///
    /// ```
    /// use ak_heap::{Content, Heap, HeapConfig, Labels};
    /// use ak_json::object;
    ///
    /// let mut heap = Heap::new(HeapConfig::default());
    /// heap.register_type("age", &object! { "type": "integer", "minimum": 0 })?;
    /// let error = heap.alloc("main", "age", Content::Json((-1).into()), Labels::default()).unwrap_err();
    /// assert_eq!(error.to_string(), r#"content of type age breaks 'minimum' at """#);
    /// # Ok::<(), ak_heap::TypeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TypeError`] when the schema is refused, or an object of the name breaks it.
    pub fn register_type(&mut self, name: &str, schema: &Value) -> Result<(), TypeError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(TypeError::Name);
        }
        if schema.json_len() > SCHEMA_BYTES_MAX {
            return Err(TypeError::Limit { limit: "schema in bytes", max: SCHEMA_BYTES_MAX as u64 });
        }
        let max = self.config().types_max;
        if self.schema(name).is_none() && self.catalog.schema_count() >= max {
            return Err(TypeError::Limit { limit: "types", max: max as u64 });
        }
        let schema = Schema::parse(schema)?;
        for (handle, object) in self.of_type(name) {
            let checked = satisfies(&schema, name, object.content());
            checked.map_err(|error| TypeError::Object { handle, error })?;
        }
        self.catalog.set_schema(name, schema);
        Ok(())
    }

    /// The schema of a registered type.
    pub fn schema(&self, type_name: &str) -> Option<&Schema> {
        self.catalog.schema(type_name)
    }
}
