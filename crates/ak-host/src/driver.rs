//! The run loop around one kernel: persist, commit, perform, complete.
//!
//! A call dispatches on its own thread, sees to it that its records become durable, and performs its own effects.

use std::sync::{
    Arc, OnceLock,
    mpsc::{Receiver, Sender, channel},
};
use std::{cell::RefCell, time::Instant};

use ak_json::{Text, Value};
use ak_kernel::{
    Asked, Code, Completion, Effect, Ended, Failure, GUEST, Kernel, LogWork, Outcome, Price, Record, Reply,
    Request, SessionId, Step, SubjectId, Ticket, ToolRequest, Verdict, erased,
};
use ak_policy::Policy;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    attest::{self, Signer},
    commit::{Event, Ledger, Pending, State, Turn},
    files::Files,
    http::{self, HttpJob},
    infer::{self, Around, InferJob},
    log::Log,
    net::Net,
    redact::Filter,
    routes::Routes,
    secrets::Secrets,
    tools::ToolJob,
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
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Arc<Ledger>,
    config: HostConfig,
    runtime: OnceLock<Runtime>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.ledger.scrubber.give_up();
        self.ledger.snapshots.give_up();
        // Connections that are kept for later need not be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
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
        let shared = Shared { ledger, config, runtime: OnceLock::new() };
        let driver = Driver { shared: Arc::new(shared) };
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
        let asked =
            asked.into().priced(|model| self.price(model)).with_env(&self.shared.config.env).prepared();
        if let Err(failure) = asked.check_size() {
            self.turn_away(Some(session));
            return Err(failure);
        }
        // Whoever loads a policy lets go of the one before, outside the lock: that takes long where it was long.
        let _former = matches!(asked.request(), Request::PolicyLoad { .. }).then(|| self.policy());
        let (sender, receiver) = channel();
        let admitted = self.shared.ledger.enter(&Pending::Request(session, &asked), sender);
        if let Err(failure) = admitted {
            // A log that was found damaged can still be verified; nothing else is possible.
            return match asked.request() {
                Request::AuditVerify { .. }
                    if failure.code == Code::LogCorrupt && session == SessionId::OWNER =>
                {
                    Ok(Reply::Value(self.shared.ledger.log()?.verdict()))
                }
                _ => Err(failure),
            };
        }
        let outcome = self.wait(&receiver, &mut Patience { on_chunk, stop, due: None });
        if outcome.is_ok() && matches!(asked.request(), Request::PolicyLoad { .. }) {
            self.adopt_roots();
        }
        outcome
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

    /// Where models are asked, as a list of objects: `match`, `origin`, `format`, and `circuit`, which is `closed`, or
    /// `open` while a server that failed too often is left alone, or `trying` while one request sees whether it is back.
    pub fn models(&self) -> ak_json::Value {
        self.shared.config.routes.to_value()
    }

    /// What the tokens of a model cost.
    pub(crate) fn price(&self, model: &str) -> Option<Price> {
        self.shared.config.routes.find(model)?.price.clone()
    }

    /// Waits for the outcome, and performs the effect that leads to it on this thread.
    pub(crate) fn wait(&self, receiver: &Receiver<Event>, patience: &mut Patience<'_>) -> Outcome {
        loop {
            match receiver.recv() {
                Ok(Event::Lead) => self.shared.ledger.lead(),
                Ok(Event::Perform(ticket, effect, due)) => self.perform(ticket, effect, due, patience),
                Ok(Event::Ended(outcome)) => return outcome,
                Err(_) => {
                    return Err(Failure::new(Code::UnknownOutcome, "the effect's driver is gone"));
                }
            }
        }
    }

    /// Puts what a running tool asks for to the kernel.
    ///
    /// # Errors
    /// As for [`Ledger::enter`].
    pub(crate) fn ask_for(
        &self,
        ticket: Ticket,
        request: &ToolRequest,
        sender: Sender<Event>,
    ) -> Result<(), Failure> {
        self.shared.ledger.enter(&Pending::HostCall(ticket, request), sender)
    }

    /// Has the kernel see what time it is.
    pub(crate) fn tick(&self) {
        self.feed(|kernel, now| kernel.handle_timeout(now));
    }

    /// Opens a session for an agent, if `session` may.
    pub(crate) fn open_agent(&self, session: SessionId, name: &str) -> Result<SessionId, Failure> {
        match self.call(session, Request::SessionOpen { agent: name.into() })? {
            Reply::Session(session) => Ok(session),
            other => Err(Failure::new(Code::Io, format!("the kernel opened no session but gave {other:?}"))),
        }
    }

    /// Opens a session for a new guest.
    pub(crate) fn open_guest(&self) -> Result<SessionId, Failure> {
        self.open_agent(SessionId::GUESTS, GUEST)
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

    /// Ends the kernel: later calls fail. What is under way is not waited for.
    pub fn close(&self) {
        // Without it the next start takes longer, and nothing else.
        let _ = self.shared.ledger.keep_last_snapshot();
        self.shared.ledger.close();
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
                self.finish(*ticket, Completion::Value(done));
            }
        }
        for ticket in tickets.into_iter().filter(|ticket| unfinished.iter().all(|(done, _)| done != ticket)) {
            self.finish(ticket, Completion::Unknown);
        }
        Ok(())
    }

    /// Makes what is about a subject unreadable for good.
    fn erase(&self, subject: SubjectId, objects: u64, entries: Option<u64>) -> Result<Value, Failure> {
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

    fn state(&self) -> Result<Turn<'_, State>, Failure> {
        self.shared.ledger.state()
    }

    /// Performs an effect, and tells the kernel how it ended.
    fn perform(&self, ticket: Ticket, effect: Effect, due: Option<Instant>, patience: &mut Patience<'_>) {
        let agent_due = due;
        // Whatever becomes of it, it ends.
        let ending = Ending { driver: self, ticket };
        let HostConfig { net, secrets, filter, files, routes, signer, .. } = &self.shared.config;
        let completion = match effect {
            Effect::File { root, path, action, follows_links } => {
                let ask = |path: &str| self.put(ticket, Step::Link { path: path.into() });
                files.perform(&root, path.as_str(), &action, follows_links.then_some(&ask))
            }
            Effect::RunTool { tool, env, input, limits } => {
                self.run_tool(ticket, &ToolJob { tool, env, input, limits, agent_due }, patience)
            }
            Effect::Log(LogWork::Erase { subject, objects, entries }) => {
                match self.erase(subject, objects, entries) {
                    Ok(done) => Completion::Value(done),
                    // Where it got as far as the log, the kernel has stopped and said so to whoever waits.
                    Err(failure) => Completion::failed(failure.code, failure.message),
                }
            }
            Effect::Log(work) => match attest::perform(&self.shared.ledger, signer, work) {
                Ok(done) => Completion::Value(done),
                Err(failure) => Completion::failed(failure.code, failure.message),
            },
            Effect::Http { hop, response_bytes_max, timeout_ms } => {
                let job = HttpJob { hop, response_bytes_max, timeout_ms };
                self.carry_out(ticket, agent_due, patience, async |asker| {
                    http::perform(job, &http::Around { net, secrets, filter }, &asker).await
                })
            }
            Effect::Infer { model, request, stream, response_bytes_max } => match routes.find(&model) {
                None => Completion::failed(Code::NotConfigured, routes.why_not(&model)),
                Some(route) => {
                    let job = InferJob { request, stream, response_bytes_max };
                    self.carry_out(ticket, agent_due, patience, async |asker| {
                        infer::perform(&route, job, &Around { net, filter, asker: &asker }).await
                    })
                }
            },
        };
        ending.end(completion);
    }

    /// Performs an effect that waits for others: until its agent's wall time is over, or the patience of whoever asked.
    fn carry_out<'p>(
        &'p self,
        ticket: Ticket,
        agent_due: Option<Instant>,
        patience: &'p mut Patience<'_>,
        work: impl AsyncFnOnce(Asker<'p>) -> Completion + Send,
    ) -> Completion {
        let runtime = match self.runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Completion::failed(Code::Io, format!("no runtime: {error}")),
        };
        let due = patience.due.into_iter().chain(agent_due).min();
        let (stop, on_chunk) = (patience.stop.clone(), RefCell::new(&mut *patience.on_chunk));
        let asker = Asker { driver: self, ticket, on_chunk, stop, due };
        let perform = || runtime.block_on(work(asker));
        let ended = match tokio::runtime::Handle::try_current() {
            Err(_) => Some(perform()),
            // A thread that drives somebody's runtime cannot drive this one too.
            Ok(_) => std::thread::scope(|scope| scope.spawn(perform).join()).ok(),
        };
        if agent_due.is_some_and(|due| Instant::now() >= due) {
            self.tick();
        }
        // Of what died on its way nobody knows what it did.
        ended.unwrap_or(Completion::Unknown)
    }

    fn runtime(&self) -> std::io::Result<&Runtime> {
        if let Some(runtime) = self.shared.runtime.get() {
            return Ok(runtime);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(self.shared.runtime.get_or_init(|| runtime))
    }

    /// Puts a step of an effect to the kernel. Without an answer the effect stops.
    fn put(&self, ticket: Ticket, step: Step) -> Verdict {
        let (sender, receiver) = channel();
        match self.state() {
            Ok(mut state) => state.expect(ticket, sender),
            Err(failure) => return Verdict::Abort(failure),
        }
        self.feed(|kernel, now| kernel.progress(now, ticket, step));
        receiver.recv().unwrap_or_else(|_| Verdict::Abort(Failure::new(Code::Io, "the kernel is stopped")))
    }

    /// Hands the end of an effect to the kernel.
    fn finish(&self, ticket: Ticket, completion: Completion) {
        let ended = Ended::from(self.shared.config.filter.completion(completion)).prepared();
        self.feed(|kernel, now| kernel.complete(now, ticket, ended));
    }

    fn feed(&self, input: impl FnOnce(&mut Kernel, ak_kernel::Now)) {
        self.shared.ledger.feed(input);
    }
}

