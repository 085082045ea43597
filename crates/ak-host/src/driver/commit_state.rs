//! The state under the kernel's lock: the kernel, the callers that wait for it, and the log space promised to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use ak_audit::JournalError;
use ak_kernel::{
    AdminRequest, AgentRequest, AuditRequest, AuthenticatedRequest, Code, Effect, Failure, Kernel, Now,
    Outcome, Output, Record, Request, SessionId, Step, StepAnswer, Ticket, ToolRequest,
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    call::CallMode,
    driver::{stop_signal::StopSignal, unsaved::Unsaved},
    storage::log::{Log, LogSpace},
};

/// Log space is allocated in steps of this many bytes, so that few requests need to allocate any.
const SPACE_STEP_BYTES: u64 = 1 << 20;

/// A request to be dispatched to the kernel.
pub(crate) enum Submission<'p> {
    /// From a session.
    Request(SessionId, &'p AuthenticatedRequest),
    /// From a running tool.
    HostCall(Ticket, &'p ToolRequest),
}

impl Submission<'_> {
    /// Whether the request may use the reserve, so that on a full disk the owner can still revoke capabilities, replace
    /// the policy, erase and verify.
    pub(super) fn may_take_reserve(&self) -> bool {
        let Submission::Request(SessionId::OWNER, authenticated) = self else { return false };
        matches!(
            authenticated.request(),
            Request::Agent(AgentRequest::CapRevoke { .. })
                | Request::Admin(AdminRequest::PolicyLoad { .. })
                | Request::Audit(AuditRequest::Erase { .. })
                | Request::Audit(AuditRequest::Verify { .. })
        )
    }

    /// Whether the request is an erasure, which needs a snapshot.
    pub(super) fn erases(&self) -> bool {
        matches!(self, Submission::Request(SessionId::OWNER, authenticated) if matches!(authenticated.request(), Request::Audit(AuditRequest::Erase { .. })))
    }
}

/// An event that the driver sends to a waiting caller.
pub(crate) enum Event {
    /// The caller becomes the leader of the next commit.
    Lead,
    /// The caller's effect is permitted, up to the end of its agent's wall time if there is one.
    Perform(Ticket, Effect, Option<Instant>),
    Ended(Outcome),
}

/// A kernel with the callers that wait for its outputs.
pub(crate) struct State {
    pub(crate) kernel: Kernel,
    /// The waiting callers, by the `seq` of the request's first record.
    waiters: BTreeMap<u64, Waiter>,
    /// Upper bound in bytes of the records still to come from all waiting requests, and from effects that a restart
    /// interrupted.
    needed_bytes: u64,
    /// The `seq` of the decision records of effects that a restart interrupted, until these effects complete.
    interrupted: BTreeSet<u64>,
    /// Upper bound in bytes of the records that are being written.
    pub(super) unwritten_bytes: u64,
    /// The `seq` of the newest record that was polled from the kernel.
    newest_polled: u64,
    /// The allocated log space.
    pub(super) space: LogSpace,
    /// The senders for the answers to pending steps.
    pub(super) answer_senders: BTreeMap<Ticket, oneshot::Sender<StepAnswer>>,
    /// Whether a thread leads a commit.
    pub(crate) has_leader: bool,
    /// Counts the records since the newest snapshot began.
    pub(crate) unsaved: Unsaved,
    /// Why the kernel has stopped; `None` while it runs.
    pub(crate) stopped: Option<Failure>,
    pub(super) stop_signal: Arc<StopSignal>,
}

struct Waiter {
    sender: UnboundedSender<Event>,
    needed_bytes: u64,
    /// Whether this caller can be made leader. A caller that polls for interrupts cannot: it may take long to react, or
    /// even wait for another leader in the meantime.
    leads: bool,
}

impl State {
    pub(super) fn new(
        kernel: Kernel,
        space: LogSpace,
        unsaved: Unsaved,
        stopped: Option<Failure>,
        stop_signal: Arc<StopSignal>,
    ) -> State {
        let interrupted: BTreeSet<u64> = kernel.tickets().iter().map(|ticket| ticket.cause()).collect();
        let needed_bytes = (interrupted.len() as u64).saturating_mul(Kernel::unknown_bytes_max());
        State {
            kernel,
            waiters: BTreeMap::new(),
            needed_bytes,
            interrupted,
            unwritten_bytes: 0,
            newest_polled: 0,
            space,
            answer_senders: BTreeMap::new(),
            has_leader: false,
            unsaved,
            stopped,
            stop_signal,
        }
    }

