//! The class `AuthorityKernel`: one method for each operation.

use std::path::PathBuf;

use ak_host::{
    Options,
    ak_json::{Object, Value, object},
    ak_kernel::{
        Code, FILE_BYTES_MAX, Failure, HTTP_TIMEOUT_MS, HttpRequest, HttpResponse, Operation,
        RESPONSE_BYTES_MAX, Reply, Request, ak_heap::Content,
    },
    policy_request,
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use crate::{
    argument::{Chat, Data, HandleArgument, Headers, Json, Path, Seconds, Str, Target, ToolCall, Unsigned},
    capability::{Capability, terms, token_of},
    convert::{from_python, members, to_bytes, to_python},
    error::{denial_info, invalid, misfit, raise, record},
    handle::Handle,
    heap::{Operations, page, results},
    session::Session,
    stream::InferenceStream,
};

/// A session with a kernel: in this process, or behind a socket.
///
/// `url` is `unix:///path` or `tcp://host:port`; without one the kernel lives in this process, in memory or,
/// with `state_dir`, durably. What is absent comes from AK_URL, AK_STATE_DIR, AK_POLICY and AK_TOKEN_FILE.
/// `libak_path` and `debug` are accepted for scripts written for the earlier SDK, and change nothing.
#[pyclass(frozen, subclass, weakref, module = "authority_nanos")]
pub(crate) struct AuthorityKernel {
    pub(crate) session: Session,
}

#[pymethods]
impl AuthorityKernel {
    #[new]
    #[pyo3(signature = (url=None, *, state_dir=None, policy=None, token_file=None, ca=None, libak_path=None, debug=false))]
    #[expect(clippy::too_many_arguments, reason = "the signature is Python's")]
    fn new(
        py: Python<'_>,
        url: Option<String>,
        state_dir: Option<PathBuf>,
        policy: Option<PathBuf>,
        token_file: Option<PathBuf>,
        ca: Option<PathBuf>,
        libak_path: Option<PathBuf>,
        debug: bool,
    ) -> PyResult<AuthorityKernel> {
        let _ = (libak_path, debug);
        let options = Options { url, state_dir, policy, token_file, ca };
        Ok(AuthorityKernel { session: Session::open(py, options.or_from_env())? })
    }

    /// Opens the session again after `shutdown`. It is open from the start, so this is seldom needed.
    fn init(&self, py: Python<'_>) -> PyResult<()> {
        self.session.reopen(py)
    }

    /// Ends the session: every later call is a `LibakError`. Ending it twice is no error.
    fn shutdown(&self, py: Python<'_>) {
        self.session.close(py);
    }

    /// The same as `shutdown`.
    fn close(&self, py: Python<'_>) {
        self.session.close(py);
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get().session.reopen(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) {
        self.session.close(py);
    }

    /// Whether this is an owner session, which may change policy, budgets and tools.
    #[getter]
    fn is_owner(&self) -> bool {
        self.session.connection().is_ok_and(|connection| connection.is_owner())
    }

    /// A session of the agent with this name, made if it is not there: what model loops and adapters receive.
    fn agent(&self, py: Python<'_>, name: Str) -> PyResult<AuthorityKernel> {
        Ok(AuthorityKernel { session: self.session.agent(py, &name.0)? })
    }

    /// This session presenting a capability with every request: one passes if the policy permits it and the capability
    /// covers it. Takes a `Capability` or a token; whether that is good shows with each request.
    fn present(&self, py: Python<'_>, capability: &Bound<'_, PyAny>) -> PyResult<AuthorityKernel> {
        Ok(AuthorityKernel { session: self.session.present(py, &token_of(capability)?)? })
    }

    /// Gives an agent a capability. From its first grant on, an agent reaches outside only as far as its grants do.
    /// Owner only.
    #[pyo3(signature = (agent, name, resource=Str("*".into()), methods=None, expires_minutes=None, rate=None, *, uses=None, budget=None))]
    #[expect(clippy::too_many_arguments, reason = "the signature is Python's")]
    fn grant(
        slf: &Bound<'_, Self>,
        agent: Str,
        name: Str,
        resource: Str,
        methods: Option<&Bound<'_, PyAny>>,
        expires_minutes: Option<Unsigned>,
        rate: Option<Str>,
        uses: Option<Unsigned>,
        budget: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Capability> {
        let mut args = terms(Some(resource), methods, expires_minutes, rate, uses, budget)?;
        args.insert("agent", agent.0);
        args.insert("name", name.0);
        Capability::made(slf, Operation::CapGrant, args)
    }

    /// Creates a heap object.
    #[pyo3(signature = (type_name, value=Json::empty(), subject=None))]
    fn alloc(&self, py: Python<'_>, type_name: Str, value: Json, subject: Option<Str>) -> PyResult<Handle> {
        let request = || {
            Ok(Request::Alloc {
                type_name: type_name.0,
                content: value.content()?,
                subject: subject.map(|name| name.0),
            })
        };
        match self.session.call(py, request)? {
            Reply::Handle(handle) => Ok(Handle(handle)),
            _ => Err(misfit(py)),
        }
    }

    /// What a heap object holds, or held at a version: compact JSON, or its raw bytes.
    #[pyo3(signature = (handle, version=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match self.content(py, handle, version)? {
            Content::Json(value) => Ok(to_bytes(py, &value)),
            Content::Raw(bytes) => Ok(PyBytes::new(py, &bytes)),
        }
    }

    /// What a heap object holds, parsed.
    #[pyo3(signature = (handle, version=None))]
    fn read_json<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.content(py, handle, version)? {
            Content::Json(value) => to_python(py, &value),
            Content::Raw(_) => {
                Err(raise(py, Failure::new(Code::JsonInvalid, "the object holds raw bytes, not json")))
            }
        }
    }

    /// Type, version, labels and size of a heap object.
    fn stat<'py>(&self, py: Python<'py>, handle: HandleArgument) -> PyResult<Bound<'py, PyDict>> {
        members(py, &self.session.ask(py, || Ok(Request::Stat { handle: handle.0 }))?)
    }

    /// Applies an RFC 6902 patch, whole or not at all, and gives the new version.
    #[pyo3(signature = (handle, patch, expected_version=None))]
    fn write(
        &self,
        py: Python<'_>,
        handle: HandleArgument,
        patch: Json,
        expected_version: Option<Unsigned>,
    ) -> PyResult<u64> {
        let expected_version = expected_version.map(|version| version.0);
        let request = || Ok(Request::Write { handle: handle.0, patch: patch.value()?, expected_version });
        match self.session.call(py, request)? {
            Reply::Version(version) => Ok(version),
            _ => Err(misfit(py)),
        }
    }

    /// Deletes a heap object; its handle is never given out again.
    #[pyo3(signature = (handle, expected_version=None))]
    fn delete(
        &self,
        py: Python<'_>,
        handle: HandleArgument,
        expected_version: Option<Unsigned>,
    ) -> PyResult<()> {
        let expected_version = expected_version.map(|version| version.0);
        self.session.call(py, || Ok(Request::Delete { handle: handle.0, expected_version }))?;
        Ok(())
    }

    /// The heap objects that match, among those the session may read, page by page: a dict of `objects` and `cursor`.
    #[pyo3(signature = (r#type=None, r#where=None, limit=Unsigned(100), cursor=None, **conditions))]
    fn query<'py>(
        &self,
        py: Python<'py>,
        r#type: Option<Str>,
        r#where: Option<Json>,
        limit: Unsigned,
        cursor: Option<Str>,
        conditions: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut form = Object::new();
        for (name, value) in conditions.into_iter().flatten() {
            form.insert(name.extract::<Str>()?.0, from_python(&value)?);
        }
        form.insert("limit", limit.0);
        r#type.map(|name| form.insert("type", name.0));
        cursor.map(|cursor| form.insert("cursor", cursor.0));
        let request = || {
            if let Some(conditions) = r#where {
                form.insert("where", conditions.value()?);
            }
            Ok(Request::Query { form })
        };
        page(py, &self.session.ask(py, request)?)
    }

    /// Several allocs, writes and deletes, all or none. Gives what each gave: a handle, a version, or None.
    fn batch<'py>(&self, py: Python<'py>, ops: Operations) -> PyResult<Bound<'py, PyList>> {
        let request = || Ok(Request::decode(Operation::Batch, &ops.0)?);
        results(py, &self.session.part(py, "results", request)?)
    }

    /// Gives a type a JSON Schema: no object of that name breaks it from then on.
    fn register_type(&self, py: Python<'_>, name: Str, schema: Json) -> PyResult<()> {
        let request = || Ok(Request::TypeRegister { name: name.0, schema: schema.value()? });
        self.session.call(py, request)?;
        Ok(())
    }

    /// Whether a request would pass now. Nothing is consumed; a target without canonical form gives False.
    #[pyo3(signature = (operation, target, args=None))]
    fn authorize(
        &self,
        py: Python<'_>,
        operation: Str,
        target: Target,
        args: Option<Json>,
    ) -> PyResult<bool> {
        let request = || authorize(operation, target, args);
        self.session.part(py, "authorized", request)?.as_bool().ok_or_else(|| misfit(py))
    }

    /// The same, with the reason and what would have to change.
    #[pyo3(signature = (operation, target, args=None))]
    fn authorize_details<'py>(
        &self,
        py: Python<'py>,
        operation: Str,
        target: Target,
        args: Option<Json>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let details = self.session.ask(py, || authorize(operation, target, args))?;
        record(py, "AuthorizationDetails", &members(py, &details)?)
    }

    /// What a file holds, read by the kernel's host.
    #[pyo3(signature = (path, max_size=Unsigned(FILE_BYTES_MAX)))]
    fn file_read<'py>(
        &self,
        py: Python<'py>,
        path: Path,
        max_size: Unsigned,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match self.session.call(py, || Ok(Request::FsRead { path: path.0, bytes_max: max_size.0 }))? {
            Reply::Bytes(bytes) => Ok(PyBytes::new(py, &bytes)),
            _ => Err(misfit(py)),
        }
    }

    /// Replaces what a file holds, whole or not at all.
    fn file_write(&self, py: Python<'_>, path: Path, data: Data) -> PyResult<()> {
        self.session.call(py, || Ok(Request::FsWrite { path: path.0, data: data.to_shared() }))?;
        Ok(())
    }

    /// The entries of a directory.
    fn file_list<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.session.part(py, "entries", || Ok(Request::FsList { path: path.0 }))?)
    }

    /// Kind, size and time of a file.
    fn file_stat<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyDict>> {
        members(py, &self.session.ask(py, || Ok(Request::FsStat { path: path.0 }))?)
    }

    /// Deletes a file.
    fn file_delete(&self, py: Python<'_>, path: Path) -> PyResult<()> {
        self.session.call(py, || Ok(Request::FsDelete { path: path.0 }))?;
        Ok(())
    }

    /// Sends an HTTP request and gives the body of the response, whatever its status.
    #[pyo3(signature = (method, url, body=None, headers=None, max_response=Unsigned(RESPONSE_BYTES_MAX), timeout=Seconds(HTTP_TIMEOUT_MS)))]
    #[expect(clippy::too_many_arguments, reason = "the signature is Python's")]
    fn http_request<'py>(
        &self,
        py: Python<'py>,
        method: Str,
        url: Str,
        body: Option<Data>,
        headers: Option<Headers>,
        max_response: Unsigned,
        timeout: Seconds,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let response = self.exchange(py, method, url, body, headers, max_response, timeout)?;
        Ok(PyBytes::new(py, &response.body))
    }

    /// Sends an HTTP request and gives status, headers and body.
    #[pyo3(signature = (method, url, body=None, headers=None, max_response=Unsigned(RESPONSE_BYTES_MAX), timeout=Seconds(HTTP_TIMEOUT_MS)))]
    #[expect(clippy::too_many_arguments, reason = "the signature is Python's")]
    fn http<'py>(
        &self,
        py: Python<'py>,
        method: Str,
        url: Str,
        body: Option<Data>,
        headers: Option<Headers>,
        max_response: Unsigned,
        timeout: Seconds,
    ) -> PyResult<Bound<'py, PyAny>> {
        let response = self.exchange(py, method, url, body, headers, max_response, timeout)?;
        let headers: Vec<(&str, &str)> =
            response.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let fields = PyDict::new(py);
        fields.set_item("status", response.status)?;
        fields.set_item("headers", headers)?;
        fields.set_item("body", PyBytes::new(py, &response.body))?;
        record(py, "HttpResponse", &fields)
    }

    /// Calls a tool: JSON in, JSON out.
    #[pyo3(signature = (name, args=None))]
    fn tool_call<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        args: Option<Json>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let ToolCall { tool, args } = ToolCall::new(name, args)?;
        Ok(to_bytes(
            py,
            &self.session.part(py, "output", || Ok(Request::Call { tool, args: args.value()? }))?,
        ))
    }

    /// Calls a tool: Python values in, Python values out.
    fn call_tool<'py>(
        &self,
        py: Python<'py>,
        name: Str,
        args: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = from_python(args)?;
        to_python(py, &self.session.part(py, "output", || Ok(Request::Call { tool: name.0, args }))?)
    }

    /// The tools there are, each as a dict.
    fn list_tools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.session.part(py, "tools", || Ok(Request::ToolList))?)
    }

    /// Registers a tool: its manifest as TOML text or a dict, and its WebAssembly module. Owner only.
    fn register_tool<'py>(
        &self,
        py: Python<'py>,
        manifest: &Bound<'py, PyAny>,
        module: Data,
    ) -> PyResult<Bound<'py, PyAny>> {
        let manifest = from_python(manifest)?;
        let request = || Ok(Request::ToolRegister { manifest, module: module.to_shared() });
        to_python(py, &self.session.ask(py, request)?)
    }

    /// Asks a model: an OpenAI chat-completions request, or a model and a prompt. Gives the completion.
    #[pyo3(signature = (request, prompt=None, max_tokens=Unsigned(1000)))]
    fn inference<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        prompt: Option<Str>,
        max_tokens: Unsigned,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let chat = Chat::new(request, prompt, max_tokens)?;
        let request = || Ok(Request::Inference { request: chat.0.value()?, stream: false });
        Ok(to_bytes(py, &self.session.ask(py, request)?))
    }

    /// Asks a model and iterates over the chunks of its answer.
    #[pyo3(signature = (request, prompt=None, max_tokens=Unsigned(1000)))]
    fn inference_stream(
        &self,
        py: Python<'_>,
        request: &Bound<'_, PyAny>,
        prompt: Option<Str>,
        max_tokens: Unsigned,
    ) -> PyResult<InferenceStream> {
        let chat = Chat::new(request, prompt, max_tokens)?;
        let started = self.session.connection().and_then(|connection| {
            Ok(InferenceStream::start(
                connection,
                Request::Inference { request: chat.0.value()?, stream: true },
            ))
        });
        started.map_err(|failure| raise(py, failure))
    }

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

    /// The proof that an entry stands in the log (RFC 6962 §2.1.1), and the checkpoint it leads to.
    fn audit_proof<'py>(&self, py: Python<'py>, seq: Unsigned) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.session.ask(py, || Ok(Request::AuditProof { seq: seq.0 }))?)
    }

    /// Replaces the policy by the one in the file or the text; a policy with a fault leaves the one in force.
    /// Owner only.
    #[pyo3(signature = (path=None, *, text=None))]
    fn load_policy(&self, py: Python<'_>, path: Option<Path>, text: Option<Str>) -> PyResult<()> {
        let request = match (path, text) {
            (Some(path), None) => {
                policy_request(std::path::Path::new(&*path.0)).map_err(|failure| raise(py, failure))?
            }
            (None, Some(text)) => Request::PolicyLoad { text: text.0, base_dir: None },
            (Some(_), Some(_)) | (None, None) => return Err(invalid(py, "give a policy's path or its text")),
        };
        self.session.call(py, || Ok(request))?;
        Ok(())
    }

    /// Sets a limit; None takes it away. An agent session lowers only its own; the owner sets any agent's.
    #[pyo3(signature = (kind, limit, agent=None))]
    fn set_budget(
        &self,
        py: Python<'_>,
        kind: Str,
        limit: Option<Unsigned>,
        agent: Option<Str>,
    ) -> PyResult<()> {
        let limit = limit.map(|limit| limit.0);
        let args = object! { "kind": kind.0, "limit": limit, "agent": agent.map(|name| name.0) };
        self.session.call(py, || Ok(Request::decode(Operation::BudgetSet, &args)?))?;
        Ok(())
    }

    /// Limit and usage of one budget, or of all by their names.
    #[pyo3(signature = (kind=None))]
    fn budget_status<'py>(&self, py: Python<'py>, kind: Option<Str>) -> PyResult<Bound<'py, PyAny>> {
        let args = object! { "kind": kind.as_ref().map(|kind| &kind.0) };
        let request = || Ok(Request::decode(Operation::BudgetStatus, &args)?);
        match kind {
            Some(kind) => to_python(py, &self.session.part(py, &kind.0, request)?),
            None => to_python(py, &self.session.ask(py, request)?),
        }
    }

    /// Why the gate last said no to this session; None if it never did.
    fn get_last_denial<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.session.part(py, "denial", || Ok(Request::LastError))? {
            Value::Null => Ok(None),
            denial => denial_info(py, &denial).map(Some),
        }
    }

    /// Any operation by its number, with arguments in their wire form: the code, 0 for success, and the result
    /// or the error as JSON. Raises nothing that the kernel answers.
    fn syscall<'py>(&self, py: Python<'py>, request: (u16, Json)) -> PyResult<Bound<'py, PyAny>> {
        let (number, args) = request;
        let outcome = self.session.outcome(py, || {
            let operation = Operation::from_number(number);
            let operation = operation
                .ok_or_else(|| Failure::new(Code::InvalidArgument, format!("no operation {number}")))?;
            Ok(Request::decode(operation, &args.value()?)?)
        });
        let (code, result) = match outcome {
            Ok(reply) => (0, reply.to_value()),
            Err(failure) => (failure.code.number(), failure.to_value()),
        };
        let fields = PyDict::new(py);
        fields.set_item("err", code)?;
        fields.set_item("result", to_bytes(py, &result))?;
        record(py, "EffectResponse", &fields)
    }
}

