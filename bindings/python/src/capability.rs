//! The class `Capability` (attenuate, revoke, token), and the methods of `AuthorityKernel` that grant and present one.

use ak_host::{
    ak_json::{Object, Text, Value, object},
    ak_kernel::{Operation, Request},
};
use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    pybacked::PyBackedStr,
    types::{PyDict, PyString},
};

use crate::{
    error::{invalid_argument, type_mismatch},
    from_python::from_python,
    kernel::AuthorityKernel,
    scalar::{Str, Unsigned, text},
    to_python::to_python,
};

/// A capability of an agent; `AuthorityKernel.grant` and `attenuate` return one.
///
/// `id` identifies it in the kernel; `agent` is its holder; `expires_at` is in microseconds since the Unix epoch.
#[pyclass(frozen, module = "authority_nanos")]
pub(crate) struct Capability {
    kernel: Py<AuthorityKernel>,
    #[pyo3(get)]
    id: String,
    #[pyo3(get)]
    name: String,
    #[pyo3(get)]
    agent: String,
    #[pyo3(get)]
    expires_at: Option<u64>,
}

#[pymethods]
impl AuthorityKernel {
    /// Returns this session presenting a capability with every request: a request passes if the policy permits it and
    /// the capability covers it. Takes a `Capability` or a token; the kernel checks the token with each request.
    fn present(&self, py: Python<'_>, capability: &Bound<'_, PyAny>) -> PyResult<AuthorityKernel> {
        Ok(AuthorityKernel { session: self.session.present(py, &token_of(capability)?)? })
    }

    /// Grants an agent a capability. From the first grant on, the agent's files, HTTP, tools, models and agents are
    /// limited to what its grants cover. Owner only.
    #[pyo3(signature = (agent, name, resource=Str("*".into()), methods=None, expires_minutes=None, rate=None, *, uses=None, budget=None))]
    #[expect(clippy::too_many_arguments, reason = "the signature is Python's")]
    fn grant<'py>(
        slf: &Bound<'py, Self>,
        agent: Str,
        name: Str,
        resource: Str,
        methods: Option<&Bound<'_, PyAny>>,
        expires_minutes: Option<Unsigned>,
        rate: Option<Str>,
        uses: Option<Unsigned>,
        budget: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut args = capability_spec(Some(resource), methods, expires_minutes, rate, uses, budget)?;
        args.insert("agent", agent.0);
        args.insert("name", name.0);
        Capability::from_reply(slf, Operation::CapGrant, args)
    }
}

#[pymethods]
impl Capability {
    /// Derives a capability that allows the same or less. An argument that is left out restricts nothing.
    #[pyo3(signature = (resource=None, methods=None, expires_minutes=None, rate=None, *, uses=None, budget=None, name=None, only_agent=None))]
    #[expect(clippy::too_many_arguments, reason = "the signature is Python's")]
    fn attenuate<'py>(
        &self,
        py: Python<'py>,
        resource: Option<Str>,
        methods: Option<&Bound<'_, PyAny>>,
        expires_minutes: Option<Unsigned>,
        rate: Option<Str>,
        uses: Option<Unsigned>,
        budget: Option<&Bound<'_, PyDict>>,
        name: Option<Str>,
        only_agent: Option<Str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut args = capability_spec(resource, methods, expires_minutes, rate, uses, budget)?;
        args.insert("capability", self.id.as_str());
        args.insert("name", name.map(|name| name.0));
        args.insert("only_agent", only_agent.map(|pattern| pattern.0));
        Capability::from_reply(self.kernel.bind(py), Operation::CapAttenuate, args)
    }

    /// Revokes the capability and everything derived from it, at once. The owner may revoke any, a holder only those
    /// that it derived.
    fn revoke<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let args = object! { "capability": self.id.as_str() };
        self.kernel.get().session.call_no_reply(py, || Ok(Request::decode(Operation::CapRevoke, &args)?))
    }

    /// Returns the capability as a bearer token, for `AuthorityKernel.present` or the token file of a connection.
    fn token<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let args = object! { "capability": self.id.as_str() };
        let request = || Ok(Request::decode(Operation::CapToken, &args)?);
        self.kernel.get().session.call_member(py, "token", request, to_python)
    }

    fn __repr__(&self) -> String {
        format!("Capability({}, name={:?}, agent={:?})", self.id, self.name, self.agent)
    }
}

impl Capability {
    /// Sends a request that makes a capability, and returns the capability of its reply.
    pub(crate) fn from_reply<'py>(
        kernel: &Bound<'py, AuthorityKernel>,
        operation: Operation,
        args: Object,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (args, holder) = (Value::from(args), kernel.clone().unbind());
        let request = || Ok(Request::decode(operation, &args)?);
        kernel.get().session.call_json(kernel.py(), request, |py, reply| {
            let text = |member| {
                let text = reply.get(member).and_then(Value::as_str);
                text.map(str::to_owned).ok_or_else(|| type_mismatch(py))
            };
            let capability = Capability {
                id: text("capability")?,
                name: text("name")?,
                agent: text("agent")?,
                expires_at: reply.get("expires_at").and_then(Value::as_u64),
                kernel: holder,
            };
            capability.into_bound_py_any(py)
        })
    }
}

/// The restrictions of a capability in their wire form.
pub(crate) fn capability_spec(
    resource: Option<Str>,
    methods: Option<&Bound<'_, PyAny>>,
    expires_minutes: Option<Unsigned>,
    rate: Option<Str>,
    uses: Option<Unsigned>,
    budget: Option<&Bound<'_, PyDict>>,
) -> PyResult<Object> {
    let mut args = Object::new();
    args.insert("resource", resource.map(|resource| resource.0));
    args.insert("methods", methods.map(from_python).transpose()?);
    args.insert("expires_minutes", expires_minutes.map(|minutes| minutes.0));
    args.insert("rate", rate.map(|rate| rate.0));
    args.insert("uses", uses.map(|uses| uses.0));
    args.insert("budget", budget.map(|budget| from_python(budget)).transpose()?);
    Ok(args)
}

/// The token in the argument of `present`: that of a `Capability`, or one given as `str` or `bytes`.
pub(crate) fn token_of(capability: &Bound<'_, PyAny>) -> PyResult<Text> {
    let py = capability.py();
    if let Ok(capability) = capability.cast::<Capability>() {
        return text(capability.get().token(py)?.cast::<PyString>()?);
    }
    if capability.is_instance_of::<PyString>() {
        return Ok(Text::from(&*capability.extract::<PyBackedStr>()?));
    }
    let bytes: Vec<u8> = capability.extract()?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| invalid_argument(py, "token: expected base64url text"))?;
    Ok(Text::from(text))
}
