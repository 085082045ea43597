//! Snapshots of the kernel's state, made beside whatever comes.
//!
//! 1. The kernel's lock: a record says that a snapshot begins; the state is copied, which shares all that is large.
//! 2. No lock: the copy is encoded and digested.
//! 3. Both locks: a record holds the digest, and is durable. From here on the log vouches for the snapshot.
//! 4. No lock: the snapshot is sealed and written, a piece at a time.
//! 5. The log's lock: the vault counts on it. Older ones are forgotten, and whoever is erased.
//!
//! A crash before 5 leaves the older snapshots, and an erasure under way, which the next opening takes up again.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use ak_kernel::{Code, Failure, Kernel, Record, StateImage, SubjectId};

use crate::{
    driver::group_commit::{Ledger, now},
    storage::log::{Log, unkept},
};

/// A snapshot spares the next start at least so many entries, or it is not made.
pub const SNAPSHOT_ENTRIES: u64 = 10_000;
/// A snapshot is made once as many bytes were recorded as this part of the newest one has: its cost is spread over them.
const SNAPSHOT_PART: u64 = 2;

/// What was recorded since the newest snapshot began.
pub(crate) struct Unsaved {
    entries: u64,
    bytes: u64,
    /// Bytes of records after which the next one is due. Never, where there is no disk.
    bytes_due: Option<u64>,
}

impl Unsaved {
    pub(crate) fn new(log: &Log, entries: u64) -> Unsaved {
        let bytes_due = log.is_durable().then(|| log.snapshot_bytes() / SNAPSHOT_PART);
        Unsaved { entries, bytes: 0, bytes_due }
    }

    pub(crate) fn count(&mut self, records: &[Record]) {
        self.entries = self.entries.saturating_add(records.len() as u64);
        let bytes = records.iter().map(|record| (record.leaf.len() + record.body.len()) as u64);
        self.bytes = bytes.fold(self.bytes, u64::saturating_add);
    }

    /// Whether the next start would take long without another snapshot.
    pub(crate) fn is_due(&self) -> bool {
        self.is_worthwhile() && self.bytes_due.is_some_and(|due| self.bytes >= due)
    }

    fn is_worthwhile(&self) -> bool {
        self.bytes_due.is_some() && self.entries >= SNAPSHOT_ENTRIES
    }

    fn begin(&mut self) {
        (self.entries, self.bytes) = (0, 0);
    }
}

/// Who makes snapshots of a kernel: one at a time.
pub(crate) struct Snapshots {
    ledger: Weak<Ledger>,
    turn: Mutex<()>,
    given_up: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Snapshots {
    pub(crate) fn new(ledger: Weak<Ledger>) -> Snapshots {
        let (turn, given_up, thread) = Default::default();
        Snapshots { ledger, turn, given_up, thread }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // Nothing is left half done by a thread that died: the log tells what there is.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a snapshot in the background, unless one is made there already.
    pub(crate) fn take_one(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let ledger = self.ledger.clone();
        let work = move || {
            // Without it the next start takes longer, and nothing else.
            let _ = ledger.upgrade().map(|ledger| ledger.keep_snapshot(None));
        };
        *thread = thread::Builder::new().name("ak-snapshot".into()).spawn(work).ok();
    }

    /// Waits until none is made in the background.
    fn wait(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }

    /// Ends what is done in the background, done or not.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.wait();
        // Nor is one made by whoever erases.
        drop(self.turn());
    }

    fn is_wanted(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed)
    }
}

