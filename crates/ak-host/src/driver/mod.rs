//! The run loop around one kernel: persist, commit, perform, complete.
//!
//! A call dispatches on its own thread and sees to it that its records become durable. Its effect waits on the runtime of the
//! process: driven by the caller's thread where that waits for nothing else, as a task where nobody's thread waits.

pub(crate) mod commit_state;
pub(crate) mod context;
pub(crate) mod group_commit;
mod host_calls;
pub(crate) mod log_work;
mod pending_request;
mod perform;
pub(crate) mod scrub;
pub(crate) mod snapshots;
pub(crate) mod stop_signal;
pub(crate) mod unsaved;

use std::sync::Arc;

use ak_audit::SigningKey;
use ak_json::{Text, Value};
use ak_kernel::{
    Asked, Code, Completion, Effect, Ended, Failure, GUEST, Kernel, LogWork, Outcome, Price, Record, Reply,
    Request, SessionId, SubjectId, Ticket, erased,
};
use ak_policy::Policy;
use tokio::sync::mpsc::{self, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{self, Answer, Patience, Place, Sink},
    driver::{
        commit_state::{Event, Pending, State},
        group_commit::Ledger,
        pending_request::PendingRequest,
    },
    effects::infer::routes::Routes,
    fair_mutex::FairGuard,
    fork::{Origin, Own},
    fs::{Files, protected::Protected},
    net::Net,
    secrets::{redact::Filter, store::Secrets},
    storage::log::Log,
};

/// What the operator configures; none of it can be reached by an agent.
#[derive(Debug)]
pub(crate) struct HostConfig {
    /// Where models are asked.
    pub(crate) routes: Routes,
    pub(crate) net: Net,
    pub(crate) secrets: Secrets,
    /// What is cut from everything that comes back.
    pub(crate) filter: Filter,
    /// What file effects rest on, and keep away from.
    pub(crate) files: Files,
    /// The variables of the environment that tools may list.
    pub(crate) env: Vec<(Text, Text)>,
    /// Signs checkpoints of the log.
    pub(crate) checkpoint_key: SigningKey,
}

/// One kernel with its log and its drivers. Cheap to clone; all clones are the same kernel.
#[derive(Clone)]
pub struct Driver {
    shared: Own<Arc<Shared>>,
}

struct Shared {
    ledger: Arc<Ledger>,
    config: HostConfig,
    /// Cancelled when the kernel is closed: what is under way is given up.
    closing: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.ledger.scrubber.give_up();
        self.ledger.snapshots.give_up();
    }
}

impl Driver {
    /// Takes a kernel whose records so far are in `log`.
    ///
    /// `unsaved` of them are newer than the newest snapshot.
    pub(crate) fn new(kernel: Kernel, log: Log, unsaved: u64, config: HostConfig) -> Driver {
        let ledger = Ledger::new(kernel, log, unsaved);
        // A new kernel's genesis is durable before anything else happens.
        if let Ok(state) = ledger.state() {
            ledger.commit(state);
        }
        ledger.begin_scrub();
        let shared = Shared { ledger, config, closing: CancellationToken::new() };
        let driver = Driver { shared: Own::new(Arc::new(shared)) };
        driver.adopt_roots();
        driver
    }

    /// Makes a request and waits for its outcome.
    pub fn call(&self, session: SessionId, request: Request) -> Outcome {
        self.call_streaming(session, request, &mut |_| true, &CancellationToken::new())
    }

    /// Makes a request and waits for its outcome; pieces of a streamed answer are handed over as they come.
    ///
    /// When `on_chunk` gives false a stream is stopped at its next piece. Once `stop` is cancelled whatever is under way is
    /// given up: nobody knows then whether it happened.
    pub fn call_streaming(
        &self,
        session: SessionId,
        asked: impl Into<Asked>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        self.call_heeding(session, asked.into(), on_chunk, stop, None)
    }

    /// The same; while it waits, `heed` is asked every [`HEED_MS`](crate::HEED_MS) milliseconds whether to go on. When not, the
    /// request is given up, unless its outcome is there.
    pub(crate) fn call_heeding(
        &self,
        session: SessionId,
        asked: Asked,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        let place = if heed.is_some() { Place::Watched } else { Place::Caller };
        let mut call = self.begin(session, asked, place)?;
        if let Some(outcome) = call.at_once() {
            return outcome;
        }
        let mut patience =
            Patience { sink: Sink::Callback(Box::new(on_chunk)), stop: stop.clone(), due: None, place };
        call::wait(call.outcome(&mut patience), stop, heed)
    }

