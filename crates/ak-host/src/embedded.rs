//! A kernel in this process as its sessions use it: tokens are verified before a request goes in, and made after the
//! reply has come out.

use std::sync::Arc;

use ak_json::Value;
use ak_kernel::{Asked, Code, Failure, Outcome, Reply, Request, SessionId};
use ak_policy::capability::CapId;
use tokio_util::sync::CancellationToken;

use crate::{call::Sink, driver::Driver, keyring::Keyring};

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
        let wanted = wanted(&request);
        let asked = self.presenting(session, request, cap)?;
        let reply = self.driver.call_heeding(session, asked, on_chunk, stop, heed)?;
        self.with_token(wanted, reply)
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
        let wanted = wanted(&request);
        let asked = self.presenting(session, request, cap)?;
        let reply = self.driver.answer(session, asked, sink, stop).await?;
        self.with_token(wanted, reply)
    }

    /// The request with the capability of a token.
    fn presenting(&self, session: SessionId, request: Request, cap: Option<&str>) -> Result<Asked, Failure> {
        match cap {
            None => Ok(request.into()),
            Some(token) => {
                let verified = self.keyring.verify(token);
                Ok(request.presenting(verified.inspect_err(|_| self.driver.turn_away(Some(session)))?))
            }
        }
    }

    /// The reply, with the token that was asked for.
    fn with_token(&self, wanted: Option<CapId>, reply: Reply) -> Outcome {
        match (wanted, reply) {
            (Some(capability), Reply::Value(Value::Object(mut told))) => {
                told.insert("token", self.keyring.sign(capability)?);
                Ok(Reply::Value(told.into()))
            }
            (_, reply) => Ok(reply),
        }
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

/// The capability whose token a request asks for.
fn wanted(request: &Request) -> Option<CapId> {
    match request {
        Request::CapToken { capability } => Some(*capability),
        _ => None,
    }
}
