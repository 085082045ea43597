//! A disk in memory that can fail, lose power and rot, all from one seed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ak_audit::{Disk, DiskError};

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

#[derive(Debug, Clone, Default)]
struct File {
    /// What survives any crash.
    synced: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    /// How long it was promised to be; it can be longer.
    granted: usize,
    /// Writes since the last sync, in order.
    writes: Vec<(usize, Vec<u8>)>,
}

/// Which errors to give, and when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The operation at which the disk fails, counted from 0 over writes, syncs, allocations and deletions.
    pub fail_at: Option<u64>,
    /// Whether it goes on failing from there.
    pub forever: bool,
    /// The operation, if it is a write or a sync, that finds no space although it was allocated.
    pub full_at: Option<u64>,
    /// The operation, if it is a write, that lands elsewhere in the file and not where it should.
    pub astray_at: Option<u64>,
    /// The operation, if it is a write, that lands elsewhere in the file, too.
    pub twice_at: Option<u64>,
    /// The operation, if it is a write, of which one bit arrives wrong.
    pub flip_at: Option<u64>,
    /// Bytes that all files together may have.
    pub capacity_bytes: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    /// The names that survive any crash, and deleted files that a crash may bring back.
    synced_names: BTreeSet<String>,
    deleted: BTreeMap<String, File>,
    locked: bool,
    operations: u64,
    faults: Faults,
}

/// A handle on the disk; clones are handles on the same one.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
    holds_lock: bool,
}

impl Drop for SimDisk {
    fn drop(&mut self) {
        if self.holds_lock {
            self.state.borrow_mut().locked = false;
        }
    }
}

impl SimDisk {
    /// A disk with these files, all durable.
    pub fn with(files: BTreeMap<String, Vec<u8>>) -> SimDisk {
        let disk = SimDisk::default();
        let mut state = disk.state.borrow_mut();
        for (name, bytes) in files {
            state.synced_names.insert(name.clone());
            let file =
                File { granted: bytes.len(), synced: bytes.clone(), current: bytes, writes: Vec::new() };
            state.files.insert(name, file);
        }
        drop(state);
        disk
    }

    /// Another handle on the same disk, as another process would have one.
    pub fn share(&self) -> SimDisk {
        SimDisk { state: Rc::clone(&self.state), holds_lock: false }
    }

    pub fn faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    pub fn operations(&self) -> u64 {
        self.state.borrow().operations
    }

    /// Every file as it reads now.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.borrow();
        state.files.iter().map(|(name, file)| (name.clone(), file.current.clone())).collect()
    }

    /// What might be found after the power failed now: whatever was synced, and of the rest some sectors, torn anywhere.
    pub fn crash(&self, random: &mut Random) -> SimDisk {
        let state = self.state.borrow();
        let mut files = BTreeMap::new();
        for (name, file) in &state.files {
            if state.synced_names.contains(name) || random.chance(2) {
                files.insert(name.clone(), file.after_crash(random));
            }
        }
        for (name, file) in &state.deleted {
            if random.chance(2) {
                files.entry(name.clone()).or_insert_with(|| file.after_crash(random));
            }
        }
        SimDisk::with(files)
    }

    /// Counts an operation, and fails it if it is its turn.
    fn step(&self) -> Result<u64, DiskError> {
        let mut state = self.state.borrow_mut();
        let now = state.operations;
        state.operations += 1;
        match state.faults {
            Faults { fail_at: Some(at), forever, .. } if at == now || (forever && at < now) => {
                Err(DiskError::Failed(format!("input/output error at operation {now}")))
            }
            _ => Ok(now),
        }
    }
}

impl File {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.current[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.writes.push((offset, bytes.to_vec()));
    }

    fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        if bytes.len() > self.current.len() && random.chance(2) {
            bytes.truncate(self.current.len());
        }
        let grown = self.current.len().saturating_sub(bytes.len());
        bytes.resize(bytes.len() + if random.chance(2) { grown } else { random.below(grown + 1) }, 0);
        // One way for the whole file: all, none, a prefix torn at some byte, or each sector by itself.
        let way = random.below(4);
        let total: usize = self.writes.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut left = match way {
            0 => total,
            1 => 0,
            _ => random.below(total + 1),
        };
        for (offset, written) in &self.writes {
            let mut at = *offset;
            let mut rest = written.as_slice();
            while !rest.is_empty() {
                let room = SECTOR_BYTES - at % SECTOR_BYTES;
                let (piece, later) = rest.split_at(room.min(rest.len()));
                let kept = match way {
                    3 => {
                        if random.chance(2) {
                            piece.len()
                        } else {
                            0
                        }
                    }
                    _ => piece.len().min(left),
                };
                left -= kept.min(left);
                if bytes.len() < at + kept {
                    bytes.resize(at + kept, 0);
                }
                bytes[at..at + kept].copy_from_slice(&piece[..kept]);
                (at, rest) = (at + piece.len(), later);
            }
        }
        bytes
    }
}

