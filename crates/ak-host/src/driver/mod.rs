//! The run loop around one kernel: persist, commit, perform, complete.
//!
//! A call dispatches on its own thread and sees to it that its records become durable. Its effect waits on the runtime of the
//! process: driven by the caller's thread where that waits for nothing else, as a task where nobody's thread waits.

pub(crate) mod context;
pub(crate) mod group_commit;
pub(crate) mod scrub;
pub(crate) mod snapshots;

use std::{pin::pin, sync::Arc, time::Instant};

use ak_json::{Text, Value};
use ak_kernel::{
    Asked, Code, Completion, Effect, Ended, Failure, FileAction, GUEST, Kernel, LogWork, Outcome, Price,
    Record, Reply, Request, SessionId, Step, SubjectId, Ticket, ToolRequest, Verdict, erased,
};
use ak_policy::Policy;
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, unbounded_channel},
    oneshot,
};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{self, Answer, Patience, Place, Sink},
    connection::policy_files::Elsewhere,
    driver::context::Asker,
    driver::group_commit::{Event, Ledger, Pending, State},
    effects::http::{self, HttpJob},
    effects::infer::routes::Routes,
    effects::infer::{self, Around, InferJob},
    effects::tools::ToolJob,
    fair_mutex::FairGuard,
    fork::{Origin, Own},
    fs::Files,
    net::Net,
    runtime::{Home, Work, drive},
    secrets::redact::Filter,
    secrets::store::Secrets,
    storage::log::Log,
    storage::verify::{self, Signer},
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
    /// What signs checkpoints of the log.
    pub(crate) signer: Signer,
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

/// A request that the kernel has heard, and what it says of it. Dropped before its end, the request is given up: what was set
/// aside for it is free again.
struct Call {
    driver: Driver,
    receiver: UnboundedReceiver<Event>,
    /// What was received and not dealt with yet.
    next: Option<Event>,
    loads_policy: bool,
    has_ended: bool,
}

impl Call {
    fn new(driver: &Driver, receiver: UnboundedReceiver<Event>) -> Call {
        Call { driver: driver.clone(), receiver, next: None, loads_policy: false, has_ended: false }
    }

    /// The outcome, where there is one already.
    fn at_once(&mut self) -> Option<Outcome> {
        match self.next.take().or_else(|| self.receiver.try_recv().ok()) {
            Some(Event::Ended(outcome)) => Some(self.end(outcome)),
            other => {
                self.next = other;
                None
            }
        }
    }

    /// Waits for the outcome, and performs the effect that leads to it.
    async fn outcome(&mut self, patience: &mut Patience<'_>) -> Outcome {
        loop {
            let event = match self.next.take() {
                None => self.receiver.recv().await,
                some => some,
            };
            match event {
                Some(Event::Lead) => patience.place.hold_up(|| self.driver.shared.ledger.lead()),
                Some(Event::Perform(ticket, effect, due)) => {
                    let driver = self.driver.clone();
                    // What a tool asks for is performed within what it performs: a future of unknown depth.
                    Box::pin(driver.perform(ticket, effect, due, patience)).await;
                }
                Some(Event::Ended(outcome)) => return self.end(outcome),
                None => {
                    let gone = Failure::new(Code::UnknownOutcome, "the effect's driver is gone");
                    return self.end(Err(gone));
                }
            }
        }
    }

