//! The class `Handle`.

use ak_host::ak_kernel::ak_heap::Handle as HeapHandle;
use pyo3::{Borrowed, prelude::*, types::PyInt};

use crate::{
    error::invalid_argument,
    scalar::{Str, Unsigned},
};

/// The name of a heap object. `str(handle)` is `0x…`; every method that takes a handle also takes this text.
#[pyclass(frozen, eq, hash, ord, module = "authority_nanos")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Handle(pub(crate) HeapHandle);

#[pymethods]
impl Handle {
    /// Returns the handle for a text such as `0x100000000`, a number or a handle.
    #[staticmethod]
    fn parse(handle: HandleArgument) -> Handle {
        Handle(handle.0)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Handle({})", self.0)
    }

    fn __int__(&self) -> u64 {
        self.0.raw()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((slf.get_type().getattr("parse")?, (slf.get().__str__(),)))
    }
}

/// The argument of methods on one object: a `Handle`, its text or its number.
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
        let parsed = text.parse().map_err(|_| {
            invalid_argument(object.py(), format!("'{text}' is not a handle such as 0x100000000"))
        });
        parsed.map(HandleArgument)
    }
}
