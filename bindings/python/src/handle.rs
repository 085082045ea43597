//! The class `Handle`.

use ak_host::ak_kernel::ak_heap::Handle as HeapHandle;
use pyo3::prelude::*;

use crate::argument::HandleArgument;

/// The name of a heap object. `str(handle)` is `0x…`, which every method that takes a handle takes too.
#[pyclass(frozen, eq, hash, ord, module = "authority_nanos")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Handle(pub(crate) HeapHandle);

#[pymethods]
impl Handle {
    /// The handle that a text such as `0x100000000`, a number or a handle names.
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
