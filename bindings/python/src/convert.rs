//! JSON values to and from Python objects.

use ak_host::ak_json::{Array, DEPTH_MAX, Number, Object, Text, Value};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    pybacked::PyBackedStr,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

use crate::{
    error::{invalid, misfit},
    handle::Handle,
};

/// A value as `json.loads` would give it; members keep their order.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            _ if number.is_float() => PyFloat::new(py, number.as_f64()).into_any(),
            (Some(integer), _) => integer.into_pyobject(py)?.into_any(),
            (None, Some(integer)) => integer.into_pyobject(py)?.into_any(),
            (None, None) => PyFloat::new(py, number.as_f64()).into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(_) => members(py, value)?.into_any(),
    })
}

/// The members of an object as a dict.
pub(crate) fn members<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyDict>> {
    let object = value.as_object().ok_or_else(|| misfit(py))?;
    let dict = PyDict::new(py);
    for (name, member) in object {
        dict.set_item(name.as_str(), to_python(py, member)?)?;
    }
    Ok(dict)
}

/// Compact JSON text.
pub(crate) fn to_bytes<'py>(py: Python<'py>, value: &Value) -> Bound<'py, PyBytes> {
    PyBytes::new(py, value.to_json().as_bytes())
}

/// The value that a JSON-able object stands for: none, booleans, numbers, strings, dicts, lists, tuples. A `Handle`
/// stands for its text.
///
/// # Errors
/// `TypeError` for any other type; `InvalidArgumentError` for a number or a text that JSON cannot hold, and
/// for nesting deeper than the kernel takes, which a list that contains itself is too.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    nested(object, 0)
}

fn nested(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let py = object.py();
    if depth > DEPTH_MAX {
        return Err(invalid(py, format!("the value is nested more than {DEPTH_MAX} levels deep")));
    }
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(flag) = object.cast::<PyBool>() {
        Ok(Value::Bool(flag.is_true()))
    } else if object.is_instance_of::<PyInt>() {
        integer(object)
    } else if let Ok(float) = object.cast::<PyFloat>() {
        let number = Number::from_f64(float.value());
        number.map(Value::Number).ok_or_else(|| invalid(py, "JSON has no infinity and no nan"))
    } else if let Ok(string) = object.cast::<PyString>() {
        text(string).map(Value::String)
    } else if let Ok(dict) = object.cast::<PyDict>() {
        let mut members = Object::new();
        for (name, member) in dict {
            let name =
                name.cast::<PyString>().map_err(|_| PyTypeError::new_err("a JSON member's name is a str"))?;
            members.insert(text(name)?, nested(&member, depth + 1)?);
        }
        Ok(Value::Object(members))
    } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let mut items = Array::new();
        for item in object.try_iter()? {
            items.push(nested(&item?, depth + 1)?);
        }
        Ok(Value::Array(items))
    } else if let Ok(handle) = object.cast::<Handle>() {
        Ok(handle.get().0.to_string().into())
    } else {
        Err(PyTypeError::new_err(format!("{} is not JSON", object.get_type().qualname()?)))
    }
}

fn integer(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    match (object.extract::<i64>(), object.extract::<u64>()) {
        (Ok(integer), _) => Ok(integer.into()),
        (Err(_), Ok(integer)) => Ok(integer.into()),
        (Err(_), Err(_)) => Err(invalid(object.py(), "an integer lies beyond 64 bits")),
    }
}

/// The text of a `str`.
///
/// # Errors
/// `InvalidArgumentError` for lone surrogates, which no UTF-8 text holds.
pub(crate) fn text(string: &Bound<'_, PyString>) -> PyResult<Text> {
    match string.extract::<PyBackedStr>() {
        Ok(text) => Ok(Text::from(&*text)),
        Err(_) => Err(invalid(string.py(), "a text is not unicode: it holds a lone surrogate")),
    }
}
