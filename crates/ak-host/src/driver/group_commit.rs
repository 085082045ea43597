//! Group commit: one caller leads and writes the records of all who wait, with one sync.
//!
//! The kernel and the log have a lock each. While the leader syncs the log, others dispatch; their records gather in
//! the kernel. After each sync one of those who came meanwhile leads the next, so that nobody serves others for long.
//!
//! Nothing is dispatched before there is room in the log for all records that may come of it: a full disk refuses, and
//! what was admitted before goes on.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ak_audit::JournalError;
use ak_kernel::{Asked, Code, Failure, Kernel, Now, Record, Request, SessionId, Step, Ticket, Verdict};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    call::CallMode,
    clock,
    driver::{
        commit_state::{Event, State, Submission, log_full},
        scrub::Scrubber,
        snapshots::Snapshotter,
        stop_signal::StopSignal,
        unsaved::Unsaved,
    },
    fair_mutex::{FairGuard, FairMutex},
    fork::ProcessIdentity,
    storage::{
        log::{Log, LogSpace},
        log_reader::StoredSnapshot,
    },
};

/// A kernel and its log.
pub(crate) struct GroupCommit {
    /// Taken before `state` where both are taken.
    log: FairMutex<Log>,
    state: FairMutex<State>,
    /// Whether the log is kept in memory: no sync is worth waiting for.
    in_memory: bool,
    /// Sessions whose holders are gone. The kernel is told with the next request.
    ended: Mutex<VecDeque<SessionId>>,
    /// The process that it works in: in no other is a lock of it taken.
    process: ProcessIdentity,
    stop_signal: Arc<StopSignal>,
    pub(crate) snapshots: Snapshotter,
    pub(crate) scrubber: Scrubber,
    /// Held by whoever reads the log through a handle of its own: the log is let go of when nobody does.
    readers: parking_lot::RwLock<()>,
}

/// How long records wait for space that was found and is gone all the same, before the kernel stops.
const FULL_PATIENCE: Duration = Duration::from_secs(2);
/// How often the disk is asked for it again.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// A snapshot made room for a newer one while it was to be read.
pub(crate) struct SnapshotGone;

impl GroupCommit {
    /// Takes a kernel whose records so far are in `log`; so many entries of them are newer than the newest snapshot.
    pub(crate) fn new(kernel: Kernel, log: Log, unsaved: u64) -> Arc<GroupCommit> {
        let stopped = log.refusal();
        let unsaved = Unsaved::new(&log, unsaved);
        let stop_signal = Arc::<StopSignal>::default();
        let state = State::new(kernel, log.room(), unsaved, stopped, stop_signal.clone());
        Arc::new_cyclic(|group_commit| GroupCommit {
            in_memory: log.is_memory(),
            log: FairMutex::new(log),
            state: FairMutex::new(state),
            ended: Mutex::default(),
            process: ProcessIdentity::current(),
            stop_signal,
            snapshots: Snapshotter::new(group_commit.clone()),
            scrubber: Scrubber::new(group_commit.clone()),
            readers: parking_lot::RwLock::new(()),
        })
    }

    /// Waits until the kernel stops, and says why. One that was stopped when it was opened never stops.
    pub(crate) fn wait_until_stopped(&self) -> Failure {
        self.stop_signal.wait().unwrap_or_else(panicked)
    }

