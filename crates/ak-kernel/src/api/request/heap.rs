//! Requests on heap objects and their types.

use alloc::vec::Vec;

use ak_heap::{Content, Created, Handle, Target};
use ak_json::{Object, Pointer, Text, Value};

/// A request on objects of the heap, or on their types.
#[derive(Clone, Debug, PartialEq)]
pub enum HeapRequest {
    /// Create a heap object. `subject` is whom its content is about; the agent where absent.
    Alloc {
        /// The type's name, not empty.
        type_name: Text,
        /// What it holds.
        content: Content,
        /// Whose data it is, for erasure.
        subject: Option<Text>,
    },
    /// Read a heap object.
    Read {
        /// The object.
        handle: Handle,
        /// As it was at this version, as far as history is kept.
        version: Option<u64>,
    },
    /// Describe a heap object.
    Stat {
        /// The object.
        handle: Handle,
    },
    /// Patch a heap object.
    Write {
        /// The object.
        handle: Handle,
        /// An RFC 6902 patch.
        patch: Value,
        /// Refuse unless the object has this version.
        expected_version: Option<u64>,
    },
    /// Delete a heap object.
    Delete {
        /// The object.
        handle: Handle,
        /// Refuse unless the object has this version.
        expected_version: Option<u64>,
    },
    /// Search the heap.
    Query {
        /// The query as [`ak_heap::Query::parse`] reads it.
        form: Object,
    },
    /// Several operations on the heap, all of them or none.
    Batch {
        /// In this order.
        parts: Vec<BatchPart>,
    },
    /// Give a type of heap objects a schema. The reply names the patterns in it that
    /// [cannot be judged](ak_json::Schema::unjudged), if there are any, as `unjudged`: `path` and `pattern` of each.
    TypeRegister {
        /// The type's name, not empty.
        name: Text,
        /// A JSON Schema.
        schema: Value,
    },
    /// Take back a type that one registered.
    TypeUnregister {
        /// The type's name.
        name: Text,
    },
}

/// One operation of a batch.
///
/// An operation may be about an object that an earlier one creates, and `links` may write the handles of such objects
/// into a document: see [`ak_heap::BatchOp`].
#[derive(Clone, Debug, PartialEq)]
pub enum BatchPart {
    /// Create an object.
    Alloc {
        /// The type's name, not empty.
        type_name: Text,
        /// What it holds.
        content: Content,
        /// Handles to write into the content.
        links: Vec<(Pointer, Created)>,
    },
    /// Patch an object.
    Write {
        /// The object.
        target: Target,
        /// An RFC 6902 patch.
        patch: Value,
        /// Refuse unless the object has this version by then.
        expected_version: Option<u64>,
        /// Handles to write into the document.
        links: Vec<(Pointer, Created)>,
    },
    /// Delete an object.
    Delete {
        /// The object.
        target: Target,
        /// Refuse unless the object has this version by then.
        expected_version: Option<u64>,
    },
}
