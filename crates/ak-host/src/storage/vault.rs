//! The vault holds what an erasure destroys: the keys of bodies, and snapshots of the kernel's state. The journal beside it never forgets.
//!
//! `keys` holds slots of 64 bytes: id (u64, little-endian), key (32), and the first 24 bytes of
//! `SHA-256("ak-host body key\n" ‖ id ‖ key)`. A slot of zeros is free; a slot that does not check was torn by a crash before
//! anything rested on it. `snapshot-SEQ` holds 32 random bytes and the snapshot sealed under them (see [`ak_audit::seal`])
//! with a key of its own, whose id is 2⁶³ + SEQ: without the key nothing of an old one can be read, wherever its bytes went.

use std::collections::{BTreeMap, BTreeSet};

use ak_audit::{
    DiskError, Hash,
    seal::{self, BodyKey, SealError},
};
use ak_json::Digest;
use ak_kernel::SubjectId;

use crate::{
    random::random_bytes,
    storage::disk::{BoxedDisk, HostDisk},
    storage::snapshot_file::{SnapshotFile, failed, name, parse_name, read, remove},
};

/// The file of keys.
const KEYS_FILE: &str = "keys";
const SLOT_BYTES: usize = 64;
/// Slots that are kept free, so that a full disk fails no admitted request.
const FREE_SLOTS_MIN: u64 = 8 << 10;
/// Slots are allocated so many at a time beyond that.
const SLOTS_AHEAD: u64 = 8 << 10;
/// Ids from here on are those of snapshots' keys.
const SNAPSHOT_IDS: u64 = 1 << 63;
/// The file whose space an erasure's snapshot takes on a full disk.
const RESERVE_FILE: &str = "reserve";
/// How long it is at least, in bytes: erasing works on a full disk as long as the state is not longer.
pub const VAULT_RESERVE_BYTES: u64 = 1 << 20;
/// What a snapshot may grow by between the request to erase and the erasure: a part in so many, and at least so many bytes.
const GROWTH_SHARE: u64 = 8;
const GROWTH_BYTES_MIN: u64 = 64 << 10;
/// How many snapshots are kept at most.
const SNAPSHOTS_MAX: usize = 2;
pub(crate) struct Vault {
    disk: BoxedDisk,
    /// By id, with the slot.
    keys: BTreeMap<u64, (BodyKey, u64)>,
    /// The first slot that was never used.
    next_slot: u64,
    /// How many slots have room on the disk.
    slots: u64,
    /// Whether a key was written and not synced.
    is_unsynced: bool,
    /// How many bytes are reserved for an erasure's snapshot.
    reserved: u64,
    /// By entry, and whether it is the one by which a journal of an earlier version goes on: that is kept until an erasure.
    snapshots: BTreeMap<u64, bool>,
}

impl Vault {
    /// Opens the vault on a disk, for one writer.
    ///
    /// # Errors
    /// When another holds it, or the disk fails.
    pub(crate) fn open(mut disk: BoxedDisk) -> Result<Vault, DiskError> {
        disk.lock()?;
        let mut vault = Vault::read_only(disk)?;
        vault.repair_keys()?;
        match vault.reserve() {
            // The vault uses the slots that it has.
            Ok(()) | Err(DiskError::Full) => {}
            Err(error) => return Err(error),
        }
        vault.fill_reserve();
        Ok(vault)
    }

