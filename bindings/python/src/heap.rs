//! The methods of `AuthorityKernel` on heap objects, and the conversion of queries and batches.

use ak_host::{
    ak_json::{Object, Value, object},
    ak_kernel::{
        Code, Failure, HeapRequest, Operation, Reply, Request,
        ak_heap::{Content, PAGE_OBJECTS},
    },
};
use pyo3::{
    Borrowed, IntoPyObjectExt,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use crate::{
    argument::Json,
    error::{as_object, raise, type_mismatch},
    from_python::from_python,
    handle::{Handle, HandleArgument},
    kernel::AuthorityKernel,
    scalar::{Str, Unsigned},
    to_python::{to_bytes, to_dict, to_python},
};

#[pymethods]
impl AuthorityKernel {
    /// Creates a heap object and returns its handle. The value is JSON; text that is not JSON is kept as raw bytes.
    #[pyo3(signature = (type_name, value=Json::empty(), subject=None))]
    fn alloc<'py>(
        &self,
        py: Python<'py>,
        type_name: Str,
        value: Json,
        subject: Option<Str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = || {
            Ok(Request::Heap(HeapRequest::Alloc {
                type_name: type_name.0,
                content: value.content()?,
                subject: subject.map(|name| name.0),
            }))
        };
        self.session.call(py, request, |py, reply| match reply {
            Reply::Handle(handle) => Handle(handle).into_bound_py_any(py),
            _ => Err(type_mismatch(py)),
        })
    }

    /// Returns the content of a heap object, now or at a version: compact JSON, or its raw bytes.
    #[pyo3(signature = (handle, version=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.content(py, handle, version, |py, content| match content {
            Content::Json(value) => Ok(to_bytes(py, &value).into_any()),
            Content::Raw(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
        })
    }

    /// Returns the JSON of a heap object, parsed. An object of raw bytes is an error.
    #[pyo3(signature = (handle, version=None))]
    fn read_json<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.content(py, handle, version, |py, content| match content {
            Content::Json(value) => to_python(py, &value),
            Content::Raw(_) => {
                Err(raise(py, Failure::new(Code::JsonInvalid, "the object holds raw bytes, not json")))
            }
        })
    }

    /// Returns a dict of a heap object's type, version, size in bytes, owner and labels.
    fn stat<'py>(&self, py: Python<'py>, handle: HandleArgument) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_json(
            py,
            || Ok(Request::Heap(HeapRequest::Stat { handle: handle.0 })),
            |py, reply| to_python(py, &reply),
        )
    }

    /// Applies an RFC 6902 patch, whole or not at all, and returns the new version. If the object does not have
    /// `expected_version`, the call is a `ConflictError`.
    #[pyo3(signature = (handle, patch, expected_version=None))]
    fn write<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        patch: Json,
        expected_version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let expected_version = expected_version.map(|version| version.0);
        let request = || {
            Ok(Request::Heap(HeapRequest::Write {
                handle: handle.0,
                patch: patch.value()?,
                expected_version,
            }))
        };
        self.session.call(py, request, |py, reply| match reply {
            Reply::Version(version) => version.into_bound_py_any(py),
            _ => Err(type_mismatch(py)),
        })
    }

    /// Deletes a heap object. Its handle is never reused.
    #[pyo3(signature = (handle, expected_version=None))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        expected_version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let expected_version = expected_version.map(|version| version.0);
        self.session.call_no_reply(py, || {
            Ok(Request::Heap(HeapRequest::Delete { handle: handle.0, expected_version }))
        })
    }

    /// Returns a page of the heap objects that match and that the session may read: a dict of `objects` and `cursor`.
    /// The cursor gives the next page, and is None on the last.
    #[pyo3(signature = (r#type=None, r#where=None, limit=Unsigned(PAGE_OBJECTS as u64), cursor=None, **conditions))]
    fn query<'py>(
        &self,
        py: Python<'py>,
        r#type: Option<Str>,
        r#where: Option<Json>,
        limit: Unsigned,
        cursor: Option<Str>,
        conditions: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
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
            Ok(Request::Heap(HeapRequest::Query { form }))
        };
        self.session.call_json(py, request, |py, found| Ok(page_to_dict(py, &found)?.into_any()))
    }

    /// Applies several allocs, writes and deletes, all or none. Returns the result of each: a handle, a
    /// version, or None.
    fn batch<'py>(&self, py: Python<'py>, ops: Operations) -> PyResult<Bound<'py, PyAny>> {
        let request = || Ok(Request::decode(Operation::Batch, &ops.0)?);
        self.session
            .call_member(py, "results", request, |py, results| Ok(batch_results(py, results)?.into_any()))
    }

    /// Registers a JSON Schema that every object of a type must satisfy. It is a `SchemaError` if an existing
    /// object does not.
    fn register_type<'py>(&self, py: Python<'py>, name: Str, schema: Json) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_no_reply(py, || {
            Ok(Request::Heap(HeapRequest::TypeRegister { name: name.0, schema: schema.value()? }))
        })
    }

    /// Removes the schema of a type that the agent of this session, or in an owner session the owner, registered.
    fn unregister_type<'py>(&self, py: Python<'py>, name: Str) -> PyResult<Bound<'py, PyAny>> {
        self.session.call_no_reply(py, || Ok(Request::Heap(HeapRequest::TypeUnregister { name: name.0 })))
    }
}

