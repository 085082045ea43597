//! The heap's limits.

use ak_json::Limits;

/// Default of [`HeapConfig::objects_max`].
pub const OBJECTS_MAX: u64 = 1 << 20;
/// Default of [`HeapConfig::bytes_max`].
pub const BYTES_MAX: u64 = 1 << 30;
/// Default of [`HeapConfig::history_max`].
pub const HISTORY_MAX: usize = 8;
/// Default of [`HeapConfig::tombstones_max`].
pub const TOMBSTONES_MAX: usize = 1 << 16;
/// Default of [`HeapConfig::tombstone_bytes_max`].
pub const TOMBSTONE_BYTES_MAX: u64 = 64 << 20;
/// Default of [`HeapConfig::patch_ops_max`].
pub const PATCH_OPS_MAX: usize = 10_000;
/// Default of [`HeapConfig::batch_ops_max`].
pub const BATCH_OPS_MAX: usize = 1_000;
/// Default of [`HeapConfig::labelled_max`].
pub const LABELLED_MAX: usize = 256;
/// Default of [`HeapConfig::types_max`].
pub const TYPES_MAX: usize = 1_024;
/// Default of [`HeapConfig::types_reserved`].
pub const TYPES_RESERVED: usize = 256;
/// Default of [`HeapConfig::types_per_delegation_tree_max`].
pub const TYPES_PER_DELEGATION_TREE_MAX: usize = 64;
/// Default of [`HeapConfig::type_bytes_max`].
pub const TYPE_BYTES_MAX: usize = 128 << 20;
/// Default of [`HeapConfig::type_bytes_reserved`].
pub const TYPE_BYTES_RESERVED: usize = 32 << 20;
/// Default of [`HeapConfig::type_bytes_per_delegation_tree_max`].
pub const TYPE_BYTES_PER_DELEGATION_TREE_MAX: usize = 8 << 20;
/// Units of [`Work`](ak_json::Work) for one request: at most 20 ms in a release build, even for the operations whose
/// price is least accurate.
pub const REQUEST_WORK: u64 = 1_250_000;
/// Default of [`HeapConfig::indexes_max`].
pub const INDEXES_MAX: usize = 64;
/// Default of [`HeapConfig::page_objects_max`].
pub const PAGE_OBJECTS_MAX: usize = 1_000;
/// Default of [`HeapConfig::scan_objects_max`].
pub const SCAN_OBJECTS_MAX: usize = 100_000;
/// The most bytes that a schema may have as compact JSON text.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// The most bytes that the name of a type or an owner may have.
pub const NAME_BYTES_MAX: usize = 255;

/// The limits of one [`Heap`](crate::Heap). An operation that would exceed one fails and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapConfig {
    /// Live objects.
    pub objects_max: u64,
    /// Bytes of live objects, history included: the sum of [`Content::size`](crate::Content::size) over every
    /// readable revision.
    pub bytes_max: u64,
    /// Earlier revisions kept for each object; a write that exceeds this drops the oldest.
    pub history_max: usize,
    /// Tombstones of deleted objects; a delete that exceeds this drops the oldest, up to eight. If that is not
    /// enough, the object just deleted gets no tombstone.
    pub tombstones_max: usize,
    /// Bytes of deleted objects that stay readable by version, counted apart from `bytes_max`.
    pub tombstone_bytes_max: u64,
    /// Operations in one patch.
    pub patch_ops_max: usize,
    /// Operations in one batch.
    pub batch_ops_max: usize,
    /// Subtrees of one object with labels of their own; with more, all labels are joined into those of the whole
    /// object.
    pub labelled_max: usize,
    /// Registered types, in all scopes.
    pub types_max: usize,
    /// How many of these types only the scope of everybody can use.
    pub types_reserved: usize,
    /// Types in the scopes of one agent without a parent and all its descendants.
    pub types_per_delegation_tree_max: usize,
    /// Memory of all compiled schemas in bytes, as [`Schema::memory_bytes`](ak_json::Schema::memory_bytes) counts it.
    pub type_bytes_max: usize,
    /// How many of these bytes only the scope of everybody can use.
    pub type_bytes_reserved: usize,
    /// Bytes of compiled schemas in the scopes of one agent without a parent and all its descendants.
    pub type_bytes_per_delegation_tree_max: usize,
    /// Secondary indexes.
    pub indexes_max: usize,
    /// Objects on one page of a query.
    pub page_objects_max: usize,
    /// Objects examined for one page of a query; every 4 KiB of an object's content count as one more.
    pub scan_objects_max: usize,
    /// Limits on the content of one object; `bytes_max` holds for raw bytes too.
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
