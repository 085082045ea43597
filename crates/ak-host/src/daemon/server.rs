//! Accepts the connections of the daemon. Each connection is a task, and each of its effects is a task, so none blocks
//! a thread.
//!
//! A connection is unauthenticated until its HELLO. The number and time of unauthenticated connections are limited, and
//! a new one evicts the oldest. The limits on every session but the owner's keep sessions, memory and effects free for
//! the owner.

use std::{
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

use ak_json::object;
use ak_kernel::{
    Code, Failure, SessionId,
    frame::{Flags, PAYLOAD_BYTES_MAX, VERSION},
    outcome_to_value,
};
use tokio::{io::BufReader, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    call::abandoned,
    connection::Connection,
    daemon::{
        hello::{HELLO_TIMEOUT_MS, authenticate, read_hello},
        limits::{
            ConnectionLimits, CountLimit, RECEIVED_BYTES_MAX, SESSIONS_MAX, Shared,
            UnauthenticatedConnections, limits_for,
        },
        session::{ServedSession, requests, too_slow, within_write_time},
    },
    descriptors::raise_descriptor_limit,
    runtime::{Runtime, drive},
    wire::{self, PIECE_BYTES},
};

/// Pause after the daemon fails to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// A daemon that serves one embedded kernel on a Unix socket.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode number of the socket's file.
    socket_id: (u64, u64),
    shared: Arc<Shared>,
}

/// Most bytes of a socket's path (unix(7): `sun_path` without its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl Server {
    /// Listens on a Unix socket at `path`. A client that presents `token` becomes the owner; see
    /// [`owner_token`](crate::owner_token). A stale socket at `path`, on which no process listens, is replaced; any
    /// other file stays, and this fails.
    ///
    /// # Errors
    /// When `connection` is not embedded, the socket cannot be created, another daemon already listens on it, or
    /// another file exists at `path`. The error names the path.
    pub fn bind(connection: &Connection, path: &Path, token: &str) -> io::Result<Server> {
        Self::listen(connection, path, token)
            .map_err(|error| io::Error::new(error.kind(), format!("socket {}: {error}", path.display())))
    }

    fn listen(connection: &Connection, path: &Path, token: &str) -> io::Result<Server> {
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let message = format!("the path of a Unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let kernel =
            connection.embedded().ok_or_else(|| io::Error::other("only an embedded kernel can be served"))?;
        remove_stale_socket(path)?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        // Whoever replaced the socket would receive the owner's token.
        kernel.driver.protect(path)?;
        let socket_id = file_id(path)?;
        let (sessions, effects) = limits_for(raise_descriptor_limit());
        let limits = ConnectionLimits {
            sessions: CountLimit::new(sessions),
            guests: CountLimit::new(0),
            effects: CountLimit::new(effects),
            received: CountLimit::new(RECEIVED_BYTES_MAX / PIECE_BYTES),
        };
        let shared = Shared {
            kernel,
            token: token.into(),
            limits,
            unauthenticated: UnauthenticatedConnections::default(),
        };
        Ok(Server { listener, path: path.to_owned(), socket_id, shared: Arc::new(shared) })
    }

    /// Admits up to `max` concurrent connections without a credential, at most [`SESSIONS_MAX`](crate::SESSIONS_MAX).
    /// Each is a guest, permitted only what rules for `guest/**` permit; all guests share one account. Without this
    /// call no guests are admitted.
    #[must_use]
    pub fn with_guests(mut self, max: u64) -> Server {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.limits.guests =
                CountLimit::new(usize::try_from(max).map_or(SESSIONS_MAX, |max| max.min(SESSIONS_MAX)));
        }
        self
    }

    /// Serves connections on this thread until the process ends.
    ///
    /// # Errors
    /// When the listening socket fails, or the runtime's threads cannot be started.
    pub fn run(&self) -> io::Result<()> {
        let runtime = Runtime::get()?;
        let serving = runtime.in_context(self.serve_all(runtime));
        drive(pin!(serving), None).unwrap_or(Ok(()))
    }

    async fn serve_all(&self, runtime: &Runtime) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        for number in 0.. {
            let stream = loop {
                match listener.accept().await {
                    Ok((stream, _)) => break stream,
                    // The listener can accept no more connections.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
                    // No descriptors are free, or the client has already gone: the daemon continues.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            };
            let (shared, evicted) = (self.shared.clone(), self.shared.unauthenticated.add(number));
            runtime.spawn(async move {
                // A failure ends this connection only, and its client sees that.
                let _ = serve(&shared, stream, number, &evicted).await;
                shared.unauthenticated.remove(number);
            });
        }
        Ok(())
    }
}

/// Returns device and inode number of the file at `path`, without following a link.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

/// Removes a socket at `path` that an ended daemon left behind.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
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
        // A process may listen: its queue may be full, or the socket may be of another type or belong to another user.
        Err(error) => Err(told(error.kind(), &format!("is a socket that may be in use: {error}"))),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The socket's file is useless without its listener. A different file at the path is not this server's, and in
        // a forked child the parent still listens.
        if self.shared.kernel.driver.is_current() && file_id(&self.path).is_ok_and(|id| id == self.socket_id)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Serves one connection: HELLO, then its requests.
