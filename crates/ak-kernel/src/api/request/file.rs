//! Requests on files and directories.

use alloc::sync::Arc;

use ak_json::Text;

/// Longest file that is read where the caller sets no limit, in bytes.
pub const FILE_BYTES_MAX: u64 = 10 << 20;
/// How many paths a glob finds where the caller sets no limit.
pub const GLOB_LIMIT: u64 = 1_000;
/// Most paths that one glob finds.
pub const GLOB_LIMIT_MAX: u64 = 10_000;

/// A request on a file or a directory.
#[derive(Clone, Debug, PartialEq)]
pub enum FileRequest {
    /// Read a file.
    Read {
        /// Absolute path.
        path: Text,
        /// Refuse a longer file, in bytes.
        bytes_max: u64,
    },
    /// Write a file, replacing it atomically.
    Write {
        /// Absolute path.
        path: Text,
        /// The whole content.
        data: Arc<[u8]>,
    },
    /// List a directory.
    List {
        /// Absolute path.
        path: Text,
    },
    /// Describe a file.
    Stat {
        /// Absolute path.
        path: Text,
    },
    /// Delete a file.
    Delete {
        /// Absolute path.
        path: Text,
    },
    /// Create a directory.
    MakeDirectory {
        /// Absolute path.
        path: Text,
        /// Whether the directories above it are created where they are missing, and one that exists already is no failure.
        parents: bool,
    },
    /// Append to a file, which is created if it is not there.
    Append {
        /// Absolute path.
        path: Text,
        /// What is appended.
        data: Arc<[u8]>,
    },
    /// Give a file another path, and replace the file that stands there. Directories are refused: what is closed in one would
    /// travel with it.
    Rename {
        /// Absolute path of the file.
        old: Text,
        /// Absolute path that it gets.
        new: Text,
    },
    /// Find the paths that match a pattern, in ascending order.
    Glob {
        /// An absolute path in which `*`, `?` and `[…]` stand for characters of a name, and `**` for any number of directories.
        pattern: Text,
        /// Most paths that are found.
        limit: u64,
    },
}