    /// Upper bound in bytes of the records to come from everything admitted: waiting requests, records that are not
    /// written yet, and throttled callers. 0 when the log is in memory.
    pub(super) fn promised_bytes(&self) -> u64 {
        if self.space.ordinary == u64::MAX {
            // A log in memory has unlimited space.
            return 0;
        }
        let own = self.kernel.unpolled_bytes().saturating_add(self.kernel.throttled_bytes(0));
        self.needed_bytes.saturating_add(self.unwritten_bytes).saturating_add(own)
    }

    /// [`Self::promised_bytes`] plus the bytes of a step that is about to be recorded.
    pub(super) fn required_bytes_with_step(&self, ticket: Ticket, step: &Step) -> u64 {
        match self.space.ordinary {
            u64::MAX => 0,
            _ => match self.kernel.step_bytes_max(ticket, step) {
                // The space for this step was allocated with its request.
                0 => 0,
                bytes => self.promised_bytes().saturating_add(bytes),
            },
        }
    }

    /// Whether `more` bytes of records fit into the allocated space beside what is promised.
    pub(crate) fn has_space(&self, more: u64) -> bool {
        self.promised_bytes().saturating_add(more) <= self.space.ordinary
    }

    /// Allocates log space for `more` bytes of records beside what is promised.
    ///
    /// # Errors
    /// LOG_FULL when the disk has too little space.
    pub(crate) fn ensure_space(&mut self, log: &mut Log, more: u64) -> Result<(), Failure> {
        if !self.has_space(more) {
            self.allocate_space(log, self.promised_bytes().saturating_add(more));
        }
        if self.has_space(more) { Ok(()) } else { Err(log_full()) }
    }

    /// Allocates `needed_bytes` of log space, and one step more if the disk has it.
    pub(super) fn allocate_space(&mut self, log: &mut Log, needed_bytes: u64) {
        let _ = log
            .allocate_space(needed_bytes.saturating_add(SPACE_STEP_BYTES))
            .or_else(|_| log.allocate_space(needed_bytes));
        self.space = log.space();
    }

