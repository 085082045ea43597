//! Changes to objects: as they are reported ([`Change`]) and as they are staged before a commit.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ak_json::Text;
use smallvec::SmallVec;

use crate::handle::Handle;
use crate::object::{Object, Revision};

/// What one operation does to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which object.
    pub handle: Handle,
    /// What happens to it.
    pub action: Action,
    /// Its version afterwards.
    pub version: u64,
    /// Who owns it.
    pub owner: Text,
    /// By how many bytes [`Usage::bytes`](crate::Usage::bytes) changes, history included.
    pub bytes_delta: i64,
}

/// What can happen to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The object is created.
    Alloc,
    /// It gets another content or other labels.
    Write,
    /// It becomes a tombstone.
    Delete,
    /// It goes for good, with its history and without a tombstone.
    Erase,
}

/// The changes of a plan.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Objects that are created or changed, ascending by index, none twice.
    pub(crate) edits: Vec<Edit>,
    /// The indexes of objects that become tombstones after that, in this order.
    pub(crate) deaths: Vec<u32>,
}

/// What is to happen to one object before it dies, if it does.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) handle: Handle,
    /// The object is created.
    pub(crate) born: Option<Box<Object>>,
    /// It gets new revisions.
    pub(crate) revisions: SmallVec<[Revision; 1]>,
    /// It becomes a tombstone.
    pub(crate) dies: bool,
}
