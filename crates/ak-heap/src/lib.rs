//! A store of typed, versioned, labelled objects with deterministic behaviour.
//!
//! - **Plans.** Every change is first checked in full and put into a [`Plan`], which tells what will happen and what
//!   it costs. Committing a plan cannot fail; dropping it changes nothing.
//! - **Sharing, not copying.** Reading returns a reference to the stored value. A patch rebuilds the containers on
//!   the path to its change and shares all others with the version before, which stays readable. A clone of the heap
//!   shares all content too.
//! - **A pure function.** No clock, no randomness, no global, no hash map: the same operations give the same handles,
//!   errors, bytes and [`digest`](Heap::digest), on any machine.
//! - **Labels are kept, not enforced.** The integrity and secrecy of a value follow it through patches, batches and
//!   history ([`LabelMap`]). The caller decides who may read a value or lower its labels.
//! - **Metered.** An operation that takes more time than is proportional to the bytes of its request spends units of
//!   [`Work`] first. If they do not suffice, it fails and changes nothing. [`REQUEST_WORK`] is the limit for one
//!   request.
//! - **Bounded.** Every size has a limit in [`HeapConfig`]; no input makes the heap panic, recurse deeply or grow
//!   beyond its limits.
//!
//! The types that matter: [`Heap`] holds [`Object`]s, each with its owner, type, version and [`Content`], under
//! [`Handle`]s that are never used twice; a [`Patch`] (RFC 6902) changes a content; a [`Query`] finds objects.
//!
//! ```
//! use ak_heap::{Content, Heap, HeapConfig, Labels, Patch};
//! use ak_json::{array, object};
//!
//! let mut heap = Heap::new(HeapConfig::default());
//! let content = Content::Json(object! { "value": 0, "name": "counter" });
//! let counter = heap.alloc("main", "counter", content, Labels::default())?;
//!
//! let patch = Patch::parse(&array![
//!     object! { "op": "test", "path": "/value", "value": 0 },
//!     object! { "op": "replace", "path": "/value", "value": 42 },
//! ])?;
//! assert_eq!(heap.write(counter, &patch, Some(0))?, 1);
//! // Version 0 is no longer the present one, so the same write is now a conflict.
//! assert!(heap.write(counter, &patch, Some(0)).is_err());
//!
//! assert_eq!(heap.read(counter)?.content(), &Content::Json(object! { "value": 42, "name": "counter" }));
//! assert_eq!(heap.read_at(counter, 0)?.content(), &Content::Json(object! { "value": 0, "name": "counter" }));
//! # Ok::<(), ak_heap::HeapError>(())
//! ```
//!
//! # Modules
//!
//! **Values.** `handle`, `object` and `labels` are what a heap holds. `patch` changes a content (`apply`; `diff` and
//! `merge` make patches; `error` has the reasons for which one does not apply). `config` has the limits, `error` the
//! reasons for which an operation fails, `change` the effects of an operation, `key` the order of values.
//!
//! **Counting.** `slots` is the table of objects and tombstones, `usage` counts objects and bytes, `owned` keeps sets
//! by owner, `catalog` keeps types and indexes, `digest_tree` the digests of slots.
//!
//! **Operations.** `heap` reads objects and commits plans. `plan` makes plans: `draft` applies operations to a draft
//! of the heap, `batch` combines several operations. `types` registers types. `query` finds objects (`form` parses a
//! query, `run` executes it, `cursor` continues it).
//!
//! **Bytes.** `digest`, `snapshot` and `restore` convert the whole heap to bytes and back, in the encoding of
//! `encode`.
//!
//! # Directions
//!
//! Imports: `{plan, query, snapshot, types} → heap → {catalog, change, config, digest_tree, slots, usage}`
//! Imports: `digest → snapshot → encode → labels`
//! Imports: `restore → {snapshot, types}`
//! Imports: `{catalog, usage} → {object, owned}`
//! Imports: `catalog → key`
//! Imports: `{change, slots} → {handle, object}`
//! Imports: `{catalog, slots} → error → {handle, patch}`
//! Imports: `{object, patch} → labels`
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod catalog;
mod change;
mod config;
mod digest;
mod digest_tree;
mod encode;
mod error;
mod handle;
mod heap;
mod key;
mod labels;
mod object;
mod owned;
mod patch;
mod plan;
mod query;
mod restore;
mod slots;
mod snapshot;
mod types;
mod usage;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub use ak_json::{Digest, Labels, Limits, OutOfWork, Work};

pub use crate::change::{Action, Change};
pub use crate::config::{
    BATCH_OPS_MAX, BYTES_MAX, HISTORY_MAX, HeapConfig, INDEXES_MAX, LABELLED_MAX, NAME_BYTES_MAX,
    OBJECTS_MAX, PAGE_OBJECTS_MAX, PATCH_OPS_MAX, REQUEST_WORK, SCAN_OBJECTS_MAX, SCHEMA_BYTES_MAX,
    TOMBSTONE_BYTES_MAX, TOMBSTONES_MAX, TYPE_BYTES_MAX, TYPE_BYTES_PER_DELEGATION_TREE_MAX,
    TYPE_BYTES_RESERVED, TYPES_MAX, TYPES_PER_DELEGATION_TREE_MAX, TYPES_RESERVED,
};
pub use crate::error::{Absence, HeapError, Quota};
pub use crate::handle::{Handle, HandleError};
pub use crate::heap::Heap;
pub use crate::key::KEY_BYTES_MAX;
pub use crate::labels::LabelMap;
pub use crate::object::{Content, Object, Revision};
pub use crate::patch::{Patch, PatchError, PatchErrorKind, PatchOp, PatchReason};
pub use crate::plan::{BatchError, BatchOp, Created, Plan, Target};
pub use crate::query::{
    Cursor, CursorError, Filter, Order, PAGE_OBJECTS, Page, QUERY_TERMS_MAX, Query, QueryError, Scope, Test,
};
pub use crate::restore::{RestoreError, RestoreReason};
pub use crate::snapshot::Image;
pub use crate::types::TypeError;
pub use crate::usage::Usage;
