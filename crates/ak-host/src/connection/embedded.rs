//! A kernel in this process as its sessions use it: tokens are verified before a request goes in, and made after the
//! reply has come out.

use std::sync::Arc;

use ak_json::Value;
use ak_kernel::{Asked, Code, Failure, Outcome, Reply, Request, SessionId};
use ak_policy::capability::CapId;
use tokio_util::sync::CancellationToken;

use crate::{call::Sink, connection::policy_files::Elsewhere, driver::Driver, secrets::tokens::Keyring};

/// A driver and what stands around it. Cheap to clone; all clones are the same kernel.
#[derive(Clone)]
pub(crate) struct Embedded {
    pub(crate) driver: Driver,
    keyring: Arc<Keyring>,
}

impl Embedded {
    pub(crate) fn new(driver: Driver, keyring: Keyring) -> Embedded {
        Embedded { driver, keyring: Arc::new(keyring) }
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
        let elsewhere = self.driver.place_policy(&mut request, is_owners)?;
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
