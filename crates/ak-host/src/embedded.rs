//! A kernel in this process as its sessions use it: tokens are verified before a request goes in, and made after the
//! reply has come out.

use std::sync::Arc;

use ak_json::Value;
use ak_kernel::{Code, Failure, Outcome, Reply, Request, SessionId};
use tokio_util::sync::CancellationToken;

use crate::{driver::Driver, keyring::Keyring};

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

    /// Makes a request, with the capability of a token where one is presented, and waits for its outcome.
    pub(crate) fn call(
        &self,
        session: SessionId,
        mut request: Request,
        cap: Option<&str>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        let wanted = match &request {
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
        let reply = self.driver.call_streaming(session, asked, on_chunk, stop)?;
        match (wanted, reply) {
            (Some(capability), Reply::Value(Value::Object(mut told))) => {
                told.insert("token", self.keyring.sign(capability)?);
                Ok(Reply::Value(told.into()))
            }
            (_, reply) => Ok(elsewhere.tell(reply)),
        }
    }

    /// A session of the agent that holds the capability of a token. Its requests have to present it.
    ///
    /// # Errors
    /// CAP_INVALID where it is no token of this kernel, CAP_REVOKED where the capability is gone.
    pub(crate) fn holder(&self, token: &str) -> Result<SessionId, Failure> {
        let capability = self.keyring.verify(token)?.capability();
        let told = self.driver.call(SessionId::OWNER, Request::CapToken { capability });
        match told.map_err(Failure::presented)? {
            Reply::Value(told) => {
                let agent = told.get("agent").and_then(Value::as_str).unwrap_or_default();
                self.driver.open_agent(SessionId::OWNER, agent)
            }
            _ => Err(Failure::new(Code::Io, "the kernel did not say whose the capability is")),
        }
    }
}
