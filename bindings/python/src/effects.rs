//! The methods of `AuthorityKernel` with effects: files, HTTP, tools, models.

use ak_host::ak_kernel::{
    FILE_BYTES_MAX, FileRequest, GLOB_LIMIT, HTTP_TIMEOUT_MS, HttpRequest, HttpResponse, InferRequest,
    RESPONSE_BYTES_MAX, Reply, Request, ToolsRequest,
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use crate::{
    argument::{Data, Headers, Json, Messages, Module, Path, ToolCall},
    error::{dataclass, raise, type_mismatch},
    from_python::from_python,
    kernel::AuthorityKernel,
    scalar::{Seconds, Str, Unsigned},
    stream::InferenceStream,
    to_python::{to_bytes, to_python},
};

#[pymethods]
impl AuthorityKernel {
    /// Returns the content of a file, read by the kernel's host. A file longer than `max_size` bytes is a
    /// `BufferOverflowError`.
    #[pyo3(signature = (path, max_size=Unsigned(FILE_BYTES_MAX)))]
    fn file_read<'py>(&self, py: Python<'py>, path: Path, max_size: Unsigned) -> PyResult<Bound<'py, PyAny>> {
        let request = || Ok(Request::File(FileRequest::Read { path: path.0, bytes_max: max_size.0 }));
        self.session.call(py, request, |py, reply| match reply {
            Reply::Bytes(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
            _ => Err(type_mismatch(py)),
        })
    }

    /// Replaces the content of a file, whole or not at all.
    fn file_write<'py>(&self, py: Python<'py>, path: Path, data: Data) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_no_reply(py, || {
            Ok(Request::File(FileRequest::Write { path: path.0, data: data.to_shared() }))
        })
    }

    /// Returns the entries of a directory, each as a dict of `name` and `kind`.
    fn file_list<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_member(
            py,
            "entries",
            || Ok(Request::File(FileRequest::List { path: path.0 })),
            to_python,
        )
    }

    /// Returns a dict of a file's `kind`, `size` in bytes, and `modified` in microseconds since the Unix epoch.
    fn file_stat<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_json(
            py,
            || Ok(Request::File(FileRequest::Stat { path: path.0 })),
            |py, reply| to_python(py, &reply),
        )
    }

    /// Deletes a file or an empty directory.
    fn file_delete<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_no_reply(py, || Ok(Request::File(FileRequest::Delete { path: path.0 })))
    }

    /// Creates a directory. With `parents`, missing parent directories are created too, and an existing
    /// directory is no error.
    #[pyo3(signature = (path, parents=false))]
    fn file_mkdir<'py>(&self, py: Python<'py>, path: Path, parents: bool) -> PyResult<Bound<'py, PyAny>> {
        self.session
            .call_no_reply(py, || Ok(Request::File(FileRequest::MakeDirectory { path: path.0, parents })))
    }

    /// Appends to a file, which is created if it does not exist.
    fn file_append<'py>(&self, py: Python<'py>, path: Path, data: Data) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_no_reply(py, || {
            Ok(Request::File(FileRequest::Append { path: path.0, data: data.to_shared() }))
        })
    }

    /// Renames a file and replaces a file at the new path, as `os.replace` does. Directories are refused.
    fn file_rename<'py>(&self, py: Python<'py>, old: Path, new: Path) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_no_reply(py, || Ok(Request::File(FileRequest::Rename { old: old.0, new: new.0 })))
    }

    /// Returns the paths that match a pattern and that the session may read, in ascending order, at most `limit`. In
    /// the pattern `*`, `?` and `[…]` match within a name, and `**` matches any number of directories.
    #[pyo3(signature = (pattern, limit=Unsigned(GLOB_LIMIT)))]
    fn file_glob<'py>(&self, py: Python<'py>, pattern: Path, limit: Unsigned) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_member(
            py,
            "paths",
            || Ok(Request::File(FileRequest::Glob { pattern: pattern.0, limit: limit.0 })),
            to_python,
        )
    }

    /// Sends an HTTP request and returns the body of the response, whatever its status. `timeout` is in seconds; a body
    /// longer than `max_response` bytes is a `BufferOverflowError`.
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
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = http_request(method, url, body, headers, max_response, timeout);
        self.call_http(py, request, |py, response| Ok(PyBytes::new(py, &response.body).into_any()))
    }

    /// Sends an HTTP request and returns status, headers and body. `timeout` is in seconds; a body longer than
    /// `max_response` bytes is a `BufferOverflowError`.
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
        let request = http_request(method, url, body, headers, max_response, timeout);
        self.call_http(py, request, |py, response| {
            let headers: Vec<(&str, &str)> =
                response.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let fields = PyDict::new(py);
            fields.set_item("status", response.status)?;
            fields.set_item("headers", headers)?;
            fields.set_item("body", PyBytes::new(py, &response.body))?;
            dataclass(py, "HttpResponse", &fields)
        })
    }

    /// Calls a tool with JSON arguments, or with a `ToolCall`, and returns its output as JSON bytes.
    #[pyo3(signature = (name, args=None))]
    fn tool_call<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        args: Option<Json>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ToolCall { tool, args } = ToolCall::new(name, args)?;
        let request = || Ok(Request::Tools(ToolsRequest::Call { tool, args: args.value()? }));
        self.session.call_member(py, "output", request, |py, output| Ok(to_bytes(py, output).into_any()))
    }

    /// Calls a tool with a dict of arguments, and returns its output as Python values.
    fn call_tool<'py>(
        &self,
        py: Python<'py>,
        name: Str,
        args: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = from_python(args)?;
        self.session.call_member(
            py,
            "output",
            || Ok(Request::Tools(ToolsRequest::Call { tool: name.0, args })),
            to_python,
        )
    }

    /// Returns the registered tools, each as a dict of `manifest` and `digest`.
    fn list_tools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_member(py, "tools", || Ok(Request::Tools(ToolsRequest::List)), to_python)
    }

    /// Registers a tool: its manifest as TOML text or a dict, and its WebAssembly module. If the manifest names
    /// a schema by the path of a file, that file is read; a relative path is relative to the working directory.
    /// Owner only.
    fn register_tool<'py>(
        &self,
        py: Python<'py>,
        manifest: &Bound<'py, PyAny>,
        module: Module,
    ) -> PyResult<Bound<'py, PyAny>> {
        let manifest = from_python(manifest)?;
        let request = || ak_host::tool_request(manifest, module.0.to_shared(), std::path::Path::new(""));
        self.session.call_json(py, request, |py, reply| to_python(py, &reply))
    }

    /// Sends a model an OpenAI chat-completions request, or a prompt, and returns the completion as JSON bytes.
    #[pyo3(signature = (request, prompt=None, max_tokens=None))]
    fn inference<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        prompt: Option<Str>,
        max_tokens: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let messages = Messages::new(request, prompt, max_tokens)?;
        let request =
            || Ok(Request::Infer(InferRequest { request: messages.0.value()?, stream: false, price: None }));
        self.session.call_json(py, request, |py, answer| Ok(to_bytes(py, &answer).into_any()))
    }

    /// Sends a model a request as `inference` does, and returns an iterator over the chunks of its answer.
    #[pyo3(signature = (request, prompt=None, max_tokens=None))]
    fn inference_stream(
        &self,
        py: Python<'_>,
        request: &Bound<'_, PyAny>,
        prompt: Option<Str>,
        max_tokens: Option<Unsigned>,
    ) -> PyResult<InferenceStream> {
        let messages = Messages::new(request, prompt, max_tokens)?;
        let connection = self.session.connection(py)?;
        let request = messages.0.value().map_err(|failure| raise(py, failure))?;
        let request = Request::Infer(InferRequest { request, stream: true, price: None });
        Ok(py.detach(|| InferenceStream::start(&connection, request)))
    }
}

impl AuthorityKernel {
    /// Sends an HTTP request and converts its response.
    fn call_http<'py>(
        &self,
        py: Python<'py>,
        request: HttpRequest,
        convert: impl for<'p> FnOnce(Python<'p>, HttpResponse) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.session.call(
            py,
            || Ok(Request::Http(request)),
            |py, reply| match reply {
                Reply::Http(response) => convert(py, response),
                _ => Err(type_mismatch(py)),
            },
        )
    }
}

/// The HTTP request that the arguments of `http` and `http_request` describe.
fn http_request(
    method: Str,
    url: Str,
    body: Option<Data>,
    headers: Option<Headers>,
    max_response: Unsigned,
    timeout: Seconds,
) -> HttpRequest {
    HttpRequest {
        method: method.0,
        url: url.0,
        headers: headers.map(|headers| headers.0).unwrap_or_default(),
        body: body.map(|body| body.to_shared()),
        response_bytes_max: max_response.0,
        timeout_ms: timeout.0,
    }
}
