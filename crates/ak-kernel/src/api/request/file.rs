//! Requests on files and directories.

use alloc::sync::Arc;

use ak_json::Text;

/// Longest file that is read where the caller sets no limit, in bytes.
pub const FILE_BYTES_MAX: u64 = 10 << 20;

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
}