    /// Makes a request without waiting for it: no thread waits, however long its effect takes. The pieces of a streamed answer go to
    /// `pieces`: a full channel holds the stream up, a closed one ends it.
    ///
    /// Once `stop` is cancelled, or the answer is dropped, whatever is under way is given up.
    pub fn call_async(
        &self,
        session: SessionId,
        asked: impl Into<Asked>,
        pieces: Option<mpsc::Sender<String>>,
        stop: CancellationToken,
    ) -> Answer {
        let (driver, asked, stopped) = (self.clone(), asked.into(), stop.clone());
        Answer::of(async move { driver.answer(session, asked, Sink::of(pieces), stopped).await }, stop)
    }

    /// [`call_async`](Self::call_async) within a task of the runtime.
    pub(crate) async fn answer(
        &self,
        session: SessionId,
        asked: Asked,
        sink: Sink<'static>,
        stop: CancellationToken,
    ) -> Outcome {
        let place = Place::Task;
        let mut call = self.begin(session, asked, place)?;
        match call.at_once() {
            Some(outcome) => outcome,
            None => call.outcome(&mut Patience { sink, stop, due: None, place }).await,
        }
    }

    /// Gives the kernel a request.
    ///
    /// # Errors
    /// Where the kernel does not hear it. A log that was found damaged can still be verified; nothing else is possible.
    fn begin(&self, session: SessionId, asked: Asked, place: Place) -> Result<PendingRequest, Failure> {
        self.shared.origin().check()?;
        let asked = asked.priced(|model| self.price(model)).with_env(&self.shared.config.env);
        let asked =
            if asked.request().is_effect() { place.hold_up(|| asked.prepared()) } else { asked.prepared() };
        if let Err(failure) = asked.check_size() {
            self.turn_away(Some(session));
            return Err(failure);
        }
        let loads_policy = matches!(asked.request(), Request::PolicyLoad { .. });
        // Whoever loads a policy lets go of the one before, outside the lock: that takes long where it was long.
        let _former = loads_policy.then(|| self.policy());
        let (sender, receiver) = unbounded_channel();
        let mut call = PendingRequest::new(self, receiver);
        call.loads_policy = loads_policy;
        let pending = Pending::Request(session, &asked);
        let entered = self.shared.ledger.hold_up(place, || self.shared.ledger.enter(&pending, sender, place));
        if let Err(failure) = entered {
            call.has_ended = true;
            // A log that was found damaged, or may not be written, can still be verified; nothing else is possible.
            let Request::AuditVerify { key, anchor } = asked.request() else { return Err(failure) };
            if session != SessionId::OWNER {
                return Err(failure);
            }
            let key_pair = &self.shared.config.checkpoint_key;
            let verified =
                log_work::verify_only(&self.shared.ledger, key_pair, key.as_deref(), anchor.as_deref())?;
            call.next = Some(Event::Ended(Ok(Reply::Value(verified.ok_or(failure)?))));
        }
        Ok(call)
    }

    /// Resolves the roots that the policy in force grants.
    fn adopt_roots(&self) {
        let Files { roots, protected } = &self.shared.config.files;
        protected.look_beneath();
        roots.adopt(|| self.policy());
    }

    /// The policy in force, while the kernel runs.
    fn policy(&self) -> Option<Policy> {
        self.state().ok().map(|state| state.kernel.policy().clone())
    }

    /// Keeps every agent away from one more file, whether it is there or not.
    ///
    /// # Errors
    /// When it is there and cannot be looked at.
    pub fn protect(&self, path: &std::path::Path) -> std::io::Result<()> {
        self.shared.config.files.protected.add(path)
    }

    /// The files that no agent may touch.
    pub(crate) fn protected(&self) -> &Protected {
        &self.shared.config.files.protected
    }

    /// Where models are asked, as a list of objects: `match`, `origin`, `format`, and `circuit`, which is `closed`, or
    /// `open` while a server that failed too often is left alone, or `trying` while one request sees whether it is back.
    pub fn models(&self) -> ak_json::Value {
        self.shared.config.routes.to_value()
    }

    /// What the tokens of a model cost.
    pub(crate) fn price(&self, model: &str) -> Option<Price> {
        self.shared.config.routes.find(model)?.price.clone()
    }

    /// Has the kernel see what time it is.
    pub(crate) fn tick(&self) {
        self.feed(|kernel, now| kernel.handle_timeout(now));
    }

    /// Opens a session for an agent, if `session` may.
    pub(crate) fn open_agent(&self, session: SessionId, name: &str) -> Result<SessionId, Failure> {
        opened(self.call(session, Request::SessionOpen { agent: name.into() })?)
    }

    /// The same within a task of the runtime.
    pub(crate) async fn open_agent_on_task(
        &self,
        session: SessionId,
        name: &str,
    ) -> Result<SessionId, Failure> {
        let request = Request::SessionOpen { agent: name.into() };
        opened(self.answer(session, request.into(), Sink::Nobody, CancellationToken::new()).await?)
    }

