//! Why a file effect fails, and with which code.

use std::io;

use ak_kernel::Code;
use rustix::io::Errno;

use crate::fs::preserve::KeepError;

/// Most symbolic links that are followed from one path, as on Linux.
pub(crate) const LINKS_MAX: usize = 40;

/// Why a file effect did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error(
        "there is a symbolic link in the path: a permit with follow = \"beneath\" follows those that stay beneath its root"
    )]
    Link,
    #[error("more than {LINKS_MAX} symbolic links lead from one to the next")]
    Links,
    #[error("the symbolic link to {0:?} is not followed: {1}")]
    LinkTo(String, &'static str),
    #[error("no such file: a name that is not UTF-8 cannot be asked for")]
    Nameless,
    #[error("the path crosses into another file system")]
    Mount,
    #[error("it is {0}, not a {1}")]
    Kind(&'static str, &'static str),
    #[error("it has several links")]
    HardLink,
    #[error("the kernel's own files are out of reach")]
    Protected,
    #[error("{0}")]
    Keep(#[from] KeepError),
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    #[error("it does not lie beneath the granted root")]
    Outside,
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> FileError {
        FileError::System(errno.into())
    }
}

impl FileError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::System(error) if error.kind() == io::ErrorKind::NotFound => Code::NotFound,
            Self::System(_) | Self::Kind(..) | Self::Keep(_) => Code::Io,
            Self::Nameless => Code::NotFound,
            Self::Link
            | Self::Links
            | Self::LinkTo(..)
            | Self::Mount
            | Self::HardLink
            | Self::Protected
            | Self::Outside => Code::PolicyDeny,
            Self::TooLong(_) => Code::BufferOverflow,
        }
    }
}
