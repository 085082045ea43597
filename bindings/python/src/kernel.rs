//! The class `AuthorityKernel`: its session, and its methods on policy and budgets. Its methods on objects, effects, the log and
//! capabilities are in `heap`, `effects`, `audit` and `capability`.

use std::{ffi::OsString, path::PathBuf};

use ak_host::{
    Options, PolicyReport,
    ak_json::{Value, object},
    ak_kernel::{AdminRequest, Code, Failure, Operation, Request, ak_policy::Lint},
};
use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    argument::{Json, Path, Target},
    error::{as_object, dataclass, denial_info, invalid_argument, raise, type_mismatch},
    scalar::{Str, Unsigned},
    session::Session,
    to_python::{to_bytes, to_dict, to_python},
};

/// A session with a kernel in this process or behind a socket.
///
/// `url` is `unix:///path`. Without it the kernel runs in this process, in memory or, with `state_dir`, durably;
/// `host_config` then names the operator's file of models, secrets and network.
/// Options that are absent come from AK_URL, AK_STATE_DIR, AK_POLICY, AK_TOKEN_FILE and AK_HOST_CONFIG.
/// `libak_path` and `debug` are accepted for scripts written for the earlier SDK, and change nothing.
#[pyclass(frozen, subclass, weakref, module = "authority_nanos")]
pub(crate) struct AuthorityKernel {
    pub(crate) session: Session,
}

#[pymethods]
impl AuthorityKernel {
    #[new]
    #[pyo3(signature = (url=None, *, state_dir=None, policy=None, token_file=None, ca=None, host_config=None, libak_path=None, debug=false))]
    #[expect(clippy::too_many_arguments, reason = "the signature is Python's")]
    fn new(
        py: Python<'_>,
        url: Option<String>,
        state_dir: Option<PathBuf>,
        policy: Option<PathBuf>,
        token_file: Option<PathBuf>,
        ca: Option<PathBuf>,
        host_config: Option<PathBuf>,
        libak_path: Option<PathBuf>,
        debug: bool,
    ) -> PyResult<AuthorityKernel> {
        let _ = (libak_path, debug);
        let mut options = Options::default();
        for (name, value) in [
            ("url", url.map(OsString::from)),
            ("state_dir", state_dir.map(OsString::from)),
            ("policy", policy.map(OsString::from)),
            ("token_file", token_file.map(OsString::from)),
            ("ca", ca.map(OsString::from)),
            ("host_config", host_config.map(OsString::from)),
        ] {
            value.map_or(Ok(()), |value| options.set(name, value)).map_err(|failure| raise(py, failure))?;
        }
        let mut options = options.or_from_env();
        // The client reads the policy that it loads into a daemon.
        let policy = if options.url.is_some() { options.policy.take() } else { None };
        let session = Session::open(py, options)?;
        policy.map_or(Ok(Vec::new()), |policy| session.load_policy_file(py, &policy))?;
        Ok(AuthorityKernel { session })
    }

    /// Opens the session again after `shutdown`. A new object is open already. An agent session stays closed.
    fn init(&self, py: Python<'_>) -> PyResult<()> {
        self.session.reopen(py)
    }

