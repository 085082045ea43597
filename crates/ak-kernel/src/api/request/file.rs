//! Requests on files and directories.

use alloc::sync::Arc;

use ak_json::Text;

/// Largest file that a read accepts if the caller sets no limit, in bytes.
pub const FILE_BYTES_MAX: u64 = 10 << 20;
/// Most paths that a glob returns if the caller sets no limit.
pub const GLOB_LIMIT: u64 = 1_000;
/// Highest limit of paths that a glob accepts.
pub const GLOB_LIMIT_MAX: u64 = 10_000;

/// A request on a file or a directory.
#[derive(Clone, Debug, PartialEq)]
pub enum FileRequest {
    /// Reads a file.
    Read {
        /// Absolute path.
        path: Text,
        /// Longest file that is read, in bytes. A longer file fails with an error.
        bytes_max: u64,
    },
    /// Writes a file, replacing it atomically.
    Write {
        /// Absolute path.
        path: Text,
        /// The whole content.
        data: Arc<[u8]>,
    },
    /// Lists a directory.
    List {
        /// Absolute path.
        path: Text,
    },
    /// Returns the metadata of a file or directory.
    Stat {
        /// Absolute path.
        path: Text,
    },
    /// Deletes a file.
    Delete {
        /// Absolute path.
        path: Text,
    },
    /// Creates a directory.
    MakeDirectory {
        /// Absolute path.
        path: Text,
        /// Whether missing parent directories are created too. If so, an existing directory is no error.
        parents: bool,
    },
    /// Appends to a file, which is created if it does not exist.
    Append {
        /// Absolute path.
        path: Text,
        /// The bytes to append.
        data: Arc<[u8]>,
    },
    /// Renames a file, replacing a file at the new path. Directories are refused: files in them that no rule
    /// permits would move with them.
    Rename {
        /// Absolute path of the file.
        old: Text,
        /// Absolute new path.
        new: Text,
    },
    /// Returns the paths that match a pattern, in ascending order.
    Glob {
        /// An absolute path in which `*`, `?` and `[…]` match characters of a name, and `**` any number of
        /// directories.
        pattern: Text,
        /// Most paths to return.
        limit: u64,
    },
}
