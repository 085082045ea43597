//! Group commit: one caller leads and writes the records of all who wait, with one sync.
//!
//! The kernel and the log have a lock each. While the leader syncs the log, others dispatch; their records gather in
//! the kernel. After each sync one of those who came meanwhile leads the next, so that nobody serves others for long.
//!
//! Nothing is dispatched before there is room in the log for all records that may come of it: a full disk refuses, and
//! what was admitted before goes on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use ak_audit::JournalError;
use ak_kernel::{
    Asked, Code, Effect, Failure, Kernel, Now, Outcome, Output, Record, Request, SessionId, Step, Ticket,
    ToolRequest, Verdict,
};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    call::Place,
    clock,
    driver::scrub::Scrubber,
    driver::snapshots::{Snapshots, Unsaved},
    fair_mutex::{FairGuard, FairMutex},
    fork::Origin,
    storage::log::{Log, Room, StoredSnapshot},
};

/// A kernel and its log.
pub(crate) struct Ledger {
    /// Taken before `state` where both are taken.
    log: FairMutex<Log>,
    state: FairMutex<State>,
    /// Whether the log is kept in memory: no sync is worth waiting for.
    in_memory: bool,
    /// Sessions whose holders are gone. The kernel is told with the next request.
    ended: Mutex<VecDeque<SessionId>>,
    /// The process that it works in: in no other is a lock of it taken.
    origin: Origin,
    halt: Arc<Halt>,
    pub(crate) snapshots: Snapshots,
    pub(crate) scrubber: Scrubber,
    /// Held by whoever reads the log through a handle of its own: the log is let go of when nobody does.
    readings: parking_lot::RwLock<()>,
}

/// Tells that a kernel has stopped that ran before.
#[derive(Default)]
struct Halt {
    why: Mutex<Option<Failure>>,
    told: Condvar,
}

impl Halt {
    fn tell(&self, failure: &Failure) {
        if let Ok(mut why) = self.why.lock() {
            why.get_or_insert_with(|| failure.clone());
            self.told.notify_all();
        }
    }
}

/// A kernel, and who waits for what it gives.
pub(crate) struct State {
    pub(crate) kernel: Kernel,
    /// By the `seq` of the request's record.
    waiting: BTreeMap<u64, Waiting>,
    /// Bytes of records that may yet come of all who wait, and of effects that a restart cut short.
    needed: u64,
    /// The decisions of effects that a restart cut short, until they end.
    cut_short: BTreeSet<u64>,
    /// Bytes of records that were taken from the kernel and are being written.
    unwritten: u64,
    /// The `seq` of the newest record that was taken to be written.
    taken: u64,
    /// Bytes of records for which the log has room.
    room: Room,
    /// Who waits for the answer to a step.
    asking: BTreeMap<Ticket, oneshot::Sender<Verdict>>,
    /// Whether somebody leads.
    pub(crate) led: bool,
    /// What was recorded since the newest snapshot began.
    pub(crate) unsaved: Unsaved,
    /// Why nothing can be done any more.
    pub(crate) stopped: Option<Failure>,
    halt: Arc<Halt>,
}

struct Waiting {
    sender: UnboundedSender<Event>,
    needed: u64,
    /// Whether it leads when it is told to. A caller that heeds something else may be long about that, and even wait there for
    /// somebody to lead.
    leads: bool,
}

