//! The daemon: one kernel offered on a Unix socket. A connection is a task, and so is each effect of it: none holds a thread.
//!
//! Whoever connects is nobody until a HELLO came: such strangers have little time and few places, and the oldest gives way to the
//! newest. What comes of them, and of agents, leaves places, memory and effects for the owner.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use ak_json::{Text, Value, object};
use ak_kernel::{
    Code, Failure, Outcome, Request, SessionId, outcome_to_value,
    wire::{Flags, PAYLOAD_BYTES_MAX, VERSION},
};
use tokio::{
    io::BufReader,
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Sink, given_up},
    connection::Connection,
    connection::embedded::Embedded,
    descriptors::raise_descriptor_limit,
    hex::from_hex,
    hex::to_hex,
    random::random_bytes,
    runtime::{Home, drive},
    secrets::key_file,
    wire::{self, Frame, PIECE_BYTES, Room},
};

/// Most sessions at once that are not the owner's; the next one is told so and closed.
pub const SESSIONS_MAX: usize = 1_024;
/// Most connections at once that said no HELLO yet; the oldest gives way to the next one.
pub const STRANGERS_MAX: usize = 128;
/// Most effects of one connection under way at once.
pub const EFFECTS_MAX: usize = 256;
/// Most effects of all connections but the owner's under way at once.
pub const SESSIONS_EFFECTS_MAX: usize = 4_096;
/// Most bytes of long requests that are being received at once, of all connections but the owner's, beside 64 KiB for each. What
/// comes beyond that waits.
pub const RECEIVED_BYTES_MAX: usize = 128 << 20;
/// How long a client may take nothing of what is written to it, in milliseconds. Its connection is closed then.
pub const WRITE_TIMEOUT_MS: u64 = if cfg!(test) { 100 } else { 30_000 };
/// How long a client may take for its whole HELLO, in milliseconds, however it comes.
pub const HELLO_TIMEOUT_MS: u64 = if cfg!(test) { 100 } else { 10_000 };
/// How long a client may take for one whole request once it has begun, in milliseconds, however it comes.
pub const REQUEST_TIMEOUT_MS: u64 = if cfg!(test) { 200 } else { 60_000 };
/// Longest HELLO, in bytes.
const HELLO_BYTES_MAX: usize = 64 << 10;
/// Descriptors that are no session's: the journal's files, the vault's, the owner's connections.
const OWN_DESCRIPTORS: u64 = 256;
/// Into so many parts the others are divided: one is the connections', the rest the effects'.
const DESCRIPTOR_PARTS: usize = 4;
/// How long the daemon waits when it cannot take a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Pieces of a streamed answer that may wait to be written.
const PIECES_AHEAD: usize = 16;

/// A kernel that listens.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's file.
    file: (u64, u64),
    shared: Arc<Shared>,
}

/// What connections share.
struct Shared {
    kernel: Embedded,
    token: Box<str>,
    places: Places,
    strangers: Strangers,
}

/// How many there may be of something.
struct Limited {
    max: usize,
    free: Arc<Semaphore>,
}

type Place = OwnedSemaphorePermit;

impl Limited {
    fn new(max: usize) -> Limited {
        Limited { max, free: Arc::new(Semaphore::new(max)) }
    }

    /// One of them, where one is left.
    fn take(&self) -> Option<Place> {
        self.free.clone().try_acquire_owned().ok()
    }
}

/// What those who are not the owner share.
struct Places {
    sessions: Limited,
    guests: Limited,
    effects: Limited,
    /// In [`PIECE_BYTES`].
    received: Limited,
}

/// Connections that said no HELLO yet, the oldest first, with what ends each.
#[derive(Default)]
struct Strangers(Mutex<VecDeque<(u64, CancellationToken)>>);

impl Strangers {
    /// Takes in one more, by its number.
    fn take_in(&self, number: u64) -> CancellationToken {
        let leaves = CancellationToken::new();
        if let Ok(mut strangers) = self.0.lock() {
            if strangers.len() >= STRANGERS_MAX
                && let Some((_, oldest)) = strangers.pop_front()
            {
                oldest.cancel();
            }
            strangers.push_back((number, leaves.clone()));
        }
        leaves
    }

