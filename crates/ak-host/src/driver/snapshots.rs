//! Makes snapshots of the kernel's state beside the writer.
//!
//! 1. Under the kernel's lock: the beginning of a snapshot is recorded, and the state is copied, sharing all large
//!    parts.
//! 2. Without a lock: the copy is encoded and digested.
//! 3. Under both locks: a record with the digest becomes durable. From then on the log commits to the snapshot.
//! 4. Without a lock: the snapshot is sealed and written piece by piece.
//! 5. Under the log's lock: the vault adopts the snapshot, forgets older ones, and destroys the keys of an erased
//!    subject.
//!
//! After a crash before step 5 the older snapshots are still there, and the next opening resumes an interrupted
//! erasure.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use ak_kernel::{Code, Failure, Kernel, StateImage, SubjectId};

use crate::{
    driver::group_commit::{GroupCommit, now},
    storage::log::{Log, vault_failure},
};

/// Makes snapshots of a kernel, one at a time.
pub(crate) struct Snapshotter {
    group_commit: Weak<GroupCommit>,
    running: Mutex<()>,
    is_cancelled: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Snapshotter {
    pub(crate) fn new(group_commit: Weak<GroupCommit>) -> Snapshotter {
        let (running, is_cancelled, thread) = Default::default();
        Snapshotter { group_commit, running, is_cancelled, thread }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // A panic leaves no half-done state behind: the log and the vault say which snapshots exist.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a snapshot in the background, unless a background snapshot is running.
    pub(crate) fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let group_commit = self.group_commit.clone();
        let work = move || {
            // A failed snapshot only makes the next start take longer.
            let _ = group_commit.upgrade().map(|group_commit| group_commit.keep_snapshot(None));
        };
        *thread = thread::Builder::new().name("ak-snapshot".into()).spawn(work).ok();
    }

    /// Waits until no background snapshot is running.
    fn wait(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }

    /// Cancels the background snapshot, if there is one, and waits until no snapshot is being made.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.wait();
        // An erasure may be making a snapshot on its own thread.
        drop(self.lock());
    }

    fn is_wanted(&self) -> bool {
        !self.is_cancelled.load(Ordering::Relaxed)
    }
}

impl GroupCommit {
    /// Keeps a snapshot of the state, then erases the subject `erased`, if given, which the state no longer mentions.
    /// If an erasure fails, the kernel stops, and the next opening resumes the erasure. Other requests continue
    /// meanwhile.
    ///
    /// # Errors
    /// When the disk fails or is full, or the kernel is stopped.
    pub(crate) fn keep_snapshot(&self, erased: Option<SubjectId>) -> Result<(), Failure> {
        let _running = self.snapshots.lock();
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

    /// Keeps a final snapshot before the kernel stops, if enough entries are newer than the last one. Waits for a
    /// background snapshot first.
    ///
    /// # Errors
    /// As for [`keep_snapshot`](Self::keep_snapshot).
    pub(crate) fn keep_final_snapshot(&self) -> Result<(), Failure> {
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
            file.write(&snapshot, &|| self.snapshots.is_wanted()).map_err(vault_failure)?;
        }
        let bytes = snapshot.len() as u64;
        let obsolete = {
            let mut log = self.log()?;
            let mut obsolete = log.keep_snapshot(seq, snapshot, file.as_ref())?;
            if let Some(subject) = erased {
                obsolete.extend(log.erase(subject, seq)?);
            }
            obsolete
        };
        if let Ok(mut state) = self.state() {
            state.unsaved.snapshot_kept(bytes);
        }
        let removed = file.map_or(Ok(()), |mut file| file.remove(&obsolete).map_err(vault_failure));
        if erased.is_some() {
            self.log()?.fill_reserve();
        }
        removed
    }

    /// Begins a snapshot: allocates log space for its two records, and returns the image of the state. The space for an
    /// erasure's snapshot was allocated with its request.
    fn begin_snapshot(&self, is_erasure: bool) -> Result<StateImage, Failure> {
        let mut state = self.state()?;
        let records = 2 * Kernel::own_record_bytes_max();
        if !is_erasure && !state.has_space(records) {
            drop(state);
            let mut log = self.log()?;
            state = self.state()?;
            state.ensure_space(&mut log, records)?;
        }
        if let Some(failure) = &state.stopped {
            return Err(failure.clone());
        }
        let image = state.kernel.begin_snapshot(now()?);
        state.unsaved.begin();
        self.commit(state);
        Ok(image)
    }

    /// Records the digest of the snapshot that began at entry `seq`, and makes the record durable.
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
            state.ensure_space(log, Kernel::own_record_bytes_max())?;
        }
        if !state.kernel.end_snapshot(now()?, seq, digest) {
            return Err(Failure::new(Code::Conflict, "another snapshot began meanwhile"));
        }
        let has_leader = state.has_leader;
        drop(state);
        let (mut state, _) = self.write(log)?;
        // A leader that began before still waits for the log's lock, and continues to lead.
        state.has_leader = has_leader;
        state.stopped.clone().map_or(Ok(()), Err)
    }
}
