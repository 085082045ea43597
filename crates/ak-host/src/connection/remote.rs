//! A kernel behind a Unix socket. Calls share the connection and are pipelined; no call needs a thread of its own.

use std::{
    collections::BTreeMap,
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream as StdStream},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use ak_json::{Object, Value};
use ak_kernel::{
    Code, Failure, Outcome, Request,
    frame::{Flags, PAYLOAD_BYTES_MAX, encode},
    outcome_from_value,
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel},
};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{self, ChunkSink, INTERRUPT_POLL_MS, OutcomeFuture, abandoned, runtime_unavailable},
    fork::{ClosedInChild, ProcessIdentity, ProcessOwned},
    runtime::{Runtime, drive},
    wire::{self, Frame},
};

/// Maximum time for connecting to a daemon and receiving its answer to HELLO, in milliseconds.
pub const HELLO_REPLY_TIMEOUT_MS: u64 = 10_000;
/// Pause before the next attempt to connect when the daemon's queue of connections is full.
const CONNECT_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Maximum number of frames that wait to be written; further senders wait.
const FRAMES_AHEAD: usize = 16;

/// One connection to a daemon, which is one session.
pub(crate) struct Client {
    path: PathBuf,
    token: Option<String>,
    owner: bool,
    shared: ProcessOwned<Arc<SharedStream>>,
    /// The connections for agents that were opened through this one; closing this one closes them.
    agents: Mutex<Vec<Weak<Client>>>,
}

/// The stream that concurrent calls share.
struct SharedStream {
    /// Queue of complete frames, written in order.
    outgoing: Sender<Vec<u8>>,
    pending: Mutex<PendingReplies>,
    _closed_in_child: ClosedInChild,
    /// A second handle, which shuts the stream down while a task writes to it.
    stream: StdStream,
}

/// The calls that wait for replies.
#[derive(Default)]
struct PendingReplies {
    sequence: u64,
    senders: BTreeMap<u64, UnboundedSender<Frame>>,
    /// Why the connection has ended; `None` while it is open.
    ended: Option<Failure>,
}

