//! Requests that a guest makes of the world outside.

use ak_json::Value;

/// A request that a guest makes of the world outside; the run waits for [`Run::reply`](crate::Run::reply).
///
/// A native module's arguments may have any shape, and so may the reply. For a WASI command the sandbox makes and reads
/// them itself; bytes are base64url without padding:
///
/// | operation | arguments | result |
/// |---|---|---|
/// | [`HostOperation::FsRead`] | `path`, `max` (bytes) | `bytes` |
/// | [`HostOperation::FsWrite`] | `path`, `data` | anything |
/// | [`HostOperation::FsStat`] | `path` | `kind` (`file`, `directory`, `link` …), `size`, `modified` (µs since 1970) |
/// | [`HostOperation::FsList`] | `path` | `entries`: objects with `name` and `kind` |
/// | [`HostOperation::FsDelete`] | `path` | anything |
/// | [`HostOperation::Random`] | `bytes` (how many) | a string: so many bytes |
/// | [`HostOperation::Now`] | none | an integer, µs since 1970 |
///
/// A refusal is an error number to a command, by the error's member `name`: `NOT_FOUND` is `ENOENT`, `LIMIT` and
/// `BUFFER_OVERFLOW` are `EFBIG`, `IO`, `DEADLINE` and `UNKNOWN_OUTCOME` are `EIO`, everything else is `EACCES`; for
/// clock and random it is always `ENOTCAPABLE`. After `BUFFER_OVERFLOW` a file is described and read once more: it has
/// grown.
///
/// A native module's `max` of [`HostOperation::FsRead`] and [`HostOperation::Http`] is lowered to what a reply can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCall {
    /// What is asked for.
    pub operation: HostOperation,
    /// The guest's arguments, of any shape; for [`HostOperation::Random`] `{"bytes": n}`, for
    /// [`HostOperation::Now`] as the guest gave them.
    pub args: Value,
}

/// The operations that a guest can ask for. The sandbox decides nothing: the driver of the run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostOperation {
    /// Read a file.
    FsRead,
    /// Write a file.
    FsWrite,
    /// Describe a file or directory.
    FsStat,
    /// List a directory.
    FsList,
    /// Delete a file.
    FsDelete,
    /// Make an HTTP request.
    Http,
    /// Ask a model.
    Infer,
    /// Read a heap object.
    HeapRead,
    /// Patch a heap object.
    HeapWrite,
    /// Call another tool.
    Call,
    /// The time; the result is an integer, µs since the Unix epoch.
    Now,
    /// Random bytes; the result is `bytes` many of them, base64url without padding.
    Random,
}

impl HostOperation {
    /// Every operation.
    pub const ALL: [Self; 12] = [
        Self::FsRead,
        Self::FsWrite,
        Self::FsStat,
        Self::FsList,
        Self::FsDelete,
        Self::Http,
        Self::Infer,
        Self::HeapRead,
        Self::HeapWrite,
        Self::Call,
        Self::Now,
        Self::Random,
    ];

    /// The name of the import.
    pub fn name(self) -> &'static str {
        match self {
            Self::FsRead => "fs_read",
            Self::FsWrite => "fs_write",
            Self::FsStat => "fs_stat",
            Self::FsList => "fs_list",
            Self::FsDelete => "fs_delete",
            Self::Http => "http",
            Self::Infer => "infer",
            Self::HeapRead => "heap_read",
            Self::HeapWrite => "heap_write",
            Self::Call => "call",
            Self::Now => "now",
            Self::Random => "random",
        }
    }
}
