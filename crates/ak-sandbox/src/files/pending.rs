//! File functions of WASI that wait for the reply to a host call, with their arguments.

use alloc::string::String;
use alloc::vec::Vec;

use super::Kind;
use super::names::ResolvedPath;

/// A file function that waits for the reply to a host call.
pub(crate) enum Pending {
    /// `path_open` has requested a description of the path.
    Open(Opening),
    /// `path_open` has requested the writing of an empty file.
    Created(Opening),
    /// The content of a file was requested, to be used as `then` says. `again`: for the second time, as the file had
    /// grown.
    Content { file: u32, then: ContentUse, again: bool },
    /// A file was longer than its description said; a new description was requested.
    Grown(u32, ContentUse),
    /// `fd_readdir` has requested the entries of a directory.
    Entries(u32, Listing),
    /// `path_filestat_get` has requested a description of the path; the address is where the result belongs.
    Stat(ResolvedPath, u32),
    /// `path_unlink_file` or `path_remove_directory` has requested a description of the path.
    Remove(Removal, ResolvedPath),
    /// The deletion of this path was requested.
    Removed(String),
    /// The writing of a file's content was requested; `close`: the file is closed afterwards.
    Written { file: u32, close: bool },
}

/// What is to be removed, and by which function.
#[derive(Clone, Copy)]
pub(crate) struct Removal {
    pub(crate) call: &'static str,
    /// The kind that the function removes: file or directory.
    pub(crate) of: Kind,
}

/// What a file's content is needed for.
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
    /// The path must be a directory.
    pub(crate) directory: bool,
    pub(crate) flags: u32,
    pub(crate) rights: u64,
    /// The `fdflags` of the new descriptor.
    pub(crate) file_flags: u16,
    pub(crate) opened: u32,
}

/// The buffers of a read or write, and the address for the number of bytes moved.
pub(crate) struct Buffers {
    pub(crate) call: &'static str,
    /// Address and length of each buffer, copied when the guest's list was checked and paid for: a read may overwrite
    /// the list itself.
    pub(crate) list: Vec<(u32, u32)>,
    pub(crate) moved: u32,
}
