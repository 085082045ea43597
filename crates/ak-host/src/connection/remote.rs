//! A kernel behind a Unix socket. Calls share the connection and pipeline; none of them holds a thread.

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
    Code, Failure, Outcome, Request, outcome_from_value,
    wire::{Flags, PAYLOAD_BYTES_MAX, encode},
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
    call::{self, Answer, HEED_MS, Sink, given_up, no_runtime},
    fork::{KeptFromChildren, Origin, Own},
    runtime::{Home, drive},
    wire::{self, Frame},
};

/// How long a daemon may take to answer a HELLO, in milliseconds, the time included until it takes the connection.
pub const GREETING_MS_MAX: u64 = 10_000;
/// How long it is waited when the daemon takes no more connections at the moment.
const PAUSE: Duration = Duration::from_millis(20);
/// Frames that may wait to be written.
const FRAMES_AHEAD: usize = 16;

/// One connection: one session.
pub(crate) struct Client {
    path: PathBuf,
    token: Option<String>,
    owner: bool,
    line: Own<Arc<Line>>,
    /// Agents' connections opened through this one: they end with it.
    agents: Mutex<Vec<Weak<Client>>>,
}

/// A connection, as those who call share it.
struct Line {
    /// Takes frames to be written, whole and in order.
    outgoing: Sender<Vec<u8>>,
    waiting: Mutex<Waiting>,
    _kept: KeptFromChildren,
    /// To end it while somebody writes.
    stream: StdStream,
}

/// Who waits for what.
#[derive(Default)]
struct Waiting {
    sequence: u64,
    senders: BTreeMap<u64, UnboundedSender<Frame>>,
    /// Why there is no connection any more.
    ended: Option<Failure>,
}

