//! A kernel behind a Unix socket.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ak_json::{Object, Value};
use ak_kernel::{Code, Failure, Outcome, Request, outcome_from_value, wire::Flags};

use crate::wire;

/// One connection: one session. Calls take turns.
pub(crate) struct Client {
    path: PathBuf,
    token: Option<String>,
    owner: bool,
    stream: Mutex<Option<Line>>,
}

struct Line {
    stream: UnixStream,
    sequence: u64,
}

impl Client {
    /// Connects and says HELLO. With the owner's token this is an owner session, unless it opens as `agent`.
    pub(crate) fn connect(
        path: &Path,
        token: Option<String>,
        agent: Option<&str>,
    ) -> Result<Client, Failure> {
        let unreachable = |error| {
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
        Ok(Client {
            path: path.to_owned(),
            token,
            owner: owner.unwrap_or(false),
            stream: Mutex::new(Some(Line { stream, sequence: 0 })),
        })
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.owner
    }

    /// Another connection, as an agent.
    pub(crate) fn agent(&self, name: &str) -> Result<Client, Failure> {
        Client::connect(&self.path, self.token.clone(), Some(name))
    }

    pub(crate) fn call(&self, request: &Request, on_chunk: &mut dyn FnMut(&str) -> bool) -> Outcome {
        let operation = request.operation();
        let mut guard =
            self.stream.lock().map_err(|_| Failure::new(Code::Io, "a thread died holding the connection"))?;
        let Some(line) = guard.as_mut() else {
            return Err(Failure::new(Code::NotConfigured, "the kernel is closed"));
        };
        let answer = line.exchange(request, on_chunk);
        if answer.is_err() {
            // Half an exchange leaves a stream that nobody can read on.
            *guard = None;
        }
        outcome_from_value(operation, &answer?)?
    }

    pub(crate) fn close(&self) {
        if let Ok(mut guard) = self.stream.lock() {
            *guard = None;
        }
    }
}

impl Line {
    fn exchange(
        &mut self,
        request: &Request,
        on_chunk: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Value, Failure> {
        self.sequence += 1;
        wire::write(&mut self.stream, Flags::REQUEST, self.sequence, &wire::request_payload(request))?;
        loop {
            let Some(frame) = wire::read(&mut self.stream)? else {
                return Err(Failure::new(
                    Code::UnknownOutcome,
                    "the kernel closed the connection before it answered",
                ));
            };
            if frame.sequence != self.sequence {
                return Err(Failure::new(Code::FrameInvalid, "the kernel answered another request"));
            }
            if !frame.flags.has(Flags::CHUNK) {
                return Ok(frame.payload);
            }
            let chunk = frame.payload.get("data").and_then(Value::as_str).unwrap_or_default();
            if !on_chunk(chunk) {
                return Err(Failure::new(Code::UnknownOutcome, "the caller stopped the stream"));
            }
        }
    }
}

/// Shared by the clones of one connection.
pub(crate) type SharedClient = Arc<Client>;
