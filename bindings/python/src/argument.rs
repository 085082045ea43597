//! What the methods take. A wrong type is a `TypeError`, as everywhere in Python; a value of the right type
//! that cannot be meant is an `InvalidArgumentError`.

use std::{ops::Deref, path::PathBuf, sync::Arc};

use ak_host::{
    ak_json::{Limits, ParseError, Text, Value, array, object},
    ak_kernel::{
        Code, Failure,
        ak_heap::{Content, Handle as HeapHandle},
    },
};
use pyo3::{
    Borrowed,
    exceptions::{PyTypeError, PyUnicodeError},
    prelude::*,
    pybacked::{PyBackedBytes, PyBackedStr},
    types::{PyByteArray, PyBytes, PyDict, PyInt, PyMemoryView, PyString},
};

use crate::{
    convert::{from_python, text},
    error::invalid,
    handle::Handle,
};

/// A `str`.
pub(crate) struct Str(pub(crate) Text);

impl<'py> FromPyObject<'_, 'py> for Str {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Str(text(&*object.cast::<PyString>()?)?))
    }
}

/// An integer from 0 to 2^64-1.
pub(crate) struct Unsigned(pub(crate) u64);

impl<'py> FromPyObject<'_, 'py> for Unsigned {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let integer = object.cast::<PyInt>()?;
        match integer.extract() {
            Ok(number) => Ok(Unsigned(number)),
            Err(_) => {
                Err(invalid(object.py(), format!("{} is not an integer from 0 to 2^64-1", integer.str()?)))
            }
        }
    }
}

/// A `Handle`, its text or its number.
pub(crate) struct HandleArgument(pub(crate) HeapHandle);

impl<'py> FromPyObject<'_, 'py> for HandleArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(handle) = object.cast::<Handle>() {
            return Ok(HandleArgument(handle.get().0));
        }
        if object.is_instance_of::<PyInt>() {
            return Ok(HandleArgument(HeapHandle::from_raw(object.extract::<Unsigned>()?.0)));
        }
        let Str(text) = object.extract()?;
        let parsed = text
            .parse()
            .map_err(|_| invalid(object.py(), format!("'{text}' is not a handle such as 0x100000000")));
        parsed.map(HandleArgument)
    }
}

/// A path, absolute: a relative one is joined to the working directory of this process.
pub(crate) struct Path(pub(crate) Text);

impl<'py> FromPyObject<'_, 'py> for Path {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let mut path: PathBuf = object.extract().map_err(|error: PyErr| {
            let is_text = error.is_instance_of::<PyUnicodeError>(py);
            if is_text { invalid(py, "a path is not unicode: it holds a lone surrogate") } else { error }
        })?;
        if path.is_relative() && !path.as_os_str().is_empty() {
            let here = std::env::current_dir();
            path = here.map_err(|error| invalid(py, format!("no working directory: {error}")))?.join(path);
        }
        match path.to_str() {
            Some(path) => Ok(Path(path.into())),
            None => Err(invalid(py, "a path is not utf-8")),
        }
    }
}

/// Bytes, borrowed from the Python object where that is a `bytes` or a `str`.
pub(crate) enum Data {
    Bytes(PyBackedBytes),
    Str(PyBackedStr),
    Nothing,
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Data::Bytes(bytes) => bytes,
            Data::Str(text) => text.as_bytes(),
            Data::Nothing => &[],
        }
    }
}

impl Data {
    /// The data of an object that is bytes-like or a `str`.
    fn of(object: Borrowed<'_, '_, PyAny>) -> PyResult<Option<Data>> {
        let py = object.py();
        Ok(if let Ok(string) = object.cast::<PyString>() {
            let text = string
                .extract()
                .map_err(|_| invalid(py, "a text is not unicode: it holds a lone surrogate"))?;
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
        Data::of(object)?.ok_or_else(|| PyTypeError::new_err("expected bytes or str"))
    }
}

/// JSON: text in bytes or a `str`, or an object that stands for a value.
pub(crate) enum Json {
    Text(Data),
    Value(Value),
}

impl<'py> FromPyObject<'_, 'py> for Json {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match Data::of(object)? {
            Some(data) => Ok(Json::Text(data)),
            None => Ok(Json::Value(from_python(&object)?)),
        }
    }
}

impl Json {
    /// No bytes at all.
    pub(crate) fn empty() -> Json {
        Json::Text(Data::Nothing)
    }

    /// The value; text must be JSON.
    pub(crate) fn value(&self) -> Result<Value, Failure> {
        match self {
            Json::Text(data) => Value::parse(data, &Limits::default()).map_err(refusal),
            Json::Value(value) => Ok(value.clone()),
        }
    }

    /// The value; text that is not JSON is what it is, but JSON that breaks a limit is refused.
    pub(crate) fn content(&self) -> Result<Content, Failure> {
        match self {
            Json::Value(value) => Ok(Content::Json(value.clone())),
            Json::Text(data) => match Value::parse(data, &Limits::default()) {
                Ok(value) => Ok(Content::Json(value)),
                Err(error) if error.reason.is_limit() => Err(refusal(error)),
                Err(_) => Ok(Content::Raw(data.to_shared())),
            },
        }
    }

    /// The value; text that is not JSON is itself a string.
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

fn refusal(error: ParseError) -> Failure {
    Failure::new(Code::JsonInvalid, error.to_string()).with("line", error.line).with("column", error.column)
}

/// HTTP headers: a dict, or pairs where a name comes twice.
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

/// A span of time in seconds, as milliseconds.
pub(crate) struct Seconds(pub(crate) u64);

impl<'py> FromPyObject<'_, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let seconds: f64 = object.extract()?;
        match std::time::Duration::try_from_secs_f64(seconds) {
            Ok(span) => Ok(Seconds(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))),
            Err(_) => Err(invalid(object.py(), format!("{seconds} is not a span of seconds"))),
        }
    }
}

/// What `authorize` asks about: a `str`, or a `Handle`.
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
            // Not Unicode, so without canonical form; a NUL says so to the kernel, which records the question.
            Err(_) => format!("{}\0", string.to_string_lossy()).into(),
        }))
    }
}

/// A tool and its arguments.
pub(crate) struct ToolCall {
    pub(crate) tool: Text,
    pub(crate) args: Json,
}

impl ToolCall {
    /// Takes a tool's name and the arguments beside it, or a Python `ToolCall`, which holds both.
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

/// An OpenAI chat-completions request.
pub(crate) struct Chat(pub(crate) Json);

impl Chat {
    /// Takes the whole request, or with a prompt the model's name.
    pub(crate) fn new(
        request: &Bound<'_, PyAny>,
        prompt: Option<Str>,
        max_tokens: Unsigned,
    ) -> PyResult<Chat> {
        let Some(Str(prompt)) = prompt else { return Ok(Chat(request.extract()?)) };
        let Str(model) = request.extract()?;
        Ok(Chat(Json::Value(object! {
            "model": model,
            "messages": array![object! { "role": "user", "content": prompt }],
            "max_tokens": max_tokens.0,
        })))
    }
}
