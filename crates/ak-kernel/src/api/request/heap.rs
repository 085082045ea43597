//! Requests on heap objects and their types.

use alloc::vec::Vec;

use ak_heap::{Content, Created, Handle, Target};
use ak_json::{Object, Pointer, Text, Value};

/// A request on objects of the heap, or on their types.
#[derive(Clone, Debug, PartialEq)]
pub enum HeapRequest {
    /// Creates a heap object.
    Alloc {
        /// The type's name, not empty.
        type_name: Text,
        /// The content of the object.
        content: Content,
        /// The name of the subject that the content is about, for erasure; `None` means the agent.
        subject: Option<Text>,
    },
    /// Returns the content of a heap object.
    Read {
        /// The object.
        handle: Handle,
        /// The version to read, if the heap still keeps it; `None` means the newest one.
        version: Option<u64>,
    },
    /// Returns type, version, size, owner and labels of a heap object.
    Stat {
        /// The object.
        handle: Handle,
    },
    /// Applies a patch to a heap object.
    Write {
        /// The object.
        handle: Handle,
        /// An RFC 6902 patch.
        patch: Value,
        /// The version that the object must have; the request fails with CONFLICT if it has another one.
        expected_version: Option<u64>,
    },
    /// Deletes a heap object.
    Delete {
        /// The object.
        handle: Handle,
        /// The version that the object must have; the request fails with CONFLICT if it has another one.
        expected_version: Option<u64>,
    },
    /// Searches the heap.
    Query {
        /// The query, in the form that [`ak_heap::Query::parse`] reads.
        form: Object,
    },
    /// Performs several operations on the heap: all of them, or none.
    Batch {
        /// The operations, in the order in which they are performed.
        parts: Vec<BatchPart>,
    },
    /// Registers a schema for a type of heap objects. If the schema has patterns that [cannot be
    /// judged](ak_json::Schema::unjudged), the reply lists them under `unjudged`, each with `path` and `pattern`.
    TypeRegister {
        /// The type's name, not empty.
        name: Text,
        /// A JSON Schema.
        schema: Value,
    },
    /// Removes a type that the session's agent registered.
    TypeUnregister {
        /// The type's name.
        name: Text,
    },
}

/// One operation of a batch request.
///
/// An operation may name an object that an earlier operation of the batch creates. `links` writes the handles of
/// such objects into a document: see [`ak_heap::BatchOp`].
#[derive(Clone, Debug, PartialEq)]
pub enum BatchPart {
    /// Creates an object.
    Alloc {
        /// The type's name, not empty.
        type_name: Text,
        /// The content of the object.
        content: Content,
        /// Where in the content to write the handles of created objects.
        links: Vec<(Pointer, Created)>,
    },
    /// Applies a patch to an object.
    Write {
        /// The object.
        target: Target,
        /// An RFC 6902 patch.
        patch: Value,
        /// The version that the object must have when this operation is performed.
        expected_version: Option<u64>,
        /// Where in the document to write the handles of created objects.
        links: Vec<(Pointer, Created)>,
    },
    /// Deletes an object.
    Delete {
        /// The object.
        target: Target,
        /// The version that the object must have when this operation is performed.
        expected_version: Option<u64>,
    },
}
