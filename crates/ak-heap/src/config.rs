//! The heap's limits.

use ak_json::Limits;

/// Live objects by default.
pub const OBJECTS_MAX: u64 = 1 << 20;
/// Bytes of live objects and their history by default.
pub const BYTES_MAX: u64 = 1 << 30;
/// Earlier revisions kept for each object by default.
pub const HISTORY_MAX: usize = 8;
/// Tombstones by default.
pub const TOMBSTONES_MAX: usize = 1 << 16;
/// Bytes kept readable behind tombstones by default.
pub const TOMBSTONE_BYTES_MAX: u64 = 64 << 20;
/// Operations in one patch by default.
pub const PATCH_OPS_MAX: usize = 10_000;
/// Operations in one batch by default.
pub const BATCH_OPS_MAX: usize = 1_000;
/// Labelled subtrees of one object by default.
pub const LABELLED_MAX: usize = 256;
/// Registered types by default.
pub const TYPES_MAX: usize = 1_024;
/// Of these, types that agents cannot register, by default.
pub const TYPES_RESERVED: usize = 256;
/// Types that one agent and its descendants may register together by default.
pub const TYPES_PER_DELEGATION_TREE_MAX: usize = 64;
/// Bytes of memory that compiled schemas may take by default.
pub const TYPE_BYTES_MAX: usize = 128 << 20;
/// Of these, bytes that agents cannot take, by default.
pub const TYPE_BYTES_RESERVED: usize = 32 << 20;
/// Bytes of memory that the compiled schemas of one agent and its descendants may take by default.
pub const TYPE_BYTES_PER_DELEGATION_TREE_MAX: usize = 8 << 20;
/// Units of [`Work`](ak_json::Work) for one request: 20 ms or less in a release build, also for what is priced least well.
pub const REQUEST_WORK: u64 = 1_250_000;
/// Secondary indexes by default.
pub const INDEXES_MAX: usize = 64;
/// Objects on one page of a query by default.
pub const PAGE_OBJECTS_MAX: usize = 1_000;
/// Objects looked at for one page of a query by default.
pub const SCAN_OBJECTS_MAX: usize = 100_000;
/// Bytes of a schema's compact JSON text.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Bytes of a type's or an owner's name.
pub const NAME_BYTES_MAX: usize = 255;

/// The limits of one [`Heap`](crate::Heap). What would break one is refused and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapConfig {
    /// Live objects.
    pub objects_max: u64,
    /// Bytes of live objects, history included: the sum of [`Content::size`](crate::Content::size) over every
    /// revision that can be read.
    pub bytes_max: u64,
    /// Earlier revisions kept for each object; older ones are dropped by the write that exceeds this.
    pub history_max: usize,
    /// Deleted objects that are remembered; older ones are forgotten by the delete that exceeds this. It forgets up to
    /// eight; where that does not make room, the object just deleted is forgotten.
    pub tombstones_max: usize,
    /// Bytes of deleted objects that stay readable by version, beside `bytes_max`.
    pub tombstone_bytes_max: u64,
    /// Operations in one patch.
    pub patch_ops_max: usize,
    /// Operations in one batch.
    pub batch_ops_max: usize,
    /// Subtrees of one object with labels of their own; beyond, they are joined into the whole object's.
    pub labelled_max: usize,
    /// Registered types, in all scopes.
    pub types_max: usize,
    /// Of these, how many are kept for the scope of everybody.
    pub types_reserved: usize,
    /// Types in the scopes of one agent without a parent and all its descendants.
    pub types_per_delegation_tree_max: usize,
    /// Bytes of memory of compiled schemas, as [`Schema::memory_bytes`](ak_json::Schema::memory_bytes) counts them.
    pub type_bytes_max: usize,
    /// Of these, how many are kept for the scope of everybody.
    pub type_bytes_reserved: usize,
    /// Bytes of compiled schemas in the scopes of one agent without a parent and all its descendants.
    pub type_bytes_per_delegation_tree_max: usize,
    /// Secondary indexes.
    pub indexes_max: usize,
    /// Objects on one page of a query.
    pub page_objects_max: usize,
    /// Objects looked at for one page of a query; each 4 KiB of content count as one more.
    pub scan_objects_max: usize,
    /// What one object's content may be; `bytes_max` holds for raw bytes too.
    pub content: Limits,
}

impl Default for HeapConfig {
    fn default() -> HeapConfig {
        HeapConfig {
            objects_max: OBJECTS_MAX,
            bytes_max: BYTES_MAX,
            history_max: HISTORY_MAX,
            tombstones_max: TOMBSTONES_MAX,
            tombstone_bytes_max: TOMBSTONE_BYTES_MAX,
            patch_ops_max: PATCH_OPS_MAX,
            batch_ops_max: BATCH_OPS_MAX,
            labelled_max: LABELLED_MAX,
            types_max: TYPES_MAX,
            types_reserved: TYPES_RESERVED,
            types_per_delegation_tree_max: TYPES_PER_DELEGATION_TREE_MAX,
            type_bytes_max: TYPE_BYTES_MAX,
            type_bytes_reserved: TYPE_BYTES_RESERVED,
            type_bytes_per_delegation_tree_max: TYPE_BYTES_PER_DELEGATION_TREE_MAX,
            indexes_max: INDEXES_MAX,
            page_objects_max: PAGE_OBJECTS_MAX,
            scan_objects_max: SCAN_OBJECTS_MAX,
            content: Limits::default(),
        }
    }
}
