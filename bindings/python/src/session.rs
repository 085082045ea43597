//! A connection that can be closed and opened again, and the one way a request takes through it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ak_host::{
    Connection, Options,
    ak_json::Value,
    ak_kernel::{Failure, Operation, Outcome, Reply, Request},
};
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    convert::to_bytes,
    error::{misfit, raise},
};

pub(crate) struct Session {
    state: Mutex<State>,
    /// How to open it again; an agent session has nothing: only its owner opens it.
    options: Option<Options>,
}

struct State {
    connection: Connection,
    open: bool,
}

impl Session {
    pub(crate) fn open(py: Python<'_>, options: Options) -> PyResult<Session> {
        let connection = py.detach(|| Connection::open(&options)).map_err(|failure| raise(py, failure))?;
        Ok(Session { state: Mutex::new(State { connection, open: true }), options: Some(options) })
    }

    pub(crate) fn agent(&self, py: Python<'_>, name: &str) -> PyResult<Session> {
        let connection = self.connection();
        let agent = py.detach(|| connection.agent(name)).map_err(|failure| raise(py, failure))?;
        Ok(Session { state: Mutex::new(State { connection: agent, open: true }), options: None })
    }

    /// Opens the session again if it was closed and is an owner's.
    pub(crate) fn reopen(&self, py: Python<'_>) -> PyResult<()> {
        let Some(options) = &self.options else { return Ok(()) };
        let reopened = py.detach(|| {
            let mut state = self.lock();
            if !state.open {
                *state = State { connection: Connection::open(options)?, open: true };
            }
            Ok(())
        });
        reopened.map_err(|failure| raise(py, failure))
    }

    pub(crate) fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let mut state = self.lock();
            state.open = false;
            state.connection.close();
        });
    }

    pub(crate) fn connection(&self) -> Connection {
        self.lock().connection.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request and waits for its outcome, all of it with the interpreter released.
    pub(crate) fn outcome(&self, py: Python<'_>, request: impl FnOnce() -> Result<Request, Failure> + Send) -> Outcome {
        let connection = self.connection();
        py.detach(|| connection.call(request()?))
    }

    pub(crate) fn call(
        &self,
        py: Python<'_>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
    ) -> PyResult<Reply> {
        self.outcome(py, request).map_err(|failure| raise(py, failure))
    }

    /// The same where the reply is JSON.
    pub(crate) fn ask(
        &self,
        py: Python<'_>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
    ) -> PyResult<Value> {
        match self.call(py, request)? {
            Reply::Value(value) => Ok(value),
            _ => Err(misfit(py)),
        }
    }

    /// The same where the arguments stand in their wire form and the kernel takes them apart.
    pub(crate) fn decode(&self, py: Python<'_>, operation: Operation, args: &Value) -> PyResult<Reply> {
        self.call(py, || Ok(Request::decode(operation, args)?))
    }

    /// The audit entries that a query finds, each as compact JSON.
    pub(crate) fn entries<'py>(&self, py: Python<'py>, query: &Value) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let Reply::Value(found) = self.decode(py, Operation::AuditQuery, query)? else { return Err(misfit(py)) };
        let entries = found.get("entries").and_then(Value::as_array).ok_or_else(|| misfit(py))?;
        Ok(entries.iter().map(|entry| to_bytes(py, entry)).collect())
    }
}
