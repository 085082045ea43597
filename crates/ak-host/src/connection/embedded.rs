//! A kernel in this process as its sessions use it: tokens are verified before a request goes in, and made after the
//! reply has come out.

use std::{path::PathBuf, sync::Arc};

use ak_json::Value;
use ak_kernel::{Asked, Code, Failure, Kernel, Outcome, Reply, Request, SessionId};
use ak_policy::capability::CapId;
use tokio_util::sync::CancellationToken;

use crate::{
    call::Sink,
    config::{self, HostFile},
    connection::{options::Options, policy_files::Elsewhere},
    driver::{Driver, HostConfig, unsaved::SNAPSHOT_ENTRIES},
    effects::infer::routes::Routes,
    fs::{Files, protected::Protected, roots::Roots},
    net::Net,
    secrets::{checkpoint_key, redact, store::Secrets, tokens::Keyring},
    storage::recover::Recovered,
};

/// A driver and what stands around it. Cheap to clone; all clones are the same kernel.
#[derive(Clone)]
pub(crate) struct Embedded {
    pub(crate) driver: Driver,
    keyring: Arc<Keyring>,
}

impl Embedded {
    /// Starts a recovered kernel: reads the host configuration and the keys, and completes what the last stop interrupted.
    ///
    /// # Errors
    /// NOT_CONFIGURED when the host configuration is wrong; IO when a key cannot be read or a file cannot be protected.
    pub(crate) fn open(recovered: Recovered, options: &Options) -> Result<Embedded, Failure> {
        let Recovered { kernel, log, replayed } = recovered;
        let no_key =
            |error: std::io::Error| Failure::new(Code::Io, format!("a key of the kernel's: {error}"));
        let config = host_config(&kernel, options)?;
        let keyring = Keyring::open(options.state_dir.as_deref(), kernel.run()).map_err(no_key)?;
        let driver = Driver::new(kernel, log, replayed, config);
        driver.settle_unknown()?;
        driver.end_former_sessions()?;
        if replayed >= SNAPSHOT_ENTRIES {
            // Without it the next start takes as long again, and nothing else.
            driver.keep_snapshot();
        }
        Ok(Embedded { driver, keyring: Arc::new(keyring) })
    }

    /// Makes a request, with the capability of a token where one is presented, and waits for its outcome. While it waits, `heed` is
    /// asked whether to go on, where there is one.
    pub(crate) fn call(
        &self,
        session: SessionId,
        request: Request,
        cap: Option<&str>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        let (asked, wanted) = self.ask(session, request, cap)?;
        wanted.tell(self, self.driver.call_heeding(session, asked, on_chunk, stop, heed)?)
    }

    /// The same within a task of the runtime.
    pub(crate) async fn answer(
        &self,
        session: SessionId,
        request: Request,
        cap: Option<&str>,
        sink: Sink<'static>,
        stop: CancellationToken,
    ) -> Outcome {
        let (asked, wanted) = self.ask(session, request, cap)?;
        wanted.tell(self, self.driver.answer(session, asked, sink, stop).await?)
    }

    /// The request as the kernel takes it, with the capability of a token, and what its reply wants beside.
    fn ask(
        &self,
        session: SessionId,
        mut request: Request,
        cap: Option<&str>,
    ) -> Result<(Asked, Wanted), Failure> {
        self.driver.origin().check()?;
        let token = match &request {
            Request::CapToken { capability } => Some(*capability),
            _ => None,
        };
        let is_owners = session == SessionId::OWNER && cap.is_none();
        let elsewhere = Elsewhere::of(&mut request, is_owners, self.driver.protected())?;
        let asked = match cap {
            None => request.into(),
            Some(token) => {
                let verified = self.keyring.verify(token);
                request.presenting(verified.inspect_err(|_| self.driver.turn_away(Some(session)))?)
            }
        };
        Ok((asked, Wanted { token, elsewhere }))
    }

    /// A session of the agent that holds the capability of a token, within a task of the runtime. Its requests have to present it.
    ///
    /// # Errors
    /// CAP_INVALID where it is no token of this kernel, CAP_REVOKED where the capability is gone.
    pub(crate) async fn holder(&self, token: &str) -> Result<SessionId, Failure> {
        let capability = self.keyring.verify(token)?.capability();
        let asked = Request::CapToken { capability }.into();
        let told = self.driver.answer(SessionId::OWNER, asked, Sink::Nobody, CancellationToken::new()).await;
        match told.map_err(Failure::presented)? {
            Reply::Value(told) => {
                let agent = told.get("agent").and_then(Value::as_str).unwrap_or_default();
                self.driver.open_agent_on_task(SessionId::OWNER, agent).await
            }
            _ => Err(Failure::new(Code::Io, "the kernel did not say whose the capability is")),
        }
    }
}

/// What the driver of a kernel is configured with.
fn host_config(kernel: &Kernel, options: &Options) -> Result<HostConfig, Failure> {
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
    // Whoever writes the program is the kernel the next time.
    let named = named.into_iter().flatten().cloned().chain(std::env::current_exe());
    let policies = kernel.policy_files().iter().map(|path| PathBuf::from(&**path));
    let protected = Protected::new(named.chain(protected).chain(policies)).map_err(unusable)?;
    Ok(HostConfig {
        filter: secrets.filter(patterns),
        routes,
        net: Net::new(net).map_err(wrong)?,
        secrets,
        env,
        files: Files { protected, roots: Roots::default() },
        checkpoint_key: checkpoint_key::open(options.state_dir.as_deref(), &kernel.run()).map_err(no_key)?,
    })
}

/// What a reply wants beside what the kernel says.
struct Wanted {
    /// The capability whose token is asked for.
    token: Option<CapId>,
    elsewhere: Elsewhere,
}

impl Wanted {
    fn tell(self, kernel: &Embedded, reply: Reply) -> Outcome {
        match (self.token, reply) {
            (Some(capability), Reply::Value(Value::Object(mut told))) => {
                told.insert("token", kernel.keyring.sign(capability)?);
                Ok(Reply::Value(told.into()))
            }
            (_, reply) => Ok(self.elsewhere.tell(reply)),
        }
    }
}
