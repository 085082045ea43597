//! A kernel in this process as its sessions use it. Capability tokens are verified before a request is dispatched, and
//! signed after the kernel's reply.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use ak_json::{Object, Value};
use ak_kernel::{
    AdminRequest, AgentRequest, AuthenticatedRequest, Code, Failure, Kernel, Outcome, Reply, Request,
    SessionId,
};
use ak_policy::{Lint, capability::CapId};
use tokio_util::sync::CancellationToken;

use crate::{
    call::ChunkSink,
    config::{self, HostFile, options::Options},
    connection::policy_files::{PolicyReport, UnprotectedFiles},
    driver::{Driver, DriverConfig, unsaved::SNAPSHOT_ENTRIES},
    effects::infer::routes::Routes,
    fs::{FileEffects, protected::Protected, roots::Roots},
    net::Net,
    secrets::{checkpoint_key, redact, store::Secrets, tokens::CapabilityTokens},
    storage::recover::Recovered,
};

/// A driver with the keys of capability tokens; cheap to clone, and all clones are the same kernel.
#[derive(Clone)]
pub(crate) struct Embedded {
    pub(crate) driver: Driver,
    tokens: Arc<CapabilityTokens>,
    /// The lints of the policy, by the ids of rules, since it was loaded by this process.
    lints: Arc<Mutex<BTreeMap<String, Vec<Lint>>>>,
}

impl Embedded {
    /// Starts a recovered kernel: reads the host configuration and the keys, and completes the effects that the last
    /// stop interrupted.
    ///
    /// # Errors
    /// NOT_CONFIGURED when the host configuration is invalid; IO when a key cannot be read or a file cannot be
    /// protected.
    pub(crate) fn open(recovered: Recovered, options: &Options) -> Result<Embedded, Failure> {
        let Recovered { kernel, log, replayed } = recovered;
        let no_key =
            |error: std::io::Error| Failure::new(Code::Io, format!("a key of the kernel's: {error}"));
        let config = host_config(&kernel, options)?;
        let tokens = CapabilityTokens::open(options.state_dir.as_deref(), kernel.run()).map_err(no_key)?;
        let driver = Driver::new(kernel, log, replayed, config);
        driver.complete_interrupted()?;
        driver.close_former_sessions()?;
        if replayed >= SNAPSHOT_ENTRIES {
            // A failed snapshot only makes the next start replay as many entries again.
            driver.start_snapshot();
        }
        Ok(Embedded { driver, tokens: Arc::new(tokens), lints: Arc::default() })
    }

    /// Makes a request that presents the token `cap`, if there is one, and waits for its outcome. While it waits it
    /// polls `should_continue`, if there is one.
    pub(crate) fn call(
        &self,
        session: SessionId,
        request: Request,
        cap: Option<&str>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        let (asked, extras) = self.prepare(session, request, cap)?;
        extras.add_to(self, self.driver.call_interruptible(session, asked, on_chunk, stop, should_continue)?)
    }

    /// [`call`](Self::call) within a task of the runtime.
    pub(crate) async fn call_on_task(
        &self,
        session: SessionId,
        request: Request,
        cap: Option<&str>,
        chunks: ChunkSink<'static>,
        stop: CancellationToken,
    ) -> Outcome {
        let (asked, extras) = self.prepare(session, request, cap)?;
        extras.add_to(self, self.driver.call_on_task(session, asked, chunks, stop).await?)
    }

    /// The lints of the policy in force, those that the registered tools give among them.
    pub(crate) fn lint_policy(&self) -> Vec<Lint> {
        let Some((policy, tools)) = self.driver.policy_and_tools() else { return Vec::new() };
        let mut lints = policy.lint();
        lints.extend(policy.lint_tools(tools.iter().map(|(name, schema)| (&**name, schema))));
        let mut by_rule: BTreeMap<String, Vec<Lint>> = BTreeMap::new();
        for lint in &lints {
            by_rule.entry(lint.rule_id.clone()).or_default().push(lint.clone());
        }
        if let Ok(mut known) = self.lints.lock() {
            *known = by_rule;
        }
        lints
    }

    /// Adds to the answer of an AUTHORIZE the lints about the rule that decided, if there are any.
    fn add_lints(&self, mut told: Object) -> Reply {
        let rule = told.get("rule_id").and_then(Value::as_str).unwrap_or_default();
        let found = self.lints.lock().ok().and_then(|known| known.get(rule).cloned());
        if let Some(lints) = found {
            told.insert("lints", lints.iter().map(Lint::to_value).collect::<Vec<_>>());
        }
        Reply::Value(told.into())
    }

