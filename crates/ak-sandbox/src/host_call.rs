//! Requests of a guest to its host.

use ak_json::Value;

/// A request of a guest to its host; the run waits for [`Run::reply`](crate::Run::reply).
///
/// A native module's arguments, and the replies to it, may have any shape. For a WASI command the sandbox itself
/// makes the arguments and reads the replies; bytes are base64url without padding:
///
/// | operation | arguments | result |
/// |---|---|---|
/// | [`HostOperation::FsRead`] | `path`, `max` (bytes) | `bytes` |
/// | [`HostOperation::FsWrite`] | `path`, `data` | anything |
/// | [`HostOperation::FsStat`] | `path` | `kind` (`file`, `directory`, `link` …), `size`, `modified` (µs since 1970) |
/// | [`HostOperation::FsList`] | `path` | `entries`: objects with `name` and `kind` |
/// | [`HostOperation::FsDelete`] | `path` | anything |
/// | [`HostOperation::Random`] | `bytes` (how many) | a string: that many bytes |
/// | [`HostOperation::Now`] | none | an integer, µs since 1970 |
///
/// To a WASI command an error reply becomes an error number, chosen by the error's member `name`: `NOT_FOUND` is
/// `ENOENT`, `LIMIT` and `BUFFER_OVERFLOW` are `EFBIG`, `IO`, `DEADLINE` and `UNKNOWN_OUTCOME` are `EIO`, everything
/// else is `EACCES`; for clock and random it is always `ENOTCAPABLE`. After `BUFFER_OVERFLOW` the file has grown, so
/// the sandbox describes and reads it once more.
///
/// The sandbox lowers the member `max` of a native module's [`HostOperation::FsRead`] and [`HostOperation::Http`] to
/// the number of bytes that a reply can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCall {
    /// The requested operation.
    pub operation: HostOperation,
    /// The arguments: from a native module any JSON value, from a WASI command those in the table above.
    pub args: Value,
}

/// The operations that a guest can request. The sandbox does not decide on them; the driver of the run does.
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
    /// Send a prompt to a model.
    Infer,
    /// Read a heap object.
    HeapRead,
    /// Patch a heap object.
    HeapWrite,
    /// Call another tool.
    Call,
    /// Get the time; the result is an integer, µs since the Unix epoch.
    Now,
    /// Get random bytes; the result is `bytes` many of them, base64url without padding.
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

    /// The name of the import in the module `ak`.
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
