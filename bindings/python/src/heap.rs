//! The methods on heap objects; queries and batches to and from Python.

use ak_host::{
    ak_json::{Object, Value, object},
    ak_kernel::{Code, Failure, Operation, Reply, Request, ak_heap::Content},
};
use pyo3::{
    Borrowed, IntoPyObjectExt,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use crate::{
    argument::{HandleArgument, Json, Str, Unsigned},
    convert::{from_python, members, to_bytes, to_python},
    error::{misfit, raise},
    handle::Handle,
    kernel::AuthorityKernel,
};

#[pymethods]
impl AuthorityKernel {
    /// Creates a heap object.
    #[pyo3(signature = (type_name, value=Json::empty(), subject=None))]
    fn alloc<'py>(
        &self,
        py: Python<'py>,
        type_name: Str,
        value: Json,
        subject: Option<Str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = || {
            Ok(Request::Alloc {
                type_name: type_name.0,
                content: value.content()?,
                subject: subject.map(|name| name.0),
            })
        };
        self.session.call(py, request, |py, reply| match reply {
            Reply::Handle(handle) => Handle(handle).into_bound_py_any(py),
            _ => Err(misfit(py)),
        })
    }

    /// What a heap object holds, or held at a version: compact JSON, or its raw bytes.
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

    /// What a heap object holds, parsed.
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

    /// Type, version, labels and size of a heap object.
    fn stat<'py>(&self, py: Python<'py>, handle: HandleArgument) -> PyResult<Bound<'py, PyAny>> {
        self.session.ask(py, || Ok(Request::Stat { handle: handle.0 }), |py, told| to_python(py, &told))
    }

    /// Applies an RFC 6902 patch, whole or not at all, and gives the new version.
    #[pyo3(signature = (handle, patch, expected_version=None))]
    fn write<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        patch: Json,
        expected_version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let expected_version = expected_version.map(|version| version.0);
        let request = || Ok(Request::Write { handle: handle.0, patch: patch.value()?, expected_version });
        self.session.call(py, request, |py, reply| match reply {
            Reply::Version(version) => version.into_bound_py_any(py),
            _ => Err(misfit(py)),
        })
    }

    /// Deletes a heap object; its handle is never given out again.
    #[pyo3(signature = (handle, expected_version=None))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        expected_version: Option<Unsigned>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let expected_version = expected_version.map(|version| version.0);
        self.session.done(py, || Ok(Request::Delete { handle: handle.0, expected_version }))
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
            Ok(Request::Query { form })
        };
        self.session.ask(py, request, |py, found| Ok(page(py, &found)?.into_any()))
    }

    /// Several allocs, writes and deletes, all or none. Gives what each gave: a handle, a version, or None.
    fn batch<'py>(&self, py: Python<'py>, ops: Operations) -> PyResult<Bound<'py, PyAny>> {
        let request = || Ok(Request::decode(Operation::Batch, &ops.0)?);
        self.session.part(py, "results", request, |py, given| Ok(results(py, given)?.into_any()))
    }

    /// Gives a type a JSON Schema: no object of that name breaks it from then on.
    fn register_type<'py>(&self, py: Python<'py>, name: Str, schema: Json) -> PyResult<Bound<'py, PyAny>> {
        self.session.done(py, || Ok(Request::TypeRegister { name: name.0, schema: schema.value()? }))
    }

    /// Takes back a type that this session's agent, or the owner, registered.
    fn unregister_type<'py>(&self, py: Python<'py>, name: Str) -> PyResult<Bound<'py, PyAny>> {
        self.session.done(py, || Ok(Request::TypeUnregister { name: name.0 }))
    }
}

impl AuthorityKernel {
    fn content<'py>(
        &self,
        py: Python<'py>,
        handle: HandleArgument,
        version: Option<Unsigned>,
        convert: impl for<'p> FnOnce(Python<'p>, Content) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        let version = version.map(|version| version.0);
        let request = || Ok(Request::Read { handle: handle.0, version });
        self.session.call(py, request, |py, reply| match reply {
            Reply::Content(content) => convert(py, content),
            _ => Err(misfit(py)),
        })
    }
}

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