    /// Opens a session for a new guest, within a task of the runtime.
    pub(crate) async fn open_guest(&self) -> Result<SessionId, Failure> {
        self.open_agent_on_task(SessionId::GUESTS, GUEST).await
    }

    /// Whether this is the kernel's own process, and not one that was forked from it.
    pub(crate) fn is_here(&self) -> bool {
        self.origin().is_here()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.shared.origin()
    }

    /// Ends a session that nobody holds any more.
    pub(crate) fn end_session(&self, session: SessionId) {
        self.shared.ledger.end_session(session);
    }

    /// Ends the sessions of those who held them when the kernel last stopped.
    pub(crate) fn end_former_sessions(&self) -> Result<(), Failure> {
        let former = self.state()?.kernel.sessions();
        former.into_iter().for_each(|session| self.end_session(session));
        Ok(())
    }

    /// Ends the kernel: later calls fail. What is under way is given up and not waited for. In a process that was forked from the
    /// kernel's own it does nothing.
    pub fn close(&self) {
        if !self.shared.origin().is_here() {
            return;
        }
        // Without it the next start takes longer, and nothing else.
        let _ = self.shared.ledger.keep_last_snapshot();
        self.shared.ledger.close();
        self.shared.closing.cancel();
    }

    /// Waits until the kernel stops, and says why: it was closed (NOT_CONFIGURED), or it has to be opened again since nobody
    /// knows what of the newest records is on the disk. One that could only be verified from the start never stops.
    #[must_use]
    pub fn wait_until_stopped(&self) -> Failure {
        self.shared.ledger.wait_until_stopped()
    }

    /// Has the kernel count a request that did not get as far as the kernel, if there is room to record that.
    pub(crate) fn turn_away(&self, session: Option<SessionId>) {
        if self.shared.ledger.has_room_to_turn_away() {
            self.feed(|kernel, now| kernel.turn_away(&now, session));
        }
    }

    /// Begins to keep a snapshot of the state beside whatever comes, from which the kernel starts next time.
    pub(crate) fn keep_snapshot(&self) {
        self.shared.ledger.snapshots.take_one();
    }

    /// Completes what was under way when the kernel last stopped: an erasure is brought to its end; of anything else nobody
    /// knows whether it happened.
    ///
    /// # Errors
    /// When an erasure cannot be brought to its end.
    pub(crate) fn settle_unknown(&self) -> Result<(), Failure> {
        let (unfinished, tickets) = {
            let state = self.state()?;
            (state.kernel.unfinished(), state.kernel.tickets())
        };
        for (ticket, effect) in &unfinished {
            if let Effect::Log(LogWork::Erase { subject, objects, entries }) = effect {
                let done = self.erase(*subject, *objects, *entries)?;
                self.finish(*ticket, Completion::Value(done), Place::Caller);
            }
        }
        for ticket in tickets.into_iter().filter(|ticket| unfinished.iter().all(|(done, _)| done != ticket)) {
            self.finish(ticket, Completion::Unknown, Place::Caller);
        }
        Ok(())
    }

    /// Makes what is about a subject unreadable for good.
    fn erase(&self, subject: SubjectId, objects: u64, entries: Option<u64>) -> Result<Value, Failure> {
        // Nothing of it is to stay in memory; to free it takes long where it is much, and keeps nobody waiting here.
        let waste = self.state().map(|mut state| state.kernel.take_waste())?;
        drop(waste);
        self.shared.ledger.keep_snapshot(Some(subject))?;
        Ok(erased(subject, objects, entries))
    }

    /// Everything recorded so far, as [`ak_kernel::Replay`] takes it.
    pub fn records(&self) -> Result<Vec<Record>, Failure> {
        let take = |records: &mut Vec<Record>, record, _: Option<&_>| {
            records.push(record);
            Ok(())
        };
        self.shared.ledger.read(|_| Vec::new(), take)
    }

    fn state(&self) -> Result<FairGuard<'_, State>, Failure> {
        self.shared.ledger.state()
    }

    /// Hands the end of an effect to the kernel.
    fn finish(&self, ticket: Ticket, completion: Completion, place: Place) {
        // What came may be long, and is searched for secrets and digested here.
        place.hold_up(|| {
            let ended = Ended::from(self.shared.config.filter.completion(completion)).prepared();
            self.feed(|kernel, now| kernel.complete(now, ticket, ended));
        });
    }

    fn feed(&self, input: impl FnOnce(&mut Kernel, ak_kernel::Now)) {
        self.shared.ledger.feed(input);
    }
}

fn opened(reply: Reply) -> Result<SessionId, Failure> {
    match reply {
        Reply::Session(session) => Ok(session),
        other => Err(Failure::new(Code::Io, format!("the kernel opened no session but gave {other:?}"))),
    }
}
