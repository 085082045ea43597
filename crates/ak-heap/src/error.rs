//! Why the heap refuses. A refusal changes nothing.

use alloc::string::String;
use core::fmt;

use ak_json::{OutOfWork, Text};

use crate::handle::Handle;
use crate::patch::PatchError;

/// Why the heap refused an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeapError {
    /// No such object, or no such version of it.
    #[error("no object {handle}: {absence}")]
    NotFound {
        /// Which was asked for.
        handle: Handle,
        /// Why it is not there.
        absence: Absence,
    },
    /// The object has another version than the caller expected.
    #[error("object {handle} has version {actual}, not {expected}")]
    Conflict {
        /// Which object.
        handle: Handle,
        /// The version the caller expected.
        expected: u64,
        /// The version it has.
        actual: u64,
    },
    /// The patch does not apply.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The object holds raw bytes, which cannot be patched.
    #[error("object {handle} holds raw bytes, not JSON")]
    NotJson {
        /// Which object.
        handle: Handle,
    },
    /// The heap would hold more than it may.
    #[error("the heap would hold more than {max} {quota}")]
    Quota {
        /// Of what.
        quota: Quota,
        /// How much it may hold.
        max: u64,
    },
    /// One thing would be larger than a limit of [`HeapConfig`](crate::HeapConfig).
    #[error("{limit} exceeds {max}")]
    Limit {
        /// What is limited.
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
        /// The type.
        type_name: Text,
        /// Where in the content, as a JSON Pointer.
        instance_path: String,
        /// The keyword of the schema that does not hold there.
        keyword: String,
    },
    /// A pattern of the schema of its type decides about the content, and
    /// [cannot be judged](ak_json::Schema::unjudged).
    #[error("content of type {type_name} cannot be judged by '{keyword}' at \"{instance_path}\"")]
    Unjudged {
        /// The type.
        type_name: Text,
        /// Where in the content, as a JSON Pointer.
        instance_path: String,
        /// The keyword of the schema that may not hold there.
        keyword: String,
    },
    /// A batch refers to an object that no earlier operation of it creates.
    #[error("operation {operation} is not an earlier alloc of this batch")]
    NotCreated {
        /// Which operation should have created it.
        operation: usize,
    },
    /// A name is empty or longer than [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX).
    #[error("{0} is not 1 to 255 bytes long")]
    Name(&'static str),
}

/// Why a handle or version cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// No object ever had the handle.
    Unknown,
    /// The object was deleted.
    Deleted {
        /// The version that the deletion made; unknown once the tombstone is forgotten.
        version: Option<u64>,
    },
    /// The object is or was there, but this version of it is not kept.
    Version {
        /// The version asked for.
        version: u64,
        /// The oldest version kept.
        oldest: u64,
        /// The newest version there ever was.
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

/// The quotas of a heap.
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
