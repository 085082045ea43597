//! The HELLO of a connection: authenticates the client and opens its session.

use std::{io, path::Path};

use ak_json::{Text, Value};
use ak_kernel::{Code, Failure, SessionId, frame::VERSION};

use crate::{
    connection::embedded::Embedded,
    daemon::{
        limits::{Permit, Shared},
        session::Reader,
    },
    random::random_bytes,
    secrets::key_file,
    wire::{self, Frame, ReceiveBudget},
};

/// Maximum time from accepting a connection to the end of its HELLO, in milliseconds. After that the connection is
/// closed.
pub const HELLO_TIMEOUT_MS: u64 = if cfg!(test) { 100 } else { 10_000 };
/// Maximum length of the payload of a HELLO, in bytes.
pub(super) const HELLO_BYTES_MAX: usize = 64 << 10;

/// Returns the owner's credential, 64 hexadecimal digits, from the file at `path`, which only its owner may read. A
/// missing file is created.
///
/// # Errors
/// When the file cannot be read or created, other users may read it, or it holds anything else.
pub fn owner_token(path: &Path) -> io::Result<String> {
    let token = key_file::read_or_create(path, || Ok(hex::encode(random_bytes()?)))?;
    match key_file::parse_hex_key(token.trim()) {
        Some(_) => Ok(token.trim().to_owned()),
        None => {
            let message = format!("{}: is not an owner token", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

pub(super) async fn read_hello(stream: &mut Reader) -> Result<Option<Frame>, Failure> {
    let Some(first) = wire::read_first_byte(stream).await? else { return Ok(None) };
    wire::read_rest(stream, first, &mut ReceiveBudget::Bytes(HELLO_BYTES_MAX)).await.map(Some)
}

/// The session of one connection; dropping it ends the session, unless it is the owner's.
pub(super) struct AdmittedSession {
    kernel: Embedded,
    pub(super) session: SessionId,
    _permits: Vec<Option<Permit>>,
}

impl Drop for AdmittedSession {
    fn drop(&mut self) {
        if self.session != SessionId::OWNER {
            self.kernel.driver.end_session(self.session);
        }
    }
}

/// Authenticates a HELLO and opens its session. The owner's token opens the owner's session, or the session of the
/// agent that HELLO names. A capability token opens a session of its holder and is returned: every request must present
/// it. Without a token the client becomes a guest, if guests are admitted.
pub(super) async fn authenticate(
    server: &Shared,
    hello: &Value,
) -> Result<(AdmittedSession, Option<Text>), Failure> {
    let speaks = hello.get("versions").and_then(Value::as_array);
    if !speaks
        .is_some_and(|versions| versions.iter().any(|version| version.as_u64() == Some(u64::from(VERSION))))
    {
        return Err(Failure::new(Code::Version, format!("this side speaks version {VERSION}")));
    }
    let presented = hello.get("token").and_then(Value::as_str);
    let agent = hello.get("agent").and_then(Value::as_str);
    let Shared { kernel, token, limits, .. } = server;
    let admitted = |session, permits| AdmittedSession { kernel: kernel.clone(), session, _permits: permits };
    // The limits do not apply to the owner.
    let is_owner = agent.is_none() && presented.is_some_and(|given| equals_in_constant_time(given, token));
    let permit = if is_owner { None } else { Some(limits.sessions.try_acquire().ok_or_else(sessions_full)?) };
    match (presented, agent) {
        (Some(presented), agent) if !equals_in_constant_time(presented, token) => {
            let refused = || {
                let message = "the token in HELLO is not the owner's, nor a capability's: set AK_TOKEN_FILE to the \
                               file that `ak serve` made";
                Failure::new(Code::CapInvalid, message)
            };
            match agent {
                None => match kernel.open_holder_session(presented).await {
                    Ok(session) => Ok((admitted(session, vec![permit]), Some(presented.into()))),
                    Err(failure) if failure.code == Code::CapInvalid => Err(refused()),
                    Err(failure) => Err(failure),
                },
                Some(_) => Err(refused()),
            }
        }
        (Some(_), None) => Ok((admitted(SessionId::OWNER, Vec::new()), None)),
        (Some(_), Some(agent)) => {
            let session = kernel.driver.open_agent_on_task(SessionId::OWNER, agent).await?;
            Ok((admitted(session, vec![permit]), None))
        }
        (None, None) => match limits.guests.try_acquire() {
            Some(guest) => Ok((admitted(kernel.driver.open_guest().await?, vec![permit, Some(guest)]), None)),
            None if limits.guests.max > 0 => {
                let message =
                    format!("the limit of {} guests is reached: try again later", limits.guests.max);
                Err(Failure::new(Code::Quota, message))
            }
            None => {
                let message = "no credential came with HELLO, and guests are not admitted: set AK_TOKEN_FILE to the file that \
                               `ak serve` made";
                Err(Failure::new(Code::CapMissing, message))
            }
        },
        (None, Some(_)) => {
            let message = "only the owner opens a session for a named agent: set AK_TOKEN_FILE";
            Err(Failure::new(Code::CapMissing, message))
        }
    }
}

fn sessions_full() -> Failure {
    let message = "the daemon's limit of sessions is reached: close one, or try again later";
    Failure::new(Code::Quota, message)
}

/// Compares the presented token with the owner's in constant time.
fn equals_in_constant_time(given: &str, token: &str) -> bool {
    let (given, token) = (given.as_bytes(), token.as_bytes());
    given.len() == token.len()
        && given.iter().zip(token).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}
