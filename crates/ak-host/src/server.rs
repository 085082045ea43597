//! The daemon: one kernel offered on a Unix socket.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    net::Shutdown,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ak_json::{Text, Value, object};
use ak_kernel::{
    Code, Failure, Outcome, Request, SessionId, outcome_to_value,
    wire::{Flags, PAYLOAD_BYTES_MAX, VERSION},
};
use tokio_util::sync::CancellationToken;

use crate::{connection::Connection, descriptors::raise_descriptor_limit, embedded::Embedded, secret, wire};

/// Most connections at once; the next one is closed.
pub const CONNECTIONS_MAX: u64 = 1_024;
/// Most effects of one connection under way at once.
pub const EFFECTS_MAX: usize = 256;
/// How long a client may take nothing of what is written to it, in milliseconds. Its connection is closed then.
pub const WRITE_TIMEOUT_MS: u64 = if cfg!(test) { 100 } else { 30_000 };
/// How long a client may take for its whole HELLO, in milliseconds, however it comes.
pub const HELLO_TIMEOUT_MS: u64 = if cfg!(test) { 100 } else { 10_000 };
/// Descriptors that are no connection's: the journal's files, the vault's, those of models and tools.
const OWN_DESCRIPTORS: u64 = 256;
/// Descriptors that one connection takes: two of its own, and those of an effect.
const DESCRIPTORS_PER_CONNECTION: u64 = 4;
/// How long the daemon waits when it cannot take a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A kernel that listens.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's file.
    file: (u64, u64),
    kernel: Embedded,
    token: Arc<str>,
    guests: Arc<Guests>,
}

/// Connections without a credential: how many there may be, and how many there are.
#[derive(Default)]
struct Guests {
    max: u64,
    open: AtomicU64,
}

/// One guest's place.
struct GuestPlace(Arc<Guests>);

impl Guests {
    fn take(self: &Arc<Guests>) -> Option<GuestPlace> {
        let place = GuestPlace(self.clone());
        (self.open.fetch_add(1, Ordering::Relaxed) < self.max).then_some(place)
    }
}

impl Drop for GuestPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// Listens at `path`. Whoever presents `token` is the owner; see [`owner_token`]. A socket that nobody listens on any more is
    /// replaced, and nothing else is.
    ///
    /// # Errors
    /// When the socket cannot be made, another daemon listens already, or something else stands there.
    pub fn bind(connection: &Connection, path: &Path, token: &str) -> io::Result<Server> {
        let kernel =
            connection.embedded().ok_or_else(|| io::Error::other("only an embedded kernel can be served"))?;
        make_room(path)?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let file = file_id(path)?;
        Ok(Server {
            listener,
            path: path.to_owned(),
            file,
            kernel,
            token: token.into(),
            guests: Arc::default(),
        })
    }

    /// Lets in so many connections at a time that bring no credential. Each is a guest of its own, whom nothing is permitted but
    /// what rules of the policy say of `guest/**`; all guests together are charged to one account. Without this there are none.
    #[must_use]
    pub fn with_guests(mut self, max: u64) -> Server {
        self.guests = Arc::new(Guests { max, open: AtomicU64::new(0) });
        self
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the socket breaks.
    pub fn run(&self) -> io::Result<()> {
        let open = Arc::new(AtomicU64::new(0));
        let connections_max = connections_max(raise_descriptor_limit());
        for stream in self.listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                // The listener itself is gone.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
                Err(_) => {
                    // No descriptors are left, or the client is gone already: neither ends the daemon.
                    std::thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            let (kernel, token, place) =
                (self.kernel.clone(), self.token.clone(), Place::take(&open, connections_max));
            let guests = self.guests.clone();
            let Some(place) = place else { continue };
            let work = move || {
                // A connection that breaks concerns nobody else; its client sees it.
                let _ = serve(&kernel, &token, &guests, stream);
                drop(place);
            };
            // Without a thread the connection is closed, and its place is free again.
            let _ = std::thread::Builder::new().name("ak-connection".into()).spawn(work);
        }
        Ok(())
    }
}

/// Device and number of the file at `path` itself.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

