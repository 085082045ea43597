//! What can be destroyed: the keys of bodies, and snapshots of the kernel's state. Beside the journal, which never forgets,
//! this directory of the state directory forgets on demand.
//!
//! `keys` holds slots of 64 bytes: id (u64, little-endian), key (32), and the first 24 bytes of
//! `SHA-256("ak-host body key\n" ‖ id ‖ key)`. A slot of zeros is free; a slot that does not check was torn by a crash before
//! anything rested on it. `snapshot-SEQ` holds 32 random bytes and the snapshot sealed under them (see [`ak_audit::seal`])
//! with a key of its own, whose id is 2⁶³ + SEQ: without the key nothing of an old one can be read, wherever its bytes went.

use std::collections::{BTreeMap, BTreeSet};

use ak_audit::{
    Disk, DiskError, Hash,
    seal::{self, BodyKey, SealError},
};
use ak_json::Digest;
use ak_kernel::SubjectId;

use crate::{log::BoxedDisk, secret};

/// The file of keys.
const KEYS_FILE: &str = "keys";
const SLOT_BYTES: usize = 64;
/// Slots that are kept free, so that a full disk stops nothing that was admitted.
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
            // It goes on with what it has.
            Ok(()) | Err(DiskError::Full) => {}
            Err(error) => return Err(error),
        }
        vault.take_reserve();
        Ok(vault)
    }

    /// Opens the vault to look into it, beside whoever uses it.
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
    pub(crate) fn is_used(disk: &dyn Disk) -> Result<bool, DiskError> {
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
        let bytes = self.read(KEYS_FILE)?;
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

    /// Writes the keys again. Where a sync failed before, or none came to it, they may stand in a cache only, which gives them to
    /// readers and leaves them out of every later sync: nothing may be sealed under such a key.
    fn repair_keys(&mut self) -> Result<(), DiskError> {
        if self.next_slot == 0 {
            return Ok(());
        }
        let mut slots = self.read(KEYS_FILE)?;
        slots.truncate(usize::try_from(self.next_slot).unwrap_or(usize::MAX).saturating_mul(SLOT_BYTES));
        self.disk.write(KEYS_FILE, 0, &slots)?;
        self.disk.sync(KEYS_FILE)?;
        self.disk.sync_dir()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        let length = usize::try_from(self.disk.length(name)?).map_err(|_| failed("a file is too long"))?;
        let mut bytes = vec![0; length];
        let got = self.disk.read(name, 0, &mut bytes)?;
        bytes.truncate(got);
        Ok(bytes)
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
            let key = secret::random().map_err(|error| failed(&error.to_string()))?;
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
    pub(crate) fn take_reserve(&mut self) {
        let _ = self.reserve_snapshot(0);
    }

    /// Gives back what is reserved, to an erasure.
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

    /// Opens a sealed body.
    ///
    /// # Errors
    /// [`SealError::Erased`] where a key was destroyed; another where the body is not what was sealed.
    pub(crate) fn open_body(&self, leaf: &Hash, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        seal::open(sealed, leaf, |id| self.key(id))
    }

    fn key(&self, id: u64) -> Option<&BodyKey> {
        self.keys.get(&id).map(|(key, _)| key)
    }

    /// Destroys a key: what was sealed under it is gone.
    ///
    /// # Errors
    /// When the disk fails, and the key may still be there.
    pub(crate) fn destroy(&mut self, id: u64) -> Result<(), DiskError> {
        if let Some((_, slot)) = self.keys.get(&id) {
            self.disk.write(KEYS_FILE, slot * SLOT_BYTES as u64, &[0; SLOT_BYTES])?;
            self.disk.sync(KEYS_FILE)?;
            self.keys.remove(&id);
        }
        Ok(())
    }

    /// Keeps the snapshot that belongs to entry `seq`, and lets go of the oldest of too many.
    ///
    /// # Errors
    /// When the disk fails or is full; the snapshot then is not kept.
    pub(crate) fn keep(&mut self, seq: u64, snapshot: &[u8]) -> Result<(), DiskError> {
        self.write_snapshot(seq, snapshot, false)?;
        let kept = |vault: &Vault| vault.snapshots.values().filter(|is_upgrade| !**is_upgrade).count();
        while kept(self) > SNAPSHOTS_MAX {
            let oldest = self.snapshots.iter().find(|(_, is_upgrade)| !**is_upgrade);
            let Some(oldest) = oldest.map(|(seq, _)| *seq) else { break };
            self.drop_snapshot(oldest)?;
        }
        Ok(())
    }

    /// Keeps the snapshot by which a journal of an earlier version goes on, until the next erasure.
    ///
    /// # Errors
    /// As for [`keep`](Self::keep).
    pub(crate) fn keep_upgrade(&mut self, seq: u64, snapshot: &[u8]) -> Result<(), DiskError> {
        self.write_snapshot(seq, snapshot, true)
    }

    fn write_snapshot(&mut self, seq: u64, snapshot: &[u8], is_upgrade: bool) -> Result<(), DiskError> {
        let id = SNAPSHOT_IDS | seq;
        self.make_keys([id].into_iter())?;
        let context = secret::random().map_err(|error| failed(&error.to_string()))?;
        let key = self.key(id).ok_or_else(|| failed("a key is gone"))?;
        let sealed =
            seal::seal(&[(id, key)], &context, snapshot).map_err(|error| failed(&error.to_string()))?;
        let bytes = [&context[..], &sealed].concat();
        let name = name(seq, is_upgrade);
        let written = self.disk.allocate(&name, bytes.len() as u64).and_then(|()| {
            self.disk.write(&name, 0, &bytes)?;
            self.disk.sync(&name)?;
            self.disk.sync_dir()
        });
        if let Err(error) = written {
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        self.snapshots.insert(seq, is_upgrade);
        Ok(())
    }

    /// Destroys every snapshot that belongs to an entry before this one.
    ///
    /// # Errors
    /// When the disk fails, and one may still be there.
    pub(crate) fn drop_snapshots_below(&mut self, seq: u64) -> Result<(), DiskError> {
        while let Some(oldest) =
            self.snapshots.first_key_value().map(|(oldest, _)| *oldest).filter(|oldest| *oldest < seq)
        {
            self.drop_snapshot(oldest)?;
        }
        Ok(())
    }

    fn drop_snapshot(&mut self, seq: u64) -> Result<(), DiskError> {
        self.destroy(SNAPSHOT_IDS | seq)?;
        let is_upgrade = self.snapshots.get(&seq).copied().unwrap_or(false);
        match self.disk.remove(&name(seq, is_upgrade)).and_then(|()| self.disk.sync_dir()) {
            Ok(()) | Err(DiskError::Absent) => {
                self.snapshots.remove(&seq);
                Ok(())
            }
            Err(error) => Err(error),
        }
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
        let bytes = self.read(&name(seq, *is_upgrade))?;
        let opened = bytes
            .split_first_chunk()
            .and_then(|(context, sealed)| seal::open(sealed, context, |id| self.key(id)).ok());
        Ok(opened)
    }
}

fn name(seq: u64, is_upgrade: bool) -> String {
    let kind = if is_upgrade { "upgrade" } else { "snapshot" };
    format!("{kind}-{seq:020}")
}

fn parse_name(file: &str) -> Option<(u64, bool)> {
    let (kind, seq) = file.split_once('-')?;
    let (seq, is_upgrade) = (seq.parse().ok()?, kind == "upgrade");
    (name(seq, is_upgrade) == file).then_some((seq, is_upgrade))
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

fn failed(reason: &str) -> DiskError {
    DiskError::Failed(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileDisk;

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
        assert_eq!(vault.open_body(&[7; 32], &sealed).unwrap(), b"body");
        let bytes = std::fs::read(place.0.join(KEYS_FILE)).unwrap();
        let key = *vault.key(3).unwrap().as_bytes();
        assert!(bytes.windows(32).any(|window| window == key));
        vault.destroy(3).unwrap();
        let bytes = std::fs::read(place.0.join(KEYS_FILE)).unwrap();
        assert!(!bytes.windows(32).any(|window| window == key), "no trace of it is in the file");
        assert_eq!(vault.open_body(&[7; 32], &sealed), Err(SealError::Erased { id: 3 }));
        drop(vault);
        assert_eq!(open(&place).open_body(&[7; 32], &sealed), Err(SealError::Erased { id: 3 }));
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
            vault.keep(seq, format!("state at {seq}").as_bytes()).unwrap();
        }
        drop(vault);
        let mut vault = open(&place);
        assert_eq!(vault.snapshots(), [70, 9]);
        assert_eq!(vault.snapshot(9).unwrap(), b"state at 9");
        assert_eq!(vault.snapshot(5), None);
        vault.drop_snapshots_below(70).unwrap();
        assert_eq!((vault.snapshots(), vault.keys.len()), (vec![70], 1));
        let file = place.0.join(name(70, false));
        let mut bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"state"), "it is sealed");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(vault.snapshot(70), None, "a damaged one is none");
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
