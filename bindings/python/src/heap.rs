//! Queries and batches of the heap, to and from Python.

use ak_host::{
    ak_json::{Object, Value, object},
    ak_kernel::{Operation, Reply, ak_heap::Content},
};
use pyo3::{
    Borrowed,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use crate::{
    argument::{HandleArgument, Json, Str},
    convert::{from_python, members},
    error::{misfit, raise},
    handle::Handle,
};

/// The operations of a batch, each a dict in the wire form. As in the methods for one object, a `handle` may be a
/// `Handle`, and text under `value` or `patch` is JSON where it parses as such.
pub(crate) struct Operations(pub(crate) Value);

impl<'py> FromPyObject<'_, 'py> for Operations {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let mut ops = Vec::new();
        for op in object.try_iter()? {
            ops.push(operation(op?.cast::<PyDict>()?)?);
        }
        Ok(Operations(object! { "ops": ops }))
    }
}

fn operation(op: &Bound<'_, PyDict>) -> PyResult<Value> {
    let failed = |failure| raise(op.py(), failure);
    let mut members = Object::new();
    for (name, value) in op {
        let Str(name) = name.extract()?;
        match name.as_str() {
            "handle" => {
                members.insert(name, value.extract::<HandleArgument>()?.0.to_string());
            }
            "value" => {
                let content = value.extract::<Json>()?.content().map_err(failed)?;
                if let Value::Object(content) = Reply::Content(content).to_value() {
                    content
                        .iter()
                        .for_each(|(name, value)| drop(members.insert(name.clone(), value.clone())));
                }
            }
            "patch" => {
                members.insert(name, value.extract::<Json>()?.value().map_err(failed)?);
            }
            _ => {
                members.insert(name, from_python(&value)?);
            }
        }
    }
    Ok(members.into())
}

/// What each operation of a batch gave: a `Handle`, the new version, or nothing.
pub(crate) fn results<'py>(py: Python<'py>, results: &Value) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for result in results.as_array().ok_or_else(|| misfit(py))? {
        match result.get("handle") {
            Some(handle) => list.append(named(py, handle)?)?,
            None => list.append(result.get("version").and_then(Value::as_u64))?,
        }
    }
    Ok(list)
}

/// A page of a query as a dict. Each object's `handle` is a `Handle`, its `value` the JSON parsed, or its raw bytes.
pub(crate) fn page<'py>(py: Python<'py>, page: &Value) -> PyResult<Bound<'py, PyDict>> {
    let objects = PyList::empty(py);
    for object in page.get("objects").and_then(Value::as_array).ok_or_else(|| misfit(py))? {
        let dict = members(py, object)?;
        dict.set_item("handle", named(py, object.get("handle").ok_or_else(|| misfit(py))?)?)?;
        if let Some(bytes) = object.get("bytes") {
            match Reply::decode(Operation::Read, &object! { "bytes": bytes.clone() }) {
                Ok(Reply::Content(Content::Raw(bytes))) => {
                    dict.set_item("value", PyBytes::new(py, &bytes))?
                }
                Ok(_) | Err(_) => return Err(misfit(py)),
            }
            dict.del_item("bytes")?;
        }
        objects.append(dict)?;
    }
    let dict = members(py, page)?;
    dict.set_item("objects", objects)?;
    Ok(dict)
}

fn named(py: Python<'_>, handle: &Value) -> PyResult<Handle> {
    let handle = handle.as_str().and_then(|text| text.parse().ok());
    handle.map(Handle).ok_or_else(|| misfit(py))
}