    fn let_go(&self, number: u64) {
        if let Ok(mut strangers) = self.0.lock() {
            strangers.retain(|(other, _)| *other != number);
        }
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
        listener.set_nonblocking(true)?;
        // Whoever could put another socket there would be asked in the kernel's place, and told the owner's token.
        kernel.driver.protect(path)?;
        let file = file_id(path)?;
        let (sessions, effects) = places(raise_descriptor_limit());
        let places = Places {
            sessions: Limited::new(sessions),
            guests: Limited::new(0),
            effects: Limited::new(effects),
            received: Limited::new(RECEIVED_BYTES_MAX / PIECE_BYTES),
        };
        let shared = Shared { kernel, token: token.into(), places, strangers: Strangers::default() };
        Ok(Server { listener, path: path.to_owned(), file, shared: Arc::new(shared) })
    }

    /// Lets in so many connections at a time that bring no credential. Each is a guest of its own, whom nothing is permitted but
    /// what rules of the policy say of `guest/**`; all guests together are charged to one account. Without this there are none.
    #[must_use]
    pub fn with_guests(mut self, max: u64) -> Server {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.places.guests =
                Limited::new(usize::try_from(max).map_or(SESSIONS_MAX, |max| max.min(SESSIONS_MAX)));
        }
        self
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the socket breaks, or there are no threads.
    pub fn run(&self) -> io::Result<()> {
        let home = Home::get()?;
        let serving = home.within(self.serve_all(home));
        drive(pin!(serving), None).unwrap_or(Ok(()))
    }

