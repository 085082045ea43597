//! Python objects as JSON values.

use ak_host::ak_json::{Array, DEPTH_MAX, Number, Object, Value};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

use crate::{error::invalid_argument, handle::Handle, scalar::text};

/// Converts a Python object to a JSON value: None, booleans, numbers, strings, dicts, lists and tuples. A `Handle`
/// becomes its text.
///
/// # Errors
/// `TypeError` for any other type; `InvalidArgumentError` for a number or a text that JSON cannot hold, and
/// for nesting deeper than [`DEPTH_MAX`], which a list that contains itself exceeds.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    from_python_nested(object, 0)
}

fn from_python_nested(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let py = object.py();
    if depth > DEPTH_MAX {
        return Err(invalid_argument(py, format!("the value is nested more than {DEPTH_MAX} levels deep")));
    }
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(flag) = object.cast::<PyBool>() {
        Ok(Value::Bool(flag.is_true()))
    } else if object.is_instance_of::<PyInt>() {
        integer(object)
    } else if let Ok(float) = object.cast::<PyFloat>() {
        let number = Number::from_f64(float.value());
        number.map(Value::Number).ok_or_else(|| invalid_argument(py, "JSON has no infinity and no nan"))
    } else if let Ok(string) = object.cast::<PyString>() {
        text(string).map(Value::String)
    } else if let Ok(dict) = object.cast::<PyDict>() {
        let mut members = Object::new();
        for (name, member) in dict {
            let name =
                name.cast::<PyString>().map_err(|_| PyTypeError::new_err("a JSON member's name is a str"))?;
            members.insert(text(name)?, from_python_nested(&member, depth + 1)?);
        }
        Ok(Value::Object(members))
    } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let mut items = Array::new();
        for item in object.try_iter()? {
            items.push(from_python_nested(&item?, depth + 1)?);
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
        (Err(_), Err(_)) => Err(invalid_argument(object.py(), "an integer is outside -2^63 to 2^64-1")),
    }
}
