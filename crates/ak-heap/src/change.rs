//! Changes to objects: as reported ([`Change`]), and as staged before a commit.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ak_json::Text;
use smallvec::SmallVec;

use crate::handle::Handle;
use crate::object::{Object, Revision};

/// The effect of one operation on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Handle of the object.
    pub handle: Handle,
    /// The kind of change.
    pub action: Action,
    /// The object's version after the change.
    pub version: u64,
    /// Name of the object's owner.
    pub owner: Text,
    /// The change of [`Usage::bytes`](crate::Usage::bytes) in bytes, history included.
    pub bytes_delta: i64,
}

/// The kinds of change: alloc, write, delete, erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The object is created.
    Alloc,
    /// The object gets new content or new labels.
    Write,
    /// The object becomes a tombstone.
    Delete,
    /// The object is removed for good, with its history and without a tombstone.
    Erase,
}

/// The changes of a plan.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Objects to create or change, in ascending order of their indexes, each at most once.
    pub(crate) edits: Vec<Edit>,
    /// Indexes of the objects that become tombstones afterwards, in this order.
    pub(crate) deaths: Vec<u32>,
}

/// The staged changes of one object.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) handle: Handle,
    /// The object to create; `None` if it already exists.
    pub(crate) born: Option<Box<Object>>,
    /// The new revisions of the object.
    pub(crate) revisions: SmallVec<[Revision; 1]>,
    /// Whether the object becomes a tombstone after the other changes.
    pub(crate) dies: bool,
}