    pub(crate) fn state(&self) -> Result<FairGuard<'_, State>, Failure> {
        self.process.check()?;
        self.state.lock().map_err(|poisoned| {
            // Whoever waits would do so for ever.
            poisoned.into_inner().stop(panicked());
            panicked()
        })
    }

    pub(crate) fn log(&self) -> Result<FairGuard<'_, Log>, Failure> {
        self.process.check()?;
        self.log.lock().map_err(|_| panicked())
    }

    /// Gives every record that is kept to what `begin` makes for the first of them, with a snapshot that belongs to it. They are
    /// read page by page, beside whoever records more: once more from the beginning where an erasure came between, or what
    /// was not read yet is gone.
    pub(crate) fn read<R>(
        &self,
        begin: impl Fn(u64) -> R,
        take: impl Fn(&mut R, Record, Option<&StoredSnapshot>) -> Result<(), SnapshotGone>,
    ) -> Result<R, Failure> {
        let _reading = self.readers.read();
        'again: loop {
            let mut reading = self.log()?.reader();
            let mut read = begin(reading.first);
            loop {
                let Some(page) = reading.page(|| self.log())? else { continue 'again };
                if page.is_empty() {
                    return Ok(read);
                }
                for record in page {
                    let snapshot = match reading.snapshots.contains(&record.seq) {
                        true => Some(self.log()?.stored_snapshot(record.seq)),
                        false => None,
                    };
                    let taken = match &snapshot {
                        Some(None) => Err(SnapshotGone),
                        Some(Some(snapshot)) => take(&mut read, record, Some(snapshot)),
                        None => take(&mut read, record, None),
                    };
                    if taken.is_err() {
                        continue 'again;
                    }
                }
            }
        }
    }

    /// Takes note that nobody holds a session any more. Waits for nothing.
    pub(crate) fn end_session(&self, session: SessionId) {
        // A child that lets go of what it inherited ends no session of its parent's.
        if self.process.is_current()
            && let Ok(mut ended) = self.ended.lock()
        {
            ended.push_back(session);
        }
    }

    /// Tells the kernel which sessions have ended, as far as the log has room for it.
    fn close_sessions(&self, state: &mut State) {
        while state.stopped.is_none()
            && let Some(session) = self.ended.lock().ok().and_then(|ended| ended.front().copied())
        {
            let Ok(now) = now() else { return };
            if !state.has_room(state.kernel.record_bytes_max(&close())) {
                return;
            }
            // One that is not open has ended already.
            let _ = state.kernel.dispatch(now, session, Request::SessionClose);
            if let Ok(mut ended) = self.ended.lock() {
                ended.pop_front();
            }
        }
    }

    /// Gives the kernel a request, whose events go to `sender` once they are committed.
    ///
    /// # Errors
    /// LOG_FULL when the log has no room for what may come of it; nothing was done then. Why the kernel is stopped, or does not
    /// hear it.
    pub(crate) fn dispatch(
        &self,
        submission: &Submission<'_>,
        sender: UnboundedSender<Event>,
        mode: CallMode,
    ) -> Result<(), Failure> {
        let mut state = self.state()?;
        self.close_sessions(&mut state);
        let now = now()?;
        // An erasure needs room for a snapshot too. How long that is shows an image of the state, beside whatever comes.
        let image = (submission.erases() && !self.in_memory).then(|| state.kernel.image());
        if image.is_none() && state.required_bytes_with(submission)? <= state.room.ordinary {
            let entered = state.dispatch(now, submission, sender, mode);
            // One that was turned away may have been recorded as such.
            self.commit(state);
            return entered;
        }
        drop(state);
        let snapshot_bytes = image.map(|image| image.encode().0.len() as u64);
        let mut log = self.log()?;
        let mut state = self.state()?;
        let needed = state.required_bytes_with(submission)?;
        state.make_room(&mut log, needed);
        let LogSpace { ordinary, reserve } = state.room;
        let reserve = if submission.may_take_reserve() { reserve } else { 0 };
        if needed > ordinary.saturating_add(reserve) {
            return Err(log_full());
        }
        if let Some(bytes) = snapshot_bytes {
            log.reserve_snapshot(bytes)?;
        }
        let entered = state.dispatch(now, submission, sender, mode);
        drop(log);
        self.commit(state);
        entered
    }

    /// Gives the kernel an input that nobody waits for, and for which room was found with the request that it belongs to. A
    /// kernel that is stopped takes none.
    pub(crate) fn handle_input(&self, input: impl FnOnce(&mut Kernel, Now)) {
        let now = now();
        let Ok(mut state) = self.state() else { return };
        match now {
            Ok(now) if state.stopped.is_none() => input(&mut state.kernel, now),
            Ok(_) => return,
            Err(failure) => return state.stop(failure),
        }
        self.commit(state);
    }

    /// Puts a step of an effect to the kernel, whose verdict goes to `verdict`. Where nobody will answer, because the kernel is
    /// stopped or this is no effect under way, the sender is dropped.
    pub(crate) fn step(&self, ticket: Ticket, step: Step, verdict: oneshot::Sender<Verdict>) {
        let mut untold = Some(verdict);
        let stepped = self.put_step(ticket, step, &mut untold);
        // Nobody waits for it any more, or it is told why the effect has to stop.
        if let (Err(failure), Some(verdict)) = (stepped, untold) {
            let _ = verdict.send(Verdict::Abort(failure));
        }
    }

    /// Puts a step of an effect to the kernel and waits for the verdict. Without one the effect stops.
    pub(crate) async fn ask(&self, ticket: Ticket, step: Step, mode: CallMode) -> Verdict {
        let (sender, receiver) = oneshot::channel();
        self.block_briefly(mode, || self.step(ticket, step, sender));
        receiver.await.unwrap_or_else(|_| kernel_stopped())
    }

    /// Does what may have to write to the log.
    pub(crate) fn block_briefly<T>(&self, mode: CallMode, work: impl FnOnce() -> T) -> T {
        if self.in_memory { work() } else { mode.block_briefly(work) }
    }

    fn put_step(
        &self,
        ticket: Ticket,
        step: Step,
        verdict: &mut Option<oneshot::Sender<Verdict>>,
    ) -> Result<(), Failure> {
        let mut state = self.state()?;
        if state.required_bytes_with_step(ticket, &step) > state.room.ordinary {
            drop(state);
            let mut log = self.log()?;
            state = self.state()?;
            let needed = state.required_bytes_with_step(ticket, &step);
            state.make_room(&mut log, needed);
            if needed > state.room.ordinary {
                let message =
                    "the disk has no room to record what came, so it was stopped. Free some, and ask again";
                let failure = Failure::new(Code::LogFull, message);
                state.kernel.refuse_steps(ticket, failure.clone());
                return Err(failure);
            }
        }
        let now = now()?;
        if state.stopped.is_none() && state.kernel.is_under_way(ticket) {
            if let Some(verdict) = verdict.take() {
                state.register(ticket, verdict);
            }
            if let Err(failure) = state.kernel.progress(now, ticket, step) {
                *verdict = state.verdict_senders.remove(&ticket);
                return Err(failure);
            }
        }
        self.commit(state);
        Ok(())
    }

    /// Whether the log has room to record that one more was turned away, beside what was promised.
    pub(crate) fn has_room_to_throttle(&self) -> bool {
        let bytes = |state: &State| state.kernel.turned_away_bytes(1);
        if self.state().is_ok_and(|state| state.has_room(bytes(&state))) {
            return true;
        }
        let (Ok(mut log), Ok(mut state)) = (self.log(), self.state()) else { return false };
        let bytes = bytes(&state);
        state.find_room(&mut log, bytes).is_ok()
    }

    /// Sees to it that what is recorded becomes durable and what rests on it is released: by this thread, unless
    /// another leads already.
    pub(crate) fn commit(&self, mut state: FairGuard<'_, State>) {
        if state.has_leader {
            return;
        }
        // What is kept in memory is kept at once, under this very lock. Only here it is taken first, and so not waited for.
        if self.in_memory
            && let Some(mut log) = self.log.try_lock()
        {
            if let Some((seq, records)) = state.records() {
                let written = log.append(records, 0);
                state.written(seq, written);
            }
            return;
        }
        state.has_leader = true;
        drop(state);
        self.lead();
    }

    /// Makes durable what is recorded, and releases what rests on it, until nothing is left or another takes over.
    pub(crate) fn lead(&self) {
        let guard = LeaderGuard(self);
        let Ok(mut log) = self.log() else { return };
        loop {
            match self.write(&mut log) {
                Ok((_, true)) => return std::mem::forget(guard),
                Ok((_, false)) => {}
                Err(_) => return,
            }
        }
    }

    /// Writes what is recorded now, and releases what rests on it. Gives the state, and whether somebody else leads from
    /// here on, or nobody needs to.
    pub(crate) fn write(&self, log: &mut Log) -> Result<(FairGuard<'_, State>, bool), Failure> {
        let mut state = self.state()?;
        let Some((seq, records)) = state.records() else {
            state.has_leader = false;
            return Ok((state, true));
        };
        let needed = state.promised_bytes();
        drop(state);
        let written = append(log, records, needed);
        let mut state = self.state()?;
        (state.room, state.unwritten_bytes) = (log.room(), 0);
        state.written(seq, written);
        if state.unsaved.is_due() {
            self.snapshots.start();
        }
        let is_transferred = state.transfer_leadership(seq);
        Ok((state, is_transferred))
    }

    /// Ends the kernel and lets go of the journal.
    pub(crate) fn close(&self) {
        if let Ok(mut state) = self.state() {
            self.close_sessions(&mut state);
            self.commit(state);
        }
        let log = self.log();
        if let Ok(mut state) = self.state() {
            state.stop(Failure::new(Code::NotConfigured, "the kernel is closed"));
        }
        if let Ok(mut log) = log {
            log.close();
        }
        // Whoever is about to read more is refused, and then nobody holds the disk any more.
        self.scrubber.cancel();
        self.snapshots.cancel();
        drop(self.readers.write());
    }
}

