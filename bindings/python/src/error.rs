//! Failures of the kernel as exceptions of `authority_nanos.exceptions`.

use ak_host::{
    ak_json::{Object, Value},
    ak_kernel::{Code, Failure},
};
use pyo3::{prelude::*, types::PyDict};

use crate::to_python::{to_dict, to_python};

/// The exception for a failure: of the class that belongs to its code, with code, message, context and denial.
pub(crate) fn raise(py: Python<'_>, failure: Failure) -> PyErr {
    exception(py, failure).map_or_else(|error| error, PyErr::from_value)
}

fn exception(py: Python<'_>, failure: Failure) -> PyResult<Bound<'_, PyAny>> {
    let class = py.import("authority_nanos.exceptions")?.getattr(failure.class().exception())?;
    let context = to_python(py, &Value::Object(failure.context))?;
    let denial = match failure.denial {
        Some(denial) => Some(denial_info(py, &denial.to_value())?),
        None => None,
    };
    class.call1((failure.code.number(), failure.message, context, denial))
}

/// The `DenialInfo` of a denial in its wire form, with the number of the code added to its name.
pub(crate) fn denial_info<'py>(py: Python<'py>, denial: &Value) -> PyResult<Bound<'py, PyAny>> {
    let fields = to_dict(py, as_object(py, denial)?)?;
    let name = denial.get("reason_code").and_then(Value::as_str);
    let code = Code::ALL.iter().find(|code| Some(code.name()) == name);
    fields.set_item("code", code.map_or(0, |code| code.number()))?;
    dataclass(py, "DenialInfo", &fields)
}

/// A dataclass of `authority_nanos.types`, made from its fields.
pub(crate) fn dataclass<'py>(
    py: Python<'py>,
    class: &str,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("authority_nanos.types")?.getattr(class)?.call((), Some(fields))
}

/// An `InvalidArgumentError`, for an argument of the right type whose value is not accepted.
pub(crate) fn invalid_argument(py: Python<'_>, message: impl Into<String>) -> PyErr {
    raise(py, Failure::new(Code::InvalidArgument, message))
}

/// The error for a reply whose form does not belong to the operation that was sent.
pub(crate) fn type_mismatch(py: Python<'_>) -> PyErr {
    raise(py, Failure::new(Code::FrameInvalid, "unexpected form of reply for this operation"))
}

/// The value as a JSON object; an error if it is none.
pub(crate) fn as_object<'v>(py: Python<'_>, value: &'v Value) -> PyResult<&'v Object> {
    value.as_object().ok_or_else(|| type_mismatch(py))
}