impl AuthorityKernel {
    /// Reads an object and converts its content.
    fn content<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        version: Option<Unsigned>,
        convert: impl for<'p> FnOnce(Python<'p>, Content) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        let version = version.map(|version| version.0);
        let request = || Ok(Request::Heap(HeapRequest::Read { handle: handle.0, version }));
        self.session.call(py, request, |py, reply| match reply {
            Reply::Content(content) => convert(py, content),
            _ => Err(type_mismatch(py)),
        })
    }
}

/// The operations of a batch, each a dict in the wire form. As in the methods for one object, a `handle` may be
/// a `Handle`, and the text of a `value` is JSON if it parses as such, raw bytes otherwise. The text of a
/// `patch` must be JSON.
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

/// One operation of a batch in its wire form.
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

/// The result of each operation of a batch: a `Handle`, the new version, or None.
pub(crate) fn batch_results<'py>(py: Python<'py>, results: &Value) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for result in results.as_array().ok_or_else(|| type_mismatch(py))? {
        match result.get("handle") {
            Some(handle) => list.append(handle_of(py, handle)?)?,
            None => list.append(result.get("version").and_then(Value::as_u64))?,
        }
    }
    Ok(list)
}

/// A page of a query as a dict. Each object's `handle` is a `Handle`, and its `value` is the parsed JSON or the
/// raw bytes.
pub(crate) fn page_to_dict<'py>(py: Python<'py>, page: &Value) -> PyResult<Bound<'py, PyDict>> {
    let objects = PyList::empty(py);
    for object in page.get("objects").and_then(Value::as_array).ok_or_else(|| type_mismatch(py))? {
        let dict = to_dict(py, as_object(py, object)?)?;
        dict.set_item("handle", handle_of(py, object.get("handle").ok_or_else(|| type_mismatch(py))?)?)?;
        if let Some(bytes) = object.get("bytes") {
            match Reply::decode(Operation::Read, &object! { "bytes": bytes.clone() }) {
                Ok(Reply::Content(Content::Raw(bytes))) => {
                    dict.set_item("value", PyBytes::new(py, &bytes))?
                }
                Ok(_) | Err(_) => return Err(type_mismatch(py)),
            }
            dict.del_item("bytes")?;
        }
        objects.append(dict)?;
    }
    let dict = to_dict(py, as_object(py, page)?)?;
    dict.set_item("objects", objects)?;
    Ok(dict)
}

/// The handle that a reply holds as text.
fn handle_of(py: Python<'_>, handle: &Value) -> PyResult<Handle> {
    let handle = handle.as_str().and_then(|text| text.parse().ok());
    handle.map(Handle).ok_or_else(|| type_mismatch(py))
}
