//! The run loop around one kernel: dispatch a request, write its records, commit, perform its effect, complete it.
//!
//! The caller's thread dispatches a call and makes its records durable. The effect runs on the runtime of the process:
//! driven by the caller's thread when that only waits for this call, else as a task.

pub(crate) mod commit_state;
pub(crate) mod context;
mod dispatched;
pub(crate) mod group_commit;
mod host_calls;
pub(crate) mod log_work;
mod perform;
pub(crate) mod scrub;
pub(crate) mod snapshots;
pub(crate) mod stop_signal;
pub(crate) mod unsaved;

use std::sync::Arc;

use ak_audit::SigningKey;
use ak_json::{Text, Value};
use ak_kernel::{
    AdminRequest, AgentRequest, AuditRequest, AuthenticatedRequest, Code, Completion, Effect, Failure, GUEST,
    Kernel, LogWork, Outcome, PreparedCompletion, Price, Record, Reply, Request, SessionId, SubjectId,
    Ticket, erasure_outcome,
};
use ak_policy::Policy;
use tokio::sync::mpsc::{self, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{self, CallMode, CallOptions, ChunkSink, OutcomeFuture},
    driver::{
        commit_state::{Event, State, Submission},
        dispatched::DispatchedRequest,
        group_commit::GroupCommit,
    },
    effects::infer::routes::Routes,
    fair_mutex::FairGuard,
    fork::{ProcessIdentity, ProcessOwned},
    fs::{FileEffects, protected::Protected},
    net::Net,
    secrets::{redact::Redactor, store::Secrets},
    storage::log::Log,
};

/// The operator's configuration. No agent can change any of it.
#[derive(Debug)]
pub(crate) struct DriverConfig {
    /// Maps models to servers.
    pub(crate) routes: Routes,
    pub(crate) net: Net,
    pub(crate) secrets: Secrets,
    /// Removes secrets from every completion.
    pub(crate) redactor: Redactor,
    /// Performs file effects, and denies access to protected files.
    pub(crate) files: FileEffects,
    /// The environment variables that tools may request, with their values.
    pub(crate) env: Vec<(Text, Text)>,
    /// Signs checkpoints of the log.
    pub(crate) checkpoint_key: SigningKey,
}

/// One kernel with its log and its drivers; cheap to clone, and all clones are the same kernel.
#[derive(Clone)]
pub struct Driver {
    shared: ProcessOwned<Arc<Shared>>,
}

struct Shared {
    group_commit: Arc<GroupCommit>,
    config: DriverConfig,
    /// Cancelled when the kernel is closed, which abandons every pending effect.
    closing: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.group_commit.scrubber.cancel();
        self.group_commit.snapshots.cancel();
    }
}

impl Driver {
    /// Creates the driver of a kernel whose records so far are in `log`; `unsaved` of them are newer than the newest
    /// snapshot.
    pub(crate) fn new(kernel: Kernel, log: Log, unsaved: u64, config: DriverConfig) -> Driver {
        let group_commit = GroupCommit::new(kernel, log, unsaved);
        // The genesis record of a new kernel becomes durable first.
        if let Ok(state) = group_commit.state() {
            group_commit.commit(state);
        }
        group_commit.begin_scrub();
        let shared = Shared { group_commit, config, closing: CancellationToken::new() };
        let driver = Driver { shared: ProcessOwned::new(Arc::new(shared)) };
        driver.resolve_roots();
        driver
    }

    /// Makes a request and waits for its outcome.
    pub fn call(&self, session: SessionId, request: Request) -> Outcome {
        self.call_streaming(session, request, &mut |_| true, &CancellationToken::new())
    }

    /// Makes a request, waits for its outcome, and calls `on_chunk` with each piece of a streamed answer as it arrives.
    ///
    /// When `on_chunk` returns false, the stream stops. Cancelling `stop` abandons a pending effect, whose outcome is
    /// then unknown.
    pub fn call_streaming(
        &self,
        session: SessionId,
        authenticated: impl Into<AuthenticatedRequest>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        self.call_interruptible(session, authenticated.into(), on_chunk, stop, None)
    }