impl Client {
    /// Connects and says HELLO. With the owner's token this is an owner session, unless it opens as `agent`. While it waits, `heed`
    /// is asked whether to go on.
    pub(crate) fn connect(
        path: &Path,
        token: Option<String>,
        agent: Option<&str>,
        mut heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Client, Failure> {
        let home = Home::get().map_err(|error| no_runtime(&error))?;
        let limit = Duration::from_millis(GREETING_MS_MAX);
        let greeting = async { tokio::time::timeout(limit, greet(path, token.as_deref(), agent)).await };
        let mut greeting = pin!(home.within(greeting));
        let greeted = loop {
            let look = heed.is_some().then_some(Duration::from_millis(HEED_MS));
            match drive(greeting.as_mut(), look) {
                Some(greeted) => break greeted,
                None if heed.as_mut().is_some_and(|heed| !heed()) => return Err(given_up()),
                None => {}
            }
        };
        let silent = |_| unreachable(path, &format!("no answer to HELLO after {GREETING_MS_MAX} ms"));
        let (stream, owner) = greeted.map_err(silent)??;
        let line =
            home.enter(|| Line::over(stream)).map_err(|error| unreachable(path, &error.to_string()))?;
        // Only the owner's connection needs the token again.
        let token = token.clone().filter(|_| owner);
        Ok(Client { path: path.to_owned(), token, owner, line: Own::new(line), agents: Mutex::default() })
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.owner
    }

    pub(crate) fn origin(&self) -> Origin {
        self.line.origin()
    }

    /// Another connection, as an agent.
    pub(crate) fn agent(
        &self,
        name: &str,
        heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Arc<Client>, Failure> {
        self.line.origin().check()?;
        if !self.owner {
            return Err(Failure::new(Code::PolicyDeny, "only the owner opens a session for an agent"));
        }
        self.line.waiting()?.check()?;
        let agent = Arc::new(Client::connect(&self.path, self.token.clone(), Some(name), heed)?);
        if let Ok(mut agents) = self.agents.lock() {
            agents.retain(|agent| agent.strong_count() > 0);
            agents.push(Arc::downgrade(&agent));
        }
        Ok(agent)
    }

    /// Makes a request and waits for its outcome. While it waits, `heed` is asked whether to go on, where there is one.
    pub(crate) fn call(
        &self,
        request: &Request,
        cap: Option<&str>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
        heed: Option<&mut dyn FnMut() -> bool>,
    ) -> Outcome {
        let sink = Sink::Callback(Box::new(on_chunk));
        call::wait(answer(self.line.clone(), request, cap, sink, stop.clone()), stop, heed)
    }

    /// Makes a request without waiting for it.
    pub(crate) fn call_async(
        &self,
        request: Request,
        cap: Option<Arc<str>>,
        sink: Sink<'static>,
        stop: CancellationToken,
    ) -> Answer {
        let (line, stopped) = (self.line.clone(), stop.clone());
        Answer::of(async move { answer(line, &request, cap.as_deref(), sink, stopped).await }, stop)
    }

    /// Ends the connection, and those of its agents. In a process that was forked from the client's own it does nothing.
    pub(crate) fn close(&self) {
        if !self.line.origin().is_here() {
            return;
        }
        self.line.end(Failure::new(Code::NotConfigured, "the kernel is closed"));
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

/// Connects, and gives the stream once the daemon has answered HELLO, with whether this is the owner's session.
async fn greet(path: &Path, token: Option<&str>, agent: Option<&str>) -> Result<(UnixStream, bool), Failure> {
    let mut stream = loop {
        match UnixStream::connect(path).await {
            Ok(stream) => break stream,
            // The queue of connections is full: the daemon takes them one by one.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(unreachable(path, &error.to_string())),
        }
    };
    let mut hello = Object::new();
    hello.insert("versions", vec![Value::from(u64::from(ak_kernel::wire::VERSION))]);
    hello.insert("token", token);
    hello.insert("agent", agent);
    wire::write(&mut stream, Flags::HELLO.with(Flags::REQUEST), 0, &hello.into()).await?;
    let Some(answer) = wire::read(&mut stream).await? else {
        return Err(Failure::new(Code::FrameInvalid, "the kernel closed the connection at HELLO"));
    };
    if let Some(error) = answer.payload.get("error") {
        return Err(Failure::from_value(error)?);
    }
    let owner = answer.payload.get("result").and_then(|result| result.get("owner")).and_then(Value::as_bool);
    Ok((stream, owner.unwrap_or(false)))
}

/// Makes a request over a connection. Dropped before its end, it tells the kernel that nobody waits for the rest.
async fn answer(
    line: Own<Arc<Line>>,
    request: &Request,
    cap: Option<&str>,
    mut sink: Sink<'_>,
    stop: CancellationToken,
) -> Outcome {
    line.origin().check()?;
    let payload = wire::request_payload(request, cap).to_json();
    if payload.len() > PAYLOAD_BYTES_MAX {
        let message =
            format!("a request of {} bytes is above the limit of {PAYLOAD_BYTES_MAX} bytes", payload.len());
        return Err(Failure::new(Code::Limit, message));
    }
    let (sequence, mut frames) = line.send(payload.as_bytes()).await?;
    let mut under_way = UnderWay { line: &line, sequence, has_ended: false };
    let lost = || line.waiting().map_or_else(|failure| failure, |waiting| waiting.lost());
    loop {
        let Some(frame) = stop.run_until_cancelled(frames.recv()).await else { return Err(given_up()) };
        let Some(frame) = frame else {
            under_way.has_ended = true;
            return Err(lost());
        };
        if !frame.flags.has(Flags::CHUNK) {
            under_way.has_ended = true;
            return outcome_from_value(request.operation(), &frame.payload)?;
        }
        let chunk = frame.payload.get("data").and_then(Value::as_str).unwrap_or_default();
        let wants_more = match &mut sink {
            Sink::Nobody => true,
            Sink::Callback(take) => take(chunk),
            Sink::Channel(channel) => channel.send(chunk.to_owned()).await.is_ok(),
        };
        if !wants_more {
            return Err(Failure::new(Code::UnknownOutcome, "the caller stopped the stream"));
        }
    }
}

/// A request that was sent. What is given up before its end is cancelled.
struct UnderWay<'l> {
    line: &'l Own<Arc<Line>>,
    sequence: u64,
    has_ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.has_ended || !self.line.origin().is_here() {
            return;
        }
        if let Ok(mut waiting) = self.line.waiting() {
            waiting.senders.remove(&self.sequence);
        }
        let Ok(frame) = encode(Flags::REQUEST.with(Flags::END), self.sequence, b"{}") else { return };
        let (line, home) = (self.line.clone(), Home::get());
        // Where there is no room for it at once, somebody else waits for that.
        if let (Err(full), Ok(home)) = (line.outgoing.try_send(frame), home) {
            home.spawn(async move { line.outgoing.send(full.into_inner()).await });
        }
    }
}

impl Line {
    /// Takes a stream whose HELLO is done, and starts what reads from it and writes to it.
    fn over(stream: UnixStream) -> std::io::Result<Arc<Line>> {
        let stream = stream.into_std()?;
        let ender = stream.try_clone()?;
        let (reading, writing) = UnixStream::from_std(stream)?.into_split();
        let (outgoing, frames) = channel(FRAMES_AHEAD);
        let kept = KeptFromChildren::new(ender.as_fd());
        let line = Arc::new(Line { outgoing, waiting: Mutex::default(), _kept: kept, stream: ender });
        tokio::spawn(write_all(writing, frames, Arc::downgrade(&line)));
        tokio::spawn(listen(reading, Arc::downgrade(&line)));
        Ok(line)
    }

    fn waiting(&self) -> Result<MutexGuard<'_, Waiting>, Failure> {
        self.waiting.lock().map_err(|_| Failure::new(Code::Io, "a thread died while it held the connection"))
    }

    /// Sends a request; gives its number, and what brings its frames.
    async fn send(&self, payload: &[u8]) -> Result<(u64, UnboundedReceiver<Frame>), Failure> {
        self.waiting()?.check()?;
        let place = self.outgoing.reserve().await;
        let mut waiting = self.waiting()?;
        waiting.check()?;
        let place = place.map_err(|_| waiting.lost())?;
        let sequence = waiting.sequence + 1;
        let frame = encode(Flags::REQUEST, sequence, payload).map_err(wire::refused)?;
        let (sender, receiver) = unbounded_channel();
        waiting.sequence = sequence;
        waiting.senders.insert(sequence, sender);
        // Under the lock, so that numbers rise on the wire.
        place.send(frame);
        Ok((sequence, receiver))
    }

    fn end(&self, failure: Failure) {
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.ended.get_or_insert(failure);
            waiting.senders.clear();
        }
        // The other side may have closed it already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Waiting {
    fn check(&self) -> Result<(), Failure> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Why a call that was sent got no answer: it may have been performed, also where this side ended the connection.
    fn lost(&self) -> Failure {
        let closed = self.ended.as_ref().is_some_and(|failure| failure.code == Code::NotConfigured);
        let who = if closed { "the session was closed" } else { "the kernel closed the connection" };
        Failure::new(Code::UnknownOutcome, format!("{who} before the answer came"))
    }
}

/// Writes frames in their order, until the connection ends or nobody can send any more.
async fn write_all(mut stream: OwnedWriteHalf, mut frames: Receiver<Vec<u8>>, line: Weak<Line>) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = stream.write_all(&frame).await {
            // Half a frame leaves a stream that nobody can read on.
            let failure = Failure::new(Code::UnknownOutcome, format!("the connection broke: {error}"));
            return line.upgrade().map_or((), |line| line.end(failure));
        }
    }
}

/// Hands each frame to whoever waits for it, until the stream ends.
async fn listen(stream: OwnedReadHalf, line: Weak<Line>) {
    let mut stream = BufReader::new(stream);
    loop {
        let read = wire::read(&mut stream).await;
        let Some(line) = line.upgrade() else { return };
        match read {
            Ok(Some(frame)) => {
                let Ok(mut waiting) = line.waiting.lock() else { return };
                let sequence = frame.sequence;
                let last = !frame.flags.has(Flags::CHUNK);
                if let Some(sender) = waiting.senders.get(&sequence) {
                    // A caller that is gone needs no frame.
                    let _ = sender.send(frame);
                }
                if last {
                    waiting.senders.remove(&sequence);
                }
            }
            Ok(None) => return line.end(Failure::new(Code::Io, "the kernel closed the connection")),
            Err(failure) => return line.end(failure),
        }
    }
}