    fn end(&mut self, outcome: Outcome) -> Outcome {
        self.has_ended = true;
        if outcome.is_ok() && self.loads_policy {
            self.driver.adopt_roots();
        }
        outcome
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.has_ended || !self.driver.shared.origin().is_here() {
            return;
        }
        // Its effect may not have begun, and others may count on it to lead.
        let receiver = std::mem::replace(&mut self.receiver, unbounded_channel().1);
        let mut left = Call::new(&self.driver, receiver);
        (left.next, left.loads_policy) = (self.next.take(), self.loads_policy);
        if let Ok(home) = Home::get() {
            home.spawn(async move { left.outcome(&mut Patience::none()).await });
        }
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
    fn begin(&self, session: SessionId, asked: Asked, place: Place) -> Result<Call, Failure> {
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
        let mut call = Call::new(self, receiver);
        call.loads_policy = loads_policy;
        let pending = Pending::Request(session, &asked);
        let entered = self.hold_up(place, || self.shared.ledger.enter(&pending, sender, place));
        if let Err(failure) = entered {
            call.has_ended = true;
            // A log that was found damaged, or may not be written, can still be verified; nothing else is possible.
            let Request::AuditVerify { key, anchor } = asked.request() else { return Err(failure) };
            if session != SessionId::OWNER {
                return Err(failure);
            }
            let signer = &self.shared.config.signer;
            let verified =
                verify::verify_only(&self.shared.ledger, signer, key.as_deref(), anchor.as_deref())?;
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

    /// Keeps every agent away from the files of a policy that is loaded.
    pub(crate) fn place_policy(&self, request: &mut Request, is_owners: bool) -> Result<Elsewhere, Failure> {
        Elsewhere::of(request, is_owners, &self.shared.config.files.protected)
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

    /// Puts what a running tool asks for to the kernel, and performs what comes of it.
    ///
    /// # Errors
    /// As for [`Ledger::enter`].
    pub(crate) async fn ask_for(
        &self,
        ticket: Ticket,
        request: &ToolRequest,
        patience: &mut Patience<'_>,
    ) -> Result<Outcome, Failure> {
        let (sender, receiver) = unbounded_channel();
        let mut call = Call::new(self, receiver);
        let pending = Pending::HostCall(ticket, request);
        let place = patience.place;
        if let Err(failure) = self.hold_up(place, || self.shared.ledger.enter(&pending, sender, place)) {
            call.has_ended = true;
            return Err(failure);
        }
        Ok(call.outcome(patience).await)
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

    /// Performs an effect, and tells the kernel how it ended.
    async fn perform(
        self,
        ticket: Ticket,
        effect: Effect,
        due: Option<Instant>,
        patience: &mut Patience<'_>,
    ) {
        let home = match Home::get() {
            Ok(home) => home,
            Err(error) => {
                let failure = call::no_runtime(&error);
                let completion = Completion::failed(failure.code, failure.message);
                return self.finish(ticket, completion, patience.place);
            }
        };
        // Whatever becomes of it, it ends.
        let ending = Ending { driver: &self, ticket, place: patience.place };
        let work = home.within(self.carry_out(home, ticket, effect, due, patience));
        let done = self.shared.closing.run_until_cancelled(work).await;
        ending.end(done.unwrap_or(Completion::Unknown));
    }

    async fn carry_out(
        &self,
        home: &Home,
        ticket: Ticket,
        effect: Effect,
        agent_due: Option<Instant>,
        patience: &mut Patience<'_>,
    ) -> Completion {
        let HostConfig { net, secrets, filter, routes, .. } = &self.shared.config;
        match effect {
            Effect::File { root, path, action, follows_links } => {
                let driver = self.clone();
                let work = move || driver.file(ticket, &root, path.as_str(), &action, follows_links);
                self.elsewhere(home, Work::File, work, patience).await
            }
            Effect::Log(work) => {
                let driver = self.clone();
                let verifies = matches!(work, LogWork::Verify { .. });
                let kind = if verifies { Work::Verification } else { Work::Log };
                self.elsewhere(home, kind, move || driver.log_work(work), patience).await
            }
            Effect::RunTool { tool, env, input, limits } => {
                let job = ToolJob { tool, env, input, limits, agent_due };
                self.run_tool(home, ticket, &job, patience).await
            }
            Effect::Http { hop, response_bytes_max, timeout_ms } => {
                let job = HttpJob { hop, response_bytes_max, timeout_ms };
                let asker = self.asker(ticket, agent_due, patience);
                let done = http::perform(job, &http::Around { net, secrets, filter }, &asker).await;
                self.look_at_time(agent_due);
                done
            }
            Effect::Infer { model, request, stream, response_bytes_max } => match routes.find(&model) {
                None => Completion::failed(Code::NotConfigured, routes.why_not(&model)),
                Some(route) => {
                    let job = InferJob { request, stream, response_bytes_max };
                    let asker = self.asker(ticket, agent_due, patience);
                    let done = infer::perform(&route, job, &Around { net, filter, asker: &asker }).await;
                    self.look_at_time(agent_due);
                    done
                }
            },
        }
    }

    /// What performs an effect that waits for others: until its agent's wall time is over, or the patience of whoever asked.
    fn asker<'p, 's: 'p>(
        &'p self,
        ticket: Ticket,
        agent_due: Option<Instant>,
        patience: &mut Patience<'s>,
    ) -> Asker<'p> {
        Asker {
            driver: self,
            ticket,
            sink: tokio::sync::Mutex::new(std::mem::replace(&mut patience.sink, Sink::Nobody)),
            stop: patience.stop.clone(),
            due: patience.due.into_iter().chain(agent_due).min(),
            place: patience.place,
        }
    }

    /// Where the wall time of an agent is over, the kernel should see it.
    fn look_at_time(&self, agent_due: Option<Instant>) {
        if agent_due.is_some_and(|due| Instant::now() >= due) {
            self.tick();
        }
    }

    /// Does what holds a thread: on the caller's own where that waits for nothing else. Of what is given up, or died, nobody knows
    /// what it did.
    async fn elsewhere(
        &self,
        home: &Home,
        kind: Work,
        work: impl FnOnce() -> Completion + Send + 'static,
        patience: &mut Patience<'_>,
    ) -> Completion {
        match patience.place {
            Place::Caller => work(),
            Place::Watched | Place::Task => {
                let done = patience.stop.run_until_cancelled(home.elsewhere(kind, work)).await;
                done.flatten().unwrap_or(Completion::Unknown)
            }
        }
    }

    fn file(
        &self,
        ticket: Ticket,
        root: &str,
        path: &str,
        action: &FileAction,
        follows_links: bool,
    ) -> Completion {
        // Whoever reads files on this thread waits on it for the kernel too.
        let ask = |path: &str| {
            let verdict = self.put(ticket, Step::Link { path: path.into() }, Place::Caller);
            drive(pin!(verdict), None).unwrap_or_else(stopped)
        };
        self.shared.config.files.perform(root, path, action, follows_links.then_some(&ask))
    }

    fn log_work(&self, work: LogWork) -> Completion {
        let done = match work {
            // Where it got as far as the log and failed, the kernel has stopped and said so to whoever waits.
            LogWork::Erase { subject, objects, entries } => self.erase(subject, objects, entries),
            work => verify::perform(&self.shared.ledger, &self.shared.config.signer, work),
        };
        match done {
            Ok(done) => Completion::Value(done),
            Err(failure) => Completion::failed(failure.code, failure.message),
        }
    }

    /// Puts a step of an effect to the kernel. Without an answer the effect stops.
    pub(crate) async fn put(&self, ticket: Ticket, step: Step, place: Place) -> Verdict {
        let (sender, receiver) = oneshot::channel();
        self.hold_up(place, || self.shared.ledger.step(ticket, step, sender));
        receiver.await.unwrap_or_else(|_| stopped())
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

    /// Does what may have to write to the log.
    fn hold_up<T>(&self, place: Place, work: impl FnOnce() -> T) -> T {
        if self.shared.ledger.is_in_memory() { work() } else { place.hold_up(work) }
    }
}

fn opened(reply: Reply) -> Result<SessionId, Failure> {
    match reply {
        Reply::Session(session) => Ok(session),
        other => Err(Failure::new(Code::Io, format!("the kernel opened no session but gave {other:?}"))),
    }
}

fn stopped() -> Verdict {
    Verdict::Abort(Failure::new(Code::Io, "the kernel is stopped"))
}

/// The end of an effect under way. One that dies, or is dropped, ends too: nobody knows what it did.
struct Ending<'d> {
    driver: &'d Driver,
    ticket: Ticket,
    place: Place,
}

impl Ending<'_> {
    fn end(self, completion: Completion) {
        let (driver, ticket, place) = (self.driver, self.ticket, self.place);
        std::mem::forget(self);
        driver.finish(ticket, completion, place);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // Wherever it is dropped, that is no place to wait in.
        self.driver.finish(self.ticket, Completion::Unknown, Place::Caller);
    }
}
