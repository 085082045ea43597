//! The state under the kernel's lock: the kernel, those who wait for it, and the log space promised to them.

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

/// Log space is requested in steps of this many bytes, so that few calls request any.
const SPACE_STEP_BYTES: u64 = 1 << 20;

/// A request to be dispatched.
pub(crate) enum Submission<'p> {
    /// From a session.
    Request(SessionId, &'p AuthenticatedRequest),
    /// From a running tool.
    HostCall(Ticket, &'p ToolRequest),
}

impl Submission<'_> {
    /// Whether it may use the reserve: on a full disk the owner can still revoke, replace the policy, erase and verify.
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

    /// Whether it is an erasure, which needs a snapshot.
    pub(super) fn erases(&self) -> bool {
        matches!(self, Submission::Request(SessionId::OWNER, authenticated) if matches!(authenticated.request(), Request::Audit(AuditRequest::Erase { .. })))
    }
}

/// What a waiting caller is told.
pub(crate) enum Event {
    /// It becomes the leader of the next commit.
    Lead,
    /// Its effect is permitted, until the wall time of its agent is over.
    Perform(Ticket, Effect, Option<Instant>),
    Ended(Outcome),
}

/// A kernel, and those who wait for its outputs.
pub(crate) struct State {
    pub(crate) kernel: Kernel,
    /// By the `seq` of the request's record.
    waiters: BTreeMap<u64, Waiter>,
    /// Upper bound in bytes of the records still to come from all waiters, and from effects that a restart interrupted.
    needed_bytes: u64,
    /// The decision records of effects that a restart interrupted, until they complete.
    interrupted: BTreeSet<u64>,
    /// Bytes of the records that are being written.
    pub(super) unwritten_bytes: u64,
    /// The `seq` of the newest record that was polled from the kernel.
    newest_polled: u64,
    /// Log space that is allocated.
    pub(super) space: LogSpace,
    /// Where the answer to each pending step goes.
    pub(super) answer_senders: BTreeMap<Ticket, oneshot::Sender<StepAnswer>>,
    /// Whether a thread leads a commit.
    pub(crate) has_leader: bool,
    /// What was recorded since the newest snapshot began.
    pub(crate) unsaved: Unsaved,
    /// Why the kernel has stopped, once it has.
    pub(crate) stopped: Option<Failure>,
    pub(super) stop_signal: Arc<StopSignal>,
}

struct Waiter {
    sender: UnboundedSender<Event>,
    needed_bytes: u64,
    /// Whether it can be made leader. A caller that polls for interrupts cannot: it may take long to react, or even wait for another
    /// leader meanwhile.
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

    /// Upper bound in bytes of the records to come from everything admitted: all waiters, records not written yet, and throttled callers.
    pub(super) fn promised_bytes(&self) -> u64 {
        if self.space.ordinary == u64::MAX {
            // Without a disk space is unlimited.
            return 0;
        }
        let own = self.kernel.unpolled_bytes().saturating_add(self.kernel.throttled_bytes(0));
        self.needed_bytes.saturating_add(self.unwritten_bytes).saturating_add(own)
    }

    /// [`Self::promised_bytes`] with a step of an effect.
    pub(super) fn required_bytes_with_step(&self, ticket: Ticket, step: &Step) -> u64 {
        match self.space.ordinary {
            u64::MAX => 0,
            _ => match self.kernel.step_bytes_max(ticket, step) {
                // Its space was found with its request.
                0 => 0,
                bytes => self.promised_bytes().saturating_add(bytes),
            },
        }
    }

    /// Whether there is space for `more` bytes of records beside what is promised.
    pub(crate) fn has_space(&self, more: u64) -> bool {
        self.promised_bytes().saturating_add(more) <= self.space.ordinary
    }

    /// Allocates space for `more` bytes of records beside what is promised.
    ///
    /// # Errors
    /// LOG_FULL when the disk has none.
    pub(crate) fn ensure_space(&mut self, log: &mut Log, more: u64) -> Result<(), Failure> {
        if !self.has_space(more) {
            self.allocate_space(log, self.promised_bytes().saturating_add(more));
        }
        if self.has_space(more) { Ok(()) } else { Err(log_full()) }
    }

    /// Allocates log space: a step more than needed, if the disk has it.
    pub(super) fn allocate_space(&mut self, log: &mut Log, needed_bytes: u64) {
        let _ = log
            .allocate_space(needed_bytes.saturating_add(SPACE_STEP_BYTES))
            .or_else(|_| log.allocate_space(needed_bytes));
        self.space = log.space();
    }

    /// [`Self::promised_bytes`] with a request that is to be dispatched.
    pub(super) fn required_bytes_with(&self, submission: &Submission<'_>) -> Result<u64, Failure> {
        match &self.stopped {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.promised_bytes().saturating_add(self.bytes_max_of(submission))),
        }
    }

    /// Upper bound in bytes of the records of one request.
    pub(super) fn bytes_max_of(&self, submission: &Submission<'_>) -> u64 {
        match submission {
            _ if self.space.ordinary == u64::MAX => 0,
            Submission::Request(_, authenticated) => self.kernel.record_bytes_max(authenticated),
            Submission::HostCall(_, request) => self.kernel.host_call_bytes_max(request),
        }
    }

    /// Polls all new records, and returns them with the last `seq`; `None` when there are none or the kernel has stopped.
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
                // The kernel is ahead of its journal now. Space was found before and records are bounded, so no single request is at fault:
                // stop, and let recovery find out what is on the disk.
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

    /// Lets out the outputs that depend on the records up to `seq`. A caller that is obsolete needs no reply.
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
                    // A caller waits at least until its effect is let out.
                    if let Some(Waiter { sender, .. }) = self.waiters.get(&ticket.cause()) {
                        let left_us = self.kernel.time_left_of(ticket);
                        // A millisecond more, so that the time is over for the kernel as well.
                        let left = left_us.map(|us| Duration::from_micros(us.saturating_add(1_000)));
                        let due = left.and_then(|left| Instant::now().checked_add(left));
                        let _ = sender.send(Event::Perform(ticket, effect, due));
                    }
                }
                Output::Resume(ticket, answer) => {
                    // An answer without a question, such as a timeout, ends with its effect.
                    if let Some(answer_senders) = self.answer_senders.remove(&ticket) {
                        let _ = answer_senders.send(answer);
                    }
                }
            }
        }
    }

    /// Makes a waiter the leader whose record is not durable yet. Returns whether there is one.
    pub(super) fn transfer_leadership(&self, committed: u64) -> bool {
        let mut waiters = self.waiters.range(committed + 1..);
        waiters.any(|(_, waiter)| waiter.leads && waiter.sender.send(Event::Lead).is_ok())
    }

    /// Registers where the answer to the next step of an effect goes.
    pub(crate) fn register(&mut self, ticket: Ticket, answer: oneshot::Sender<StepAnswer>) {
        // The sender is dropped when no answer will come: the kernel has stopped, or the effect is not pending.
        if self.stopped.is_none() && self.waiters.contains_key(&ticket.cause()) {
            self.answer_senders.insert(ticket, answer);
        }
    }

    /// Fails all current and later callers. The outcome is unknown for those whose decision was being written.
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