/// Room is asked for in steps of so many bytes, so that few calls ask.
const ROOM_STEP_BYTES: u64 = 1 << 20;
/// How long records wait for space that was found and is gone all the same, before the kernel stops.
const FULL_PATIENCE: Duration = Duration::from_secs(2);
/// How often the disk is asked for it again.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// A request that the kernel has not heard yet.
pub(crate) enum Pending<'p> {
    /// A session's own.
    Request(SessionId, &'p Asked),
    /// A running tool's.
    HostCall(Ticket, &'p ToolRequest),
}

impl Pending<'_> {
    /// Whether the reserve is for this: on a full disk the owner revokes, replaces the policy, erases and verifies.
    fn may_take_reserve(&self) -> bool {
        let Pending::Request(SessionId::OWNER, asked) = self else { return false };
        matches!(
            asked.request(),
            Request::CapRevoke { .. }
                | Request::PolicyLoad { .. }
                | Request::Erase { .. }
                | Request::AuditVerify { .. }
        )
    }

    /// Whether it erases, and so needs a snapshot.
    fn erases(&self) -> bool {
        matches!(self, Pending::Request(SessionId::OWNER, asked) if matches!(asked.request(), Request::Erase { .. }))
    }
}
/// A snapshot made room for a newer one while it was to be read.
pub(crate) struct SnapshotGone;

/// What a caller waits for.
pub(crate) enum Event {
    /// It is its turn to lead.
    Lead,
    /// Its effect may happen, until the wall time of its agent is over.
    Perform(Ticket, Effect, Option<Instant>),
    Ended(Outcome),
}

impl Ledger {
    /// Takes a kernel whose records so far are in `log`; so many entries of them are newer than the newest snapshot.
    pub(crate) fn new(kernel: Kernel, log: Log, unsaved: u64) -> Arc<Ledger> {
        let stopped = log.refusal();
        let unsaved = Unsaved::new(&log, unsaved);
        let room = log.room();
        let (waiting, asking) = (BTreeMap::new(), BTreeMap::new());
        let cut_short: BTreeSet<u64> = kernel.tickets().iter().map(|ticket| ticket.cause()).collect();
        let needed = (cut_short.len() as u64).saturating_mul(Kernel::unknown_bytes_max());
        let halt = Arc::<Halt>::default();
        let state = State {
            kernel,
            waiting,
            needed,
            cut_short,
            unwritten: 0,
            taken: 0,
            room,
            asking,
            led: false,
            unsaved,
            stopped,
            halt: halt.clone(),
        };
        Arc::new_cyclic(|ledger| Ledger {
            in_memory: log.is_memory(),
            log: FairMutex::new(log),
            state: FairMutex::new(state),
            ended: Mutex::default(),
            origin: Origin::here(),
            halt,
            snapshots: Snapshots::new(ledger.clone()),
            scrubber: Scrubber::new(ledger.clone()),
            readings: parking_lot::RwLock::new(()),
        })
    }

    /// Waits until the kernel stops, and says why. One that was stopped when it was opened never stops.
    pub(crate) fn wait_until_stopped(&self) -> Failure {
        let Ok(why) = self.halt.why.lock() else { return panicked() };
        match self.halt.told.wait_while(why, |why| why.is_none()) {
            Ok(why) => why.clone().unwrap_or_else(panicked),
            Err(_) => panicked(),
        }
    }

