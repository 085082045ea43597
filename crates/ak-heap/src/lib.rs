//! A typed, versioned object store with JSON Patch.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod batch;
mod catalog;
mod config;
mod digest;
mod draft;
mod encode;
mod error;
mod handle;
mod heap;
mod labels;
mod object;
mod patch;
mod plan;
mod query;
mod restore;
mod slots;
mod snapshot;
mod usage;

pub use ak_json::{Digest, Labels, Limits};

pub use crate::batch::{BatchError, BatchOp, Created, Target};
pub use crate::config::{
    BATCH_OPS_MAX, BYTES_MAX, HISTORY_MAX, HeapConfig, INDEXES_MAX, LABELLED_MAX, NAME_BYTES_MAX,
    OBJECTS_MAX, PAGE_OBJECTS_MAX, PATCH_OPS_MAX, SCAN_OBJECTS_MAX, TOMBSTONE_BYTES_MAX, TOMBSTONES_MAX,
    TYPES_MAX,
};
pub use crate::error::{Absence, HeapError, Quota};
pub use crate::handle::{Handle, HandleError};
pub use crate::heap::Heap;
pub use crate::labels::LabelMap;
pub use crate::object::{Content, Object, Revision};
pub use crate::patch::{Patch, PatchError, PatchErrorKind, PatchOp, PatchReason};
pub use crate::plan::{Action, Change, Plan};
pub use crate::query::{
    Cursor, CursorError, Filter, KEY_BYTES_MAX, Order, PAGE_OBJECTS, Page, QUERY_TERMS_MAX, Query,
    QueryError, Test,
};
pub use crate::restore::{RestoreError, RestoreReason};
pub use crate::usage::Usage;
