//! The run loop around one kernel: persist, commit, perform, complete.
//!
//! A call dispatches on its own thread, sees to it that its records become durable, and performs its own effects.

use std::sync::{
    Arc, MutexGuard, OnceLock,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, RecvTimeoutError, Sender, channel},
};
use std::time::Instant;

use ak_json::{Text, Value, object};
use ak_kernel::{
    Asked, Code, Completion, Effect, Failure, Kernel, LogWork, Outcome, Price, Record, Reply, Request,
    Session, Step, SubjectId, Ticket, Time, ToolRequest, Verdict,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    attest::{self, Signer},
    clock,
    commit::{Event, Ledger, Pending, State},
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
    ledger: Ledger,
    config: HostConfig,
    runtime: OnceLock<Runtime>,
    /// How many entries there were when the newest snapshot was kept.
    snapshot_at: AtomicU64,
}

/// A snapshot is kept when a kernel is opened or closed, if it spares the next start so many entries.
pub const SNAPSHOT_ENTRIES: u64 = 10_000;

impl Drop for Shared {
    fn drop(&mut self) {
        // The last clone may be dropped by one of the runtime's own threads, which must not wait for itself.
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
        let snapshot_at = AtomicU64::new(kernel.entries().saturating_sub(unsaved));
        let ledger = Ledger::new(kernel, log);
        // A new kernel's genesis is durable before anything else happens.
        ledger.commit();
        let shared = Shared { ledger, config, runtime: OnceLock::new(), snapshot_at };
        let driver = Driver { shared: Arc::new(shared) };
        driver.adopt_roots();
        driver
    }

    /// Makes a request and waits for its outcome.
    pub fn call(&self, session: Session, request: Request) -> Outcome {
        self.call_streaming(session, request, &mut |_| true, &CancellationToken::new())
    }

    /// Makes a request and waits for its outcome; pieces of a streamed answer are handed over as they come.
    ///
    /// When `on_chunk` gives false a stream is stopped at its next piece. Once `stop` is cancelled whatever is under way is
    /// given up: nobody knows then whether it happened.
    pub fn call_streaming(
        &self,
        session: Session,
        asked: impl Into<Asked>,
        on_chunk: &mut dyn FnMut(&str) -> bool,
        stop: &CancellationToken,
    ) -> Outcome {
        let asked = asked.into().priced(|model| self.price(model)).with_env(&self.shared.config.env);
        let (sender, receiver) = channel();
        let admitted = self.shared.ledger.enter(&Pending::Request(session, &asked), sender);
        if let Err(failure) = admitted {
            // That somebody was turned away may have been recorded.
            self.shared.ledger.commit();
            // A log that was found damaged can still be verified; nothing else is possible.
            return match asked.request() {
                Request::AuditVerify { .. } if failure.code == Code::LogCorrupt && session.is_owner() => {
                    Ok(Reply::Value(self.shared.ledger.log()?.verdict()))
                }
                _ => Err(failure),
            };
        }
        self.shared.ledger.commit();
        let outcome = self.wait(&receiver, on_chunk, stop);
        if outcome.is_ok() && matches!(asked.request(), Request::PolicyLoad { .. }) {
            self.adopt_roots();
        }
        outcome
    }

    /// Resolves the roots that the policy in force grants.
    fn adopt_roots(&self) {
        if let Ok(state) = self.state() {
            self.shared.config.files.roots.adopt(state.kernel.granted_roots());
        }
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
        self.shared.config.routes.find(model)?.price
    }

    /// Waits for the outcome, and performs the effects that lead to it.
    fn wait(
        &self,
        receiver: &Receiver<Event>,
        on_chunk: &mut dyn FnMut(&str) -> bool,
        stop: &CancellationToken,
    ) -> Outcome {
        loop {
            match receiver.recv() {
                Ok(Event::Chunk(chunk)) => {
                    if !on_chunk(&chunk) {
                        return Err(Failure::new(Code::UnknownOutcome, "the caller stopped the stream"));
                    }
                }
                Ok(event) => {
                    if let Some(outcome) = self.follow(event, stop) {
                        return outcome;
                    }
                }
                Err(_) => return Err(driver_gone()),
            }
        }
    }

    /// Waits for the outcome of what no chunks come of. What is under way when the time is over is given up.
    pub(crate) fn wait_until(
        &self,
        receiver: &Receiver<Event>,
        due: Instant,
        stop: &CancellationToken,
    ) -> Outcome {
        loop {
            let event = match receiver.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    stop.cancel();
                    match receiver.recv() {
                        Ok(event) => event,
                        Err(_) => return Err(driver_gone()),
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(driver_gone()),
            };
            if let Some(outcome) = self.follow(event, stop) {
                return outcome;
            }
        }
    }

