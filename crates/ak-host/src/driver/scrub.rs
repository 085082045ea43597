//! Checks, in the background, the beginning of a journal, which opening left unread.

use std::{
    sync::{
        Condvar, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use ak_audit::DiskError;
use ak_kernel::{Code, Failure};

use crate::driver::group_commit::GroupCommit;

/// Reads the journal's beginning beside the writer. At the first damage the kernel stops, and from then on its journal
/// can only be verified.
pub(crate) struct Scrubber {
    group_commit: Weak<GroupCommit>,
    /// The first entry that was read when the journal was opened; 0 once all entries are read or reading has ended.
    unread_below: Mutex<u64>,
    done: Condvar,
    is_cancelled: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Scrubber {
    pub(crate) fn new(group_commit: Weak<GroupCommit>) -> Scrubber {
        let (unread_below, done, is_cancelled, thread) = Default::default();
        Scrubber { group_commit, unread_below, done, is_cancelled, thread }
    }

    /// Starts a thread that reads the entries below `unread_below`; does nothing when that is 0.
    pub(crate) fn begin(&self, unread_below: u64) {
        if unread_below == 0 {
            return;
        }
        self.set(unread_below);
        let group_commit = self.group_commit.clone();
        let work = move || {
            if let Some(group_commit) = group_commit.upgrade() {
                group_commit.scrub();
            }
        };
        let thread = thread::Builder::new().name("ak-scrub".into()).spawn(work);
        match thread {
            Ok(thread) => *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread),
            // Without a thread, no caller may wait for it.
            Err(_) => self.set(0),
        }
    }

    fn set(&self, unread_below: u64) {
        *self.unread_below.lock().unwrap_or_else(PoisonError::into_inner) = unread_below;
        self.done.notify_all();
    }

    /// Waits until entry `seq` was read or reading has ended.
    pub(crate) fn wait_for(&self, seq: u64) {
        let mut unread_below = self.unread_below.lock().unwrap_or_else(PoisonError::into_inner);
        while seq < *unread_below {
            unread_below = self.done.wait(unread_below).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Cancels reading and waits for its thread.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
        self.set(0);
    }
}

impl GroupCommit {
    /// Starts reading the entries that opening left unread.
    pub(crate) fn begin_scrub(&self) {
        self.scrubber.begin(self.log().map_or(0, |log| log.unread_below()));
    }

    fn scrub(&self) {
        if let Err(error) = self.try_scrub() {
            let failure =
                Failure::new(Code::Io, format!("the journal cannot be read, reopen the kernel: {error}"));
            if let Ok(mut state) = self.state() {
                state.stop(failure);
            }
        }
        self.scrubber.set(0);
    }

    fn try_scrub(&self) -> Result<(), DiskError> {
        loop {
            let Some((scrub, disk)) = self.log().ok().and_then(|log| log.scrub()) else { return Ok(()) };
            let read = scrub.read(&disk, &mut |_| !self.scrubber.is_cancelled.load(Ordering::Relaxed))?;
            let Some(read) = read else { return Ok(()) };
            let Ok(mut log) = self.log() else { return Ok(()) };
            // When segments were dropped meanwhile, this fails, and the rest is read again.
            if log.finish_scrub(read).is_ok() {
                let refusal = log.refusal();
                drop(log);
                if let (Some(failure), Ok(mut state)) = (refusal, self.state()) {
                    state.stop(failure);
                }
                return Ok(());
            }
        }
    }
}