impl AuthorityKernel {
    fn content(
        &self,
        py: Python<'_>,
        handle: HandleArgument,
        version: Option<Unsigned>,
    ) -> PyResult<Content> {
        let version = version.map(|version| version.0);
        match self.session.call(py, || Ok(Request::Read { handle: handle.0, version }))? {
            Reply::Content(content) => Ok(content),
            _ => Err(misfit(py)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what two methods of Python take")]
    fn exchange(
        &self,
        py: Python<'_>,
        method: Str,
        url: Str,
        body: Option<Data>,
        headers: Option<Headers>,
        max_response: Unsigned,
        timeout: Seconds,
    ) -> PyResult<HttpResponse> {
        let request = || {
            Ok(Request::Http(HttpRequest {
                method: method.0,
                url: url.0,
                headers: headers.map(|headers| headers.0).unwrap_or_default(),
                body: body.map(|body| body.to_shared()),
                response_bytes_max: max_response.0,
                timeout_ms: timeout.0,
            }))
        };
        match self.session.call(py, request)? {
            Reply::Http(response) => Ok(response),
            _ => Err(misfit(py)),
        }
    }
}

fn authorize(operation: Str, target: Target, args: Option<Json>) -> Result<Request, Failure> {
    let args = args.map(|args| args.value()).transpose()?;
    Ok(Request::Authorize { operation: operation.0, target: target.0, args })
}