/// The thread that leads. Should it die, nobody waits for it in vain.
struct LeaderGuard<'a>(&'a GroupCommit);

impl Drop for LeaderGuard<'_> {
    fn drop(&mut self) {
        match self.0.state.lock() {
            Ok(mut state) => state.stop(panicked()),
            Err(poisoned) => poisoned.into_inner().stop(panicked()),
        }
    }
}

/// Makes records durable. Space that was found and is gone all the same is waited for, for a while: until then nothing is lost.
fn append(log: &mut Log, records: Vec<Record>, needed_bytes: u64) -> Result<(), JournalError> {
    let until = Instant::now() + FULL_PATIENCE;
    let mut written = log.append(records, needed_bytes);
    while matches!(written, Err(JournalError::Full)) && Instant::now() < until {
        std::thread::sleep(FULL_PAUSE);
        written = log.append(Vec::new(), needed_bytes);
    }
    written
}

fn close() -> Asked {
    Request::SessionClose.into()
}

pub(crate) fn kernel_stopped() -> Verdict {
    Verdict::Abort(Failure::new(Code::Io, "the kernel is stopped"))
}

pub(crate) fn now() -> Result<Now, Failure> {
    clock::now().map_err(|error| Failure::new(Code::Io, format!("no entropy: {error}")))
}

pub(crate) fn panicked() -> Failure {
    Failure::new(Code::Io, "the kernel is stopped: a thread died while it held the kernel")
}