    /// [`call_streaming`](Self::call_streaming) that calls `should_continue` every
    /// [`INTERRUPT_POLL_MS`](crate::INTERRUPT_POLL_MS) milliseconds. When that returns false, the request is cancelled,
    /// unless its outcome is already there.
    pub(crate) fn call_interruptible(
        &self,
        session: SessionId,
        authenticated: AuthenticatedRequest,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        let mode = if should_continue.is_some() { CallMode::Polling } else { CallMode::Blocking };
        let mut call = self.begin(session, authenticated, mode)?;
        if let Some(outcome) = call.ready_outcome() {
            return outcome;
        }
        let mut options = CallOptions {
            chunks: ChunkSink::Callback(Box::new(on_chunk)),
            stop: stop.clone(),
            due: None,
            mode,
        };
        call::wait_for_outcome(call.outcome(&mut options), stop, should_continue)
    }

    /// Makes a request without blocking a thread, however long its effect takes. Pieces of a streamed answer go to
    /// `pieces`: a full channel pauses the stream, a closed channel ends it.
    ///
    /// Cancelling `stop`, or dropping the returned future, cancels the request.
    pub fn call_async(
        &self,
        session: SessionId,
        authenticated: impl Into<AuthenticatedRequest>,
        pieces: Option<mpsc::Sender<String>>,
        stop: CancellationToken,
    ) -> OutcomeFuture {
        let (driver, authenticated, stopped) = (self.clone(), authenticated.into(), stop.clone());
        OutcomeFuture::spawn(
            async move {
                driver.call_on_task(session, authenticated, ChunkSink::from_channel(pieces), stopped).await
            },
            stop,
        )
    }

    /// [`call_async`](Self::call_async) within a task of the runtime.
    pub(crate) async fn call_on_task(
        &self,
        session: SessionId,
        authenticated: AuthenticatedRequest,
        chunks: ChunkSink<'static>,
        stop: CancellationToken,
    ) -> Outcome {
        let mode = CallMode::Task;
        let mut call = self.begin(session, authenticated, mode)?;
        match call.ready_outcome() {
            Some(outcome) => outcome,
            None => call.outcome(&mut CallOptions { chunks, stop, due: None, mode }).await,
        }
    }

    /// Dispatches a request to the kernel.
    ///
    /// # Errors
    /// Why the kernel rejected the request. On a damaged or read-only log every request fails but AUDIT_VERIFY.
    fn begin(
        &self,
        session: SessionId,
        authenticated: AuthenticatedRequest,
        mode: CallMode,
    ) -> Result<DispatchedRequest, Failure> {
        self.shared.process().check()?;
        let authenticated = authenticated.priced(|model| self.price(model)).with_env(&self.shared.config.env);
        let authenticated = if authenticated.request().is_effect() {
            mode.block_briefly(|| authenticated.prepared())
        } else {
            authenticated.prepared()
        };
        if let Err(failure) = authenticated.check_form() {
            self.count_throttled(Some(session));
            return Err(failure);
        }
        let loads_policy = matches!(authenticated.request(), Request::Admin(AdminRequest::PolicyLoad { .. }));
        // The former policy is kept until the lock is released: dropping a long policy takes long.
        let _former = loads_policy.then(|| self.policy());
        let (sender, receiver) = unbounded_channel();
        let mut call = DispatchedRequest::new(self, receiver);
        call.loads_policy = loads_policy;
        let submission = Submission::Request(session, &authenticated);
        let dispatched = self
            .shared
            .group_commit
            .block_briefly(mode, || self.shared.group_commit.dispatch(&submission, sender, mode));
        if let Err(failure) = dispatched {
            call.has_ended = true;
            // Only AUDIT_VERIFY works on a damaged or read-only log.
            let Request::Audit(AuditRequest::Verify { key, anchor }) = authenticated.request() else {
                return Err(failure);
            };
            if session != SessionId::OWNER {
                return Err(failure);
            }
            let key_pair = &self.shared.config.checkpoint_key;
            let verified = log_work::verify_only(
                &self.shared.group_commit,
                key_pair,
                key.as_deref(),
                anchor.as_deref(),
            )?;
            call.next = Some(Event::Ended(Ok(Reply::Value(verified.ok_or(failure)?))));
        }
        Ok(call)
    }

