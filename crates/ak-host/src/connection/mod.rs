//! One session with a kernel, wherever the kernel runs.

pub(crate) mod embedded;
pub(crate) mod policy_files;
pub(crate) mod remote;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ak_audit::{Disk, journal};
use ak_json::{Limits, Value};
use ak_kernel::{Code, Config, Failure, Kernel, Outcome, Request, SessionId};
use ak_sandbox::Manifest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Answer, Sink},
    clock,
    config::HostFile,
    connection::embedded::Embedded,
    connection::policy_files::{policy_request, unprotected},
    connection::remote::Client,
    driver::snapshots::SNAPSHOT_ENTRIES,
    driver::{Driver, HostConfig},
    fork::Origin,
    fs::Files,
    fs::protected::Protected,
    fs::roots::Roots,
    net::Net,
    secrets::tokens::Keyring,
    storage::log::Log,
    storage::recover::{self, Progress, Recovered},
    storage::verify::Signer,
    trusted_file::{self, Trust},
};

/// How to reach or make a kernel.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `unix:///path` of a daemon; an embedded kernel where absent.
    pub url: Option<String>,
    /// Where an embedded kernel keeps its journal; in memory where absent.
    pub state_dir: Option<PathBuf>,
    /// A policy file that an embedded kernel loads at once.
    pub policy: Option<PathBuf>,
    /// The owner's token for a daemon. An embedded kernel keeps every agent away from the file.
    pub token_file: Option<PathBuf>,
    /// Certificates for TLS.
    pub ca: Option<PathBuf>,
    /// The host configuration of an embedded kernel: its models, secrets and network. No agent reaches the file.
    pub host_config: Option<PathBuf>,
}

impl Options {
    /// Takes what is absent from `AK_URL`, `AK_STATE_DIR`, `AK_POLICY`, `AK_TOKEN_FILE` and `AK_HOST_CONFIG`.
    ///
    /// A place named by the caller, be it a URL or a directory, is not mixed with one from the environment.
    #[must_use]
    pub fn or_from_env(mut self) -> Options {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if self.url.is_none() && self.state_dir.is_none() {
            self.url = std::env::var("AK_URL").ok().filter(|url| !url.is_empty());
            self.state_dir = path("AK_STATE_DIR").filter(|_| self.url.is_none());
        }
        self.policy = self.policy.or_else(|| path("AK_POLICY"));
        self.token_file = self.token_file.or_else(|| path("AK_TOKEN_FILE"));
        self.host_config = self.host_config.or_else(|| path("AK_HOST_CONFIG"));
        self
    }
}

/// A session with a kernel: embedded in this process, or behind a socket. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    end: End,
    /// The token that every request presents.
    cap: Option<Arc<str>>,
}

#[derive(Clone)]
enum End {
    Embedded(Embedded, Arc<OpenSession>),
    Remote(Arc<Client>),
}

/// A session with an embedded kernel. It ends with its last holder.
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

impl End {
    fn embedded(kernel: Embedded, session: SessionId) -> End {
        let open = OpenSession { kernel: kernel.clone(), session };
        End::Embedded(kernel, Arc::new(open))
    }
}

impl Connection {
    /// Opens the owner's session.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses, the journal cannot be opened, or the policy is refused.
    pub fn open(options: &Options) -> Result<Connection, Failure> {
        Connection::open_heeding(options, None)
    }

