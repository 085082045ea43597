//! A session that can be closed and opened again, and the one function that sends its requests. A Python method waits
//! for the outcome, or in an asyncio session returns a future at once.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ak_host::{
    CancellationToken, Connection, INTERRUPT_POLL_MS, Options, PolicyReport, ProcessIdentity,
    ak_json::Value,
    ak_kernel::{Code, Failure, Outcome, Reply, Request, ak_policy::Lint},
};
use pyo3::prelude::*;

use crate::{
    delivery::future_of,
    error::{raise, type_mismatch},
    signals::{SignalCheck, interrupted, on_worker_thread, reborrow, with_signal_checks},
};

/// The session of a Python `AuthorityKernel`.
pub(crate) struct Session {
    shared: Arc<Shared>,
    /// Whether methods return futures.
    is_async: bool,
}

struct Shared {
    /// The process that opened the session. A forked child does not take the locks below.
    origin: ProcessIdentity,
    state: Mutex<State>,
    /// Notified whenever the state changes.
    state_changed: Condvar,
    /// The options to open the session again; `None` for the session of an agent or a capability, which cannot be
    /// opened again.
    options: Option<Options>,
}

enum State {
    Closed,
    /// A thread is opening the session.
    Opening,
    Open(Connection),
    /// A thread is closing the session. The old connection may still hold locks that a new one needs.
    Closing,
}

/// Sets the state that follows `Opening` or `Closing` when it is dropped: `Closed`, unless `next` was changed. So a
/// thread that panics leaves the session closed.
struct StateGuard {
    shared: Arc<Shared>,
    next: State,
}

impl StateGuard {
    fn new(shared: &Arc<Shared>) -> StateGuard {
        StateGuard { shared: shared.clone(), next: State::Closed }
    }
}

impl Drop for StateGuard {
    fn drop(&mut self) {
        *self.shared.lock() = std::mem::replace(&mut self.next, State::Closed);
        self.shared.state_changed.notify_all();
    }
}

impl Session {
    pub(crate) fn open(py: Python<'_>, options: Options) -> PyResult<Session> {
        let session = Session::new(State::Closed, Some(options), false);
        session.reopen(py)?;
        Ok(session)
    }

    fn new(state: State, options: Option<Options>, is_async: bool) -> Session {
        let (state, state_changed) = (Mutex::new(state), Condvar::new());
        let shared = Shared { origin: ProcessIdentity::current(), state, state_changed, options };
        Session { shared: Arc::new(shared), is_async }
    }

    /// The same session with methods that return futures.
    pub(crate) fn to_async(&self) -> Session {
        Session { shared: self.shared.clone(), is_async: true }
    }

    pub(crate) fn agent(&self, py: Python<'_>, name: &str) -> PyResult<Session> {
        let agent = with_signal_checks(py, |mut check| {
            let connection = self.shared.connection(reborrow(&mut check))?;
            connection.agent_interruptible(name, check)
        })?;
        let agent = agent.map_err(|failure| raise(py, failure))?;
        Ok(Session::new(State::Open(agent), None, self.is_async))
    }

    /// The same session presenting a token with every request.
    pub(crate) fn present(&self, py: Python<'_>, token: &str) -> PyResult<Session> {
        let connection = self.connection(py)?.present(token);
        Ok(Session::new(State::Open(connection), None, self.is_async))
    }

    /// Opens the session if it is closed and can be opened again.
    pub(crate) fn reopen(&self, py: Python<'_>) -> PyResult<()> {
        let Some(options) = &self.shared.options else { return Ok(()) };
        let opened = with_signal_checks(py, |mut check| {
            if !self.shared.begin_opening(reborrow(&mut check))? {
                return Ok(());
            }
            let mut guard = StateGuard::new(&self.shared);
            guard.next = State::Open(open(options, check)?);
            Ok(())
        })?;
        opened.map_err(|failure| raise(py, failure))
    }