    /// Resolves the roots that the policy in force grants, after looking up the protected files again.
    fn resolve_roots(&self) {
        let FileEffects { roots, protected } = &self.shared.config.files;
        protected.rescan();
        roots.resolve_all(|| self.policy());
    }

    /// The policy in force; `None` in a forked child, or after a thread panicked while it held the kernel.
    fn policy(&self) -> Option<Policy> {
        self.state().ok().map(|state| state.kernel.policy().clone())
    }

    /// The policy in force, and the registered tools with the schemas of their arguments; `None` where [`policy`](Self::policy)
    /// is.
    pub(crate) fn policy_and_tools(&self) -> Option<(Policy, Vec<(Text, Value)>)> {
        self.state().ok().map(|state| (state.kernel.policy().clone(), state.kernel.tool_schemas()))
    }

    /// Protects the file at `path` from every agent, whether it exists or not.
    ///
    /// # Errors
    /// When the file exists and cannot be examined.
    pub fn protect(&self, path: &std::path::Path) -> std::io::Result<()> {
        self.shared.config.files.protected.add(path)
    }

    /// The protected files, which no agent may access.
    pub(crate) fn protected(&self) -> &Protected {
        &self.shared.config.files.protected
    }

    /// The routes of models as a list of objects: `match`, `origin`, `format`, and `circuit`, which is `closed`, `open`
    /// (requests to the server are suspended, because it failed too often) or `trying` (one request tests whether the
    /// server works again).
    pub fn models(&self) -> ak_json::Value {
        self.shared.config.routes.to_value()
    }

    /// The price of a model's tokens; `None` when the operator set none.
    pub(crate) fn price(&self, model: &str) -> Option<Price> {
        self.shared.config.routes.find(model)?.price.clone()
    }

    /// Tells the kernel the time.
    pub(crate) fn tick(&self) {
        self.handle_input(|kernel, now| kernel.handle_timeout(now));
    }

    /// Opens a session for the agent `name`, if `session` may do so.
    pub(crate) fn open_agent(&self, session: SessionId, name: &str) -> Result<SessionId, Failure> {
        opened(self.call(session, Request::Agent(AgentRequest::SessionOpen { agent: name.into() }))?)
    }

    /// [`open_agent`](Self::open_agent) within a task of the runtime.
    pub(crate) async fn open_agent_on_task(
        &self,
        session: SessionId,
        name: &str,
    ) -> Result<SessionId, Failure> {
        let request = Request::Agent(AgentRequest::SessionOpen { agent: name.into() });
        opened(
            self.call_on_task(session, request.into(), ChunkSink::Discard, CancellationToken::new()).await?,
        )
    }

    /// Opens a session for a new guest, within a task of the runtime.
    pub(crate) async fn open_guest(&self) -> Result<SessionId, Failure> {
        self.open_agent_on_task(SessionId::GUESTS, GUEST).await
    }

    /// Whether this process opened the kernel, and is not a fork of the one that did.
    pub(crate) fn is_current(&self) -> bool {
        self.process().is_current()
    }

    pub(crate) fn process(&self) -> ProcessIdentity {
        self.shared.process()
    }

    /// Ends a session that the host no longer uses.
    pub(crate) fn end_session(&self, session: SessionId) {
        self.shared.group_commit.end_session(session);
    }

    /// Ends the sessions that were open when the kernel last stopped.
    pub(crate) fn close_former_sessions(&self) -> Result<(), Failure> {
        let former = self.state()?.kernel.sessions();
        former.into_iter().for_each(|session| self.end_session(session));
        Ok(())
    }