impl Client {
    /// Connects and sends HELLO. The owner's token opens the owner's session, or the session of `agent` if one is
    /// named. While it waits it polls `should_continue`, if there is one, and gives up when that returns false.
    pub(crate) fn connect(
        path: &Path,
        token: Option<String>,
        agent: Option<&str>,
        mut should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Client, Failure> {
        let runtime = Runtime::get().map_err(|error| runtime_unavailable(&error))?;
        let limit = Duration::from_millis(HELLO_REPLY_TIMEOUT_MS);
        let hello = async { tokio::time::timeout(limit, say_hello(path, token.as_deref(), agent)).await };
        let mut hello = pin!(runtime.in_context(hello));
        let answered = loop {
            let poll_interval = should_continue.is_some().then_some(Duration::from_millis(INTERRUPT_POLL_MS));
            match drive(hello.as_mut(), poll_interval) {
                Some(answered) => break answered,
                None if should_continue.as_mut().is_some_and(|should_continue| !should_continue()) => {
                    return Err(abandoned());
                }
                None => {}
            }
        };
        let silent = |_| unreachable(path, &format!("no answer to HELLO after {HELLO_REPLY_TIMEOUT_MS} ms"));
        let (stream, owner) = answered.map_err(silent)??;
        let shared = runtime
            .enter(|| SharedStream::start(stream))
            .map_err(|error| unreachable(path, &error.to_string()))?;
        // Only the owner's connection needs the token again.
        let token = token.clone().filter(|_| owner);
        Ok(Client {
            path: path.to_owned(),
            token,
            owner,
            shared: ProcessOwned::new(shared),
            agents: Mutex::default(),
        })
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.owner
    }

    pub(crate) fn process(&self) -> ProcessIdentity {
        self.shared.process()
    }

    /// Opens another connection as the agent `name`.
    pub(crate) fn agent(
        &self,
        name: &str,
        should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Arc<Client>, Failure> {
        self.shared.process().check()?;
        if !self.owner {
            return Err(Failure::new(Code::PolicyDeny, "only the owner opens a session for an agent"));
        }
        self.shared.pending()?.check()?;
        let agent = Arc::new(Client::connect(&self.path, self.token.clone(), Some(name), should_continue)?);
        if let Ok(mut agents) = self.agents.lock() {
            agents.retain(|agent| agent.strong_count() > 0);
            agents.push(Arc::downgrade(&agent));
        }
        Ok(agent)
    }

    /// Makes a request and waits for its outcome. While it waits it polls `should_continue`, if there is one.
    pub(crate) fn call(
        &self,
        request: &Request,
        cap: Option<&str>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        should_continue: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        let chunks = ChunkSink::Callback(Box::new(on_chunk));
        call::wait_for_outcome(
            request_outcome(self.shared.clone(), request, cap, chunks, stop.clone()),
            stop,
            should_continue,
        )
    }

    /// Makes a request without blocking a thread.
    pub(crate) fn call_async(
        &self,
        request: Request,
        cap: Option<Arc<str>>,
        chunks: ChunkSink<'static>,
        stop: CancellationToken,
    ) -> OutcomeFuture {
        let (shared, stopped) = (self.shared.clone(), stop.clone());
        OutcomeFuture::spawn(
            async move { request_outcome(shared, &request, cap.as_deref(), chunks, stopped).await },
            stop,
        )
    }

    /// Ends the connection and the connections of its agents. In a process that was forked from the client's own it
    /// does nothing.
    pub(crate) fn close(&self) {
        if !self.shared.process().is_current() {
            return;
        }
        self.shared.end(Failure::new(Code::NotConfigured, "the kernel is closed"));
        let agents = self.agents.lock().map(|mut agents| std::mem::take(&mut *agents)).unwrap_or_default();
        for agent in agents.iter().filter_map(Weak::upgrade) {
            agent.close();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

fn unreachable(path: &Path, error: &str) -> Failure {
    let message =
        format!("no kernel answers at unix:{}: {error} (start one with `ak serve`)", path.display());
    Failure::new(Code::Io, message)
}

/// Connects and sends HELLO. Returns the stream, and whether this is the owner's session, once the daemon has answered.
async fn say_hello(
    path: &Path,
    token: Option<&str>,
    agent: Option<&str>,
) -> Result<(UnixStream, bool), Failure> {
    let mut stream = loop {
        match UnixStream::connect(path).await {
            Ok(stream) => break stream,
            // The daemon's queue of connections is full.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(CONNECT_RETRY_PAUSE).await
            }
            Err(error) => return Err(unreachable(path, &error.to_string())),
        }
    };
    let mut hello = Object::new();
    hello.insert("versions", vec![Value::from(u64::from(ak_kernel::frame::VERSION))]);
    hello.insert("token", token);
    hello.insert("agent", agent);
    wire::write_frame(&mut stream, Flags::HELLO.with(Flags::REQUEST), 0, &hello.into()).await?;
    let Some(answer) = wire::read_frame(&mut stream).await? else {
        return Err(Failure::new(Code::FrameInvalid, "the kernel closed the connection at HELLO"));
    };
    if let Some(error) = answer.payload.get("error") {
        return Err(Failure::from_value(error)?);
    }
    let owner = answer.payload.get("result").and_then(|result| result.get("owner")).and_then(Value::as_bool);
    Ok((stream, owner.unwrap_or(false)))
}

/// Makes a request over a connection and waits for its outcome. Dropping the future before that cancels the request at
/// the kernel.
async fn request_outcome(
    shared: ProcessOwned<Arc<SharedStream>>,
    request: &Request,
    cap: Option<&str>,
    mut chunks: ChunkSink<'_>,
    stop: CancellationToken,
) -> Outcome {
    shared.process().check()?;
    let payload = wire::request_payload(request, cap).to_json();
    if payload.len() > PAYLOAD_BYTES_MAX {
        let message =
            format!("a request of {} bytes is above the limit of {PAYLOAD_BYTES_MAX} bytes", payload.len());
        return Err(Failure::new(Code::Limit, message));
    }
    let (sequence, mut frames) = shared.send(payload.as_bytes()).await?;
    let mut guard = RequestGuard { shared: &shared, sequence, has_ended: false };
    let lost = || shared.pending().map_or_else(|failure| failure, |pending| pending.lost_reply());
    loop {
        let Some(frame) = stop.run_until_cancelled(frames.recv()).await else { return Err(abandoned()) };
        let Some(frame) = frame else {
            guard.has_ended = true;
            return Err(lost());
        };
        if !frame.flags.has(Flags::CHUNK) {
            guard.has_ended = true;
            return outcome_from_value(request.operation(), &frame.payload)?;
        }
        let chunk = frame.payload.get("data").and_then(Value::as_str).unwrap_or_default();
        let wants_more = match &mut chunks {
            ChunkSink::Discard => true,
            ChunkSink::Callback(take) => take(chunk),
            ChunkSink::Channel(channel) => channel.send(chunk.to_owned()).await.is_ok(),
        };
        if !wants_more {
            return Err(Failure::new(Code::UnknownOutcome, "the caller stopped the stream"));
        }
    }
}

/// A request that was sent; dropping the guard before the outcome cancels the request.
struct RequestGuard<'l> {
    shared: &'l ProcessOwned<Arc<SharedStream>>,
    sequence: u64,
    has_ended: bool,
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        if self.has_ended || !self.shared.process().is_current() {
            return;
        }
        if let Ok(mut pending) = self.shared.pending() {
            pending.senders.remove(&self.sequence);
        }
        let Ok(frame) = encode(Flags::REQUEST.with(Flags::END), self.sequence, b"{}") else { return };
        let (shared, runtime) = (self.shared.clone(), Runtime::get());
        // When the queue is full, a task waits for space in it.
        if let (Err(full), Ok(runtime)) = (shared.outgoing.try_send(frame), runtime) {
            runtime.spawn(async move { shared.outgoing.send(full.into_inner()).await });
        }
    }
}

impl SharedStream {
    /// Takes a stream after its HELLO, and spawns the tasks that read from and write to it.
    fn start(stream: UnixStream) -> std::io::Result<Arc<SharedStream>> {
        let stream = stream.into_std()?;
        let ender = stream.try_clone()?;
        let (reading, writing) = UnixStream::from_std(stream)?.into_split();
        let (outgoing, frames) = channel(FRAMES_AHEAD);
        let kept = ClosedInChild::new(ender.as_fd());
        let shared = Arc::new(SharedStream {
            outgoing,
            pending: Mutex::default(),
            _closed_in_child: kept,
            stream: ender,
        });
        tokio::spawn(write_frames(writing, frames, Arc::downgrade(&shared)));
        tokio::spawn(read_frames(reading, Arc::downgrade(&shared)));
        Ok(shared)
    }

    fn pending(&self) -> Result<MutexGuard<'_, PendingReplies>, Failure> {
        self.pending.lock().map_err(|_| Failure::new(Code::Io, "a thread died while it held the connection"))
    }

    /// Sends a request. Returns its sequence number and the receiver of the frames that answer it.
    async fn send(&self, payload: &[u8]) -> Result<(u64, UnboundedReceiver<Frame>), Failure> {
        self.pending()?.check()?;
        let permit = self.outgoing.reserve().await;
        let mut pending = self.pending()?;
        pending.check()?;
        let permit = permit.map_err(|_| pending.lost_reply())?;
        let sequence = pending.sequence + 1;
        let frame = encode(Flags::REQUEST, sequence, payload).map_err(wire::frame_failure)?;
        let (sender, receiver) = unbounded_channel();
        pending.sequence = sequence;
        pending.senders.insert(sequence, sender);
        // Sent under the lock, so that sequence numbers rise on the wire.
        permit.send(frame);
        Ok((sequence, receiver))
    }

    fn end(&self, failure: Failure) {
        if let Ok(mut pending) = self.pending.lock() {
            pending.ended.get_or_insert(failure);
            pending.senders.clear();
        }
        // This fails when the other side has already closed the stream.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl PendingReplies {
    fn check(&self) -> Result<(), Failure> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// The failure of a sent call without a reply: UNKNOWN_OUTCOME, even if this side ended the connection, because the
    /// kernel may have performed the call.
    fn lost_reply(&self) -> Failure {
        let closed = self.ended.as_ref().is_some_and(|failure| failure.code == Code::NotConfigured);
        let who = if closed { "the session was closed" } else { "the kernel closed the connection" };
        Failure::new(Code::UnknownOutcome, format!("{who} before the answer came"))
    }
}

/// Writes frames in order, until the connection ends or all senders are dropped.
async fn write_frames(mut stream: OwnedWriteHalf, mut frames: Receiver<Vec<u8>>, shared: Weak<SharedStream>) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = stream.write_all(&frame).await {
            // After half a frame the other side cannot find the next one.
            let failure = Failure::new(Code::UnknownOutcome, format!("the connection broke: {error}"));
            return shared.upgrade().map_or((), |shared| shared.end(failure));
        }
    }
}

/// Sends each frame to the call that waits for it, until the stream ends.
async fn read_frames(stream: OwnedReadHalf, shared: Weak<SharedStream>) {
    let mut stream = BufReader::new(stream);
    loop {
        let read = wire::read_frame(&mut stream).await;
        let Some(shared) = shared.upgrade() else { return };
        match read {
            Ok(Some(frame)) => {
                let Ok(mut pending) = shared.pending.lock() else { return };
                let sequence = frame.sequence;
                let last = !frame.flags.has(Flags::CHUNK);
                if let Some(sender) = pending.senders.get(&sequence) {
                    // This fails when the caller is gone, which needs no frame.
                    let _ = sender.send(frame);
                }
                if last {
                    pending.senders.remove(&sequence);
                }
            }
            Ok(None) => return shared.end(Failure::new(Code::Io, "the kernel closed the connection")),
            Err(failure) => return shared.end(failure),
        }
    }
}