    /// Does what an event asks for; gives the outcome when this is it.
    fn follow(&self, event: Event, stop: &CancellationToken) -> Option<Outcome> {
        match event {
            Event::Lead => self.shared.ledger.lead(),
            Event::Perform(ticket, effect, sender) => self.perform(ticket, effect, sender, stop),
            // Nobody takes it here.
            Event::Chunk(_) => {}
            Event::Ended(outcome) => return Some(outcome),
        }
        None
    }

    /// Puts what a running tool asks for to the kernel.
    ///
    /// # Errors
    /// As for [`Ledger::enter`].
    pub(crate) fn ask_for(
        &self,
        ticket: Ticket,
        request: ToolRequest,
        sender: Sender<Event>,
    ) -> Result<(), Failure> {
        self.shared.ledger.enter(&Pending::HostCall(ticket, &request), sender)?;
        self.shared.ledger.commit();
        Ok(())
    }

    /// When the wall time of the agent is over that an effect is for.
    pub(crate) fn deadline(&self, ticket: Ticket) -> Option<Time> {
        self.state().ok()?.kernel.deadline_of(ticket)
    }

    /// Has the kernel see what time it is.
    pub(crate) fn tick(&self) {
        self.feed(|kernel, now| kernel.handle_timeout(now));
    }

    /// Opens a session for an agent, if `session` may.
    pub(crate) fn open_agent(&self, session: Session, name: &str) -> Result<Session, Failure> {
        match self.call(session, Request::SessionOpen { agent: name.into() })? {
            Reply::Session(session) => Ok(session),
            other => Err(Failure::new(Code::Io, format!("the kernel opened no session but gave {other:?}"))),
        }
    }

    /// Ends the kernel: later calls fail. What is under way is not waited for.
    pub fn close(&self) {
        if self.entries().is_some_and(|entries| {
            entries.saturating_sub(self.shared.snapshot_at.load(Ordering::Relaxed)) >= SNAPSHOT_ENTRIES
        }) {
            // Without it the next start takes longer, and nothing else.
            let _ = self.keep_snapshot();
        }
        self.shared.ledger.close();
    }

    /// Has the kernel count a request that did not get as far as the kernel, if there is room to record that.
    pub(crate) fn turn_away(&self, session: Option<Session>) {
        if self.shared.ledger.has_room_to_turn_away() {
            self.feed(|kernel, now| kernel.turn_away(&now, session));
        }
    }

    /// How many entries there are, where they are kept on a disk.
    fn entries(&self) -> Option<u64> {
        let durable = self.shared.ledger.log().is_ok_and(|log| log.is_durable());
        let state = self.state().ok().filter(|state| durable && state.stopped.is_none())?;
        Some(state.kernel.entries())
    }