impl Ledger {
    /// Keeps a snapshot of the state, then makes unreadable what is about `erased`, who is in the state no more. Should that
    /// fail, the kernel stops: opened again, it takes the erasure up where it was. Others go on meanwhile.
    ///
    /// # Errors
    /// When the disk fails or is full, or the kernel is stopped.
    pub(crate) fn keep_snapshot(&self, erased: Option<SubjectId>) -> Result<(), Failure> {
        let _turn = self.snapshots.turn();
        let Some(subject) = erased else { return self.make_snapshot(None) };
        self.make_snapshot(Some(subject)).map_err(|failure| {
            let begun = "open the kernel again: the erasure that was begun is then brought to its end";
            let failure = Failure { message: format!("{}; {begun}", failure.message), ..failure };
            if let Ok(mut state) = self.state() {
                state.stop(failure.clone());
            }
            failure
        })
    }

    /// Keeps a snapshot before the kernel ends, if it spares the next start enough. One that is under way is waited for.
    ///
    /// # Errors
    /// As for [`keep_snapshot`](Self::keep_snapshot).
    pub(crate) fn keep_last_snapshot(&self) -> Result<(), Failure> {
        self.snapshots.wait();
        let is_worthwhile =
            self.state().is_ok_and(|state| state.stopped.is_none() && state.unsaved.is_worthwhile());
        if is_worthwhile { self.keep_snapshot(None) } else { Ok(()) }
    }

    fn make_snapshot(&self, erased: Option<SubjectId>) -> Result<(), Failure> {
        let image = self.begin_snapshot(erased.is_some())?;
        let seq = image.seq();
        let (snapshot, digest) = image.encode();
        drop(image);
        let mut file = {
            let mut log = self.log()?;
            let file = log.begin_snapshot(seq, erased.is_some())?;
            self.record_snapshot(&mut log, seq, digest, erased.is_some())?;
            file
        };
        if let Some(file) = &mut file {
            file.write(&snapshot, &|| self.snapshots.is_wanted()).map_err(unkept)?;
        }
        let bytes = snapshot.len() as u64;
        let gone = {
            let mut log = self.log()?;
            let mut gone = log.keep_snapshot(seq, snapshot, file.as_ref())?;
            if let Some(subject) = erased {
                gone.extend(log.erase(subject, seq)?);
            }
            gone
        };
        if let Ok(mut state) = self.state() {
            state.unsaved.bytes_due = state.unsaved.bytes_due.map(|_| bytes / SNAPSHOT_PART);
        }
        let removed = file.map_or(Ok(()), |mut file| file.remove(&gone).map_err(unkept));
        if erased.is_some() {
            self.log()?.take_reserve();
        }
        removed
    }

    /// Room for the two records of a snapshot is found first; for those of an erasure it was found with its request.
    fn begin_snapshot(&self, is_erasure: bool) -> Result<StateImage, Failure> {
        let mut state = self.state()?;
        let records = 2 * Kernel::own_record_bytes_max();
        if !is_erasure && !state.has_room(records) {
            drop(state);
            let mut log = self.log()?;
            state = self.state()?;
            state.find_room(&mut log, records)?;
        }
        if let Some(failure) = &state.stopped {
            return Err(failure.clone());
        }
        let image = state.kernel.begin_snapshot(now()?);
        state.unsaved.begin();
        self.commit(state);
        Ok(image)
    }

    /// Records the digest of the state that the snapshot of entry `seq` is of. It is durable then.
    fn record_snapshot(
        &self,
        log: &mut Log,
        seq: u64,
        digest: ak_json::Digest,
        is_erasure: bool,
    ) -> Result<(), Failure> {
        let mut state = self.state()?;
        if let Some(failure) = &state.stopped {
            return Err(failure.clone());
        }
        if !is_erasure {
            state.find_room(log, Kernel::own_record_bytes_max())?;
        }
        if !state.kernel.end_snapshot(now()?, seq, digest) {
            return Err(Failure::new(Code::Conflict, "another snapshot began meanwhile"));
        }
        let led = state.led;
        drop(state);
        let (mut state, _) = self.write(log)?;
        // Whoever led before still waits for the log, and leads on.
        state.led = led;
        state.stopped.clone().map_or(Ok(()), Err)
    }
}