    pub(crate) fn state(&self) -> Result<FairGuard<'_, State>, Failure> {
        self.origin.check()?;
        self.state.lock().map_err(|poisoned| {
            // Whoever waits would do so for ever.
            poisoned.into_inner().stop(panicked());
            panicked()
        })
    }

    pub(crate) fn log(&self) -> Result<FairGuard<'_, Log>, Failure> {
        self.origin.check()?;
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
        let _reading = self.readings.read();
        'again: loop {
            let mut reading = self.log()?.reading();
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
        if self.origin.is_here()
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
    pub(crate) fn enter(
        &self,
        pending: &Pending<'_>,
        sender: UnboundedSender<Event>,
        place: Place,
    ) -> Result<(), Failure> {
        let mut state = self.state()?;
        self.close_sessions(&mut state);
        let now = now()?;
        // An erasure needs room for a snapshot too. How long that is shows an image of the state, beside whatever comes.
        let image = (pending.erases() && !self.in_memory).then(|| state.kernel.image());
        if image.is_none() && state.needed_with(pending)? <= state.room.ordinary {
            let entered = state.enter(now, pending, sender, place);
            // One that was turned away may have been recorded as such.
            self.commit(state);
            return entered;
        }
        drop(state);
        let snapshot_bytes = image.map(|image| image.encode().0.len() as u64);
        let mut log = self.log()?;
        let mut state = self.state()?;
        let needed = state.needed_with(pending)?;
        state.make_room(&mut log, needed);
        let Room { ordinary, reserve } = state.room;
        let reserve = if pending.may_take_reserve() { reserve } else { 0 };
        if needed > ordinary.saturating_add(reserve) {
            return Err(log_full());
        }
        if let Some(bytes) = snapshot_bytes {
            log.reserve_snapshot(bytes)?;
        }
        let entered = state.enter(now, pending, sender, place);
        drop(log);
        self.commit(state);
        entered
    }

    /// Gives the kernel an input that nobody waits for, and for which room was found with the request that it belongs to. A
    /// kernel that is stopped takes none.
    pub(crate) fn feed(&self, input: impl FnOnce(&mut Kernel, Now)) {
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
    pub(crate) async fn ask(&self, ticket: Ticket, step: Step, place: Place) -> Verdict {
        let (sender, receiver) = oneshot::channel();
        self.hold_up(place, || self.step(ticket, step, sender));
        receiver.await.unwrap_or_else(|_| kernel_stopped())
    }

    /// Does what may have to write to the log.
    pub(crate) fn hold_up<T>(&self, place: Place, work: impl FnOnce() -> T) -> T {
        if self.in_memory { work() } else { place.hold_up(work) }
    }

    fn put_step(
        &self,
        ticket: Ticket,
        step: Step,
        verdict: &mut Option<oneshot::Sender<Verdict>>,
    ) -> Result<(), Failure> {
        let mut state = self.state()?;
        if state.needed_with_step(ticket, &step) > state.room.ordinary {
            drop(state);
            let mut log = self.log()?;
            state = self.state()?;
            let needed = state.needed_with_step(ticket, &step);
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
                state.expect(ticket, verdict);
            }
            if let Err(failure) = state.kernel.progress(now, ticket, step) {
                *verdict = state.asking.remove(&ticket);
                return Err(failure);
            }
        }
        self.commit(state);
        Ok(())
    }

    /// Whether the log has room to record that one more was turned away, beside what was promised.
    pub(crate) fn has_room_to_turn_away(&self) -> bool {
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
        if state.led {
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
        state.led = true;
        drop(state);
        self.lead();
    }

    /// Makes durable what is recorded, and releases what rests on it, until nothing is left or another takes over.
    pub(crate) fn lead(&self) {
        let leading = Leading(self);
        let Ok(mut log) = self.log() else { return };
        loop {
            match self.write(&mut log) {
                Ok((_, true)) => return std::mem::forget(leading),
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
            state.led = false;
            return Ok((state, true));
        };
        let needed = state.promised();
        drop(state);
        let written = append(log, records, needed);
        let mut state = self.state()?;
        (state.room, state.unwritten) = (log.room(), 0);
        state.written(seq, written);
        if state.unsaved.is_due() {
            self.snapshots.take_one();
        }
        let handed_over = state.hand_over(seq);
        Ok((state, handed_over))
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
        self.scrubber.give_up();
        self.snapshots.give_up();
        drop(self.readings.write());
    }
}

/// The thread that leads. Should it die, nobody waits for it in vain.
struct Leading<'a>(&'a Ledger);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        match self.0.state.lock() {
            Ok(mut state) => state.stop(panicked()),
            Err(poisoned) => poisoned.into_inner().stop(panicked()),
        }
    }
}

impl State {
    /// Bytes of records that may come of what was taken on: of all who wait, of what is recorded and not written yet, and of
    /// those who were turned away.
    fn promised(&self) -> u64 {
        if self.room.ordinary == u64::MAX {
            // Without a disk there is room for everything, and no need to look.
            return 0;
        }
        let own = self.kernel.unpolled_bytes().saturating_add(self.kernel.turned_away_bytes(0));
        self.needed.saturating_add(self.unwritten).saturating_add(own)
    }

