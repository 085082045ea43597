//! A connection that can be closed and opened again, and the one way a request takes through it: a method of Python waits for the
//! outcome, or gives a future of asyncio's at once.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ak_host::{
    CancellationToken, Connection, INTERRUPT_POLL_MS, Options, ProcessIdentity,
    ak_json::Value,
    ak_kernel::{Code, Failure, Outcome, Reply, Request},
};
use pyo3::prelude::*;

use crate::{
    error::{misfit, raise},
    waiting::{Heed, aside, future_of, heeding, interrupted},
};

/// A session as an object of Python has it.
pub(crate) struct Session {
    shared: Arc<Shared>,
    /// Whether methods give futures.
    is_async: bool,
}

struct Shared {
    /// The process of which it is. In a child no lock of it is taken.
    origin: ProcessIdentity,
    door: Mutex<Door>,
    /// Told whenever the door moves.
    moved: Condvar,
    /// How to open it again; an agent session has nothing: only its owner opens it.
    options: Option<Options>,
}

enum Door {
    Closed,
    /// Some thread is opening it.
    Opening,
    Open(Connection),
    /// What was behind it is ending, and may still hold what the next one needs.
    Closing,
}

/// Moves a door once what is behind it has opened or ended, however that went: a thread that dies leaves it closed.
struct Moves {
    shared: Arc<Shared>,
    to: Door,
}

impl Moves {
    fn new(shared: &Arc<Shared>) -> Moves {
        Moves { shared: shared.clone(), to: Door::Closed }
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        *self.shared.door() = std::mem::replace(&mut self.to, Door::Closed);
        self.shared.moved.notify_all();
    }
}

impl Session {
    pub(crate) fn open(py: Python<'_>, options: Options) -> PyResult<Session> {
        let session = Session::new(Door::Closed, Some(options), false);
        session.reopen(py)?;
        Ok(session)
    }

    fn new(door: Door, options: Option<Options>, is_async: bool) -> Session {
        let (door, moved) = (Mutex::new(door), Condvar::new());
        Session {
            shared: Arc::new(Shared { origin: ProcessIdentity::current(), door, moved, options }),
            is_async,
        }
    }

    /// The same session with methods that give futures.
    pub(crate) fn to_async(&self) -> Session {
        Session { shared: self.shared.clone(), is_async: true }
    }

    pub(crate) fn agent(&self, py: Python<'_>, name: &str) -> PyResult<Session> {
        let agent = heeding(py, |mut heed| {
            let connection = self.shared.connection(again(&mut heed))?;
            connection.agent_interruptible(name, heed)
        })?;
        let agent = agent.map_err(|failure| raise(py, failure))?;
        Ok(Session::new(Door::Open(agent), None, self.is_async))
    }

    /// The same session presenting a token with every request.
    pub(crate) fn present(&self, py: Python<'_>, token: &str) -> PyResult<Session> {
        let connection = self.connection(py)?.present(token);
        Ok(Session::new(Door::Open(connection), None, self.is_async))
    }

    /// Opens the session if it is closed and an owner's.
    pub(crate) fn reopen(&self, py: Python<'_>) -> PyResult<()> {
        let Some(options) = &self.shared.options else { return Ok(()) };
        let opened = heeding(py, |mut heed| {
            if !self.shared.begin_opening(again(&mut heed))? {
                return Ok(());
            }
            let mut moves = Moves::new(&self.shared);
            moves.to = Door::Open(open(options, heed)?);
            Ok(())
        })?;
        opened.map_err(|failure| raise(py, failure))
    }

