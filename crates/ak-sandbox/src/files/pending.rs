//! File functions of WASI that wait for a reply, with their arguments.

use alloc::string::String;
use alloc::vec::Vec;

use super::Kind;
use super::names::ResolvedPath;

/// What waits for the answer to a host call.
pub(crate) enum Pending {
    /// `path_open` has asked what is there.
    Open(Opening),
    /// `path_open` has asked for an empty file.
    Created(Opening),
    /// The content of a file, for what was to be done with it.
    Content { file: u32, then: ContentUse, again: bool },
    /// A file turned out to be longer than it was: how long it is now.
    Grown(u32, ContentUse),
    /// The entries of a directory, for `fd_readdir`.
    Entries(u32, Listing),
    /// `path_filestat_get`: the path, and where the answer belongs.
    Stat(ResolvedPath, u32),
    /// `path_unlink_file` and `path_remove_directory` have asked what is there.
    Remove(Removal, ResolvedPath),
    /// This path has been deleted.
    Removed(String),
    /// A file's content has gone out; whether the file is to be closed.
    Written { file: u32, close: bool },
}

/// What is to be removed, by which call.
#[derive(Clone, Copy)]
pub(crate) struct Removal {
    pub(crate) call: &'static str,
    /// A file or a directory.
    pub(crate) of: Kind,
}

/// What is done with a file's content.
pub(crate) enum ContentUse {
    Read(Buffers, Option<u64>),
    Write(Buffers, Option<u64>),
    Resize(u64),
}

/// The arguments of `fd_readdir`.
#[derive(Clone, Copy)]
pub(crate) struct Listing {
    pub(crate) at: u32,
    pub(crate) bytes: u32,
    pub(crate) cookie: u64,
    pub(crate) used: u32,
}

/// The arguments of `path_open`.
pub(crate) struct Opening {
    pub(crate) path: String,
    /// It must be a directory.
    pub(crate) directory: bool,
    pub(crate) flags: u32,
    pub(crate) rights: u64,
    /// Of the descriptor.
    pub(crate) file_flags: u16,
    pub(crate) opened: u32,
}

/// The buffers of a read or write, and where the number of bytes belongs that went through them.
pub(crate) struct Buffers {
    pub(crate) call: &'static str,
    /// Address and length of each, as they stood in the guest's list when it was checked and paid for: a read may write over
    /// the list itself.
    pub(crate) list: Vec<(u32, u32)>,
    pub(crate) moved: u32,
}
