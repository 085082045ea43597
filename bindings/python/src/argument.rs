//! The arguments of methods: paths, bytes, JSON, headers, tool calls, messages to models. A wrong type is a `TypeError`; a value of
//! the right type that no method accepts is an `InvalidArgumentError`.

use std::{ops::Deref, path::PathBuf, sync::Arc};

use ak_host::{
    ak_json::{Limits, Object, ParseError, Text, Value, array, object},
    ak_kernel::{Code, Failure, ak_heap::Content},
};
use pyo3::{
    Borrowed,
    exceptions::{PyTypeError, PyUnicodeError},
    prelude::*,
    pybacked::{PyBackedBytes, PyBackedStr},
    types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString},
};

use crate::{
    error::invalid_argument,
    from_python::from_python,
    handle::Handle,
    scalar::{Str, Unsigned, shown, text},
};

/// An absolute path. A relative one is joined to the working directory of this process.
pub(crate) struct Path(pub(crate) Text);

impl<'py> FromPyObject<'_, 'py> for Path {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let mut path: PathBuf = object.extract().map_err(|error: PyErr| {
            let is_text = error.is_instance_of::<PyUnicodeError>(py);
            if is_text { invalid_argument(py, "path: contains a lone surrogate") } else { error }
        })?;
        if path.is_relative() && !path.as_os_str().is_empty() {
            let here = std::env::current_dir();
            path = here
                .map_err(|error| invalid_argument(py, format!("no working directory: {error}")))?
                .join(path);
        }
        match path.to_str() {
            Some(path) => Ok(Path(path.into())),
            None => Err(invalid_argument(py, "path: not valid UTF-8")),
        }
    }
}

/// Bytes, borrowed from the Python object if it is a `bytes` or a `str`.
pub(crate) enum Data {
    Bytes(PyBackedBytes),
    Str(PyBackedStr),
    Empty,
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Data::Bytes(bytes) => bytes,
            Data::Str(text) => text.as_bytes(),
            Data::Empty => &[],
        }
    }
}

impl Data {
    /// The data of an object that is bytes-like or a `str`; `None` for an object of another type.
    fn from_python(object: Borrowed<'_, '_, PyAny>) -> PyResult<Option<Data>> {
        let py = object.py();
        Ok(if let Ok(string) = object.cast::<PyString>() {
            let text = string
                .extract()
                .map_err(|_| invalid_argument(py, "a text is not unicode: it holds a lone surrogate"))?;
            Some(Data::Str(text))
        } else if object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>() {
            Some(Data::Bytes(object.extract()?))
        } else if object.is_instance_of::<PyMemoryView>() {
            Some(Data::Bytes(py.get_type::<PyBytes>().call1((object,))?.extract()?))
        } else {
            None
        })
    }

    pub(crate) fn to_shared(&self) -> Arc<[u8]> {
        Arc::from(&**self)
    }
}

impl<'py> FromPyObject<'_, 'py> for Data {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Data::from_python(object)?.ok_or_else(|| PyTypeError::new_err("expected bytes or str"))
    }
}

/// JSON: text in bytes or a `str`, or the value of another Python object.
pub(crate) enum Json {
    Text(Data),
    Value(Value),
}

impl<'py> FromPyObject<'_, 'py> for Json {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match Data::from_python(object)? {
            Some(data) => Ok(Json::Text(data)),
            None => Ok(Json::Value(from_python(&object)?)),
        }
    }
}

impl Json {
    /// An empty text.
    pub(crate) fn empty() -> Json {
        Json::Text(Data::Empty)
    }

    /// The JSON value. Text that is not JSON is an error.
    pub(crate) fn value(&self) -> Result<Value, Failure> {
        match self {
            Json::Text(data) => Value::parse(data, &Limits::default()).map_err(json_invalid),
            Json::Value(value) => Ok(value.clone()),
        }
    }

    /// The content for a heap object: the JSON value, or the raw bytes of text that is not JSON. JSON over a
    /// limit is an error.
    pub(crate) fn content(&self) -> Result<Content, Failure> {
        match self {
            Json::Value(value) => Ok(Content::Json(value.clone())),
            Json::Text(data) => match Value::parse(data, &Limits::default()) {
                Ok(value) => Ok(Content::Json(value)),
                Err(error) if error.reason.is_limit() => Err(json_invalid(error)),
                Err(_) => Ok(Content::Raw(data.to_shared())),
            },
        }
    }

