//! The kernel's tables, for Python's enums.

use ak_host::ak_kernel::{Code, Operation};
use pyo3::prelude::*;

/// Every error code: its name, its number, and the name of its exception class.
#[pyfunction]
pub(crate) fn codes() -> Vec<(&'static str, i32, &'static str)> {
    Code::ALL.iter().map(|code| (code.name(), code.number(), code.class().exception())).collect()
}

/// Every operation: its name and its number.
#[pyfunction]
pub(crate) fn operations() -> Vec<(&'static str, u16)> {
    Operation::ALL.iter().map(|operation| (operation.name(), operation.number())).collect()
}
