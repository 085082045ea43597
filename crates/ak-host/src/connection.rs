//! One session with a kernel, wherever the kernel runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ak_audit::{Disk, journal};
use ak_json::{Limits, Text, Value};
use ak_kernel::{Code, Config, Failure, Kernel, Outcome, Request, SessionId};
use ak_sandbox::Manifest;
use tokio_util::sync::CancellationToken;

use crate::{
    attest::Signer,
    client::Client,
    clock,
    config::HostFile,
    driver::{Driver, HostConfig},
    embedded::Embedded,
    files::Files,
    keyring::Keyring,
    log::Log,
    net::Net,
    protected::Protected,
    recover::{self, Progress, Recovered},
    roots::Roots,
    snapshots::SNAPSHOT_ENTRIES,
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
        match &options.url {
            None => Connection::embed(options, &mut |_, _| {}),
            Some(url) => match url.strip_prefix("unix://") {
                Some(path) => {
                    let token = options.token_file.as_deref().map(read_token).transpose()?;
                    let client = Client::connect(Path::new(path), token, None)?;
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
        segments: journal::Options,
        options: &Options,
    ) -> Result<Connection, Failure> {
        let (disk, vault) = (Box::new(journal), Box::new(vault));
        let recovered = recover::open_on(disk, vault, segments, fresh_kernel, &mut |_, _| {})?;
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
        let named = named.into_iter().flatten().cloned();
        let protected = Protected::new(named.chain(file.protected)).map_err(unusable)?;
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
        path.map_or(Ok(()), |path| self.load_policy_file(path))
    }

    /// Replaces the policy by the one in the file at `path`. An embedded kernel keeps every agent away from the file.
    ///
    /// # Errors
    /// When the file cannot be read, or the policy is refused; the one in force stays then.
    pub fn load_policy_file(&self, path: &Path) -> Result<(), Failure> {
        self.call(policy_request(path)?)?;
        match &self.end {
            End::Embedded(kernel, _) => kernel.driver.protect(path).map_err(|error| {
                Failure::new(Code::Io, format!("cannot protect the policy {}: {error}", path.display()))
            }),
            End::Remote(_) => Ok(()),
        }
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
        match &self.end {
            End::Embedded(kernel, open) => {
                kernel.call(open.session, request, self.cap.as_deref(), on_chunk, stop)
            }
            End::Remote(client) => client.call(&request, self.cap.as_deref(), on_chunk, stop),
        }
    }

    /// A session for an agent. Only the owner may open one, and not by a capability.
    ///
    /// # Errors
    /// When this is not the owner's session, or the name is no agent's name.
    pub fn agent(&self, name: &str) -> Result<Connection, Failure> {
        if self.cap.is_some() {
            let message = "a session that presents a capability opens no other";
            return Err(Failure::new(Code::CapScope, message).presented());
        }
        match &self.end {
            End::Embedded(kernel, open) => {
                let session = kernel.driver.open_agent(open.session, name)?;
                Ok(Connection::to(End::embedded(kernel.clone(), session)))
            }
            End::Remote(client) => Ok(Connection::to(End::Remote(client.agent(name)?))),
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

/// The request that loads the policy file at `path`. `./…` in it is relative to its directory.
///
/// # Errors
/// When the file cannot be read as UTF-8.
pub fn policy_request(path: &Path) -> Result<Request, Failure> {
    let unreadable = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Io };
        Failure::new(code, format!("policy {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let directory = std::path::absolute(path).map_err(unreadable)?.parent().map(Path::to_owned);
    let base_dir = directory.as_deref().and_then(Path::to_str).map(Text::from);
    Ok(Request::PolicyLoad { text: Text::from(text), base_dir })
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

fn read_token(path: &Path) -> Result<String, Failure> {
    match std::fs::read_to_string(path) {
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