    /// Stops the kernel: later calls fail, and pending effects are abandoned. In a process that was forked from the
    /// kernel's it does nothing.
    pub fn close(&self) {
        if !self.shared.process().is_current() {
            return;
        }
        // A failed snapshot only makes the next start take longer.
        let _ = self.shared.group_commit.keep_final_snapshot();
        self.shared.group_commit.close();
        self.shared.closing.cancel();
    }

    /// Waits until the kernel stops, and returns the reason. Either the kernel was closed (NOT_CONFIGURED), or a write
    /// failed, and the kernel must be opened again because it is unknown which of the newest records are on disk. For a
    /// kernel that was opened on a damaged or read-only log, which can only be verified, this never returns.
    #[must_use]
    pub fn wait_until_stopped(&self) -> Failure {
        self.shared.group_commit.wait_until_stopped()
    }

    /// Counts a request that was rejected before it reached the kernel, if there is log space to record that.
    pub(crate) fn count_throttled(&self, session: Option<SessionId>) {
        if self.shared.group_commit.has_space_to_throttle() {
            self.handle_input(|kernel, now| kernel.throttle(&now, session));
        }
    }

    /// Starts a snapshot of the state in the background; the next start resumes from it.
    pub(crate) fn start_snapshot(&self) {
        self.shared.group_commit.snapshots.start();
    }

    /// Completes the effects that were pending when the kernel last stopped: finishes erasures, and completes every
    /// other effect with an unknown outcome.
    ///
    /// # Errors
    /// When an erasure cannot be finished.
    pub(crate) fn complete_interrupted(&self) -> Result<(), Failure> {
        let (unfinished, tickets) = {
            let state = self.state()?;
            (state.kernel.unfinished(), state.kernel.tickets())
        };
        for (ticket, effect) in &unfinished {
            if let Effect::Log(LogWork::Erase { subject, objects, entries }) = effect {
                let done = self.erase(*subject, *objects, *entries)?;
                self.finish(*ticket, Completion::Value(done), CallMode::Blocking);
            }
        }
        for ticket in tickets.into_iter().filter(|ticket| unfinished.iter().all(|(done, _)| done != ticket)) {
            self.finish(ticket, Completion::Unknown, CallMode::Blocking);
        }
        Ok(())
    }

    /// Erases a subject's data irrecoverably.
    fn erase(&self, subject: SubjectId, objects: u64, entries: Option<u64>) -> Result<Value, Failure> {
        // No copy may stay in memory. Freeing a large one takes long, so it is freed outside the lock.
        let waste = self.state().map(|mut state| state.kernel.take_waste())?;
        drop(waste);
        self.shared.group_commit.keep_snapshot(Some(subject))?;
        Ok(erasure_outcome(subject, objects, entries))
    }

    /// Returns the kept records, from the oldest to the newest, as [`ak_kernel::Replay`] takes them.
    pub fn records(&self) -> Result<Vec<Record>, Failure> {
        let take = |records: &mut Vec<Record>, record, _: Option<&_>| {
            records.push(record);
            Ok(())
        };
        self.shared.group_commit.read(|_| Vec::new(), take)
    }

    fn state(&self) -> Result<FairGuard<'_, State>, Failure> {
        self.shared.group_commit.state()
    }

    /// Reports a completion to the kernel.
    fn finish(&self, ticket: Ticket, completion: Completion, mode: CallMode) {
        // A long completion is redacted and digested here, outside the kernel's lock.
        mode.block_briefly(|| {
            let ended =
                PreparedCompletion::from(self.shared.config.redactor.completion(completion)).prepared();
            self.handle_input(|kernel, now| kernel.complete(now, ticket, ended));
        });
    }

    fn handle_input(&self, input: impl FnOnce(&mut Kernel, ak_kernel::Now)) {
        self.shared.group_commit.handle_input(input);
    }
}

fn opened(reply: Reply) -> Result<SessionId, Failure> {
    match reply {
        Reply::Session(session) => Ok(session),
        other => Err(Failure::new(Code::Io, format!("the kernel opened no session but gave {other:?}"))),
    }
}