    async fn serve_all(&self, home: &Home) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        for number in 0.. {
            let stream = loop {
                match listener.accept().await {
                    Ok((stream, _)) => break stream,
                    // The listener itself is gone.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
                    // No descriptors are left, or the client is gone already: neither ends the daemon.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            };
            let (shared, leaves) = (self.shared.clone(), self.shared.strangers.take_in(number));
            home.spawn(async move {
                // A connection that breaks concerns nobody else; its client sees it.
                let _ = serve(&shared, stream, number, &leaves).await;
                shared.strangers.let_go(number);
            });
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

/// How many sessions, and effects of theirs, there may be where this process may have so many descriptors.
fn places(descriptors: Option<u64>) -> (usize, usize) {
    let left = descriptors.map_or(usize::MAX, |descriptors| {
        usize::try_from(descriptors.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(usize::MAX)
    });
    let part = left / DESCRIPTOR_PARTS;
    (part.clamp(1, SESSIONS_MAX), (part * (DESCRIPTOR_PARTS - 1)).clamp(1, SESSIONS_EFFECTS_MAX))
}

impl Drop for Server {
    fn drop(&mut self) {
        // The socket file is of no use without its listener. What has been put in its place since is somebody else's, and in a
        // child the parent goes on listening.
        if self.shared.kernel.driver.is_here() && file_id(&self.path).is_ok_and(|id| id == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The owner's credential: 64 hexadecimal digits in a file that only its owner may read. It is made where it is not there.
///
/// # Errors
/// When the file cannot be read or made, others may read it, or it holds something else.
pub fn owner_token(path: &Path) -> io::Result<String> {
    let token = key_file::read_or_make(path, || Ok(to_hex(&random_bytes()?)))?;
    match from_hex(token.trim()) {
        Some(_) => Ok(token.trim().to_owned()),
        None => {
            let message = format!("{}: is not an owner token", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

type Reader = BufReader<OwnedReadHalf>;

/// One connection: HELLO, then requests.
async fn serve(
    server: &Arc<Shared>,
    stream: tokio::net::UnixStream,
    number: u64,
    leaves: &CancellationToken,
) -> Result<(), Failure> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    let greeted = timeout(Duration::from_millis(HELLO_TIMEOUT_MS), hello(&mut reading));
    let greeted = leaves.run_until_cancelled(greeted).await.ok_or_else(given_up)?;
    let Some(hello) = greeted.map_err(|_| too_slow("HELLO"))?? else { return Ok(()) };
    server.strangers.let_go(number);
    let opened = match hello.flags.has(Flags::HELLO) {
        true => greet(server, &hello.payload).await,
        false => Err(Failure::new(Code::FrameInvalid, "the first frame is not HELLO")),
    };
    let (held, cap) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            server.kernel.driver.turn_away(None);
            let error = outcome_to_value(&Err(failure));
            let flags = Flags::HELLO.with(Flags::ERROR);
            return within_write_time(wire::write(&mut writing, flags, hello.sequence, &error)).await;
        }
    };
    let limits = object! { "payload_bytes_max": PAYLOAD_BYTES_MAX as u64 };
    let session = held.session;
    let owner = session == SessionId::OWNER && cap.is_none();
    let welcome = object! { "version": u64::from(VERSION), "limits": limits, "owner": owner };
    let welcome = object! { "ok": true, "result": welcome };
    let flags = Flags::HELLO.with(Flags::RESPONSE);
    within_write_time(wire::write(&mut writing, flags, hello.sequence, &welcome)).await?;
    let line = Arc::new(ServerLine {
        server: server.clone(),
        session,
        cap,
        is_owner: session == SessionId::OWNER,
        writer: tokio::sync::Mutex::new(Some(writing)),
        under_way: Mutex::default(),
        broken: CancellationToken::new(),
    });
    let broken = line.broken.clone();
    let ended = broken.run_until_cancelled(requests(&line, &mut reading, hello.sequence)).await;
    line.stop_all();
    drop(held);
    ended.unwrap_or(Ok(()))
}

async fn hello(stream: &mut Reader) -> Result<Option<Frame>, Failure> {
    let Some(first) = wire::first(stream).await? else { return Ok(None) };
    wire::rest(stream, first, &mut Room::Bytes(HELLO_BYTES_MAX)).await.map(Some)
}

fn too_slow(what: &str) -> Failure {
    Failure::new(Code::Io, format!("the client takes too long for {what}"))
}

async fn within_write_time(write: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let written = timeout(Duration::from_millis(WRITE_TIMEOUT_MS), write).await;
    written.unwrap_or_else(|_| Err(too_slow("what is written to it")))
}

/// The session of one connection, which ends with it.
struct HeldSession {
    kernel: Embedded,
    session: SessionId,
    _places: Vec<Option<Place>>,
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        if self.session != SessionId::OWNER {
            self.kernel.driver.end_session(self.session);
        }
    }
}

/// What the tasks of one connection share.
struct ServerLine {
    server: Arc<Shared>,
    session: SessionId,
    /// The token that came with HELLO in the owner's place: every request presents it that presents no other.
    cap: Option<Text>,
    is_owner: bool,
    /// None once half a frame was written: nobody can read on.
    writer: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
    /// The requests that are being performed, and what stops each.
    under_way: Mutex<BTreeMap<u64, CancellationToken>>,
    /// Cancelled when nothing can be written any more.
    broken: CancellationToken,
}

/// Takes requests until the client is gone. What the kernel answers by itself is answered here; an effect is a task of its own, so
/// that what follows it need not wait.
async fn requests(line: &Arc<ServerLine>, stream: &mut Reader, mut newest: u64) -> Result<(), Failure> {
    while let Some(frame) = line.next(stream).await? {
        let sequence = frame.sequence;
        if frame.flags == Flags::REQUEST.with(Flags::END) {
            line.stop(sequence);
            continue;
        }
        if sequence <= newest {
            let message = format!("sequence {sequence} does not rise above {newest}");
            line.answer(sequence, &Err(Failure::new(Code::Replay, message))).await?;
            continue;
        }
        newest = sequence;
        if frame.flags != Flags::REQUEST {
            let failure = Failure::new(Code::FrameInvalid, "the frame is not a request");
            line.answer(sequence, &Err(failure)).await?;
            continue;
        }
        match wire::request_of(&frame.payload) {
            Err(failure) => {
                line.server.kernel.driver.turn_away(Some(line.session));
                line.answer(sequence, &Err(failure)).await?;
            }
            Ok((request, cap)) if request.is_effect() => line.perform(sequence, request, cap).await?,
            Ok((request, cap)) => {
                let outcome = line.call(request, cap, Sink::Nobody, CancellationToken::new()).await;
                line.answer(sequence, &outcome).await?;
            }
        }
    }
    Ok(())
}

impl ServerLine {
    /// The next frame, which may begin when it likes and has little time then. Memory for it is shared by all but the owner.
    async fn next(&self, stream: &mut Reader) -> Result<Option<Frame>, Failure> {
        let Some(first) = wire::first(stream).await? else { return Ok(None) };
        let mut room = match self.is_owner {
            true => Room::Bytes(PAYLOAD_BYTES_MAX),
            false => {
                let rest = self.server.places.received.free.clone();
                Room::Shared { rest, has_first: false, held: Vec::new() }
            }
        };
        let frame = wire::rest(stream, first, &mut room);
        let frame = timeout(Duration::from_millis(REQUEST_TIMEOUT_MS), frame).await;
        frame.map_err(|_| too_slow("a request"))?.map(Some)
    }

    async fn call(
        &self,
        request: Request,
        cap: Option<Text>,
        sink: Sink<'static>,
        stop: CancellationToken,
    ) -> Outcome {
        let cap = cap.as_ref().or(self.cap.as_ref()).map(|cap| &**cap);
        self.server.kernel.answer(self.session, request, cap, sink, stop).await
    }

    /// Performs an effect in a task of its own.
    async fn perform(
        self: &Arc<Self>,
        sequence: u64,
        request: Request,
        cap: Option<Text>,
    ) -> Result<(), Failure> {
        let place = if self.is_owner { None } else { self.server.places.effects.take() };
        let stop = CancellationToken::new();
        let full = match self.under_way.lock() {
            Ok(under_way) if under_way.len() >= EFFECTS_MAX => {
                Some(format!("{EFFECTS_MAX} requests of this connection are under way already"))
            }
            Ok(_) if place.is_none() && !self.is_owner => {
                Some(format!("{SESSIONS_EFFECTS_MAX} requests of all sessions are under way already"))
            }
            Ok(mut under_way) => {
                under_way.insert(sequence, stop.clone());
                None
            }
            Err(_) => Some(String::from("a thread died while it held the connection")),
        };
        if let Some(message) = full {
            return self.answer(sequence, &Err(Failure::new(Code::Quota, message))).await;
        }
        let line = self.clone();
        tokio::spawn(async move {
            let outcome = line.stream(sequence, request, cap, stop).await;
            // A client that is gone needs no answer. Its request counts until it is written.
            let _ = line.answer(sequence, &outcome).await;
            line.ended(sequence);
            drop(place);
        });
        Ok(())
    }

    /// Performs an effect, and writes the pieces of its answer as they come. One that dies is answered too: nobody knows what it
    /// did.
    async fn stream(
        self: &Arc<Self>,
        sequence: u64,
        request: Request,
        cap: Option<Text>,
        stop: CancellationToken,
    ) -> Outcome {
        let (pieces, mut ready) = mpsc::channel::<String>(PIECES_AHEAD);
        let line = self.clone();
        let call = tokio::spawn(async move { line.call(request, cap, Sink::Channel(pieces), stop).await });
        while let Some(piece) = ready.recv().await {
            let flags = Flags::RESPONSE.with(Flags::CHUNK);
            if self.write(flags, sequence, &object! { "data": piece }).await.is_err() {
                break;
            }
        }
        drop(ready);
        let died = |_| Err(Failure::new(Code::UnknownOutcome, "the request's task died"));
        call.await.unwrap_or_else(died)
    }

    async fn answer(&self, sequence: u64, outcome: &Outcome) -> Result<(), Failure> {
        let flags = if outcome.is_ok() { Flags::RESPONSE } else { Flags::RESPONSE.with(Flags::ERROR) };
        match self.write(flags.with(Flags::END), sequence, &outcome_to_value(outcome)).await {
            Err(failure) if failure.code == Code::FrameTooLarge => {
                let flags = Flags::RESPONSE.with(Flags::ERROR).with(Flags::END);
                self.write(flags, sequence, &outcome_to_value(&Err(failure))).await
            }
            written => written,
        }
    }

    async fn write(&self, flags: Flags, sequence: u64, payload: &Value) -> Result<(), Failure> {
        let gone = || Failure::new(Code::Io, "the connection broke");
        let mut writer = self.writer.lock().await;
        let written = match writer.as_mut() {
            Some(stream) => within_write_time(wire::write(stream, flags, sequence, payload)).await,
            None => Err(gone()),
        };
        written.inspect_err(|failure| {
            // A frame that is too long was never begun.
            if failure.code == Code::Io {
                *writer = None;
                self.broken.cancel();
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
async fn greet(server: &Shared, hello: &Value) -> Result<(HeldSession, Option<Text>), Failure> {
    let speaks = hello.get("versions").and_then(Value::as_array);
    if !speaks
        .is_some_and(|versions| versions.iter().any(|version| version.as_u64() == Some(u64::from(VERSION))))
    {
        return Err(Failure::new(Code::Version, format!("this side speaks version {VERSION}")));
    }
    let presented = hello.get("token").and_then(Value::as_str);
    let agent = hello.get("agent").and_then(Value::as_str);
    let Shared { kernel, token, places, .. } = server;
    let held = |session, places| HeldSession { kernel: kernel.clone(), session, _places: places };
    // The owner finds a place where nobody else does any more.
    let is_owner = agent.is_none() && presented.is_some_and(|given| is_token(given, token));
    let place = if is_owner { None } else { Some(places.sessions.take().ok_or_else(full)?) };
    match (presented, agent) {
        (Some(presented), agent) if !is_token(presented, token) => {
            let refused = || {
                let message = "the token in HELLO is not the owner's, nor a capability's: set AK_TOKEN_FILE to the \
                               file that `ak serve` made";
                Failure::new(Code::CapInvalid, message)
            };
            match agent {
                None => match kernel.holder(presented).await {
                    Ok(session) => Ok((held(session, vec![place]), Some(presented.into()))),
                    Err(failure) if failure.code == Code::CapInvalid => Err(refused()),
                    Err(failure) => Err(failure),
                },
                Some(_) => Err(refused()),
            }
        }
        (Some(_), None) => Ok((held(SessionId::OWNER, Vec::new()), None)),
        (Some(_), Some(agent)) => {
            let session = kernel.driver.open_agent_on_task(SessionId::OWNER, agent).await?;
            Ok((held(session, vec![place]), None))
        }
        (None, None) => match places.guests.take() {
            Some(guest) => Ok((held(kernel.driver.open_guest().await?, vec![place, Some(guest)]), None)),
            None if places.guests.max > 0 => {
                let message = format!("there are {} guests already", places.guests.max);
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

fn full() -> Failure {
    let message = "the daemon has as many sessions as it takes: end some, or try again later";
    Failure::new(Code::Quota, message)
}

/// Whether that is the owner's token, found out in a time that tells nothing of it.
fn is_token(given: &str, token: &str) -> bool {
    let (given, token) = (given.as_bytes(), token.as_bytes());
    given.len() == token.len()
        && given.iter().zip(token).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ak_kernel::wire::encode;

    use super::*;
    use crate::connection::options::Options;

    /// How a connection ends whose other end is given.
    fn served(server: UnixStream) -> Result<(), Failure> {
        let kernel = Connection::open(&Options::default()).unwrap();
        let directory = std::env::temp_dir().join(format!("ak-server-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let bound = Server::bind(&kernel, &directory.join(format!("{:p}", &server)), "token").unwrap();
        server.set_nonblocking(true).unwrap();
        let home = Home::get().unwrap();
        let stream = home.enter(|| tokio::net::UnixStream::from_std(server)).unwrap();
        let (shared, leaves) = (bound.shared.clone(), CancellationToken::new());
        let ended = home.spawn(async move { serve(&shared, stream, 0, &leaves).await });
        drive(pin!(ended), Some(Duration::from_secs(60))).expect("the connection ends").unwrap()
    }

    #[test]
    fn a_client_that_says_nothing_is_let_go() {
        let (client, server) = UnixStream::pair().unwrap();
        assert_eq!(served(server).unwrap_err().code, Code::Io);
        drop(client);
    }

    /// Writes bytes with so long a pause between them that all of them never come.
    fn trickle(mut client: UnixStream, bytes: Vec<u8>) {
        std::thread::spawn(move || {
            for byte in bytes {
                if client.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(HELLO_TIMEOUT_MS / 5));
            }
        });
    }

    #[test]
    fn a_hello_that_comes_byte_by_byte_is_let_go() {
        let (client, server) = UnixStream::pair().unwrap();
        trickle(client, encode(Flags::HELLO.with(Flags::REQUEST), 0, &[b' '; 60_000]).unwrap());
        assert_eq!(served(server).unwrap_err().code, Code::Io);
    }

    const HELLO: &str = r#"{"versions":[1],"token":"token"}"#;

    #[test]
    fn a_request_that_comes_byte_by_byte_is_let_go() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let hello = encode(Flags::HELLO.with(Flags::REQUEST), 0, HELLO.as_bytes()).unwrap();
        client.write_all(&hello).unwrap();
        trickle(client, encode(Flags::REQUEST, 1, &[b' '; 60_000]).unwrap());
        assert_eq!(served(server).unwrap_err().code, Code::Io);
    }

    #[test]
    fn a_hello_has_a_length() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let hello = encode(Flags::HELLO.with(Flags::REQUEST), 0, &[b' '; HELLO_BYTES_MAX + 1]).unwrap();
        std::thread::spawn(move || client.write_all(&hello));
        assert_eq!(served(server).unwrap_err().code, Code::FrameTooLarge);
    }

    #[test]
    fn the_oldest_stranger_gives_way() {
        let strangers = Strangers::default();
        let taken: Vec<_> = (0..STRANGERS_MAX as u64).map(|number| strangers.take_in(number)).collect();
        strangers.let_go(0);
        let next = strangers.take_in(STRANGERS_MAX as u64);
        assert!(taken.iter().all(|stranger| !stranger.is_cancelled()), "one had left");
        strangers.take_in(STRANGERS_MAX as u64 + 1);
        assert!(taken[1].is_cancelled() && !taken[2].is_cancelled() && !next.is_cancelled());
    }

    #[test]
    fn descriptors_are_kept_for_the_journal_and_divided_among_the_others() {
        assert_eq!(places(None), (SESSIONS_MAX, SESSIONS_EFFECTS_MAX));
        assert_eq!(places(Some(1 << 20)), (SESSIONS_MAX, SESSIONS_EFFECTS_MAX));
        let (sessions, effects) = places(Some(1_024));
        assert!(sessions + effects + OWN_DESCRIPTORS as usize <= 1_024 && sessions > 100, "{sessions}");
        assert_eq!(places(Some(0)), (1, 1));
    }

    #[test]
    fn a_place_is_free_again_when_its_session_ends() {
        let limited = Limited::new(2);
        let places = [limited.take().unwrap(), limited.take().unwrap()];
        assert!(limited.take().is_none());
        drop(places);
        assert!(limited.take().is_some());
    }

    #[test]
    fn a_client_that_takes_nothing_is_let_go() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let writing = std::thread::spawn(move || {
            let mut send = |flags: Flags, sequence: u64, payload: &str| {
                client.write_all(&encode(flags, sequence, payload.as_bytes()).unwrap())
            };
            send(Flags::HELLO.with(Flags::REQUEST), 0, HELLO).unwrap();
            let requests =
                (1..100_000).map(|sequence| send(Flags::REQUEST, sequence, r#"{"op":"TOOL_LIST"}"#));
            requests.take_while(Result::is_ok).count()
        });
        // How it ends is not the point.
        let _ = served(server);
        assert!(writing.join().unwrap() < 99_999, "the server hangs up");
    }
}