    /// Returns the request with the verified capability, and what the host has to add to the kernel's reply.
    fn prepare(
        &self,
        session: SessionId,
        mut request: Request,
        cap: Option<&str>,
    ) -> Result<(AuthenticatedRequest, ReplyExtras), Failure> {
        self.driver.process().check()?;
        let token = match &request {
            Request::Agent(AgentRequest::CapToken { capability }) => Some(*capability),
            _ => None,
        };
        let is_owners = session == SessionId::OWNER && cap.is_none();
        let unprotected = UnprotectedFiles::protect_local(&mut request, is_owners, self.driver.protected())?;
        let asked = match cap {
            None => request.into(),
            Some(token) => {
                let verified = self.tokens.verify(token);
                request.presenting(verified.inspect_err(|_| self.driver.count_throttled(Some(session)))?)
            }
        };
        let loads_policy = matches!(asked.request(), Request::Admin(AdminRequest::PolicyLoad { .. }));
        let authorizes = matches!(asked.request(), Request::Admin(AdminRequest::Authorize { .. }));
        let (loads_policy, authorizes) = (loads_policy && is_owners, authorizes && is_owners);
        Ok((asked, ReplyExtras { token, loads_policy, authorizes, unprotected }))
    }

    /// Opens a session of the agent that holds the capability of `token`, within a task of the runtime. The caller must
    /// make every request of the session present the token.
    ///
    /// # Errors
    /// CAP_INVALID when `token` is not a token of this kernel, CAP_REVOKED when the capability no longer exists.
    pub(crate) async fn open_holder_session(&self, token: &str) -> Result<SessionId, Failure> {
        let capability = self.tokens.verify(token)?.capability();
        let asked = Request::Agent(AgentRequest::CapToken { capability }).into();
        let told = self
            .driver
            .call_on_task(SessionId::OWNER, asked, ChunkSink::Discard, CancellationToken::new())
            .await;
        match told.map_err(Failure::presented)? {
            Reply::Value(told) => {
                let agent = told.get("agent").and_then(Value::as_str).unwrap_or_default();
                self.driver.open_agent_on_task(SessionId::OWNER, agent).await
            }
            _ => Err(Failure::new(Code::Io, "the kernel did not say whose the capability is")),
        }
    }
}

/// Builds the configuration of the kernel's driver from the host configuration file and the environment.
fn host_config(kernel: &Kernel, options: &Options) -> Result<DriverConfig, Failure> {
    let unusable =
        |error: std::io::Error| Failure::new(Code::Io, format!("cannot protect the kernel's files: {error}"));
    let no_key = |error: std::io::Error| Failure::new(Code::Io, format!("a key of the kernel's: {error}"));
    let wrong = |message: String| Failure::new(Code::NotConfigured, message);
    let path = options.host_config.as_deref();
    let HostFile { path, directory, net, secrets, models, env, redact, protected } =
        path.map(HostFile::read).transpose().map_err(wrong)?.unwrap_or_default();
    let wrong_in_file = |error: String| wrong(config::locate(&path, &error));
    let mut secrets = Secrets::new(secrets, &directory).map_err(wrong_in_file)?;
    let mut routes = Routes::new(models, &mut secrets, &directory).map_err(wrong_in_file)?;
    let patterns = redact::patterns(redact).map_err(wrong_in_file)?;
    routes.add_from_env(&mut secrets).map_err(wrong)?;
    let named = [&options.state_dir, &options.policy, &options.token_file, &options.host_config];
    // Anyone who can overwrite the program controls the kernel at its next start.
    let named = named.into_iter().flatten().cloned().chain(std::env::current_exe());
    let policies = kernel.policy_files().iter().map(|path| PathBuf::from(&**path));
    let protected = Protected::new(named.chain(protected).chain(policies)).map_err(unusable)?;
    Ok(DriverConfig {
        redactor: secrets.redactor(patterns),
        routes,
        net: Net::new(net).map_err(wrong)?,
        secrets,
        env,
        files: FileEffects { protected, roots: Roots::default() },
        checkpoint_key: checkpoint_key::open(options.state_dir.as_deref(), &kernel.run()).map_err(no_key)?,
    })
}

/// What the host adds to the kernel's reply.
struct ReplyExtras {
    /// The capability whose token the caller requested; `None` for every other operation.
    token: Option<CapId>,
    /// Whether the owner replaces the policy.
    loads_policy: bool,
    /// Whether the owner asks what would be decided: which rule decides, and what is doubtful about it, is the owner's to know.
    authorizes: bool,
    unprotected: UnprotectedFiles,
}

impl ReplyExtras {
    fn add_to(self, kernel: &Embedded, reply: Reply) -> Outcome {
        match (self.token, reply) {
            (Some(capability), Reply::Value(Value::Object(mut told))) => {
                told.insert("token", kernel.tokens.sign(capability)?);
                Ok(Reply::Value(told.into()))
            }
            (_, Reply::Value(Value::Object(told))) if self.authorizes => Ok(kernel.add_lints(told)),
            (_, Reply::Done) if self.loads_policy => {
                Ok(PolicyReport { unprotected: self.unprotected.into_paths(), lints: kernel.lint_policy() }
                    .into_reply())
            }
            (_, reply) => Ok(reply),
        }
    }
}
