//! One session with a kernel, embedded in this process or behind a socket.

pub(crate) mod embedded;
pub(crate) mod policy_files;
pub(crate) mod remote;
pub(crate) mod tool_files;

use std::{path::Path, sync::Arc};

use ak_audit::{Disk, journal};
use ak_kernel::{Code, Failure, Outcome, Request, SessionId};
use ak_policy::Lint;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{ChunkSink, OutcomeFuture},
    config::options::Options,
    connection::{
        embedded::Embedded,
        policy_files::{PolicyReport, policy_request},
        remote::Client,
    },
    driver::Driver,
    fork::ProcessIdentity,
    storage::{
        log::Log,
        recover::{self, Progress, Recovered},
    },
    trusted_file::{self, Trust},
};

/// A session with a kernel, embedded in this process or behind a socket; cheap to clone.
#[derive(Clone)]
pub struct Connection {
    backend: Backend,
    /// The capability token that every request presents; `None` when requests present none.
    cap: Option<Arc<str>>,
}

#[derive(Clone)]
enum Backend {
    Embedded(Embedded, Arc<OpenSession>),
    Remote(Arc<Client>),
}

/// A session with an embedded kernel; the session ends when the last clone of its `Arc` is dropped.
struct OpenSession {
    kernel: Embedded,
    session: SessionId,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        if self.session != SessionId::OWNER {
            self.kernel.driver.end_session(self.session);
        }
    }
}

impl Backend {
    fn embedded(kernel: Embedded, session: SessionId) -> Backend {
        let open = OpenSession { kernel: kernel.clone(), session };
        Backend::Embedded(kernel, Arc::new(open))
    }
}

impl Connection {
    /// Opens the owner's session.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses the session, the journal cannot be opened, or the kernel refuses
    /// the policy.
    pub fn open(options: &Options) -> Result<Connection, Failure> {
        Connection::open_interruptible(options, None)
    }

    /// [`open`](Self::open) that polls `should_continue` while it waits for a daemon, and gives up when that returns
    /// false.
    ///
    /// # Errors
    /// As for [`open`](Self::open); UNKNOWN_OUTCOME when `should_continue` returned false.
    pub fn open_interruptible(
        options: &Options,
        should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Connection, Failure> {
        match &options.url {
            None => Connection::embed(options, &mut |_, _| {}),
            Some(url) => match url.strip_prefix("unix://") {
                Some(path) => {
                    let token = options.token_file.as_deref().map(read_token).transpose()?;
                    let client = Client::connect(Path::new(path), token, None, should_continue)?;
                    let connection = Connection::new(Backend::Remote(Arc::new(client)));
                    connection.load_policy(options.policy.as_deref())?;
                    Ok(connection)
                }
                None => {
                    let message =
                        format!("{url:?} is not a kernel's address: expected unix:///path/of/socket");
                    Err(Failure::new(Code::InvalidArgument, message))
                }
            },
        }
    }

    /// Opens the owner's session with an embedded kernel on two disks of the caller instead of [`Options::state_dir`]:
    /// `journal` holds the journal, `vault` the keys and snapshots, which an erasure can destroy. Clones of a disk are
    /// handles on the same disk.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_on(
        journal: impl Disk + Clone + Send + 'static,
        vault: impl Disk + Clone + Send + 'static,
        options: &Options,
    ) -> Result<Connection, Failure> {
        Connection::open_with(journal, vault, recover::journal_options(), options)
    }