    /// The JSON value; text that is not JSON becomes a JSON string. JSON over a limit, and bytes that are neither JSON
    /// nor UTF-8, are errors.
    pub(crate) fn value_or_text(&self) -> Result<Value, Failure> {
        match self.content()? {
            Content::Json(value) => Ok(value),
            Content::Raw(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => Ok(text.into()),
                Err(_) => Err(Failure::new(Code::JsonInvalid, "bytes that are neither json nor utf-8")),
            },
        }
    }
}

/// The failure for text that is not JSON, with line and column.
fn json_invalid(error: ParseError) -> Failure {
    Failure::new(Code::JsonInvalid, error.to_string()).with("line", error.line).with("column", error.column)
}

/// HTTP headers: a dict, or pairs of name and value, which may repeat a name.
pub(crate) struct Headers(pub(crate) Vec<(Text, Text)>);

impl<'py> FromPyObject<'_, 'py> for Headers {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let pairs = match object.cast::<PyDict>() {
            Ok(dict) => dict.items().into_any(),
            Err(_) => object.to_owned(),
        };
        let pairs: Vec<(Str, Str)> = pairs.extract()?;
        Ok(Headers(pairs.into_iter().map(|(Str(name), Str(value))| (name, value)).collect()))
    }
}

/// The target of `authorize`: a `str` or a `Handle`.
pub(crate) struct Target(pub(crate) Text);

impl<'py> FromPyObject<'_, 'py> for Target {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(handle) = object.cast::<Handle>() {
            return Ok(Target(handle.get().0.to_string().into()));
        }
        let string = object.cast::<PyString>()?;
        Ok(Target(match string.extract::<PyBackedStr>() {
            Ok(text) => Text::from(&*text),
            // Text with a lone surrogate has no canonical form. The NUL makes the kernel refuse the target and
            // record the request.
            Err(_) => format!("{}\0", string.to_string_lossy()).into(),
        }))
    }
}

/// A WebAssembly module: bytes.
pub(crate) struct Module(pub(crate) Data);

impl<'py> FromPyObject<'_, 'py> for Module {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match Data::from_python(object)? {
            Some(data) => Ok(Module(data)),
            None => Err(PyTypeError::new_err(format!(
                "a tool is a WebAssembly module: expected its bytes, got {}",
                shown(&object)?
            ))),
        }
    }
}

/// A tool and its arguments.
pub(crate) struct ToolCall {
    pub(crate) tool: Text,
    pub(crate) args: Json,
}

impl ToolCall {
    /// Takes a tool's name and its arguments, or a Python `ToolCall`, which holds both.
    pub(crate) fn new(tool: &Bound<'_, PyAny>, args: Option<Json>) -> PyResult<ToolCall> {
        match (tool.cast::<PyString>(), args) {
            (Ok(name), Some(args)) => Ok(ToolCall { tool: text(name)?, args }),
            (Err(_), None) => {
                let (Str(tool), args) = tool.extract()?;
                Ok(ToolCall { tool, args })
            }
            (Ok(_), None) | (Err(_), Some(_)) => {
                Err(PyTypeError::new_err("a tool call takes a name and arguments, or one ToolCall"))
            }
        }
    }
}

/// The body of a request to a model: an OpenAI chat-completions request.
pub(crate) struct Messages(pub(crate) Json);

impl Messages {
    /// Takes the whole request, or a model's name with a prompt and the most tokens that the answer may have. Without
    /// `max_tokens` the bounds of policy and budget apply.
    pub(crate) fn new(
        request: &Bound<'_, PyAny>,
        prompt: Option<Str>,
        max_tokens: Option<Unsigned>,
    ) -> PyResult<Messages> {
        let Some(Str(prompt)) = prompt else {
            let name = request.cast::<PyString>().ok().map(|text| text.to_string_lossy().into_owned());
            return match name.filter(|text| !text.trim_start().starts_with('{')) {
                Some(_) => Err(invalid_argument(
                    request.py(),
                    "the prompt is missing: ask with a model and a prompt, or with a whole request as a dict or JSON text",
                )),
                None => Ok(Messages(request.extract()?)),
            };
        };
        let Str(model) = request.extract()?;
        let mut body = Object::new();
        body.insert("model", model);
        body.insert("messages", array![object! { "role": "user", "content": prompt }]);
        if let Some(Unsigned(max_tokens)) = max_tokens {
            body.insert("max_tokens", max_tokens);
        }
        Ok(Messages(Json::Value(body.into())))
    }
}