/// Removes the socket that a daemon which is gone has left at `path`.
fn make_room(path: &Path) -> io::Result<()> {
    let told = |kind, what: &str| io::Error::new(kind, format!("{} {what}", path.display()));
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(told(error.kind(), &format!("cannot be looked at: {error}"))),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(told(io::ErrorKind::AlreadyExists, "exists and is not a socket: it is not replaced"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(told(io::ErrorKind::AddrInUse, "is served already")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // Somebody may listen: a full queue, another kind of socket, one of another user.
        Err(error) => Err(told(error.kind(), &format!("is a socket that may be in use: {error}"))),
    }
}

/// How many connections there may be where this process may have so many descriptors: some are the journal's and the effects'.
fn connections_max(descriptors: Option<u64>) -> u64 {
    let left = descriptors.map(|descriptors| descriptors.saturating_sub(OWN_DESCRIPTORS));
    left.map_or(CONNECTIONS_MAX, |left| (left / DESCRIPTORS_PER_CONNECTION).clamp(1, CONNECTIONS_MAX))
}

/// One of the connections that there may be.
struct Place(Arc<AtomicU64>);

impl Place {
    fn take(open: &Arc<AtomicU64>, max: u64) -> Option<Place> {
        let place = Place(open.clone());
        (open.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The socket file is of no use without its listener. What has been put in its place since is somebody else's.
        if file_id(&self.path).is_ok_and(|id| id == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The owner's credential: 64 hexadecimal digits in a file that only its owner may read. It is made where it is not there.
///
/// # Errors
/// When the file cannot be read or made, others may read it, or it holds something else.
pub fn owner_token(path: &Path) -> io::Result<String> {
    let token = secret::read_or_make(path, || Ok(secret::to_hex(&secret::random()?)))?;
    match secret::from_hex(token.trim()) {
        Some(_) => Ok(token.trim().to_owned()),
        None => {
            let message = format!("{}: is not an owner token", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// Reads from a connection until a moment, which bytes that come one by one do not put off.
struct Until<'a> {
    stream: &'a UnixStream,
    ends: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

/// One connection: HELLO, then requests.
fn serve(
    kernel: &Embedded,
    token: &str,
    guests: &Arc<Guests>,
    mut stream: UnixStream,
) -> Result<(), Failure> {
    let io = |error: io::Error| Failure::new(Code::Io, error.to_string());
    let ends = Instant::now() + Duration::from_millis(HELLO_TIMEOUT_MS);
    let Some(hello) = wire::read(&mut Until { stream: &stream, ends })? else { return Ok(()) };
    stream.set_read_timeout(None).map_err(io)?;
    let opened = match hello.flags.has(Flags::HELLO) {
        true => greet(kernel, token, guests, &hello.payload),
        false => Err(Failure::new(Code::FrameInvalid, "the first frame is not HELLO")),
    };
    let (held, cap) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            kernel.driver.turn_away(None);
            let error = outcome_to_value(&Err(failure));
            return wire::write(&mut stream, Flags::HELLO.with(Flags::ERROR), hello.sequence, &error);
        }
    };
    let limits = object! { "payload_bytes_max": PAYLOAD_BYTES_MAX as u64 };
    let session = held.session;
    let owner = session == SessionId::OWNER && cap.is_none();
    let welcome = object! { "version": u64::from(VERSION), "limits": limits, "owner": owner };
    let welcome = object! { "ok": true, "result": welcome };
    wire::write(&mut stream, Flags::HELLO.with(Flags::RESPONSE), hello.sequence, &welcome)?;
    let writer = stream.try_clone().map_err(io)?;
    writer.set_write_timeout(Some(Duration::from_millis(WRITE_TIMEOUT_MS))).map_err(io)?;
    let line = Arc::new(ServerLine {
        kernel: kernel.clone(),
        session,
        cap,
        writer: Mutex::new(writer),
        under_way: Mutex::default(),
    });
    let ended = requests(&line, &mut stream, hello.sequence);
    line.stop_all();
    drop(held);
    ended
}

/// The session of one connection, which ends with it.
struct HeldSession {
    kernel: Embedded,
    session: SessionId,
    _place: Option<GuestPlace>,
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        if self.session != SessionId::OWNER {
            self.kernel.driver.end_session(self.session);
        }
    }
}

/// What the threads of one connection share.
struct ServerLine {
    kernel: Embedded,
    session: SessionId,
    /// The token that came with HELLO in the owner's place: every request presents it that presents no other.
    cap: Option<Text>,
    writer: Mutex<UnixStream>,
    /// The requests that are being performed, and what stops each.
    under_way: Mutex<BTreeMap<u64, CancellationToken>>,
}

/// Takes requests until the client is gone. What the kernel answers by itself is answered here; an effect gets a thread, so
/// that what follows it need not wait.
fn requests(line: &Arc<ServerLine>, stream: &mut UnixStream, mut newest: u64) -> Result<(), Failure> {
    while let Some(frame) = wire::read(stream)? {
        let sequence = frame.sequence;
        if frame.flags == Flags::REQUEST.with(Flags::END) {
            line.stop(sequence);
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
            Err(failure) => {
                line.kernel.driver.turn_away(Some(line.session));
                line.answer(sequence, &Err(failure))?;
            }
            Ok((request, cap)) if request.is_effect() => line.perform(sequence, request, cap)?,
            Ok((request, cap)) => {
                let outcome = line.call(request, cap.as_deref(), &mut |_| true, &CancellationToken::new());
                line.answer(sequence, &outcome)?;
            }
        }
    }
    Ok(())
}

impl ServerLine {
    fn call(
        &self,
        request: Request,
        cap: Option<&str>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        self.kernel.call(self.session, request, cap.or(self.cap.as_deref()), on_chunk, stop)
    }

    /// Performs an effect on a thread of its own.
    fn perform(self: &Arc<Self>, sequence: u64, request: Request, cap: Option<Text>) -> Result<(), Failure> {
        let stop = CancellationToken::new();
        let full = match self.under_way.lock() {
            Ok(under_way) if under_way.len() >= EFFECTS_MAX => true,
            Ok(mut under_way) => {
                under_way.insert(sequence, stop.clone());
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
            let mut on_chunk = |chunk: &str| {
                let payload = object! { "data": chunk };
                let flags = Flags::RESPONSE.with(Flags::CHUNK);
                !stop.is_cancelled() && line.write(flags, sequence, &payload).is_ok()
            };
            let mut answering = Answering { line: &line, sequence, outcome: None };
            answering.outcome = Some(line.call(request, cap.as_deref(), &mut on_chunk, &stop));
        };
        match std::thread::Builder::new().name("ak-effect".into()).spawn(work) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.ended(sequence);
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
        let mut writer = self.writer.lock().map_err(died)?;
        wire::write(&mut *writer, flags, sequence, payload).inspect_err(|failure| {
            // Half a frame leaves a stream that nobody can read on. A frame that is too long was never begun.
            if failure.code == Code::Io {
                let _ = writer.shutdown(Shutdown::Both);
            }
        })
    }

    /// The client does not wait for this any longer: what is under way is given up. It counts until it has ended.
    fn stop(&self, sequence: u64) {
        if let Ok(under_way) = self.under_way.lock()
            && let Some(stop) = under_way.get(&sequence)
        {
            stop.cancel();
        }
    }

    fn stop_all(&self) {
        if let Ok(under_way) = self.under_way.lock() {
            under_way.values().for_each(CancellationToken::cancel);
        }
    }

    fn ended(&self, sequence: u64) {
        if let Ok(mut under_way) = self.under_way.lock() {
            under_way.remove(&sequence);
        }
    }
}

/// Authenticates a HELLO: the owner's token opens the owner's session, or any agent's; a capability's token opens its
/// holder's, and is what every request presents then; without one it is a guest, where guests are let in.
fn greet(
    kernel: &Embedded,
    token: &str,
    guests: &Arc<Guests>,
    hello: &Value,
) -> Result<(HeldSession, Option<Text>), Failure> {
    let speaks = hello.get("versions").and_then(Value::as_array);
    if !speaks
        .is_some_and(|versions| versions.iter().any(|version| version.as_u64() == Some(u64::from(VERSION))))
    {
        return Err(Failure::new(Code::Version, format!("this side speaks version {VERSION}")));
    }
    let presented = hello.get("token").and_then(Value::as_str);
    let agent = hello.get("agent").and_then(Value::as_str);
    let held = |session, place| HeldSession { kernel: kernel.clone(), session, _place: place };
    let open = |agent: &str| Ok((held(kernel.driver.open_agent(SessionId::OWNER, agent)?, None), None));
    match (presented, agent) {
        (Some(presented), agent) if !equal_in_constant_time(presented.as_bytes(), token.as_bytes()) => {
            let refused = || {
                let message = "the token in HELLO is not the owner's, nor a capability's: set AK_TOKEN_FILE to the \
                               file that `ak serve` made";
                Failure::new(Code::CapInvalid, message)
            };
            match agent {
                None => match kernel.holder(presented) {
                    Ok(session) => Ok((held(session, None), Some(presented.into()))),
                    Err(failure) if failure.code == Code::CapInvalid => Err(refused()),
                    Err(failure) => Err(failure),
                },
                Some(_) => Err(refused()),
            }
        }
        (Some(_), None) => Ok((held(SessionId::OWNER, None), None)),
        (Some(_), Some(agent)) => open(agent),
        (None, None) => match guests.take() {
            Some(place) => Ok((held(kernel.driver.open_guest()?, Some(place)), None)),
            None if guests.max > 0 => {
                let message = format!("there are {} guests already", guests.max);
                Err(Failure::new(Code::Quota, message))
            }
            None => {
                let message = "no credential came with HELLO, and guests are not let in: set AK_TOKEN_FILE to the file that \
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

fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// The answer to a request, given when this ends. A thread that dies gives one too: nobody knows what it did.
struct Answering<'l> {
    line: &'l ServerLine,
    sequence: u64,
    outcome: Option<Outcome>,
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let died = || Err(Failure::new(Code::UnknownOutcome, "the request's thread died"));
        let outcome = self.outcome.take().unwrap_or_else(died);
        // A client that is gone needs no answer. Its request counts until it is written.
        let _ = self.line.answer(self.sequence, &outcome);
        self.line.ended(self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::mpsc::channel};

    use ak_kernel::wire::encode;

    use super::*;
    use crate::connection::Options;

    #[test]
    fn a_client_that_says_nothing_is_let_go() {
        let kernel = Connection::open(&Options::default()).unwrap().embedded().unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        assert_eq!(serve(&kernel, "token", &Arc::default(), server).unwrap_err().code, Code::Io);
        drop(client);
    }

    #[test]
    fn a_hello_that_comes_byte_by_byte_is_let_go() {
        let kernel = Connection::open(&Options::default()).unwrap().embedded().unwrap();
        let (mut client, server) = UnixStream::pair().unwrap();
        let (done, ended) = channel();
        std::thread::spawn(move || done.send(serve(&kernel, "token", &Arc::default(), server)));
        let hello = encode(Flags::HELLO.with(Flags::REQUEST), 0, &[b' '; 100_000]).unwrap();
        std::thread::spawn(move || {
            for byte in hello {
                if client.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(HELLO_TIMEOUT_MS / 5));
            }
        });
        let outcome = ended.recv_timeout(Duration::from_secs(60)).expect("the connection ends");
        assert_eq!(outcome.unwrap_err().code, Code::Io);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let open = Arc::new(AtomicU64::new(0));
        let places: Vec<_> =
            (0..CONNECTIONS_MAX).map(|_| Place::take(&open, CONNECTIONS_MAX).unwrap()).collect();
        assert!(Place::take(&open, CONNECTIONS_MAX).is_none());
        drop(places);
        assert!(Place::take(&open, CONNECTIONS_MAX).is_some());
    }

    #[test]
    fn descriptors_are_kept_for_the_journal_and_the_effects() {
        assert_eq!(connections_max(None), CONNECTIONS_MAX);
        assert_eq!(connections_max(Some(1 << 20)), CONNECTIONS_MAX);
        let few = connections_max(Some(1_024));
        assert!(few * DESCRIPTORS_PER_CONNECTION + OWN_DESCRIPTORS <= 1_024 && few > 100, "{few}");
        assert_eq!(connections_max(Some(0)), 1);
    }

    #[test]
    fn a_client_that_takes_nothing_is_let_go() {
        let kernel = Connection::open(&Options::default()).unwrap().embedded().unwrap();
        let (mut client, server) = UnixStream::pair().unwrap();
        let (done, ended) = channel();
        std::thread::spawn(move || {
            // How it ends is not the point.
            let _ = serve(&kernel, "token", &Arc::default(), server);
            let _ = done.send(());
        });
        let mut send = |flags: Flags, sequence: u64, payload: &str| {
            client.write_all(&encode(flags, sequence, payload.as_bytes()).unwrap())
        };
        send(Flags::HELLO.with(Flags::REQUEST), 0, r#"{"versions":[1],"token":"token"}"#).unwrap();
        let requests = (1..100_000).map(|sequence| send(Flags::REQUEST, sequence, r#"{"op":"TOOL_LIST"}"#));
        assert!(requests.take_while(Result::is_ok).count() < 99_999, "the server hangs up");
        ended.recv_timeout(Duration::from_secs(20)).expect("the connection ends");
    }
}