    /// Opens the vault for reading, beside its writer.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn read_only(disk: BoxedDisk) -> Result<Vault, DiskError> {
        let mut vault = Vault {
            disk,
            keys: BTreeMap::new(),
            next_slot: 0,
            slots: 0,
            is_unsynced: false,
            reserved: 0,
            snapshots: BTreeMap::new(),
        };
        for name in vault.disk.list()? {
            if name == KEYS_FILE {
                vault.read_keys()?;
            } else if let Some((seq, is_upgrade)) = parse_name(&name) {
                vault.snapshots.insert(seq, is_upgrade);
            }
        }
        Ok(vault)
    }

    /// Whether a vault's disk holds a key or a snapshot of some journal.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn is_populated(disk: &dyn HostDisk) -> Result<bool, DiskError> {
        for name in disk.list()? {
            if parse_name(&name).is_some() {
                return Ok(true);
            }
            if name == KEYS_FILE {
                let length = usize::try_from(disk.length(&name)?).unwrap_or(usize::MAX);
                let mut slots = vec![0; length];
                disk.read(&name, 0, &mut slots)?;
                if slots.iter().any(|byte| *byte != 0) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn read_keys(&mut self) -> Result<(), DiskError> {
        let bytes = read(&*self.disk, KEYS_FILE)?;
        self.slots = (bytes.len() / SLOT_BYTES) as u64;
        for (slot, bytes) in (0..).zip(bytes.as_chunks::<SLOT_BYTES>().0) {
            if *bytes != [0; SLOT_BYTES] {
                self.next_slot = slot + 1;
            }
            if let Some((id, key)) = parse_slot(bytes) {
                self.keys.insert(id, (key, slot));
            }
        }
        Ok(())
    }

    /// Writes the keys again. After a failed or missing sync they may exist only in the page cache, which serves reads and is left out of
    /// later syncs: nothing may be sealed under such a key.
    fn repair_keys(&mut self) -> Result<(), DiskError> {
        if self.next_slot == 0 {
            return Ok(());
        }
        let mut slots = read(&*self.disk, KEYS_FILE)?;
        slots.truncate(usize::try_from(self.next_slot).unwrap_or(usize::MAX).saturating_mul(SLOT_BYTES));
        self.disk.write(KEYS_FILE, 0, &slots)?;
        self.disk.sync(KEYS_FILE)?;
        self.disk.sync_dir()
    }

    /// Whether many keys can be made without asking the disk for room.
    pub(crate) const fn has_room(&self) -> bool {
        self.slots.saturating_sub(self.next_slot) >= FREE_SLOTS_MIN
    }

    /// Asks the disk for room for keys, where it is short.
    ///
    /// # Errors
    /// [`DiskError::Full`]; the vault goes on with what it has.
    pub(crate) fn reserve(&mut self) -> Result<(), DiskError> {
        if self.has_room() {
            return Ok(());
        }
        let slots = self.next_slot.saturating_add(FREE_SLOTS_MIN + SLOTS_AHEAD);
        self.disk.allocate(KEYS_FILE, slots.saturating_mul(SLOT_BYTES as u64))?;
        self.disk.sync(KEYS_FILE)?;
        self.disk.sync_dir()?;
        self.slots = slots;
        Ok(())
    }

    /// Makes the keys that are not there yet, durable before anything is sealed under them.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn make_keys(&mut self, ids: impl Iterator<Item = SubjectId>) -> Result<(), DiskError> {
        let missing: BTreeSet<u64> = ids.filter(|id| !self.keys.contains_key(id)).collect();
        if missing.is_empty() && !self.is_unsynced {
            return Ok(());
        }
        for id in missing {
            if self.next_slot >= self.slots {
                self.reserve()?;
            }
            let key = random_bytes().map_err(|error| failed(&error.to_string()))?;
            self.disk.write(KEYS_FILE, self.next_slot * SLOT_BYTES as u64, &slot(id, &key))?;
            self.is_unsynced = true;
            self.keys.insert(id, (BodyKey::new(key), self.next_slot));
            self.next_slot += 1;
        }
        self.disk.sync(KEYS_FILE)?;
        self.is_unsynced = false;
        Ok(())
    }

    /// Finds room for the snapshot of an erasure, which is about so long now.
    ///
    /// # Errors
    /// When the disk fails, or [`DiskError::Full`]: what was reserved before stays so.
    pub(crate) fn reserve_snapshot(&mut self, bytes: u64) -> Result<(), DiskError> {
        let growth = (bytes / GROWTH_SHARE).max(GROWTH_BYTES_MIN);
        let wanted = bytes.saturating_add(growth).max(VAULT_RESERVE_BYTES);
        if self.reserved < wanted {
            self.disk.allocate(RESERVE_FILE, wanted)?;
            self.reserved = wanted;
        }
        Ok(())
    }

    /// Reserves what every erasure may need. Where there is no space, the next one that asks finds that out.
    pub(crate) fn fill_reserve(&mut self) {
        let _ = self.reserve_snapshot(0);
    }

    /// Releases the reserve to an erasure.
    pub(crate) fn release_reserve(&mut self) {
        self.reserved = 0;
        // Without it the snapshot finds space or not, and says so.
        let _ = self.disk.remove(RESERVE_FILE);
    }

    /// Seals a body under the keys of these subjects, which were made before.
    ///
    /// # Errors
    /// [`SealError::Erased`] where a key is not there.
    pub(crate) fn seal(
        &self,
        subjects: &[SubjectId],
        leaf: &Hash,
        body: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let keys = subjects.iter().map(|id| Ok((*id, self.key(*id).ok_or(SealError::Erased { id: *id })?)));
        seal::seal(&keys.collect::<Result<Vec<_>, _>>()?, leaf, body)
    }

    /// The keys that these sealed bodies need, as far as they are there.
    pub(crate) fn keys_of<'b>(&self, sealed: impl Iterator<Item = &'b [u8]>) -> BTreeMap<u64, BodyKey> {
        let ids: BTreeSet<u64> = sealed.flat_map(|body| seal::key_ids(body).unwrap_or_default()).collect();
        ids.into_iter().filter_map(|id| Some((id, self.key(id)?.clone()))).collect()
    }

    pub(crate) fn key(&self, id: u64) -> Option<&BodyKey> {
        self.keys.get(&id).map(|(key, _)| key)
    }

    /// Destroys a key: what was sealed under it is gone.
    ///
    /// # Errors
    /// When the disk fails, and the key may still be there.
    pub(crate) fn destroy_key(&mut self, id: u64) -> Result<(), DiskError> {
        if let Some((_, slot)) = self.keys.get(&id) {
            self.disk.write(KEYS_FILE, slot * SLOT_BYTES as u64, &[0; SLOT_BYTES])?;
            self.disk.sync(KEYS_FILE)?;
            self.keys.remove(&id);
        }
        Ok(())
    }

    /// Begins to write the snapshot of entry `seq` by making its key. The rest needs no lock.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub(crate) fn begin_snapshot(&mut self, seq: u64, is_upgrade: bool) -> Result<SnapshotFile, DiskError> {
        let id = SNAPSHOT_IDS | seq;
        self.make_keys([id].into_iter())?;
        let key = self.key(id).ok_or_else(|| failed("a key is gone"))?.clone();
        Ok(SnapshotFile { disk: self.disk.handle(), name: name(seq, is_upgrade), seq, is_upgrade, id, key })
    }

    /// Adopts a written snapshot and forgets the oldest beyond the limit by destroying their keys. Returns the files left of them, for
    /// removal.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn adopt_snapshot(&mut self, written: &SnapshotFile) -> Result<Vec<String>, DiskError> {
        self.snapshots.insert(written.seq, written.is_upgrade);
        let mut gone = Vec::new();
        let kept = |vault: &Vault| vault.snapshots.values().filter(|is_upgrade| !**is_upgrade).count();
        while kept(self) > SNAPSHOTS_MAX {
            let oldest = self.snapshots.iter().find(|(_, is_upgrade)| !**is_upgrade);
            let Some(oldest) = oldest.map(|(seq, _)| *seq) else { break };
            gone.extend(self.forget_snapshot(oldest)?);
        }
        Ok(gone)
    }

    /// Writes and adopts a snapshot at once; `is_upgrade` for the one from which a journal of an earlier version continues.
    ///
    /// # Errors
    /// When the disk fails or is full; the snapshot then is not kept.
    pub(crate) fn write_snapshot(
        &mut self,
        seq: u64,
        snapshot: &[u8],
        is_upgrade: bool,
    ) -> Result<(), DiskError> {
        let mut file = self.begin_snapshot(seq, is_upgrade)?;
        file.write(snapshot, &|| true)?;
        let gone = self.adopt_snapshot(&file)?;
        file.remove(&gone)
    }

    /// Forgets every snapshot that belongs to an entry before this one: their keys are gone then. Gives the files that are left
    /// of them, to be removed.
    ///
    /// # Errors
    /// When the disk fails, and one may still be readable.
    pub(crate) fn forget_snapshots_below(&mut self, seq: u64) -> Result<Vec<String>, DiskError> {
        let older: Vec<u64> = self.snapshots.range(..seq).map(|(seq, _)| *seq).collect();
        older.into_iter().filter_map(|seq| self.forget_snapshot(seq).transpose()).collect()
    }

    /// Destroys the key of a snapshot. Gives the file that is left of it.
    fn forget_snapshot(&mut self, seq: u64) -> Result<Option<String>, DiskError> {
        self.destroy_key(SNAPSHOT_IDS | seq)?;
        Ok(self.snapshots.remove(&seq).map(|is_upgrade| name(seq, is_upgrade)))
    }

    /// Removes snapshots that cannot be read: a crash cut them short, or came before their files were removed.
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

    /// Bytes of the newest snapshot.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        let newest = self.snapshots.last_key_value();
        newest.and_then(|(seq, is_upgrade)| self.disk.length(&name(*seq, *is_upgrade)).ok()).unwrap_or(0)
    }

    /// The entries that snapshots belong to, newest first.
    pub(crate) fn snapshots(&self) -> Vec<u64> {
        self.snapshots.keys().rev().copied().collect()
    }

    /// All snapshots that are whole.
    pub(crate) fn all_snapshots(&self) -> BTreeMap<u64, Vec<u8>> {
        self.snapshots.keys().filter_map(|seq| Some((*seq, self.snapshot(*seq)?))).collect()
    }

    /// The snapshot that belongs to entry `seq`, if it is there and whole.
    pub(crate) fn snapshot(&self, seq: u64) -> Option<Vec<u8>> {
        self.read_snapshot(seq).ok().flatten()
    }

    /// The snapshot that belongs to entry `seq`; none where it is not there or not whole.
    ///
    /// # Errors
    /// When the disk cannot be read: nobody knows then whether it is whole.
    pub(crate) fn read_snapshot(&self, seq: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(is_upgrade) = self.snapshots.get(&seq) else { return Ok(None) };
        let bytes = read(&*self.disk, &name(seq, *is_upgrade))?;
        let opened = bytes
            .split_first_chunk()
            .and_then(|(context, sealed)| seal::open(sealed, context, |id| self.key(id)).ok());
        Ok(opened)
    }

    /// The snapshot that belongs to entry `seq`, to be read beside whoever uses the vault.
    pub(crate) fn snapshot_file(&self, seq: u64) -> Option<SnapshotFile> {
        let (is_upgrade, id) = (*self.snapshots.get(&seq)?, SNAPSHOT_IDS | seq);
        let key = self.key(id)?.clone();
        Some(SnapshotFile { disk: self.disk.handle(), name: name(seq, is_upgrade), seq, is_upgrade, id, key })
    }
}

