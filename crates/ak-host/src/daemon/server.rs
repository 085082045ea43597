//! Accepts the connections of the daemon. Each connection is a task, and so is each of its effects: none blocks a thread.
//!
//! A connection is unauthenticated until its HELLO: there is a small number of these, with little time, and the oldest gives way to the
//! newest. The limits on everyone but the owner leave sessions, memory and effects for the owner.

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

/// How long the daemon waits when it cannot take a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// A kernel that listens.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's file.
    socket_id: (u64, u64),
    shared: Arc<Shared>,
}

impl Server {
    /// Listens at `path`. Presenting `token` makes a client the owner; see [`owner_token`](crate::owner_token). A socket that nobody listens on is replaced;
    /// nothing else is.
    ///
    /// # Errors
    /// When the socket cannot be made, another daemon listens already, or something else stands there.
    pub fn bind(connection: &Connection, path: &Path, token: &str) -> io::Result<Server> {
        let kernel =
            connection.embedded().ok_or_else(|| io::Error::other("only an embedded kernel can be served"))?;
        remove_stale_socket(path)?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        // A replaced socket would receive the owner's token.
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

    /// Admits at most `max` connections at a time without a credential. Each is a guest of its own, permitted only what rules for `guest/**`
    /// permit; all guests share one account. Without this there are none.
    #[must_use]
    pub fn with_guests(mut self, max: u64) -> Server {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.limits.guests =
                CountLimit::new(usize::try_from(max).map_or(SESSIONS_MAX, |max| max.min(SESSIONS_MAX)));
        }
        self
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the socket breaks, or there are no threads.
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
                    // The listener itself is gone.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
                    // No descriptors are left, or the client is gone already: neither ends the daemon.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            };
            let (shared, evicted) = (self.shared.clone(), self.shared.unauthenticated.add(number));
            runtime.spawn(async move {
                // A connection that breaks concerns nobody else; its client sees it.
                let _ = serve(&shared, stream, number, &evicted).await;
                shared.unauthenticated.remove(number);
            });
        }
        Ok(())
    }
}

/// Device and number of the file at `path` itself.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

/// Removes the socket that an ended daemon left at `path`.
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
        // Somebody may listen: a full queue, another kind of socket, one of another user.
        Err(error) => Err(told(error.kind(), &format!("is a socket that may be in use: {error}"))),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The socket file is of no use without its listener. What has been put in its place since is somebody else's, and in a
        // child the parent goes on listening.
        if self.shared.kernel.driver.is_current() && file_id(&self.path).is_ok_and(|id| id == self.socket_id)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// One connection: HELLO, then requests.
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

    /// How a connection ends whose other end is given.
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
        // How it ends is not the point.
        let _ = served(server);
        assert!(writing.join().unwrap() < 99_999, "the server hangs up");
    }
}
