//! Group commit: one caller leads and writes the records of all waiting callers with one sync.
//!
//! The kernel and the log have a lock each. While the leader syncs the log, other callers dispatch, and their records
//! collect in the kernel. After each sync one of these callers leads the next one, so that no caller serves others for
//! long.
//!
//! A request is dispatched only after log space was allocated for all records that it may cause: on a full disk new
//! requests are refused, and admitted ones complete.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ak_audit::JournalError;
use ak_kernel::{
    AgentRequest, AuthenticatedRequest, Code, Failure, Kernel, Now, Record, Request, SessionId, Step,
    StepAnswer, Ticket,
};
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
    /// Locked before `state` when a thread takes both locks.
    log: FairMutex<Log>,
    state: FairMutex<State>,
    /// Whether the log is in memory, so that no caller waits for a sync.
    in_memory: bool,
    /// Sessions that the host no longer uses; the kernel is told before it dispatches the next request.
    ended: Mutex<VecDeque<SessionId>>,
    /// The process that opened the kernel; no other process takes its locks.
    process: ProcessIdentity,
    stop_signal: Arc<StopSignal>,
    pub(crate) snapshots: Snapshotter,
    pub(crate) scrubber: Scrubber,
    /// Read-locked by threads that read the log through handles of their own; closing waits for them.
    readers: parking_lot::RwLock<()>,
}

/// How long a commit retries when allocated space turns out to be missing, before the kernel stops.
const FULL_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between such retries.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// A snapshot was removed before it could be read.
pub(crate) struct SnapshotGone;

impl GroupCommit {
    /// Takes a kernel whose records so far are in `log`; `unsaved` of these are newer than the newest snapshot.
    pub(crate) fn new(kernel: Kernel, log: Log, unsaved: u64) -> Arc<GroupCommit> {
        let stopped = log.refusal();
        let unsaved = Unsaved::new(&log, unsaved);
        let stop_signal = Arc::<StopSignal>::default();
        let state = State::new(kernel, log.space(), unsaved, stopped, stop_signal.clone());
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

    /// Waits until the kernel stops, and returns why. For a kernel that was opened on a damaged or read-only log this
    /// never returns.
    pub(crate) fn wait_until_stopped(&self) -> Failure {
        self.stop_signal.wait().unwrap_or_else(panicked)
    }

    pub(crate) fn state(&self) -> Result<FairGuard<'_, State>, Failure> {
        self.process.check()?;
        self.state.lock().map_err(|poisoned| {
            // Without this the waiters would wait for ever.
            poisoned.into_inner().stop(panicked());
            panicked()
        })
    }