    /// The same with a step of an effect.
    fn needed_with_step(&self, ticket: Ticket, step: &Step) -> u64 {
        match self.room.ordinary {
            u64::MAX => 0,
            _ => match self.kernel.step_bytes_max(ticket, step) {
                // It was found before.
                0 => 0,
                bytes => self.promised().saturating_add(bytes),
            },
        }
    }

    /// Whether there is room for so many bytes of records beside what is promised.
    pub(crate) fn has_room(&self, more: u64) -> bool {
        self.promised().saturating_add(more) <= self.room.ordinary
    }

    /// Sees to it that there is room for so many bytes of records beside what is promised.
    ///
    /// # Errors
    /// LOG_FULL where there is none.
    pub(crate) fn find_room(&mut self, log: &mut Log, more: u64) -> Result<(), Failure> {
        if !self.has_room(more) {
            self.make_room(log, self.promised().saturating_add(more));
        }
        if self.has_room(more) { Ok(()) } else { Err(log_full()) }
    }

    /// Asks the log for room, for more than this where that is to be had.
    fn make_room(&mut self, log: &mut Log, needed: u64) {
        let _ = log.make_room(needed.saturating_add(ROOM_STEP_BYTES)).or_else(|_| log.make_room(needed));
        self.room = log.room();
    }

    /// Bytes of records that may come of what was taken on and of this request.
    fn needed_with(&self, pending: &Pending<'_>) -> Result<u64, Failure> {
        match &self.stopped {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.promised().saturating_add(self.bytes_max_of(pending))),
        }
    }

    /// Bytes of records that may come of a request.
    fn bytes_max_of(&self, pending: &Pending<'_>) -> u64 {
        match pending {
            _ if self.room.ordinary == u64::MAX => 0,
            Pending::Request(_, asked) => self.kernel.record_bytes_max(asked),
            Pending::HostCall(_, request) => self.kernel.host_call_bytes_max(request),
        }
    }

    /// What was recorded since this was last asked, and the last `seq` of it. A kernel that is stopped records nothing more.
    fn records(&mut self) -> Option<(u64, Vec<Record>)> {
        let records: Vec<Record> = std::iter::from_fn(|| self.kernel.poll_record()).collect();
        let seq = records.last()?.seq;
        self.unwritten = records.iter().map(Record::journal_bytes_max).fold(0, u64::saturating_add);
        self.unsaved.count(&records);
        if self.stopped.is_some() {
            return None;
        }
        self.taken = seq;
        Some((seq, records))
    }

    /// Takes note of what became of the records up to `seq`.
    fn written(&mut self, seq: u64, written: Result<(), JournalError>) {
        match written {
            Ok(()) => self.release(seq),
            Err(error) => {
                // The kernel is ahead of its journal now, whether or not anything is on the disk: room was found before, and
                // what is recorded is bounded, so this is no fault of one request. Fail-stop, and let recovery find out.
                let message = format!("the journal could not be written, reopen the kernel: {error}");
                self.stop(Failure::new(Code::UnknownOutcome, message));
            }
        }
    }

    fn enter(
        &mut self,
        now: Now,
        pending: &Pending<'_>,
        sender: UnboundedSender<Event>,
        place: Place,
    ) -> Result<(), Failure> {
        let needed = self.bytes_max_of(pending);
        if let Some(failure) = &self.stopped {
            return Err(failure.clone());
        }
        let call = match *pending {
            Pending::Request(session, asked) => self.kernel.dispatch(now, session, asked.clone())?,
            Pending::HostCall(ticket, request) => self.kernel.host_call(now, ticket, request.clone())?,
        };
        let leads = place != Place::Watched;
        self.waiting.insert(call.seq(), Waiting { sender, needed, leads });
        self.needed = self.needed.saturating_add(needed);
        Ok(())
    }

    /// Releases what rests on the records up to `seq`. A caller that is gone needs no reply.
    fn release(&mut self, seq: u64) {
        self.kernel.committed(seq);
        while let Some(output) = self.kernel.poll_output() {
            match output {
                Output::Reply(call, outcome) => {
                    if self.cut_short.remove(&call.seq()) {
                        self.needed = self.needed.saturating_sub(Kernel::unknown_bytes_max());
                    }
                    if let Some(Waiting { sender, needed, .. }) = self.waiting.remove(&call.seq()) {
                        self.needed = self.needed.saturating_sub(needed);
                        let _ = sender.send(Event::Ended(outcome));
                    }
                }
                Output::Perform(ticket, effect) => {
                    // A caller waits at least until its effect is let out.
                    if let Some(Waiting { sender, .. }) = self.waiting.get(&ticket.cause()) {
                        let left_us = self.kernel.time_left_of(ticket);
                        // A millisecond more, so that the time is over for the kernel as well.
                        let left = left_us.map(|us| Duration::from_micros(us.saturating_add(1_000)));
                        let due = left.and_then(|left| Instant::now().checked_add(left));
                        let _ = sender.send(Event::Perform(ticket, effect, due));
                    }
                }
                Output::Resume(ticket, verdict) => {
                    // A verdict that nobody asked for, as when the time is over, ends with its effect.
                    if let Some(asking) = self.asking.remove(&ticket) {
                        let _ = asking.send(verdict);
                    }
                }
            }
        }
    }

    /// Has someone lead whose record is not durable yet, and who does nothing but wait for that.
    fn hand_over(&self, committed: u64) -> bool {
        let mut waiting = self.waiting.range(committed + 1..);
        waiting.any(|(_, waiting)| waiting.leads && waiting.sender.send(Event::Lead).is_ok())
    }

    /// Where the answer to the next step of an effect goes.
    pub(crate) fn expect(&mut self, ticket: Ticket, verdict: oneshot::Sender<Verdict>) {
        // Where nobody will answer, the sender ends here: the kernel has stopped, or this is no effect under way.
        if self.stopped.is_none() && self.waiting.contains_key(&ticket.cause()) {
            self.asking.insert(ticket, verdict);
        }
    }

    /// Fails everyone who waits, and whoever comes. Of those whose decision was taken to be written, nobody knows what became.
    pub(crate) fn stop(&mut self, failure: Failure) {
        let unknown = unknown(&failure);
        for (seq, waiting) in std::mem::take(&mut self.waiting) {
            let told = if seq <= self.taken { &unknown } else { &failure };
            let _ = waiting.sender.send(Event::Ended(Err(told.clone())));
        }
        self.asking.clear();
        self.halt.tell(&failure);
        self.stopped.get_or_insert(failure);
    }
}