    /// Ends the session. In a forked child that inherited it, this does nothing.
    ///
    /// # Errors
    /// The exception that the handler of a signal raises meanwhile. The session ends nevertheless.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.shared.origin.is_current() {
            return Ok(());
        }
        let closed = with_signal_checks(py, |check| match self.shared.close() {
            // Closing may write a snapshot, which takes long for a large state.
            Some(connection) => {
                let guard = StateGuard::new(&self.shared);
                let end = move || {
                    connection.close();
                    drop((connection, guard));
                };
                on_worker_thread(check, end, |()| {})
            }
            None => Ok(()),
        })?;
        closed.map_err(|failure| raise(py, failure))
    }

    pub(crate) fn connection(&self, py: Python<'_>) -> PyResult<Connection> {
        let connection = with_signal_checks(py, |check| self.shared.connection(check))?;
        connection.map_err(|failure| raise(py, failure))
    }

    /// Replaces the policy by the one in a file, and returns the lints. The kernel protects the policy's files from agents while
    /// the policy is in force; a Python warning names each file that it cannot protect.
    pub(crate) fn load_policy_file(&self, py: Python<'_>, path: &std::path::Path) -> PyResult<Vec<Lint>> {
        let path = path.to_owned();
        let report = with_signal_checks(py, |mut check| {
            let connection = self.shared.connection(reborrow(&mut check))?;
            on_worker_thread(check, move || connection.load_policy_file(&path), drop)?
        })?;
        let PolicyReport { unprotected, lints } = report.map_err(|failure| raise(py, failure))?;
        for path in unprotected {
            let message =
                format!("agents are not kept from {path}: it is not the same file on the kernel's machine");
            let message = std::ffi::CString::new(message).unwrap_or_default();
            PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyUserWarning>(), &message, 1)?;
        }
        Ok(lints)
    }

    /// Sends a request, and returns the converted outcome, or a future of it. The interpreter is released while the
    /// request is made and while this thread waits.
    pub(crate) fn send<'py>(
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
        let outcome = with_signal_checks(py, |mut check| {
            let connection = self.shared.connection(reborrow(&mut check))?;
            connection.call_interruptible(request()?, &mut |_| true, &CancellationToken::new(), check)
        })?;
        convert(py, outcome)
    }

    /// Sends a request, and raises a failure as an exception.
    pub(crate) fn call<'py>(
        &self,
        py: Python<'py>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
        convert: impl for<'p> FnOnce(Python<'p>, Reply) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.send(py, request, |py, outcome| match outcome {
            Ok(reply) => convert(py, reply),
            Err(failure) => Err(raise(py, failure)),
        })
    }

    /// Sends a request whose reply is JSON.
    pub(crate) fn call_json<'py>(
        &self,
        py: Python<'py>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
        convert: impl for<'p> FnOnce(Python<'p>, Value) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.call(py, request, |py, reply| match reply {
            Reply::Value(value) => convert(py, value),
            _ => Err(type_mismatch(py)),
        })
    }

    /// Sends a request, and converts one member of its reply, which is a JSON object.
    pub(crate) fn call_member<'py>(
        &self,
        py: Python<'py>,
        member: &'static str,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
        convert: impl for<'p> FnOnce(Python<'p>, &Value) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.call_json(py, request, move |py, value| {
            convert(py, value.get(member).ok_or_else(|| type_mismatch(py))?)
        })
    }

    /// Sends a request, and returns None instead of its reply.
    pub(crate) fn call_no_reply<'py>(
        &self,
        py: Python<'py>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.call(py, request, |py, _| Ok(py.None().into_bound(py)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Dropping the last connection may close a kernel, which waits for the disk: release the interpreter meanwhile.
        if self.shared.origin.is_current()
            && let Some(shared) = Arc::get_mut(&mut self.shared)
        {
            let state = shared.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            let last = std::mem::replace(state, State::Closed);
            // Once the interpreter is gone, `last` is dropped with the closure.
            let _ = Python::try_attach(|py| py.detach(|| drop(last)));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the state satisfies `waits`.
    ///
    /// # Errors
    /// This is a forked child, or `check` ended the wait.
    fn wait_while(
        &self,
        mut check: SignalCheck<'_>,
        waits: fn(&State) -> bool,
    ) -> Result<MutexGuard<'_, State>, Failure> {
        self.origin.check()?;
        let mut state = self.lock();
        while waits(&state) {
            let waited = self.state_changed.wait_timeout(state, Duration::from_millis(INTERRUPT_POLL_MS));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if waits(&state) && check.is_some() {
                // The check runs a signal's handler, which may use this session, so the lock is released first.
                drop(state);
                if check.as_mut().is_some_and(|check| !check()) {
                    return Err(interrupted());
                }
                state = self.lock();
            }
        }
        Ok(state)
    }

    fn connection(&self, check: SignalCheck<'_>) -> Result<Connection, Failure> {
        match &*self.wait_while(check, |state| matches!(state, State::Opening))? {
            State::Open(connection) => Ok(connection.clone()),
            State::Closed | State::Closing | State::Opening => {
                Err(Failure::new(Code::NotConfigured, "the session is closed: open a new one"))
            }
        }
    }

    /// Sets the state to `Closing` and returns the connection to close, if the session is open. The caller ends the
    /// state with a [`StateGuard`].
    fn close(&self) -> Option<Connection> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Closing) {
            State::Open(connection) => Some(connection),
            // Another thread is opening or closing it.
            other => {
                *state = other;
                None
            }
        }
    }

    /// Sets the state to `Opening` and returns true if the session is closed; the caller must then open it. Waits first
    /// while another thread opens or closes the session.
    fn begin_opening(&self, check: SignalCheck<'_>) -> Result<bool, Failure> {
        let mut state = self.wait_while(check, |state| matches!(state, State::Opening | State::Closing))?;
        if !matches!(&*state, State::Closed) {
            return Ok(false);
        }
        *state = State::Opening;
        Ok(true)
    }
}

/// Opens a connection. If a signal ends the wait, the connection is closed once it is open.
fn open(options: &Options, check: SignalCheck<'_>) -> Result<Connection, Failure> {
    if options.url.is_some() {
        return Connection::open_interruptible(options, check);
    }
    let options = options.clone();
    let opened = on_worker_thread(
        check,
        move || Connection::open(&options),
        |unwanted| {
            if let Ok(connection) = unwanted {
                connection.close();
            }
        },
    );
    opened?
}