impl Disk for SimDisk {
    fn lock(&mut self) -> Result<(), DiskError> {
        let mut state = self.state.borrow_mut();
        if state.locked && !self.holds_lock {
            return Err(DiskError::Locked);
        }
        state.locked = true;
        drop(state);
        self.holds_lock = true;
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.state.borrow().files.keys().rev().cloned().collect())
    }

    fn length(&self, name: &str) -> Result<u64, DiskError> {
        let mut state = self.state.borrow_mut();
        let file = state.files.get_mut(name).ok_or(DiskError::Absent)?;
        file.granted = file.current.len();
        Ok(file.granted as u64)
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.state.borrow();
        let file = state.files.get(name).ok_or(DiskError::Absent)?;
        let rest = file.current.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        self.step()?;
        let mut state = self.state.borrow_mut();
        let used: usize = state.files.values().map(|file| file.current.len()).sum();
        let present = state.files.get(name).map_or(0, |file| file.current.len());
        let wanted = (length as usize).saturating_sub(present);
        let room = state.faults.capacity_bytes.map_or(wanted, |capacity| capacity.saturating_sub(used));
        // Where there is too little, what there is may have been taken.
        let grown = present + wanted.min(room);
        let file = state.files.entry(name.to_owned()).or_default();
        file.current.resize(grown, 0);
        if room < wanted {
            return Err(DiskError::Full);
        }
        file.granted = file.granted.max(length as usize);
        Ok(())
    }

    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        self.step()?;
        let mut state = self.state.borrow_mut();
        let file = state.files.get_mut(name).ok_or(DiskError::Absent)?;
        assert!(
            file.writes.iter().all(|(at, bytes)| at + bytes.len() <= length as usize),
            "unsynced bytes are cut off"
        );
        file.current.truncate(length as usize);
        file.granted = file.current.len();
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut failed = self.step();
        let mut state = self.state.borrow_mut();
        let faults = state.faults;
        if failed.as_ref().ok().is_some_and(|now| faults.full_at == Some(*now)) {
            failed = Err(DiskError::Full);
        }
        let file = state.files.get_mut(name).ok_or(DiskError::Absent)?;
        let offset = offset as usize;
        assert!(offset + bytes.len() <= file.granted, "{name} is written beyond its allocation");
        // A write that fails may have been done in part.
        let done = if failed.is_err() { bytes.len() / 2 } else { bytes.len() };
        if failed.is_err() {
            file.put(offset, &bytes[..done]);
        }
        let mut written = bytes[..done].to_vec();
        let now = failed?;
        let is_now = |at: Option<u64>| at == Some(now);
        if is_now(faults.flip_at) {
            written[now as usize % done] ^= 1 << (now % 8);
        }
        let elsewhere = (offset + SECTOR_BYTES * (1 + now as usize)) % (file.current.len() - done + 1);
        let mut places = vec![offset];
        if is_now(faults.astray_at) {
            places = vec![elsewhere];
        }
        if is_now(faults.twice_at) {
            places.push(elsewhere);
        }
        for place in places {
            file.put(place, &written);
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let mut done = self.step();
        let mut state = self.state.borrow_mut();
        if done.as_ref().ok().is_some_and(|now| state.faults.full_at == Some(*now)) {
            done = Err(DiskError::Full);
        }
        let file = state.files.get_mut(name).ok_or(DiskError::Absent)?;
        // What a failed sync did not write is forgotten: it is read from the cache, and no later sync writes it.
        let writes = std::mem::take(&mut file.writes);
        if done.is_ok() {
            file.synced.resize(file.current.len(), 0);
            for (offset, bytes) in writes {
                file.synced[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
        }
        done.map(|_| ())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.step()?;
        let mut state = self.state.borrow_mut();
        let file = state.files.remove(name).ok_or(DiskError::Absent)?;
        state.deleted.insert(name.to_owned(), file);
        Ok(())
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        self.step()?;
        let mut state = self.state.borrow_mut();
        state.synced_names = state.files.keys().cloned().collect();
        state.deleted.clear();
        Ok(())
    }
}