/// Makes records durable. Space that was found and is gone all the same is waited for, for a while: until then nothing is lost.
fn append(log: &mut Log, records: Vec<Record>, needed: u64) -> Result<(), JournalError> {
    let until = Instant::now() + FULL_PATIENCE;
    let mut written = log.append(records, needed);
    while matches!(written, Err(JournalError::Full)) && Instant::now() < until {
        std::thread::sleep(FULL_PAUSE);
        written = log.append(Vec::new(), needed);
    }
    written
}

fn close() -> Asked {
    Request::SessionClose.into()
}

pub(crate) fn kernel_stopped() -> Verdict {
    Verdict::Abort(Failure::new(Code::Io, "the kernel is stopped"))
}

fn log_full() -> Failure {
    let message = "the disk has no room for the journal; nothing was done. Free some, and ask again";
    Failure::new(Code::LogFull, message)
}

pub(crate) fn now() -> Result<Now, Failure> {
    clock::now().map_err(|error| Failure::new(Code::Io, format!("no entropy: {error}")))
}

fn unknown(failure: &Failure) -> Failure {
    match failure.code {
        Code::UnknownOutcome => failure.clone(),
        _ => {
            let message = format!("{}: what was under way may or may not have happened", failure.message);
            Failure::new(Code::UnknownOutcome, message)
        }
    }
}

pub(crate) fn panicked() -> Failure {
    Failure::new(Code::Io, "the kernel is stopped: a thread died while it held the kernel")
}