    /// [`open`](Self::open) that asks `heed` whether to go on while it waits for a daemon.
    ///
    /// # Errors
    /// As for [`open`](Self::open); UNKNOWN_OUTCOME where `heed` says no.
    pub fn open_heeding(
        options: &Options,
        heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Connection, Failure> {
        match &options.url {
            None => Connection::embed(options, &mut |_, _| {}),
            Some(url) => match url.strip_prefix("unix://") {
                Some(path) => {
                    let token = options.token_file.as_deref().map(read_token).transpose()?;
                    let client = Client::connect(Path::new(path), token, None, heed)?;
                    let connection = Connection::to(End::Remote(Arc::new(client)));
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

    /// Opens the owner's session with an embedded kernel whose journal lies on a disk of the caller's, and what can be
    /// destroyed of it (keys and snapshots) on another, in place of [`Options::state_dir`]. Clones of a disk are handles on the
    /// same one. `segments` says how the journal uses its disk.
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

    /// [`open_on`](Self::open_on) that says how the journal uses its disk: how long its segments are, and what it sets aside.
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
        let recovered = recover::open_on(journal, vault, journal_options, fresh_kernel, &mut |_, _| {})?;
        Connection::around(recovered, options)
    }

    /// [`open`](Self::open) that says how far it is where a journal has to be executed again.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_telling(options: &Options, progress: Progress<'_>) -> Result<Connection, Failure> {
        match &options.url {
            None => Connection::embed(options, progress),
            Some(_) => Connection::open(options),
        }
    }

    fn embed(options: &Options, progress: Progress<'_>) -> Result<Connection, Failure> {
        let recovered = match &options.state_dir {
            None => Recovered { kernel: fresh_kernel()?, log: Log::in_memory(), replayed: 0 },
            Some(directory) => recover::open(directory, fresh_kernel, progress)?,
        };
        Connection::around(recovered, options)
    }

    fn around(recovered: Recovered, options: &Options) -> Result<Connection, Failure> {
        let Recovered { kernel, log, replayed } = recovered;
        let unusable = |error: std::io::Error| {
            Failure::new(Code::Io, format!("cannot protect the kernel's files: {error}"))
        };
        let no_key =
            |error: std::io::Error| Failure::new(Code::Io, format!("a key of the kernel's: {error}"));
        let wrong = |message: String| Failure::new(Code::NotConfigured, message);
        let path = options.host_config.as_deref();
        let mut file = path.map(HostFile::read).transpose().map_err(wrong)?.unwrap_or_default();
        file.routes.add_from_env(&mut file.secrets).map_err(wrong)?;
        let named = [&options.state_dir, &options.policy, &options.token_file, &options.host_config];
        // Whoever writes the program is the kernel the next time.
        let named = named.into_iter().flatten().cloned().chain(std::env::current_exe());
        let policies = kernel.policy_files().iter().map(|path| PathBuf::from(&**path));
        let protected = Protected::new(named.chain(file.protected).chain(policies)).map_err(unusable)?;
        let config = HostConfig {
            filter: file.secrets.filter(file.redact),
            routes: file.routes,
            net: Net::new(file.net).map_err(wrong)?,
            secrets: file.secrets,
            env: file.env,
            files: Files { protected, roots: Roots::default() },
            signer: Signer::open(options.state_dir.as_deref(), &kernel.run()).map_err(no_key)?,
        };
        let keyring = Keyring::open(options.state_dir.as_deref(), kernel.run()).map_err(no_key)?;
        let driver = Driver::new(kernel, log, replayed, config);
        driver.settle_unknown()?;
        driver.end_former_sessions()?;
        if replayed >= SNAPSHOT_ENTRIES {
            // Without it the next start takes as long again, and nothing else.
            driver.keep_snapshot();
        }
        let connection = Connection::to(End::embedded(Embedded::new(driver, keyring), SessionId::OWNER));
        connection.load_policy(options.policy.as_deref())?;
        Ok(connection)
    }

    const fn to(end: End) -> Connection {
        Connection { end, cap: None }
    }

    fn load_policy(&self, path: Option<&Path>) -> Result<(), Failure> {
        path.map_or(Ok(()), |path| self.load_policy_file(path).map(drop))
    }

    /// Replaces the policy by the one in the file at `path`, with what that includes. The kernel's host keeps every agent away
    /// from these files, as long as the policy is in force, where they lie on its machine; gives the paths of those that do not,
    /// or not as they were read.
    ///
    /// # Errors
    /// When a file cannot be read, or the policy is refused; the one in force stays then.
    pub fn load_policy_file(&self, path: &Path) -> Result<Vec<String>, Failure> {
        unprotected(self.call(policy_request(path)?))
    }

    /// Makes a request and waits for its outcome.
    pub fn call(&self, request: Request) -> Outcome {
        self.call_streaming(request, &mut |_| true)
    }

    /// Makes a request and waits for its outcome; pieces of a streamed answer are handed over as they come.
    ///
    /// A piece is the JSON text of one server-sent event. When `on_chunk` gives false the stream stops.
    pub fn call_streaming(
        &self,
        request: Request,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Outcome {
        self.call_until(request, on_chunk, &CancellationToken::new())
    }

    /// The same; once `stop` is cancelled, what is under way is given up: nobody knows then whether it happened.
    pub fn call_until(
        &self,
        request: Request,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        self.call_heeding(request, on_chunk, stop, None)
    }

    /// The same; while it waits, `heed` is asked every [`HEED_MS`](crate::HEED_MS) milliseconds whether to go on. When not, the request
    /// is given up, unless its outcome is there already.
    pub fn call_heeding(
        &self,
        request: Request,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        match &self.end {
            End::Embedded(kernel, open) => {
                kernel.call(open.session, request, self.cap.as_deref(), on_chunk, stop, heed)
            }
            End::Remote(client) => client.call(&request, self.cap.as_deref(), on_chunk, stop, heed),
        }
    }

    /// Makes a request without waiting for it: no thread waits, however long its effect takes. The pieces of a streamed answer go to
    /// `pieces`: a full channel holds the stream up, a closed one ends it.
    ///
    /// Once `stop` is cancelled, or the answer is dropped, what is under way is given up, and what was set aside for it is free again.
    pub fn call_async(
        &self,
        request: Request,
        pieces: Option<mpsc::Sender<String>>,
        stop: CancellationToken,
    ) -> Answer {
        let sink = Sink::of(pieces);
        match &self.end {
            End::Embedded(kernel, open) => {
                // The session is open as long as the request is under way.
                let (kernel, open, cap, stopped) =
                    (kernel.clone(), open.clone(), self.cap.clone(), stop.clone());
                let call =
                    async move { kernel.answer(open.session, request, cap.as_deref(), sink, stopped).await };
                Answer::of(call, stop)
            }
            End::Remote(client) => client.call_async(request, self.cap.clone(), sink, stop),
        }
    }

    /// A session for an agent. Only the owner may open one, and not by a capability.
    ///
    /// # Errors
    /// When this is not the owner's session, or the name is no agent's name.
    pub fn agent(&self, name: &str) -> Result<Connection, Failure> {
        self.agent_heeding(name, None)
    }

    /// [`agent`](Self::agent) that asks `heed` whether to go on while it waits for a daemon.
    ///
    /// # Errors
    /// As for [`agent`](Self::agent); UNKNOWN_OUTCOME where `heed` says no.
    pub fn agent_heeding(
        &self,
        name: &str,
        heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Connection, Failure> {
        if self.cap.is_some() {
            let message = "a session that presents a capability opens no other";
            return Err(Failure::new(Code::CapScope, message).presented());
        }
        match &self.end {
            End::Embedded(kernel, open) => {
                let session = kernel.driver.open_agent(open.session, name)?;
                Ok(Connection::to(End::embedded(kernel.clone(), session)))
            }
            End::Remote(client) => Ok(Connection::to(End::Remote(client.agent(name, heed)?))),
        }
    }

    /// The same session with a token, in base64url, that every request presents: one passes if the policy permits it
    /// and the token's capability covers it. Whether the token is good shows with each request.
    #[must_use]
    pub fn present(&self, token: &str) -> Connection {
        Connection { end: self.end.clone(), cap: Some(token.into()) }
    }

    /// Whether this is the owner's session.
    pub fn is_owner(&self) -> bool {
        self.cap.is_none()
            && match &self.end {
                End::Embedded(_, open) => open.session == SessionId::OWNER,
                End::Remote(client) => client.is_owner(),
            }
    }

    /// Ends the session; an owner's session ends an embedded kernel with it. Later calls fail. A session that presents a
    /// capability is another's, and ends with that.
    pub fn close(&self) {
        if self.cap.is_some() {
            return;
        }
        match &self.end {
            End::Embedded(kernel, open) if open.session == SessionId::OWNER => kernel.driver.close(),
            End::Embedded(..) => {}
            End::Remote(client) => client.close(),
        }
    }

    /// The process that it was opened in. In no other can it be used.
    pub fn origin(&self) -> Origin {
        match &self.end {
            End::Embedded(kernel, _) => kernel.driver.origin(),
            End::Remote(client) => client.origin(),
        }
    }

    /// The embedded kernel's driver, if there is one.
    pub fn driver(&self) -> Option<Driver> {
        self.embedded().map(|kernel| kernel.driver)
    }

    pub(crate) fn embedded(&self) -> Option<Embedded> {
        match &self.end {
            End::Embedded(kernel, _) => Some(kernel.clone()),
            End::Remote(_) => None,
        }
    }
}

/// The request that registers a tool. A schema that its manifest names by the path of a file is read, relative to
/// `directory`.
///
/// # Errors
/// When such a file cannot be read, or is no JSON.
pub fn tool_request(manifest: Value, module: Arc<[u8]>, directory: &Path) -> Result<Request, Failure> {
    let parsed = match &manifest {
        Value::String(text) => Manifest::parse(text),
        other => Manifest::from_value(other),
    };
    // What is wrong with a manifest, or with a schema that is in it, is the kernel's to say.
    let manifest = match parsed {
        Ok(mut parsed) if parsed.input.as_str().is_some() || parsed.output.as_str().is_some() => {
            for (which, schema) in [("input", &mut parsed.input), ("output", &mut parsed.output)] {
                if let Some(path) = schema.as_str() {
                    *schema = read_schema(which, &directory.join(path))?;
                }
            }
            parsed.to_value()
        }
        Ok(_) | Err(_) => manifest,
    };
    Ok(Request::ToolRegister { manifest, module, env: Vec::new() })
}

fn read_schema(which: &str, path: &Path) -> Result<Value, Failure> {
    let wrong = |code, error: &dyn std::fmt::Display| {
        Failure::new(code, format!("the tool's {which} schema {}: {error}", path.display()))
    };
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(Code::NotFound, &error),
        _ => wrong(Code::Io, &error),
    })?;
    Value::parse(&text, &Limits::default()).map_err(|error| wrong(Code::InvalidArgument, &error))
}

/// Longest file of a token, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;

fn read_token(path: &Path) -> Result<String, Failure> {
    match trusted_file::read(path, Trust::Credential, TOKEN_FILE_BYTES_MAX) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) => {
            Err(Failure::new(Code::NotConfigured, format!("token file {}: {error}", path.display())))
        }
    }
}

fn fresh_kernel() -> Result<Kernel, Failure> {
    let now = clock::now().map_err(|error| Failure::new(Code::Io, format!("no entropy: {error}")))?;
    Ok(Kernel::new(now, Config::default()))
}
