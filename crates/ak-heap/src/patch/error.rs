//! The reasons for which a patch fails.

use alloc::string::String;
use core::fmt;

use ak_json::{OutOfWork, PointerError};

/// Why a patch is malformed or does not apply; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PatchError {
    /// Position of the operation in the patch, from 0; `None` if the patch as a whole is wrong.
    pub index: Option<usize>,
    /// The operation's `path`, or its `from` if that is wrong; empty if it has none.
    pub path: String,
    /// What is wrong with the operation or the patch.
    pub reason: PatchReason,
}

/// The kinds of [`PatchError`], by what a caller can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchErrorKind {
    /// No document accepts this patch: correct the patch.
    Invalid,
    /// The document lacks a value that the operation needs: read the document again.
    Missing,
    /// A `test` did not hold.
    TestFailed,
    /// The result would exceed a limit, or the work is not enough.
    Limit,
}

/// What is wrong with a patch or one of its operations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchReason {
    /// The patch is not an array.
    #[error("a patch is an array of operations")]
    NotArray,
    /// The operation is not an object.
    #[error("an operation is an object")]
    NotObject,
    /// A member that the operation needs is not there.
    #[error("'{0}' is missing")]
    MemberMissing(&'static str),
    /// `op`, `path` or `from` is not a string.
    #[error("'{0}' is not a string")]
    MemberNotText(&'static str),
    /// `op` is not an operation of RFC 6902.
    #[error("'op' is not add, remove, replace, move, copy or test")]
    OpUnknown,
    /// `path` or `from` is not a JSON Pointer.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// A value would move into itself.
    #[error("a value cannot move into itself")]
    MoveIntoItself,
    /// The whole document would be removed.
    #[error("the whole document cannot be removed")]
    RemoveRoot,
    /// There is no value at the pointer.
    #[error("no value at this pointer")]
    NoValue,
    /// The container at the pointer does not exist, or is neither array nor object.
    #[error("the parent is missing or is neither array nor object")]
    NoContainer,
    /// The token is not an array index: decimal digits without leading zeros, or `-` to append.
    #[error("not an array index")]
    NotIndex,
    /// The index is beyond the end of the array.
    #[error("index beyond the end of {len} items")]
    BeyondEnd {
        /// Number of items in the array.
        len: usize,
    },
    /// A `test` found another value, or none.
    #[error("the value is not as expected")]
    TestFailed,
    /// The patch has too many operations.
    #[error("a patch has at most {max} operations")]
    Operations {
        /// The limit.
        max: usize,
    },
    /// The result would be nested too deeply.
    #[error("result nested deeper than {max} levels")]
    Depth {
        /// The limit.
        max: usize,
    },
    /// The result would be too long.
    #[error("result longer than {max} bytes")]
    Bytes {
        /// The limit.
        max: usize,
    },
    /// Applying the patch takes more than the limit of [`Work`](ak_json::Work).
    #[error(transparent)]
    Work(#[from] OutOfWork),
    /// A container would have too many items or members.
    #[error("more than {max} items or members")]
    Members {
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "patch operation {index} at \"{}\": {}", self.path, self.reason),
            None => write!(f, "patch: {}", self.reason),
        }
    }
}

impl PatchError {
    /// An error of the patch as a whole.
    pub(crate) fn whole(reason: PatchReason) -> PatchError {
        PatchError { index: None, path: String::new(), reason }
    }

    /// The kind of the error, which tells what the caller can do about it.
    pub fn kind(&self) -> PatchErrorKind {
        match self.reason {
            PatchReason::NotArray
            | PatchReason::NotObject
            | PatchReason::MemberMissing(_)
            | PatchReason::MemberNotText(_)
            | PatchReason::OpUnknown
            | PatchReason::Pointer(_)
            | PatchReason::MoveIntoItself
            | PatchReason::RemoveRoot => PatchErrorKind::Invalid,
            PatchReason::NoValue
            | PatchReason::NoContainer
            | PatchReason::NotIndex
            | PatchReason::BeyondEnd { .. } => PatchErrorKind::Missing,
            PatchReason::TestFailed => PatchErrorKind::TestFailed,
            PatchReason::Operations { .. }
            | PatchReason::Depth { .. }
            | PatchReason::Bytes { .. }
            | PatchReason::Work(_)
            | PatchReason::Members { .. } => PatchErrorKind::Limit,
        }
    }
}
