//! What the journal needs of a disk.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::hash_engine::HashEngine;

/// A directory of files, held by one journal.
///
/// The journal relies on this and nothing more:
/// - what was written to a file before [`Disk::sync`] returned without error is read back after any crash, and so is
///   the file's place in the directory once [`Disk::sync_dir`] returned;
/// - what was not yet synced may be there wholly, partly or not at all, but overwrites nothing outside its own range
///   (a sector that is written anew holds its old bytes or its new ones).
///
/// Names are ASCII letters, digits, `.` and `-`.
pub trait Disk {
    /// Takes the right to write, until the value is dropped. Who holds it already may take it again.
    ///
    /// # Errors
    /// [`DiskError::Locked`] when another holds it.
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

    /// Reads from `offset` on into `buffer` and returns how many bytes it got: less than asked only at the end of the
    /// file.
    ///
    /// # Errors
    /// When the file is absent or cannot be read.
    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Makes the file at least `length` bytes long, creating it if need be. New bytes are zero, and writing them later
    /// needs no more space.
    ///
    /// # Errors
    /// [`DiskError::Full`] when the space is not there; the file then is as it was, or absent, or longer.
    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError>;

    /// Gives back what lies behind `length` bytes, which nobody reads any more. A disk that cannot may do nothing: only
    /// space is lost.
    ///
    /// # Errors
    /// When the file may be longer than that.
    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        let (_, _) = (name, length);
        Ok(())
    }

    /// Overwrites bytes from `offset` on, within the allocated length.
    ///
    /// # Errors
    /// When it may not have been written wholly.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything written to the file, and its length, is durable.
    ///
    /// # Errors
    /// When anything since the last sync may be lost. An error must not be swallowed, nor retried into a success.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;

    /// Deletes a file.
    ///
    /// # Errors
    /// When it may still be there.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// Returns when every creation and deletion is durable.
    ///
    /// # Errors
    /// When one may be lost.
    fn sync_dir(&mut self) -> Result<(), DiskError>;

    /// How checksums and hashes are computed where this disk is.
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

/// Why a disk did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no space left.
    #[error("disk is full")]
    Full,
    /// There is no file of this name.
    #[error("file is absent")]
    Absent,
    /// Another writer holds the directory.
    #[error("another writer holds the journal")]
    Locked,
    /// Anything else, in the words of the system.
    #[error("disk failed: {0}")]
    Failed(String),
}
