//! The reasons for which a heap operation fails. A failed operation changes nothing.

use alloc::string::String;
use core::fmt;

use ak_json::{OutOfWork, Text};

use crate::handle::Handle;
use crate::patch::PatchError;

/// Why a heap operation failed; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeapError {
    /// There is no such object, or no such version of it.
    #[error("no object {handle}: {absence}")]
    NotFound {
        /// The handle asked for.
        handle: Handle,
        /// Why the object or version cannot be read.
        absence: Absence,
    },
    /// The object has another version than the caller expects.
    #[error("object {handle} has version {actual}, not {expected}")]
    Conflict {
        /// Handle of the object.
        handle: Handle,
        /// The version that the caller expects.
        expected: u64,
        /// The version that the object has.
        actual: u64,
    },
    /// The patch does not apply.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The object holds raw bytes, which cannot be patched.
    #[error("object {handle} holds raw bytes, not JSON")]
    NotJson {
        /// Handle of the object.
        handle: Handle,
    },
    /// The heap would exceed a quota.
    #[error("the heap would hold more than {max} {quota}")]
    Quota {
        /// The quota.
        quota: Quota,
        /// Its limit, in objects or bytes.
        max: u64,
    },
    /// A size would exceed a limit of [`HeapConfig`](crate::HeapConfig).
    #[error("{limit} exceeds {max}")]
    Limit {
        /// The quantity that is limited.
        limit: &'static str,
        /// The limit.
        max: u64,
    },
    /// The operation takes more than the limit of [`Work`](ak_json::Work).
    #[error(transparent)]
    Work(#[from] OutOfWork),
    /// The content does not satisfy the schema of its type.
    #[error("content of type {type_name} breaks '{keyword}' at \"{instance_path}\"")]
    Schema {
        /// Name of the type.
        type_name: Text,
        /// JSON Pointer to the violating value in the content.
        instance_path: String,
        /// The keyword of the schema that the value violates.
        keyword: String,
    },
    /// Whether the content satisfies the schema of its type depends on a pattern that [cannot be
    /// evaluated](ak_json::Schema::unjudged) in linear time.
    #[error("content of type {type_name} cannot be judged by '{keyword}' at \"{instance_path}\"")]
    Unjudged {
        /// Name of the type.
        type_name: Text,
        /// JSON Pointer to the value in the content.
        instance_path: String,
        /// The keyword of the schema with that pattern.
        keyword: String,
    },
    /// A batch refers to an object that no earlier operation of it creates.
    #[error("operation {operation} is not an earlier alloc of this batch")]
    NotCreated {
        /// Position in the batch of the operation that should have created it.
        operation: usize,
    },
    /// A name is empty or longer than [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX).
    #[error("{0} is not 1 to 255 bytes long")]
    Name(&'static str),
}

/// Why a handle or version cannot be read: unknown, deleted or not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// No object ever had the handle.
    Unknown,
    /// The object was deleted.
    Deleted {
        /// The version that the deletion made; `None` once the tombstone is dropped.
        version: Option<u64>,
    },
    /// The object exists or existed, but this version of it is not kept.
    Version {
        /// The version asked for.
        version: u64,
        /// The oldest version kept.
        oldest: u64,
        /// The newest version that ever existed.
        newest: u64,
    },
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Absence::Unknown => f.write_str("never allocated"),
            Absence::Deleted { version: Some(version) } => write!(f, "deleted as version {version}"),
            Absence::Deleted { version: None } => f.write_str("deleted"),
            Absence::Version { version, oldest, newest } => {
                write!(f, "version {version} is not one of {oldest} to {newest}")
            }
        }
    }
}

/// The quotas of a heap: objects and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Live objects.
    Objects,
    /// Bytes of live objects and their history.
    Bytes,
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quota::Objects => "objects",
            Quota::Bytes => "bytes",
        })
    }
}
