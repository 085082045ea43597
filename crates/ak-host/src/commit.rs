//! Group commit: whoever comes to the log first writes the records of all who wait, with one sync.
//!
//! The kernel and the log have a lock each. While one thread holds the log to sync it, others dispatch; their records
//! gather in the kernel, and the next to hold the log writes them all. Whoever then finds nothing to write was served.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, mpsc::Sender},
};

use ak_kernel::{
    Code, Effect, Failure, Kernel, Now, Outcome, Output, Record, Request, Session, Ticket, Verdict,
};

use crate::log::Log;

/// A kernel and its log.
pub(crate) struct Ledger {
    /// Taken before `state` where both are taken.
    log: Mutex<Log>,
    state: Mutex<State>,
}

/// A kernel, and who waits for what it gives.
pub(crate) struct State {
    pub(crate) kernel: Kernel,
    /// By the `seq` of the request's record.
    waiting: BTreeMap<u64, Sender<Event>>,
    pub(crate) verdicts: BTreeMap<Ticket, Verdict>,
    /// Why nothing can be done any more.
    pub(crate) stopped: Option<Failure>,
}

/// What a caller waits for.
pub(crate) enum Event {
    /// Its effect may happen; what comes of it goes through the sender.
    Perform(Ticket, Effect, Sender<Event>),
    /// A piece of a streamed answer.
    Chunk(String),
    Ended(Outcome),
}

impl Ledger {
    /// Takes a kernel whose records so far are in `log`.
    pub(crate) fn new(kernel: Kernel, log: Log) -> Ledger {
        let stopped = log.refusal();
        let state = State { kernel, waiting: BTreeMap::new(), verdicts: BTreeMap::new(), stopped };
        Ledger { log: Mutex::new(log), state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> Result<MutexGuard<'_, State>, Failure> {
        self.state.lock().map_err(|_| panicked())
    }

    pub(crate) fn log(&self) -> Result<MutexGuard<'_, Log>, Failure> {
        self.log.lock().map_err(|_| panicked())
    }

    /// Makes durable what is recorded, and releases what rests on it. When it returns, both is done for every record
    /// that was there when it was called, be it by another thread.
    pub(crate) fn commit(&self) {
        let Ok(mut log) = self.log() else { return };
        let records: Vec<Record> = match self.state() {
            Ok(mut state) if state.stopped.is_none() => {
                std::iter::from_fn(|| state.kernel.poll_record()).collect()
            }
            Ok(_) | Err(_) => return,
        };
        let Some(seq) = records.last().map(|record| record.seq) else { return };
        let written = log.append(records);
        let Ok(mut state) = self.state() else { return };
        match written {
            Ok(()) => state.release(seq),
            Err(error) => {
                // Nobody knows what is on the disk now: fail-stop, and let recovery find out.
                let message = format!("the journal could not be written, reopen the kernel: {error}");
                state.stop(Failure::new(Code::UnknownOutcome, message));
            }
        }
    }

    /// Ends the kernel and lets go of the journal.
    pub(crate) fn close(&self) {
        let log = self.log();
        if let Ok(mut state) = self.state() {
            state.stop(Failure::new(Code::NotConfigured, "the kernel is closed"));
        }
        if let Ok(mut log) = log {
            log.close();
        }
    }
}

impl State {
    /// Makes a request, whose outcome goes to `waiting` once it is committed.
    pub(crate) fn dispatch(&mut self, now: Now, session: Session, request: Request, waiting: Sender<Event>) {
        let call = self.kernel.dispatch(now, session, request);
        self.waiting.insert(call.seq(), waiting);
    }

    /// Releases what rests on the records up to `seq`. A caller that is gone needs no reply.
    fn release(&mut self, seq: u64) {
        self.kernel.committed(seq);
        while let Some(output) = self.kernel.poll_output() {
            match output {
                Output::Reply(call, outcome) => {
                    if let Some(waiting) = self.waiting.remove(&call.seq()) {
                        let _ = waiting.send(Event::Ended(outcome));
                    }
                }
                Output::Perform(ticket, effect) => {
                    // A caller waits at least until its effect is let out.
                    if let Some(waiting) = self.waiting.get(&ticket.cause()) {
                        let _ = waiting.send(Event::Perform(ticket, effect, waiting.clone()));
                    }
                }
                Output::Resume(ticket, verdict) => {
                    self.verdicts.insert(ticket, verdict);
                }
            }
        }
    }

    /// Fails everyone who waits, and whoever comes.
    pub(crate) fn stop(&mut self, failure: Failure) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let _ = waiting.send(Event::Ended(Err(failure.clone())));
        }
        self.stopped.get_or_insert(failure);
    }
}

fn panicked() -> Failure {
    Failure::new(Code::Io, "the kernel is stopped: a thread died while it held the kernel")
}