fn check(id: u64, key: &[u8]) -> [u8; 24] {
    let digest = Digest::of_parts([&b"ak-host body key\n"[..], &id.to_le_bytes(), key]);
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn slot(id: u64, key: &[u8; 32]) -> Vec<u8> {
    [&id.to_le_bytes()[..], key, &check(id, key)].concat()
}

fn parse_slot(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, BodyKey)> {
    let (id, rest) = bytes.split_first_chunk::<8>()?;
    let (key, found) = rest.split_first_chunk::<32>()?;
    let id = u64::from_le_bytes(*id);
    (*found == check(id, key)).then(|| (id, BodyKey::new(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::FileDisk;

    struct Scratch(std::path::PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn scratch(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("ak-vault-{name}-{}", std::process::id())))
    }

    fn open(scratch: &Scratch) -> Vault {
        Vault::open(Box::new(FileDisk::new(&scratch.0).unwrap())).unwrap()
    }

    #[test]
    fn keys_outlive_a_restart_until_they_are_destroyed() {
        let place = scratch("keys");
        let mut vault = open(&place);
        vault.make_keys([3, 1].into_iter()).unwrap();
        let sealed = vault.seal(&[1, 3], &[7; 32], b"body").unwrap();
        drop(vault);
        let mut vault = open(&place);
        vault.make_keys([1].into_iter()).unwrap();
        assert_eq!(seal::open(&sealed, &[7; 32], |id| vault.key(id)).unwrap(), b"body");
        let bytes = std::fs::read(place.0.join(KEYS_FILE)).unwrap();
        let key = *vault.key(3).unwrap().as_bytes();
        assert!(bytes.windows(32).any(|window| window == key));
        vault.destroy_key(3).unwrap();
        let bytes = std::fs::read(place.0.join(KEYS_FILE)).unwrap();
        assert!(!bytes.windows(32).any(|window| window == key), "no trace of it is in the file");
        assert_eq!(seal::open(&sealed, &[7; 32], |id| vault.key(id)), Err(SealError::Erased { id: 3 }));
        drop(vault);
        let reopened = open(&place);
        assert_eq!(seal::open(&sealed, &[7; 32], |id| reopened.key(id)), Err(SealError::Erased { id: 3 }));
    }

    #[test]
    fn a_torn_slot_is_no_key() {
        let place = scratch("torn");
        open(&place).make_keys([1, 2].into_iter()).unwrap();
        let file = place.0.join(KEYS_FILE);
        let whole = std::fs::read(&file).unwrap();
        for byte in SLOT_BYTES..2 * SLOT_BYTES {
            let mut torn = whole.clone();
            torn[byte] ^= 1;
            std::fs::write(&file, &torn).unwrap();
            let vault = open(&place);
            assert!(vault.key(1).is_some() && vault.key(2).is_none(), "byte {byte}");
        }
    }

    #[test]
    fn two_snapshots_are_kept_and_older_ones_destroyed() {
        let place = scratch("snapshots");
        let mut vault = open(&place);
        for seq in [5, 9, 70] {
            vault.write_snapshot(seq, format!("state at {seq}").as_bytes(), false).unwrap();
        }
        drop(vault);
        let mut vault = open(&place);
        assert_eq!(vault.snapshots(), [70, 9]);
        assert_eq!(vault.snapshot(9).unwrap(), b"state at 9");
        assert_eq!(vault.snapshot(5), None);
        assert_eq!(vault.forget_snapshots_below(70).unwrap(), [name(9, false)]);
        assert_eq!((vault.snapshots(), vault.keys.len()), (vec![70], 1));
        let file = place.0.join(name(70, false));
        let mut bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"state"), "it is sealed");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(vault.snapshot(70), None, "a damaged one is none");
    }

    /// A disk prepares a file for whoever writes much, which is longer than a snapshot.
    #[test]
    fn a_snapshot_in_a_file_that_was_prepared_is_whole() {
        let place = scratch("prepared");
        let disk = FileDisk::new(&place.0).unwrap();
        let mut vault = Vault::open(Box::new(disk.clone())).unwrap();
        let snapshot = vec![7; 17 << 20];
        for seq in [5, 9] {
            vault.write_snapshot(seq, &snapshot, false).unwrap();
            disk.wait_idle();
            assert!(vault.snapshot(seq).as_ref() == Some(&snapshot), "{seq}");
        }
    }

    #[test]
    fn a_cancelled_snapshot_leaves_nothing_and_a_truncated_one_is_unreadable() {
        let place = scratch("cut-short");
        let mut vault = open(&place);
        vault.write_snapshot(5, b"state at 5", false).unwrap();
        let mut file = vault.begin_snapshot(9, false).unwrap();
        assert!(file.write(b"state at 9", &|| false).is_err());
        assert!(!place.0.join(name(9, false)).exists());
        file.write(b"state at 9", &|| true).unwrap();
        let whole = std::fs::read(place.0.join(name(9, false))).unwrap();
        std::fs::write(place.0.join(name(9, false)), &whole[..whole.len() - 1]).unwrap();
        drop((file, vault));
        let mut vault = open(&place);
        assert_eq!((vault.snapshots(), vault.snapshot(9)), (vec![9, 5], None));
        vault.drop_unreadable(&[9]).unwrap();
        assert_eq!((vault.snapshots(), vault.snapshot(5).unwrap()), (vec![5], b"state at 5".to_vec()));
        assert!(!place.0.join(name(9, false)).exists() && vault.key(SNAPSHOT_IDS | 9).is_none());
    }

    #[test]
    fn room_for_keys_is_found_before_it_is_needed() {
        let place = scratch("room");
        let mut vault = open(&place);
        assert!(vault.has_room());
        vault.make_keys(0..SLOTS_AHEAD + 1).unwrap();
        assert!(!vault.has_room());
        vault.reserve().unwrap();
        assert!(vault.has_room());
    }
}
