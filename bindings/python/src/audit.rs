//! The methods of `AuthorityKernel` on the audit log.

use ak_host::{
    ak_json::{Value, object},
    ak_kernel::{AuditRequest, Operation, QUERY_LIMIT, Request},
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use crate::{
    argument::{Data, Json},
    error::{as_object, dataclass, invalid_argument, raise, type_mismatch},
    from_python::from_python,
    kernel::AuthorityKernel,
    scalar::{Str, Unsigned},
    to_python::{to_bytes, to_dict, to_python},
};

#[pymethods]
impl AuthorityKernel {
    /// Records an event of the caller in the audit log. `details` is JSON; text that is not JSON is recorded as
    /// a string.
    #[pyo3(signature = (event_type, details=None, subject=None))]
    fn audit_log<'py>(
        &self,
        py: Python<'py>,
        event_type: Str,
        details: Option<Json>,
        subject: Option<Str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = || {
            Ok(Request::Audit(AuditRequest::Log {
                event: event_type.0,
                details: details.map_or_else(|| Ok(object! {}), |details| details.value_or_text())?,
                subject: subject.map(|name| name.0),
            }))
        };
        self.session.call_no_reply(py, request)
    }

    /// Returns the newest audit entries that the session may see, at most one page of them (`QUERY_LIMIT`), oldest
    /// first, each as JSON bytes.
    fn audit_logs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.entries(py, object! { "newest": true, "limit": QUERY_LIMIT })
    }

    /// Returns the audit entries that match and that the session may see, oldest first, each as JSON bytes.
    #[pyo3(signature = (query=None, **conditions))]
    fn audit_query<'py>(
        &self,
        py: Python<'py>,
        query: Option<Json>,
        conditions: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let query = query.map_or_else(|| Ok(object! {}), |query| query.value());
        let Value::Object(mut query) = query.map_err(|failure| raise(py, failure))? else {
            return Err(invalid_argument(py, "an audit query is a JSON object"));
        };
        for (name, value) in conditions.into_iter().flatten() {
            query.insert(name.extract::<Str>()?.0, from_python(&value)?);
        }
        self.entries(py, query.into())
    }

    /// Verifies and re-executes the whole log, and checks it against the key and the checkpoint that the caller
    /// kept. Owner only.
    #[pyo3(signature = (key=None, anchor=None))]
    fn audit_verify<'py>(
        &self,
        py: Python<'py>,
        key: Option<Str>,
        anchor: Option<Data>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let anchor = anchor.map(|note| String::from_utf8_lossy(&note.to_shared()).into_owned().into());
        let request = || Ok(Request::Audit(AuditRequest::Verify { key: key.map(|key| key.0), anchor }));
        self.session.call_json(py, request, |py, report| {
            dataclass(py, "Verification", &to_dict(py, as_object(py, &report)?)?)
        })
    }

    /// Returns a signed checkpoint of the log (C2SP note). Keep it elsewhere, and pass it to `audit_verify`.
    fn audit_checkpoint<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_member(
            py,
            "note",
            || Ok(Request::Audit(AuditRequest::Checkpoint)),
            |py, note| Ok(PyBytes::new(py, note.as_str().unwrap_or_default().as_bytes()).into_any()),
        )
    }

    /// Returns the key that verifies the log's checkpoints, as text (C2SP signed-note). Keep it elsewhere.
    fn audit_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_member(py, "key", || Ok(Request::Audit(AuditRequest::Checkpoint)), to_python)
    }

    /// Makes everything recorded about a subject unreadable for ever. The subject is an agent's name, or a name that
    /// was passed to `alloc` or `audit_log`. Every proof stays valid. Owner only.
    fn erase<'py>(&self, py: Python<'py>, subject: Str) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_json(
            py,
            || Ok(Request::Audit(AuditRequest::Erase { subject: subject.0 })),
            |py, reply| to_python(py, &reply),
        )
    }

    /// Returns the proof that an entry is in the log (RFC 6962 §2.1.1), with the checkpoint to check it against.
    fn audit_proof<'py>(&self, py: Python<'py>, seq: Unsigned) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_json(
            py,
            || Ok(Request::Audit(AuditRequest::Prove { seq: seq.0 })),
            |py, proof| to_python(py, &proof),
        )
    }
}

impl AuthorityKernel {
    /// Returns the audit entries that match a query, each as compact JSON.
    fn entries<'py>(&self, py: Python<'py>, query: Value) -> PyResult<Bound<'py, PyAny>> {
        let request = || Ok(Request::decode(Operation::AuditQuery, &query)?);
        self.session.call_member(py, "entries", request, |py, entries| {
            let entries = entries.as_array().ok_or_else(|| type_mismatch(py))?;
            Ok(PyList::new(py, entries.iter().map(|entry| to_bytes(py, entry)))?.into_any())
        })
    }
}
