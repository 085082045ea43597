//! The operations that a journal needs from a disk.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::hash_engine::HashEngine;

/// A directory of files that one journal uses; the host implements it.
///
/// The journal relies on this and nothing more:
/// - bytes written to a file before [`Disk::sync`] returned without error are read back after any crash, and the file
///   stays in the directory once [`Disk::sync_dir`] has returned without error;
/// - bytes not yet synced may be on the disk wholly, partly or not at all, but a write changes nothing outside its
///   own range (a sector that is rewritten holds its old bytes or its new ones).
///
/// Names are ASCII letters, digits, `.` and `-`.
pub trait Disk {
    /// Acquires the right to write, until the value is dropped. Acquiring it again while holding it succeeds.
    ///
    /// # Errors
    /// [`DiskError::Locked`] when another writer holds it.
    fn lock(&mut self) -> Result<(), DiskError>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// [`DiskError::Absent`] when there is no such file.
    fn length(&self, name: &str) -> Result<u64, DiskError>;

    /// Reads from `offset` on into `buffer` and returns the number of bytes read: fewer than the buffer has only at
    /// the end of the file.
    ///
    /// # Errors
    /// When the file is absent or cannot be read.
    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Makes the file at least `length` bytes long, creating it if needed. New bytes are zero, and writing them later
    /// needs no more space.
    ///
    /// # Errors
    /// [`DiskError::Full`] when there is not enough space; the file is then unchanged, absent or longer.
    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError>;

    /// Truncates the file to `length` bytes; the journal does not read the rest any more. An implementation may do
    /// nothing, which only wastes space.
    ///
    /// # Errors
    /// When the truncation may not have taken place.
    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        let (_, _) = (name, length);
        Ok(())
    }

    /// Overwrites bytes from `offset` on, within the allocated length.
    ///
    /// # Errors
    /// When some of the bytes may not have been written.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything written to the file, and its length, is durable.
    ///
    /// # Errors
    /// When anything written since the last sync may be lost. An implementation must not hide an error, nor repeat a
    /// failed sync until it succeeds.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;

    /// Deletes a file.
    ///
    /// # Errors
    /// When the file may still exist.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// Returns when every creation and deletion is durable.
    ///
    /// # Errors
    /// When one of them may be lost.
    fn sync_dir(&mut self) -> Result<(), DiskError>;

    /// The implementation of checksums and hashes to use with this disk; portable by default.
    fn engine(&self) -> HashEngine {
        HashEngine::PORTABLE
    }
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn lock(&mut self) -> Result<(), DiskError> {
        (**self).lock()
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        (**self).list()
    }

    fn length(&self, name: &str) -> Result<u64, DiskError> {
        (**self).length(name)
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        (**self).read(name, offset, buffer)
    }

    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        (**self).allocate(name, length)
    }

    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        (**self).shrink(name, length)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).write(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).sync(name)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).remove(name)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        (**self).sync_dir()
    }

    fn engine(&self) -> HashEngine {
        (**self).engine()
    }
}

/// Why a disk operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no space left.
    #[error("disk is full")]
    Full,
    /// There is no file of this name.
    #[error("file is absent")]
    Absent,
    /// Another writer holds the lock of the directory.
    #[error("another writer holds the journal")]
    Locked,
    /// Any other error, with the system's message.
    #[error("disk failed: {0}")]
    Failed(String),
}
