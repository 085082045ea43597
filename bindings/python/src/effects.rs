//! The methods that reach outside: files, HTTP, tools, models.

use ak_host::ak_kernel::{
    FILE_BYTES_MAX, HTTP_TIMEOUT_MS, HttpRequest, HttpResponse, RESPONSE_BYTES_MAX, Reply, Request,
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use crate::{
    argument::{Chat, Data, Headers, Json, Path, Seconds, Str, ToolCall, Unsigned},
    convert::{from_python, to_bytes, to_python},
    error::{misfit, raise, record},
    kernel::AuthorityKernel,
    stream::InferenceStream,
};

#[pymethods]
impl AuthorityKernel {
    /// What a file holds, read by the kernel's host.
    #[pyo3(signature = (path, max_size=Unsigned(FILE_BYTES_MAX)))]
    fn file_read<'py>(&self, py: Python<'py>, path: Path, max_size: Unsigned) -> PyResult<Bound<'py, PyAny>> {
        let request = || Ok(Request::FsRead { path: path.0, bytes_max: max_size.0 });
        self.session.call(py, request, |py, reply| match reply {
            Reply::Bytes(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
            _ => Err(misfit(py)),
        })
    }

    /// Replaces what a file holds, whole or not at all.
    fn file_write<'py>(&self, py: Python<'py>, path: Path, data: Data) -> PyResult<Bound<'py, PyAny>> {
        self.session.done(py, || Ok(Request::FsWrite { path: path.0, data: data.to_shared() }))
    }

    /// The entries of a directory.
    fn file_list<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyAny>> {
        self.session.part(py, "entries", || Ok(Request::FsList { path: path.0 }), to_python)
    }

    /// Kind, size and time of a file.
    fn file_stat<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyAny>> {
        self.session.ask(py, || Ok(Request::FsStat { path: path.0 }), |py, told| to_python(py, &told))
    }

    /// Deletes a file.
    fn file_delete<'py>(&self, py: Python<'py>, path: Path) -> PyResult<Bound<'py, PyAny>> {
        self.session.done(py, || Ok(Request::FsDelete { path: path.0 }))
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
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = http(method, url, body, headers, max_response, timeout);
        self.exchange(py, request, |py, response| Ok(PyBytes::new(py, &response.body).into_any()))
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
        let request = http(method, url, body, headers, max_response, timeout);
        self.exchange(py, request, |py, response| {
            let headers: Vec<(&str, &str)> =
                response.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let fields = PyDict::new(py);
            fields.set_item("status", response.status)?;
            fields.set_item("headers", headers)?;
            fields.set_item("body", PyBytes::new(py, &response.body))?;
            record(py, "HttpResponse", &fields)
        })
    }

    /// Calls a tool: JSON in, JSON out.
    #[pyo3(signature = (name, args=None))]
    fn tool_call<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        args: Option<Json>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ToolCall { tool, args } = ToolCall::new(name, args)?;
        let request = || Ok(Request::Call { tool, args: args.value()? });
        self.session.part(py, "output", request, |py, output| Ok(to_bytes(py, output).into_any()))
    }

    /// Calls a tool: Python values in, Python values out.
    fn call_tool<'py>(
        &self,
        py: Python<'py>,
        name: Str,
        args: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = from_python(args)?;
        self.session.part(py, "output", || Ok(Request::Call { tool: name.0, args }), to_python)
    }

    /// The tools there are, each as a dict.
    fn list_tools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.session.part(py, "tools", || Ok(Request::ToolList), to_python)
    }

    /// Registers a tool: its manifest as TOML text or a dict, and its WebAssembly module. A schema that the manifest names by
    /// the path of a file is read, relative to the working directory. Owner only.
    fn register_tool<'py>(
        &self,
        py: Python<'py>,
        manifest: &Bound<'py, PyAny>,
        module: Data,
    ) -> PyResult<Bound<'py, PyAny>> {
        let manifest = from_python(manifest)?;
        let request = || ak_host::tool_request(manifest, module.to_shared(), std::path::Path::new(""));
        self.session.ask(py, request, |py, told| to_python(py, &told))
    }

    /// Asks a model: an OpenAI chat-completions request, or a model and a prompt. Gives the completion.
    #[pyo3(signature = (request, prompt=None, max_tokens=Unsigned(1000)))]
    fn inference<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        prompt: Option<Str>,
        max_tokens: Unsigned,
    ) -> PyResult<Bound<'py, PyAny>> {
        let chat = Chat::new(request, prompt, max_tokens)?;
        let request = || Ok(Request::Inference { request: chat.0.value()?, stream: false, price: None });
        self.session.ask(py, request, |py, answer| Ok(to_bytes(py, &answer).into_any()))
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
        let connection = self.session.connection(py)?;
        let request = chat.0.value().map_err(|failure| raise(py, failure))?;
        let request = Request::Inference { request, stream: true, price: None };
        Ok(py.detach(|| InferenceStream::start(&connection, request)))
    }
}

impl AuthorityKernel {
    fn exchange<'py>(
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
                _ => Err(misfit(py)),
            },
        )
    }
}

fn http(
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
