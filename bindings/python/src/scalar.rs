//! Texts, integers and durations from Python. A wrong type is a `TypeError`; a value of the right type that is out of range
//! is an `InvalidArgumentError`.

use ak_host::ak_json::Text;
use pyo3::{
    Borrowed,
    exceptions::PyTypeError,
    prelude::*,
    pybacked::PyBackedStr,
    types::{PyInt, PyString},
};

use crate::error::invalid_argument;

/// The text of a `str`.
///
/// # Errors
/// `InvalidArgumentError` for lone surrogates, which no UTF-8 text holds.
pub(crate) fn text(string: &Bound<'_, PyString>) -> PyResult<Text> {
    match string.extract::<PyBackedStr>() {
        Ok(text) => Ok(Text::from(&*text)),
        Err(_) => Err(invalid_argument(string.py(), "a text is not unicode: it holds a lone surrogate")),
    }
}

/// A value as an error shows it: its start, and its type where that says more.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> PyResult<String> {
    /// Most characters of a value that an error shows.
    const SHOWN_CHARACTERS_MAX: usize = 40;
    let repr = object.repr()?.to_string();
    let start: String = repr.chars().take(SHOWN_CHARACTERS_MAX).collect();
    Ok(if start.len() == repr.len() { repr } else { format!("{start}…, a {}", object.get_type().name()?) })
}

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
        let Ok(integer) = object.cast::<PyInt>() else {
            let message = format!("expected an integer, got {}", shown(&object)?);
            return Err(PyTypeError::new_err(message));
        };
        match integer.extract() {
            Ok(number) => Ok(Unsigned(number)),
            Err(_) => Err(invalid_argument(
                object.py(),
                format!("{} is not an integer from 0 to 2^64-1", integer.str()?),
            )),
        }
    }
}

/// A duration in milliseconds; the Python argument is in seconds.
pub(crate) struct Seconds(pub(crate) u64);

impl<'py> FromPyObject<'_, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let seconds: f64 = object.extract()?;
        match std::time::Duration::try_from_secs_f64(seconds) {
            Ok(span) => Ok(Seconds(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))),
            Err(_) => {
                Err(invalid_argument(object.py(), format!("{seconds} is not a number of seconds from 0 on")))
            }
        }
    }
}
