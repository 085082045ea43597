//! The methods on the log.

use ak_host::{
    ak_json::{Value, object},
    ak_kernel::Request,
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use crate::{
    argument::{Data, Json, Str, Unsigned},
    convert::{from_python, members, to_python},
    error::{invalid, raise, record},
    kernel::AuthorityKernel,
};

#[pymethods]
impl AuthorityKernel {
    /// Writes an audit entry of one's own. `details` is JSON; a text that is not stays a text.
    #[pyo3(signature = (event_type, details=None, subject=None))]
    fn audit_log(
        &self,
        py: Python<'_>,
        event_type: Str,
        details: Option<Json>,
        subject: Option<Str>,
    ) -> PyResult<()> {
        let request = || {
            Ok(Request::AuditLog {
                event: event_type.0,
                details: details.map_or_else(|| Ok(object! {}), |details| details.value_or_text())?,
                subject: subject.map(|name| name.0),
            })
        };
        self.session.call(py, request)?;
        Ok(())
    }

    /// The newest 1,000 audit entries, oldest first, each as JSON bytes.
    fn audit_logs<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.session.entries(py, &object! { "newest": true, "limit": 1000 })
    }

    /// The audit entries that match, oldest first, each as JSON bytes.
    #[pyo3(signature = (query=None, **conditions))]
    fn audit_query<'py>(
        &self,
        py: Python<'py>,
        query: Option<Json>,
        conditions: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let query = query.map_or_else(|| Ok(object! {}), |query| query.value());
        let Value::Object(mut query) = query.map_err(|failure| raise(py, failure))? else {
            return Err(invalid(py, "an audit query is a JSON object"));
        };
        for (name, value) in conditions.into_iter().flatten() {
            query.insert(name.extract::<Str>()?.0, from_python(&value)?);
        }
        self.session.entries(py, &query.into())
    }

    /// Verifies the whole log and re-executes it, against a key and a checkpoint that the caller kept. Owner only.
    #[pyo3(signature = (key=None, anchor=None))]
    fn audit_verify<'py>(
        &self,
        py: Python<'py>,
        key: Option<Str>,
        anchor: Option<Data>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let anchor = anchor.map(|note| String::from_utf8_lossy(&note.to_shared()).into_owned().into());
        let report =
            self.session.ask(py, || Ok(Request::AuditVerify { key: key.map(|key| key.0), anchor }))?;
        record(py, "Verification", &members(py, &report)?)
    }

    /// A signed checkpoint of the log as it stands (C2SP note), to be kept elsewhere and given to `audit_verify`.
    fn audit_checkpoint<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let made = self.session.ask(py, || Ok(Request::Commit))?;
        let note = made.get("note").and_then(Value::as_str).unwrap_or_default();
        Ok(PyBytes::new(py, note.as_bytes()))
    }

    /// The key that verifies the log's checkpoints, as text (C2SP signed-note), to be kept elsewhere.
    fn audit_key(&self, py: Python<'_>) -> PyResult<String> {
        let made = self.session.ask(py, || Ok(Request::Commit))?;
        Ok(made.get("key").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Makes all that is recorded about a subject unreadable for good: an agent's name, or as it was given to `alloc` and
    /// `audit_log`. Every proof stays valid. Owner only.
    fn erase<'py>(&self, py: Python<'py>, subject: Str) -> PyResult<Bound<'py, PyDict>> {
        members(py, &self.session.ask(py, || Ok(Request::Erase { subject: subject.0 }))?)
    }

    /// The proof that an entry stands in the log (RFC 6962 §2.1.1), and the checkpoint it leads to.
    fn audit_proof<'py>(&self, py: Python<'py>, seq: Unsigned) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.session.ask(py, || Ok(Request::AuditProof { seq: seq.0 }))?)
    }
}
