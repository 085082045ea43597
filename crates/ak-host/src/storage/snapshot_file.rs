//! A sealed snapshot of the kernel's state in a file of the vault, which is written and read while the vault is used.

use ak_audit::{
    DiskError,
    seal::{self, BodyKey},
};

use crate::{
    random::random_bytes,
    storage::disk::{BoxedDisk, HostDisk},
};

/// Number of bytes of a snapshot that are written and synced at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A file of a snapshot, which can be written or read without the vault.
pub(crate) struct SnapshotFile {
    pub(super) disk: BoxedDisk,
    pub(super) name: String,
    pub(super) seq: u64,
    pub(super) is_upgrade: bool,
    pub(super) id: u64,
    pub(super) key: BodyKey,
}

impl SnapshotFile {
    /// Returns the snapshot; `None` when the file is missing or damaged.
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        let bytes = read(&*self.disk, &self.name).ok()?;
        let (context, sealed) = bytes.split_first_chunk()?;
        seal::open(sealed, context, |id| (id == self.id).then_some(&self.key)).ok()
    }

    /// Seals and writes the snapshot, as long as `is_wanted` returns true.
    ///
    /// # Errors
    /// When the disk fails or is full, or the snapshot is no longer wanted; the file is removed then.
    pub(crate) fn write(&mut self, snapshot: &[u8], is_wanted: &dyn Fn() -> bool) -> Result<(), DiskError> {
        let context = random_bytes().map_err(|error| failed(&error.to_string()))?;
        let sealed = seal::seal(&[(self.id, &self.key)], &context, snapshot);
        let sealed = sealed.map_err(|error| failed(&error.to_string()))?;
        let written = self.write_parts(&[&context, &sealed], is_wanted);
        if written.is_err() {
            let _ = self.disk.remove(&self.name);
        }
        written
    }

    fn write_parts(&mut self, parts: &[&[u8]], is_wanted: &dyn Fn() -> bool) -> Result<(), DiskError> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        // A file that a crash left behind may be longer.
        remove(&mut *self.disk, &self.name)?;
        self.disk.allocate(&self.name, length)?;
        self.disk.shrink(&self.name, length)?;
        let mut at = 0;
        for piece in parts.iter().flat_map(|part| part.chunks(PIECE_BYTES)) {
            if !is_wanted() {
                return Err(failed("the kernel is being closed"));
            }
            self.disk.write(&self.name, at, piece)?;
            // Synced piece by piece, so that syncs of the journal wait only briefly.
            self.disk.sync(&self.name)?;
            at += piece.len() as u64;
        }
        self.disk.sync_dir()
    }

    /// Removes files of forgotten snapshots.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn remove(&mut self, names: &[String]) -> Result<(), DiskError> {
        names.iter().try_for_each(|name| remove(&mut *self.disk, name))?;
        if names.is_empty() { Ok(()) } else { self.disk.sync_dir() }
    }
}

pub(super) fn read(disk: &dyn HostDisk, name: &str) -> Result<Vec<u8>, DiskError> {
    let length = usize::try_from(disk.length(name)?).map_err(|_| failed("a file is too long"))?;
    let mut bytes = vec![0; length];
    let got = disk.read(name, 0, &mut bytes)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Removes a file if it exists.
pub(super) fn remove(disk: &mut dyn HostDisk, name: &str) -> Result<(), DiskError> {
    match disk.remove(name) {
        Err(DiskError::Absent) => Ok(()),
        done => done,
    }
}

pub(super) fn name(seq: u64, is_upgrade: bool) -> String {
    let kind = if is_upgrade { "upgrade" } else { "snapshot" };
    format!("{kind}-{seq:020}")
}

pub(super) fn parse_name(file: &str) -> Option<(u64, bool)> {
    let (kind, seq) = file.split_once('-')?;
    let (seq, is_upgrade) = (seq.parse().ok()?, kind == "upgrade");
    (name(seq, is_upgrade) == file).then_some((seq, is_upgrade))
}

pub(super) fn failed(reason: &str) -> DiskError {
    DiskError::Failed(reason.to_owned())
}
