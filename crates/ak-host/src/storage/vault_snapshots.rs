//! The snapshots that a vault keeps: adopts and reads them, and forgets them by destroying their keys.

use std::collections::BTreeMap;

use ak_audit::{DiskError, seal};

use crate::storage::{
    snapshot_file::{SnapshotFile, failed, name, read, remove},
    vault::Vault,
};

/// The first id of a snapshot's key; ids of subjects are smaller.
pub(super) const SNAPSHOT_IDS: u64 = 1 << 63;
/// Maximum number of snapshots that are kept.
const SNAPSHOTS_MAX: usize = 2;

impl Vault {
    /// Begins to write the snapshot of entry `seq` by making its key. Writing the returned file needs no lock.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub(crate) fn begin_snapshot(&mut self, seq: u64, is_upgrade: bool) -> Result<SnapshotFile, DiskError> {
        let id = SNAPSHOT_IDS | seq;
        self.make_keys([id].into_iter())?;
        let key = self.key(id).ok_or_else(|| failed("a key is gone"))?.clone();
        Ok(SnapshotFile { disk: self.disk.handle(), name: name(seq, is_upgrade), seq, is_upgrade, id, key })
    }

    /// Adopts a written snapshot, and forgets the oldest ones beyond [`SNAPSHOTS_MAX`] by destroying their keys.
    /// Returns the names of their files, for removal.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn adopt_snapshot(&mut self, written: &SnapshotFile) -> Result<Vec<String>, DiskError> {
        self.snapshots.insert(written.seq, written.is_upgrade);
        let mut obsolete = Vec::new();
        let kept = |vault: &Vault| vault.snapshots.values().filter(|is_upgrade| !**is_upgrade).count();
        while kept(self) > SNAPSHOTS_MAX {
            let oldest = self.snapshots.iter().find(|(_, is_upgrade)| !**is_upgrade);
            let Some(oldest) = oldest.map(|(seq, _)| *seq) else { break };
            obsolete.extend(self.forget_snapshot(oldest)?);
        }
        Ok(obsolete)
    }

    /// Writes and adopts a snapshot at once; `is_upgrade` if a journal of an earlier version continues from it.
    ///
    /// # Errors
    /// When the disk fails or is full; the snapshot is not kept then.
    pub(crate) fn write_snapshot(
        &mut self,
        seq: u64,
        snapshot: &[u8],
        is_upgrade: bool,
    ) -> Result<(), DiskError> {
        let mut file = self.begin_snapshot(seq, is_upgrade)?;
        file.write(snapshot, &|| true)?;
        let obsolete = self.adopt_snapshot(&file)?;
        file.remove(&obsolete)
    }

    /// Forgets the snapshots of all entries before `seq` by destroying their keys. Returns the names of their files,
    /// for removal.
    ///
    /// # Errors
    /// When the disk fails; a snapshot may then still be readable.
    pub(crate) fn forget_snapshots_below(&mut self, seq: u64) -> Result<Vec<String>, DiskError> {
        let older: Vec<u64> = self.snapshots.range(..seq).map(|(seq, _)| *seq).collect();
        older.into_iter().filter_map(|seq| self.forget_snapshot(seq).transpose()).collect()
    }

    /// Destroys the key of a snapshot. Returns the name of its file.
    fn forget_snapshot(&mut self, seq: u64) -> Result<Option<String>, DiskError> {
        self.destroy_key(SNAPSHOT_IDS | seq)?;
        Ok(self.snapshots.remove(&seq).map(|is_upgrade| name(seq, is_upgrade)))
    }

    /// Removes unreadable snapshots: their writing was cut short by a crash, or their key is already destroyed.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn drop_unreadable(&mut self, seqs: &[u64]) -> Result<(), DiskError> {
        for seq in seqs {
            if let Some(name) = self.forget_snapshot(*seq)? {
                remove(&mut *self.disk, &name)?;
            }
        }
        if seqs.is_empty() { Ok(()) } else { self.disk.sync_dir() }
    }

    /// Length of the newest snapshot's file in bytes; 0 when there is none.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        let newest = self.snapshots.last_key_value();
        newest.and_then(|(seq, is_upgrade)| self.disk.length(&name(*seq, *is_upgrade)).ok()).unwrap_or(0)
    }

    /// The entries that have snapshots, newest first.
    pub(crate) fn snapshots(&self) -> Vec<u64> {
        self.snapshots.keys().rev().copied().collect()
    }

    /// Returns all snapshots that are complete and undamaged, by entry.
    pub(crate) fn all_snapshots(&self) -> BTreeMap<u64, Vec<u8>> {
        self.snapshots.keys().filter_map(|seq| Some((*seq, self.snapshot(*seq)?))).collect()
    }

    /// Returns the snapshot of entry `seq`; `None` when it is missing or damaged, or the disk cannot be read.
    pub(crate) fn snapshot(&self, seq: u64) -> Option<Vec<u8>> {
        self.read_snapshot(seq).ok().flatten()
    }

    /// Returns the snapshot of entry `seq`; `None` when it is missing or damaged.
    ///
    /// # Errors
    /// When the disk cannot be read, so that it is unknown whether the snapshot is damaged.
    pub(crate) fn read_snapshot(&self, seq: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(is_upgrade) = self.snapshots.get(&seq) else { return Ok(None) };
        let bytes = read(&*self.disk, &name(seq, *is_upgrade))?;
        let opened = bytes
            .split_first_chunk()
            .and_then(|(context, sealed)| seal::open(sealed, context, |id| self.key(id)).ok());
        Ok(opened)
    }

    /// Returns the file of the snapshot of entry `seq`, which can be read while the vault is used.
    pub(crate) fn snapshot_file(&self, seq: u64) -> Option<SnapshotFile> {
        let (is_upgrade, id) = (*self.snapshots.get(&seq)?, SNAPSHOT_IDS | seq);
        let key = self.key(id)?.clone();
        Some(SnapshotFile { disk: self.disk.handle(), name: name(seq, is_upgrade), seq, is_upgrade, id, key })
    }
}