    /// Ends the session: every later call raises `LibakError`. Ending it twice is no error.
    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        self.session.close(py)
    }

    /// The same as `shutdown`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.session.close(py)
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get().session.reopen(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.session.close(py)
    }

    /// Whether this is an owner session, which may change policy, budgets and tools.
    #[getter]
    fn is_owner(&self, py: Python<'_>) -> bool {
        self.session.connection(py).is_ok_and(|connection| connection.is_owner())
    }

    /// Returns the same session with methods that return futures of the running loop, for `AsyncAuthorityKernel`.
    fn _to_async(&self) -> AuthorityKernel {
        AuthorityKernel { session: self.session.to_async() }
    }

    /// Returns a session of the agent with this name, which is created if there is none. Pass such a session, not the
    /// owner's, to model loops and adapters. Owner only.
    fn agent(&self, py: Python<'_>, name: Str) -> PyResult<AuthorityKernel> {
        Ok(AuthorityKernel { session: self.session.agent(py, &name.0)? })
    }

    /// Returns whether a request would pass now. The call uses one `compute` and nothing else. A target without
    /// canonical form gives False.
    #[pyo3(signature = (operation, target, args=None))]
    fn authorize<'py>(
        &self,
        py: Python<'py>,
        operation: Str,
        target: Target,
        args: Option<Json>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_member(py, "authorized", || authorize(operation, target, args), to_python)
    }

    /// The same as `authorize`, with the reason and a suggestion.
    #[pyo3(signature = (operation, target, args=None))]
    fn authorize_details<'py>(
        &self,
        py: Python<'py>,
        operation: Str,
        target: Target,
        args: Option<Json>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_json(
            py,
            || authorize(operation, target, args),
            |py, details| {
                let fields = to_dict(py, as_object(py, &details)?)?;
                let found = details.get("lints").and_then(Value::as_array);
                let found: Vec<Lint> = found.into_iter().flatten().filter_map(Lint::from_value).collect();
                fields.set_item("lints", lints(py, &found)?)?;
                dataclass(py, "AuthorizationDetails", &fields)
            },
        )
    }

    /// Replaces the whole policy by the one in the file or the text, and returns warnings about its rules. A policy with an error
    /// changes nothing.
    /// Owner only.
    #[pyo3(signature = (path=None, *, text=None))]
    fn load_policy<'py>(
        &self,
        py: Python<'py>,
        path: Option<Path>,
        text: Option<Str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match (path, text) {
            (Some(path), None) => {
                let file = std::path::Path::new(&*path.0);
                let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
                let is_text = path.0.contains('\n') || path.0.contains(" = ") || name.starts_with('[');
                if is_text && !file.exists() {
                    let message =
                        "this looks like the text of a policy, not the path of one: load_policy(text=...)";
                    return Err(invalid_argument(py, message));
                }
                lints(py, &self.session.load_policy_file(py, file)?)
            }
            (None, Some(text)) => {
                let request = || {
                    Ok(Request::Admin(AdminRequest::PolicyLoad {
                        text: text.0,
                        base_dir: None,
                        files: Default::default(),
                    }))
                };
                self.session.call(py, request, |py, reply| {
                    let report =
                        PolicyReport::from_outcome(Ok(reply)).map_err(|failure| raise(py, failure))?;
                    lints(py, &report.lints)
                })
            }
            (Some(_), Some(_)) | (None, None) => Err(invalid_argument(py, "pass either path or text")),
        }
    }

    /// Sets a limit; None removes it. The owner sets any agent's limits; an agent session may only lower its own.
    #[pyo3(signature = (kind, limit, agent=None))]
    fn set_budget<'py>(
        &self,
        py: Python<'py>,
        kind: Str,
        limit: Option<Unsigned>,
        agent: Option<Str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let limit = limit.map(|limit| limit.0);
        let args = object! { "kind": kind.0, "limit": limit, "agent": agent.map(|name| name.0) };
        self.session.call_no_reply(py, || Ok(Request::decode(Operation::BudgetSet, &args)?))
    }

    /// Returns limit and usage of one budget, or of all budgets by their names.
    #[pyo3(signature = (kind=None, agent=None))]
    fn budget_status<'py>(
        &self,
        py: Python<'py>,
        kind: Option<Str>,
        agent: Option<Str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let agent = agent.map(|agent| agent.0);
        let args = object! { "kind": kind.as_ref().map(|kind| &kind.0), "agent": agent };
        let request = || Ok(Request::decode(Operation::BudgetStatus, &args)?);
        self.session.call_json(py, request, move |py, status| match kind {
            Some(kind) => to_python(py, status.get(&kind.0).ok_or_else(|| type_mismatch(py))?),
            None => to_python(py, &status),
        })
    }

    /// Returns the last denial of a request of this session; None if there was none.
    fn get_last_denial<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_member(
            py,
            "denial",
            || Ok(Request::Admin(AdminRequest::LastError)),
            |py, denial| match denial {
                Value::Null => Ok(py.None().into_bound(py)),
                denial => denial_info(py, denial),
            },
        )
    }

    /// Sends any operation by its number, with arguments in their wire form. Returns the code, 0 for success, and the
    /// result or the error as JSON. An error of the kernel is not raised.
    fn syscall<'py>(&self, py: Python<'py>, request: (u16, Json)) -> PyResult<Bound<'py, PyAny>> {
        let (number, args) = request;
        let request = || {
            let operation = Operation::from_number(number);
            let operation = operation
                .ok_or_else(|| Failure::new(Code::InvalidArgument, format!("no operation {number}")))?;
            Ok(Request::decode(operation, &args.value()?)?)
        };
        self.session.send(py, request, |py, outcome| {
            let (code, result) = match outcome {
                Ok(reply) => (0, reply.to_value()),
                Err(failure) => (failure.code.number(), failure.to_value()),
            };
            let fields = PyDict::new(py);
            fields.set_item("err", code)?;
            fields.set_item("result", to_bytes(py, &result))?;
            dataclass(py, "EffectResponse", &fields)
        })
    }
}

/// The request of `authorize` and `authorize_details`.
fn authorize(operation: Str, target: Target, args: Option<Json>) -> Result<Request, Failure> {
    let args = args.map(|args| args.value()).transpose()?;
    Ok(Request::Admin(AdminRequest::Authorize { operation: operation.0, target: target.0, args }))
}

/// A list of `Lint`.
fn lints<'py>(py: Python<'py>, lints: &[Lint]) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::empty(py);
    for Lint { rule_id, kind, text } in lints {
        let fields = PyDict::new(py);
        fields.set_item("rule_id", rule_id)?;
        fields.set_item("kind", kind.as_str())?;
        fields.set_item("text", text)?;
        list.append(dataclass(py, "Lint", &fields)?)?;
    }
    Ok(list.into_any())
}
