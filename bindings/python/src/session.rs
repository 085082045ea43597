//! A connection that can be closed and opened again, and the one way a request takes through it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ak_host::{
    Connection, Options,
    ak_json::Value,
    ak_kernel::{Code, Failure, Operation, Outcome, Reply, Request},
};
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    convert::to_bytes,
    error::{misfit, raise},
};

pub(crate) struct Session {
    /// Nothing once the session is closed.
    connection: Mutex<Option<Connection>>,
    /// How to open it again; an agent session has nothing: only its owner opens it.
    options: Option<Options>,
}

impl Session {
    pub(crate) fn open(py: Python<'_>, options: Options) -> PyResult<Session> {
        let session = Session { connection: Mutex::new(None), options: Some(options) };
        session.reopen(py)?;
        Ok(session)
    }

    pub(crate) fn agent(&self, py: Python<'_>, name: &str) -> PyResult<Session> {
        let agent = py.detach(|| self.connection()?.agent(name)).map_err(|failure| raise(py, failure))?;
        Ok(Session { connection: Mutex::new(Some(agent)), options: None })
    }

    /// The same session presenting a token with every request.
    pub(crate) fn present(&self, py: Python<'_>, token: &str) -> PyResult<Session> {
        let connection = self.connection().map_err(|failure| raise(py, failure))?.present(token);
        Ok(Session { connection: Mutex::new(Some(connection)), options: None })
    }

    /// Opens the session if it is closed and an owner's.
    pub(crate) fn reopen(&self, py: Python<'_>) -> PyResult<()> {
        let Some(options) = &self.options else { return Ok(()) };
        let reopened = py.detach(|| {
            let mut connection = self.lock();
            if connection.is_none() {
                *connection = Some(Connection::open(options)?);
            }
            Ok(())
        });
        reopened.map_err(|failure| raise(py, failure))
    }

    pub(crate) fn close(&self, py: Python<'_>) {
        py.detach(|| {
            if let Some(connection) = self.lock().take() {
                connection.close();
            }
        });
    }

    pub(crate) fn connection(&self) -> Result<Connection, Failure> {
        self.lock().clone().ok_or_else(|| Failure::new(Code::NotConfigured, "the session is closed"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the policy by the one in a file, which no agent reaches from then on.
    pub(crate) fn load_policy_file(&self, py: Python<'_>, path: &std::path::Path) -> PyResult<()> {
        let elsewhere = py.detach(|| self.connection()?.load_policy_file(path));
        for path in elsewhere.map_err(|failure| raise(py, failure))? {
            let message =
                format!("agents are not kept from {path}: it is not the same file on the kernel's machine");
            let message = std::ffi::CString::new(message).unwrap_or_default();
            PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyUserWarning>(), &message, 1)?;
        }
        Ok(())
    }

    /// Makes a request and waits for its outcome, all of it with the interpreter released.
    pub(crate) fn outcome(
        &self,
        py: Python<'_>,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
    ) -> Outcome {
        py.detach(|| self.connection()?.call(request()?))
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

    /// The same where only one member of the reply is wanted.
    pub(crate) fn part(
        &self,
        py: Python<'_>,
        member: &str,
        request: impl FnOnce() -> Result<Request, Failure> + Send,
    ) -> PyResult<Value> {
        self.ask(py, request)?.get(member).cloned().ok_or_else(|| misfit(py))
    }

    /// The audit entries that a query finds, each as compact JSON.
    pub(crate) fn entries<'py>(&self, py: Python<'py>, query: &Value) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let found = self.part(py, "entries", || Ok(Request::decode(Operation::AuditQuery, query)?))?;
        let entries = found.as_array().ok_or_else(|| misfit(py))?;
        Ok(entries.iter().map(|entry| to_bytes(py, entry)).collect())
    }
}