async fn serve(
    server: &Arc<Shared>,
    stream: tokio::net::UnixStream,
    number: u64,
    evicted: &CancellationToken,
) -> Result<(), Failure> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    let greeted = timeout(Duration::from_millis(HELLO_TIMEOUT_MS), read_hello(&mut reading));
    let greeted = evicted.run_until_cancelled(greeted).await.ok_or_else(abandoned)?;
    let Some(hello) = greeted.map_err(|_| too_slow("HELLO"))?? else { return Ok(()) };
    server.unauthenticated.remove(number);
    let opened = match hello.flags.has(Flags::HELLO) {
        true => authenticate(server, &hello.payload).await,
        false => Err(Failure::new(Code::FrameInvalid, "the first frame is not HELLO")),
    };
    let (admitted, cap) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            server.kernel.driver.count_throttled(None);
            let error = outcome_to_value(&Err(failure));
            let flags = Flags::HELLO.with(Flags::ERROR);
            return within_write_time(wire::write_frame(&mut writing, flags, hello.sequence, &error)).await;
        }
    };
    let limits = object! { "payload_bytes_max": PAYLOAD_BYTES_MAX as u64 };
    let session = admitted.session;
    let owner = session == SessionId::OWNER && cap.is_none();
    let welcome = object! { "version": u64::from(VERSION), "limits": limits, "owner": owner };
    let welcome = object! { "ok": true, "result": welcome };
    let flags = Flags::HELLO.with(Flags::RESPONSE);
    within_write_time(wire::write_frame(&mut writing, flags, hello.sequence, &welcome)).await?;
    let served = Arc::new(ServedSession {
        server: server.clone(),
        session,
        cap,
        is_owner: session == SessionId::OWNER,
        writer: tokio::sync::Mutex::new(Some(writing)),
        in_progress: Mutex::default(),
        broken: CancellationToken::new(),
    });
    let broken = served.broken.clone();
    let ended = broken.run_until_cancelled(requests(&served, &mut reading, hello.sequence)).await;
    served.cancel_all();
    drop(admitted);
    ended.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ak_kernel::frame::encode;

    use super::*;
    use crate::{config::options::Options, daemon::hello::HELLO_BYTES_MAX};

    /// Serves a connection on `server` and returns how it ends.
    fn served(server: UnixStream) -> Result<(), Failure> {
        let kernel = Connection::open(&Options::default()).unwrap();
        let directory = std::env::temp_dir().join(format!("ak-server-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let bound = Server::bind(&kernel, &directory.join(format!("{:p}", &server)), "token").unwrap();
        server.set_nonblocking(true).unwrap();
        let runtime = Runtime::get().unwrap();
        let stream = runtime.enter(|| tokio::net::UnixStream::from_std(server)).unwrap();
        let (shared, evicted) = (bound.shared.clone(), CancellationToken::new());
        let ended = runtime.spawn(async move { serve(&shared, stream, 0, &evicted).await });
        drive(pin!(ended), Some(Duration::from_secs(60))).expect("the connection ends").unwrap()
    }

    #[test]
    fn a_silent_client_is_disconnected() {
        let (client, server) = UnixStream::pair().unwrap();
        assert_eq!(served(server).unwrap_err().code, Code::Io);
        drop(client);
    }

    /// Writes bytes one at a time, with pauses so long that the timeout ends the connection first.
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
    fn a_client_that_trickles_its_hello_is_disconnected() {
        let (client, server) = UnixStream::pair().unwrap();
        trickle(client, encode(Flags::HELLO.with(Flags::REQUEST), 0, &[b' '; 60_000]).unwrap());
        assert_eq!(served(server).unwrap_err().code, Code::Io);
    }

    const HELLO: &str = r#"{"versions":[1],"token":"token"}"#;

    #[test]
    fn a_client_that_trickles_a_request_is_disconnected() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let hello = encode(Flags::HELLO.with(Flags::REQUEST), 0, HELLO.as_bytes()).unwrap();
        client.write_all(&hello).unwrap();
        trickle(client, encode(Flags::REQUEST, 1, &[b' '; 60_000]).unwrap());
        assert_eq!(served(server).unwrap_err().code, Code::Io);
    }

    #[test]
    fn the_length_of_a_hello_is_limited() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let hello = encode(Flags::HELLO.with(Flags::REQUEST), 0, &[b' '; HELLO_BYTES_MAX + 1]).unwrap();
        std::thread::spawn(move || client.write_all(&hello));
        assert_eq!(served(server).unwrap_err().code, Code::FrameTooLarge);
    }

    #[test]
    fn a_client_that_reads_nothing_is_disconnected() {
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
        // Only that the connection ends matters here.
        let _ = served(server);
        assert!(writing.join().unwrap() < 99_999, "the server hangs up");
    }
}