    /// [`open_on`](Self::open_on) with `journal_options`, which set the segment length and the reserve of the journal.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_with(
        journal: impl Disk + Clone + Send + 'static,
        vault: impl Disk + Clone + Send + 'static,
        journal_options: journal::Options,
        options: &Options,
    ) -> Result<Connection, Failure> {
        let (journal, vault) = (Box::new(journal), Box::new(vault));
        let recovered = recover::open_on(journal, vault, journal_options, &mut |_, _| {})?;
        Connection::from_recovered(recovered, options)
    }

    /// [`open`](Self::open) that reports the progress of the replay to `progress`.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_with_progress(options: &Options, progress: Progress<'_>) -> Result<Connection, Failure> {
        match &options.url {
            None => Connection::embed(options, progress),
            Some(_) => Connection::open(options),
        }
    }

    fn embed(options: &Options, progress: Progress<'_>) -> Result<Connection, Failure> {
        let recovered = match &options.state_dir {
            None => Recovered { kernel: recover::new_kernel()?, log: Log::in_memory(), replayed: 0 },
            Some(directory) => recover::open(directory, progress)?,
        };
        Connection::from_recovered(recovered, options)
    }

    fn from_recovered(recovered: Recovered, options: &Options) -> Result<Connection, Failure> {
        let kernel = Embedded::open(recovered, options)?;
        let connection = Connection::new(Backend::embedded(kernel, SessionId::OWNER));
        connection.load_policy(options.policy.as_deref())?;
        Ok(connection)
    }

    const fn new(backend: Backend) -> Connection {
        Connection { backend, cap: None }
    }

    fn load_policy(&self, path: Option<&Path>) -> Result<(), Failure> {
        path.map_or(Ok(()), |path| self.load_policy_file(path).map(drop))
    }

    /// Replaces the policy by the one in the file at `path` with the files that it includes. While the policy is in
    /// force, the kernel's host protects those of these files that lie on its machine from every agent.
    ///
    /// # Errors
    /// When a file cannot be read, or the kernel refuses the policy; the policy in force then stays.
    pub fn load_policy_file(&self, path: &Path) -> Result<PolicyReport, Failure> {
        PolicyReport::from_outcome(self.call(policy_request(path)?))
    }

    /// The lints of the policy in force; none where the kernel is not in this process.
    pub fn lint_policy(&self) -> Vec<Lint> {
        self.embedded().map(|kernel| kernel.lint_policy()).unwrap_or_default()
    }

    /// Makes a request and waits for its outcome.
    pub fn call(&self, request: Request) -> Outcome {
        self.call_streaming(request, &mut |_| true)
    }

    /// Makes a request, waits for its outcome, and calls `on_chunk` with each piece of a streamed answer as it arrives.
    ///
    /// A piece is the JSON text of one server-sent event. When `on_chunk` returns false, the stream stops.
    pub fn call_streaming(
        &self,
        request: Request,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Outcome {
        self.call_until(request, on_chunk, &CancellationToken::new())
    }

    /// [`call_streaming`](Self::call_streaming) that can be cancelled through `stop`; the outcome of a cancelled
    /// request is unknown.
    pub fn call_until(
        &self,
        request: Request,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        self.call_interruptible(request, on_chunk, stop, None)
    }

    /// [`call_until`](Self::call_until) that calls `should_continue` every
    /// [`INTERRUPT_POLL_MS`](crate::INTERRUPT_POLL_MS) milliseconds. When that returns false, the request is cancelled,
    /// unless its outcome is already there.
    pub fn call_interruptible(
        &self,
        request: Request,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        match &self.backend {
            Backend::Embedded(kernel, open) => {
                kernel.call(open.session, request, self.cap.as_deref(), on_chunk, stop, should_continue)
            }
            Backend::Remote(client) => {
                client.call(&request, self.cap.as_deref(), on_chunk, stop, should_continue)
            }
        }
    }

    /// Makes a request without blocking a thread, however long its effect takes. Pieces of a streamed answer go to
    /// `pieces`: a full channel pauses the stream, a closed channel ends it.
    ///
    /// Cancelling `stop`, or dropping the returned future, cancels the request and releases its reservations.
    pub fn call_async(
        &self,
        request: Request,
        pieces: Option<mpsc::Sender<String>>,
        stop: CancellationToken,
    ) -> OutcomeFuture {
        let chunks = ChunkSink::from_channel(pieces);
        match &self.backend {
            Backend::Embedded(kernel, open) => {
                // The task holds the session open until the request has ended.
                let (kernel, open, cap, stopped) =
                    (kernel.clone(), open.clone(), self.cap.clone(), stop.clone());
                let call = async move {
                    kernel.call_on_task(open.session, request, cap.as_deref(), chunks, stopped).await
                };
                OutcomeFuture::spawn(call, stop)
            }
            Backend::Remote(client) => client.call_async(request, self.cap.clone(), chunks, stop),
        }
    }

    /// Opens a session for the agent `name`. Only the owner may do so, and not by presenting a capability.
    ///
    /// # Errors
    /// When this is not the owner's session, or `name` is not a valid agent name.
    pub fn agent(&self, name: &str) -> Result<Connection, Failure> {
        self.agent_interruptible(name, None)
    }

    /// [`agent`](Self::agent) that polls `should_continue` while it waits for a daemon, and gives up when that returns
    /// false.
    ///
    /// # Errors
    /// As for [`agent`](Self::agent); UNKNOWN_OUTCOME when `should_continue` returned false.
    pub fn agent_interruptible(
        &self,
        name: &str,
        should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Connection, Failure> {
        if self.cap.is_some() {
            let message = "a session that presents a capability opens no other";
            return Err(Failure::new(Code::CapScope, message).presented());
        }
        match &self.backend {
            Backend::Embedded(kernel, open) => {
                let session = kernel.driver.open_agent(open.session, name)?;
                Ok(Connection::new(Backend::embedded(kernel.clone(), session)))
            }
            Backend::Remote(client) => {
                Ok(Connection::new(Backend::Remote(client.agent(name, should_continue)?)))
            }
        }
    }

    /// Returns the same session with a capability token, in base64url, which every request presents. A request passes
    /// if the policy permits it and the token's capability covers it. The token is verified with each request, not
    /// here.
    #[must_use]
    pub fn present(&self, token: &str) -> Connection {
        Connection { backend: self.backend.clone(), cap: Some(token.into()) }
    }

    /// Whether this is the owner's session and presents no capability.
    pub fn is_owner(&self) -> bool {
        self.cap.is_none()
            && match &self.backend {
                Backend::Embedded(_, open) => open.session == SessionId::OWNER,
                Backend::Remote(client) => client.is_owner(),
            }
    }

    /// Closes the connection to a daemon, or stops the embedded kernel if this is the owner's session; later calls
    /// fail. An agent's session with an embedded kernel is not affected: it ends when its last clone is dropped. Nor is
    /// a connection that presents a capability: its session belongs to the connection that [`present`](Self::present)
    /// was called on.
    pub fn close(&self) {
        if self.cap.is_some() {
            return;
        }
        match &self.backend {
            Backend::Embedded(kernel, open) if open.session == SessionId::OWNER => kernel.driver.close(),
            Backend::Embedded(..) => {}
            Backend::Remote(client) => client.close(),
        }
    }

    /// The process in which this connection was opened; the connection cannot be used in any other process.
    pub fn process(&self) -> ProcessIdentity {
        match &self.backend {
            Backend::Embedded(kernel, _) => kernel.driver.process(),
            Backend::Remote(client) => client.process(),
        }
    }

    /// The embedded kernel's driver, if there is one.
    pub fn driver(&self) -> Option<Driver> {
        self.embedded().map(|kernel| kernel.driver)
    }

    pub(crate) fn embedded(&self) -> Option<Embedded> {
        match &self.backend {
            Backend::Embedded(kernel, _) => Some(kernel.clone()),
            Backend::Remote(_) => None,
        }
    }
}

/// Maximum length of a token file, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;

fn read_token(path: &Path) -> Result<String, Failure> {
    match trusted_file::read(path, Trust::Credential, TOKEN_FILE_BYTES_MAX) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) => {
            Err(Failure::new(Code::NotConfigured, format!("token file {}: {error}", path.display())))
        }
    }
}
