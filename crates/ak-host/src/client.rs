//! A kernel behind a Unix socket. Calls of several threads share the connection and pipeline.

use std::{
    collections::BTreeMap,
    io::Write,
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use ak_json::{Object, Value};
use ak_kernel::{
    Code, Failure, Outcome, Request, outcome_from_value,
    wire::{Flags, PAYLOAD_BYTES_MAX, encode},
};

use tokio_util::sync::CancellationToken;

use crate::wire::{self, Frame};

/// How long it may go unnoticed that a caller waits no more.
const LOOK: Duration = Duration::from_millis(50);

/// One connection: one session.
pub(crate) struct Client {
    path: PathBuf,
    token: Option<String>,
    owner: bool,
    line: Arc<Line>,
    /// Agents' connections opened through this one: they end with it.
    agents: Mutex<Vec<Weak<Client>>>,
}

/// A connection, shared by who calls and who listens. No lock is held while something is read; whoever listens takes only
/// that of `waiting`, which nobody holds while writing: so what comes is always taken.
struct Line {
    writer: Mutex<Writer>,
    waiting: Mutex<Waiting>,
    /// To end it while somebody writes.
    stream: UnixStream,
}

struct Writer {
    stream: UnixStream,
    sequence: u64,
}

/// Who waits for what.
#[derive(Default)]
struct Waiting {
    senders: BTreeMap<u64, Sender<Frame>>,
    /// Why there is no connection any more.
    ended: Option<Failure>,
}

impl Client {
    /// Connects and says HELLO. With the owner's token this is an owner session, unless it opens as `agent`.
    pub(crate) fn connect(
        path: &Path,
        token: Option<String>,
        agent: Option<&str>,
    ) -> Result<Client, Failure> {
        let unreachable = |error: std::io::Error| {
            let message =
                format!("no kernel answers at unix:{}: {error} (start one with `ak serve`)", path.display());
            Failure::new(Code::Io, message)
        };
        let mut stream = UnixStream::connect(path).map_err(unreachable)?;
        let mut hello = Object::new();
        hello.insert("versions", vec![Value::from(u64::from(ak_kernel::wire::VERSION))]);
        if let Some(token) = &token {
            hello.insert("token", token.as_str());
        }
        if let Some(agent) = agent {
            hello.insert("agent", agent);
        }
        wire::write(&mut stream, Flags::HELLO.with(Flags::REQUEST), 0, &hello.into())?;
        let Some(answer) = wire::read(&mut stream)? else {
            return Err(Failure::new(Code::FrameInvalid, "the kernel closed the connection at HELLO"));
        };
        if let Some(error) = answer.payload.get("error") {
            return Err(Failure::from_value(error)?);
        }
        let owner =
            answer.payload.get("result").and_then(|result| result.get("owner")).and_then(Value::as_bool);
        let reader = stream.try_clone().map_err(unreachable)?;
        let ender = stream.try_clone().map_err(unreachable)?;
        let writer = Mutex::new(Writer { stream, sequence: 0 });
        let line = Arc::new(Line { writer, waiting: Mutex::default(), stream: ender });
        let listener = line.clone();
        std::thread::Builder::new()
            .name("ak-client".into())
            .spawn(move || listen(reader, &listener))
            .map_err(unreachable)?;
        // Only the owner's connection needs the token again.
        let owner = owner.unwrap_or(false);
        let token = token.filter(|_| owner);
        Ok(Client { path: path.to_owned(), token, owner, line, agents: Mutex::default() })
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.owner
    }

    /// Another connection, as an agent.
    pub(crate) fn agent(&self, name: &str) -> Result<Arc<Client>, Failure> {
        if !self.owner {
            return Err(Failure::new(Code::PolicyDeny, "only the owner opens a session for an agent"));
        }
        self.line.waiting()?.check()?;
        let agent = Arc::new(Client::connect(&self.path, self.token.clone(), Some(name))?);
        if let Ok(mut agents) = self.agents.lock() {
            agents.retain(|agent| agent.strong_count() > 0);
            agents.push(Arc::downgrade(&agent));
        }
        Ok(agent)
    }

    pub(crate) fn call(
        &self,
        request: &Request,
        cap: Option<&str>,
        on_chunk: &mut (dyn FnMut(&str) -> bool + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        let payload = wire::request_payload(request, cap).to_json();
        if payload.len() > PAYLOAD_BYTES_MAX {
            let message = format!(
                "a request of {} bytes is above the limit of {PAYLOAD_BYTES_MAX} bytes",
                payload.len()
            );
            return Err(Failure::new(Code::Limit, message));
        }
        let (sender, receiver) = channel();
        let sequence = self.line.send(payload.as_bytes(), sender)?;
        loop {
            if stop.is_cancelled() {
                self.line.cancel(sequence)?;
                return Err(Failure::new(Code::UnknownOutcome, "given up: nobody waits for it any more"));
            }
            let frame = match receiver.recv_timeout(LOOK) {
                Ok(frame) => frame,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Err(self.line.waiting()?.lost()),
            };
            if !frame.flags.has(Flags::CHUNK) {
                return outcome_from_value(request.operation(), &frame.payload)?;
            }
            let chunk = frame.payload.get("data").and_then(Value::as_str).unwrap_or_default();
            if !on_chunk(chunk) {
                self.line.cancel(sequence)?;
                return Err(Failure::new(Code::UnknownOutcome, "the caller stopped the stream"));
            }
        }
    }

    /// Ends the connection, and those of its agents.
    pub(crate) fn close(&self) {
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

impl Line {
    fn waiting(&self) -> Result<MutexGuard<'_, Waiting>, Failure> {
        self.waiting.lock().map_err(|_| died())
    }

    fn send(&self, payload: &[u8], sender: Sender<Frame>) -> Result<u64, Failure> {
        let mut writer = self.writer.lock().map_err(|_| died())?;
        {
            let mut waiting = self.waiting()?;
            waiting.check()?;
            writer.sequence += 1;
            waiting.senders.insert(writer.sequence, sender);
        }
        let sequence = writer.sequence;
        self.put(&mut writer, Flags::REQUEST, sequence, payload)?;
        Ok(sequence)
    }

    /// Tells the kernel that nobody waits for the rest.
    fn cancel(&self, sequence: u64) -> Result<(), Failure> {
        self.waiting()?.senders.remove(&sequence);
        let mut writer = self.writer.lock().map_err(|_| died())?;
        self.put(&mut writer, Flags::REQUEST.with(Flags::END), sequence, b"{}")
    }

    fn put(&self, writer: &mut Writer, flags: Flags, sequence: u64, payload: &[u8]) -> Result<(), Failure> {
        let frame = encode(flags, sequence, payload).map_err(wire::refused)?;
        writer.stream.write_all(&frame).map_err(|error| {
            // Half a frame leaves a stream that nobody can read on.
            let failure = Failure::new(Code::UnknownOutcome, format!("the connection broke: {error}"));
            self.end(failure.clone());
            failure
        })
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

    /// Why a call that was sent got no answer.
    fn lost(&self) -> Failure {
        let closed = self.ended.clone().filter(|failure| failure.code == Code::NotConfigured);
        let message = "the kernel closed the connection before it answered";
        closed.unwrap_or_else(|| Failure::new(Code::UnknownOutcome, message))
    }
}

/// Hands each frame to whoever waits for it, until the stream ends.
fn listen(mut reader: UnixStream, line: &Line) {
    loop {
        match wire::read(&mut reader) {
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

fn died() -> Failure {
    Failure::new(Code::Io, "a thread died while it held the connection")
}
