//! Why a file effect fails, and with which code.

use std::io;

use ak_kernel::{Code, Failure};
use rustix::io::Errno;

use crate::fs::preserve::PreserveError;

/// Maximum number of symbolic links that one path is followed through; the limit of Linux.
pub(crate) const LINKS_MAX: usize = 40;

/// Why a file effect failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error(
        "there is a symbolic link in the path: a permit with follow = \"beneath\" follows those that stay beneath its root"
    )]
    Link,
    #[error("more than {LINKS_MAX} symbolic links lead from one to the next")]
    TooManyLinks,
    #[error("the symbolic link to {0:?} is not followed: {1}")]
    LinkNotFollowed(String, &'static str),
    #[error("no such file: names of files in requests are UTF-8")]
    NotUtf8,
    #[error("the path crosses into another file system")]
    CrossesMount,
    #[error("expected a {1}, found a {0}")]
    WrongKind(&'static str, &'static str),
    #[error("the file has several hard links, so it is not replaced")]
    HardLink,
    #[error("the file is protected: it belongs to the kernel or its operator")]
    Protected,
    #[error("{0}")]
    Preserve(#[from] PreserveError),
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    #[error("the path is not beneath the granted root")]
    OutsideRoot,
    #[error("the pattern is refused: {0}")]
    Pattern(String),
    #[error("the search enters more than {0} directories: begin it deeper, or use fewer `**`")]
    TooManyDirectories(usize),
    #[error("the file was replaced by a {0} while it was renamed; it stands at its old path")]
    Replaced(&'static str),
    #[error("{}", .0.message)]
    Refused(Box<Failure>),
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> FileError {
        FileError::System(errno.into())
    }
}

impl FileError {
    /// Whether the error only means that agents cannot reach a file at the path: none exists, or access is denied.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        match self {
            Self::System(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
            ),
            Self::Link | Self::CrossesMount | Self::Protected | Self::WrongKind(..) => true,
            Self::TooManyLinks
            | Self::LinkNotFollowed(..)
            | Self::NotUtf8
            | Self::HardLink
            | Self::Preserve(_)
            | Self::TooLong(_)
            | Self::OutsideRoot
            | Self::Pattern(_)
            | Self::TooManyDirectories(_)
            | Self::Replaced(_)
            | Self::Refused(_) => false,
        }
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            Self::System(error) if error.kind() == io::ErrorKind::NotFound => Code::NotFound,
            Self::System(_) | Self::WrongKind(..) | Self::Preserve(_) => Code::Io,
            Self::NotUtf8 => Code::NotFound,
            Self::Link
            | Self::TooManyLinks
            | Self::LinkNotFollowed(..)
            | Self::CrossesMount
            | Self::HardLink
            | Self::Protected
            | Self::OutsideRoot => Code::PolicyDeny,
            Self::TooLong(_) => Code::BufferOverflow,
            Self::Pattern(_) => Code::InvalidArgument,
            Self::TooManyDirectories(_) => Code::Limit,
            Self::Replaced(_) => Code::Conflict,
            Self::Refused(failure) => failure.code,
        }
    }
}
