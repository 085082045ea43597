//! The vault holds the data that an erasure destroys: the keys of bodies, and snapshots of the kernel's state. Nothing
//! is deleted from the journal beside it.
//!
//! The file `keys` has slots of 64 bytes: id (u64, little-endian), key (32), and the first 24 bytes of
//! `SHA-256("ak-host body key\n" ‖ id ‖ key)`. A slot of zeros is free. A slot whose check value is wrong was torn by a
//! crash before anything depended on it. A file `snapshot-SEQ` has 32 random bytes, and the snapshot sealed under them
//! (see [`ak_audit::seal`]) with a key of its own, whose id is 2⁶³ + SEQ. Without the key, no copy of an old snapshot
//! can be read.

use std::collections::{BTreeMap, BTreeSet};

use ak_audit::{
    DiskError, Hash,
    seal::{self, BodyKey, SealError},
};
use ak_kernel::SubjectId;

use crate::{
    random::random_bytes,
    storage::disk::{BoxedDisk, HostDisk},
    storage::key_slot::{SLOT_BYTES, parse_slot, slot},
    storage::snapshot_file::{failed, parse_name, read},
};

/// The file of keys.
const KEYS_FILE: &str = "keys";
/// Minimum number of allocated free slots, so that admitted requests succeed on a full disk.
const FREE_SLOTS_MIN: u64 = 8 << 10;
/// Number of slots that are allocated beyond that at a time.
const SLOTS_AHEAD: u64 = 8 << 10;
/// The file whose space the snapshot of an erasure takes on a full disk.
const RESERVE_FILE: &str = "reserve";
/// Minimum length of the vault's reserve, in bytes: on a full disk an erasure works as long as its snapshot is not
/// longer.
pub const VAULT_RESERVE_BYTES: u64 = 1 << 20;
/// The growth of a snapshot that is allowed for between the request to erase and the erasure: 1/N of its length, but at
/// least `GROWTH_BYTES_MIN` bytes.
const GROWTH_SHARE: u64 = 8;
const GROWTH_BYTES_MIN: u64 = 64 << 10;
pub(crate) struct Vault {
    pub(super) disk: BoxedDisk,
    /// The keys by id, each with the index of its slot.
    pub(super) keys: BTreeMap<u64, (BodyKey, u64)>,
    /// The first slot that was never used.
    next_slot: u64,
    /// Number of slots that are allocated on the disk.
    slots: u64,
    /// Whether a key was written that is not synced yet.
    is_unsynced: bool,
    /// Number of bytes that are reserved for the snapshot of an erasure.
    reserved: u64,
    /// The kept snapshots by entry, and whether a journal of an earlier version continues from the snapshot: such a one
    /// is kept until an erasure.
    pub(super) snapshots: BTreeMap<u64, bool>,
}

impl Vault {
    /// Opens the vault on a disk for its only writer.
    ///
    /// # Errors
    /// When another writer holds the vault, or the disk fails.
    pub(crate) fn open(mut disk: BoxedDisk) -> Result<Vault, DiskError> {
        disk.lock()?;
        let mut vault = Vault::read_only(disk)?;
        vault.repair_keys()?;
        match vault.reserve() {
            // On a full disk the vault uses the slots that it has.
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

    /// Whether a vault's disk has a key or a snapshot of any journal.
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

    /// Writes the keys again. After a failed or missing sync, keys may exist only in the page cache, which serves reads
    /// but is not written by later syncs. Nothing may be sealed under such a key.
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

    /// Whether at least [`FREE_SLOTS_MIN`] keys can be made without allocating space.
    pub(crate) const fn has_room(&self) -> bool {
        self.slots.saturating_sub(self.next_slot) >= FREE_SLOTS_MIN
    }

    /// Allocates space for more keys if few slots are free.
    ///
    /// # Errors
    /// [`DiskError::Full`]; the vault then continues with the slots that it has.
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

    /// Makes the missing keys among `ids`, and syncs them before anything is sealed under them.
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

    /// Reserves space for the snapshot of an erasure, which has about `bytes` bytes now.
    ///
    /// # Errors
    /// When the disk fails, or [`DiskError::Full`]; an earlier reserve stays.
    pub(crate) fn reserve_snapshot(&mut self, bytes: u64) -> Result<(), DiskError> {
        let growth = (bytes / GROWTH_SHARE).max(GROWTH_BYTES_MIN);
        let wanted = bytes.saturating_add(growth).max(VAULT_RESERVE_BYTES);
        if self.reserved < wanted {
            self.disk.allocate(RESERVE_FILE, wanted)?;
            self.reserved = wanted;
        }
        Ok(())
    }

    /// Reserves at least [`VAULT_RESERVE_BYTES`] for an erasure. A full disk is not an error here: the next erasure
    /// reports it.
    pub(crate) fn fill_reserve(&mut self) {
        let _ = self.reserve_snapshot(0);
    }

    /// Releases the reserve to the snapshot of an erasure.
    pub(crate) fn release_reserve(&mut self) {
        self.reserved = 0;
        // If this fails, writing the snapshot reports a full disk.
        let _ = self.disk.remove(RESERVE_FILE);
    }

    /// Seals a body under the keys of these subjects, which must exist.
    ///
    /// # Errors
    /// [`SealError::Erased`] when a key does not exist.
    pub(crate) fn seal(
        &self,
        subjects: &[SubjectId],
        leaf: &Hash,
        body: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let keys = subjects.iter().map(|id| Ok((*id, self.key(*id).ok_or(SealError::Erased { id: *id })?)));
        seal::seal(&keys.collect::<Result<Vec<_>, _>>()?, leaf, body)
    }

    /// Returns the existing keys among those that these sealed bodies need.
    pub(crate) fn keys_of<'b>(&self, sealed: impl Iterator<Item = &'b [u8]>) -> BTreeMap<u64, BodyKey> {
        let ids: BTreeSet<u64> = sealed.flat_map(|body| seal::key_ids(body).unwrap_or_default()).collect();
        ids.into_iter().filter_map(|id| Some((id, self.key(id)?.clone()))).collect()
    }

    pub(crate) fn key(&self, id: u64) -> Option<&BodyKey> {
        self.keys.get(&id).map(|(key, _)| key)
    }

    /// Destroys a key, which makes the data sealed under it unreadable.
    ///
    /// # Errors
    /// When the disk fails; the key may then still exist.
    pub(crate) fn destroy_key(&mut self, id: u64) -> Result<(), DiskError> {
        if let Some((_, slot)) = self.keys.get(&id) {
            self.disk.write(KEYS_FILE, slot * SLOT_BYTES as u64, &[0; SLOT_BYTES])?;
            self.disk.sync(KEYS_FILE)?;
            self.keys.remove(&id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{disk::FileDisk, snapshot_file::name, vault_snapshots::SNAPSHOT_IDS};

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

    /// A disk preallocates a file after large writes; that file is longer than a snapshot.
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
