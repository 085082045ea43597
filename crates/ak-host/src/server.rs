//! The daemon: one kernel offered on a Unix socket.

use std::{
    collections::BTreeMap,
    io,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ak_json::{Value, object};
use ak_kernel::{
    Code, Failure, Outcome, Request, Session, outcome_to_value,
    wire::{Flags, PAYLOAD_BYTES_MAX, VERSION},
};

use crate::{connection::Connection, driver::Driver, wire};

/// Most connections at once; the next one is told so and closed.
pub const CONNECTIONS_MAX: u64 = 1_024;
/// Most effects of one connection under way at once.
pub const EFFECTS_MAX: usize = 256;
/// The agent that connections without a credential share.
pub const GUEST: &str = "guest";
/// Bytes of the owner's token before it is written as hexadecimal.
const TOKEN_BYTES: usize = 32;

/// A kernel that listens.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    driver: Driver,
    token: Arc<str>,
}

impl Server {
    /// Listens at `path`. Whoever presents `token` is the owner; see [`owner_token`].
    ///
    /// # Errors
    /// When the socket cannot be made, or another daemon listens already.
    pub fn bind(connection: &Connection, path: &Path, token: &str) -> io::Result<Server> {
        let driver =
            connection.driver().ok_or_else(|| io::Error::other("only an embedded kernel can be served"))?;
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{} is served already", path.display()),
            ));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Server { listener, path: path.to_owned(), driver, token: token.into() })
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the socket breaks.
    pub fn run(&self) -> io::Result<()> {
        let open = Arc::new(AtomicU64::new(0));
        for stream in self.listener.incoming() {
            let stream = stream?;
            let (driver, token, open) = (self.driver.clone(), self.token.clone(), open.clone());
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            std::thread::spawn(move || {
                // A connection that breaks concerns nobody else; its client sees it.
                let _ = serve(&driver, &token, stream);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The socket file is of no use without its listener; that it is gone already is fine.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The owner's credential: 64 hexadecimal digits in a file that only its owner may read. It is made where it is not there.
///
/// # Errors
/// When the file cannot be read or made, others may read it, or it holds something else.
pub fn owner_token(path: &Path) -> io::Result<String> {
    secret(path)
}

/// The secret in a file that only its owner can read: as many random digits as a token has. Made if it is not there.
pub(crate) fn secret(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(token) => {
            let mode = std::fs::metadata(path)?.permissions().mode();
            if mode & 0o077 != 0 {
                let message = format!(
                    "{}: others may read the secret (mode {:o}); make it 0600",
                    path.display(),
                    mode & 0o777
                );
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            match token.trim() {
                token if token.len() == 2 * TOKEN_BYTES => Ok(token.to_owned()),
                _ => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: holds no secret of {} hexadecimal digits", path.display(), 2 * TOKEN_BYTES),
                )),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; TOKEN_BYTES];
            getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            io::Write::write_all(&mut file, token.as_bytes())?;
            Ok(token)
        }
        Err(error) => Err(error),
    }
}

/// One connection: HELLO, then requests.
fn serve(driver: &Driver, token: &str, mut stream: UnixStream) -> Result<(), Failure> {
    let Some(hello) = wire::read(&mut stream)? else { return Ok(()) };
    let opened = match hello.flags.has(Flags::HELLO) {
        true => greet(driver, token, &hello.payload),
        false => Err(Failure::new(Code::FrameInvalid, "the first frame is not HELLO")),
    };
    let session = match opened {
        Ok(session) => session,
        Err(failure) => {
            let error = outcome_to_value(&Err(failure));
            return wire::write(&mut stream, Flags::HELLO.with(Flags::ERROR), hello.sequence, &error);
        }
    };
    let limits = object! { "payload_bytes_max": PAYLOAD_BYTES_MAX as u64 };
    let welcome = object! { "version": u64::from(VERSION), "limits": limits, "owner": session.is_owner() };
    let welcome = object! { "ok": true, "result": welcome };
    wire::write(&mut stream, Flags::HELLO.with(Flags::RESPONSE), hello.sequence, &welcome)?;
    let line = Arc::new(ServerLine {
        driver: driver.clone(),
        session,
        writer: Mutex::new(stream.try_clone().map_err(|error| Failure::new(Code::Io, error.to_string()))?),
        under_way: Mutex::default(),
    });
    let ended = requests(&line, &mut stream, hello.sequence);
    line.cancel_all();
    ended
}

/// What the threads of one connection share.
struct ServerLine {
    driver: Driver,
    session: Session,
    writer: Mutex<UnixStream>,
    /// The requests that are being performed, and whether the client still waits.
    under_way: Mutex<BTreeMap<u64, Arc<AtomicBool>>>,
}

/// Takes requests until the client is gone. What the kernel answers by itself is answered here; an effect gets a thread, so
/// that what follows it need not wait.
fn requests(line: &Arc<ServerLine>, stream: &mut UnixStream, mut newest: u64) -> Result<(), Failure> {
    while let Some(frame) = wire::read(stream)? {
        let sequence = frame.sequence;
        if frame.flags == Flags::REQUEST.with(Flags::END) {
            line.cancel(sequence);
            continue;
        }
        if sequence <= newest {
            let message = format!("sequence {sequence} does not rise above {newest}");
            line.answer(sequence, &Err(Failure::new(Code::Replay, message)))?;
            continue;
        }
        newest = sequence;
        if frame.flags != Flags::REQUEST {
            line.answer(sequence, &Err(Failure::new(Code::FrameInvalid, "the frame is not a request")))?;
            continue;
        }
        match wire::request_of(&frame.payload) {
            Err(failure) => line.answer(sequence, &Err(failure))?,
            Ok(request) if request.is_effect() => line.perform(sequence, request)?,
            Ok(request) => line.answer(sequence, &line.driver.call(line.session, request))?,
        }
    }
    Ok(())
}

impl ServerLine {
    /// Performs an effect on a thread of its own.
    fn perform(self: &Arc<Self>, sequence: u64, request: Request) -> Result<(), Failure> {
        let wanted = Arc::new(AtomicBool::new(true));
        let full = match self.under_way.lock() {
            Ok(under_way) if under_way.len() >= EFFECTS_MAX => true,
            Ok(mut under_way) => {
                under_way.insert(sequence, wanted.clone());
                false
            }
            Err(_) => true,
        };
        if full {
            let message = format!("{EFFECTS_MAX} requests of this connection are under way already");
            return self.answer(sequence, &Err(Failure::new(Code::Quota, message)));
        }
        let line = self.clone();
        let work = move || {
            let outcome = line.driver.call_streaming(line.session, request, &mut |chunk| {
                let payload = object! { "data": chunk };
                let flags = Flags::RESPONSE.with(Flags::CHUNK);
                wanted.load(Ordering::Relaxed) && line.write(flags, sequence, &payload).is_ok()
            });
            line.cancel(sequence);
            // A client that is gone needs no answer.
            let _ = line.answer(sequence, &outcome);
        };
        match std::thread::Builder::new().name("ak-effect".into()).spawn(work) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.cancel(sequence);
                self.answer(
                    sequence,
                    &Err(Failure::new(Code::Quota, format!("no thread for the request: {error}"))),
                )
            }
        }
    }

    fn answer(&self, sequence: u64, outcome: &Outcome) -> Result<(), Failure> {
        let flags = if outcome.is_ok() { Flags::RESPONSE } else { Flags::RESPONSE.with(Flags::ERROR) };
        match self.write(flags.with(Flags::END), sequence, &outcome_to_value(outcome)) {
            Err(failure) if failure.code == Code::FrameTooLarge => {
                let flags = Flags::RESPONSE.with(Flags::ERROR).with(Flags::END);
                self.write(flags, sequence, &outcome_to_value(&Err(failure)))
            }
            written => written,
        }
    }

    fn write(&self, flags: Flags, sequence: u64, payload: &Value) -> Result<(), Failure> {
        let died = |_| Failure::new(Code::Io, "a thread died while it held the connection");
        wire::write(&mut *self.writer.lock().map_err(died)?, flags, sequence, payload)
    }

    /// The client does not wait for this any longer: a stream stops at its next piece.
    fn cancel(&self, sequence: u64) {
        if let Some(wanted) = self.under_way.lock().ok().and_then(|mut under_way| under_way.remove(&sequence))
        {
            wanted.store(false, Ordering::Relaxed);
        }
    }

    fn cancel_all(&self) {
        if let Ok(mut under_way) = self.under_way.lock() {
            for wanted in std::mem::take(&mut *under_way).into_values() {
                wanted.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// Authenticates a HELLO: the owner's token opens the owner's session, or any agent's; without one it is a guest.
fn greet(driver: &Driver, token: &str, hello: &Value) -> Result<Session, Failure> {
    let speaks = hello.get("versions").and_then(Value::as_array);
    if !speaks
        .is_some_and(|versions| versions.iter().any(|version| version.as_u64() == Some(u64::from(VERSION))))
    {
        return Err(Failure::new(Code::Version, format!("this side speaks version {VERSION}")));
    }
    let presented = hello.get("token").and_then(Value::as_str);
    let agent = hello.get("agent").and_then(Value::as_str);
    match (presented, agent) {
        (Some(presented), _) if !equal_in_constant_time(presented.as_bytes(), token.as_bytes()) => {
            let message =
                "the token in HELLO is not the owner's: set AK_TOKEN_FILE to the file that `ak serve` made";
            Err(Failure::new(Code::CapInvalid, message))
        }
        (Some(_), None) => Ok(Session::OWNER),
        (Some(_), Some(agent)) => driver.open_agent(Session::OWNER, agent),
        (None, None) => driver.open_agent(Session::OWNER, GUEST),
        (None, Some(_)) => {
            let message = "only the owner opens a session for a named agent: set AK_TOKEN_FILE";
            Err(Failure::new(Code::CapMissing, message))
        }
    }
}

fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}