    pub(crate) fn log(&self) -> Result<FairGuard<'_, Log>, Failure> {
        self.process.check()?;
        self.log.lock().map_err(|_| panicked())
    }

    /// Reads all kept records: `begin` makes an accumulator from the first `seq`, and `take` adds each record to it,
    /// with the snapshot of that record if there is one. Records are read page by page beside the writer; when an
    /// erasure or a pruning intervenes, reading starts again from the beginning.
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

    /// Marks a session as ended, without waiting for the kernel or the log.
    pub(crate) fn end_session(&self, session: SessionId) {
        // A forked child that drops its copy must not end a session of its parent.
        if self.process.is_current()
            && let Ok(mut ended) = self.ended.lock()
        {
            ended.push_back(session);
        }
    }

    /// Tells the kernel which sessions have ended, as far as there is log space to record that.
    fn close_sessions(&self, state: &mut State) {
        while state.stopped.is_none()
            && let Some(session) = self.ended.lock().ok().and_then(|ended| ended.front().copied())
        {
            let Ok(now) = now() else { return };
            if !state.has_space(state.kernel.record_bytes_max(&close())) {
                return;
            }
            // This fails for a session that has already ended.
            let _ = state.kernel.dispatch(now, session, Request::Agent(AgentRequest::SessionClose));
            if let Ok(mut ended) = self.ended.lock() {
                ended.pop_front();
            }
        }
    }

    /// Dispatches a request; its events go to `sender` once the records that they depend on are committed.
    ///
    /// # Errors
    /// LOG_FULL when there is no log space for the request's records; nothing was done then. Otherwise the reason why
    /// the kernel rejected the request or has stopped.
    pub(crate) fn dispatch(
        &self,
        submission: &Submission<'_>,
        sender: UnboundedSender<Event>,
        mode: CallMode,
    ) -> Result<(), Failure> {
        let mut state = self.state()?;
        self.close_sessions(&mut state);
        let now = now()?;
        // An erasure needs space for a snapshot too. Encoding an image of the state outside the lock gives the
        // snapshot's length.
        let image = (submission.erases() && !self.in_memory).then(|| state.kernel.image());
        if image.is_none() && state.required_bytes_with(submission)? <= state.space.ordinary {
            let dispatched = state.dispatch(now, submission, sender, mode);
            // The kernel may have recorded a throttled request.
            self.commit(state);
            return dispatched;
        }
        drop(state);
        let snapshot_bytes = image.map(|image| image.encode().0.len() as u64);
        let mut log = self.log()?;
        let mut state = self.state()?;
        let needed = state.required_bytes_with(submission)?;
        state.allocate_space(&mut log, needed);
        let LogSpace { ordinary, reserve } = state.space;
        let reserve = if submission.may_take_reserve() { reserve } else { 0 };
        if needed > ordinary.saturating_add(reserve) {
            return Err(log_full());
        }
        if let Some(bytes) = snapshot_bytes {
            log.reserve_snapshot(bytes)?;
        }
        let dispatched = state.dispatch(now, submission, sender, mode);
        drop(log);
        self.commit(state);
        dispatched
    }

    /// Gives the kernel an input whose log space was allocated with its request. A stopped kernel takes no input.
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

    /// Puts a step of an effect to the kernel, which sends its answer to `answer`. The sender is dropped without an
    /// answer when the kernel has stopped or the effect is not pending.
    pub(crate) fn step(&self, ticket: Ticket, step: Step, answer: oneshot::Sender<StepAnswer>) {
        let mut unanswered = Some(answer);
        let result = self.put_step(ticket, step, &mut unanswered);
        // Tells the effect why it has to stop; sending fails when the effect no longer waits.
        if let (Err(failure), Some(answer)) = (result, unanswered) {
            let _ = answer.send(StepAnswer::Abort(failure));
        }
    }

    /// Puts a step of an effect to the kernel and waits for the answer; returns an abort when the kernel has stopped.
    pub(crate) async fn ask(&self, ticket: Ticket, step: Step, mode: CallMode) -> StepAnswer {
        let (sender, receiver) = oneshot::channel();
        self.block_briefly(mode, || self.step(ticket, step, sender));
        receiver.await.unwrap_or_else(|_| kernel_stopped())
    }

    /// Runs work that may write to the log, which blocks unless the log is in memory.
    pub(crate) fn block_briefly<T>(&self, mode: CallMode, work: impl FnOnce() -> T) -> T {
        if self.in_memory { work() } else { mode.block_briefly(work) }
    }

    fn put_step(
        &self,
        ticket: Ticket,
        step: Step,
        answer: &mut Option<oneshot::Sender<StepAnswer>>,
    ) -> Result<(), Failure> {
        let mut state = self.state()?;
        if state.required_bytes_with_step(ticket, &step) > state.space.ordinary {
            drop(state);
            let mut log = self.log()?;
            state = self.state()?;
            let needed = state.required_bytes_with_step(ticket, &step);
            state.allocate_space(&mut log, needed);
            if needed > state.space.ordinary {
                let message = "the disk is full: the next step of the effect cannot be recorded, so the effect was stopped. Free disk space and retry";
                let failure = Failure::new(Code::LogFull, message);
                state.kernel.refuse_steps(ticket, failure.clone());
                return Err(failure);
            }
        }
        let now = now()?;
        if state.stopped.is_none() && state.kernel.is_under_way(ticket) {
            if let Some(answer) = answer.take() {
                state.register(ticket, answer);
            }
            if let Err(failure) = state.kernel.progress(now, ticket, step) {
                *answer = state.answer_senders.remove(&ticket);
                return Err(failure);
            }
        }
        self.commit(state);
        Ok(())
    }

    /// Whether the log has space, beside what is promised, to record one more throttled caller. Allocates space if
    /// necessary.
    pub(crate) fn has_space_to_throttle(&self) -> bool {
        let bytes = |state: &State| state.kernel.throttled_bytes(1);
        if self.state().is_ok_and(|state| state.has_space(bytes(&state))) {
            return true;
        }
        let (Ok(mut log), Ok(mut state)) = (self.log(), self.state()) else { return false };
        let bytes = bytes(&state);
        state.ensure_space(&mut log, bytes).is_ok()
    }

    /// Makes all records durable and releases the outputs that depend on them; does so on this thread, unless another
    /// thread already leads.
    pub(crate) fn commit(&self, mut state: FairGuard<'_, State>) {
        if state.has_leader {
            return;
        }
        // A log in memory is appended to while the state stays locked. Only here the state is locked before the log, so
        // the log's lock is only tried.
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

    /// Writes records and releases their outputs until no records are left or another caller leads.
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

    /// Writes the records that the kernel has at this moment, and releases their outputs. Returns the locked state, and
    /// whether this thread is done: no records are left, or another caller leads.
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
        (state.space, state.unwritten_bytes) = (log.space(), 0);
        state.written(seq, written);
        if state.unsaved.is_due() {
            self.snapshots.start();
        }
        let is_transferred = state.transfer_leadership(seq);
        Ok((state, is_transferred))
    }

    /// Stops the kernel and closes the journal.
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
        // Readers get no further page from the closed log; once the lock is free, no thread uses the disk.
        self.scrubber.cancel();
        self.snapshots.cancel();
        drop(self.readers.write());
    }
}

/// Guards the leading thread: dropping the guard, as a panic does, stops the kernel and fails all waiting callers.
struct LeaderGuard<'a>(&'a GroupCommit);

impl Drop for LeaderGuard<'_> {
    fn drop(&mut self) {
        match self.0.state.lock() {
            Ok(mut state) => state.stop(panicked()),
            Err(poisoned) => poisoned.into_inner().stop(panicked()),
        }
    }
}

/// Makes records durable. When the disk lacks the allocated space, this retries for [`FULL_PATIENCE`]; no record is
/// lost by a retry.
fn append(log: &mut Log, records: Vec<Record>, needed_bytes: u64) -> Result<(), JournalError> {
    let until = Instant::now() + FULL_PATIENCE;
    let mut written = log.append(records, needed_bytes);
    while matches!(written, Err(JournalError::Full)) && Instant::now() < until {
        std::thread::sleep(FULL_PAUSE);
        written = log.append(Vec::new(), needed_bytes);
    }
    written
}

fn close() -> AuthenticatedRequest {
    Request::Agent(AgentRequest::SessionClose).into()
}

pub(crate) fn kernel_stopped() -> StepAnswer {
    StepAnswer::Abort(Failure::new(Code::Io, "the kernel is stopped"))
}

pub(crate) fn now() -> Result<Now, Failure> {
    clock::now().map_err(|error| Failure::new(Code::Io, format!("no entropy: {error}")))
}

pub(crate) fn panicked() -> Failure {
    Failure::new(Code::Io, "the kernel is stopped: a thread died while it held the kernel")
}