    /// Keeps a snapshot of the state, from which the kernel starts next time.
    ///
    /// # Errors
    /// When the disk fails or is full; the kernel goes on without.
    pub(crate) fn keep_snapshot(&self) -> Result<(), Failure> {
        self.shared.ledger.keep_snapshot(None)?;
        let entries = self.state()?.kernel.entries();
        self.shared.snapshot_at.store(entries, Ordering::Relaxed);
        Ok(())
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
            if let Effect::Log(LogWork::Erase { subject, objects }) = effect {
                let done = self.erase(*subject, *objects)?;
                self.finish(*ticket, Completion::Value(done));
            }
        }
        for ticket in tickets.into_iter().filter(|ticket| unfinished.iter().all(|(done, _)| done != ticket)) {
            self.finish(ticket, Completion::Unknown);
        }
        Ok(())
    }

    /// Makes what is about a subject unreadable for good.
    fn erase(&self, subject: SubjectId, objects: u64) -> Result<Value, Failure> {
        self.shared.ledger.keep_snapshot(Some(subject))?;
        Ok(object! { "objects": objects })
    }

    /// Everything recorded so far, as [`ak_kernel::Replay`] takes it.
    pub fn records(&self) -> Result<Vec<Record>, Failure> {
        self.shared.ledger.log()?.records()
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, Failure> {
        self.shared.ledger.state()
    }

    /// Starts an effect: what waits for others goes to the runtime, the rest is done on this thread.
    fn perform(&self, ticket: Ticket, effect: Effect, sender: Sender<Event>, stop: &CancellationToken) {
        let asker = Asker { driver: self.clone(), ticket, sender };
        match effect {
            Effect::File { root, path, action } => {
                let completion = self.shared.config.files.perform(&root, path.as_str(), &action);
                self.finish(ticket, completion);
            }
            Effect::RunTool { tool, env, input, limits } => {
                let job = ToolJob { tool, env, input, limits };
                self.finish(ticket, self.run_tool(ticket, &job, stop));
            }
            Effect::Log(LogWork::Erase { subject, objects }) => {
                // Where it fails, the kernel has stopped, and said so to whoever waits.
                if let Ok(done) = self.erase(subject, objects) {
                    self.finish(ticket, Completion::Value(done));
                }
            }
            Effect::Log(work) => {
                let done = attest::perform(|| self.shared.ledger.log(), &self.shared.config.signer, work);
                let failed = |failure: Failure| Completion::failed(failure.code, failure.message);
                self.finish(ticket, done.map_or_else(failed, Completion::Value));
            }
            Effect::Http { method, url, headers, body, response_bytes_max, timeout_ms } => {
                let job = HttpJob { method, url, headers, body, response_bytes_max, timeout_ms };
                let shared = self.shared.clone();
                self.spawn(ticket, stop, async move {
                    http::perform(job, &shared.config.net, &shared.config.secrets, &asker).await
                });
            }
            Effect::Infer { model, request, stream, response_bytes_max } => {
                let Some(route) = self.shared.config.routes.find(&model) else {
                    let message = self.shared.config.routes.why_not(&model);
                    return self.finish(ticket, Completion::failed(Code::NotConfigured, message));
                };
                let (shared, job) = (self.shared.clone(), InferJob { request, stream, response_bytes_max });
                self.spawn(ticket, stop, async move {
                    let HostConfig { net, filter, .. } = &shared.config;
                    infer::perform(&route, job, &Around { net, filter, asker: &asker }).await
                });
            }
        }
    }

    /// Performs an effect on the runtime, until its agent's wall time is over or nobody waits for it any more.
    fn spawn(
        &self,
        ticket: Ticket,
        stop: &CancellationToken,
        work: impl Future<Output = Completion> + Send + 'static,
    ) {
        let due = self.deadline(ticket);
        let (driver, stop) = (self.clone(), stop.clone());
        let bounded = async move {
            let work = stop.run_until_cancelled(work);
            let ended = match due.map(clock::until) {
                None => work.await,
                Some(left) => tokio::time::timeout(left, work).await.unwrap_or_else(|_| {
                    driver.tick();
                    None
                }),
            };
            // What was cut short may have happened.
            ended.unwrap_or(Completion::Unknown)
        };
        match self.runtime() {
            Ok(runtime) => {
                let mut ending = Ending { driver: self.clone(), ticket, ended: false };
                runtime.spawn(async move { ending.end(bounded.await) });
            }
            Err(error) => self.finish(ticket, Completion::failed(Code::Io, format!("no runtime: {error}"))),
        }
    }

    fn runtime(&self) -> std::io::Result<&Runtime> {
        if let Some(runtime) = self.shared.runtime.get() {
            return Ok(runtime);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(self.shared.runtime.get_or_init(|| runtime))
    }

    /// Hands the end of an effect to the kernel.
    fn finish(&self, ticket: Ticket, completion: Completion) {
        let completion = self.shared.config.filter.completion(completion);
        self.feed(|kernel, now| kernel.complete(now, ticket, completion));
    }

    fn feed(&self, input: impl FnOnce(&mut Kernel, ak_kernel::Now)) {
        let Ok(mut state) = self.state() else { return };
        match clock::now() {
            Ok(now) if state.stopped.is_none() => input(&mut state.kernel, now),
            Ok(_) => return,
            Err(error) => return state.stop(Failure::new(Code::Io, format!("no entropy: {error}"))),
        }
        drop(state);
        self.shared.ledger.commit();
    }
}

fn driver_gone() -> Failure {
    Failure::new(Code::UnknownOutcome, "the effect's driver is gone")
}

/// The end of an effect on the runtime. One that is given up, or dies, ends too: nobody knows what it did.
struct Ending {
    driver: Driver,
    ticket: Ticket,
    ended: bool,
}

impl Ending {
    fn end(&mut self, completion: Completion) {
        self.ended = true;
        self.driver.finish(self.ticket, completion);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.ended {
            self.driver.finish(self.ticket, Completion::Unknown);
        }
    }
}

/// Through this an effect under way asks the kernel what it may do next.
pub(crate) struct Asker {
    driver: Driver,
    ticket: Ticket,
    sender: Sender<Event>,
}

impl Asker {
    /// Puts a step to the kernel. Without an answer the effect stops.
    pub(crate) fn ask(&self, step: Step) -> Verdict {
        let (sender, receiver) = channel();
        if let Ok(mut state) = self.driver.state() {
            state.expect(self.ticket, sender);
        }
        self.driver.feed(|kernel, now| {
            kernel.progress(now, self.ticket, step);
        });
        receiver.recv().unwrap_or_else(|_| Verdict::Abort(Failure::new(Code::Io, "the kernel is stopped")))
    }

    /// Hands a piece of the answer to the caller; false when the caller is gone.
    pub(crate) fn deliver(&self, chunk: &str) -> bool {
        self.sender.send(Event::Chunk(chunk.to_owned())).is_ok()
    }
}