/// How long whoever asked for an effect waits for it, and what is done with what comes of it meanwhile.
pub(crate) struct Patience<'p> {
    /// Takes the pieces of a streamed answer; gives false when it wants no more.
    pub(crate) on_chunk: &'p mut (dyn FnMut(&str) -> bool + Send),
    /// Says that nobody waits any more.
    pub(crate) stop: &'p CancellationToken,
    /// When the waiting is over, if ever.
    pub(crate) due: Option<Instant>,
}

/// The end of an effect under way. One whose thread dies ends too: nobody knows what it did.
struct Ending<'d> {
    driver: &'d Driver,
    ticket: Ticket,
}

impl Ending<'_> {
    fn end(self, completion: Completion) {
        let (driver, ticket) = (self.driver, self.ticket);
        std::mem::forget(self);
        driver.finish(ticket, completion);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.driver.finish(self.ticket, Completion::Unknown);
    }
}

/// Through this an effect under way asks the kernel what it may do next.
pub(crate) struct Asker<'p> {
    driver: &'p Driver,
    ticket: Ticket,
    on_chunk: RefCell<&'p mut (dyn FnMut(&str) -> bool + Send)>,
    stop: CancellationToken,
    due: Option<Instant>,
}

impl Asker<'_> {
    /// Does the work as long as somebody waits for it; none when it is given up.
    pub(crate) async fn while_wanted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let work = self.stop.run_until_cancelled(work);
        match self.due {
            None => work.await,
            Some(due) => tokio::time::timeout_at(due.into(), work).await.ok().flatten(),
        }
    }

    /// Puts a step to the kernel. Without an answer the effect stops.
    pub(crate) fn ask(&self, step: Step) -> Verdict {
        self.driver.put(self.ticket, step)
    }

    /// Hands a piece of the answer to the caller; false when the caller wants no more.
    ///
    /// Work that always has something at hand gives [`Self::while_wanted`] no turn to look: it is done here too.
    pub(crate) fn deliver(&self, chunk: &str) -> bool {
        // The caller's own code may do anything, even drive a runtime of its own.
        let wants_more = tokio::task::block_in_place(|| (self.on_chunk.borrow_mut())(chunk));
        wants_more && !self.stop.is_cancelled() && self.due.is_none_or(|due| Instant::now() < due)
    }
}