    /// [`Self::promised_bytes`] plus the bytes of a request that is about to be dispatched.
    pub(super) fn required_bytes_with(&self, submission: &Submission<'_>) -> Result<u64, Failure> {
        match &self.stopped {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.promised_bytes().saturating_add(self.bytes_max_of(submission))),
        }
    }

    /// Upper bound in bytes of the records of one request; 0 when the log is in memory.
    pub(super) fn bytes_max_of(&self, submission: &Submission<'_>) -> u64 {
        match submission {
            _ if self.space.ordinary == u64::MAX => 0,
            Submission::Request(_, authenticated) => self.kernel.record_bytes_max(authenticated),
            Submission::HostCall(_, request) => self.kernel.host_call_bytes_max(request),
        }
    }

    /// Polls all new records from the kernel, and returns them with the last `seq`; `None` when there are none or the
    /// kernel has stopped.
    pub(super) fn records(&mut self) -> Option<(u64, Vec<Record>)> {
        let records: Vec<Record> = std::iter::from_fn(|| self.kernel.poll_record()).collect();
        let seq = records.last()?.seq;
        self.unwritten_bytes = records.iter().map(Record::journal_bytes_max).fold(0, u64::saturating_add);
        self.unsaved.count(&records);
        if self.stopped.is_some() {
            return None;
        }
        self.newest_polled = seq;
        Some((seq, records))
    }

    /// Handles the result of writing the records up to `seq`.
    pub(super) fn written(&mut self, seq: u64, written: Result<(), JournalError>) {
        match written {
            Ok(()) => self.release(seq),
            Err(error) => {
                // The kernel is now ahead of its journal. Space was allocated before and records are bounded, so no
                // single request is at fault: stop, and let recovery find out which records are on the disk.
                let message = format!("the journal could not be written, reopen the kernel: {error}");
                self.stop(Failure::new(Code::UnknownOutcome, message));
            }
        }
    }

    pub(super) fn dispatch(
        &mut self,
        now: Now,
        submission: &Submission<'_>,
        sender: UnboundedSender<Event>,
        mode: CallMode,
    ) -> Result<(), Failure> {
        let needed_bytes = self.bytes_max_of(submission);
        if let Some(failure) = &self.stopped {
            return Err(failure.clone());
        }
        let call = match *submission {
            Submission::Request(session, authenticated) => {
                self.kernel.dispatch(now, session, authenticated.clone())?
            }
            Submission::HostCall(ticket, request) => self.kernel.host_call(now, ticket, request.clone())?,
        };
        let leads = mode != CallMode::Polling;
        self.waiters.insert(call.seq(), Waiter { sender, needed_bytes, leads });
        self.needed_bytes = self.needed_bytes.saturating_add(needed_bytes);
        Ok(())
    }

    /// Releases the outputs that depend on the records up to `seq`. Sending fails when a caller is gone, which needs no
    /// reply.
    fn release(&mut self, seq: u64) {
        self.kernel.committed(seq);
        while let Some(output) = self.kernel.poll_output() {
            match output {
                Output::Reply(call, outcome) => {
                    if self.interrupted.remove(&call.seq()) {
                        self.needed_bytes = self.needed_bytes.saturating_sub(Kernel::unknown_bytes_max());
                    }
                    if let Some(Waiter { sender, needed_bytes, .. }) = self.waiters.remove(&call.seq()) {
                        self.needed_bytes = self.needed_bytes.saturating_sub(needed_bytes);
                        let _ = sender.send(Event::Ended(outcome));
                    }
                }
                Output::Perform(ticket, effect) => {
                    // A caller waits at least until its effect is released.
                    if let Some(Waiter { sender, .. }) = self.waiters.get(&ticket.cause()) {
                        let left_us = self.kernel.time_left_of(ticket);
                        // One millisecond more, so that the time is over by the kernel's clock as well.
                        let left = left_us.map(|us| Duration::from_micros(us.saturating_add(1_000)));
                        let due = left.and_then(|left| Instant::now().checked_add(left));
                        let _ = sender.send(Event::Perform(ticket, effect, due));
                    }
                }
                Output::Resume(ticket, answer) => {
                    // An answer without a sender, such as a timeout, is dropped: its effect ends.
                    if let Some(answer_senders) = self.answer_senders.remove(&ticket) {
                        let _ = answer_senders.send(answer);
                    }
                }
            }
        }
    }

    /// Makes a waiter whose record is not durable yet the leader. Returns whether there is one.
    pub(super) fn transfer_leadership(&self, committed: u64) -> bool {
        let mut waiters = self.waiters.range(committed + 1..);
        waiters.any(|(_, waiter)| waiter.leads && waiter.sender.send(Event::Lead).is_ok())
    }

    /// Registers the sender for the answer to the next step of an effect.
    pub(crate) fn register(&mut self, ticket: Ticket, answer: oneshot::Sender<StepAnswer>) {
        // Otherwise the sender is dropped, because no answer will come: the kernel has stopped, or the effect is not
        // pending.
        if self.stopped.is_none() && self.waiters.contains_key(&ticket.cause()) {
            self.answer_senders.insert(ticket, answer);
        }
    }

    /// Stops the kernel: fails all current and later callers. The outcome is unknown for callers whose records were
    /// polled already.
    pub(crate) fn stop(&mut self, failure: Failure) {
        let unknown = unknown(&failure);
        for (seq, waiter) in std::mem::take(&mut self.waiters) {
            let reason = if seq <= self.newest_polled { &unknown } else { &failure };
            let _ = waiter.sender.send(Event::Ended(Err(reason.clone())));
        }
        self.answer_senders.clear();
        self.stop_signal.set(&failure);
        self.stopped.get_or_insert(failure);
    }
}

pub(super) fn log_full() -> Failure {
    let message = "the disk has no room for the journal; nothing was done. Free some, and ask again";
    Failure::new(Code::LogFull, message)
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