    /// Ends the session. In a child that inherited it this does nothing.
    ///
    /// # Errors
    /// What the handler of a signal raises meanwhile; the session ends all the same.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.shared.origin.is_current() {
            return Ok(());
        }
        let closed = heeding(py, |heed| match self.shared.close() {
            // To keep a snapshot takes long where there is much.
            Some(connection) => {
                let moves = Moves::new(&self.shared);
                let end = move || {
                    connection.close();
                    drop((connection, moves));
                };
                aside(heed, end, |()| {})
            }
            None => Ok(()),
        })?;
        closed.map_err(|failure| raise(py, failure))
    }

    pub(crate) fn connection(&self, py: Python<'_>) -> PyResult<Connection> {
        let connection = heeding(py, |heed| self.shared.connection(heed))?;
        connection.map_err(|failure| raise(py, failure))
    }

    /// Replaces the policy by the one in a file, which no agent reaches from then on.
    pub(crate) fn load_policy_file(&self, py: Python<'_>, path: &std::path::Path) -> PyResult<()> {
        let path = path.to_owned();
        let elsewhere = heeding(py, |mut heed| {
            let connection = self.shared.connection(again(&mut heed))?;
            aside(heed, move || connection.load_policy_file(&path), drop)?
        })?;
        for path in elsewhere.map_err(|failure| raise(py, failure))? {
            let message =
                format!("agents are not kept from {path}: it is not the same file on the kernel's machine");
            let message = std::ffi::CString::new(message).unwrap_or_default();
            PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyUserWarning>(), &message, 1)?;
        }
        Ok(())
    }

    /// Makes a request, and gives what `convert` makes of its outcome, or a future of that. The interpreter is released while the
    /// request is made and waited for.
    pub(crate) fn settle<'py>(
        &self,
        py: Python<'py>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
        convert: impl for<'p> FnOnce(Python<'p>, Outcome) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.is_async {
            let stop = CancellationToken::new();
            let answer =
                py.detach(|| Ok(self.shared.connection(None)?.call_async(request()?, None, stop.clone())));
            let outcome = async move {
                match answer {
                    Ok(answer) => answer.await,
                    Err(failure) => Err(failure),
                }
            };
            return future_of(py, outcome, stop, convert);
        }
        let outcome = heeding(py, |mut heed| {
            let connection = self.shared.connection(again(&mut heed))?;
            connection.call_interruptible(request()?, &mut |_| true, &CancellationToken::new(), heed)
        })?;
        convert(py, outcome)
    }

    /// The same where a failure is an exception.
    pub(crate) fn call<'py>(
        &self,
        py: Python<'py>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
        convert: impl for<'p> FnOnce(Python<'p>, Reply) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.settle(py, request, |py, outcome| match outcome {
            Ok(reply) => convert(py, reply),
            Err(failure) => Err(raise(py, failure)),
        })
    }

    /// The same where the reply is JSON.
    pub(crate) fn ask<'py>(
        &self,
        py: Python<'py>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
        convert: impl for<'p> FnOnce(Python<'p>, Value) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.call(py, request, |py, reply| match reply {
            Reply::Value(value) => convert(py, value),
            _ => Err(misfit(py)),
        })
    }

    /// The same where only one member of the reply is wanted.
    pub(crate) fn part<'py>(
        &self,
        py: Python<'py>,
        member: &'static str,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
        convert: impl for<'p> FnOnce(Python<'p>, &Value) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, request, move |py, value| convert(py, value.get(member).ok_or_else(|| misfit(py))?))
    }

    /// The same where nothing is wanted of the reply.
    pub(crate) fn done<'py>(
        &self,
        py: Python<'py>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.call(py, request, |py, _| Ok(py.None().into_bound(py)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The last one may end a kernel, which waits for the disk: not while it holds the interpreter.
        if self.shared.origin.is_current()
            && let Some(shared) = Arc::get_mut(&mut self.shared)
        {
            let door = shared.door.get_mut().unwrap_or_else(PoisonError::into_inner);
            let last = std::mem::replace(door, Door::Closed);
            // Where there is no interpreter any more, it is dropped all the same.
            let _ = Python::try_attach(|py| py.detach(|| drop(last)));
        }
    }
}

impl Shared {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the door is so.
    fn settled(&self, mut heed: Heed<'_>, waits: fn(&Door) -> bool) -> Result<MutexGuard<'_, Door>, Failure> {
        self.origin.check()?;
        let mut door = self.door();
        while waits(&door) {
            let waited = self.moved.wait_timeout(door, Duration::from_millis(INTERRUPT_POLL_MS));
            door = waited.unwrap_or_else(PoisonError::into_inner).0;
            if waits(&door) && heed.is_some() {
                // Whoever is asked may want the door itself.
                drop(door);
                if heed.as_mut().is_some_and(|heed| !heed()) {
                    return Err(interrupted());
                }
                door = self.door();
            }
        }
        Ok(door)
    }

    fn connection(&self, heed: Heed<'_>) -> Result<Connection, Failure> {
        match &*self.settled(heed, |door| matches!(door, Door::Opening))? {
            Door::Open(connection) => Ok(connection.clone()),
            Door::Closed | Door::Closing | Door::Opening => {
                Err(Failure::new(Code::NotConfigured, "the session is closed"))
            }
        }
    }

    /// Gives what is behind the door, which is closed by [`Moves`] from here on.
    fn close(&self) -> Option<Connection> {
        let mut door = self.door();
        match std::mem::replace(&mut *door, Door::Closing) {
            Door::Open(connection) => Some(connection),
            // Whoever is opening or closing it goes on to do so.
            other => {
                *door = other;
                None
            }
        }
    }

    /// Whether the caller is to open the session now, and nobody else.
    fn begin_opening(&self, heed: Heed<'_>) -> Result<bool, Failure> {
        let mut door = self.settled(heed, |door| matches!(door, Door::Opening | Door::Closing))?;
        if !matches!(&*door, Door::Closed) {
            return Ok(false);
        }
        *door = Door::Opening;
        Ok(true)
    }
}

/// Opens a connection; one that nobody waits for any more is closed again.
fn open(options: &Options, heed: Heed<'_>) -> Result<Connection, Failure> {
    if options.url.is_some() {
        return Connection::open_interruptible(options, heed);
    }
    let options = options.clone();
    let opened = aside(
        heed,
        move || Connection::open(&options),
        |unwanted| {
            if let Ok(connection) = unwanted {
                connection.close();
            }
        },
    );
    opened?
}

/// Lends what is heeded, to be heeded again afterwards.
fn again<'h>(heed: &'h mut Heed<'_>) -> Heed<'h> {
    match heed {
        Some(heed) => Some(&mut **heed),
        None => None,
    }
}
